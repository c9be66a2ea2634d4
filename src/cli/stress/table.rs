//! Tables of figures, in Markdown.

use std::fmt::Write as _;

use super::figure::{Figure, Target};
use crate::cli::text;

/// The row of a figure in [`table`].
fn cells(figure: &Figure) -> [String; 6] {
    let beside = match (&figure.baseline, figure.baseline_value) {
        (Some(name), Some(value)) => format!("{name}: {}", number(value, &figure.unit)),
        _ => String::new(),
    };
    [
        figure.figure.clone(),
        number(figure.value, &figure.unit),
        beside,
        figure.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        figure.target.map_or_else(String::new, |target| target.to_string()),
        verdict(figure.met, figure.target).to_owned(),
    ]
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
        &figures.iter().map(|f| cells(f).to_vec()).collect::<Vec<_>>(),
    )
}

/// Whether a figure is one of a case, which has a row of its own with a column for each figure.
pub(super) fn is_case(figure: &Figure) -> bool {
    match &*figure.scenario {
        "scaling" => true,
        // Shape, threads, share, figure.
        "close" => figure.figure.split('/').count() == 4,
        _ => false,
    }
}

/// All figures that have a target, of whatever scenario, one a row; those of cases in one row.
pub(super) fn summary(figures: &[Figure]) -> String {
    let head = ["scenario", "figure", "value", "baseline", "ratio", "target", "verdict"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for run in figures.chunk_by(|a, b| a.scenario == b.scenario && is_case(a) == is_case(b)) {
        let judged: Vec<&Figure> = run.iter().filter(|it| it.target.is_some()).collect();
        let Some(first) = judged.first() else { continue };
        let scenario = || first.scenario.to_string();
        if !is_case(first) {
            let row = |it: &&Figure| [scenario()].into_iter().chain(cells(it)).collect();
            rows.extend(judged.iter().map(row));
            continue;
        }
        let cases = run.chunk_by(|a, b| case(a).0 == case(b).0).count();
        let missed = judged.iter().filter(|it| it.is_missed()).count();
        let verdict = if missed == 0 { "met" } else { "MISSED" };
        let met = format!("{} met", judged.len() - missed);
        let (what, all) = (format!("{cases} cases"), format!("{} targets", judged.len()));
        rows.push(vec![scenario(), what, met, String::new(), String::new(), all, verdict.into()]);
    }
    markdown(&head.map(str::to_owned), &rows)
}

/// The case that a figure is of, and its own name.
fn case(figure: &Figure) -> (&str, &str) {
    figure.figure.rsplit_once('/').unwrap_or(("", &figure.figure))
}

/// How many targets are met.
pub(super) fn verdict_of_all(figures: &[Figure]) -> String {
    let judged = figures.iter().filter(|figure| figure.met.is_some()).count();
    let missed = figures.iter().filter(|figure| figure.is_missed()).count();
    match missed {
        0 => format!("{} met", text::count(judged, "target")),
        _ => format!("{missed} of {} missed", text::count(judged, "target")),
    }
}

/// The figures, one case a row: the last part of a figure's name is its column.
pub(super) fn table_by_case(figures: &[Figure]) -> String {
    let mut columns: Vec<String> = vec!["case".into()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for figure in figures {
        let (case, name) = case(figure);
        let name = match &*figure.unit {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_what_has_a_target_and_one_row_for_all_cases() {
        let none = Target::Exactly(0.0);
        let figures = [
            Figure::new("spawn", "one", 2.0, "µs").beside("raw", 2.0),
            Figure::new("spawn", "one", 2.0, "µs").judged(Target::AtMost(1.0), true),
            Figure::new("close", "flat/9/1 %/left", 0.0, "").judged(none, true),
            Figure::new("close", "deep/9/1 %/left", 1.0, "").judged(none, true),
        ];
        let summary = summary(&figures);
        let rows: Vec<Vec<&str>> = summary
            .lines()
            .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[2], ["spawn", "one", "2 µs", "", "", "<= 1", "MISSED"]);
        assert_eq!(rows[3], ["close", "2 cases", "1 met", "", "", "2 targets", "MISSED"]);
        assert_eq!(rows.len(), 4);
        assert_eq!(verdict_of_all(&figures), "2 of 3 targets missed");
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
}
