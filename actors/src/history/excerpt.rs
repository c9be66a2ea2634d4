//! A piece of a history: what a plan looks at, so that the rest of it need not be read.

use coppicer_messages::{ForkPoint, Record, RecordClass, Seq, TurnRef};

use super::History;
#[cfg(any(test, feature = "testing"))]
use super::tree::Counted;

/// Which piece of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExcerptQuery {
    /// Where it ends.
    pub at: ExcerptAt,
    /// How many starts of turns it goes back from there.
    pub turns: u64,
}

/// Where an excerpt ends: before that record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExcerptAt {
    /// At the end of the history.
    End,
    /// Before this record, or at the end.
    Record(Seq),
    /// Before the user message with this number, from 0, rolled back or not; at the end if there are
    /// not so many.
    UserMessage(u64),
    /// Before the newest start of this turn.
    Turn(TurnRef),
    /// Before the start of a turn that comes next after the newest start of this turn; at the end if
    /// none does.
    AfterTurn(TurnRef),
}

/// A piece of a history, and what else a plan asks of all of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Excerpt {
    /// The records before [`at`](Self::at), from as many starts of turns before it as was asked; from
    /// the first record if there are not so many. None without an `at`.
    pub records: History,
    /// How many records the whole history has.
    pub len: Seq,
    /// Where it ends; none if the history has no such turn.
    pub at: Option<Seq>,
    /// The start of the turn that was asked for.
    pub start: Option<Seq>,
    /// Whether a rollback may have taken out what was asked for: there is one, of a turn at least,
    /// behind the start of the turn, or anywhere if a user message was asked for. Not looked for if
    /// neither was.
    pub rolled_back: bool,
    /// The newest session meta of the whole history.
    pub meta: Option<Record>,
    /// The first user message of the whole history.
    pub first_user_message: Option<Record>,
}

/// How many more turns are read where the first ones were not enough; behind that, everything.
const MORE: u64 = 8;

impl ExcerptQuery {
    /// What a fork at `point` is planned on first, and with each `attempt` after one that was not
    /// enough; none if that is the whole history.
    pub fn of_fork(point: &ForkPoint, attempt: u32) -> Option<Self> {
        let (at, turns) = match point {
            ForkPoint::Interrupted | ForkPoint::NextStable => (ExcerptAt::End, 1),
            // Without a turn that is not finished, the one before it is the last.
            ForkPoint::LastStable => (ExcerptAt::End, 2),
            ForkPoint::BeforeUserMessage(nth) => (ExcerptAt::UserMessage(*nth as u64), 2),
            ForkPoint::At(seq) => (ExcerptAt::Record(*seq), 1),
            ForkPoint::Before(turn) => (ExcerptAt::Turn(turn.clone()), 1),
            ForkPoint::After(turn) => (ExcerptAt::AfterTurn(turn.clone()), 1),
            ForkPoint::LastTurns(turns) => (ExcerptAt::End, u64::from(*turns).max(1)),
            _ => return None,
        };
        match attempt {
            0 => Some(Self { at, turns }),
            1 => Some(Self { at, turns: turns.saturating_mul(MORE) }),
            _ => None,
        }
    }
}

impl Excerpt {
    /// All of a history.
    pub fn whole(history: History) -> Self {
        let len = history.next_seq();
        let meta = history.own_meta().cloned();
        let first_user_message = history.first_user_message().cloned();
        let (at, start, rolled_back) = (Some(len), None, false);
        Self { records: history, len, at, start, rolled_back, meta, first_user_message }
    }

    /// Whether it is all of the history.
    pub fn is_whole(&self) -> bool {
        self.records.first_seq() == Seq(0) && self.records.next_seq() == self.len
    }

    /// Whether it begins where an excerpt may begin: at the start of a turn, or at the first record.
    pub(super) fn is_sound(&self) -> bool {
        let begins = self.records.first_seq();
        begins == Seq(0) || self.records.get(begins).is_some_and(|record| is_start(&record.class))
    }

    /// What an excerpt of `history` is, found by looking at every record: what stores are held
    /// against.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(history: &History, query: &ExcerptQuery) -> Self {
        let len = history.next_seq();
        let of_class = |is: &dyn Fn(&RecordClass) -> bool| -> Vec<Seq> {
            history.iter().filter(|record| is(&record.class)).map(|record| record.seq).collect()
        };
        let starts = of_class(&is_start);
        let newest = |id: &TurnRef| {
            let named = |class: &RecordClass| matches!(class, RecordClass::TurnStarted { turn: Some(turn) } if turn == id);
            of_class(&named).last().copied()
        };
        let (start, at) = match &query.at {
            ExcerptAt::End => (None, Some(len)),
            ExcerptAt::Record(seq) => (None, Some(*seq.min(&len))),
            ExcerptAt::UserMessage(nth) => {
                let messages = of_class(&|class| Counted::UserMessages.has(class));
                (None, Some(messages.get(*nth as usize).copied().unwrap_or(len)))
            }
            ExcerptAt::Turn(id) => (newest(id), newest(id)),
            ExcerptAt::AfterTurn(id) => {
                let start = newest(id);
                let next = |start| starts.iter().copied().find(|&next| next > start);
                (start, start.map(|start| next(start).unwrap_or(len)))
            }
        };
        let rollbacks = of_class(&|class| matches!(class, RecordClass::RolledBack { turns: 1.. }));
        let rolled_back = match &query.at {
            ExcerptAt::End | ExcerptAt::Record(_) => false,
            ExcerptAt::UserMessage(_) => !rollbacks.is_empty(),
            ExcerptAt::Turn(_) | ExcerptAt::AfterTurn(_) => {
                start.is_some_and(|start| rollbacks.iter().any(|&rollback| rollback > start))
            }
        };
        let records = at.map_or_else(History::new, |at| {
            let back = starts.iter().rev().filter(|&&start| start < at);
            let from = back.copied().nth(query.turns.saturating_sub(1) as usize);
            let before = history.prefix(at.0);
            from.filter(|&from| from > Seq(0)).map_or(before.clone(), |from| before.from(from))
        });
        let meta = history.own_meta().cloned();
        let first_user_message = history.first_user_message().cloned();
        Self { records, len, at, start, rolled_back, meta, first_user_message }
    }
}

fn is_start(class: &RecordClass) -> bool {
    matches!(class, RecordClass::TurnStarted { .. })
}
