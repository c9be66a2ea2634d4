//! Every bound of the runtime: its name, unit, default, and the reason for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often one thread can be moved while this runtime has it in memory: each place that it had is
/// kept until it leaves, some 100 bytes.
pub const MOVES_MAX: usize = 1 << 14;

/// Questions, stuck turns, damage and the like that a snapshot of the tree can say. What was told of longest
/// ago is forgotten first.
pub const CONCERNS_MAX: usize = 4_096;

/// The same in bytes of their facts, by [`Event::bytes`](crate::Event::bytes).
pub const CONCERNS_BYTES_MAX: usize = 8 << 20;

/// Bytes of a question of which a snapshot says the body too.
pub const CONCERN_BYTES_MAX: usize = 64 << 10;

/// One row of the table of bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitRow {
    /// The field of [`Limits`].
    pub name: &'static str,
    /// What it counts.
    pub unit: &'static str,
    /// The default, as text.
    pub default: String,
    /// Why there is one, and why this much.
    pub reason: &'static str,
}

macro_rules! limits {
    ($($(#[$attr:meta])* $name:ident: $type:ty = $default:expr, $unit:literal, $reason:literal;)*) => {
        /// The bounds of one runtime. Every queue, wait, retry and buffer has one.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct Limits {
            $(
                #[doc = concat!($reason, " Unit: ", $unit, ". Default: `", stringify!($default), "`.")]
                $(#[$attr])*
                pub $name: $type,
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The table of bounds with their defaults, for documentation and `--help`.
            pub fn table() -> Vec<LimitRow> {
                let default = Self::default();
                vec![$(LimitRow {
                    name: stringify!($name),
                    unit: $unit,
                    default: format!("{:?}", default.$name),
                    reason: $reason,
                },)*]
            }
        }
    };
}

limits! {
    registered_max: u64 = 100_000_000, "threads",
        "Threads that the store knows, live or not. A new one past it is refused; one that is there can be resumed.";
    resident_max: usize = 1_000_000, "threads",
        "Threads with a live actor. An idle one costs some kilobytes; a spawn past it is refused.";
    executing_max: usize = 100_000, "turns",
        "Turns that run at once. Further ones wait for a permit: trees in turns, within a tree first come first served.";
    depth_max: u32 = 1_024, "levels",
        "Depth of a tree below its root. Bounds recursion of agents that spawn agents.";
    children_max: usize = 100_000, "threads",
        "Live sub-agents of one thread.";
    tree_max: usize = 200_000, "threads",
        "Live threads of one tree, its root included. Bounds what one runaway root can cost.";
    spawns_per_minute_max: usize = 600_000, "threads",
        "New sub-agents within a minute in one tree. Bounds agents that spawn and close without end.";
    spawn_line_max: usize = 65_536, "requests",
        "Spawns that wait in line for a limit to pass. Past it they are refused as if they did not wait.";
    inbox_max: usize = 512, "submissions",
        "Submissions that wait in one thread. REF's queue has 512 too; past it callers are refused or wait.";
    control_max: usize = 4_096, "messages",
        "Control messages and notices that wait in one thread, beside the inbox. Bounds callers that ask faster than an actor answers.";
    mail_max: usize = 4_096, "messages",
        "Inter-agent messages that wait in one thread. Past it a sender is refused.";
    supervisor_requests_max: usize = 65_536, "requests",
        "Spawns, resumes, forks and closes that are under way at once. Past it callers are refused.";
    emit_window_max: usize = 64, "records",
        "Records that one turn has emitted and the store has not committed. A faster engine waits.";
    steered_max: usize = 64, "inputs",
        "Inputs that wait to be taken by a running turn.";
    processes_max: usize = 64, "processes",
        "External processes that engines hold for one thread at once.";
    questions_max: usize = 64, "questions",
        "Questions of one turn that wait for the host.";
    record_bytes_max: usize = 16 << 20, "bytes",
        "Size of one record. Longer ones belong in a file that the record names.";
    submission_bytes_max: usize = 1 << 20, "bytes",
        "Size of one submission's body.";
    json_depth_max: usize = 64, "levels",
        "Nesting of a record that an engine emits.";
    batch_records_max: usize = 4_096, "records",
        "Records in one append. Larger imports are cut into several.";
    taps_max: usize = 1_024, "taps",
        "Subscriptions at once. Each costs what waits for it.";
    tap_events_max: usize = 4_096, "events",
        "Events that wait in one tap. The oldest go first, and the gap is in the stream.";
    tap_bytes_max: usize = 8 << 20, "bytes",
        "Size of the events that wait in one tap. The oldest go first; taps share the events.";
    journal_events_max: usize = 65_536, "events",
        "Lifecycle events that a cursor can go back to.";
    journal_bytes_max: usize = 64 << 20, "bytes",
        "Size of the lifecycle events that a cursor can go back to. The oldest go first.";
    recording_bytes_max: usize = 256 << 20, "bytes",
        "Size at which a recorder puts its file aside and begins another.";
    recording_files_max: usize = 4, "files",
        "Files of one recording that are kept, the newest among them.";
    call_timeout: Duration = Duration::from_secs(30), "time",
        "Wait for an answer where the caller names no deadline.";
    interrupt_grace: Duration = Duration::from_millis(100), "time",
        "Wait for a cancelled turn to end by itself before it is killed. REF waits 100 ms.";
    kill_wait: Duration = Duration::from_millis(50), "time",
        "Wait for a killed turn to be gone before it is fenced off.";
    close_margin: Duration = Duration::from_millis(20), "time",
        "Part of a close's budget kept for the report.";
    close_slack: Duration = Duration::from_millis(100), "time",
        "Wait of a close's caller beyond its deadline, for a report that an overloaded host delivers late.";
    turn_attempts_max: u32 = 4, "attempts",
        "Attempts at one turn when the engine reports a passing error.";
    retry_delay: Duration = Duration::from_millis(200), "time",
        "Pause before the second attempt at a turn where the engine names none; doubles with each further one.";
    retry_delay_max: Duration = Duration::from_secs(30), "time",
        "Longest pause between two attempts at a turn.";
    idle_after: Duration = Duration::from_secs(30 * 60), "time",
        "Idle time after which a thread without live sub-agents gives up its actor; the next message gives it one. REF unloads after 30 minutes.";
    idle_max: usize = 100_000, "threads",
        "Threads with a live actor above which the one that was idle longest gives up its own.";
    recoveries_max: usize = 32, "threads",
        "Threads with unfinished work that a starting runtime brings up at once. The others wait.";
    store_retry: Duration = Duration::from_secs(1), "time",
        "Pause before a thread whose store could not write tries again.";
    agents_listed_max: usize = 100_000, "threads",
        "Threads of one tree that a list of its agents looks at, nearest to the root first.";
    stuck_after: Duration = Duration::from_secs(10 * 60), "time",
        "Time without progress after which a running turn counts as stuck, where its thread's policy names none.";
    stuck_tool_after: Duration = Duration::from_secs(60 * 60), "time",
        "The same while a tool call that named no deadline is open. Builds and tests take their time.";
    stuck_chain_max: usize = 1_024, "threads",
        "Threads that are looked at to find who holds up a turn that waits for others.";
    wait_walk_max: usize = 65_536, "threads",
        "Threads that are looked at when a wait begins, to see whether it can end. A cycle behind more is found by its deadline only.";
    messages_per_wake_max: usize = 256, "messages",
        "Messages that an actor takes at one go before it lets others run.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_has_a_unit_a_default_and_a_reason() {
        for row in Limits::table() {
            assert!(!row.unit.is_empty() && !row.default.is_empty(), "{row:?}");
            assert!(row.reason.ends_with('.') && row.reason.len() > 20, "{row:?}");
        }
    }
}
