//! Writes a store of the present version with something of everything in it: a fixture for
//! `tests/versions.rs`, which every later version must open.
//!
//! `cargo run -p coppicer-sqlite --example fixture -- actors/sqlite/tests/fixtures/v6.db`

use coppicer_actors::{
    Acquired, Base, Batch, Done, EdgeChange, EdgeStatus, MailTo, NewSubmission, NewThread,
    ThreadStore, digest,
};
use coppicer_messages::{
    Budget, Charge, CrashRecord, Mail, MailId, NewRecord, Outcome, Seq, StoreError, SubmissionId,
    SubmissionState, ThreadConfig, ThreadId, ThreadPatch, ThreadStatus,
};
use coppicer_sqlite::SqliteStore;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("which file?")?;
    let store = SqliteStore::open(&path)?;
    fill(&store).await?;
    store.close();
    Ok(())
}

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(1_780_473_600_000 + n, [n as u8; 10])
}

fn records(lines: &[&str]) -> Vec<NewRecord> {
    lines.iter().map(|line| coppicer_actors::record_of(line.as_bytes())).collect()
}

fn submission(name: &str) -> Result<NewSubmission, Box<dyn std::error::Error>> {
    let body = br#"{"user_input":{"input":[{"type":"text","text":"hello"}]}}"#;
    let id = SubmissionId::new(name)?;
    Ok(NewSubmission { id, digest: digest(body), body: (*body).into() })
}

async fn fill(store: &SqliteStore) -> Result<(), Box<dyn std::error::Error>> {
    let meta = r#"{"timestamp":"2026-06-03T08:00:00.000Z","type":"session_meta","payload":{"id":"019e8cd4-3401-7101-8101-010101010101","cwd":"/w"}}"#;
    let user = r#"{"timestamp":"2026-06-03T08:00:01.000Z","type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"hello"}]}}"#;
    let call = r#"{"timestamp":"2026-06-03T08:00:02.000Z","type":"response_item","payload":{"type":"function_call","name":"sh","arguments":"{}","call_id":"c-1"}}"#;
    let started = r#"{"timestamp":"2026-06-03T08:00:00.500Z","type":"event_msg","payload":{"type":"task_started","turn_id":"t-1"}}"#;
    let odd = "not json at all \u{0} é";

    let mut root = NewThread::root(id(1), 1_780_473_600_001);
    root.config = ThreadConfig::default().with_cwd("/w").with_role("lead").into();
    root.rollout_path = Some("a/b.jsonl".into());
    root.settled = true;
    let root = create(store, root, records(&[meta])).await?;
    let batch = Batch {
        number: 1,
        records: records(&[started, user, call, odd]),
        accepted: vec![submission("ended")?, submission("running")?, submission("waiting")?],
        states: vec![
            (
                SubmissionId::new("ended")?,
                SubmissionState::Ended(Outcome::Completed { message: Some("done".into()) }),
            ),
            (SubmissionId::new("running")?, SubmissionState::Running { attempt: 2 }),
        ],
        status: Some(ThreadStatus::Running),
        patch: Some(Box::new(ThreadPatch::default().with_preview("hello").with_name("the first"))),
        updated_ms: Some(1_780_473_602_000),
        task: Some("and again".into()),
        ..Batch::default()
    };
    append(store, &root, 1, batch).await?;

    let mut child = NewThread::root(id(2), 1_780_473_600_002);
    child.parent = Some(id(1));
    child.depth = 1;
    child.path = Some("/root/scout".parse()?);
    child.config = ThreadConfig::default().internal().into();
    let child = create(store, child, records(&[meta])).await?;
    let mail = |id: &str| MailTo {
        to: crate::id(1),
        mail: Mail {
            id: MailId::from(id),
            sender: Some(crate::id(2)),
            author: "/root/scout".into(),
            recipient: "/root".into(),
            content: "found it".into(),
            trigger: true,
            trace: None,
        },
    };
    let batch = Batch {
        mail: vec![mail("m-1"), mail("m-2")],
        status: Some(ThreadStatus::Completed(Some("found it".into()))),
        ..Batch::default()
    };
    append(store, &child, 1, batch).await?;
    let taken = Batch { number: 2, mail_taken: vec![MailId::from("m-1")], ..Batch::default() };
    append(store, &root, 5, taken).await?;
    let (done, edge) = Done::channel();
    store.put_edge(id(2), EdgeChange::Status(EdgeStatus::Closed), done);
    edge.await?;

    let mut fork = NewThread::root(id(3), 1_780_473_600_003);
    fork.base = Some(Base { thread: id(1), cut: Seq(3) });
    create(store, fork, records(&[meta, user])).await?;
    let (done, archived) = Done::channel();
    store.archive(id(3), Some(1_780_473_700_000), done);
    archived.await?;

    let mut with_budget = NewThread::root(id(4), 1_780_473_600_004);
    let mut budget = Budget::default();
    budget.tokens = Some(1_000);
    with_budget.config = ThreadConfig::default().with_budget(budget).into();
    with_budget.parent = Some(id(1));
    let mut spawn = Charge::to(id(1));
    spawn.spent.spawns = 1;
    with_budget.charges = vec![spawn];
    let made = create(store, with_budget, records(&[meta])).await?;
    let mut used = Charge::to(id(4));
    used.spent.tokens = 250;
    let crash = CrashRecord {
        at_ms: 1_780_473_650_000,
        epoch: made.fence.epoch,
        turn: None,
        seq: Seq(1),
        place: 0,
        cause: "boom".into(),
    };
    let batch = Batch { charges: vec![used], crashes: vec![crash], ..Batch::default() };
    append(store, &made, 1, batch).await?;
    Ok(())
}

async fn create(
    store: &SqliteStore,
    thread: NewThread,
    records: Vec<NewRecord>,
) -> Result<Acquired, StoreError> {
    let (done, made) = Done::channel();
    store.create(thread, records, done);
    made.await
}

async fn append(
    store: &SqliteStore,
    to: &Acquired,
    at: u64,
    batch: Batch,
) -> Result<Seq, StoreError> {
    let (done, head) = Done::channel();
    store.append(to.fence, Seq(at), batch, done);
    head.await
}
