//! What a running turn is at, and when it last made progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use coppicer_messages::{CallId, NewRecord, QuestionId, RecordClass, ThreadId, TurnPhase, Wait};
use parking_lot::Mutex;

/// The clock of one attempt at a turn. Its engine's calls wind it; its thread, and whoever asks after
/// the thread, read it. Times are in milliseconds since the Unix epoch, on the runtime's clock.
pub(crate) struct TurnClock {
    /// The last progress; a store for each delta.
    progress_ms: AtomicU64,
    /// Whether there was any.
    moved: AtomicBool,
    begun: Mutex<Begun>,
}

/// What the turn has begun and not ended, in this order.
struct Begun {
    open: Vec<(Key, TurnPhase)>,
    since_ms: u64,
    next: u64,
}

#[derive(PartialEq, Eq)]
enum Key {
    Call(CallId),
    Number(u64),
}

/// A wait of a turn for other threads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitFor {
    pub(crate) threads: Arc<[ThreadId]>,
    pub(crate) how: Wait,
}

impl TurnClock {
    pub(crate) const fn starting(at_ms: u64) -> Self {
        let begun = Begun { open: Vec::new(), since_ms: at_ms, next: 0 };
        Self {
            progress_ms: AtomicU64::new(at_ms),
            moved: AtomicBool::new(false),
            begun: Mutex::new(begun),
        }
    }

    /// The turn made progress.
    pub(crate) fn progress(&self, at_ms: u64) {
        self.progress_ms.fetch_max(at_ms, Ordering::Relaxed);
        if !self.moved.load(Ordering::Relaxed) {
            self.moved.store(true, Ordering::Relaxed);
        }
    }

    /// When it last did; its start if it never did.
    pub(crate) fn progress_ms(&self) -> u64 {
        self.progress_ms.load(Ordering::Relaxed)
    }

    /// Whether it ever did.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }

    /// What the turn is at, and since when.
    pub(crate) fn phase(&self) -> (TurnPhase, u64) {
        let begun = self.begun.lock();
        (begun.phase(), begun.since_ms)
    }

    /// What it waits for. Several waits at once hold it up only together.
    pub(crate) fn waits(&self) -> Vec<WaitFor> {
        let begun = self.begun.lock();
        let waits = begun.open.iter().filter_map(|(_, phase)| match phase {
            TurnPhase::AwaitChild { threads, how } => {
                Some(WaitFor { threads: threads.clone(), how: *how })
            }
            _ => None,
        });
        waits.collect()
    }

    /// Calls begin and end with what is added to the history.
    pub(crate) fn note(&self, records: &[NewRecord], at_ms: u64) {
        self.progress(at_ms);
        for record in records {
            match &record.class {
                RecordClass::ToolCall { call, .. } => self.change(at_ms, |begun| {
                    let key = Key::Call(call.clone());
                    begun.open.push((key, TurnPhase::Tool { deadline_ms: None }));
                }),
                RecordClass::ToolOutput { call, .. } => {
                    self.change(at_ms, |begun| begun.end(&Key::Call(call.clone())));
                }
                _ => {}
            }
        }
    }

    /// A phase begins, until the number that is returned ends it.
    pub(crate) fn begin(&self, phase: TurnPhase, at_ms: u64) -> u64 {
        self.progress(at_ms);
        self.change(at_ms, |begun| {
            begun.next += 1;
            let number = begun.next;
            begun.open.push((Key::Number(number), phase));
            number
        })
    }

    pub(crate) fn end(&self, number: u64, at_ms: u64) {
        self.progress(at_ms);
        self.change(at_ms, |begun| begun.end(&Key::Number(number)));
    }

    fn change<T>(&self, at_ms: u64, change: impl FnOnce(&mut Begun) -> T) -> T {
        let mut begun = self.begun.lock();
        let before = begun.phase();
        let result = change(&mut begun);
        if begun.phase() != before {
            begun.since_ms = at_ms;
        }
        result
    }
}

impl Begun {
    fn phase(&self) -> TurnPhase {
        let Some((_, last)) = self.open.last() else { return TurnPhase::Model };
        let TurnPhase::Tool { .. } = last else { return last.clone() };
        let deadlines = self.open.iter().filter_map(|(_, phase)| match phase {
            TurnPhase::Tool { deadline_ms } => *deadline_ms,
            _ => None,
        });
        TurnPhase::Tool { deadline_ms: deadlines.min() }
    }

    fn end(&mut self, key: &Key) {
        self.open.retain(|(open, _)| open != key);
    }
}

/// The phase of a question.
pub(super) fn asks(question: &QuestionId) -> TurnPhase {
    TurnPhase::AwaitHost { question: question.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Line;

    fn call(id: &str) -> Vec<NewRecord> {
        vec![Line::function_call(0, id, "t", "{}")]
    }

    fn output(id: &str) -> Vec<NewRecord> {
        vec![Line::function_call_output(0, id, "done")]
    }

    const TOOL: TurnPhase = TurnPhase::Tool { deadline_ms: None };

    #[test]
    fn a_turn_is_in_its_model_but_while_a_call_is_open() {
        let clock = TurnClock::starting(5);
        assert_eq!((clock.phase(), clock.has_moved()), ((TurnPhase::Model, 5), false));
        clock.note(&call("a"), 10);
        assert_eq!(clock.phase(), (TOOL, 10));
        clock.note(&call("b"), 20);
        clock.note(&output("a"), 30);
        assert_eq!(clock.phase(), (TOOL, 10), "one of two is open");
        clock.note(&output("b"), 40);
        assert_eq!(clock.phase(), (TurnPhase::Model, 40));
        assert_eq!((clock.progress_ms(), clock.has_moved()), (40, true));
        clock.note(&output("never begun"), 50);
        assert_eq!(clock.phase(), (TurnPhase::Model, 40), "nothing ended");
    }

    #[test]
    fn the_innermost_says_what_a_turn_is_at_and_the_first_deadline_counts() {
        let clock = TurnClock::starting(0);
        clock.note(&call("a"), 1);
        let late = clock.begin(TurnPhase::Tool { deadline_ms: Some(900) }, 2);
        let soon = clock.begin(TurnPhase::Tool { deadline_ms: Some(500) }, 3);
        assert_eq!(clock.phase(), (TurnPhase::Tool { deadline_ms: Some(500) }, 3));
        clock.end(soon, 4);
        assert_eq!(clock.phase(), (TurnPhase::Tool { deadline_ms: Some(900) }, 4));
        let wait = TurnPhase::AwaitChild { threads: Arc::from([]), how: Wait::All };
        let waiting = clock.begin(wait.clone(), 5);
        clock.end(late, 6);
        assert_eq!(clock.phase(), (wait, 5));
        assert_eq!(clock.waits().len(), 1);
        clock.end(waiting, 7);
        assert_eq!(clock.phase(), (TOOL, 7));
        assert_eq!(clock.waits().len(), 0);
    }

    #[test]
    fn a_clock_never_runs_backwards() {
        let clock = TurnClock::starting(0);
        clock.progress(10);
        clock.progress(7);
        assert_eq!(clock.progress_ms(), 10);
    }
}
