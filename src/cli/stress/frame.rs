//! What all scenarios share: flags, progress, and the figures that they give.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::figure::{Figure, Target};
use super::rounds::Rounds;
use super::table::{table, table_by_case};
use crate::cli::{say, text};

/// Flags of every scenario.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Common {
    /// Print each figure as one JSON object a line, and no progress.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Fewer rounds and shorter loads; the sizes are those of the targets.
    #[arg(long, global = true)]
    pub(super) quick: bool,
    /// Tiny sizes, a round or two: whether it runs at all. Its times mean nothing.
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
    layout: Layout,
    bar: Option<ProgressBar>,
    figures: Vec<Figure>,
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
        Self { scenario, json: common.json, layout, bar, figures: Vec::new() }
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
        self.figures.push(figure.judged(target, Self::OPTIMISED));
    }

    /// Adds what was measured in rounds: see [`Rounds::figures`].
    pub(super) fn rounds(&mut self, rounds: Rounds, targets: &[(Option<&str>, Target)]) {
        self.figures.extend(rounds.figures(self.scenario, targets, Self::OPTIMISED));
    }

    /// Prints what was measured: whether no target is missed.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print(self) -> io::Result<bool> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let missed = self.figures.iter().filter(|figure| figure.is_missed()).count();
        let mut out = io::stdout().lock();
        if self.json {
            for figure in &self.figures {
                writeln!(out, "{}", serde_json::to_string(figure)?)?;
            }
        } else {
            let table = match self.layout {
                Layout::Figures => table(&self.figures),
                Layout::Cases => table_by_case(&self.figures),
            };
            write!(out, "{table}\n{}\n", verdict(&self.figures, missed))?;
        }
        out.flush()?;
        Ok(missed == 0)
    }
}

fn verdict(figures: &[Figure], missed: usize) -> String {
    let judged = figures.iter().filter(|figure| figure.met.is_some()).count();
    match missed {
        0 => format!("{} met", text::count(judged, "target")),
        _ => format!("{missed} of {} missed", text::count(judged, "target")),
    }
}
