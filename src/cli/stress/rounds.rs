//! What one thing took, round by round, beside what was measured in the same rounds.

use super::figure::{Figure, Target, median};

/// A figure that is measured in rounds, in turns with its baselines: each round has its own ratios, so
/// that a machine that is busy for a while does not turn them.
#[derive(Debug)]
pub(super) struct Rounds {
    name: String,
    unit: &'static str,
    ours: Vec<f64>,
    beside: Vec<(&'static str, Vec<f64>)>,
}

impl Rounds {
    pub(super) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self { name: name.into(), unit, ours: Vec::new(), beside: Vec::new() }
    }

    /// Adds what a round gave.
    pub(super) fn ours(&mut self, value: f64) {
        self.ours.push(value);
    }

    /// Adds what a baseline gave in a round. Call it for every baseline as often as [`ours`](Self::ours).
    pub(super) fn beside(&mut self, baseline: &'static str, value: f64) {
        let known = self.beside.iter().position(|(name, _)| *name == baseline);
        let place = known.unwrap_or_else(|| {
            self.beside.push((baseline, Vec::new()));
            self.beside.len() - 1
        });
        self.beside[place].1.push(value);
    }

    /// One figure for each baseline, the medians and the median of the ratios, each with the target that
    /// `targets` has for it; one figure without a baseline where there is none, or where a target names
    /// none.
    pub(super) fn figures(
        self,
        scenario: &'static str,
        targets: &[(Option<&str>, Target)],
        optimised: bool,
    ) -> Vec<Figure> {
        let value = median(self.ours.clone());
        let figure = || Figure::new(scenario, self.name.clone(), value, self.unit);
        let judged = |figure: Figure, of: Option<&str>| {
            let target = targets.iter().find(|(name, _)| *name == of);
            match target {
                Some(&(_, target)) => figure.judged(target, optimised),
                None => figure,
            }
        };
        let mut figures = Vec::new();
        if targets.iter().any(|(of, _)| of.is_none()) || self.beside.is_empty() {
            // Without a baseline it is shown what the first one would be judged by.
            let first = targets.iter().map(|(of, _)| *of).min_by_key(Option::is_some).flatten();
            figures.push(judged(figure(), first));
        }
        for (baseline, values) in &self.beside {
            let ratios = self.ours.iter().zip(values).map(|(ours, other)| ours / other);
            let beside = figure().beside_in_turns(
                baseline,
                median(values.clone()),
                median(ratios.collect()),
            );
            figures.push(judged(beside, Some(baseline)));
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds() -> Rounds {
        let mut rounds = Rounds::new("spawn", "µs");
        // The second round met a busy machine.
        for (ours, raw, map) in [(20.0, 10.0, 5.0), (90.0, 30.0, 15.0), (21.0, 10.0, 7.0)] {
            rounds.ours(ours);
            rounds.beside("raw", raw);
            rounds.beside("map", map);
        }
        rounds
    }

    #[test]
    fn each_baseline_has_a_figure_with_the_median_of_the_ratios() {
        let targets =
            [(Some("raw"), Target::RatioAtMost(2.0)), (Some("map"), Target::RatioAtMost(4.0))];
        let figures = rounds().figures("s", &targets, true);
        let shown: Vec<_> = figures
            .iter()
            .map(|f| (f.baseline.as_deref(), f.value, f.baseline_value, f.ratio, f.met))
            .collect();
        let expected = [
            (Some("raw"), 21.0, Some(10.0), Some(2.1), Some(false)),
            (Some("map"), 21.0, Some(7.0), Some(4.0), Some(true)),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_target_of_the_value_stands_by_itself() {
        let figures = rounds().figures("s", &[(None, Target::AtMost(30.0))], true);
        assert_eq!(figures.len(), 3);
        assert_eq!((figures[0].baseline.as_deref(), figures[0].met), (None, Some(true)));
        assert!(figures[1..].iter().all(|figure| figure.target.is_none()));
    }

    #[test]
    fn without_a_baseline_a_ratio_is_shown_as_not_judged() {
        let mut rounds = Rounds::new("spawn", "µs");
        rounds.ours(20.0);
        let figures = rounds.figures("s", &[(Some("raw"), Target::RatioAtMost(2.0))], true);
        assert_eq!(figures.len(), 1);
        let figure = &figures[0];
        assert_eq!((figure.met, figure.target), (None, Some(Target::RatioAtMost(2.0))));
    }
}
