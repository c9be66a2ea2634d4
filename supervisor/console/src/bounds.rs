//! Every bound of the console: its name, unit, value, and the reason for it.

use std::time::Duration;

use serde_json::{Value, json};

/// Frames of the tree: the shortest time between two, 4 a second.
pub(crate) const FRAME_EVERY: Duration = Duration::from_millis(250);

/// Rows and removals of one frame. Further ones come with the next, at once.
pub(crate) const FRAME_ROWS_MAX: usize = 2_048;

/// Threads whose view is looked at for one frame: those that facts touched, then those that run. The
/// others wait for the next.
pub(crate) const LOOKS_MAX: usize = 4_096;

/// Threads above the one of a fact whose budgets are looked at for it.
pub(crate) const ABOVE_MAX: usize = 64;

/// How long a thread that is over keeps its row.
pub(crate) const GONE_KEEP_MS: u64 = 60_000;

/// Threads that are over and keep their row; the oldest go first.
pub(crate) const GONE_MAX: usize = 1_000;

/// Removed rows that a client can be told of when it comes back; behind more it begins anew.
pub(crate) const REMOVALS_MAX: usize = 16_384;

/// Bytes of a text in a row.
pub(crate) const ROW_TEXT_MAX: usize = 512;

/// What a thread's detail lists of its restarts and errors, as this console saw them.
pub(crate) const RECENT_MAX: usize = 32;

/// How long turns stay in the lanes.
pub(crate) const LANES_KEEP_MS: u64 = 600_000;

/// Turns in the lanes; the oldest go first.
pub(crate) const LANE_SPANS_MAX: usize = 16_384;

/// Crashes, restarts and the like in the lanes; the oldest go first.
pub(crate) const LANE_MARKS_MAX: usize = 4_096;

/// Turns and marks of one answer.
pub(crate) const LANES_PAGE_MAX: usize = 4_096;

/// What needs attention: items that are kept. Further ones are counted with the graver kinds only.
pub(crate) const ATTENTION_MAX: usize = 1_000;

/// Facts that wait for the console's watcher.
pub(crate) const WATCH_EVENTS_MAX: usize = 65_536;

/// The same in bytes.
pub(crate) const WATCH_BYTES_MAX: usize = 32 << 20;

/// Requests that wait for the watcher.
pub(crate) const ASKS_MAX: usize = 256;

/// Facts that wait for one client of `/api/events`.
pub(crate) const STREAM_EVENTS_MAX: usize = 4_096;

/// The same in bytes.
pub(crate) const STREAM_BYTES_MAX: usize = 4 << 20;

/// How often a client of `/api/events` is told how far it is, while facts are told and none is for it.
pub(crate) const PLACE_EVERY: Duration = Duration::from_secs(1);

/// Streams at once.
pub(crate) const STREAMS_MAX: usize = 16;

/// Connections at once.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// Bytes of a request's head.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// Headers of a request.
pub(crate) const HEADERS_MAX: usize = 64;

/// How long a request's head may take, and how long a connection may be idle.
pub(crate) const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a request's body may take.
pub(crate) const BODY_WITHIN: Duration = Duration::from_secs(10);

/// How long a client may not read, while there is something for it.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// Bytes that the kernel holds for a client that does not read.
pub(crate) const SEND_BUFFER_BYTES: u32 = 256 << 10;

/// Silence of a stream after which a comment is sent, so that a dead client is noticed.
pub(crate) const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// How long connections have to end when the console stops.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(1);

/// How long what is asked about one thread may take.
pub(crate) const DETAIL_WITHIN: Duration = Duration::from_secs(5);

/// Records of one page of a history.
pub(crate) const HISTORY_MAX: u64 = 200;

/// Bytes of one page of a history, about: the page ends before a record that would go past it.
pub(crate) const HISTORY_BYTES_MAX: usize = 1 << 20;

/// Bytes of records that are read from the store at one go for a page; one record may go past it.
pub(crate) const READ_BYTES_MAX: usize = 1 << 20;

/// Bytes of the name of a tool, or of the id of a call or a turn.
pub(crate) const NAME_MAX: usize = 256;

/// Bytes of a record's text.
pub(crate) const RECORD_TEXT_MAX: usize = 4 << 10;

/// Records that are looked at for one page of a timeline.
pub(crate) const TIMELINE_RECORDS_MAX: u64 = 5_000;

/// Turns of one page of a timeline.
pub(crate) const TIMELINE_MAX: usize = 200;

/// Threads of one page of the store's list.
pub(crate) const LIST_MAX: usize = 200;

/// Children that a thread's detail lists.
pub(crate) const CHILDREN_MAX: usize = 1_000;

/// Rows of an audit that are listed.
pub(crate) const AUDIT_ROWS_MAX: usize = 5_000;

/// The longest deadline of a close.
pub(crate) const CLOSE_WITHIN_MAX_MS: u64 = 600_000;

/// What clients may want to know of them.
pub(crate) fn shown() -> Value {
    json!({
        "frame_every_ms": FRAME_EVERY.as_millis() as u64,
        "frame_rows_max": FRAME_ROWS_MAX,
        "gone_keep_ms": GONE_KEEP_MS,
        "gone_max": GONE_MAX,
        "lanes_keep_ms": LANES_KEEP_MS,
        "lane_spans_max": LANE_SPANS_MAX,
        "streams_max": STREAMS_MAX,
        "stream_events_max": STREAM_EVENTS_MAX,
        "connections_max": CONNECTIONS_MAX,
        "body_bytes_max": BODY_BYTES_MAX,
        "history_max": HISTORY_MAX,
        "close_within_max_ms": CLOSE_WITHIN_MAX_MS,
    })
}
