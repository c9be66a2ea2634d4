//! Facts are declared once, in code. What the documentation says of them is made from that.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::path::Path;

use coppicer::{Fact, FactRow};

#[test]
fn the_table_of_events_in_the_documentation_is_the_one_in_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md");
    let page = std::fs::read_to_string(&file).unwrap();
    let head = page.split("| event |").next().unwrap();
    let expected = format!("{head}{}", FactRow::markdown(&Fact::table()));
    if std::env::var_os("UPDATE_EVENTS").is_some() {
        std::fs::write(&file, &expected).unwrap();
    }
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page == expected, "run: UPDATE_EVENTS=1 cargo test --all-features --test events");
}
