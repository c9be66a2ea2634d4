//! The turns of a history that still count, and what rollbacks took out.

use coppicer_messages::{AbortReason, Record, RecordClass, Seq, TurnRef};

use super::History;

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
        counts(&self.dropped, seq)
    }
}

/// Whether `seq` lies outside of all ranges, which are disjoint and ascending.
pub(super) fn counts(dropped: &[(Seq, Seq)], seq: Seq) -> bool {
    let after = dropped.partition_point(|&(from, _)| from <= seq);
    after.checked_sub(1).is_none_or(|at| seq >= dropped[at].1)
}

/// What a reader sees of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sight {
    /// All of it.
    #[default]
    Whole,
    /// What comes from the start of some turn on.
    Part,
    /// A part, and something depended on what stands before it.
    Lost,
}

#[derive(Default)]
pub(super) struct OutlineReader {
    outline: Outline,
    /// The starts of the turns that rollbacks took out.
    gone: Vec<Seq>,
    sight: Sight,
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
    /// A reader that begins at the start of a turn. What it says holds as long as it
    /// [`is_sure`](OutlineReader::is_sure).
    pub(super) fn in_the_middle() -> Self {
        Self { sight: Sight::Part, ..Self::default() }
    }

    /// Whether nothing so far depended on records before the first that was read.
    pub(super) fn is_sure(&self) -> bool {
        self.sight != Sight::Lost
    }

    /// Something depends on what stands before the part, if it is one.
    fn asks_for_more(&mut self) {
        if self.sight == Sight::Part {
            self.sight = Sight::Lost;
        }
    }

    /// The records that rollbacks took out, and the starts of the turns that they were.
    pub(super) fn into_dropped(self) -> (Vec<(Seq, Seq)>, Vec<Seq>) {
        (self.outline.dropped, self.gone)
    }

    pub(super) fn read(&mut self, record: &Record) {
        let seq = record.seq;
        let mut is_context = false;
        match &record.class {
            RecordClass::TurnStarted { turn } => self.open(seq, turn.clone(), true),
            RecordClass::TurnCompleted { turn, failed } => {
                let outcome =
                    if *failed { RecordedOutcome::Failed } else { RecordedOutcome::Completed };
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
                let joins =
                    self.open && self.newest().is_some_and(|turn| turn.explicit || !self.has_event);
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
            if !is_open {
                // It may name a turn before the part.
                self.asks_for_more();
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
            self.gone.push(turn.start);
            lowest = Some(turn);
        }
        let is_first = !self.outline.turns.iter().any(|turn| turn.is_user_turn);
        if is_first {
            self.asks_for_more();
        }
        let Some(lowest) = lowest else { return };
        let from = match lowest.first_boundary {
            Some(boundary) if is_first && self.startup_end.is_none() => boundary,
            _ => lowest.start,
        };
        if is_first {
            self.startup_end.get_or_insert(from);
        }
        while self.outline.dropped.last().is_some_and(|&(earlier, _)| earlier >= from) {
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
