//! Lists and histories.

use coppicer_messages::{
    AbortReason, CallId, Epoch, MessagePhase, NewRecord, RecordClass, Seq, StoreError, ToolKind,
    TurnRef,
};
use futures::FutureExt;

use super::words::{
    append, create, id, listed, make_root, record, records, root, texts, undo_create, written,
};
use super::{Case, Store};
use crate::history::{Excerpt, ExcerptAt, ExcerptQuery, History};
use crate::store::{Base, Batch, Fence, NewThread};

cases! {
    async fn a_list_goes_on_where_it_stopped_whatever_comes_in_between(store) {
        for n in [5, 1, 3, 9, 7] {
            make_root(&store, n).await;
        }
        let first = listed(&store, None, 2).await;
        assert_eq!(first, [id(1), id(3)]);
        make_root(&store, 2).await;
        make_root(&store, 4).await;
        let second = listed(&store, Some(id(3)), 2).await;
        assert_eq!(second, [id(4), id(5)]);
        let gone = Fence { thread: id(5), epoch: Epoch(1) };
        undo_create(&store, gone).await.unwrap();
        assert_eq!(listed(&store, Some(id(5)), 10).await, [id(7), id(9)]);
        assert_eq!(listed(&store, Some(id(9)), 10).await, []);
        assert_eq!(listed(&store, None, 0).await, []);
    }

    async fn a_read_gives_the_records_before_its_end(store) {
        let fence = make_root(&store, 1).await.fence;
        append(&store, fence, 0, written(["a", "b", "c"])).await.unwrap();
        for (end, expected) in [(0, &[][..]), (2, &["a", "b"]), (3, &["a", "b", "c"])] {
            let history = store.read(id(1), Some(Seq(end))).await.unwrap();
            assert_eq!(history.len(), end);
            let read: Vec<&[u8]> = history.iter().map(|record| &*record.raw).collect();
            let expected: Vec<&[u8]> = expected.iter().map(|text| text.as_bytes()).collect();
            assert_eq!(read, expected);
        }
        let all = store.read(id(1), Some(Seq(99))).await.unwrap();
        assert_eq!(all.len(), 3, "an end past the head is the head");
        // What was read is a snapshot.
        append(&store, fence, 3, written(["d"])).await.unwrap();
        assert_eq!(all.len(), 3);
        let record = all.get(Seq(1)).unwrap();
        assert_eq!((record.seq, record.at_ms, &record.class), (Seq(1), 1, &RecordClass::Other));
    }

    async fn a_read_can_begin_anywhere(store) {
        let fence = make_root(&store, 1).await.fence;
        append(&store, fence, 0, written(["a", "b", "c", "d"])).await.unwrap();
        let fork = NewThread { base: Some(Base { thread: id(1), cut: Seq(3) }), ..root(2) };
        create(&store, fork, records(["x", "y"])).await.unwrap();
        let texts = |history: &History| -> Vec<String> {
            history.iter().map(|r| String::from_utf8(r.raw.to_vec()).unwrap()).collect()
        };
        for (from, end, expected) in [
            (0, None, &["a", "b", "c", "x", "y"][..]),
            (2, None, &["c", "x", "y"]),
            (2, Some(4), &["c", "x"]),
            (4, None, &["y"]),
            (5, None, &[]),
            (9, Some(3), &[]),
        ] {
            let end = end.map(Seq);
            let history = store.read_range(id(2), Seq(from), end).await.unwrap();
            assert_eq!(texts(&history), expected, "{from}..{end:?}");
            assert_eq!(history.first_seq(), Seq(from.min(end.map_or(5, |end| end.0))));
            for (place, record) in history.iter().enumerate() {
                assert_eq!(record.seq.0, from + place as u64);
            }
        }
    }

    async fn a_read_in_pieces_gives_the_same_records_and_no_piece_more_than_it_may(store) {
        let fence = make_root(&store, 1).await.fence;
        let sizes = [3, 1, 1, 9, 1, 1, 1, 20, 2].map(|size| "x".repeat(size));
        append(&store, fence, 0, written(sizes.each_ref().map(String::as_str))).await.unwrap();
        let fork = NewThread { base: Some(Base { thread: id(1), cut: Seq(9) }), ..root(2) };
        create(&store, fork, records(["yy", "z"])).await.unwrap();
        for (bytes, pieces) in [
            (0, vec![3, 1, 1, 9, 1, 1, 1, 20, 2, 2, 1]),
            (4, vec![4, 10, 23, 4, 1]),
            (20, vec![37, 5]),
            (usize::MAX, vec![42]),
        ] {
            let (mut read, mut at) = (Vec::new(), Seq(0));
            loop {
                let piece = store.read_piece(id(2), at, None, bytes).await.unwrap();
                assert_eq!(piece.first_seq(), at);
                if piece.is_empty() {
                    break;
                }
                read.push(piece.iter().map(|record| record.raw.len()).sum::<usize>());
                at = piece.next_seq();
            }
            assert_eq!(read, pieces, "pieces of {bytes}");
        }
        let end = store.read_piece(id(2), Seq(2), Some(Seq(4)), 100).await.unwrap();
        assert_eq!((end.first_seq(), end.next_seq()), (Seq(2), Seq(4)), "not past its end");
    }

    async fn every_class_comes_back_as_it_was_written(store) {
        let fence = make_root(&store, 1).await.fence;
        let classes = classes();
        let records = classes
            .iter()
            .map(|class| NewRecord { at_ms: 5, class: class.clone(), raw: (*b"{}").into() })
            .collect();
        append(&store, fence, 0, Batch { records, ..Batch::default() }).await.unwrap();
        let history = store.read(id(1), None).await.unwrap();
        let read: Vec<&RecordClass> = history.iter().map(|record| &record.class).collect();
        assert_eq!(read, classes.iter().collect::<Vec<_>>());
    }

    async fn the_model_s_view_begins_at_the_turn_of_the_newest_compaction(store) {
        let fence = make_root(&store, 1).await.fence;
        let started = || RecordClass::TurnStarted { turn: None };
        let context = || RecordClass::TurnContext { turn: None };
        let compaction = |replaced| RecordClass::Compaction { replaced };
        let write = |classes: Vec<RecordClass>| {
            let made = |class| NewRecord { at_ms: 5, class, raw: (*b"{}").into() };
            Batch { records: classes.into_iter().map(made).collect(), ..Batch::default() }
        };
        append(&store, fence, 0, write(vec![started(), context(), RecordClass::UserMessage]))
            .await
            .unwrap();
        assert_eq!(store.view_start(id(1), None).await, Ok(Seq(0)));
        let second = vec![started(), context(), compaction(false), compaction(true)];
        append(&store, fence, 3, write(second)).await.unwrap();
        append(&store, fence, 7, write(vec![started(), RecordClass::UserMessage])).await.unwrap();
        assert_eq!(store.view_start(id(1), None).await, Ok(Seq(3)));
        assert_eq!(store.view_start(id(1), Some(Seq(7))).await, Ok(Seq(3)));
        assert_eq!(store.view_start(id(1), Some(Seq(6))).await, Ok(Seq(0)), "a summary alone is not enough");
        let fork = NewThread { base: Some(Base { thread: id(1), cut: Seq(8) }), ..root(2) };
        create(&store, fork, records(["x"])).await.unwrap();
        assert_eq!(store.view_start(id(2), None).await, Ok(Seq(3)), "also in a base");
        append(&store, fence, 9, write(vec![RecordClass::RolledBack { turns: 1 }])).await.unwrap();
        assert_eq!(store.view_start(id(1), None).await, Ok(Seq(0)), "the compaction may be gone");
        let missing = StoreError::NotFound { thread: id(9) };
        assert_eq!(store.view_start(id(9), None).await, Err(missing));
    }

    async fn an_excerpt_is_a_piece_of_the_history_or_all_of_it(store) {
        let fence = make_root(&store, 1).await.fence;
        let turn = |name: &str| Some(TurnRef::from(name));
        let started = |name| RecordClass::TurnStarted { turn: turn(name) };
        let ended = |name| RecordClass::TurnCompleted { turn: turn(name), failed: false };
        let rolled_back = |turns| RecordClass::RolledBack { turns };
        let write = |classes: Vec<RecordClass>| {
            let made = |class| NewRecord { at_ms: 5, class, raw: (*b"{}").into() };
            Batch { records: classes.into_iter().map(made).collect(), ..Batch::default() }
        };
        let message = || RecordClass::UserMessage;
        let mut classes = vec![RecordClass::Meta, message()];
        for name in ["a", "b", "c", "b", "d"] {
            classes.extend([started(name), message(), RecordClass::Reasoning, ended(name)]);
        }
        classes.extend([RecordClass::TurnStarted { turn: None }, rolled_back(0)]);
        append(&store, fence, 0, write(classes)).await.unwrap();
        // One that shares a part, and one that shares a part of that.
        let fork = |n, of, cut| NewThread {
            base: Some(Base { thread: id(of), cut: Seq(cut) }),
            ..root(n)
        };
        let made = create(&store, fork(2, 1, 13), Vec::new()).await.unwrap().fence;
        let more = vec![RecordClass::Meta, started("c"), message(), ended("c")];
        append(&store, made, 13, write(more)).await.unwrap();
        let made = create(&store, fork(3, 2, 16), Vec::new()).await.unwrap().fence;
        append(&store, made, 16, write(vec![rolled_back(2), started("e"), message()])).await.unwrap();
        make_root(&store, 4).await;
        let mut places = vec![ExcerptAt::End];
        places.extend((0..26).map(|seq| ExcerptAt::Record(Seq(seq))));
        places.extend((0..9).map(ExcerptAt::UserMessage));
        for name in ["a", "b", "c", "d", "e", "f"] {
            places.push(ExcerptAt::Turn(name.into()));
            places.push(ExcerptAt::AfterTurn(name.into()));
        }
        for n in 1..=4 {
            for end in [None, Some(Seq(0)), Some(Seq(9)), Some(Seq(15)), Some(Seq(99))] {
                let history = store.read(id(n), end).await.unwrap();
                for (at, turns) in places.iter().flat_map(|at| [1, 2, 5].map(|turns| (at, turns))) {
                    let query = ExcerptQuery { at: at.clone(), turns };
                    let excerpt = store.excerpt(id(n), end, query.clone()).await.unwrap();
                    if !excerpt.is_whole() {
                        assert_eq!(excerpt, Excerpt::of(&history, &query), "{n} {end:?} {query:?}");
                    }
                    assert_eq!(excerpt.meta.as_ref(), history.own_meta());
                    assert_eq!(excerpt.first_user_message.as_ref(), history.first_user_message());
                }
            }
        }
        let query = ExcerptQuery { at: ExcerptAt::End, turns: 1 };
        let missing = store.excerpt(id(9), None, query).await.map(|_| ());
        assert_eq!(missing, Err(StoreError::NotFound { thread: id(9) }));
    }

    async fn many_records_come_back_byte_for_byte(store) {
        const RECORDS: u64 = 3_000;
        let fence = make_root(&store, 1).await.fence;
        let text = |n: u64| format!("{n} é \u{0} \"\\ {}", "x".repeat((n % 50) as usize));
        for from in (0..RECORDS).step_by(1_000) {
            let batch = Batch {
                records: (from..from + 1_000).map(|n| record(&text(n))).collect(),
                ..Batch::default()
            };
            append(&store, fence, from, batch).await.unwrap();
        }
        let expected: Vec<String> = (0..RECORDS).map(text).collect();
        assert_eq!(texts(&store, 1).await, expected);
    }
}

/// Every class, with each of its fields at each kind of value.
fn classes() -> Vec<RecordClass> {
    let turn =
        || [None, Some(TurnRef::from("t-1")), Some(TurnRef::from("")), Some("é\u{0}".into())];
    let call = CallId::from("call \u{0}\n'\"");
    let kinds = [ToolKind::Function, ToolKind::Custom, ToolKind::Search];
    let phases = [MessagePhase::None, MessagePhase::Commentary, MessagePhase::Final];
    let reasons = [
        AbortReason::Interrupted,
        AbortReason::Replaced,
        AbortReason::ReviewEnded,
        AbortReason::BudgetLimited,
        AbortReason::Crashed,
        AbortReason::Failed,
        AbortReason::Other,
    ];
    let mut classes = vec![
        RecordClass::Meta,
        RecordClass::UserMessage,
        RecordClass::ContextualUserMessage,
        RecordClass::DeveloperMessage,
        RecordClass::Envelope { trigger: false },
        RecordClass::Envelope { trigger: true },
        RecordClass::Reasoning,
        RecordClass::OtherItem,
        RecordClass::RolledBack { turns: 0 },
        RecordClass::RolledBack { turns: u32::MAX },
        RecordClass::Compaction { replaced: false },
        RecordClass::Compaction { replaced: true },
        RecordClass::UserEvent,
        RecordClass::AgentEvent,
        RecordClass::ErrorEvent,
        RecordClass::Usage,
        RecordClass::Other,
        RecordClass::Opaque,
    ];
    classes.extend(phases.map(|phase| RecordClass::AssistantMessage { phase }));
    for kind in kinds {
        classes.push(RecordClass::ToolCall { call: call.clone(), kind });
        classes.push(RecordClass::ToolOutput { call: call.clone(), kind });
    }
    for turn in turn() {
        classes.push(RecordClass::TurnStarted { turn: turn.clone() });
        classes.push(RecordClass::TurnContext { turn: turn.clone() });
        for failed in [false, true] {
            classes.push(RecordClass::TurnCompleted { turn: turn.clone(), failed });
        }
        classes
            .extend(reasons.map(|reason| RecordClass::TurnAborted { turn: turn.clone(), reason }));
    }
    classes
}
