//! Long histories, for the scenarios and benches that need some.

use coppicer::{History, Line, MessagePhase, NewRecord};

/// Records of a turn in these histories.
pub(super) const TURN_RECORDS: u64 = 10;

/// A history of about so many records, in whole turns, with this text in its lines.
pub(super) fn session(records: u64, text: &str) -> History {
    (0..(records / TURN_RECORDS).max(1)).flat_map(|number| turn(number, text)).collect()
}

/// The records of one turn.
pub(super) fn turn(number: u64, text: &str) -> Vec<NewRecord> {
    let (id, call) = (format!("turn-{number}"), format!("call-{number}"));
    let mut records = vec![
        Line::task_started(number, &id),
        Line::turn_context(number, &id, "/srv/demo", "model"),
    ];
    records.extend(Line::user_message(number, text));
    records.push(Line::function_call(number, &call, "shell", "{\"cmd\":\"ls\"}"));
    records.push(Line::function_call_output(number, &call, text));
    records.push(Line::developer_item(number, text));
    records.extend(Line::assistant_message(number, text, MessagePhase::Final));
    records.push(Line::task_complete(number, &id, None, Some(1), None));
    records
}
