use coppicer_messages::{Remedy, SpawnOrigin, ThreadStatus, TurnPhase};

use super::*;

fn store_fact(seq: u64, fact: RuntimeEvent) -> Event {
    let mut event = Event::new(Fact::Runtime(fact));
    event.seq = seq;
    event
}

#[test]
fn what_a_gap_hid_of_the_store_is_told_behind_it() {
    let (trouble, reason) = (StoreTrouble::DiskFull, "full".to_owned());
    let ails = RuntimeEvent::StoreAiling { trouble, reason: reason.clone() };
    let mut tree = ThreadTree::default();
    let well = tree.snapshot();
    tree.apply(&store_fact(1, ails.clone()));
    let ailing = tree.snapshot();
    let told_ailing =
        || vec![Told::Attention(Attention::StoreAiling { trouble, reason: reason.clone() })];
    let told_well = || vec![Told::Attention(Attention::StoreRecovered)];

    let mut watch = Watch::default();
    assert_eq!(watch.begin(&well), []);
    assert_eq!(watch.begin(&ailing), told_ailing(), "it began in the gap");
    assert_eq!(watch.begin(&ailing), [], "it goes on");
    assert_eq!(watch.begin(&well), told_well(), "it was over in the gap");
    assert_eq!(watch.event(&store_fact(2, ails)), told_ailing());
    assert_eq!(watch.begin(&ailing), [], "told by its fact");
    assert_eq!(watch.event(&store_fact(3, RuntimeEvent::StoreRecovered)), told_well());
    assert_eq!(watch.begin(&well), [], "told by its fact");
}

/// Facts in order, and what a watch makes of them that misses some.
struct Story {
    tree: ThreadTree,
    seq: u64,
    watch: Watch,
}

impl Story {
    fn new() -> Self {
        let mut watch = Watch::default();
        let tree = ThreadTree::default();
        assert_eq!(watch.begin(&tree.snapshot()), []);
        Self { tree, seq: 0, watch }
    }

    fn event(&mut self, thread: u8, fact: Fact) -> Event {
        self.seq += 1;
        let mut event = Event::new(fact);
        (event.seq, event.at_ms) = (self.seq, 10 * self.seq);
        event.thread = Some(ThreadId::from_parts(1, [thread; 10]));
        self.tree.apply(&event);
        event
    }

    fn told(&mut self, thread: u8, fact: Fact) -> Vec<Attention> {
        let event = self.event(thread, fact);
        attention(self.watch.event(&event))
    }

    fn missed(&mut self, thread: u8, fact: Fact) {
        self.event(thread, fact);
    }

    fn gap_ends(&mut self) -> Vec<Attention> {
        attention(self.watch.begin(&self.tree.snapshot()))
    }
}

fn attention(told: Vec<Told>) -> Vec<Attention> {
    let only = |told| match told {
        Told::Attention(attention) => Some(attention),
        Told::Terminal(_) => None,
    };
    told.into_iter().filter_map(only).collect()
}

const fn spawned() -> Fact {
    Fact::Runtime(RuntimeEvent::ThreadSpawned { origin: SpawnOrigin::New })
}

fn asked(question: &str) -> Fact {
    let body = serde_json::Value::Null;
    Fact::Thread(ThreadEvent::QuestionAsked { question: question.into(), body })
}

const fn stuck(seconds: u64) -> Fact {
    Fact::Thread(ThreadEvent::TurnStuck {
        phase: TurnPhase::Model,
        quiet: Duration::from_secs(seconds),
        remedy: Remedy::Tell,
        waiters: Vec::new(),
        blockers: Vec::new(),
    })
}

fn damage() -> Fact {
    Fact::Thread(ThreadEvent::DamageFound { what: "record 3".to_owned() })
}

const fn shown(status_seq: u64, status: ThreadStatus, phase: Phase) -> Fact {
    Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, phase })
}

#[test]
fn what_a_gap_swallowed_and_still_needs_attention_is_told_once_and_nothing_twice() {
    let thread = |number| ThreadId::from_parts(1, [number; 10]);
    let mut story = Story::new();
    for number in 1..=4 {
        assert_eq!(story.told(number, spawned()), []);
    }
    let ask = Attention::Asked { thread: thread(1) };
    assert_eq!(story.told(1, asked("told")), std::slice::from_ref(&ask));
    story.missed(1, asked("missed"));
    story.missed(1, asked("missed and answered"));
    let question = "missed and answered".into();
    story.missed(1, Fact::Thread(ThreadEvent::QuestionAnswered { question }));
    story.missed(2, stuck(60));
    story.missed(2, stuck(120));
    story.missed(3, damage());
    let what = "record 3".to_owned();
    let silent = Duration::from_secs(120);
    let expected = [
        ask.clone(),
        Attention::Stuck { thread: thread(2), turn: None, silent },
        Attention::Damaged { thread: thread(3), what: what.clone() },
    ];
    assert_eq!(story.gap_ends(), expected);
    assert_eq!(story.gap_ends(), [], "another gap, in which nothing began");
    assert_eq!(
        story.told(
            3,
            Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { what: what.clone() } })
        ),
        [],
        "told as damage"
    );
    let only_an_end =
        Fact::Runtime(RuntimeEvent::ThreadEnded { how: Ended::Damaged { what: what.clone() } });
    let told = [Attention::Damaged { thread: thread(4), what }];
    assert_eq!(story.told(4, only_an_end), told);
}

#[test]
fn what_was_over_and_began_again_in_a_gap_is_told_again() {
    let thread = ThreadId::from_parts(1, [1; 10]);
    let parked = [Attention::Parked { thread }];
    let mut story = Story::new();
    story.told(1, spawned());
    assert_eq!(story.told(1, shown(1, ThreadStatus::Parked, Phase::Parked)), parked);
    assert_eq!(story.gap_ends(), [], "it still is");
    assert_eq!(story.told(1, shown(2, ThreadStatus::Parked, Phase::Parked)), []);
    assert_eq!(story.gap_ends(), [], "it still is");
    story.missed(1, shown(3, ThreadStatus::Completed(None), Phase::Idle));
    story.missed(1, shown(4, ThreadStatus::Parked, Phase::Parked));
    assert_eq!(story.gap_ends(), parked, "it was revived, and parked again");
    let ails = |trouble| {
        let reason = "as asked".to_owned();
        store_fact(0, RuntimeEvent::StoreAiling { trouble, reason }).fact
    };
    let ailing = |trouble| Attention::StoreAiling { trouble, reason: "as asked".to_owned() };
    assert_eq!(story.told(1, ails(StoreTrouble::Busy)), [ailing(StoreTrouble::Busy)]);
    story.missed(1, ails(StoreTrouble::DiskFull));
    assert_eq!(story.gap_ends(), [ailing(StoreTrouble::DiskFull)], "other trouble");
    assert_eq!(story.gap_ends(), []);
}

#[test]
fn a_budget_that_is_used_up_and_a_recovery_that_failed_need_attention() {
    let thread = ThreadId::from_parts(1, [1; 10]);
    let mut watch = Watch::default();
    let (limit, granted) = ("budget.tokens".to_owned(), 9);
    let spent = ThreadEvent::BudgetSpent { limit: limit.clone(), granted };
    let mut event = Event::new(Fact::Thread(spent));
    (event.seq, event.thread) = (1, Some(thread));
    let told = Attention::BudgetSpent { thread, limit, granted };
    assert_eq!(watch.event(&event), [Told::Attention(told)]);
    let (reason, nickname) = ("no such model".to_owned(), Some("Alder".to_owned()));
    let failed = RuntimeEvent::RecoveryFailed {
        reason: reason.clone(),
        again: true,
        nickname: nickname.clone(),
    };
    let mut event = store_fact(2, failed);
    let path: AgentPath = "/root/worker".parse().unwrap();
    (event.thread, event.path) = (Some(thread), Some(path.clone()));
    let thread = Some(thread);
    let told =
        Attention::RecoveryFailed { thread, path: Some(path), nickname, reason, again: true };
    assert_eq!(watch.event(&event), [Told::Attention(told)]);
}

#[test]
fn limits_are_told_of_by_what_the_runtime_says_whichever_they_are() {
    let mut watch = Watch::default();
    let of = |limit, used| LimitUse::new(limit, used, 10);
    let near = |limit, used| Told::Attention(Attention::NearLimit { limit, used, value: 10 });
    for limit in ["registered_max", "resident_max", "executing_max", "taps_max"] {
        assert_eq!(watch.limits(&[of(limit, 9)]), [near(limit, 9)]);
        assert_eq!(watch.limits(&[of(limit, 10)]), [], "once");
        assert_eq!(watch.limits(&[of(limit, 7)]), []);
        assert_eq!(watch.limits(&[of(limit, 9)]), [near(limit, 9)], "and when it comes back");
    }
}
