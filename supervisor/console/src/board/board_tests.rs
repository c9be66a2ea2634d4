use std::time::Duration;

use coppicer_messages::{Epoch, Outcome, Phase, Rung, ThreadStatus, TurnId, TurnPhase, Usage};
use serde_json::json;

use super::*;

fn id(number: u8) -> ThreadId {
    ThreadId::from_parts(u64::from(number), [number; 10])
}

/// A runtime that tells what it is told to tell, and shows what it is told to show.
struct Teller {
    board: Board,
    seq: u64,
    now_ms: u64,
    views: HashMap<ThreadId, ThreadView>,
}

impl Teller {
    fn new() -> Self {
        let board = Board::new();
        Self { board, seq: 0, now_ms: 1_000, views: HashMap::new() }
    }

    fn event(&mut self, thread: ThreadId, fact: Fact) -> Event {
        self.seq += 1;
        self.now_ms += 10;
        let mut event = Event::new(fact);
        (event.seq, event.at_ms) = (self.seq, self.now_ms);
        (event.thread, event.epoch) = (Some(thread), Epoch(1));
        event
    }

    fn runtime(&mut self, thread: ThreadId, fact: RuntimeEvent) {
        let event = self.event(thread, Fact::Runtime(fact));
        self.board.follow(&event);
    }

    fn thread(&mut self, thread: ThreadId, fact: ThreadEvent) {
        let mut event = self.event(thread, Fact::Thread(fact));
        event.turn = Some("turn".parse().unwrap());
        self.board.follow(&event);
    }

    fn spawn(&mut self, thread: ThreadId) {
        let origin = coppicer_messages::SpawnOrigin::New;
        self.runtime(thread, RuntimeEvent::ThreadSpawned { origin });
        self.views.insert(thread, ThreadView::of(thread));
    }

    fn status(&mut self, thread: ThreadId, status: ThreadStatus, phase: Phase) {
        let status_seq = self.seq + 1;
        self.thread(thread, ThreadEvent::StatusChanged { status_seq, status, phase });
    }

    fn close(&mut self, thread: ThreadId) {
        self.status(thread, ThreadStatus::Shutdown, Phase::Stopped);
        self.views.remove(&thread);
    }

    fn refresh(&mut self) {
        let views = &self.views;
        self.board.refresh(|thread| views.get(&thread).cloned());
    }

    fn row(&mut self, thread: ThreadId) -> Arc<Row> {
        self.refresh();
        self.board.row(thread).expect("it has a row")
    }
}

#[test]
fn a_row_is_what_facts_and_the_view_say() {
    let mut teller = Teller::new();
    let (root, child) = (id(1), id(2));
    teller.spawn(root);
    let mut event = teller.event(
        child,
        Fact::Runtime(RuntimeEvent::ThreadSpawned { origin: coppicer_messages::SpawnOrigin::New }),
    );
    event.parent = Some(root);
    teller.board.follow(&event);
    teller.status(child, ThreadStatus::Running, Phase::Running);
    teller.thread(child, ThreadEvent::TurnStarted { attempt: 1 });
    let since_ms = teller.now_ms;
    let mut view = ThreadView::of(child);
    let turn: TurnId = "turn".parse().unwrap();
    view.turn = Some(turn.clone());
    view.turn_phase = Some(TurnPhase::Tool { deadline_ms: None });
    view.turn_phase_since_ms = Some(1_234);
    (view.inbox, view.inbox_capacity) = (3, 512);
    view.usage.input_tokens = 7;
    view.last_task = Some("x".repeat(600));
    teller.views.insert(child, view);

    let row = teller.row(child);
    assert_eq!((row.parent, row.status, row.phase), (Some(root), "running", Phase::Running));
    let shown = row.turn.clone().unwrap();
    assert_eq!((shown.turn, shown.since_ms), (turn, since_ms));
    assert_eq!((shown.phase, shown.phase_since_ms), (Some("tool"), Some(1_234)));
    assert_eq!(row.inbox, Some(row::Inbox { used: 3, capacity: 512 }));
    assert_eq!(row.tokens.unwrap().total, 7);
    assert_eq!(row.last_task.as_ref().unwrap().chars().count(), 513, "cut, with an ellipsis");
    let totals = teller.board.totals();
    assert_eq!((totals.threads, totals.by_phase["running"]), (2, 1));
    assert_eq!(totals.by_status["pending_init"], 1);
}

#[test]
fn a_turn_s_phase_is_looked_at_without_a_fact_and_a_view_of_another_turn_says_nothing() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    teller.status(id(1), ThreadStatus::Running, Phase::Running);
    teller.thread(id(1), ThreadEvent::TurnStarted { attempt: 1 });
    let mut view = ThreadView::of(id(1));
    view.turn = Some("turn".parse().unwrap());
    view.turn_phase = Some(TurnPhase::Model);
    teller.views.insert(id(1), view.clone());
    assert_eq!(teller.row(id(1)).turn.as_ref().unwrap().phase, Some("model"));
    view.turn_phase = Some(TurnPhase::Tool { deadline_ms: None });
    teller.views.insert(id(1), view.clone());
    assert_eq!(teller.row(id(1)).turn.as_ref().unwrap().phase, Some("tool"));
    view.turn = Some("another".parse().unwrap());
    teller.views.insert(id(1), view);
    assert_eq!(teller.row(id(1)).turn.as_ref().unwrap().phase, None);
}

#[test]
fn what_is_over_fades_and_says_how_it_ended() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    teller.refresh();
    teller.close(id(1));
    assert_eq!(teller.row(id(1)).gone.as_ref().unwrap().how, "closed");
    teller.runtime(id(1), RuntimeEvent::ThreadEnded { how: Ended::Closed { rung: Rung::Stopped } });
    let gone = teller.row(id(1)).gone.clone().unwrap();
    assert_eq!((gone.how, gone.rung), ("closed", Some("stopped")));
    assert_eq!((teller.board.totals().threads, teller.board.totals().gone), (0, 1));
    let place = teller.board.after(None, 10).place;
    teller.board.expire(gone.at_ms + GONE_KEEP_MS - 1);
    teller.refresh();
    assert!(teller.board.after(Some(place), 10).is_empty());
    teller.board.expire(gone.at_ms + GONE_KEEP_MS);
    teller.refresh();
    assert_eq!(teller.board.after(Some(place), 10).removed, [id(1)]);
    assert!(teller.board.known.is_empty() && teller.board.gone.is_empty(), "nothing is left");
}

#[test]
fn one_that_comes_back_is_not_removed_by_its_first_end() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    teller.close(id(1));
    teller.refresh();
    teller.spawn(id(1));
    teller.board.expire(teller.now_ms + 2 * GONE_KEEP_MS);
    assert_eq!(teller.row(id(1)).gone, None);
    assert_eq!(teller.board.totals().gone, 0);
}

#[test]
fn only_so_many_of_what_is_over_keep_their_row() {
    let mut teller = Teller::new();
    for number in 0..GONE_MAX as u64 + 5 {
        let thread = ThreadId::from_parts(number, [9; 10]);
        teller.spawn(thread);
        teller.close(thread);
    }
    teller.refresh();
    assert_eq!(teller.board.totals().gone, GONE_MAX);
    assert_eq!(teller.board.after(None, usize::MAX).rows.len(), GONE_MAX);
}

#[test]
fn a_gap_is_closed_by_a_snapshot_and_what_it_hid_is_over() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    teller.spawn(id(2));
    teller.status(id(2), ThreadStatus::Running, Phase::Running);
    teller.thread(id(2), ThreadEvent::TurnStarted { attempt: 1 });
    teller.refresh();
    let mut now = TreeRow::of(id(3));
    now.phase = Phase::Idle;
    let snapshot = TreeSnapshot::new(50, vec![Arc::new(now), Arc::new(TreeRow::of(id(1)))]);
    teller.board.lost(12);
    teller.board.begin(&snapshot, 5_000);
    assert_eq!(teller.row(id(2)).gone.as_ref().unwrap().how, "unknown");
    assert_eq!(teller.row(id(3)).phase, Phase::Idle);
    let totals = teller.board.totals();
    assert_eq!((totals.threads, totals.by_phase.len()), (2, 2));
    assert_eq!(teller.board.seen().lost, 12);
    let lanes = teller.board.lanes.after(None, 10, 5_000);
    assert_eq!((lanes.complete_from_ms, lanes.spans[0].outcome), (5_000, Some("lost")));
}

#[test]
fn tokens_go_on_counting_when_a_thread_has_another_slot() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    let used = |tokens| Usage { input_tokens: tokens, ..Usage::default() };
    teller.views.get_mut(&id(1)).unwrap().usage = used(100);
    assert_eq!(teller.row(id(1)).tokens.unwrap().total, 100);
    // Told and viewed: counted once.
    teller.thread(id(1), ThreadEvent::UsageReported { usage: used(5) });
    teller.views.get_mut(&id(1)).unwrap().usage = used(105);
    assert_eq!(teller.row(id(1)).tokens.unwrap().total, 105);
    // Told of a thread that nobody shows: counted too.
    let view = teller.views.remove(&id(1));
    teller.thread(id(1), ThreadEvent::UsageReported { usage: used(5) });
    assert_eq!(teller.row(id(1)).tokens.unwrap().total, 110);
    assert!(view.is_some());
    let mut again = ThreadView::of(id(1));
    again.usage = used(3);
    teller.views.insert(id(1), again);
    teller.thread(id(1), ThreadEvent::TurnStarted { attempt: 1 });
    assert_eq!(teller.row(id(1)).tokens.unwrap().total, 108, "105 of the first slot and 3 of this");
}

#[test]
fn errors_restarts_and_pauses_are_kept_with_the_thread() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    teller.thread(id(1), ThreadEvent::Crashed { cause: "boom".to_owned() });
    let after = Duration::from_millis(110);
    teller.thread(id(1), ThreadEvent::BackoffStarted { crash: 1, after });
    let row = teller.row(id(1));
    assert_eq!(row.last_error.as_ref().unwrap().text, "boom");
    assert_eq!(row.crashes, 1);
    let outcome = Outcome::Failed { error: "no model".to_owned() };
    teller.thread(id(1), ThreadEvent::TurnEnded { outcome, rung: None, took: after });
    assert_eq!(teller.row(id(1)).last_error.as_ref().unwrap().text, "no model");
    let recent = serde_json::to_value(teller.board.recent(id(1))).unwrap();
    assert_eq!(
        recent,
        json!([
            { "at_ms": 1_020, "kind": "crash", "text": "boom" },
            { "at_ms": 1_030, "kind": "backoff", "n": 1, "pause_ms": 110, "text": "boom" },
        ])
    );
    let status = |status_seq, phase| ThreadEvent::StatusChanged {
        status_seq,
        status: ThreadStatus::Crashed("boom".to_owned()),
        phase,
    };
    teller.thread(id(1), status(7, Phase::Backoff));
    assert_eq!(teller.row(id(1)).restarts, 0, "it is down");
    teller.thread(id(1), status(8, Phase::Idle));
    teller.thread(id(1), ThreadEvent::TurnStarted { attempt: 1 });
    assert_eq!(teller.row(id(1)).restarts, 1, "its engine came back, once");
    teller.thread(id(1), ThreadEvent::BackoffStarted { crash: 2, after });
    teller.thread(id(1), status(9, Phase::Parked));
    teller.thread(id(1), status(10, Phase::Idle));
    assert_eq!(teller.row(id(1)).restarts, 1, "one that was parked did not come back by itself");
    for _ in 0..100 {
        teller.thread(id(1), ThreadEvent::BackoffStarted { crash: 1, after });
    }
    assert_eq!(teller.board.recent(id(1)).len(), crate::bounds::RECENT_MAX);
}

#[test]
fn threads_that_run_are_looked_at_in_turns() {
    let mut teller = Teller::new();
    for number in 1..=10 {
        teller.spawn(id(number));
        teller.thread(id(number), ThreadEvent::TurnStarted { attempt: 1 });
    }
    teller.refresh();
    let mut looked = Vec::new();
    for _ in 0..4 {
        looked.extend(teller.board.next_running(5));
    }
    let all: Vec<ThreadId> = (1..=10).chain(1..=10).map(id).collect();
    assert_eq!(looked, all);
    assert_eq!(teller.board.next_running(99).len(), 10, "each once");
}

#[test]
fn many_that_were_touched_do_not_wait_for_ever() {
    let mut teller = Teller::new();
    for number in 0..4 * LOOKS_MAX as u64 {
        teller.spawn(ThreadId::from_parts(number, [1; 10]));
    }
    teller.refresh();
    assert_eq!(teller.board.touched.len(), 2 * LOOKS_MAX);
    teller.refresh();
    teller.refresh();
    assert!(teller.board.touched.is_empty());
}

#[test]
fn a_row_tells_of_each_fact_though_it_shows_nothing_of_it() {
    let mut teller = Teller::new();
    teller.spawn(id(1));
    let before = teller.row(id(1));
    teller.thread(id(1), ThreadEvent::MailReceived { mail: "m1".into() });
    let after = teller.row(id(1));
    assert_eq!(after.facts, before.facts + 1, "so who reads more of it reads it again");
    let change = teller.board.after(None, 10).place;
    teller.refresh();
    assert!(teller.board.after(Some(change), 10).is_empty(), "and once");
}
