//! The runtime's clock and the source of its ids. Both can be fixed for tests.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use coppicer_messages::{Deadline, Now, SubmissionId, ThreadId};
use tokio::time::Instant;
use uuid::Uuid;

/// Tells the time: the moment on tokio's clock (virtual in tests), and the wall time that goes with
/// it. Wall time is read once, at the start, so that it never runs backwards here.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// A clock that starts at the present wall time.
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self::starting_at(since_epoch.map_or(0, |since| since.as_millis() as u64))
    }

    /// A clock that starts at `started_ms` milliseconds since the Unix epoch.
    pub fn starting_at(started_ms: u64) -> Self {
        Self { started: Instant::now(), started_ms }
    }

    /// The present moment.
    pub fn now(&self) -> Now {
        let instant = Instant::now();
        let since = instant.saturating_duration_since(self.started);
        Now { instant, at_ms: self.started_ms + since.as_millis() as u64 }
    }

    /// The deadline `budget` from now.
    pub fn deadline(&self, budget: Duration) -> Deadline {
        Deadline::after(Instant::now(), budget)
    }
}

/// Makes ids: version 7 UUIDs, rising within one runtime also inside one millisecond.
#[derive(Debug)]
pub struct IdSource {
    seed: u64,
    count: AtomicU64,
}

impl IdSource {
    /// A source that nobody can foretell.
    pub fn random() -> Self {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(0);
        Self::seeded(hasher.finish())
    }

    /// A source that gives the same ids for the same seed and times.
    pub const fn seeded(seed: u64) -> Self {
        Self { seed, count: AtomicU64::new(0) }
    }

    /// A new thread id.
    pub fn thread(&self, at_ms: u64) -> ThreadId {
        ThreadId::from_parts(at_ms, self.random_bytes())
    }

    /// A new submission id.
    pub fn submission(&self, at_ms: u64) -> SubmissionId {
        let random = self.random_bytes();
        SubmissionId::from_uuid(Uuid::from_u128(u128::from_be_bytes(
            *ThreadId::from_parts(at_ms, random).as_uuid().as_bytes(),
        )))
    }

    /// A number from 0 up to, but not with, 1.
    pub fn fraction(&self) -> f32 {
        let bits = splitmix(self.seed ^ self.count.fetch_add(1, Ordering::Relaxed));
        (bits >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A number from 0 up to, but not with, `count`; 0 if that is 0.
    pub fn below(&self, count: usize) -> usize {
        let bits = splitmix(self.seed ^ self.count.fetch_add(1, Ordering::Relaxed));
        bits.checked_rem(count as u64).unwrap_or_default() as usize
    }

    /// Ten bytes: 26 bits that count, so that ids rise within a millisecond, and random ones. Four
    /// and two bits between them are the UUID's version and variant.
    fn random_bytes(&self) -> [u8; 10] {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let random = splitmix(self.seed.wrapping_add(count.wrapping_mul(2))).to_be_bytes();
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&((count >> 14 & 0x0fff) as u16).to_be_bytes());
        bytes[2..4].copy_from_slice(&((count & 0x3fff) as u16).to_be_bytes());
        bytes[4..].copy_from_slice(&random[..6]);
        bytes
    }
}

/// `SplitMix64`: a full-period mixer of 64 bits (Steele, Lea, Flood 2014).
fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_rise() {
        let ids = IdSource::seeded(7);
        let made: Vec<ThreadId> = (0..100_000).map(|_| ids.thread(1_000)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn one_seed_gives_one_row_of_ids() {
        let row = |seed| {
            let ids = IdSource::seeded(seed);
            (0..10).map(|_| ids.thread(5)).collect::<Vec<_>>()
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }
}
