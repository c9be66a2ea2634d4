//! What a fork begins with, planned on a piece of its source: what stands far from the cut is not
//! looked at.

use coppicer_messages::{ForkPoint, ForkRefusal, NewRecord};

use super::dropped::Dropped;
use super::excerpt::Excerpt;
use super::fork::{ForkOptions, ForkPlan, Kept, closing, last_turns, last_turns_from, plan_fork};
use super::meta::SessionMeta;
use super::tree::Counted;
use super::turns::{TurnState, last_position_of_end, turn_state_of_end};
use super::valid::open_calls;
use super::write::Line;
use super::{History, preview_in};

/// What a fork begins with.
#[derive(Debug, Clone, PartialEq)]
pub struct ForkBeginning {
    /// How many records it shares with its source.
    pub cut: u64,
    /// Its first records of its own: its meta line, what it copies, what closes it.
    pub records: Vec<NewRecord>,
    /// Whether nothing is open in it.
    pub settled: bool,
    /// The beginning of its first user message, shared or its own.
    pub preview: Option<String>,
}

/// Why a fork was not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotBegun {
    /// What it consists of depends on records that the excerpt does not have. Never so with a whole
    /// history.
    NeedsMore,
    /// There is no such fork.
    Refused(ForkRefusal),
}

impl From<ForkRefusal> for NotBegun {
    fn from(refusal: ForkRefusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Decides what the fork at `point` begins with that says `meta` of itself: on an excerpt the same
/// as on the whole history, or that it takes more to know.
///
/// # Errors
/// See [`NotBegun`].
pub fn begin_fork(
    excerpt: &Excerpt,
    point: &ForkPoint,
    options: &ForkOptions,
    meta: &SessionMeta,
) -> Result<ForkBeginning, NotBegun> {
    let source = &excerpt.records;
    let plan = plan_on(excerpt, point, options)?;
    let meta = meta.clone().inheriting_of(excerpt.meta.as_ref());
    let mut records = vec![Line::session_meta(options.now_ms, &meta)];
    let cut = match &plan.kept {
        Kept::Prefix { cut } => *cut,
        Kept::Selected(kept) => {
            records.extend(kept.iter().filter_map(|record| record.in_source(source)));
            0
        }
    };
    records.extend(plan.closing);
    let own: History = records.iter().cloned().collect();
    let shared = excerpt.first_user_message.as_ref().filter(|record| record.seq.0 < cut);
    let preview = shared.or_else(|| own.first_user_message()).and_then(preview_in);
    let fork = if cut == 0 {
        own
    } else {
        let mut fork = source.prefix(cut);
        fork.extend(records.iter().cloned());
        fork
    };
    let state = turn_state_of_end(&fork).ok_or(NotBegun::NeedsMore)?;
    let settled = !state.mid_turn && open_calls(&fork).is_empty();
    Ok(ForkBeginning { cut, records, settled, preview })
}

fn plan_on(
    excerpt: &Excerpt,
    point: &ForkPoint,
    options: &ForkOptions,
) -> Result<ForkPlan, NotBegun> {
    let source = &excerpt.records;
    if excerpt.is_whole() {
        return Ok(plan_fork(source, point, options)?);
    }
    if !excerpt.is_sound() {
        return Err(NotBegun::NeedsMore);
    }
    let plan = match (point, &options.keep) {
        (ForkPoint::LastTurns(turns), _) => last_turns_of(excerpt, u64::from(*turns), options)?,
        // What a sub-agent inherits of all of it, it copies.
        (_, Some(_)) => return Err(NotBegun::NeedsMore),
        (_, None) => {
            let cut = cut_of(excerpt, point)?;
            let prefix = source.prefix(cut);
            let state = state_of(&prefix)?;
            let closing = closing(&prefix, &state, point, options);
            ForkPlan { kept: Kept::Prefix { cut }, closing }
        }
    };
    debug_assert_eq!(plan.check(source), Ok(()), "P9: a fork that is not valid, at {point:?}");
    Ok(plan)
}

fn state_of(end: &History) -> Result<TurnState, NotBegun> {
    turn_state_of_end(end).ok_or(NotBegun::NeedsMore)
}

/// How many records of the source come before the point.
fn cut_of(excerpt: &Excerpt, point: &ForkPoint) -> Result<u64, NotBegun> {
    let Excerpt { len, .. } = *excerpt;
    let source = &excerpt.records;
    match point {
        ForkPoint::Interrupted if excerpt.at == Some(len) => Ok(len.0),
        ForkPoint::LastStable if excerpt.at == Some(len) => stable_cut(source),
        ForkPoint::NextStable if excerpt.at == Some(len) => match state_of(source)? {
            TurnState { mid_turn: false, .. } => Ok(len.0),
            TurnState { turn, .. } => Err(ForkRefusal::NotYet { turn }.into()),
        },
        ForkPoint::At(seq) if *seq > len => {
            Err(ForkRefusal::PastEnd { at: *seq, len: len.0 }.into())
        }
        ForkPoint::At(seq) if excerpt.at == Some(*seq) => Ok(seq.0),
        // What was rolled back counts no more, and only the whole history says what that is.
        ForkPoint::BeforeUserMessage(_) | ForkPoint::Before(_) | ForkPoint::After(_)
            if excerpt.rolled_back =>
        {
            Err(NotBegun::NeedsMore)
        }
        ForkPoint::BeforeUserMessage(_) => match excerpt.at {
            Some(at) if at < len => Ok(at.0),
            Some(_) => stable_cut(source),
            None => Err(NotBegun::NeedsMore),
        },
        ForkPoint::Before(turn) | ForkPoint::After(turn) => {
            let (Some(start), Some(at)) = (excerpt.start, excerpt.at) else {
                return Err(ForkRefusal::UnknownTurn { turn: turn.clone() }.into());
            };
            if matches!(point, ForkPoint::Before(_)) {
                return Ok(start.0);
            }
            if at == len {
                let state = state_of(source)?;
                if state.mid_turn && state.start == Some(start) {
                    return Err(ForkRefusal::InProgress { turn: turn.clone() }.into());
                }
            }
            Ok(at.0)
        }
        _ => Err(NotBegun::NeedsMore),
    }
}

fn stable_cut(source: &History) -> Result<u64, NotBegun> {
    let state = state_of(source)?;
    if !state.mid_turn {
        return Ok(source.next_seq().0);
    }
    let start = state.start.or_else(|| last_position_of_end(source));
    start.map(|start| start.0).ok_or(NotBegun::NeedsMore)
}

fn last_turns_of(
    excerpt: &Excerpt,
    turns: u64,
    options: &ForkOptions,
) -> Result<ForkPlan, NotBegun> {
    let source = &excerpt.records;
    let dropped = Dropped::of_end(source).ok_or(NotBegun::NeedsMore)?;
    if excerpt.at != Some(excerpt.len) || dropped.count(source, Counted::ForkTurns) < turns {
        return Err(NotBegun::NeedsMore);
    }
    let from = last_turns_from(source, &dropped, turns);
    let state = state_of(source)?;
    Ok(last_turns(source, &dropped, from, &state, options))
}

#[cfg(test)]
mod tests {
    use coppicer_messages::{AbortReason, CallId, RecordClass, Seq, ThreadId, ToolKind, TurnRef};
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::super::{ExcerptQuery, KeepRules};
    use super::*;

    fn some_turn() -> impl Strategy<Value = Option<TurnRef>> {
        select(vec![None, Some("a".into()), Some("b".into()), Some("c".into()), Some("d".into())])
    }

    fn odd_class() -> impl Strategy<Value = RecordClass> {
        let call = || select(vec![CallId::from("x"), CallId::from("y")]);
        let kind = ToolKind::Function;
        prop_oneof![
            3 => Just(RecordClass::UserMessage),
            1 => any::<bool>().prop_map(|trigger| RecordClass::Envelope { trigger }),
            1 => Just(RecordClass::UserEvent),
            1 => Just(RecordClass::DeveloperMessage),
            1 => Just(RecordClass::ContextualUserMessage),
            1 => Just(RecordClass::ErrorEvent),
            1 => Just(RecordClass::Meta),
            1 => any::<bool>().prop_map(|replaced| RecordClass::Compaction { replaced }),
            2 => call().prop_map(move |call| RecordClass::ToolCall { call, kind }),
            1 => call().prop_map(move |call| RecordClass::ToolOutput { call, kind }),
            4 => some_turn().prop_map(|turn| RecordClass::TurnStarted { turn }),
            2 => some_turn().prop_map(|turn| RecordClass::TurnCompleted { turn, failed: false }),
            1 => some_turn().prop_map(|turn| {
                RecordClass::TurnAborted { turn, reason: AbortReason::Interrupted }
            }),
            1 => (0u32..3).prop_map(|turns| RecordClass::RolledBack { turns }),
        ]
    }

    /// A turn as it is usually written; not always with an end.
    fn turn(name: &str, ends: bool) -> Vec<RecordClass> {
        let turn = || Some(TurnRef::from(name));
        let mut classes = vec![
            RecordClass::TurnStarted { turn: turn() },
            RecordClass::TurnContext { turn: turn() },
            RecordClass::UserMessage,
            RecordClass::UserEvent,
            RecordClass::ToolCall { call: name.into(), kind: ToolKind::Function },
        ];
        if ends {
            let kind = ToolKind::Function;
            classes.push(RecordClass::ToolOutput { call: name.into(), kind });
            classes.push(RecordClass::TurnCompleted { turn: turn(), failed: false });
        }
        classes
    }

    fn any_classes() -> impl Strategy<Value = Vec<RecordClass>> {
        let usual = (select(vec!["a", "b", "c", "d", "e"]), any::<bool>())
            .prop_map(|(name, ends)| turn(name, ends));
        let stretch = prop_oneof![
            5 => usual,
            2 => prop::collection::vec(odd_class(), 0..6),
            1 => (1u32..3).prop_map(|turns| vec![RecordClass::RolledBack { turns }]),
        ];
        prop::collection::vec(stretch, 0..12).prop_map(|stretches| stretches.concat())
    }

    fn any_point() -> impl Strategy<Value = ForkPoint> {
        let turn = || select(vec!["a", "b", "c", "d", "e", "f"]).prop_map(TurnRef::from);
        prop_oneof![
            (0usize..12).prop_map(ForkPoint::BeforeUserMessage),
            Just(ForkPoint::Interrupted),
            (0u32..5).prop_map(ForkPoint::LastTurns),
            turn().prop_map(ForkPoint::After),
            turn().prop_map(ForkPoint::Before),
            (0u64..80).prop_map(|seq| ForkPoint::At(Seq(seq))),
            Just(ForkPoint::LastStable),
            Just(ForkPoint::NextStable),
        ]
    }

    fn history_of(classes: &[RecordClass]) -> History {
        let record = |(at_ms, class): (u64, &RecordClass)| {
            let raw: &[u8] = match class {
                RecordClass::ContextualUserMessage => b"\"<turn_aborted>",
                RecordClass::UserMessage if at_ms % 2 == 0 => {
                    br#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]}}"#
                }
                _ => b"{}",
            };
            NewRecord { at_ms, class: class.clone(), raw: raw.into() }
        };
        (0..).zip(classes).map(record).collect()
    }

    fn begun(excerpt: &Excerpt, point: &ForkPoint, keep: bool) -> Result<ForkBeginning, NotBegun> {
        let mut options = ForkOptions::at(7);
        options.keep = keep.then(KeepRules::for_subagent);
        let meta = SessionMeta::new(ThreadId::from_parts(1, [1; 10]), "/");
        begin_fork(excerpt, point, &options, &meta)
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 4_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_fork_begun_on_an_excerpt_is_the_one_begun_on_everything(
            classes in any_classes(), point in any_point(), keep in any::<bool>()
        ) {
            let history = history_of(&classes);
            let whole = begun(&Excerpt::whole(history.clone()), &point, keep);
            prop_assert_ne!(&whole, &Err(NotBegun::NeedsMore));
            for attempt in 0..2 {
                let query = ExcerptQuery::of_fork(&point, attempt).expect("a piece is tried");
                let piece = begun(&Excerpt::of(&history, &query), &point, keep);
                if piece != Err(NotBegun::NeedsMore) {
                    prop_assert_eq!(&piece, &whole, "{:?} {} {:?}", point, attempt, classes);
                }
            }
        }
    }

    #[test]
    fn of_a_usual_history_the_first_piece_is_enough() {
        let names: Vec<String> = (0..500).map(|number| format!("turn-{number}")).collect();
        let mut classes: Vec<RecordClass> =
            names.iter().flat_map(|name| turn(name, true)).collect();
        classes.extend(turn("last", false));
        let mut rolled_back = classes.clone();
        rolled_back.push(RecordClass::RolledBack { turns: 2 });
        let (history, rolled_back) = (history_of(&classes), history_of(&rolled_back));
        let named = |number: usize| TurnRef::from(format!("turn-{number}"));
        for (history, point, keep, attempts) in [
            (&history, ForkPoint::Interrupted, false, 1),
            (&history, ForkPoint::NextStable, false, 1),
            (&history, ForkPoint::LastStable, false, 1),
            (&history, ForkPoint::BeforeUserMessage(250), false, 1),
            (&history, ForkPoint::BeforeUserMessage(9_999), false, 1),
            (&history, ForkPoint::At(Seq(1_234)), false, 1),
            (&history, ForkPoint::Before(named(250)), false, 1),
            (&history, ForkPoint::After(named(250)), false, 1),
            (&history, ForkPoint::After("last".into()), false, 1),
            (&history, ForkPoint::Before("none".into()), false, 1),
            (&history, ForkPoint::LastTurns(20), false, 1),
            (&history, ForkPoint::LastTurns(20), true, 1),
            (&rolled_back, ForkPoint::Interrupted, false, 2),
            (&rolled_back, ForkPoint::LastTurns(20), true, 2),
        ] {
            let whole = begun(&Excerpt::whole(history.clone()), &point, keep);
            let (mut attempt, mut read) = (0, 0);
            let piece = loop {
                let query = ExcerptQuery::of_fork(&point, attempt).expect("a piece is enough");
                let excerpt = Excerpt::of(history, &query);
                read += excerpt.records.len();
                attempt += 1;
                match begun(&excerpt, &point, keep) {
                    Err(NotBegun::NeedsMore) => {}
                    piece => break piece,
                }
            };
            assert_eq!(piece, whole, "{point:?}");
            assert!(attempt <= attempts && read <= 22 * 7 * 9, "{point:?}: {attempt}, {read}");
        }
    }
}
