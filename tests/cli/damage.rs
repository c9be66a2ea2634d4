//! A damaged store: what is damaged is named, and everything else can be used.

use std::fs;

use tempfile::tempdir;

use crate::support::*;

/// The thread of the chat, and the record that is damaged in it.
const THREAD: &str = "01a2032d-a9a4-7001-8aea-b4350a6e6193";
const RECORD: &str = "record 4";

fn home() -> Home {
    let home = Home::new();
    home.well(["import", examples().to_str().unwrap()]);
    home
}

/// Changes one byte of a record where it stands in the file.
fn flip(home: &Home) {
    let connection = rusqlite::Connection::open(home.store()).unwrap();
    let raw: Vec<u8> = connection
        .query_row(
            "SELECT r.raw FROM record r JOIN thread t ON t.pk = r.thread WHERE t.id = ?1 AND r.seq = 4",
            [THREAD],
            |row| row.get(0),
        )
        .unwrap();
    drop(connection);
    let mut file = fs::read(home.store()).unwrap();
    // A long record goes on in other pages: its beginning is in one piece.
    let head = &raw[..raw.len().min(200)];
    let found: Vec<usize> =
        (0..file.len() - head.len()).filter(|&at| file[at..].starts_with(head)).collect();
    assert!(!found.is_empty(), "the record is in the file as it is");
    for at in found {
        file[at + head.len() / 2] ^= 0x01;
    }
    fs::write(home.store(), file).unwrap();
}

#[test]
fn a_flipped_byte_is_found_by_verify_which_names_thread_and_record() {
    let home = home();
    assert!(home.well(["verify"]).out.starts_with("12 threads, "));
    flip(&home);
    let ran = home.coppicer(["verify"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.out.contains(&format!("{RECORD} of thread {THREAD} is damaged")), "{ran:?}");
    assert!(ran.out.ends_with(": 1 finding\n"), "{ran:?}");
    let ran = home.coppicer(["verify", "--json"]);
    assert_eq!(ran.code, Some(1));
    let rows = ran.json_lines();
    assert_eq!((&rows[0]["thread"], &rows[0]["record"]), (&THREAD.into(), &4.into()));
    assert_eq!(rows[1]["findings"], 1);
}

#[test]
fn a_damaged_thread_harms_no_other() {
    let home = home();
    flip(&home);
    let folder = tempdir().unwrap();
    let out = folder.path().join("out.jsonl");
    let out = out.to_str().unwrap();
    for _ in 0..2 {
        assert!(home.well(["threads"]).out.ends_with("12 threads\n"));
        assert!(home.well(["tree"]).out.ends_with("12 threads in 9 trees\n"));
        home.well(["export", "01a2032d-aafa", "-o", out, "--force"]);
        assert!(fs::read(out).unwrap().starts_with(&fs::read(example("tools")).unwrap()));
        fs::remove_file(out).unwrap();

        let ran = home.coppicer(["export", THREAD, "-o", out]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.says(&[RECORD, THREAD, "damaged"]);
        assert!(fs::metadata(out).is_err(), "nothing is written");
        let ran = home.coppicer(["show", THREAD, "--json"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let shown = ran.json();
        assert!(shown["damage"].as_str().unwrap().contains(RECORD), "{shown}");
        let classes = shown["classes"].as_object().unwrap().values();
        assert_eq!(classes.map(|count| count.as_u64().unwrap()).sum::<u64>(), 4, "{shown}");

        // The others run, and the thread is in quarantine from then on.
        let sessions = examples();
        let ran = home.coppicer(["run", "--json", "--turns", "1", sessions.to_str().unwrap()]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.says(&[THREAD, "damaged"]);
        let report = ran.json();
        assert_eq!(report["turns"], serde_json::json!({ "completed": 12 }), "{report}");
        assert_eq!(report["threads"], 11, "{report}");
        assert_eq!(report["failures"], serde_json::json!([]), "{report}");
    }
    let shown = home.coppicer(["show", THREAD, "--json"]).json();
    assert_eq!(shown["status"], "damaged");
}

#[test]
fn a_damaged_thread_can_be_deleted() {
    let home = home();
    flip(&home);
    home.well(["delete", "--yes", THREAD]);
    assert!(home.well(["verify"]).out.ends_with("all sound\n"));
}
