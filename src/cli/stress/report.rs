//! `coppicer stress report`: figures that were measured before, as tables.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::PathBuf;

use super::figure::Figure;
use super::table::{is_case, summary, table, table_by_case, verdict_of_all};
use super::{Broken, frame::Layout};
use crate::cli::{Failure, Verdict};

/// Prints figures as tables of Markdown: what `--json` gave.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file of figures, one JSON object a line.
    file: PathBuf,
    /// Only figures with a target, in one table.
    #[arg(long)]
    targets: bool,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let name = args.file.display();
    let broken = |what: String| Broken::Disk(format!("{name}: {what}"));
    let file = File::open(&args.file).map_err(|e| broken(e.to_string()))?;
    let figures = read(BufReader::new(file)).map_err(broken)?;
    if args.targets {
        write!(io::stdout().lock(), "{}\n{}\n", summary(&figures), verdict_of_all(&figures))?;
    } else {
        print_all(&figures)?;
    }
    Ok(Verdict::of(true))
}

/// Reads figures, one a line.
///
/// # Errors
/// Which line is none.
pub(super) fn read(from: impl BufRead) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for (place, line) in from.lines().enumerate() {
        let line = line.map_err(|e| e.to_string())?;
        if !line.trim().is_empty() {
            let figure = serde_json::from_str(&line);
            figures.push(figure.map_err(|e| format!("line {}: {e}", place + 1))?);
        }
    }
    Ok(figures)
}

/// Prints a table for each scenario, and how many targets were met.
///
/// # Errors
/// The output cannot be written.
pub(super) fn print_all(figures: &[Figure]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut rest = figures;
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|it| it.scenario == first.scenario).count();
        let (these, others) = rest.split_at(same);
        writeln!(out, "`{}`\n", first.scenario)?;
        for (layout, figures) in sections(these) {
            let table = match layout {
                Layout::Figures => table(figures),
                Layout::Cases => table_by_case(figures),
            };
            writeln!(out, "{table}")?;
        }
        rest = others;
    }
    writeln!(out, "{}", verdict_of_all(figures))?;
    out.flush()
}

/// Figures in runs of one layout.
fn sections(figures: &[Figure]) -> Vec<(Layout, &[Figure])> {
    let layout = |run: &[Figure]| if is_case(&run[0]) { Layout::Cases } else { Layout::Figures };
    figures.chunk_by(|a, b| is_case(a) == is_case(b)).map(|run| (layout(run), run)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_line_by_line_and_a_wrong_one_is_named() {
        let figure = Figure::new("spawn", "one", 2.0, "µs");
        let line = serde_json::to_string(&figure).unwrap();
        assert_eq!(
            read(format!("{line}\n\n{line}\n").as_bytes()),
            Ok(vec![figure.clone(), figure])
        );
        assert!(read(format!("{line}\n{{}}\n").as_bytes()).unwrap_err().starts_with("line 2: "));
    }

    #[test]
    fn cases_and_figures_of_one_scenario_stand_in_tables_of_their_own() {
        let figures = [
            Figure::new("close", "flat/10/0 %/answer", 1.0, "ms"),
            Figure::new("close", "flat/10/0 %/left", 1.0, ""),
            Figure::new("close", "all of 10 idle threads", 1.0, "ms"),
        ];
        let sections = sections(&figures);
        let shown: Vec<_> = sections.iter().map(|(layout, run)| (*layout, run.len())).collect();
        assert_eq!(shown, [(Layout::Cases, 2), (Layout::Figures, 1)]);
    }
}
