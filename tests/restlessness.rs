//! A seeded simulation: threads sleep early and often, on a store that fails now and then, while
//! hosts submit, close, resume, archive and crash them. Whatever the order, every accepted
//! submission gets one outcome (P3), nothing leaks (P10), and the table keeps count.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::HashSet;
use std::time::Duration;

use coppicer::faulty::StoreOp;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Accepted, Done, Limits, Script, ScriptedEngine, SpawnError, SpawnThread, StoreError,
    StoreHealth, Submission, SubmissionId, SubmissionState, ThreadHandle, ThreadId, ThreadStore,
};

/// `SplitMix64`, so that a failing seed can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match input.text().as_str() {
        "panic" => Script::new().panic("boom"),
        "slow" => Script::new().sleep(Duration::from_millis(40)).say("slow"),
        text => Script::new().say(text),
    })
}

struct Run {
    world: World,
    dice: Dice,
    threads: Vec<ThreadId>,
    held: Vec<ThreadHandle>,
    sent: Vec<tokio::task::JoinHandle<Option<(ThreadId, SubmissionId)>>>,
    /// Threads that were told to close, themselves or with what is above them.
    closed: HashSet<ThreadId>,
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut limits = Limits::default();
        limits.idle_after = Duration::from_millis(30);
        limits.idle_max = 6;
        limits.resident_max = 8;
        limits.store_retry = Duration::from_millis(20);
        let world = World::with_limits(engine(), limits).await;
        let (threads, held, sent) = (Vec::new(), Vec::new(), Vec::new());
        Self { world, dice: Dice(seed), threads, held, sent, closed: HashSet::new() }
    }

    /// A thread to close, with all below it.
    async fn any_to_close(&mut self) -> Option<ThreadId> {
        let thread = self.any()?;
        self.closed.extend(self.world.subtree(thread).await.unwrap());
        Some(thread)
    }

    fn any(&mut self) -> Option<ThreadId> {
        let most = self.threads.len() as u64;
        (most > 0).then(|| self.threads[self.dice.roll(most) as usize])
    }

    async fn spawn(&mut self) {
        let mut request = SpawnThread::new();
        if self.dice.roll(2) == 0
            && let Some(parent) = self.any()
        {
            request = request.with_parent(parent);
            if self.dice.roll(2) == 0 {
                request = request.with_name(format!("n{}", self.dice.roll(4)));
            }
        }
        if let Ok(thread) = self.world.spawn(request).await {
            self.threads.push(thread.id());
            if self.dice.roll(3) == 0 {
                self.held.push(thread);
            }
        }
    }

    fn submit(&mut self) {
        let Some(thread) = self.any() else { return };
        let text = ["hello", "slow", "panic", "hello"][self.dice.roll(4) as usize];
        let runtime = self.world.runtime().clone();
        let submission = Submission::input(text);
        self.sent.push(tokio::spawn(async move {
            let accepted: Result<Accepted, _> = runtime.submit(thread, submission).await;
            accepted.ok().map(|receipt| (thread, receipt.submission))
        }));
    }

    async fn step(&mut self) {
        match self.dice.roll(24) {
            0..3 => self.spawn().await,
            3..12 => self.submit(),
            12 => drop(self.held.pop()),
            13 => {
                if let Some(thread) = self.any().and_then(|thread| self.world.get(thread)) {
                    thread.panic_for_test();
                }
            }
            14 => {
                let full = StoreError::Unavailable { reason: "disk full".into() };
                let op = [StoreOp::Append, StoreOp::Acquire][self.dice.roll(2) as usize];
                self.world.store.fail_next(op, full);
            }
            15 => self.world.store.tell(&StoreHealth::Well),
            16 => {
                if let Some(thread) = self.any_to_close().await {
                    let runtime = self.world.runtime().clone();
                    tokio::spawn(async move { drop(runtime.close(thread, BUDGET).await) });
                }
            }
            17 => {
                if let Some(thread) = self.any() {
                    drop(self.world.resume(thread).await);
                }
            }
            18 => {
                if let Some(thread) = self.any_to_close().await {
                    let runtime = self.world.runtime().clone();
                    tokio::spawn(async move { drop(runtime.archive(thread, BUDGET).await) });
                }
            }
            19 => {
                for op in [StoreOp::Append, StoreOp::Acquire] {
                    self.world.store.hold(op);
                }
                tokio::time::sleep(Duration::from_millis(self.dice.roll(20))).await; // virtual
                for op in [StoreOp::Append, StoreOp::Acquire] {
                    self.world.store.release(op);
                }
            }
            20 => tokio::time::sleep(Duration::from_millis(self.dice.roll(100))).await, // virtual
            _ => {
                for _ in 0..self.dice.roll(20) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn end(self, seed: u64) {
        let Self { world, held, sent, threads, closed, .. } = self;
        drop(held);
        // Everything that is accepted comes to its end: what is closed has returned it, what is
        // parked keeps it.
        tokio::time::sleep(Duration::from_secs(300)).await; // virtual
        let mut accepted = Vec::new();
        for sent in sent {
            accepted.extend(sent.await.unwrap());
        }
        for (thread, submission) in accepted {
            let (done, known) = Done::channel();
            world.store.submission(thread, &submission, done);
            let state = known.await.unwrap().unwrap().state;
            let status = world.stored(thread).await.unwrap().status;
            if matches!(state, SubmissionState::Ended(_)) || status.name() == "parked" {
                continue;
            }
            // A close whose end the store would not write: the next life settles it.
            assert!(closed.contains(&thread), "seed {seed}: {thread} {state:?} {status:?}");
            // The faults that are left over are used up.
            let mut thread_up = world.resume(thread).await;
            for _ in 0..100 {
                if matches!(thread_up, Err(SpawnError::Store(_))) {
                    thread_up = world.resume(thread).await;
                }
            }
            let thread = thread_up.unwrap();
            let outcome = thread.outcome_within(&submission, BUDGET).await;
            assert!(outcome.is_ok(), "seed {seed}: {outcome:?} {:?}", thread.view());
        }
        tokio::time::sleep(Duration::from_secs(1)).await; // virtual
        let audit = world.audit().await;
        assert!(audit.is_clean(), "seed {seed}: {audit:?}");
        let residents = audit.count(coppicer::LeaseKind::Resident);
        let parked = threads.iter().filter(|&&thread| world.status(thread).name() == "parked");
        let parked = parked.count() as u64;
        assert!(residents <= parked, "seed {seed}: {residents} of which {parked} parked");
        world.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_every_accepted_submission_has_its_outcome_and_idle_threads_rest() {
    for seed in 0..150 {
        let mut run = Run::new(seed).await;
        for _ in 0..120 {
            run.step().await;
        }
        run.end(seed).await;
    }
}

/// Real time and several workers: sleep, the last handle, and messages meet at any instruction.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_several_workers_no_message_is_lost_to_sleep_and_no_slot_is_left() {
    let mut limits = Limits::default();
    limits.idle_after = Duration::from_millis(1);
    limits.idle_max = 4;
    let world = World::with_limits(engine(), limits).await;
    let mut threads = Vec::new();
    for _ in 0..8 {
        threads.push(world.spawn(SpawnThread::new()).await.unwrap().id());
    }
    let work = (0..16).map(|worker: u64| {
        let (runtime, threads) = (world.runtime().clone(), threads.clone());
        tokio::spawn(async move {
            let mut dice = Dice(worker);
            for _ in 0..60 {
                let thread = threads[dice.roll(8) as usize];
                let receipt = runtime.submit(thread, "hello").await.unwrap();
                // Its handle is let go of at once: it may sleep and leave before the next.
                let handle = runtime.resume(thread).await.unwrap();
                let outcome = handle.outcome(&receipt.submission).await.unwrap();
                assert_eq!(outcome.message(), Some("hello"));
                drop(handle);
                tokio::time::sleep(Duration::from_micros(dice.roll(3_000))).await; // real: about as long as it takes to sleep
            }
        })
    });
    for done in futures::future::join_all(work).await {
        done.unwrap();
    }
    world.until(|audit| audit.count(coppicer::LeaseKind::Slot) == 0).await;
    world.end().await;
}
