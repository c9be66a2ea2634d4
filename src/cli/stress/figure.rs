//! Figures: what a scenario measured, beside what it is measured against.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

/// One number that a scenario gives.
#[derive(Debug, Clone, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the fields are those of the output")]
pub(super) struct Figure {
    pub(super) scenario: &'static str,
    /// What was measured, from the general to the special, parted by slashes.
    pub(super) figure: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    /// What it is measured against, in the same run.
    pub(super) baseline: Option<&'static str>,
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

    fn is_met(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::Exactly(exactly) => (value - exactly).abs() < f64::EPSILON,
            Self::AtMost(most) => value <= most,
            Self::RatioAtMost(most) => ratio.is_some_and(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => ratio.is_some_and(|ratio| ratio >= least),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(exactly) => write!(f, "= {exactly}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
            Self::RatioAtMost(most) => write!(f, "<= {most}x"),
            Self::RatioAtLeast(least) => write!(f, ">= {least}x"),
        }
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
            scenario,
            figure: figure.into(),
            value,
            unit,
            baseline: None,
            baseline_value: None,
            ratio: None,
            target: None,
            met: None,
        }
    }

    /// Sets it beside a baseline.
    pub(super) fn beside(mut self, baseline: &'static str, value: f64) -> Self {
        self.baseline = Some(baseline);
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
        self.baseline = Some(baseline);
        self.baseline_value = Some(value);
        self.ratio = Some(ratio);
        self
    }

    /// Judges it. A target of time is not judged in a build that is not `optimised`.
    pub(super) fn judged(mut self, target: Target, optimised: bool) -> Self {
        let judged = optimised || !target.is_of_time();
        self.met = judged.then(|| target.is_met(self.value, self.ratio));
        self.target = Some(target);
        self
    }

    /// Whether its target is missed.
    pub(super) fn is_missed(&self) -> bool {
        self.met == Some(false)
    }

    /// Its row of [`table`].
    fn cells(&self) -> [String; 6] {
        let beside = match (self.baseline, self.baseline_value) {
            (Some(name), Some(value)) => format!("{name}: {}", number(value, self.unit)),
            _ => String::new(),
        };
        [
            self.figure.clone(),
            number(self.value, self.unit),
            beside,
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            self.target.map_or_else(String::new, |target| target.to_string()),
            verdict(self.met, self.target).to_owned(),
        ]
    }
}

fn verdict(met: Option<bool>, target: Option<Target>) -> &'static str {
    match (met, target) {
        (Some(true), _) => "met",
        (Some(false), _) => "MISSED",
        (None, Some(_)) => "not judged",
        (None, None) => "",
    }
}

fn number(value: f64, unit: &str) -> String {
    if value.fract() == 0.0 || value >= 1_000.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.2} {unit}")
    }
}

/// The figures, one a row: a table of Markdown.
pub(super) fn table(figures: &[Figure]) -> String {
    let head = ["figure", "value", "baseline", "ratio", "target", "verdict"];
    markdown(
        &head.map(str::to_owned),
        &figures.iter().map(|f| f.cells().to_vec()).collect::<Vec<_>>(),
    )
}

/// The figures, one case a row: the last part of a figure's name is its column.
pub(super) fn table_by_case(figures: &[Figure]) -> String {
    let mut columns: Vec<String> = vec!["case".into()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for figure in figures {
        let (case, name) = figure.figure.rsplit_once('/').unwrap_or(("", &figure.figure));
        let name = match figure.unit {
            "" => name.to_owned(),
            unit => format!("{name}, {unit}"),
        };
        let column = columns.iter().position(|known| *known == name).unwrap_or_else(|| {
            columns.push(name);
            columns.len() - 1
        });
        if rows.last().is_none_or(|row| row[0] != case) {
            rows.push(vec![case.to_owned()]);
        }
        let Some(row) = rows.last_mut() else { continue };
        row.resize(row.len().max(column + 1), String::new());
        let missed = if figure.is_missed() { " MISSED" } else { "" };
        row[column] = format!("{}{missed}", number(figure.value, "").trim_end());
    }
    for row in &mut rows {
        row.resize(columns.len(), String::new());
    }
    markdown(&columns, &rows)
}

fn markdown(head: &[String], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|at| rows.iter().chain([&head.to_vec()]).map(|row| row[at].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
            // The first column has names, the others numbers. Writing to a string does not fail.
            let _ = if place == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
    };
    line(head);
    let rule = |(place, width): (usize, &usize)| match place {
        0 => "-".repeat(*width),
        _ => "-".repeat(width.saturating_sub(1)) + ":",
    };
    line(&widths.iter().enumerate().map(rule).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
    text
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
    }

    #[test]
    fn cases_stand_in_rows_and_their_figures_in_columns() {
        let figures = [
            Figure::new("close", "flat/1 %/answer", 12.345, "ms"),
            Figure::new("close", "flat/1 %/zombies", 3.0, "").judged(Target::Exactly(0.0), true),
            Figure::new("close", "deep/1 %/answer", 7.0, "ms"),
        ];
        let table = table_by_case(&figures);
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows[0], "| case     | answer, ms |  zombies |");
        assert_eq!(rows[2], "| flat/1 % |      12.35 | 3 MISSED |");
        assert_eq!(rows[3], "| deep/1 % |          7 |          |");
    }

    #[test]
    fn a_median_does_not_mind_one_that_is_far_off() {
        assert!((median(vec![3.0, 1_000.0, 1.0]) - 3.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).abs() < f64::EPSILON);
    }
}
