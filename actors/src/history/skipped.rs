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

/// Bytes that are looked at together. A number too large without an exponent has 309 digits, so it
/// fills at least three of these.
const STRETCH: usize = 64;

/// Whether there may be a number beyond what 64 bits of floating point hold: a number with an
/// exponent, or one of hundreds of digits. Says yes in doubt.
fn may_overflow(line: &[u8]) -> bool {
    (0..line.len()).step_by(STRETCH).any(|at| {
        let rest = &line[at..];
        // An exponent may begin at the end of one stretch and go on in the next.
        if let Some(stretch) = rest.first_chunk() {
            is_suspect(stretch, line, at)
        } else {
            let mut padded = [0; STRETCH + 2];
            padded[..rest.len()].copy_from_slice(rest);
            is_suspect(&padded, line, at)
        }
    })
}

/// Looks at a stretch without a branch, so that the compiler takes many bytes at once. `at` is where
/// it begins in its line.
fn is_suspect(stretch: &[u8; STRETCH + 2], line: &[u8], at: usize) -> bool {
    let digit = |byte: u8| u8::from(byte.wrapping_sub(b'0') < 10);
    let mut exponents = [0u8; STRETCH];
    let (mut any, mut all_digits) = (0, 1);
    for place in 0..STRETCH {
        let is_digit = digit(stretch[place]);
        let is_e = u8::from(stretch[place + 1] | 0x20 == b'e');
        let goes_on = digit(stretch[place + 2]) | u8::from(stretch[place + 2] == b'+');
        exponents[place] = is_digit & is_e & goes_on;
        any |= exponents[place];
        all_digits &= is_digit;
    }
    all_digits == 1
        || (any == 1
            && (exponents.iter().enumerate())
                .any(|(place, &found)| found == 1 && ends_a_number(line, at + place)))
}

/// Whether the digit at this place may belong to a number outside of a text. Ids in texts look like
/// numbers with exponents too (`…-a2e5…`), but do not begin where a number can begin.
fn ends_a_number(line: &[u8], digit: usize) -> bool {
    let begin = line[..digit].iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.');
    let before = begin.map(|begin| match line[begin] {
        b'-' => begin.checked_sub(1).map_or(b' ', |before| line[before]),
        byte => byte,
    });
    before.is_none_or(|byte| matches!(byte, b':' | b',' | b'[' | b' ' | b'\t' | b'\r' | b'\n'))
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
