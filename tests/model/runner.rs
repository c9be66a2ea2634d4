//! Runs a case: builds its tree, issues its steps, restarts its hosts, and checks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use coppicer::faulty::FaultyStore;
use coppicer::testing::{BEGINS_AT_MS, Bug};
use coppicer::{
    Clock, IdSource, Limits, Runtime, SpawnError, SpawnThread, StoreHealth, Tap, TapFilter,
    TapOptions, ThreadHandle, ThreadId,
};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::checks::{self, Told};
use crate::engine::{Running, Watched};
use crate::host::{Book, CALL, HELD, Host};
use crate::ops::{Case, Op, Restart, Step};
use crate::setup;
use crate::witness::Witness;

/// The budget of closes that are to be clean.
const ENOUGH: Duration = Duration::from_secs(5);

/// How often a thread is revived so that it goes on.
const ROUNDS_MAX: usize = 24;

/// How a case is run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    /// Of ids and jitter.
    pub(crate) seed: u64,
    pub(crate) bug: Option<Bug>,
    pub(crate) traced: bool,
}

/// What outlives hosts.
struct Lab {
    options: Options,
    restless: bool,
    rules: bool,
    funds: bool,
    witness: Witness,
    store: FaultyStore,
    book: Arc<Mutex<Book>>,
}

/// A host, and what it tells.
struct Watching {
    host: Host,
    tap: Tap,
    told: Told,
    tasks: Vec<JoinHandle<()>>,
}

enum Next {
    Done,
    NextHost,
}

/// Runs `case`: what was written, asked, answered and told, if it was to be traced.
///
/// # Errors
/// The promises that were broken.
pub(crate) fn run(case: &Case, options: Options) -> Result<Vec<String>, String> {
    let witness = Witness::new(options.traced);
    let lab = Lab {
        options,
        restless: case.restless,
        rules: case.rules.is_some(),
        funds: case.funds.is_some(),
        store: FaultyStore::new(Arc::new(witness.clone())).in_order(),
        witness,
        book: Arc::default(),
    };
    lab.book.lock().model.by_themselves = lab.rules;
    if options.traced {
        lab.book.lock().trace = Some(Vec::new());
    }
    let mut steps = case.steps.iter();
    loop {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a tokio runtime starts");
        let next = tokio.block_on(lab.host_a_while(case, &mut steps));
        // Whatever ran there is gone from one moment to the next.
        drop(tokio);
        lab.release();
        let mut book = lab.book.lock();
        let mut seen = lab.witness.seen.lock();
        book.broken.append(&mut seen.broken);
        if !book.broken.is_empty() {
            book.broken.truncate(4);
            for line in seen.trace.iter().chain(&book.trace).flatten() {
                println!("{line}");
            }
            return Err(book.broken.join("\n"));
        }
        if matches!(next, Next::Done) {
            let mut trace = seen.trace.take().unwrap_or_default();
            trace.append(&mut book.trace.take().unwrap_or_default());
            return Ok(trace);
        }
        book.model.host_gone();
    }
}

impl Lab {
    fn release(&self) {
        for op in HELD {
            self.store.release(op);
        }
        self.book.lock().held = 0;
    }

    /// Nothing fails any more.
    fn heal(&self) {
        self.release();
        self.store.heal();
    }

    async fn start(&self) -> Watching {
        let mut limits = Limits::default();
        limits.call_timeout = CALL;
        limits.store_retry = Duration::from_millis(20);
        if self.restless {
            limits.idle_after = Duration::from_millis(30);
            limits.idle_max = 150;
        }
        let life = {
            let mut book = self.book.lock();
            book.life += 1;
            book.life
        };
        let running = Running::default();
        let mut builder = Runtime::builder()
            .engine(Watched::new(running.clone()))
            .store(self.store.clone())
            .limits(limits)
            // Hours apart, so that the ids of two hosts differ.
            .clock(Clock::starting_at(BEGINS_AT_MS + life * 3_600_000))
            .ids(IdSource::seeded(self.options.seed ^ life));
        if let Some(bug) = self.options.bug {
            builder = builder.seed_bug(bug);
        }
        let runtime = builder.start().await.expect("a runtime with an engine starts");
        let filter = TapFilter::all().lifecycle();
        let tap = runtime
            .tap(TapOptions::matching(filter).with_capacity(1 << 17))
            .expect("there is room for a tap");
        let (book, witness) = (self.book.clone(), self.witness.clone());
        let kept = Arc::default();
        let (store, rules, funds) = (self.store.clone(), self.rules, self.funds);
        let host = Host { runtime, book, witness, store, running, kept, life, rules, funds };
        Watching { host, tap, told: Told::default(), tasks: Vec::new() }
    }

    /// Goes on with the case until the present host dies, or the case is over.
    async fn host_a_while(&self, case: &Case, steps: &mut std::slice::Iter<'_, Step>) -> Next {
        let mut watching = self.start().await;
        let mut let_go: Vec<Watching> = Vec::new();
        if self.book.lock().model.threads.is_empty() {
            watching.build(case).await;
        }
        for step in steps.by_ref() {
            let restart = watching.step(step).await;
            checks::between_steps(&watching.host).await;
            for old in &let_go {
                checks::of_another(&old.host);
            }
            if !self.book.lock().broken.is_empty() {
                return Next::Done;
            }
            match restart {
                None => {}
                Some(Restart::Die) => return Next::NextHost,
                Some(Restart::Shutdown { ms }) => {
                    self.release();
                    watching.shut_down(Duration::from_millis(ms)).await;
                    self.book.lock().model.host_gone();
                    watching = self.start().await;
                }
                Some(Restart::Abandon) => {
                    self.release();
                    {
                        let mut book = self.book.lock();
                        book.shared = true;
                        book.model.host_let_go();
                    }
                    let_go.push(std::mem::replace(&mut watching, self.start().await));
                }
            }
        }
        self.end(watching, let_go, case.look_again).await;
        Next::Done
    }

    /// Everything that is under way comes to its end, then everything is closed.
    async fn end(&self, mut watching: Watching, let_go: Vec<Watching>, look_again: bool) {
        self.heal();
        for mut old in let_go {
            old.shut_down(ENOUGH).await;
            drop(old.tap);
            let broken = checks::after_close(&old.host).await;
            self.book.lock().broken.extend(broken);
        }
        self.store.tell(&StoreHealth::Well);
        tokio::time::sleep(Duration::from_secs(60)).await; // virtual
        watching.settle().await;
        if watching.tasks.iter().any(|task| !task.is_finished()) {
            self.book.lock().broken.push("P4: somebody still waits for an answer".to_owned());
        }
        checks::between_steps(&watching.host).await;
        self.settle_all(&watching).await;
        let broken = checks::at_the_end(&watching.host).await;
        self.book.lock().broken.extend(broken);
        watching.finish().await;
        if look_again && self.book.lock().broken.is_empty() {
            self.look_again().await;
        }
    }

    /// P3, P7: whatever was accepted comes to its end once its thread is up, has something to use, and
    /// is revived as often as it is parked.
    async fn settle_all(&self, watching: &Watching) {
        // What had not come up by itself when everything was closed stays in the store until it is
        // asked for.
        let asleep = checks::asleep_with_mail(&watching.host);
        for thread in &asleep {
            drop(watching.host.runtime.resume(*thread).await);
        }
        if !asleep.is_empty() {
            tokio::time::sleep(Duration::from_secs(60)).await; // virtual
        }
        let open = checks::without_outcome(&watching.host);
        if open.is_empty() {
            return;
        }
        self.book.lock().model.host_let_go(); // resumes open edges
        for round in 0..ROUNDS_MAX {
            let open = checks::without_outcome(&watching.host);
            let threads: BTreeSet<_> = open.iter().map(|(thread, _)| *thread).collect();
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                watching.host.help(thread, round == 0).await;
            }
            tokio::time::sleep(Duration::from_secs(60)).await; // virtual
        }
        for (thread, id) in checks::without_outcome(&watching.host) {
            let view = watching.host.runtime.get(thread).map(|thread| thread.view());
            let what = format!("P3: {id} of {thread} has no outcome: {view:?}");
            self.book.lock().broken.push(what);
        }
    }

    /// P8: a new host brings back exactly what is reachable over open edges.
    async fn look_again(&self) {
        let mut watching = self.start().await;
        let host = watching.host.clone();
        let roots: Vec<_> = {
            let seen = self.witness.seen.lock();
            seen.rows.iter().filter(|(_, row)| row.parent.is_none()).map(|(id, _)| *id).collect()
        };
        for root in roots {
            let expected = checks::reachable(&host, root);
            let broken = match host.runtime.resume_tree(root).await {
                Ok(resumed) => {
                    let back_failed = resumed.failed.len();
                    let below = resumed.below.iter().map(ThreadHandle::id);
                    let failed = resumed.failed.iter().map(|(thread, _)| *thread);
                    let back: BTreeSet<_> = below.chain(failed).collect();
                    // A name is taken for as long as its tree is in memory. After that another
                    // thread may have it, and the first of the two that comes back keeps it.
                    let mut failed = resumed.failed;
                    // What it had left of a budget may have been given to another.
                    failed.retain(|(_, why)| {
                        !matches!(why, SpawnError::PathTaken { .. } | SpawnError::Limit(_))
                    });
                    let expected =
                        if failed.len() == back_failed { expected } else { back.clone() };
                    (back != expected || !failed.is_empty()).then(|| {
                        let (came, all) = (back.len(), expected.len());
                        format!("P8: {came} of {all} came back below {root}; failed {failed:?}")
                    })
                }
                Err(error) => Some(format!("P8: {root} does not come back: {error}")),
            };
            self.book.lock().broken.extend(broken);
        }
        watching.settle().await;
        watching.finish().await;
    }
}

impl Watching {
    /// Makes the tree, level by level, through real spawns.
    async fn build(&mut self, case: &Case) {
        let parents = case.shape.parents(case.threads);
        let below = setup::below(&parents);
        let mut made: Vec<Option<ThreadId>> = vec![None; parents.len()];
        let mut handles = Vec::new();
        loop {
            let ready = |place: &usize| {
                let parent = parents[*place];
                made[*place].is_none() && parent.is_none_or(|parent| made[parent].is_some())
            };
            let level: Vec<usize> = (0..parents.len()).filter(ready).collect();
            if level.is_empty() {
                break;
            }
            let runtime = &self.host.runtime;
            let spawns = level.iter().map(|&place| {
                let parent = parents[place].and_then(|parent| made[parent]);
                let left = parent.map(|parent| runtime.budget_left(parent)).unwrap_or_default();
                let config = case.config(place, parent.is_none(), &left, below[place]);
                let mut request = SpawnThread::new().with_config(config);
                request.parent = parent;
                runtime.spawn(request)
            });
            let spawned = futures::future::join_all(spawns).await;
            for (place, thread) in level.into_iter().zip(spawned) {
                let thread = thread.expect("nothing is in the way of a spawn");
                made[place] = Some(thread.id());
                handles.push(thread);
            }
        }
        handles.truncate(case.kept);
        self.host.kept.lock().extend(handles.into_iter().map(|thread| (thread.id(), thread)));
        let mut book = self.host.book.lock();
        for (place, thread) in made.iter().enumerate() {
            let parent = parents[place].and_then(|parent| made[parent]);
            book.model.spawned(thread.expect("all were made"), parent, case.detaches(place));
        }
    }

    /// Issues the operations of a step side by side, and lets its time pass.
    async fn step(&mut self, step: &Step) -> Option<Restart> {
        let mut restart = None;
        for op in &step.ops {
            if let Op::Restart { how } = op {
                restart = Some(*how);
            }
            self.tasks.push(tokio::spawn(self.host.clone().carry_out(op.clone())));
        }
        self.tasks.retain(|task| !task.is_finished());
        tokio::time::sleep(Duration::from_millis(step.then_ms)).await;
        self.settle().await;
        restart
    }

    /// Waits until nothing happens any more at this moment.
    async fn settle(&mut self) {
        const CALM: u32 = 24;
        /// Far more than a restart of a whole tree takes.
        const LOOKS_MAX: u32 = 100_000;
        let (mut calm, mut stamp, mut looks) = (0, 0, 0);
        while calm < CALM {
            looks += 1;
            if looks > LOOKS_MAX {
                let what = "P4: the runtime does not come to rest at one moment".to_owned();
                return self.host.book.lock().broken.push(what);
            }
            tokio::task::yield_now().await;
            let told = self.told.read(&mut self.tap, &self.host);
            let now = self.host.witness.seen.lock().stamp;
            calm = if told == 0 && now == stamp { calm + 1 } else { 0 };
            stamp = now;
        }
    }

    /// P5, for everything at once.
    async fn shut_down(&mut self, budget: Duration) {
        self.host.kept.lock().clear();
        let since = tokio::time::Instant::now();
        let report = self.host.runtime.shutdown(budget).await;
        let took = since.elapsed();
        let mut book = self.host.book.lock();
        if report.is_err() || took > budget + Duration::from_millis(2) {
            book.broken.push(format!("P5: a shutdown took {took:?} of {budget:?}: {report:?}"));
        }
        book.note(|| format!("shutdown: {report:?}"));
        book.ended(&report);
        drop(book);
        self.told.read(&mut self.tap, &self.host);
    }

    /// Closes everything; nothing may be left.
    async fn finish(mut self) {
        self.shut_down(ENOUGH).await;
        self.settle().await;
        drop(self.tap);
        let broken = checks::after_close(&self.host).await;
        self.host.book.lock().broken.extend(broken);
    }
}
