//! Where a history can be cut: its user messages, and whether it ends in the middle of a turn.

use std::collections::HashMap;

use coppicer_messages::{RecordClass, Seq, TurnId, TurnRef};

use super::History;
use super::dropped::Dropped;
use super::tree::Counted;

/// Whether a history ends in the middle of a turn (REF 2.5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnState {
    /// Whether the last turn is unfinished.
    pub mid_turn: bool,
    /// Its id, if the history names it.
    pub turn: Option<TurnRef>,
    /// The record that started it, if there is one.
    pub start: Option<Seq>,
}

/// The places of the user messages that still count (REF 2.3): before the n-th of them a fork may
/// be cut.
pub fn user_positions(history: &History) -> Vec<Seq> {
    positions(history, Counted::UserMessages)
}

/// The places from which a sub-agent may inherit (REF 2.9): user messages and mail that starts a
/// turn.
pub fn fork_turn_positions(history: &History) -> Vec<Seq> {
    positions(history, Counted::ForkTurns)
}

fn positions(history: &History, what: Counted) -> Vec<Seq> {
    let dropped = Dropped::of(history);
    history
        .iter()
        .filter(|record| what.has(&record.class) && dropped.counts(record.seq))
        .map(|record| record.seq)
        .collect()
}

/// The place of user message number `nth` (from 0) among those that still count: a walk down the
/// tree, and a look at what was rolled back.
pub(super) fn nth_user_position(history: &History, nth: usize) -> Option<Seq> {
    Dropped::of(history).nth(history, Counted::UserMessages, nth as u64)
}

/// The last user message that still counts.
pub(super) fn last_user_position(history: &History) -> Option<Seq> {
    last_position(&Dropped::of(history), history)
}

/// The same of the end of a history, from the start of some turn on; none if it stands before that.
pub(super) fn last_position_of_end(history: &History) -> Option<Seq> {
    last_position(&Dropped::of_end(history)?, history)
}

fn last_position(dropped: &Dropped, history: &History) -> Option<Seq> {
    let last = dropped.count(history, Counted::UserMessages).checked_sub(1)?;
    dropped.nth(history, Counted::UserMessages, last)
}

/// The number of records before user message number `nth` (REF 2.4); all of them if there are not
/// so many.
pub fn before_nth_user_message(history: &History, nth: usize) -> u64 {
    nth_user_position(history, nth).map_or(history.len(), |seq| seq.0)
}

/// Whether the history ends in the middle of a turn (REF 2.5).
///
/// Looks at the newest turn only, unless the history is of an odd kind.
pub fn turn_state(history: &History) -> TurnState {
    match state_of_newest_turn(history) {
        Newest::Plain(state) => state,
        Newest::RolledBack => state_without_current(history),
        Newest::Odd => state_by_reading_all(history),
    }
}

/// The same of a history of which only the end was read, from the start of some turn on; none if it
/// depends on what stands before that.
pub(super) fn turn_state_of_end(history: &History) -> Option<TurnState> {
    if history.first_seq() == Seq(0) {
        return Some(turn_state(history));
    }
    match state_of_newest_turn(history) {
        Newest::Plain(state) => Some(state),
        Newest::RolledBack => {
            let last = last_position_of_end(history)?;
            Some(state_behind(history, Some(last)))
        }
        Newest::Odd => None,
    }
}

/// What the end of a history says of its newest turn.
enum Newest {
    /// This is its state.
    Plain(TurnState),
    /// No turn is current behind a rollback.
    RolledBack,
    /// What stands at the end is not plain: no start of a turn, or an end that names another one.
    Odd,
}

/// Goes back to the newest start event or rollback.
fn state_of_newest_turn(history: &History) -> Newest {
    let mut ends = Vec::new();
    let mut failed = false;
    for record in history.iter().rev() {
        match &record.class {
            RecordClass::TurnStarted { turn } => {
                let own = |end: &Option<TurnRef>| end.is_none() || end == turn;
                if !ends.iter().all(own) {
                    return Newest::Odd;
                }
                if ends.is_empty() {
                    return Newest::Plain(if failed {
                        TurnState::default()
                    } else {
                        TurnState { mid_turn: true, turn: turn.clone(), start: Some(record.seq) }
                    });
                }
                // Messages after the end belong to no named turn: the slow way knows.
                let mut settled =
                    history.iter_from(record.seq).rev().take_while(|r| !is_end(&r.class));
                let stray = settled.any(|record| record.class.is_turn_boundary());
                return if stray { Newest::Odd } else { Newest::Plain(TurnState::default()) };
            }
            RecordClass::TurnCompleted { turn, .. } | RecordClass::TurnAborted { turn, .. } => {
                ends.push(turn.clone());
            }
            RecordClass::ErrorEvent => failed = true,
            RecordClass::RolledBack { turns: 1.. } => return Newest::RolledBack,
            _ => {}
        }
    }
    Newest::Odd
}

fn is_end(class: &RecordClass) -> bool {
    matches!(class, RecordClass::TurnCompleted { .. } | RecordClass::TurnAborted { .. })
}

struct Current {
    id: Option<TurnRef>,
    start: Seq,
    in_progress: bool,
}

/// REF's reducer, over everything.
fn state_by_reading_all(history: &History) -> TurnState {
    let mut current: Option<Current> = None;
    let mut older = Older::default();
    for record in history {
        match &record.class {
            RecordClass::TurnStarted { turn } => {
                older.extend(current.take());
                current = Some(Current { id: turn.clone(), start: record.seq, in_progress: true });
            }
            RecordClass::TurnCompleted { turn, .. } => {
                let is_current =
                    current.as_ref().is_some_and(|current| turn.is_some() && current.id == *turn);
                if is_current || !older.has(turn.as_ref()) {
                    older.extend(current.take());
                }
            }
            RecordClass::TurnAborted { turn, .. } => {
                if let Some(current) = &mut current
                    && (current.id == *turn || !older.has(turn.as_ref()))
                {
                    current.in_progress = false;
                }
            }
            RecordClass::RolledBack { turns: turns @ 1.. } => {
                older.extend(current.take());
                older.drop_last(*turns);
            }
            RecordClass::ErrorEvent => {
                if let Some(current) = &mut current {
                    current.in_progress = false;
                }
            }
            _ => {}
        }
    }
    match current {
        Some(Current { in_progress: false, .. }) => TurnState::default(),
        Some(Current { id, start, .. }) => {
            TurnState { mid_turn: true, turn: id, start: Some(start) }
        }
        None => state_without_current(history),
    }
}

/// No start event says that a turn runs: the last message is unanswered, or the end of a turn
/// follows it.
fn state_without_current(history: &History) -> TurnState {
    state_behind(history, last_user_position(history))
}

fn state_behind(history: &History, last_user: Option<Seq>) -> TurnState {
    let mid_turn =
        last_user.is_some_and(|last| !history.iter_from(last).any(|record| is_end(&record.class)));
    TurnState { mid_turn, turn: None, start: None }
}

/// The turns before the current one, and how often an id is among them.
#[derive(Default)]
struct Older {
    turns: Vec<Option<TurnRef>>,
    named: HashMap<TurnRef, usize>,
}

impl Older {
    fn extend(&mut self, closed: Option<Current>) {
        let Some(Current { id, .. }) = closed else { return };
        if let Some(id) = &id {
            *self.named.entry(id.clone()).or_default() += 1;
        }
        self.turns.push(id);
    }

    fn has(&self, id: Option<&TurnRef>) -> bool {
        id.is_some_and(|id| self.named.get(id).is_some_and(|&count| count > 0))
    }

    fn drop_last(&mut self, turns: u32) {
        let left = self.turns.len().saturating_sub(turns as usize);
        for id in self.turns.drain(left..).flatten() {
            if let Some(count) = self.named.get_mut(&id) {
                *count -= 1;
            }
        }
    }
}

/// The last turn of a history, if it has no end and a name: which, and how many records it wrote.
pub fn open_turn(history: &History) -> Option<(TurnId, u64)> {
    let mut place = 0;
    for record in history.iter().rev() {
        match &record.class {
            RecordClass::TurnStarted { turn } => {
                return turn
                    .as_ref()
                    .and_then(|turn| TurnId::new(&**turn).ok())
                    .map(|turn| (turn, place));
            }
            RecordClass::TurnCompleted { .. } | RecordClass::TurnAborted { .. } => return None,
            class => place += u64::from(is_own(class)),
        }
    }
    None
}

/// Whether a record of this class is a turn's own doing, not what it was given to work on.
pub(crate) const fn is_own(class: &RecordClass) -> bool {
    !matches!(
        class,
        RecordClass::UserMessage
            | RecordClass::ContextualUserMessage
            | RecordClass::UserEvent
            | RecordClass::Envelope { .. }
    )
}

#[cfg(test)]
mod tests {
    use coppicer_messages::{AbortReason, NewRecord};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn any_class() -> impl Strategy<Value = RecordClass> {
        let turn = || select(vec![None, Some(TurnRef::from("a")), Some(TurnRef::from("b"))]);
        prop_oneof![
            2 => Just(RecordClass::UserMessage),
            1 => any::<bool>().prop_map(|trigger| RecordClass::Envelope { trigger }),
            1 => Just(RecordClass::Reasoning),
            1 => Just(RecordClass::UserEvent),
            1 => Just(RecordClass::ErrorEvent),
            3 => turn().prop_map(|turn| RecordClass::TurnStarted { turn }),
            2 => turn().prop_map(|turn| RecordClass::TurnCompleted { turn, failed: false }),
            2 => turn().prop_map(|turn| {
                RecordClass::TurnAborted { turn, reason: AbortReason::Interrupted }
            }),
            1 => (0u32..3).prop_map(|turns| RecordClass::RolledBack { turns }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 5_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_short_way_to_the_turn_state_finds_the_same(
            classes in prop::collection::vec(any_class(), 0..14)
        ) {
            let records = classes.iter().map(|class| {
                NewRecord { at_ms: 0, class: class.clone(), raw: (*b"").into() }
            });
            let history: History = records.collect();
            if !matches!(state_of_newest_turn(&history), Newest::Odd) {
                let state = turn_state(&history);
                prop_assert_eq!(state, state_by_reading_all(&history), "{:?}", classes);
            }
        }
    }
}
