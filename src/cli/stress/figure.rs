//! Figures: what a scenario measured, beside what it is measured against.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name: ours, or read from a report.
type Name = Cow<'static, str>;

/// One number that a scenario gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the fields are those of the output")]
pub(super) struct Figure {
    pub(super) scenario: Name,
    /// What was measured, from the general to the special, parted by slashes.
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: Name,
    /// What it is measured against, in the same run.
    pub(super) baseline: Option<Name>,
    pub(super) baseline_value: Option<f64>,
    pub(super) ratio: Option<f64>,
    pub(super) target: Option<Target>,
    /// Whether the target is met. None without one, and where it is not judged.
    pub(super) met: Option<bool>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// The value itself is exactly this: what is counted.
    Exactly(f64),
    /// The value is at most this.
    AtMost(f64),
    /// The value is at least this.
    AtLeast(f64),
    /// The ratio to the baseline is at most this.
    RatioAtMost(f64),
    /// The ratio to the baseline is at least this.
    RatioAtLeast(f64),
}

impl Target {
    /// Whether it is a matter of time, which only an optimised build is judged by.
    const fn is_of_time(self) -> bool {
        !matches!(self, Self::Exactly(_))
    }

    /// None if it is about a ratio, and nothing was measured beside.
    fn is_met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::Exactly(exactly) => Some((value - exactly).abs() < f64::EPSILON),
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(exactly) => write!(f, "= {exactly}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::RatioAtMost(most) => write!(f, "<= {most}x"),
            Self::RatioAtLeast(least) => write!(f, ">= {least}x"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_target = || format!("{text:?} is no target");
        let (relation, number) = text.split_once(' ').ok_or_else(no_target)?;
        let of_ratio = number.strip_suffix('x');
        let number = of_ratio.unwrap_or(number).parse().map_err(|_| no_target())?;
        match (relation, of_ratio.is_some()) {
            ("=", false) => Ok(Self::Exactly(number)),
            ("<=", false) => Ok(Self::AtMost(number)),
            (">=", false) => Ok(Self::AtLeast(number)),
            ("<=", true) => Ok(Self::RatioAtMost(number)),
            (">=", true) => Ok(Self::RatioAtLeast(number)),
            _ => Err(no_target()),
        }
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Figure {
    pub(super) fn new(
        scenario: &'static str,
        figure: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            scenario: scenario.into(),
            figure: figure.into(),
            value,
            unit: unit.into(),
            baseline: None,
            baseline_value: None,
            ratio: None,
            target: None,
            met: None,
        }
    }

    /// Sets it beside a baseline.
    pub(super) fn beside(mut self, baseline: &'static str, value: f64) -> Self {
        self.baseline = Some(baseline.into());
        self.baseline_value = Some(value);
        self.ratio = (value > 0.0).then(|| self.value / value);
        self
    }

    /// Sets it beside a baseline, with the ratio of those that were measured in turns.
    pub(super) fn beside_in_turns(
        mut self,
        baseline: &'static str,
        value: f64,
        ratio: f64,
    ) -> Self {
        self.baseline = Some(baseline.into());
        self.baseline_value = Some(value);
        self.ratio = Some(ratio);
        self
    }

    /// Judges it. A target of time is not judged in a build that is not `optimised`, one of a ratio not
    /// without a baseline.
    pub(super) fn judged(mut self, target: Target, optimised: bool) -> Self {
        let judged = optimised || !target.is_of_time();
        self.met = if judged { target.is_met(self.value, self.ratio) } else { None };
        self.target = Some(target);
        self
    }

    /// Whether its target is missed.
    pub(super) fn is_missed(&self) -> bool {
        self.met == Some(false)
    }
}

/// The middle of some numbers; of an even count, the upper one of the two.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64) -> Figure {
        Figure::new("s", "a/b", value, "ms")
    }

    #[test]
    fn a_target_is_judged_by_the_value_or_by_its_ratio() {
        for (target, value, met) in [
            (Target::Exactly(0.0), 0.0, true),
            (Target::Exactly(0.0), 1.0, false),
            (Target::AtMost(50.0), 50.0, true),
            (Target::AtMost(50.0), 50.1, false),
            (Target::AtLeast(50.0), 50.0, true),
            (Target::AtLeast(50.0), 49.9, false),
            (Target::RatioAtMost(3.0), 30.0, true),
            (Target::RatioAtMost(3.0), 31.0, false),
            (Target::RatioAtLeast(0.95), 9.5, true),
            (Target::RatioAtLeast(0.95), 9.4, false),
        ] {
            let judged = figure(value).beside("raw", 10.0).judged(target, true);
            assert_eq!((judged.met, judged.is_missed()), (Some(met), !met), "{target} of {value}");
        }
    }

    #[test]
    fn time_is_judged_in_an_optimised_build_alone_and_counts_always() {
        assert_eq!(figure(99.0).judged(Target::AtMost(1.0), false).met, None);
        assert_eq!(figure(99.0).judged(Target::Exactly(1.0), false).met, Some(false));
        assert_eq!(figure(9.0).beside("raw", 0.0).ratio, None, "nothing to be set beside");
        assert_eq!(figure(9.0).judged(Target::RatioAtMost(1.0), true).met, None, "nor judged");
    }

    #[test]
    fn a_figure_is_one_object_with_every_field() {
        let figure = figure(2.5).beside("raw", 1.0).judged(Target::RatioAtMost(3.0), true);
        let json = serde_json::to_value(&figure).unwrap();
        let expected = serde_json::json!({
            "scenario": "s", "figure": "a/b", "value": 2.5, "unit": "ms", "baseline": "raw",
            "baseline_value": 1.0, "ratio": 2.5, "target": "<= 3x", "met": true,
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Figure>(json).unwrap(), figure, "and is read back");
    }

    #[test]
    fn every_target_is_read_back_and_nothing_else_is_one() {
        for target in [
            Target::Exactly(0.0),
            Target::AtMost(150.0),
            Target::AtLeast(100_000.0),
            Target::RatioAtMost(1.25),
            Target::RatioAtLeast(0.8),
        ] {
            assert_eq!(target.to_string().parse(), Ok(target));
        }
        for text in ["", "=", "= x", "= 1x", "< 1", "<= 1y", "1"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_median_does_not_mind_one_that_is_far_off() {
        assert!((median(vec![3.0, 1_000.0, 1.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
