//! Turns of the last minutes by thread, for a picture of them over time.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use coppicer_messages::{Ended, Event, Fact, Phase, RuntimeEvent, ThreadEvent, ThreadId, TurnId};
use serde::Serialize;

use crate::bounds::{LANE_MARKS_MAX, LANE_SPANS_MAX, LANES_KEEP_MS, ROW_TEXT_MAX};
use crate::text::cut;

/// One turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) thread: ThreadId,
    pub(crate) turn: TurnId,
    pub(crate) from_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<&'static str>,
    pub(crate) attempt: u32,
}

/// Something that happened at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mark {
    pub(crate) thread: ThreadId,
    pub(crate) at_ms: u64,
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

/// What is new in the lanes for a client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LaneNews {
    pub(crate) now_ms: u64,
    pub(crate) keep_ms: u64,
    pub(crate) complete_from_ms: u64,
    pub(crate) next: u64,
    pub(crate) full: bool,
    pub(crate) more: bool,
    pub(crate) spans: Vec<Span>,
    pub(crate) marks: Vec<Mark>,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Span(u64),
    Mark(u64),
}

/// Bounded by number and by time; each change of it takes the next number, as those of rows do.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    last: u64,
    changes: BTreeMap<u64, What>,
    /// Oldest first, with the change that made each what it is. The numbers of what is kept go up by
    /// one from that of the first.
    spans: VecDeque<(u64, Span)>,
    first_span: u64,
    marks: VecDeque<(u64, Mark)>,
    first_mark: u64,
    /// The turn that runs, by thread.
    open: HashMap<ThreadId, u64>,
    /// Threads that are shown as parked.
    parked: HashSet<ThreadId>,
    complete_from_ms: u64,
}

impl Lanes {
    /// Begins, or misses something: it is complete from then on only.
    pub(crate) fn misses_until(&mut self, at_ms: u64) {
        self.complete_from_ms = self.complete_from_ms.max(at_ms);
    }

    /// A turn that ran when the console began to watch.
    pub(crate) fn runs(&mut self, thread: ThreadId, turn: TurnId, from_ms: u64) {
        let same = self.open.get(&thread).and_then(|&at| self.span(at));
        if same.is_some_and(|(_, span)| span.turn == turn) {
            return;
        }
        self.close(thread, from_ms, "lost");
        self.begin(thread, turn, from_ms, 1);
    }

    /// What a gap hid: turns of threads that are none of `running` are over.
    pub(crate) fn only(&mut self, running: impl Fn(ThreadId) -> bool, at_ms: u64) {
        let over: Vec<ThreadId> =
            self.open.keys().copied().filter(|&thread| !running(thread)).collect();
        for thread in over {
            self.close(thread, at_ms, "lost");
        }
    }

    /// Of which threads it is known that they are parked, when the console begins or behind a gap.
    pub(crate) fn parked(&mut self, threads: impl Iterator<Item = ThreadId>) {
        self.parked = threads.collect();
    }

    /// Takes in a fact.
    pub(crate) fn follow(&mut self, event: &Event) {
        let Some(thread) = event.thread else { return };
        let at_ms = event.at_ms;
        if let Fact::Thread(ThreadEvent::StatusChanged { phase, .. }) = &event.fact {
            return self.shown(thread, *phase, at_ms);
        }
        let mut mark = |kind, text: Option<&str>| {
            let text = text.map(|text| cut(text, ROW_TEXT_MAX));
            self.mark(Mark { thread, at_ms, kind, text });
        };
        match &event.fact {
            Fact::Thread(ThreadEvent::TurnStarted { attempt }) => {
                if let Some(turn) = &event.turn {
                    self.close(thread, at_ms, "lost");
                    self.begin(thread, turn.clone(), at_ms, *attempt);
                }
            }
            Fact::Thread(ThreadEvent::TurnEnded { outcome, .. }) => {
                self.close(thread, at_ms, outcome.name());
            }
            Fact::Thread(ThreadEvent::Crashed { cause }) => mark("crash", Some(cause)),
            Fact::Thread(ThreadEvent::BackoffStarted { .. }) => mark("backoff", None),
            Fact::Thread(ThreadEvent::TurnFenced) => mark("fenced", None),
            Fact::Thread(ThreadEvent::TurnStuck { phase, .. }) => mark("stuck", Some(phase.name())),
            Fact::Runtime(RuntimeEvent::ThreadSpawned { .. }) => mark("spawned", None),
            Fact::Runtime(RuntimeEvent::ThreadRestarted) => mark("restart", None),
            Fact::Runtime(RuntimeEvent::ThreadEnded { how }) => {
                match how {
                    Ended::Crashed { cause } => mark("crash", Some(cause)),
                    Ended::Closed { .. } => mark("closed", None),
                    _ => {}
                }
                self.close(thread, at_ms, "lost");
            }
            Fact::Runtime(RuntimeEvent::SpawnUndone) => self.close(thread, at_ms, "lost"),
            _ => {}
        }
    }

    /// A thread is shown in this phase: parked because its restarts are spent, or by somebody. That it is shown
    /// as parked again is no mark.
    fn shown(&mut self, thread: ThreadId, phase: Phase, at_ms: u64) {
        if phase != Phase::Parked {
            self.parked.remove(&thread);
        } else if self.parked.insert(thread) {
            self.mark(Mark { thread, at_ms, kind: "parked", text: None });
        }
    }

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(LANES_KEEP_MS);
        // One that runs is kept, and what began after it waits behind it: by number there are few.
        while self.spans.front().is_some_and(|(_, span)| span.to_ms.is_some_and(|to| to < oldest)) {
            self.drop_span();
        }
        while self.marks.front().is_some_and(|(_, mark)| mark.at_ms < oldest) {
            self.drop_mark();
        }
        self.complete_from_ms = self.complete_from_ms.max(oldest);
    }

    /// What is behind change number `after`, at most `max` things; everything without it.
    pub(crate) fn after(&self, after: Option<u64>, max: usize, now_ms: u64) -> LaneNews {
        let known = after.filter(|&after| after <= self.last);
        let mut news = LaneNews {
            now_ms,
            keep_ms: LANES_KEEP_MS,
            complete_from_ms: self.complete_from_ms,
            next: known.unwrap_or(0),
            full: known.is_none(),
            more: false,
            spans: Vec::new(),
            marks: Vec::new(),
        };
        let mut changes = self.changes.range(news.next + 1..);
        for (&at, &what) in changes.by_ref().take(max) {
            news.next = at;
            match what {
                What::Span(number) => {
                    news.spans.extend(self.span(number).map(|(_, span)| span.clone()));
                }
                What::Mark(number) => {
                    let place = (number - self.first_mark) as usize;
                    news.marks.extend(self.marks.get(place).map(|(_, mark)| mark.clone()));
                }
            }
        }
        news.more = changes.next().is_some();
        if !news.more {
            news.next = self.last;
        }
        news
    }

    fn span(&self, number: u64) -> Option<&(u64, Span)> {
        self.spans.get(number.checked_sub(self.first_span)? as usize)
    }

    fn begin(&mut self, thread: ThreadId, turn: TurnId, from_ms: u64, attempt: u32) {
        let number = self.first_span + self.spans.len() as u64;
        let change = self.change(What::Span(number));
        let span = Span { thread, turn, from_ms, to_ms: None, outcome: None, attempt };
        self.spans.push_back((change, span));
        self.open.insert(thread, number);
        while self.spans.len() > LANE_SPANS_MAX {
            if let Some(from_ms) = self.drop_span() {
                self.misses_until(from_ms);
            }
        }
    }

    fn close(&mut self, thread: ThreadId, at_ms: u64, outcome: &'static str) {
        let Some(number) = self.open.remove(&thread) else { return };
        let Some(place) = number.checked_sub(self.first_span) else { return };
        let change = self.change(What::Span(number));
        if let Some((changed, span)) = self.spans.get_mut(place as usize) {
            self.changes.remove(changed);
            *changed = change;
            span.to_ms = Some(at_ms.max(span.from_ms));
            span.outcome = Some(outcome);
        }
    }

    fn mark(&mut self, mark: Mark) {
        let number = self.first_mark + self.marks.len() as u64;
        let change = self.change(What::Mark(number));
        self.marks.push_back((change, mark));
        while self.marks.len() > LANE_MARKS_MAX {
            if let Some(at_ms) = self.drop_mark() {
                self.misses_until(at_ms);
            }
        }
    }

    fn change(&mut self, what: What) -> u64 {
        self.last += 1;
        self.changes.insert(self.last, what);
        self.last
    }

    /// When what was dropped ended, or began if it runs.
    fn drop_span(&mut self) -> Option<u64> {
        let (change, span) = self.spans.pop_front()?;
        if span.to_ms.is_none() {
            self.open.remove(&span.thread);
        }
        self.first_span += 1;
        self.changes.remove(&change);
        Some(span.to_ms.unwrap_or(span.from_ms))
    }

    fn drop_mark(&mut self) -> Option<u64> {
        let (change, mark) = self.marks.pop_front()?;
        self.first_mark += 1;
        self.changes.remove(&change);
        Some(mark.at_ms)
    }
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
