//! Planning a fork: what it keeps of its source, and what closes it.
//!
//! Pure: a plan is made on a snapshot and says what to do. The source is never written.

use coppicer_messages::{
    AbortReason, ForkPoint, ForkRefusal, NewRecord, RecordClass, Seq, TurnRef,
};

use super::dropped::Dropped;
use super::keep::KeepRules;
use super::tree::Counted;
use super::turns::{TurnState, last_user_position, nth_user_position, turn_state};
use super::valid::{
    Flaw, close_open_calls, close_turn_in_state, has_input, open_calls, wire_validity,
};
use super::{History, MarkerKind};

/// How a fork is made.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ForkOptions {
    /// The time of the records that close the fork, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// What a fork of an unfinished turn tells the model.
    pub marker: MarkerKind,
    /// What a sub-agent does not inherit; none for an ordinary fork.
    pub keep: Option<KeepRules>,
}

impl ForkOptions {
    /// An ordinary fork, closed at this time.
    pub fn at(now_ms: u64) -> Self {
        Self { now_ms, ..Self::default() }
    }

    /// The same with this kind of marker.
    #[must_use]
    pub fn with_marker(mut self, marker: MarkerKind) -> Self {
        self.marker = marker;
        self
    }

    /// The same for a sub-agent.
    #[must_use]
    pub fn with_keep(mut self, keep: KeepRules) -> Self {
        self.keep = Some(keep);
        self
    }
}

/// What a fork consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct ForkPlan {
    /// What it keeps of its source.
    pub kept: Kept,
    /// What follows: outputs for open calls, the marker, the end of the turn.
    pub closing: Vec<NewRecord>,
}

/// What a fork keeps of its source.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// The records before `cut`: a store keeps a pointer.
    Prefix {
        /// How many records.
        cut: u64,
    },
    /// Some of the records, which a store has to copy.
    Selected(Vec<KeptRecord>),
}

/// A record that a fork keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum KeptRecord {
    /// As it is.
    Same(Seq),
    /// Without a part that the fork must not have.
    Rewritten {
        /// The record in the source.
        of: Seq,
        /// What the fork has in its place.
        record: NewRecord,
    },
}

impl ForkPlan {
    /// The history of the fork, without a session meta of its own. Shares what it keeps.
    pub fn history(&self, source: &History) -> History {
        let mut fork = match &self.kept {
            Kept::Prefix { cut } => source.prefix(*cut),
            Kept::Selected(records) => {
                records.iter().filter_map(|record| record.in_source(source)).collect()
            }
        };
        fork.extend(self.closing.iter().cloned());
        fork
    }

    /// Checks the fork of `source` that this plan makes (P9): it is valid for a model, its open
    /// calls are closed by records, and all of it comes from before the cut or closes something.
    ///
    /// Debug builds check every plan. Costs a pass over all of it.
    ///
    /// # Errors
    /// The first flaw that is found.
    pub fn check(&self, source: &History) -> Result<(), Flaw> {
        let fork = self.history(source);
        let kept = match &self.kept {
            Kept::Prefix { cut } => *cut,
            Kept::Selected(records) => records.len() as u64,
        };
        let foreign = match &self.kept {
            Kept::Prefix { .. } => {
                let same = source.first_seq().0 + fork.common_prefix(source);
                Some(same).filter(|&same| same < kept)
            }
            Kept::Selected(records) => {
                // In the order of the source, each once.
                let out_of_order = |pair: &[KeptRecord]| pair[0].of() >= pair[1].of();
                records.windows(2).position(out_of_order).map(|at| at as u64 + 1)
            }
        };
        let closes = |class: &RecordClass| {
            matches!(
                class,
                RecordClass::ToolOutput { .. }
                    | RecordClass::ContextualUserMessage
                    | RecordClass::DeveloperMessage
                    | RecordClass::TurnAborted { .. }
            )
        };
        let stray = fork.iter_from(Seq(kept)).find(|record| !closes(&record.class));
        if let Some(at) = foreign.map(Seq).or(stray.map(|record| record.seq)) {
            return Err(Flaw::AfterCut { at });
        }
        if let Some(open) = open_calls(&fork).into_iter().next() {
            return Err(Flaw::LeftOpen { at: open.seq, call: open.call });
        }
        wire_validity(&fork)
    }
}

impl KeptRecord {
    /// The record of the source that it is, or was made from.
    pub const fn of(&self) -> Seq {
        match self {
            Self::Same(seq) | Self::Rewritten { of: seq, .. } => *seq,
        }
    }

    /// The record that the fork gets; none if the source has no such record.
    pub fn in_source(&self, source: &History) -> Option<NewRecord> {
        match self {
            Self::Same(seq) => source.get(*seq).cloned().map(NewRecord::from),
            Self::Rewritten { record, .. } => Some(record.clone()),
        }
    }
}

/// Decides what a fork of `source` at `point` consists of.
///
/// Whatever the point, the fork has no open call, and it ends in the middle of a turn only where
/// REF has it so: before a user message whose turn has begun already with its context. That turn
/// has nothing in it yet; [`close_turn`](super::close_turn) ends it without a word to the model.
///
/// # Errors
/// See [`ForkRefusal`].
pub fn plan_fork(
    source: &History,
    point: &ForkPoint,
    options: &ForkOptions,
) -> Result<ForkPlan, ForkRefusal> {
    let plan = plan_unchecked(source, point, options)?;
    debug_assert_eq!(plan.check(source), Ok(()), "P9: a fork that is not valid, at {point:?}");
    Ok(plan)
}

fn plan_unchecked(
    source: &History,
    point: &ForkPoint,
    options: &ForkOptions,
) -> Result<ForkPlan, ForkRefusal> {
    if let ForkPoint::LastTurns(turns) = point {
        let (dropped, turns) = (Dropped::of(source), u64::from(*turns));
        let from = last_turns_from(source, &dropped, turns);
        return Ok(last_turns(source, &dropped, from, &turn_state(source), options));
    }
    let cut = cut_of(source, point)?;
    let prefix = source.prefix(cut);
    let closing = closing(&prefix, &turn_state(&prefix), point, options);
    Ok(match &options.keep {
        None => ForkPlan { kept: Kept::Prefix { cut }, closing },
        Some(rules) => {
            let dropped = Dropped::of(&prefix);
            selected(&prefix, &dropped, Seq(0), closing, rules, options.now_ms, true)
        }
    })
}

/// What closes a fork that is cut behind `prefix`, in this state of its newest turn.
pub(super) fn closing(
    prefix: &History,
    state: &TurnState,
    point: &ForkPoint,
    options: &ForkOptions,
) -> Vec<NewRecord> {
    let ends_turn = match point {
        ForkPoint::Interrupted | ForkPoint::At(_) => true,
        // A plain cut (REF 2.4). It may stand behind the start of the turn it leaves out, or
        // inside a turn that was steered; only the latter has something to close.
        _ => state.start.is_some() && has_input(prefix, state),
    };
    if ends_turn {
        let (marker, now_ms) = (options.marker, options.now_ms);
        close_turn_in_state(prefix, state, AbortReason::Interrupted, marker, now_ms)
    } else {
        close_open_calls(prefix, options.now_ms)
    }
}

/// How many records of the source come before the point.
fn cut_of(source: &History, point: &ForkPoint) -> Result<u64, ForkRefusal> {
    match point {
        ForkPoint::BeforeUserMessage(nth) => Ok(before_user_message(source, *nth)),
        ForkPoint::Interrupted => Ok(source.len()),
        ForkPoint::At(seq) if seq.0 <= source.len() => Ok(seq.0),
        ForkPoint::At(seq) => Err(ForkRefusal::PastEnd { at: *seq, len: source.len() }),
        ForkPoint::LastStable => Ok(stable_cut(source, &turn_state(source))),
        ForkPoint::NextStable => match turn_state(source) {
            TurnState { mid_turn: false, .. } => Ok(source.len()),
            TurnState { turn, .. } => Err(ForkRefusal::NotYet { turn }),
        },
        ForkPoint::After(turn) => after_turn(source, turn),
        ForkPoint::Before(turn) => find_turn(source, turn).map(|start| start.0),
        _ => Err(ForkRefusal::Unsupported),
    }
}

/// REF 2.6: past the last message, everything but an unfinished turn.
fn before_user_message(source: &History, nth: usize) -> u64 {
    match nth_user_position(source, nth) {
        Some(seq) => seq.0,
        None => stable_cut(source, &turn_state(source)),
    }
}

fn stable_cut(source: &History, state: &TurnState) -> u64 {
    if !state.mid_turn {
        return source.len();
    }
    state.start.or_else(|| last_user_position(source)).map_or(source.len(), |start| start.0)
}

/// The start of a turn that still counts.
fn find_turn(source: &History, turn: &TurnRef) -> Result<Seq, ForkRefusal> {
    let Some(start) = source.start_of(turn) else {
        return Err(ForkRefusal::UnknownTurn { turn: turn.clone() });
    };
    let rollbacks = source.count(Counted::Rollbacks);
    if rollbacks > source.count_before(Counted::Rollbacks, start)
        && Dropped::of(source).is_gone(start)
    {
        return Err(ForkRefusal::RolledBack { turn: turn.clone() });
    }
    Ok(start)
}

/// Everything up to the next turn's start, so that what was recorded between the turns stays.
fn after_turn(source: &History, turn: &TurnRef) -> Result<u64, ForkRefusal> {
    let start = find_turn(source, turn)?;
    let next = source
        .iter_from(start.next())
        .find(|record| matches!(record.class, RecordClass::TurnStarted { .. }))
        .map(|record| record.seq);
    if next.is_none() {
        let state = turn_state(source);
        if state.mid_turn && state.start == Some(start) {
            return Err(ForkRefusal::InProgress { turn: turn.clone() });
        }
    }
    Ok(next.map_or(source.len(), |next| next.0))
}

/// REF 2.9: the n-th last fork position that still counts, the first if there are fewer; the end if
/// there is none.
pub(super) fn last_turns_from(source: &History, dropped: &Dropped, turns: u64) -> Seq {
    let positions = dropped.count(source, Counted::ForkTurns);
    let first = positions.saturating_sub(turns);
    match dropped.nth(source, Counted::ForkTurns, first) {
        Some(from) if turns > 0 => from,
        _ => source.next_seq(),
    }
}

/// The suffix from `from` on.
pub(super) fn last_turns(
    source: &History,
    dropped: &Dropped,
    from: Seq,
    state: &TurnState,
    options: &ForkOptions,
) -> ForkPlan {
    let closing = if from < source.next_seq() {
        closing(source, state, &ForkPoint::Interrupted, options)
    } else {
        Vec::new()
    };
    let everything = KeepRules::everything();
    let rules = options.keep.as_ref().unwrap_or(&everything);
    selected(source, dropped, from, closing, rules, options.now_ms, false)
}

/// The records from `from` on that still count and that the rules let through.
fn selected(
    source: &History,
    dropped: &Dropped,
    from: Seq,
    boundary: Vec<NewRecord>,
    rules: &KeepRules,
    now_ms: u64,
    whole: bool,
) -> ForkPlan {
    let kept: Vec<KeptRecord> = source
        .iter_from(from)
        .filter(|record| dropped.counts(record.seq))
        .filter_map(|record| rules.keep(record, whole))
        .collect();
    // Which calls are open is a matter of what is left: a rollback may have stood between.
    let left: History = kept.iter().filter_map(|record| record.in_source(source)).collect();
    let mut closing = close_open_calls(&left, now_ms);
    let is_output = |class: &RecordClass| matches!(class, RecordClass::ToolOutput { .. });
    closing.extend(
        boundary
            .into_iter()
            .filter(|record| !is_output(&record.class) && rules.closes_with(&record.class)),
    );
    closing.extend(rules.hint(whole, now_ms));
    ForkPlan { kept: Kept::Selected(kept), closing }
}
