use std::time::Duration;

use coppicer_messages::{Outcome, Phase, Remedy, Rung, SpawnOrigin, ThreadStatus, TurnPhase};
use serde_json::json;

use super::super::{ThreadTree, TreeSnapshot};
use super::*;

fn id(number: u8) -> ThreadId {
    ThreadId::from_parts(u64::from(number), [number; 10])
}

/// Facts in order, numbered as a hub does it.
#[derive(Default)]
struct Story {
    tree: ThreadTree,
    seq: u64,
}

impl Story {
    /// Threads 1 to 3 are there.
    fn begun() -> Self {
        let mut story = Self::default();
        for thread in 1..=3 {
            story.tell(thread, 1, spawned());
        }
        story
    }

    fn tell(&mut self, thread: u8, epoch: u64, fact: Fact) {
        self.seq += 1;
        let mut event = Event::new(fact);
        (event.seq, event.at_ms) = (self.seq, 10 * self.seq);
        event.thread = (thread > 0).then(|| id(thread));
        event.epoch = coppicer_messages::Epoch(epoch);
        self.tree.apply(&event);
    }

    /// Which facts need somebody, by thread; 0 is the runtime.
    fn open(&self) -> Vec<(u8, &'static str)> {
        let number =
            |thread: Option<ThreadId>| (0..=9).find(|&n| thread == (n > 0).then(|| id(n))).unwrap();
        let all = self.tree.concerns();
        all.iter().map(|one| (number(one.event.thread), one.event.fact.name())).collect()
    }
}

const fn spawned() -> Fact {
    Fact::Runtime(RuntimeEvent::ThreadSpawned { origin: SpawnOrigin::New })
}

fn asked(question: &str) -> Fact {
    Fact::Thread(ThreadEvent::QuestionAsked { question: question.into(), body: json!("may I?") })
}

fn answered(question: &str) -> Fact {
    Fact::Thread(ThreadEvent::QuestionAnswered { question: question.into() })
}

fn stuck(quiet: u64) -> Fact {
    Fact::Thread(ThreadEvent::TurnStuck {
        phase: TurnPhase::Model,
        quiet: Duration::from_secs(quiet),
        remedy: Remedy::Tell,
        waiters: Vec::new(),
        blockers: Vec::new(),
    })
}

fn spent() -> Fact {
    Fact::Thread(ThreadEvent::BudgetSpent { limit: "budget.tokens".to_owned(), granted: 9 })
}

fn damage(what: &str) -> Fact {
    Fact::Thread(ThreadEvent::DamageFound { what: what.to_owned() })
}

const fn started() -> Fact {
    Fact::Thread(ThreadEvent::TurnStarted { attempt: 1 })
}

fn turn_ended() -> Fact {
    let outcome = Outcome::Interrupted;
    Fact::Thread(ThreadEvent::TurnEnded { outcome, rung: None, took: Duration::ZERO })
}

fn failed() -> Fact {
    Fact::Runtime(RuntimeEvent::RecoveryFailed {
        reason: "no".to_owned(),
        again: true,
        nickname: None,
    })
}

fn ended(how: Ended) -> Fact {
    Fact::Runtime(RuntimeEvent::ThreadEnded { how })
}

#[test]
fn a_question_is_open_until_it_is_answered_or_its_turn_is_over() {
    let mut story = Story::begun();
    for (thread, question) in [(1, "q1"), (1, "q2"), (2, "q1")] {
        story.tell(thread, 1, asked(question));
    }
    story.tell(1, 1, answered("q1"));
    assert_eq!(story.open(), [(1, "question_asked"), (2, "question_asked")]);
    story.tell(1, 1, turn_ended());
    assert_eq!(story.open(), [(2, "question_asked")]);
    story.tell(2, 1, ended(Ended::Crashed { cause: "boom".to_owned() }));
    assert_eq!(story.open(), []);
}

#[test]
fn a_stuck_turn_is_one_thing_since_it_was_first_told_of() {
    let mut story = Story::begun();
    story.tell(1, 1, stuck(60));
    let since = story.tree.concerns()[0].since_ms;
    story.tell(1, 1, stuck(120));
    let all = story.tree.concerns();
    assert_eq!((all.len(), all[0].since_ms), (1, since));
    assert_eq!(all[0].event.fact, stuck(120), "as it was told of last");
}

#[test]
fn a_budget_is_used_up_until_it_is_funded_or_a_turn_starts() {
    let mut story = Story::begun();
    story.tell(1, 1, spent());
    story.tell(1, 1, turn_ended());
    assert_eq!(story.open(), [(1, "budget_spent")]);
    story.tell(1, 1, started());
    assert_eq!(story.open(), []);
    story.tell(1, 1, spent());
    let more = coppicer_messages::Budget::new().with_tokens(9);
    story.tell(1, 1, Fact::Thread(ThreadEvent::BudgetFunded { more }));
    assert_eq!(story.open(), [], "it has more");
}

#[test]
fn damage_is_there_until_its_thread_is_deleted_also_of_one_that_has_no_row() {
    let mut story = Story::begun();
    story.tell(9, 0, damage("record 3"));
    story.tell(1, 1, damage("record 4"));
    story.tell(1, 1, ended(Ended::Damaged { what: "record 4".to_owned() }));
    let (status, phase) = (ThreadStatus::Damaged("record 4".to_owned()), Phase::Stopped);
    let shown = ThreadEvent::StatusChanged { status_seq: 1, status, phase };
    story.tell(1, 1, Fact::Thread(shown));
    story.tell(2, 1, ended(Ended::Damaged { what: "told by its end alone".to_owned() }));
    assert_eq!(
        story.open(),
        [(9, "damage_found"), (1, "damage_found"), (2, "thread_ended")],
        "each once"
    );
    for thread in [1, 2, 9] {
        story.tell(thread, 0, Fact::Runtime(RuntimeEvent::ThreadDeleted { threads: 1 }));
    }
    assert_eq!(story.open(), []);
}

#[test]
fn a_recovery_failed_until_its_thread_comes_up_or_the_store_answers() {
    let mut story = Story::default();
    story.tell(0, 0, failed());
    story.tell(7, 0, failed());
    assert_eq!(story.open(), [(0, "recovery_failed"), (7, "recovery_failed")]);
    story.tell(0, 0, Fact::Runtime(RuntimeEvent::StoreRecovered));
    assert_eq!(story.open(), [(7, "recovery_failed")]);
    story.tell(7, 1, spawned());
    assert_eq!(story.open(), []);
}

#[test]
fn nothing_is_wanted_of_a_thread_that_is_over_nor_of_an_earlier_life() {
    let mut story = Story::begun();
    story.tell(1, 1, spent());
    story.tell(1, 1, asked("q1"));
    story.tell(1, 1, ended(Ended::Closed { rung: Rung::Killed }));
    assert_eq!(story.open(), []);
    story.tell(2, 1, asked("q1"));
    story.tell(2, 2, Fact::Runtime(RuntimeEvent::ThreadRestarted));
    story.tell(2, 1, asked("q2"));
    assert_eq!(story.open(), [], "the first went with its life, the second came too late");
    story.tell(2, 2, asked("q3"));
    story.tell(2, 1, turn_ended());
    assert_eq!(story.open(), [(2, "question_asked")], "that was another life's turn");
}

#[test]
fn a_snapshot_says_it_and_goes_on_as_the_tree_does() {
    let mut story = Story::begun();
    story.tell(1, 1, stuck(60));
    story.tell(1, 1, stuck(120));
    story.tell(2, 1, asked("q1"));
    story.tell(3, 1, spent());
    let wire = serde_json::to_string(&story.tree.snapshot()).unwrap();
    let snapshot: TreeSnapshot = serde_json::from_str(&wire).unwrap();
    assert_eq!(snapshot, story.tree.snapshot());
    let mut other = Story { tree: ThreadTree::from_snapshot(&snapshot), seq: story.seq };
    assert_eq!(other.tree, story.tree);
    for story in [&mut story, &mut other] {
        story.tell(1, 1, turn_ended());
        story.tell(2, 1, answered("q1"));
    }
    assert_eq!(other.tree, story.tree);
    assert_eq!(other.open(), [(3, "budget_spent")]);
    let earlier: TreeSnapshot = serde_json::from_str(r#"{"seq":1,"rows":[]}"#).unwrap();
    assert_eq!(earlier.concerns, [], "one of a version that said nothing of it");
}

#[test]
fn past_its_bounds_the_oldest_is_forgotten() {
    let mut story = Story::begun();
    for number in 0..=CONCERNS_MAX {
        story.tell(1, 1, asked(&number.to_string()));
    }
    let all = story.tree.concerns();
    assert_eq!((all.len(), &all[0].event.fact), (CONCERNS_MAX, &asked("1")));
    for number in 0..200 {
        let body = json!("x".repeat(CONCERN_BYTES_MAX - 1_000));
        let question = format!("long {number}").into();
        story.tell(1, 1, Fact::Thread(ThreadEvent::QuestionAsked { question, body }));
    }
    let bytes: usize = story.tree.concerns().iter().map(|one| one.event.bytes()).sum();
    let open = story.open().len();
    assert!(bytes <= CONCERNS_BYTES_MAX && (100..200).contains(&open), "{bytes}, {open}");
}

#[test]
fn a_question_that_is_very_long_is_known_without_its_body() {
    let mut story = Story::begun();
    story.tell(1, 1, asked("short"));
    let body = json!("x".repeat(CONCERNS_BYTES_MAX));
    let long = ThreadEvent::QuestionAsked { question: "long".into(), body };
    story.tell(1, 1, Fact::Thread(long));
    let bodies = story.tree.concerns().into_iter().map(|one| match &one.event.fact {
        Fact::Thread(ThreadEvent::QuestionAsked { body, .. }) => body.clone(),
        fact => panic!("{fact:?}"),
    });
    assert_eq!(bodies.collect::<Vec<_>>(), [json!("may I?"), json!(null)]);
}

#[test]
fn what_sleeps_below_a_thread_that_is_closed_wants_nothing_any_more_but_its_damage_stays() {
    let mut story = Story::begun();
    for thread in [2, 3] {
        let (from, to, path) = (None, Some(id(1)), None);
        story.tell(thread, 1, Fact::Runtime(RuntimeEvent::ThreadAdopted { from, to, path }));
        story.tell(thread, 1, if thread == 2 { spent() } else { damage("record 3") });
        let (status, phase) = (ThreadStatus::Dormant, Phase::Dormant);
        let asleep = ThreadEvent::StatusChanged { status_seq: 1, status, phase };
        story.tell(thread, 1, Fact::Thread(asleep));
    }
    assert_eq!(story.open(), [(2, "budget_spent"), (3, "damage_found")]);
    story.tell(1, 1, ended(Ended::Closed { rung: Rung::Drained }));
    assert!(story.tree.is_empty(), "they went with it");
    assert_eq!(story.open(), [(3, "damage_found")]);
}
