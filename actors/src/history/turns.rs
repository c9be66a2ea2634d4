//! Turns: which ones a history has, which still count, and whether one is unfinished.

use coppicer_messages::{AbortReason, Record, RecordClass, Seq, TurnRef};

use super::History;

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

/// How a recorded turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordedOutcome {
    /// It did not, as far as the history says.
    Unfinished,
    /// It ran to its end.
    Completed,
    /// Its engine gave up.
    Failed,
    /// It was cut short.
    Aborted(AbortReason),
}

/// One turn of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its id, if the history names it.
    pub id: Option<TurnRef>,
    /// Its first record: the start event, or in histories without one its first message.
    pub start: Seq,
    /// Its first user message or mail.
    pub first_boundary: Option<Seq>,
    /// Whether it counts as a user turn: it has a user message or mail, or the event of one.
    pub is_user_turn: bool,
    /// The record after its last one.
    pub end: Seq,
    /// Its newest turn-context record.
    pub context: Option<Seq>,
    /// How it ended.
    pub outcome: RecordedOutcome,
    /// Whether a start event opened it.
    pub explicit: bool,
}

/// The turns of a history that still count, and the records that rollbacks took out.
///
/// A rollback takes out whole turns: with a start event everything from there, otherwise
/// everything from its first message and the context just before that. What stands before the
/// first user turn always stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    turns: Vec<Turn>,
    /// Disjoint, ascending: records from..to do not count.
    dropped: Vec<(Seq, Seq)>,
}

impl Outline {
    /// Reads the whole history once.
    pub fn of(history: &History) -> Self {
        let mut reader = OutlineReader::default();
        for record in history {
            reader.read(record);
        }
        reader.finish(history.next_seq())
    }

    /// The turns that still count, oldest first.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Whether this record still counts.
    pub fn counts(&self, seq: Seq) -> bool {
        let after = self.dropped.partition_point(|&(from, _)| from <= seq);
        after
            .checked_sub(1)
            .is_none_or(|at| seq >= self.dropped[at].1)
    }
}

#[derive(Default)]
struct OutlineReader {
    outline: Outline,
    /// Whether the newest turn still takes records.
    open: bool,
    /// What an implicit turn has so far: a message and its event are one input.
    has_message: bool,
    has_event: bool,
    /// Where the run of context messages begins that ends just before this record.
    context_run: Option<Seq>,
    /// A turn context that came before its turn.
    early_context: Option<Seq>,
    /// Where the start-up context ends, once a rollback has reached the first user turn.
    startup_end: Option<Seq>,
}

impl OutlineReader {
    fn read(&mut self, record: &Record) {
        let seq = record.seq;
        let mut is_context = false;
        match &record.class {
            RecordClass::TurnStarted { turn } => self.open(seq, turn.clone(), true),
            RecordClass::TurnCompleted { turn, failed } => {
                let outcome = if *failed {
                    RecordedOutcome::Failed
                } else {
                    RecordedOutcome::Completed
                };
                self.end_turn(seq, turn.as_ref(), outcome);
            }
            RecordClass::TurnAborted { turn, reason } => {
                self.end_turn(seq, turn.as_ref(), RecordedOutcome::Aborted(*reason));
            }
            RecordClass::RolledBack { turns: 0 } => {}
            RecordClass::RolledBack { turns } => self.roll_back(seq, *turns),
            RecordClass::UserMessage | RecordClass::Envelope { .. } => {
                let joins = self.open
                    && self
                        .newest()
                        .is_some_and(|turn| turn.explicit || (self.has_event && !self.has_message));
                if !joins {
                    self.open(self.context_run.unwrap_or(seq), None, false);
                }
                self.has_message = true;
                if let Some(turn) = self.outline.turns.last_mut() {
                    turn.is_user_turn = true;
                    turn.first_boundary.get_or_insert(seq);
                }
            }
            RecordClass::UserEvent => {
                let joins = self.open
                    && self
                        .newest()
                        .is_some_and(|turn| turn.explicit || !self.has_event);
                if !joins {
                    self.open(self.context_run.unwrap_or(seq), None, false);
                }
                self.has_event = true;
                if let Some(turn) = self.outline.turns.last_mut() {
                    turn.is_user_turn = true;
                }
            }
            RecordClass::ErrorEvent => {
                if self.open
                    && let Some(turn) = self.outline.turns.last_mut()
                {
                    turn.outcome = RecordedOutcome::Failed;
                }
            }
            RecordClass::TurnContext { .. } => {
                is_context = true;
                match self.outline.turns.last_mut() {
                    Some(turn) if self.open => turn.context = Some(seq),
                    _ => self.early_context = Some(seq),
                }
            }
            RecordClass::DeveloperMessage | RecordClass::ContextualUserMessage => {
                is_context = true;
                self.context_run.get_or_insert(seq);
            }
            // These stand between context messages without parting them.
            RecordClass::Other | RecordClass::Usage | RecordClass::Meta | RecordClass::Opaque => {
                is_context = true;
            }
            _ => {}
        }
        if !is_context {
            self.context_run = None;
        }
    }

    fn newest(&self) -> Option<&Turn> {
        self.outline.turns.last()
    }

    fn open(&mut self, start: Seq, id: Option<TurnRef>, explicit: bool) {
        self.close(start);
        self.outline.turns.push(Turn {
            id,
            start,
            first_boundary: None,
            is_user_turn: false,
            end: start,
            context: self.early_context.take(),
            outcome: RecordedOutcome::Unfinished,
            explicit,
        });
        (self.open, self.has_message, self.has_event) = (true, false, false);
    }

    fn close(&mut self, end: Seq) {
        if self.open
            && let Some(turn) = self.outline.turns.last_mut()
        {
            turn.end = end;
            if !turn.explicit && turn.outcome == RecordedOutcome::Unfinished {
                turn.outcome = RecordedOutcome::Completed;
            }
        }
        self.open = false;
    }

    /// Notes the end of a turn: of the open one, unless an older one has this id. The end of a
    /// turn that is closed already (a fork of a fork repeats it) changes nothing.
    fn end_turn(&mut self, seq: Seq, id: Option<&TurnRef>, outcome: RecordedOutcome) {
        let turns = &mut self.outline.turns;
        let open = if self.open { turns.last() } else { None };
        let is_open = open.is_some_and(|turn| id.is_none() || turn.id.as_ref() == id);
        if !is_open
            && id.is_some()
            && let Some(older) = turns.iter_mut().rev().find(|turn| turn.id.as_ref() == id)
        {
            older.outcome = outcome;
            older.end = older.end.max(seq.next());
        } else if self.open {
            if let Some(turn) = turns.last_mut() {
                turn.outcome = outcome;
            }
            self.close(seq.next());
        }
    }

    fn roll_back(&mut self, seq: Seq, mut count: u32) {
        self.close(seq);
        let mut lowest: Option<Turn> = None;
        while count > 0
            && let Some(turn) = self.outline.turns.pop()
        {
            if turn.is_user_turn {
                count -= 1;
            } else if !self.outline.turns.iter().any(|turn| turn.is_user_turn) {
                // Nothing before it is a user's: it belongs to the start-up and stays.
                self.outline.turns.push(turn);
                break;
            }
            lowest = Some(turn);
        }
        let Some(lowest) = lowest else { return };
        let is_first = !self.outline.turns.iter().any(|turn| turn.is_user_turn);
        let from = match lowest.first_boundary {
            Some(boundary) if is_first && self.startup_end.is_none() => boundary,
            _ => lowest.start,
        };
        if is_first {
            self.startup_end.get_or_insert(from);
        }
        while self
            .outline
            .dropped
            .last()
            .is_some_and(|&(earlier, _)| earlier >= from)
        {
            self.outline.dropped.pop();
        }
        self.outline.dropped.push((from, seq.next()));
        self.early_context = None;
    }

    fn finish(mut self, end: Seq) -> Outline {
        let open = self.open;
        if open && let Some(turn) = self.outline.turns.last_mut() {
            turn.end = end;
        }
        self.outline
    }
}

/// The places of the user messages that still count (REF 2.3): before the n-th of them a fork may
/// be cut.
pub fn user_positions(history: &History) -> Vec<Seq> {
    positions(history, |class| *class == RecordClass::UserMessage)
}

/// The places from which a sub-agent may inherit (REF 2.9): user messages and mail that starts a
/// turn.
pub fn fork_turn_positions(history: &History) -> Vec<Seq> {
    positions(history, |class| {
        matches!(
            class,
            RecordClass::UserMessage | RecordClass::Envelope { trigger: true }
        )
    })
}

fn positions(history: &History, wanted: impl Fn(&RecordClass) -> bool) -> Vec<Seq> {
    let outline = history.has_rollbacks().then(|| Outline::of(history));
    history
        .iter()
        .filter(|record| wanted(&record.class))
        .map(|record| record.seq)
        .filter(|&seq| outline.as_ref().is_none_or(|outline| outline.counts(seq)))
        .collect()
}

/// The place of user message number `nth` (from 0) among those that still count, and how many
/// there are. Without rollbacks this is a walk down the tree.
pub(super) fn nth_user_position(history: &History, nth: usize) -> (Option<Seq>, usize) {
    if history.has_rollbacks() {
        let positions = user_positions(history);
        return (positions.get(nth).copied(), positions.len());
    }
    (
        history.user_message(nth as u64),
        history.user_messages() as usize,
    )
}

/// The number of records before user message number `nth` (REF 2.4); all of them if there are not
/// so many.
pub fn before_nth_user_message(history: &History, nth: usize) -> u64 {
    nth_user_position(history, nth)
        .0
        .map_or(history.len(), |seq| seq.0)
}

/// Whether the history ends in the middle of a turn (REF 2.5).
///
/// Looks at the newest turn only, unless the history is of an odd kind.
pub fn turn_state(history: &History) -> TurnState {
    state_of_newest_turn(history).unwrap_or_else(|| state_by_reading_all(history))
}

/// Goes back to the newest start event. None if what stands behind it is not plain: no start
/// event, a rollback, or an end that names another turn.
fn state_of_newest_turn(history: &History) -> Option<TurnState> {
    let mut ends = Vec::new();
    let mut failed = false;
    for record in history.iter().rev() {
        match &record.class {
            RecordClass::TurnStarted { turn } => {
                let own = |end: &Option<TurnRef>| end.is_none() || end == turn;
                if !ends.iter().all(own) {
                    return None;
                }
                if ends.is_empty() {
                    return Some(if failed {
                        TurnState::default()
                    } else {
                        TurnState {
                            mid_turn: true,
                            turn: turn.clone(),
                            start: Some(record.seq),
                        }
                    });
                }
                // Messages after the end belong to no named turn: the slow way knows.
                let mut settled = history
                    .iter_from(record.seq)
                    .rev()
                    .take_while(|r| !is_end(&r.class));
                let stray = settled.any(|record| record.class.is_turn_boundary());
                return (!stray).then(TurnState::default);
            }
            RecordClass::TurnCompleted { turn, .. } | RecordClass::TurnAborted { turn, .. } => {
                ends.push(turn.clone());
            }
            RecordClass::ErrorEvent => failed = true,
            RecordClass::RolledBack { turns: 1.. } => return None,
            _ => {}
        }
    }
    None
}

fn is_end(class: &RecordClass) -> bool {
    matches!(
        class,
        RecordClass::TurnCompleted { .. } | RecordClass::TurnAborted { .. }
    )
}

/// REF's reducer, over everything.
fn state_by_reading_all(history: &History) -> TurnState {
    struct Current {
        id: Option<TurnRef>,
        start: Seq,
        in_progress: bool,
    }
    let mut current: Option<Current> = None;
    let mut older: Vec<Option<TurnRef>> = Vec::new();
    for record in history {
        match &record.class {
            RecordClass::TurnStarted { turn } => {
                older.extend(current.take().map(|current| current.id));
                current = Some(Current {
                    id: turn.clone(),
                    start: record.seq,
                    in_progress: true,
                });
            }
            RecordClass::TurnCompleted { turn, .. } => {
                let is_current = current
                    .as_ref()
                    .is_some_and(|current| turn.is_some() && current.id == *turn);
                let is_older = turn.is_some() && older.iter().rev().any(|id| id == turn);
                if is_current || !is_older {
                    older.extend(current.take().map(|current| current.id));
                }
            }
            RecordClass::TurnAborted { turn, .. } => {
                let is_older = turn.is_some() && older.iter().rev().any(|id| id == turn);
                if let Some(current) = &mut current
                    && (current.id == *turn || !is_older)
                {
                    current.in_progress = false;
                }
            }
            RecordClass::RolledBack { turns: turns @ 1.. } => {
                older.extend(current.take().map(|current| current.id));
                older.truncate(older.len().saturating_sub(*turns as usize));
            }
            RecordClass::ErrorEvent => {
                if let Some(current) = &mut current {
                    current.in_progress = false;
                }
            }
            _ => {}
        }
    }
    if let Some(current) = current {
        if !current.in_progress {
            return TurnState::default();
        }
        return TurnState {
            mid_turn: true,
            turn: current.id,
            start: Some(current.start),
        };
    }
    let mid_turn = match user_positions(history).last() {
        Some(&last) => !history.iter_from(last).any(|record| is_end(&record.class)),
        None => false,
    };
    TurnState {
        mid_turn,
        turn: None,
        start: None,
    }
}

#[cfg(test)]
mod tests {
    use coppicer_messages::NewRecord;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn any_class() -> impl Strategy<Value = RecordClass> {
        let turn = || {
            select(vec![
                None,
                Some(TurnRef::from("a")),
                Some(TurnRef::from("b")),
            ])
        };
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
            if let Some(state) = state_of_newest_turn(&history) {
                prop_assert_eq!(state, state_by_reading_all(&history), "{:?}", classes);
            }
        }
    }
}
