//! `coppicer stress close`: does the close of a big tree answer by its deadline, whatever its threads
//! do (P5)?
//!
//! A tree is spawned; some of its threads run a turn that obeys, some one that does not listen, some one
//! that holds its OS thread. Callers wait for the outcomes, others come while it closes. Then the tree is
//! closed by one deadline; what blocks is let go afterwards, and the audit must be clean (P10).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use coppicer::{
    CloseError, CloseReport, Gate, LeaseKind, Outcome, OutcomeError, Placement, Rung, Runtime,
    Script, ScriptedEngine, SpawnThread, Step, SubmissionId, SubmitError, ThreadConfig,
    ThreadHandle,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Broken;
use super::close_all;
use super::figure::Target;
use super::frame::{Common, Frame, Layout};
use super::shape::{Manner, Shape, manners};
use crate::cli::{Failure, duration};

/// How late an answer may be.
const SLACK: Duration = Duration::from_millis(50);

/// Spawns that are under way at once.
const SPAWNS_MAX: usize = 256;

/// Callers that come while the tree closes.
const LATE_CALLERS: usize = 100;

/// How long the scenario waits for what has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// Closes trees of threads, of which some are wedged, by one deadline.
///
/// Half of the wedged threads ignore that their turn is cancelled, half block an OS thread. Per shape
/// and share it tells when the report came, by how much that was after the deadline, how many threads
/// reached which rung, which callers were not answered, and what is left when those that block were let
/// go. Then roots that do nothing are closed all at once, beside a raw ractor supervisor that stops as many
/// and waits for them. Targets: every answer by the deadline and 50 ms; a rung for each thread; every caller answered;
/// nothing left; all roots in at most twice what ractor takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Threads of a tree; 10,000 if not said, with --smoke 200. A chain has at most 1,000.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    threads: Option<u32>,
    /// Idle threads that are closed all at once; 100,000 if not said, with --smoke 200.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500_000))]
    idle: Option<u32>,
    /// Shapes of the trees; all if not said.
    #[arg(long, value_enum, value_delimiter = ',')]
    shape: Vec<Shape>,
    /// Per cent of the threads that are wedged, one run for each.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values_t = [0.0, 1.0, 10.0], value_parser = percent)]
    wedged: Vec<f64>,
    /// Per cent of the threads whose turn runs and ends when it is told to.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    busy: f64,
    /// By when the report has to be there; 2s if not said, with --smoke 500ms.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    deadline: Option<Duration>,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number from 0 to 50".to_owned())?;
    if (0.0..=50.0).contains(&number) {
        Ok(number)
    } else {
        Err("expected a number from 0 to 50".to_owned())
    }
}

/// One tree that is closed.
#[derive(Debug, Clone, Copy)]
struct Case {
    shape: Shape,
    threads: usize,
    wedged: f64,
    busy: f64,
    deadline: Duration,
}

pub(super) async fn measure(args: &Args, common: Common) -> Result<Frame, Failure> {
    let threads = args.threads.map_or(common.pick(200, 10_000, 10_000), |n| n as usize);
    let seconds = Duration::from_secs(2);
    let usual = common.pick(Duration::from_millis(500), seconds, seconds);
    let deadline = args.deadline.unwrap_or(usual);
    let shapes = match &args.shape[..] {
        [] => &[Shape::Flat, Shape::Deep, Shape::Chain],
        named => named,
    };
    let cases: Vec<Case> = shapes
        .iter()
        .flat_map(|&shape| {
            let case = move |&wedged| Case {
                shape,
                threads: shape.threads(threads),
                wedged,
                busy: args.busy,
                deadline,
            };
            args.wedged.iter().map(case)
        })
        .collect();
    let mut frame = Frame::new("close", common, Layout::Cases, cases.len());
    for case in cases {
        let name = format!("{}/{}/{} %", case.shape, case.threads, case.wedged);
        frame.step(&name);
        let closed = close_one(case).await?;
        give(&mut frame, &name, case, &closed);
    }
    let idle = args.idle.map_or(common.pick(200, 100_000, 100_000), |n| n as usize);
    frame.then(Layout::Figures);
    close_all::measure(&mut frame, idle, common).await?;
    Ok(frame)
}

/// What became of one tree.
struct Closed {
    /// From the request to the report.
    answer: Duration,
    /// From the request to the last of all answers to callers.
    last_caller: Duration,
    report: CloseReport,
    /// Callers who were not told anything.
    unanswered: usize,
    /// Turns whose code still ran when the report came.
    zombies: u64,
    /// What was held, and what the books disagree about, when what blocked had been let go.
    left: usize,
}

fn give(frame: &mut Frame, name: &str, case: Case, closed: &Closed) {
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    let over = |time: Duration| ms(time.saturating_sub(case.deadline));
    let late = Target::AtMost(ms(SLACK));
    let none = Target::Exactly(0.0);
    frame.give(frame.figure(format!("{name}/answer"), ms(closed.answer), "ms"));
    frame.judge(frame.figure(format!("{name}/overshoot"), over(closed.answer), "ms"), late);
    frame.judge(
        frame.figure(format!("{name}/last caller's overshoot"), over(closed.last_caller), "ms"),
        late,
    );
    let mut named = 0;
    for (rung, what) in [
        (Rung::Drained, "drained"),
        (Rung::Stopped, "stopped"),
        (Rung::Killed, "killed"),
        (Rung::Fenced, "fenced"),
    ] {
        let count = closed.report.count(rung);
        named += count;
        frame.give(frame.figure(format!("{name}/{what}"), count as f64, ""));
    }
    let unnamed = case.threads.abs_diff(named);
    frame.judge(frame.figure(format!("{name}/without a rung"), unnamed as f64, ""), none);
    let unanswered = closed.unanswered as f64;
    frame.judge(frame.figure(format!("{name}/unanswered"), unanswered, ""), none);
    frame.give(frame.figure(format!("{name}/zombies"), closed.zombies as f64, ""));
    frame.judge(frame.figure(format!("{name}/left"), closed.left as f64, ""), none);
}

async fn close_one(case: Case) -> Result<Closed, Broken> {
    let gate = Gate::new();
    let running = Arc::new(AtomicUsize::new(0));
    let engine = engine(&gate, &running);
    let runtime = Runtime::builder().engine(engine).start().await.map_err(Broken::Start)?;
    let manners = manners(case.threads, case.wedged, case.busy);
    let tree = spawn(&runtime, case.shape, &manners).await?;
    let callers = begin_turns(&tree, &manners).await?;
    let begun = callers.len();
    until("the beginning of every turn", || running.load(Ordering::SeqCst) == begun).await?;

    let mut waiting = JoinSet::new();
    let asked = Instant::now();
    for (thread, submission) in callers {
        waiting.spawn(async move {
            let told = thread.outcome_within(&submission, PATIENCE).await;
            (is_told(&told), asked.elapsed())
        });
    }
    for n in 0..LATE_CALLERS {
        let thread = tree[n * tree.len() / LATE_CALLERS].clone();
        waiting.spawn(async move {
            tokio::task::yield_now().await; // behind the close
            let ran = tokio::time::timeout(PATIENCE, thread.run("late")).await;
            (ran.is_ok_and(|ran| is_answered(&ran)), asked.elapsed())
        });
    }
    let root = tree[0].clone();
    let twice = runtime.clone();
    let second = tokio::spawn(async move { twice.close(root.id(), case.deadline).await });
    let report = runtime.close(tree[0].id(), case.deadline).await?;
    let answer = asked.elapsed();
    let zombies = runtime.audit_now().count(LeaseKind::Zombie);

    let mut closed =
        Closed { answer, last_caller: answer, report, unanswered: 0, zombies, left: 0 };
    let again = second.await?;
    let told = again.is_ok() || matches!(again, Err(CloseError::NotFound { .. }));
    closed.unanswered += usize::from(!told);
    while let Some(caller) = waiting.join_next().await {
        let (answered, at) = caller?;
        closed.unanswered += usize::from(!answered);
        closed.last_caller = closed.last_caller.max(at);
    }
    drop(tree);
    gate.open();
    let gone = || runtime.audit_now().is_empty();
    // What is left then is the finding, not that it took long.
    drop(until("the end of what blocked", gone).await);
    let audit = runtime.audit().await;
    closed.left = audit.live.len() + audit.drift.len();
    runtime.shutdown(PATIENCE).await?;
    Ok(closed)
}

/// A turn does what its input says.
fn engine(gate: &Gate, running: &Arc<AtomicUsize>) -> ScriptedEngine {
    let (gate, running) = (gate.clone(), running.clone());
    ScriptedEngine::new(move |_, input| {
        let step = match input.text().as_str() {
            "obey" => Step::Hang,
            "deaf" => Step::IgnoreCancel(PATIENCE * 10),
            "block" => Step::BlockUntil(gate.clone()),
            _ => return Script::new().say("done"),
        };
        running.fetch_add(1, Ordering::SeqCst);
        Script::new().then(step)
    })
}

/// Spawns a tree, level by level. Threads that block do so on OS threads of their own.
async fn spawn(
    runtime: &Runtime,
    shape: Shape,
    manners: &[Manner],
) -> Result<Vec<ThreadHandle>, Broken> {
    let parents = shape.parents(manners.len());
    let mut tree: Vec<ThreadHandle> = Vec::with_capacity(parents.len());
    while tree.len() < parents.len() {
        let begun = tree.len();
        // Those whose parent is there.
        let ready = parents[begun..]
            .iter()
            .take_while(|parent| parent.is_none_or(|parent| parent < begun))
            .count();
        let level = (begun..begun + ready).map(|place| {
            let mut request = SpawnThread::new();
            request.parent = parents[place].map(|parent| tree[parent].id());
            if manners[place] == Manner::Blocks {
                let config = ThreadConfig::default();
                request = request.with_config(config.with_placement(Placement::Dedicated));
            }
            runtime.spawn(request)
        });
        let level: Vec<_> = stream::iter(level).buffered(SPAWNS_MAX).try_collect().await?;
        tree.extend(level);
    }
    Ok(tree)
}

/// Has every thread that is not idle begin its turn: who waits for what.
async fn begin_turns(
    tree: &[ThreadHandle],
    manners: &[Manner],
) -> Result<Vec<(ThreadHandle, SubmissionId)>, Broken> {
    let mut callers = Vec::new();
    for (thread, manner) in tree.iter().zip(manners) {
        let input = match manner {
            Manner::Idle => continue,
            Manner::Obeys => "obey",
            Manner::Deaf => "deaf",
            Manner::Blocks => "block",
        };
        let receipt = thread.submit(input).await?;
        callers.push((thread.clone(), receipt.submission));
    }
    Ok(callers)
}

fn is_told(outcome: &Result<Outcome, OutcomeError>) -> bool {
    matches!(outcome, Ok(_) | Err(OutcomeError::Closed { .. }))
}

/// Whether somebody who came while the tree closed was told what became of their input.
fn is_answered(ran: &Result<Outcome, OutcomeError>) -> bool {
    is_told(ran) || matches!(ran, Err(OutcomeError::Refused(SubmitError::Closed { .. })))
}

async fn until(what: &'static str, holds: impl Fn() -> bool) -> Result<(), Broken> {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, waiting).await;
    in_time.map_err(|_| Broken::NotInTime { what })
}
