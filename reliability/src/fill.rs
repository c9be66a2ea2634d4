//! A store with something of everything in it.

use coppicer::{
    Acquired, Base, Batch, Done, EdgeChange, EdgeStatus, Mail, MailId, MailTo, NewRecord,
    NewSubmission, NewThread, OnCrash, Outcome, Seq, StoreError, SubmissionId, SubmissionState,
    ThreadConfig, ThreadId, ThreadPatch, ThreadStatus, ThreadStore, digest, record_of,
};

use crate::dice::Dice;

/// The threads and submissions of a filled store.
#[derive(Debug, Clone, Default)]
pub struct Filled {
    /// All threads, deleted ones left out.
    pub threads: Vec<ThreadId>,
    /// All submissions, by thread.
    pub submissions: Vec<(ThreadId, SubmissionId)>,
}

/// Fills a store with `count` threads: records of each kind, forks, sub-agents, open and closed
/// edges, submissions on each part of their way, mail, archived and deleted threads.
///
/// # Errors
/// The store refuses.
pub async fn fill(store: &dyn ThreadStore, seed: u64, count: u64) -> Result<Filled, StoreError> {
    let mut dice = Dice::of(seed, &[6]);
    let mut filled = Filled::default();
    for number in 0..count {
        let id = id_of(seed, number);
        let mut new = NewThread::root(id, 1_780_000_000_000 + number * 7);
        let earlier = |dice: &mut Dice, filled: &Filled| *dice.pick(&filled.threads);
        if number > 2 && dice.chance(40) {
            new.parent = Some(earlier(&mut dice, &filled));
            new.depth = 1;
            new.path = format!("/root/c{number}").parse().ok();
        }
        if number > 2 && dice.chance(30) {
            let thread = earlier(&mut dice, &filled);
            let head = store.thread(thread).await?.head;
            new.base = Some(Base { thread, cut: Seq(dice.below(head.0 + 1)) });
        }
        let mut config = ThreadConfig::default();
        if dice.chance(50) {
            config = config.with_cwd(format!("/w/{number}")).with_role("worker");
        }
        if dice.chance(20) {
            config = config.with_on_crash(OnCrash::Requeue { attempts_max: 3 });
        }
        new.config = config.into();
        new.rollout_path = dice.chance(20).then(|| format!("sessions/{number}.jsonl"));
        new.details.preview = Some(format!("preview of thread {number}"));
        let made = create(store, new, vec![line(&mut dice, number)]).await?;
        filled.threads.push(id);
        write(store, &made, &mut dice, number, &mut filled).await?;
        if dice.chance(15) && made.thread.parent.is_some() {
            let (done, written) = Done::channel();
            store.put_edge(id, EdgeChange::Status(EdgeStatus::Closed), done);
            written.await?;
        }
        if dice.chance(10) {
            let (done, written) = Done::channel();
            store.archive(id, Some(1_790_000_000_000 + number), done);
            written.await?;
        }
    }
    Ok(filled)
}

fn id_of(seed: u64, number: u64) -> ThreadId {
    let mut dice = Dice::of(seed, &[8, number]);
    let mut random = [0; 10];
    random[..8].copy_from_slice(&dice.draw().to_le_bytes());
    ThreadId::from_parts(1_780_000_000_000 + number, random)
}

async fn create(
    store: &dyn ThreadStore,
    new: NewThread,
    records: Vec<NewRecord>,
) -> Result<Acquired, StoreError> {
    let (done, made) = Done::channel();
    store.create(new, records, done);
    made.await
}

/// A line of one of the kinds that have columns of their own.
fn line(dice: &mut Dice, number: u64) -> NewRecord {
    let at = format!("2026-06-03T08:00:{:02}.000Z", number % 60);
    let payload = match dice.below(6) {
        0 => format!(
            r#""type":"event_msg","payload":{{"type":"task_started","turn_id":"t-{number}"}}"#
        ),
        1 => format!(
            r#""type":"response_item","payload":{{"type":"message","role":"user","content":[{{"type":"input_text","text":"hello {number}"}}]}}"#
        ),
        2 => format!(
            r#""type":"response_item","payload":{{"type":"function_call","name":"sh","arguments":"{{}}","call_id":"c-{number}"}}"#
        ),
        3 => format!(
            r#""type":"response_item","payload":{{"type":"function_call_output","call_id":"c-{number}","output":"ok"}}"#
        ),
        4 => r#""type":"event_msg","payload":{"type":"token_count","info":null}"#.to_owned(),
        _ => return record_of(format!("no line of a rollout {number}").as_bytes()),
    };
    record_of(format!(r#"{{"timestamp":"{at}",{payload}}}"#).as_bytes())
}

async fn write(
    store: &dyn ThreadStore,
    made: &Acquired,
    dice: &mut Dice,
    number: u64,
    filled: &mut Filled,
) -> Result<(), StoreError> {
    let thread = made.thread.id;
    let mut head = made.thread.head;
    for append in 1..=1 + dice.below(4) {
        let mut batch = Batch { number: append, ..Batch::default() };
        for place in 0..dice.below(5) {
            batch.records.push(line(dice, number * 100 + append * 10 + place));
        }
        for sent in 0..dice.below(3) {
            let id = SubmissionId::new(format!("s{append}-{sent}")).expect("a plain name");
            let body =
                format!(r#"{{"user_input":{{"input":[{{"type":"text","text":"{number}"}}]}}}}"#);
            batch.accepted.push(NewSubmission {
                id: id.clone(),
                digest: digest(body.as_bytes()),
                body: body.into_bytes().into(),
            });
            let ended = |outcome| SubmissionState::Ended(outcome);
            match dice.below(5) {
                0 => {}
                1 => batch.states.push((id.clone(), SubmissionState::Running { attempt: 2 })),
                2 => batch.states.push((id.clone(), ended(Outcome::Interrupted))),
                3 => {
                    let error = "it broke".to_owned();
                    batch.states.push((id.clone(), ended(Outcome::Failed { error })));
                }
                _ => {
                    let message = Some(format!("done {number}"));
                    batch.states.push((id.clone(), ended(Outcome::Completed { message })));
                }
            }
            filled.submissions.push((thread, id));
        }
        if dice.chance(40) {
            let to = *dice.pick(&filled.threads);
            batch.mail.push(MailTo { to, mail: mail(thread, number, append, dice.chance(50)) });
        }
        batch.status = Some(match dice.below(6) {
            0 => ThreadStatus::Running,
            1 => ThreadStatus::Completed(Some(format!("said {number}"))),
            2 => ThreadStatus::Errored("no more".into()),
            3 => ThreadStatus::Interrupted,
            4 => ThreadStatus::Completed(None),
            _ => ThreadStatus::Crashed("boom".into()),
        });
        batch.settled = dice.chance(50);
        batch.updated_ms = Some(1_780_100_000_000 + number * 11 + append);
        if dice.chance(30) {
            batch.patch =
                Some(Box::new(ThreadPatch::default().with_preview(&format!("a preview {number}"))));
        }
        let (done, written) = Done::channel();
        store.append(made.fence, head, batch, done);
        head = written.await?;
    }
    Ok(())
}

fn mail(sender: ThreadId, number: u64, append: u64, trigger: bool) -> Mail {
    Mail {
        id: MailId::from(format!("m{number}-{append}")),
        sender: Some(sender),
        author: "/root/a".into(),
        recipient: "/root".into(),
        content: format!("mail {number}"),
        trigger,
        trace: None,
    }
}
