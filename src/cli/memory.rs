//! The memory of this process.

/// Bytes of memory that the process holds (resident set); none where that is not known.
#[cfg(target_os = "linux")]
pub(in crate::cli) fn resident_bytes() -> Option<u64> {
    // In pages: all, resident, … The size of a page is not in any file of /proc; `status` has kB.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Bytes of memory that the process holds (resident set); none where that is not known.
#[cfg(not(target_os = "linux"))]
pub(in crate::cli) fn resident_bytes() -> Option<u64> {
    None
}
