//! What all scenarios share: flags, progress, and the figures that they give.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::figure::{Figure, Target};
use super::rounds::Rounds;
use super::table::{table, table_by_case, verdict_of_all};
use crate::cli::say;

/// Flags of every scenario.
#[derive(Debug, Clone, Copy, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Common {
    /// Print each figure as one JSON object a line, and no progress.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Fewer rounds and shorter loads; the sizes are those of the targets.
    #[arg(long, global = true)]
    pub(super) quick: bool,
    /// Tiny sizes, a round or two: whether it runs at all. Its times mean nothing and are not judged.
    #[arg(long, global = true, conflicts_with = "quick")]
    pub(super) smoke: bool,
    /// Measure the baselines too, in turns with ours, at least five rounds (with --smoke two).
    #[arg(long, global = true)]
    pub(super) compare: bool,
}

impl Common {
    /// The value for the size that is asked for.
    pub(super) fn pick<T>(self, smoke: T, quick: T, full: T) -> T {
        match (self.smoke, self.quick) {
            (true, _) => smoke,
            (false, true) => quick,
            (false, false) => full,
        }
    }

    /// How many rounds: what was `asked` for; else three, or what a comparison needs.
    pub(super) fn rounds(self, asked: Option<u32>) -> usize {
        let usual = if self.compare { self.pick(2, 5, 9) } else { self.pick(1, 3, 5) };
        asked.map_or(usual, |rounds| rounds as usize)
    }
}

/// How the figures of a scenario are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One figure a row.
    Figures,
    /// One case a row.
    Cases,
}

/// Collects the figures of a scenario, and tells how far it is.
pub(super) struct Frame {
    scenario: &'static str,
    json: bool,
    /// Whether figures of time are judged.
    judges: bool,
    bar: Option<ProgressBar>,
    figures: Vec<Figure>,
    /// From which figure on which layout holds.
    layouts: Vec<(usize, Layout)>,
}

impl Frame {
    /// The frame of a scenario of so many `steps`.
    pub(super) fn new(
        scenario: &'static str,
        common: Common,
        layout: Layout,
        steps: usize,
    ) -> Self {
        let shown = !common.json && io::stderr().is_terminal();
        let bar = shown.then(|| {
            let bar = ProgressBar::new(steps as u64);
            let style = ProgressStyle::with_template("{elapsed} {bar:30} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        if !common.json && !Self::OPTIMISED {
            say("this is a debug build: figures of time are shown, and not judged");
        }
        let judges = Self::OPTIMISED && !common.smoke;
        let layouts = vec![(0, layout)];
        Self { scenario, json: common.json, judges, bar, figures: Vec::new(), layouts }
    }

    /// Whether time is worth judging in this build.
    const OPTIMISED: bool = !cfg!(debug_assertions);

    /// Says what is measured next.
    pub(super) fn step(&self, what: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(what.to_owned());
                bar.inc(1);
            }
            None if !self.json => say(&format!("{}: {what}", self.scenario)),
            None => {}
        }
    }

    /// Says something beside the figures.
    pub(super) fn note(&self, what: &str) {
        match &self.bar {
            Some(bar) => bar.println(what),
            None => say(&format!("{}: {what}", self.scenario)),
        }
    }

    /// A figure of this scenario, to be added by [`give`](Self::give).
    pub(super) fn figure(
        &self,
        figure: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Figure {
        Figure::new(self.scenario, figure, value, unit)
    }

    /// Adds a figure that has no target.
    pub(super) fn give(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// Judges a figure and adds it.
    pub(super) fn judge(&mut self, figure: Figure, target: Target) {
        self.figures.push(figure.judged(target, self.judges));
    }

    /// Adds what was measured in rounds: see [`Rounds::figures`].
    pub(super) fn rounds(&mut self, rounds: Rounds, targets: &[(Option<&str>, Target)]) {
        self.figures.extend(rounds.figures(self.scenario, targets, self.judges));
    }

    /// Shows what follows by another layout, in a table of its own.
    pub(super) fn then(&mut self, layout: Layout) {
        self.layouts.push((self.figures.len(), layout));
    }

    /// Ends the progress.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Prints what was measured: whether no target is missed.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print(self) -> io::Result<bool> {
        self.clear();
        let missed = self.figures.iter().filter(|figure| figure.is_missed()).count();
        let mut out = io::stdout().lock();
        if self.json {
            for figure in &self.figures {
                writeln!(out, "{}", serde_json::to_string(figure)?)?;
            }
            out.flush()?;
            return Ok(missed == 0);
        }
        for (place, &(from, layout)) in self.layouts.iter().enumerate() {
            let to = self.layouts.get(place + 1).map_or(self.figures.len(), |&(next, _)| next);
            let figures = &self.figures[from..to];
            let table = match layout {
                Layout::Figures => table(figures),
                Layout::Cases => table_by_case(figures),
            };
            writeln!(out, "{table}")?;
        }
        writeln!(out, "{}", verdict_of_all(&self.figures))?;
        out.flush()?;
        Ok(missed == 0)
    }
}
