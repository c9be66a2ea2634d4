//! Durations on the command line: a number and its unit.

use std::time::Duration;

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number and a unit (ms, s, m or h), such as 500ms, 10s or 2m")]
pub(crate) struct NoDuration;

/// Reads `500ms`, `10s`, `1.5m`, `2h`. Longest: a day.
pub(crate) fn parse(text: &str) -> Result<Duration, NoDuration> {
    const LONGEST: f64 = 24.0 * 3600.0;
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(NoDuration)?;
    let (number, unit) = text.split_at(unit_at);
    let unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(NoDuration),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(NoDuration);
    }
    let seconds = number.parse::<f64>().map_err(|_| NoDuration)? * unit;
    if seconds > LONGEST {
        return Err(NoDuration);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| NoDuration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in
            [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1.5s", 1_500), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1 s", "1sec", "1e3s", "inf", "NaNs", "25h", "1.2.3s"] {
            assert_eq!(parse(text), Err(NoDuration), "{text}");
        }
    }
}
