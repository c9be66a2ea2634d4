use coppicer_messages::{Outcome, Rung, SpawnOrigin};
use proptest::prelude::*;

use super::*;

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

/// Facts in order, numbered as a hub does it.
#[derive(Default)]
struct Story {
    tree: ThreadTree,
    seq: u64,
}

impl Story {
    fn tell(&mut self, thread: u64, epoch: u64, fact: impl Into<Told>) -> TreeChange {
        let event = self.event(thread, epoch, fact);
        self.tree.apply(&event)
    }

    fn event(&mut self, thread: u64, epoch: u64, fact: impl Into<Told>) -> Event {
        self.seq += 1;
        let Told(fact) = fact.into();
        let mut event = Event::new(fact);
        event.seq = self.seq;
        event.at_ms = 1_000 + self.seq;
        event.thread = Some(id(thread));
        event.parent = (thread > 1).then(|| id(thread / 2));
        event.epoch = Epoch(epoch);
        event.turn = Some(TurnId::new(format!("t{epoch}")).unwrap());
        event
    }

    fn row(&self, thread: u64) -> &TreeRow {
        self.tree.get(id(thread)).unwrap()
    }
}

struct Told(Fact);

impl From<RuntimeEvent> for Told {
    fn from(event: RuntimeEvent) -> Self {
        Self(Fact::Runtime(event))
    }
}

impl From<ThreadEvent> for Told {
    fn from(event: ThreadEvent) -> Self {
        Self(Fact::Thread(event))
    }
}

const fn spawned() -> RuntimeEvent {
    RuntimeEvent::ThreadSpawned { origin: SpawnOrigin::New }
}

const fn status(status_seq: u64, status: ThreadStatus, phase: Phase) -> ThreadEvent {
    ThreadEvent::StatusChanged { status_seq, status, phase }
}

const fn closed() -> RuntimeEvent {
    RuntimeEvent::ThreadEnded { how: Ended::Closed { rung: Rung::Drained } }
}

fn turn_ended() -> ThreadEvent {
    let outcome = Outcome::Completed { message: None };
    ThreadEvent::TurnEnded { outcome, rung: None, took: std::time::Duration::ZERO }
}

fn gone(change: TreeChange) -> Vec<ThreadId> {
    match change {
        TreeChange::Removed(rows) => {
            let mut gone: Vec<_> = rows.iter().map(|row| row.thread).collect();
            gone.sort_unstable();
            gone
        }
        other => panic!("nothing went: {other:?}"),
    }
}

#[test]
fn a_row_follows_the_facts_of_its_thread() {
    let mut story = Story::default();
    assert_eq!(story.tell(1, 3, spawned()), TreeChange::Added(id(1)));
    let (nickname, role) = (Some("Ada".to_owned()), Some("poet".to_owned()));
    let described = RuntimeEvent::ThreadDescribed {
        path: Some(AgentPath::root()),
        nickname: nickname.clone(),
        role: role.clone(),
        internal: true,
    };
    story.tell(1, 3, described);
    story.tell(1, 3, status(1, ThreadStatus::Running, Phase::Running));
    story.tell(1, 3, ThreadEvent::TurnStarted { attempt: 1 });
    let expected = TreeRow {
        path: Some(AgentPath::root()),
        nickname: nickname.as_deref().map(Into::into),
        role: role.as_deref().map(Into::into),
        internal: true,
        status: ThreadStatus::Running,
        status_seq: 1,
        phase: Phase::Running,
        since_ms: 1_003,
        epoch: Epoch(3),
        turn: Some(TurnId::new("t3").unwrap()),
        ..TreeRow::of(id(1))
    };
    assert_eq!(story.row(1), &expected);
    story.tell(1, 3, turn_ended());
    story.tell(1, 3, ThreadEvent::Crashed { cause: "x".into() });
    let how = Ended::Crashed { cause: "y".into() };
    story.tell(1, 3, RuntimeEvent::ThreadEnded { how });
    story.tell(1, 4, RuntimeEvent::ThreadRestarted);
    let row = story.row(1);
    assert_eq!((row.turns, row.crashes, row.restarts, row.epoch), (1, 2, 1, Epoch(4)));
    assert_eq!((row.turn.as_ref(), row.phase), (None, Phase::Running));
}

#[test]
fn what_is_told_of_threads_without_a_row_makes_none() {
    let mut story = Story::default();
    for fact in [
        Told::from(RuntimeEvent::ThreadArchived),
        closed().into(),
        status(1, ThreadStatus::Running, Phase::Running).into(),
        turn_ended().into(),
    ] {
        assert_eq!(story.tell(1, 1, fact), TreeChange::Unchanged);
    }
    assert!(story.tree.is_empty());
    assert_eq!(story.tree.seq(), 4);
}

#[test]
fn a_thread_that_sleeps_keeps_its_row_and_one_whose_end_is_told_loses_it() {
    let mut story = Story::default();
    story.tell(1, 1, spawned());
    story.tell(1, 1, RuntimeEvent::ThreadEnded { how: Ended::Dormant });
    story.tell(1, 1, status(2, ThreadStatus::Dormant, Phase::Dormant));
    assert_eq!(story.row(1).phase, Phase::Dormant);
    // It left memory: its next slot counts statuses from the beginning.
    story.tell(1, 2, spawned());
    assert_eq!((&story.row(1).status, story.row(1).epoch), (&ThreadStatus::Dormant, Epoch(2)));
    story.tell(1, 2, status(1, ThreadStatus::Running, Phase::Running));
    assert_eq!(story.row(1).status, ThreadStatus::Running);
    assert_eq!(gone(story.tell(1, 2, closed())), [id(1)]);
    assert_eq!(story.tell(1, 2, turn_ended()), TreeChange::Unchanged, "no ghost");
}

#[test]
fn what_sleeps_below_a_thread_that_is_closed_goes_with_it() {
    // 1 ── 2 (sleeps) ── 4 (sleeps)
    //   └─ 3 (lives)  ── 6 (sleeps)
    let mut story = Story::default();
    for thread in [1, 2, 3, 4, 6] {
        story.tell(thread, 1, spawned());
    }
    for thread in [2, 4, 6] {
        story.tell(thread, 1, status(1, ThreadStatus::Dormant, Phase::Dormant));
    }
    assert_eq!(gone(story.tell(1, 1, closed())), [id(1), id(2), id(4)]);
    assert_eq!(story.tree.len(), 2, "what lives below it is told of by itself");
    let damaged = ThreadStatus::Damaged("record 3".into());
    assert_eq!(gone(story.tell(3, 1, status(1, damaged, Phase::Stopped))), [id(3)]);
    assert_eq!(story.tree.len(), 1, "what sleeps below a damaged one can be woken");
}

#[test]
fn an_undone_or_deleted_thread_takes_all_below_it_along() {
    for end in [RuntimeEvent::SpawnUndone, RuntimeEvent::ThreadDeleted { threads: 3 }] {
        let mut story = Story::default();
        for thread in [1, 2, 3, 4] {
            story.tell(thread, 1, spawned());
        }
        assert_eq!(gone(story.tell(2, 0, end)), [id(2), id(4)]);
        assert_eq!(story.tree.children(id(1)).collect::<Vec<_>>(), [id(3)]);
    }
}

#[test]
fn facts_of_an_earlier_life_and_statuses_that_were_overtaken_change_nothing() {
    let mut story = Story::default();
    story.tell(1, 2, spawned());
    story.tell(1, 2, status(5, ThreadStatus::Running, Phase::Running));
    let before = story.row(1).clone();
    story.tell(1, 1, turn_ended());
    story.tell(1, 1, status(9, ThreadStatus::Shutdown, Phase::Stopped));
    story.tell(1, 2, status(4, ThreadStatus::PendingInit, Phase::Idle));
    assert_eq!(story.row(1), &before);
    let described = RuntimeEvent::ThreadDescribed {
        path: None,
        nickname: Some("new".into()),
        role: None,
        internal: false,
    };
    story.tell(1, 0, described);
    assert_eq!(story.row(1).nickname.as_deref(), Some("new"), "told of it without an incarnation");
    assert_eq!(story.row(1).epoch, Epoch(2));
}

fn adopted(to: Option<u64>) -> RuntimeEvent {
    let path = to.map(|to| AgentPath::root().join(&format!("below_{to}")).unwrap());
    RuntimeEvent::ThreadAdopted { from: None, to: to.map(id), path }
}

#[test]
fn a_thread_that_moves_takes_what_is_below_it_along() {
    // 1 ── 2 ── 4 ── 8      3
    let mut story = Story::default();
    for thread in [1, 2, 4, 8, 3] {
        story.tell(thread, 1, spawned());
    }
    story.tell(8, 1, status(1, ThreadStatus::Dormant, Phase::Dormant));
    assert_eq!(story.tell(4, 1, adopted(Some(3))), TreeChange::Changed(id(4)));
    assert_eq!(story.row(4).parent, Some(id(3)));
    assert_eq!(story.row(4).path, Some("/root/below_3".parse().unwrap()));
    assert_eq!(story.tree.children(id(2)).count(), 0);
    assert_eq!(gone(story.tell(2, 1, closed())), [id(2)]);
    story.tell(4, 1, adopted(None));
    assert_eq!((story.row(4).parent, &story.row(4).path), (None, &None));
    assert_eq!(gone(story.tell(4, 1, closed())), [id(4), id(8)], "what sleeps below it");
    assert_eq!(story.tell(7, 1, adopted(None)), TreeChange::Unchanged, "it has no row");
}

#[test]
fn what_is_above_a_branch_is_known_to_filters_after_it_moved() {
    let mut story = Story::default();
    for thread in [1, 2, 4, 3] {
        story.tell(thread, 1, spawned());
    }
    let event = story.event(2, 1, adopted(Some(3)));
    let above = Lineage::default().below(id(1)).below(id(3));
    story.tree.apply_below(&event, &above);
    let wanted = |_: ThreadId, lineage: &Lineage| lineage.contains(id(3));
    let rows = snapshot_of(&story.tree.image(), 9, wanted).rows;
    assert_eq!(rows.iter().map(|row| row.thread).collect::<Vec<_>>(), [id(2), id(4)]);
}

fn any_fact() -> impl Strategy<Value = Fact> {
    let number = 0..6_u64;
    let any_status = prop_oneof![
        Just((ThreadStatus::Running, Phase::Running)),
        Just((ThreadStatus::Completed(None), Phase::Idle)),
        Just((ThreadStatus::Dormant, Phase::Dormant)),
        Just((ThreadStatus::Shutdown, Phase::Stopped)),
        Just((ThreadStatus::Damaged("x".into()), Phase::Stopped)),
    ];
    prop_oneof![
        4 => Just(Fact::Runtime(spawned())),
        1 => Just(Fact::Runtime(RuntimeEvent::ThreadRestarted)),
        1 => Just(Fact::Runtime(closed())),
        1 => Just(Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Dormant })),
        1 => Just(Fact::Runtime(RuntimeEvent::SpawnUndone)),
        2 => prop::option::of(1..12_u64).prop_map(|to| Fact::Runtime(adopted(to))),
        4 => (number, any_status)
            .prop_map(|(seq, (is, phase))| Fact::Thread(status(seq, is, phase))),
        2 => Just(Fact::Thread(ThreadEvent::TurnStarted { attempt: 1 })),
        2 => Just(Fact::Thread(turn_ended())),
        1 => Just(Fact::Thread(ThreadEvent::Crashed { cause: "x".into() })),
        1 => Just(Fact::Thread(ThreadEvent::Delta { text: "x".into() })),
    ]
}

proptest! {
    #[test]
    fn a_snapshot_and_what_comes_after_it_fold_to_the_same_tree(
        told in prop::collection::vec((1..12_u64, 0..4_u64, any_fact()), 1..120),
        at in any::<prop::sample::Index>(),
    ) {
        let mut story = Story::default();
        let at = at.index(told.len());
        let mut from_there = None;
        for (n, (thread, epoch, fact)) in told.into_iter().enumerate() {
            let event = story.event(thread, epoch, Told(fact));
            story.tree.apply(&event);
            if let Some(tree) = &mut from_there {
                let tree: &mut ThreadTree = tree;
                tree.apply(&event);
                // What was read before, after a reconnect.
                prop_assert_eq!(tree.apply(&event), TreeChange::Unchanged);
            }
            if n == at {
                let wire = serde_json::to_string(&story.tree.snapshot()).unwrap();
                let snapshot: TreeSnapshot = serde_json::from_str(&wire).unwrap();
                from_there = Some(ThreadTree::from_snapshot(&snapshot));
            }
            // The rows and the index agree.
            let rows = story.tree.rows().count();
            prop_assert_eq!(rows, story.tree.len());
            let below: usize = story.tree.children.values().map(BTreeSet::len).sum();
            prop_assert_eq!(below, story.tree.rows().filter(|row| row.parent.is_some()).count());
        }
        let from_there = from_there.unwrap();
        prop_assert_eq!(from_there.snapshot(), story.tree.snapshot());
        prop_assert_eq!(&from_there, &story.tree);
    }
}

#[test]
fn a_snapshot_says_what_trouble_the_store_is_in_until_it_has_recovered() {
    let mut tree = ThreadTree::default();
    let mut event = Event::new(Fact::Runtime(RuntimeEvent::StoreAiling {
        trouble: StoreTrouble::DiskFull,
        reason: "full".to_owned(),
    }));
    (event.seq, event.at_ms) = (1, 77);
    tree.apply(&event);
    let wire = serde_json::to_string(&tree.snapshot()).unwrap();
    let snapshot: TreeSnapshot = serde_json::from_str(&wire).unwrap();
    let ailing = snapshot.ailing.as_deref().unwrap();
    assert_eq!(
        (ailing.trouble, &*ailing.reason, ailing.since_ms),
        (StoreTrouble::DiskFull, "full", 77)
    );
    let mut from_there = ThreadTree::from_snapshot(&snapshot);
    assert_eq!(from_there, tree);
    let mut recovered = Event::new(Fact::Runtime(RuntimeEvent::StoreRecovered));
    recovered.seq = 2;
    from_there.apply(&recovered);
    assert_eq!(from_there.snapshot(), TreeSnapshot::new(2, Vec::new()));
    let earlier: TreeSnapshot = serde_json::from_str(r#"{"seq":1,"rows":[]}"#).unwrap();
    assert_eq!(earlier.ailing, None, "one of a version that said nothing of it");
}

#[test]
fn a_row_is_as_short_as_a_thread_without_an_actor_is_to_cost() {
    // Beside its place and its index entry it is all that such a thread has: with the two counts of
    // its `Arc` it is to fit into 152 bytes, from where an allocator begins its next class.
    assert!(size_of::<TreeRow>() <= 136, "{}", size_of::<TreeRow>());
}
