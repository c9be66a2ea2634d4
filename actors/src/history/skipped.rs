//! What a skip would not see: escapes and numbers that readers refuse.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::classify::LineFlaw;
use super::scan::flaw;

/// Skipping looks neither at escapes nor at the size of numbers. Half a surrogate pair, or a number
/// that is too large, would be passed on to readers that refuse the whole line, so a line that may
/// have any is read in full once.
pub(super) fn check_what_is_skipped(text: &str) -> Result<(), LineFlaw> {
    if text.contains("\\ud") || text.contains("\\uD") || may_overflow(text.as_bytes()) {
        serde_json::from_str::<ReadInFull>(text).map(drop).map_err(|error| flaw(&error))
    } else {
        Ok(())
    }
}

/// Whether there may be a number beyond what 64 bits of floating point hold: a number with an
/// exponent, or one of hundreds of digits. Says yes in doubt.
#[expect(
    clippy::needless_bitwise_bool,
    reason = "without branches the compiler looks at many bytes at once"
)]
fn may_overflow(line: &[u8]) -> bool {
    /// A number too large without an exponent has 309 digits, so it fills at least three of these.
    const STRETCH: usize = 64;
    let mut at = 0;
    while at < line.len() {
        let end = (at + STRETCH).min(line.len());
        // Two bytes more, so that no exponent is hidden between two stretches.
        let stretch = &line[at..(end + 2).min(line.len())];
        let mut exponents = 0u32;
        for three in stretch.windows(3) {
            let is_exponent = three[0].is_ascii_digit()
                & (three[1] | 0x20 == b'e')
                & (three[2].is_ascii_digit() | (three[2] == b'+'));
            exponents += u32::from(is_exponent);
        }
        let digits = stretch.iter().filter(|byte| byte.is_ascii_digit()).count();
        if digits >= STRETCH || (exponents > 0 && has_exponent(line, at, end + 1)) {
            return true;
        }
        at = end;
    }
    false
}

/// Whether a number outside of a text has its exponent in `from..to`. Ids in texts look like
/// exponents too (`…-a2e5…`), but do not begin where a number can begin.
fn has_exponent(line: &[u8], from: usize, to: usize) -> bool {
    (from.max(1)..to.min(line.len())).any(|at| {
        line[at] | 0x20 == b'e' && line[at - 1].is_ascii_digit() && {
            let begin = line[..at].iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.');
            let before = begin.map(|begin| match line[begin] {
                b'-' => begin.checked_sub(1).map_or(b' ', |before| line[before]),
                byte => byte,
            });
            before.is_none_or(|byte| matches!(byte, b':' | b',' | b'[' | b' ' | b'\t' | b'\r'))
        }
    })
}

/// Reads every text and number of a value, and forgets it.
struct ReadInFull;

impl<'de> Deserialize<'de> for ReadInFull {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = ReadInFull;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_unit<E>(self) -> Result<ReadInFull, E> {
                Ok(ReadInFull)
            }
            fn visit_bool<E>(self, _: bool) -> Result<ReadInFull, E> {
                Ok(ReadInFull)
            }
            fn visit_i64<E>(self, _: i64) -> Result<ReadInFull, E> {
                Ok(ReadInFull)
            }
            fn visit_u64<E>(self, _: u64) -> Result<ReadInFull, E> {
                Ok(ReadInFull)
            }
            fn visit_f64<E>(self, _: f64) -> Result<ReadInFull, E> {
                Ok(ReadInFull)
            }
            fn visit_str<E>(self, _: &str) -> Result<ReadInFull, E> {
                Ok(ReadInFull)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ReadInFull, A::Error> {
                while list.next_element::<ReadInFull>()?.is_some() {}
                Ok(ReadInFull)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadInFull, A::Error> {
                while map.next_entry::<ReadInFull, ReadInFull>()?.is_some() {}
                Ok(ReadInFull)
            }
        }
        deserializer.deserialize_any(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_readers_refuse_are_found_wherever_they_stand() {
        let digits = "1".repeat(400);
        for number in ["1e400", "-1E+999", "1.5e309", "2e58400", digits.as_str()] {
            for padding in 0..140 {
                let line = format!(r#"{{"a":"{}","b":{number}}}"#, "x".repeat(padding));
                assert!(check_what_is_skipped(&line).is_err(), "{line}");
                let line = format!("[{}{number} ]", " ".repeat(padding));
                assert!(check_what_is_skipped(&line).is_err(), "{line}");
            }
        }
        for sound in [
            r#"["0197f0a2-2e58-7d3e-9a55-1e400a1b2c3d","at 2e5840"]"#,
            r#"{"a":1e5,"b":1e-400,"c":-0.5E+3}"#,
            &format!("[{}]", "1".repeat(300)),
            &format!("[\"{digits}\"]"),
        ] {
            assert_eq!(check_what_is_skipped(sound), Ok(()), "{sound}");
        }
    }

    #[test]
    fn ids_in_texts_are_not_taken_for_exponents() {
        assert!(!may_overflow(br#"{"id":"0197f0a2-2e58-7d3e-9a55-1e400a1b2c3d"}"#));
        assert!(!may_overflow(br#"{"id":"2e5840","n":12,"at":"2026-06-03T08:15:30.123Z"}"#));
        assert!(may_overflow(br#"{"n":2e5}"#));
    }
}
