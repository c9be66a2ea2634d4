//! Times as rollout lines write them: RFC 3339, UTC, milliseconds.

const DAY_MS: u64 = 86_400_000;

/// `2026-06-03T08:15:30.123Z` for milliseconds since the Unix epoch, up to the year 9999.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, at_ms: u64) {
    // 9999-12-31T23:59:59.999Z: a later time would need a fifth digit, which readers refuse.
    let at_ms = at_ms.min(253_402_300_799_999);
    let (days, in_day) = (at_ms / DAY_MS, at_ms % DAY_MS);
    let (year, month, day) = civil(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], in_day / 3_600_000);
    digits(&mut text[14..16], in_day / 60_000 % 60);
    digits(&mut text[17..19], in_day / 1_000 % 60);
    digits(&mut text[20..23], in_day % 1_000);
    out.extend_from_slice(&text);
}

/// The same as text.
pub(crate) fn timestamp(at_ms: u64) -> String {
    let mut out = Vec::with_capacity(24);
    write_timestamp(&mut out, at_ms);
    out.into_iter().map(char::from).collect()
}

/// Milliseconds since the Unix epoch of an RFC 3339 time with `Z` or a numeric offset; none if it
/// is no such time or before 1970.
pub(crate) fn parse_timestamp(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let sound = bytes.len() >= 20
        && [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')].iter().all(|&(at, c)| bytes[at] == c)
        && matches!(bytes[10], b'T' | b't' | b' ');
    if !sound {
        return None;
    }
    let (year, month, day) = (number(bytes, 0..4)?, number(bytes, 5..7)?, number(bytes, 8..10)?);
    let (hour, minute, second) =
        (number(bytes, 11..13)?, number(bytes, 14..16)?, number(bytes, 17..19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut ms = 0;
    if bytes[at] == b'.' {
        at += 1;
        let mut weight = 100;
        while bytes.get(at)?.is_ascii_digit() {
            ms += u64::from(bytes[at] - b'0') * weight;
            weight /= 10;
            at += 1;
        }
    }
    let ahead_ms = match bytes.get(at)? {
        b'Z' | b'z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 && bytes[at + 3] == b':' => {
            let minutes = number(bytes, at + 1..at + 3)? * 60 + number(bytes, at + 4..at + 6)?;
            let ahead = i64::try_from(minutes).ok()? * 60_000;
            if *sign == b'+' { ahead } else { -ahead }
        }
        _ => return None,
    };
    let in_day = ((hour * 60 + minute) * 60 + second) * 1_000 + ms;
    (days(year, month, day) * DAY_MS + in_day).checked_add_signed(-ahead_ms)
}

fn digits(out: &mut [u8], number: u64) {
    let mut left = number;
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

fn number(bytes: &[u8], range: std::ops::Range<usize>) -> Option<u64> {
    bytes
        .get(range)?
        .iter()
        .try_fold(0, |sum, &byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Counts eras of 400
/// years from 0000-03-01, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil`], for years from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (at_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_349_654_285, "2026-11-22T12:14:14.285Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        ] {
            assert_eq!(timestamp(at_ms), text);
            assert_eq!(parse_timestamp(text), Some(at_ms));
        }
        assert_eq!(parse_timestamp("2026-11-22T14:14:14.2857+02:00"), Some(1_795_349_654_285));
        assert_eq!(parse_timestamp("2026-11-22T12:14:14Z"), Some(1_795_349_654_000));
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-11-22T12:14:14.285",
            "2026-11-22T12:14:14.285Zx",
        ] {
            assert_eq!(parse_timestamp(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(at_ms in 0u64..253_402_300_800_000) {
            prop_assert_eq!(parse_timestamp(&timestamp(at_ms)), Some(at_ms));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,40}") {
            let _ = parse_timestamp(&text);
        }
    }
}
