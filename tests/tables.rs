//! The tables of figures are written by `.ci/bench-report`, between markers: they are there, and say where
//! they come from. The numbers are the machine's.

const BEGIN: &str = "<!-- figures: begin, written by .ci/bench-report -->";
const END: &str = "<!-- figures: end -->";

/// What stands between the markers of a file.
fn figures(file: &str) -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).expect("it is there");
    for marker in [BEGIN, END] {
        let times = text.lines().filter(|line| *line == marker).count();
        assert_eq!(times, 1, "{file} has {marker} once, as a line of its own");
    }
    let (_, behind) = text.split_once(BEGIN).expect("it was counted");
    let (between, _) = behind.split_once(END).unwrap_or_else(|| panic!("{file}: the end is first"));
    between.trim().lines().map(str::to_owned).collect()
}

fn cells(row: &str) -> Vec<&str> {
    assert!(row.starts_with('|') && row.ends_with('|'), "no row of a table: {row}");
    row[1..row.len() - 1].split('|').map(str::trim).collect()
}

#[test]
fn the_readme_has_one_table_of_targets_with_machine_commit_and_command() {
    let lines = figures("README.md");
    let about = &lines[0];
    for part in ["As measured: `coppicer stress all --compare", ", commit ", " cores ("] {
        assert!(about.contains(part), "{part} is missing in: {about}");
    }
    assert_eq!(lines[1], "");
    let table: Vec<&String> = lines[2..].iter().take_while(|line| line.starts_with('|')).collect();
    let head = ["scenario", "figure", "value", "baseline", "ratio", "target", "verdict"];
    assert_eq!(cells(table[0]), head);
    for row in &table[2..] {
        let cells = cells(row);
        assert_eq!(cells.len(), head.len(), "{row}");
        assert!(["met", "MISSED", "not judged"].contains(&cells[6]), "{row}");
        assert!(!cells[5].is_empty(), "{row}");
    }
    for scenario in [
        "spawn", "idle", "turns", "lookup", "refuse", "close", "crash", "durable", "fork", "open",
        "taps", "soak",
    ] {
        assert!(table.iter().any(|row| cells(row)[0] == scenario), "no target of {scenario}");
    }
    assert!(lines.last().unwrap().contains("target"), "the verdict of all is below");
}

#[test]
fn the_benches_have_a_table_for_each_scenario() {
    let lines = figures("benches/README.md");
    assert!(lines[0].starts_with("As measured: `"), "{}", lines[0]);
    for scenario in ["spawn", "idle", "scaling", "allocations"] {
        let at = lines.iter().position(|line| *line == format!("`{scenario}`"));
        let at = at.unwrap_or_else(|| panic!("no table of {scenario}"));
        assert!(lines[at + 2].starts_with('|') && lines[at + 3].starts_with("| -"), "{scenario}");
    }
}
