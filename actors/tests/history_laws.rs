//! Laws of histories, over random ones.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use coppicer_actors::{
    ForkOptions, History, KeepRules, Kept, Line, MarkerKind, Outline, Parting, SessionMeta,
    TokenCounts, before_nth_user_message, close_turn, fork_turn_positions, items_validity,
    model_view, open_calls, plan_fork, read_session_from, record_of, recorded_turns, turn_state,
    user_positions, write_history,
};
use coppicer_messages::{
    AbortReason, ForkPoint, ForkRefusal, NewRecord, RecordClass, Seq, ThreadId, ToolKind,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use support::*;

/// Items with an id of a call; the last two never have a pair.
const TOOLS: [&str; 8] = [
    "local_shell_call",
    "custom_tool_call",
    "custom_tool_call_output",
    "tool_search_call",
    "tool_search_output",
    "mcp_tool_call_output",
    "web_search_call",
    "image_generation_call",
];

const REASONS: [AbortReason; 4] =
    [AbortReason::Replaced, AbortReason::BudgetLimited, AbortReason::Crashed, AbortReason::Other];

/// Any record, in any order: also histories that nobody would write.
fn any_record() -> impl Strategy<Value = NewRecord> {
    let id = || select(vec!["a", "b", "c"]);
    prop_oneof![
        4 => id().prop_map(U),
        2 => id().prop_map(A),
        1 => id().prop_map(A_final),
        1 => id().prop_map(D),
        1 => Just(MKu()),
        1 => Just(R()),
        2 => (id(), any::<bool>()).prop_map(|(text, trigger)| IA(text, trigger)),
        3 => id().prop_map(FC),
        3 => id().prop_map(FO),
        1 => id().prop_map(|call| Line::aborted_output(7, &call.into(), ToolKind::Custom)),
        4 => id().prop_map(TS),
        3 => id().prop_map(TC),
        2 => prop::option::of(id()).prop_map(TA),
        2 => id().prop_map(UE),
        1 => id().prop_map(AE),
        2 => id().prop_map(TX),
        1 => (0u32..4).prop_map(RB),
        1 => Just(CP(&[U("kept"), FC("x"), FO("y"), D("d")])),
        1 => Just(CP_summary("sum")),
        1 => Just(Line::error(7, "no")),
        1 => Just(Line::session_meta(7, &SessionMeta::new(ThreadId::from_parts(1, [1; 10]), "/"))),
        1 => id().prop_map(A_note),
        1 => Just(Ui("<environment_context>x</environment_context>")),
        2 => (id(), select(TOOLS.to_vec())).prop_map(|(call, kind)| {
            item(&serde_json::json!({ "type": kind, "call_id": call, "execution": "client" }))
        }),
        1 => id().prop_map(|turn| Line::task_complete(7, turn, None, None, Some("it failed"))),
        1 => (id(), select(REASONS.to_vec())).prop_map(|(turn, reason)| {
            Line::turn_aborted(7, Some(turn), reason, None)
        }),
        1 => Just(Line::token_count(7, &TokenCounts::default(), &TokenCounts::default())),
        1 => Just(record_of(b"{\"type\":\"of a later version\",\"payload\":{}}")),
        1 => Just(record_of(b"\xff garbage")),
    ]
}

fn any_history() -> impl Strategy<Value = History> {
    prop::collection::vec(any_record(), 0..40).prop_map(history)
}

fn any_point() -> impl Strategy<Value = ForkPoint> {
    let turn = || select(vec!["a", "b", "c"]);
    prop_oneof![
        (0usize..8).prop_map(ForkPoint::BeforeUserMessage),
        Just(ForkPoint::BeforeUserMessage(usize::MAX)),
        Just(ForkPoint::Interrupted),
        (0u32..6).prop_map(ForkPoint::LastTurns),
        turn().prop_map(|turn| ForkPoint::After(turn.into())),
        turn().prop_map(|turn| ForkPoint::Before(turn.into())),
        (0u64..40).prop_map(|at| ForkPoint::At(Seq(at))),
        Just(ForkPoint::LastStable),
        Just(ForkPoint::NextStable),
    ]
}

fn any_options() -> impl Strategy<Value = ForkOptions> {
    let kinds = vec![MarkerKind::Disabled, MarkerKind::ContextualUser, MarkerKind::Developer];
    (select(kinds), any::<bool>()).prop_map(|(kind, subagent)| {
        let options = ForkOptions::at(9).with_marker(kind);
        if subagent {
            options.with_keep(KeepRules::for_subagent().without_hints(["a"]).with_hint("hint"))
        } else {
            options
        }
    })
}

/// Turns as a runtime records them.
fn sound_turn(id: usize) -> impl Strategy<Value = Vec<NewRecord>> {
    let steps = prop::collection::vec(
        prop_oneof![
            Just(vec![A("said")]),
            Just(vec![R()]),
            Just(vec![FC("one"), FO("one")]),
            Just(vec![FC("one"), FC("two"), FO("two"), FO("one")]),
            Just(vec![U("steered"), UE("steered")]),
            Just(vec![IA("mail", false)]),
            Just(vec![CP(&[U("kept"), U("summary")])]),
            Just(vec![CP_summary("sum")]),
        ],
        0..5,
    );
    let start = prop_oneof![
        3 => Just(vec![U("asked"), UE("asked")]),
        1 => Just(vec![IA("task", true)]),
    ];
    (start, steps, any::<bool>(), any::<bool>()).prop_map(
        move |(start, steps, with_context, aborted)| {
            let id = id.to_string();
            let mut records = vec![TS(&id)];
            if with_context {
                records.push(D("changed"));
            }
            records.push(TX(&id));
            records.extend(start);
            records.extend(steps.into_iter().flatten());
            if aborted {
                records.extend([MKu(), TA(Some(&id))]);
            } else {
                records.push(TC(&id));
            }
            records
        },
    )
}

fn sound_turns() -> impl Strategy<Value = Vec<Vec<NewRecord>>> {
    (1usize..7).prop_flat_map(|count| (0..count).map(sound_turn).collect::<Vec<_>>())
}

#[test]
fn every_class_is_among_the_records_of_the_laws() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = any_record();
    let names: std::collections::BTreeSet<&str> = (0..2_000)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current().class.name())
        .collect();
    assert_eq!(names.len(), 22, "{names:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_fork_is_what_was_there_plus_what_closes_it(
        source in any_history(), point in any_point(), options in any_options()
    ) {
        let before: Vec<_> = source.iter().cloned().collect();
        let plan = match plan_fork(&source, &point, &options) {
            Ok(plan) => plan,
            Err(
                ForkRefusal::UnknownTurn { .. } | ForkRefusal::RolledBack { .. } | ForkRefusal::InProgress { .. }
                | ForkRefusal::NotYet { .. } | ForkRefusal::PastEnd { .. },
            ) => return Ok(()),
            Err(other) => panic!("{other}"),
        };
        let fork = plan.history(&source);
        let view = model_view(&fork);
        prop_assert_eq!(items_validity(&view.items), Ok(()), "{:?}", shorts(&fork));
        if let Kept::Prefix { cut } = plan.kept {
            prop_assert_eq!(fork.prefix(cut), source.prefix(cut));
            prop_assert_eq!(fork.len(), cut + plan.closing.len() as u64);
        }
        prop_assert!(source.iter().eq(&before), "the source is never written");
        // A fork of a fork at a boundary is the same fork.
        let mut boundary = fork.clone();
        boundary.extend(close_turn(&fork, AbortReason::Interrupted, MarkerKind::ContextualUser, 9));
        let again = plan_fork(&boundary, &ForkPoint::Interrupted, &ForkOptions::at(99)).unwrap();
        prop_assert_eq!(&again.closing, &[], "{:?} {:?}", shorts(&fork), shorts(&boundary));
        prop_assert_eq!(again.history(&boundary), boundary);
    }

    #[test]
    fn closing_a_turn_leaves_a_boundary(source in any_history()) {
        let mut closed = source.clone();
        closed.extend(close_turn(&source, AbortReason::Crashed, MarkerKind::ContextualUser, 9));
        prop_assert!(!turn_state(&closed).mid_turn, "{:?}", shorts(&closed));
        prop_assert_eq!(open_calls(&closed), vec![]);
    }

    #[test]
    fn a_rollback_is_as_if_the_turns_had_never_been(turns in sound_turns(), keep in 1usize..7, bare in any::<bool>()) {
        let keep = keep.min(turns.len());
        // Without events nothing says to which turn a marker belongs.
        let strip = |r: &NewRecord| !bare || (r.class.is_item() && r.class != RecordClass::ContextualUserMessage);
        let flat = |turns: &[Vec<NewRecord>]| turns.iter().flatten().filter(|r| strip(r)).cloned().collect::<Vec<_>>();
        let short = history(context().into_iter().chain(flat(&turns[..keep])));
        let mut rolled_back = history(context().into_iter().chain(flat(&turns)));
        // Without events every message counts as a turn of its own.
        let dropped = if bare {
            turns[keep..].iter().flatten().filter(|record| record.class.is_turn_boundary()).count()
        } else {
            turns.len() - keep
        };
        rolled_back.append(RB(dropped as u32));
        prop_assert_eq!(view(&rolled_back), view(&short));
        prop_assert_eq!(user_positions(&rolled_back), user_positions(&short));
        prop_assert_eq!(fork_turn_positions(&rolled_back), fork_turn_positions(&short));
        prop_assert_eq!(model_view(&rolled_back).settings, model_view(&short).settings);
        if !bare {
            prop_assert_eq!(recorded_turns(&rolled_back), recorded_turns(&short));
        }
    }

    #[test]
    fn positions_are_found_without_reading_all(source in any_history(), nth in 0usize..12) {
        let positions = user_positions(&source);
        let wanted = positions.get(nth).map_or(source.len(), |seq| seq.0);
        prop_assert_eq!(before_nth_user_message(&source, nth), wanted);
        let outline = Outline::of(&source);
        prop_assert!(positions.iter().all(|&seq| outline.counts(seq)));
    }

    #[test]
    fn any_file_can_be_read_planned_on_and_shown(
        records in prop::collection::vec(any_record(), 1..20),
        damage in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..40)), 0..4
        ),
        point in any_point(), options in any_options()
    ) {
        let meta = SessionMeta::new(ThreadId::from_parts(1, [1; 10]), "/srv/demo");
        let source: History = std::iter::once(Line::session_meta(7, &meta)).chain(records).collect();
        let mut bytes = Vec::new();
        write_history(&mut bytes, &source).unwrap();
        // Damage upon damage: each may fall into what another left.
        for (at, noise) in damage {
            let at = at.index(bytes.len());
            bytes.splice(at..(at + noise.len() / 2).min(bytes.len()), noise);
        }
        let Ok(file) = read_session_from(bytes.as_slice(), "x.jsonl".as_ref()) else { return Ok(()) };
        for source in [&file.history, &file.sound_history()] {
            if let Ok(plan) = plan_fork(source, &point, &options) {
                prop_assert_eq!(plan.check(source), Ok(()));
                let view = model_view(&plan.history(source));
                prop_assert_eq!(items_validity(&view.items), Ok(()));
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&view.to_json()).is_ok());
            }
        }
    }

    #[test]
    fn a_fork_parts_from_its_source_where_it_was_cut(
        source in any_history(), cut in 0u64..40, more in prop::collection::vec(any_record(), 0..5)
    ) {
        let own = |history: &History| {
            history.iter().filter(|record| record.class != RecordClass::Meta).count() as u64
        };
        let cut = cut.min(source.len());
        // A copy with a first line of its own, as the legacy mode forks: nothing is shared.
        let copied: History = source
            .prefix(cut)
            .iter()
            .map(|record| record_of(&record.raw))
            .chain(std::iter::once(record_of(b"{\"type\":\"mine\",\"payload\":{}}")))
            .chain(more)
            .collect();
        let parting = Parting::of(&source, &copied);
        prop_assert_eq!((parting.shared, parting.common), (0, own(&source.prefix(cut))));
        prop_assert!(parting.left.0 >= cut && own(&source.prefix(parting.left.0)) == parting.common);
        prop_assert_eq!(copied.get(parting.right).map(|r| r.raw.starts_with(b"{\"type\":\"mine")), Some(true));
        let back = Parting::of(&copied, &source);
        prop_assert_eq!((back.left, back.right, back.common), (parting.right, parting.left, parting.common));
        let same = Parting::of(&source, &source.snapshot());
        prop_assert_eq!((same.left, same.common), (source.next_seq(), own(&source)));
    }

    #[test]
    fn what_is_exported_is_imported_and_the_same(records in prop::collection::vec(any_record(), 0..40), newline in any::<bool>()) {
        let meta = SessionMeta::new(ThreadId::from_parts(1, [1; 10]), "/srv/demo");
        let source: History = std::iter::once(Line::session_meta(7, &meta)).chain(records).collect();
        let mut bytes = Vec::new();
        write_history(&mut bytes, &source).unwrap();
        if !newline {
            bytes.pop();
        }
        let file = read_session_from(bytes.as_slice(), "x.jsonl".as_ref()).unwrap();
        let is_torn = !newline && source.last().is_some_and(|record| record.raw.starts_with(b"\xff"));
        if !is_torn {
            prop_assert_eq!(&file.history, &source);
            let mut again = Vec::new();
            file.write_to(&mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }
}
