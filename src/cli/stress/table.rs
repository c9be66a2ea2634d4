//! Tables of figures, in Markdown.

use std::fmt::Write as _;

use super::figure::{Figure, Target};

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

/// The figures, one case a row: the last part of a figure's name is its column.
pub(super) fn table_by_case(figures: &[Figure]) -> String {
    let mut columns: Vec<String> = vec!["case".into()];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for figure in figures {
        let (case, name) = figure.figure.rsplit_once('/').unwrap_or(("", &figure.figure));
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
