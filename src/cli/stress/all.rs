//! `coppicer stress all`: every scenario, each in a process of its own.
//!
//! A process of its own, because memory that one scenario gave back would be the next one's first, and
//! what one left in caches its advantage.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::Broken;
use super::figure::Figure;
use super::frame::{Common, Frame, Layout};
use super::report;
use crate::cli::{Failure, Verdict};

/// Runs every scenario with what it has for sizes, each in a process of its own.
///
/// With --compare --quick in ten minutes on two cores.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave these out.
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    without: Vec<String>,
}

/// In the order in which they are run.
pub(super) const SCENARIOS: [&str; 13] = [
    "spawn", "idle", "turns", "lookup", "refuse", "close", "crash", "durable", "fork", "open",
    "taps", "soak", "scaling",
];

pub(super) fn run(args: &Args, common: Common) -> Result<Verdict, Failure> {
    if let Some(unknown) = args.without.iter().find(|name| !SCENARIOS.contains(&name.as_str())) {
        return Err(Broken::Child(format!("there is no scenario {unknown}")).into());
    }
    let scenarios: Vec<&str> =
        SCENARIOS.into_iter().filter(|name| !args.without.iter().any(|it| it == name)).collect();
    let progress = Frame::new("all", common, Layout::Figures, scenarios.len());
    let mut figures = Vec::new();
    for scenario in scenarios {
        progress.step(scenario);
        let these = figures_of(scenario, common)?;
        if common.json {
            let mut out = std::io::stdout().lock();
            for figure in &these {
                writeln!(out, "{}", serde_json::to_string(figure).map_err(std::io::Error::from)?)?;
            }
            out.flush()?;
        }
        figures.extend(these);
    }
    progress.clear();
    if !common.json {
        report::print_all(&figures)?;
    }
    Ok(Verdict::of(!figures.iter().any(Figure::is_missed)))
}

/// Has another process run a scenario.
fn figures_of(scenario: &str, common: Common) -> Result<Vec<Figure>, Broken> {
    let broken = |what: &dyn std::fmt::Display| Broken::Child(format!("{scenario}: {what}"));
    let this = std::env::current_exe().map_err(|e| broken(&e))?;
    let flags =
        [("--quick", common.quick), ("--smoke", common.smoke), ("--compare", common.compare)];
    let ran = Command::new(this)
        .args(["stress", scenario, "--json"])
        .args(flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| broken(&e))?;
    // 1 is a target that is missed, or an error that was told.
    if !matches!(ran.status.code(), Some(0 | 1)) {
        return Err(broken(&ran.status));
    }
    let figures = report::read(&ran.stdout[..]).map_err(|e| broken(&e))?;
    if figures.is_empty() && !ran.status.success() {
        return Err(broken(&"it gave no figures"));
    }
    Ok(figures)
}
