//! What a review of the core found with stores that answer late, or refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use coppicer::testing::BUDGET;
use coppicer::*;
use futures::FutureExt;
use futures::future::BoxFuture;

/// An append that waits.
type Held = (Fence, Seq, Batch, Done<Seq>);

/// A memory store whose appends can be held.
#[derive(Clone, Default)]
struct Custom(Arc<Inner>);
#[derive(Default)]
struct Inner {
    mem: MemoryStore,
    slow_thread: AtomicBool,
    lost_thread: AtomicBool,
    hold: AtomicBool,
    held: parking_lot::Mutex<Vec<Held>>,
    /// Writes outside of histories that are never answered, if that is asked for.
    hangs: AtomicBool,
    unanswered: parking_lot::Mutex<Vec<Box<dyn std::any::Any + Send>>>,
    largest: AtomicUsize,
}
impl Custom {
    /// The first held append fails, the others are applied, in order.
    fn fail_first_apply_rest(&self) {
        self.0.hold.store(false, Ordering::SeqCst);
        let held = std::mem::take(&mut *self.0.held.lock());
        for (n, (fence, seq, batch, done)) in held.into_iter().enumerate() {
            if n == 0 {
                done.tell(Err(StoreError::Unavailable { reason: "busy".into() }));
            } else {
                self.0.mem.append(fence, seq, batch, done);
            }
        }
    }
}
impl ThreadStore for Custom {
    fn mail(&self, t: ThreadId, d: Done<Vec<Mail>>) {
        self.0.mem.mail(t, d);
    }
    fn mail_page(&self, t: ThreadId, after: MailPlace, most: usize, d: Done<MailPage>) {
        self.0.mem.mail_page(t, after, most, d);
    }
    fn create(&self, thread: NewThread, records: Vec<NewRecord>, done: Done<Acquired>) {
        self.0.mem.create(thread, records, done);
    }
    fn acquire(&self, thread: ThreadId, done: Done<Acquired>) {
        self.0.mem.acquire(thread, done);
    }
    fn append(&self, fence: Fence, expected: Seq, batch: Batch, done: Done<Seq>) {
        self.0.largest.fetch_max(batch.records.len(), Ordering::SeqCst);
        if self.0.hold.load(Ordering::SeqCst) {
            self.0.held.lock().push((fence, expected, batch, done));
        } else {
            self.0.mem.append(fence, expected, batch, done);
        }
    }
    fn undo_create(&self, fence: Fence, done: Done<()>) {
        self.0.mem.undo_create(fence, done);
    }
    fn put_edge(&self, child: ThreadId, edge: EdgeChange, done: Done<()>) {
        self.0.mem.put_edge(child, edge, done);
    }
    fn relocate(&self, to: ThreadMove, done: Done<()>) {
        self.0.mem.relocate(to, done);
    }
    fn submission(&self, thread: ThreadId, id: &SubmissionId, done: Done<Option<KnownSubmission>>) {
        self.0.mem.submission(thread, id, done);
    }
    fn charge(&self, charges: Vec<Charge>, done: Done<Vec<Option<Ledger>>>) {
        self.0.mem.charge(charges, done);
    }

    fn crashes(&self, thread: ThreadId) -> BoxFuture<'_, Result<Vec<CrashRecord>, StoreError>> {
        self.0.mem.crashes(thread)
    }

    fn count(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.0.mem.count()
    }

    fn thread(&self, thread: ThreadId) -> BoxFuture<'_, Result<StoredThread, StoreError>> {
        async move {
            if self.0.lost_thread.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable { reason: "disk gone".into() });
            }
            let found = self.0.mem.thread(thread).await;
            if self.0.slow_thread.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            found
        }
        .boxed()
    }
    fn read_range(
        &self,
        thread: ThreadId,
        from: Seq,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<History, StoreError>> {
        self.0.mem.read_range(thread, from, end)
    }
    fn view_start(
        &self,
        thread: ThreadId,
        end: Option<Seq>,
    ) -> BoxFuture<'_, Result<Seq, StoreError>> {
        self.0.mem.view_start(thread, end)
    }
    fn children(
        &self,
        parent: ThreadId,
        f: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.0.mem.children(parent, f)
    }
    fn descendants(
        &self,
        root: ThreadId,
        f: Option<EdgeStatus>,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.0.mem.descendants(root, f)
    }
    fn detaching(&self, root: ThreadId) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.0.mem.detaching(root)
    }
    fn at_path(
        &self,
        root: ThreadId,
        path: &AgentPath,
    ) -> BoxFuture<'_, Result<Option<ThreadId>, StoreError>> {
        self.0.mem.at_path(root, path)
    }
    fn nicknames_taken(
        &self,
        root: ThreadId,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        self.0.mem.nicknames_taken(root, names)
    }
    fn list(&self, query: ThreadQuery) -> BoxFuture<'_, Result<ThreadPage, StoreError>> {
        self.0.mem.list(query)
    }
    fn unfinished(
        &self,
        after: Option<ThreadId>,
        count: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadId>, StoreError>> {
        self.0.mem.unfinished(after, count)
    }
    fn patch(&self, thread: ThreadId, patch: ThreadPatch, done: Done<StoredThread>) {
        self.0.mem.patch(thread, patch, done);
    }
    fn archive(&self, thread: ThreadId, at_ms: Option<u64>, done: Done<StoredThread>) {
        if self.0.hangs.load(Ordering::SeqCst) {
            return self.0.unanswered.lock().push(Box::new(done));
        }
        self.0.mem.archive(thread, at_ms, done);
    }
    fn delete(&self, thread: ThreadId, done: Done<u64>) {
        if self.0.hangs.load(Ordering::SeqCst) {
            return self.0.unanswered.lock().push(Box::new(done));
        }
        self.0.mem.delete(thread, done);
    }
}
async fn runtime(store: &Custom, limits: Limits) -> Runtime {
    let engine = ScriptedEngine::new(|_, input| match input.text().as_str() {
        "hang" => Script::new().then(Step::Hang),
        text => Script::new().say(text),
    });
    Runtime::builder()
        .engine(engine)
        .store(store.clone())
        .limits(limits)
        .start()
        .await
        .expect("a runtime with an engine starts")
}
async fn ms(n: u64) {
    tokio::time::sleep(Duration::from_millis(n)).await;
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_loses_against_a_spawn_does_not_touch_its_turn() {
    let store = Custom::default();
    let rt = runtime(&store, Limits::default()).await;
    let id = ThreadId::from_parts(1, [7; 10]);
    store.0.slow_thread.store(true, Ordering::SeqCst);
    let rt2 = rt.clone();
    let resume = tokio::spawn(async move { rt2.resume(id).await });
    ms(10).await;
    let t = rt.spawn(SpawnThread::new().with_id(id)).await.unwrap();
    let s = t.submit("hang").await.unwrap();
    ms(10).await;
    assert_eq!(t.status(), ThreadStatus::Running);
    let resumed = resume.await.unwrap().unwrap();
    assert_eq!(resumed, t, "it joins the live thread");
    let waited = t.outcome_within(&s.submission, Duration::from_secs(5)).await;
    assert_eq!(waited, Err(OutcomeError::NoAnswer), "its turn goes on");
    assert!(rt.audit().await.is_clean());
    assert!(
        rt.get(id).is_some(),
        "the live thread was killed by a resume that answered NotFound; its view says {:?}",
        t.status()
    );
}

#[tokio::test(start_paused = true)]
async fn an_append_behind_a_refused_one_is_refused_too() {
    let store = Custom::default();
    let rt = runtime(&store, Limits::default()).await;
    let t = rt.spawn(SpawnThread::new()).await.unwrap();
    t.submit("hang").await.unwrap();
    ms(1).await;
    store.0.hold.store(true, Ordering::SeqCst);
    // Two appends in flight: [accepted a], then the records of the next ones.
    let (t1, t2) = (t.clone(), t.clone());
    let a = tokio::spawn(async move { t1.submit(Submission::from("a")).await });
    ms(1).await;
    let interrupt = tokio::spawn(async move { t2.interrupt().await });
    ms(50).await; // the turn's end, and the start of a's turn
    store.fail_first_apply_rest();
    let a = a.await.unwrap();
    let interrupted = interrupt.await.unwrap();
    assert_eq!(interrupted, Err(ControlError::NoAnswer), "its end was refused too");
    ms(5000).await;
    let history = rt.store().read(t.id(), None).await.unwrap();
    let said = history
        .iter()
        .filter(|r| String::from_utf8_lossy(&r.raw).contains("\"message\":\"a\""))
        .count();
    assert!(a.is_err());
    assert_eq!(
        said, 0,
        "the submission was refused as surely not accepted; its input and turn are in the history"
    );
}

#[tokio::test(start_paused = true)]
async fn mail_of_many_children_is_taken_in_appends_within_the_limit() {
    let store = Custom::default();
    let mut limits = Limits::default();
    limits.batch_records_max = 8;
    limits.mail_max = 4;
    let rt = runtime(&store, limits).await;
    let p = rt.spawn(SpawnThread::new()).await.unwrap();
    let c = rt.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    for _ in 0..20 {
        c.run("x").await.unwrap();
    }
    // What children tell does not stand back; another sender is refused by type.
    let mail = Op::AgentMessage { from: AgentPath::root(), content: "hi".into(), trigger: false };
    let refused = p.submit(mail).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Overloaded { capacity: 4, .. }), "{refused:?}");
    p.run("go").await.unwrap();
    let largest = store.0.largest.load(Ordering::SeqCst);
    assert!(largest <= 8, "an append of {largest} records");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_answered_also_when_many_requests_are_under_way() {
    let store = Custom::default();
    let mut limits = Limits::default();
    limits.supervisor_requests_max = 1;
    let rt = runtime(&store, limits).await;
    let t = rt.spawn(SpawnThread::new()).await.unwrap();
    let s = t.submit("hang").await.unwrap();
    ms(1).await;
    store.0.slow_thread.store(true, Ordering::SeqCst);
    let rt2 = rt.clone();
    tokio::spawn(async move { drop(rt2.resume(ThreadId::from_parts(1, [1; 10])).await) });
    ms(1).await;
    let report = rt.shutdown(BUDGET).await.unwrap();
    assert_eq!(report.completed, [t.id()]);
    let (done, known) = Done::channel();
    store.submission(t.id(), &s.submission, done);
    let state = known.await.unwrap().unwrap().state;
    assert!(matches!(state, SubmissionState::Ended(_)), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn a_place_handed_over_before_a_crash_is_counted_after_it() {
    let store = Custom::default();
    let mut limits = Limits::default();
    limits.inbox_max = 1;
    let rt = runtime(&store, limits).await;
    let t = rt.spawn(SpawnThread::new()).await.unwrap();
    let other = rt.spawn(SpawnThread::new()).await.unwrap();
    t.submit("hang").await.unwrap();
    ms(1).await;
    t.submit("x").await.unwrap();
    let mut waiting = Box::pin(t.submit_with("late", SubmitOptions::new().wait_for_place()));
    assert!(futures::poll!(&mut waiting).is_pending());
    t.interrupt().await.unwrap();
    ms(10).await; // the place was handed over
    t.panic_for_test();
    ms(1000).await;
    waiting.await.unwrap();
    ms(10).await;
    other.submit("hang").await.unwrap();
    ms(1).await;
    other.submit("y").await.unwrap(); // holds a place
    let audit = rt.audit().await;
    assert!(audit.is_clean(), "{audit:?}");
}

// The parent is live, the child's end is durable, and the hint is lost.
#[tokio::test(start_paused = true)]
async fn a_live_parent_hears_of_an_end_though_the_child_died_right_after_its_commit() {
    let store = Custom::default();
    let rt = runtime(&store, Limits::default()).await;
    let p = rt.spawn(SpawnThread::new()).await.unwrap();
    let c = rt.spawn(SpawnThread::new().with_parent(p.id())).await.unwrap();
    c.submit("hang").await.unwrap();
    ms(1).await;
    let mut tap = rt
        .tap(TapOptions::matching(TapFilter::all().kinds([
            EventKind::Mail,
            EventKind::Submission,
            EventKind::Turn,
        ])))
        .unwrap();
    store.0.hold.store(true, Ordering::SeqCst);
    let c2 = c.clone();
    tokio::spawn(async move { drop(c2.interrupt().await) });
    ms(1).await;
    c.panic_for_test();
    ms(1).await;
    store.0.hold.store(false, Ordering::SeqCst);
    for (f, s, b, d) in std::mem::take(&mut *store.0.held.lock()) {
        store.append(f, s, b, d);
    }
    ms(5000).await;
    let item = tap.try_next();
    assert!(item.is_some(), "no TurnEnded, no SubmissionEnded, no mail to the live parent");
}

// What is below a thread that could not be looked up in time is not left closing for ever.
#[tokio::test(start_paused = true)]
async fn a_close_whose_thread_is_not_looked_up_in_time_ends_what_is_below_it_all_the_same() {
    let store = Custom::default();
    let before = runtime(&store, Limits::default()).await;
    let parent = before.spawn(SpawnThread::new()).await.unwrap().id();
    let child = before.spawn(SpawnThread::new().with_parent(parent)).await.unwrap().id();
    before.close_all(BUDGET).await.unwrap();
    let rt = runtime(&store, Limits::default()).await;
    rt.resume(child).await.unwrap().submit("hang").await.unwrap();
    assert!(rt.get(parent).is_none(), "the child is here alone");
    store.0.slow_thread.store(true, Ordering::SeqCst);
    let report = rt.close(parent, Duration::from_millis(20)).await.unwrap();
    assert_eq!(report.timed_out, [parent], "nobody knows of it: {report:?}");
    let left = report.threads.iter().find(|row| row.thread == parent);
    let left = left.and_then(|row| row.left.clone()).unwrap();
    assert!(left.contains("looked up"), "{left}");
    assert_eq!((report.completed, report.unknown), (vec![child], vec![parent]));
    store.0.slow_thread.store(false, Ordering::SeqCst);
    let child = rt.resume(child).await.unwrap();
    let hello = child.submit("hello").await.unwrap();
    child.outcome_within(&hello.submission, BUDGET).await.unwrap();
    assert!(rt.audit().await.is_clean());
}

/// P5: that a thread is only known to the store, and that it says nothing, is an answer too.
#[tokio::test(start_paused = true)]
async fn a_close_whose_thread_only_a_silent_store_knows_reports_that_it_is_not_known() {
    let store = Custom::default();
    let before = runtime(&store, Limits::default()).await;
    let thread = before.spawn(SpawnThread::new()).await.unwrap().id();
    before.close_all(BUDGET).await.unwrap();
    let rt = runtime(&store, Limits::default()).await;
    let nobody = ThreadId::from_parts(1, [9; 10]);
    let within = Duration::from_millis(20);
    let unknown = |report: &CloseReport, left: &str| {
        let [row] = &report.threads[..] else { panic!("one row: {report:?}") };
        assert!(row.left.as_ref().is_some_and(|it| it.contains(left)), "{report:?}");
        assert_eq!(report.timed_out, [row.thread]);
        assert_eq!(report.unknown, [row.thread]);
        assert!(report.completed.is_empty() && report.submit_failed.is_empty());
        row.thread
    };
    store.0.slow_thread.store(true, Ordering::SeqCst);
    for one in [thread, nobody] {
        let since = tokio::time::Instant::now();
        let report = rt.close(one, within).await.unwrap();
        assert_eq!(unknown(&report, "looked up by the deadline"), one);
        assert!(since.elapsed() <= within, "{:?}", since.elapsed());
    }
    let report = rt.close(thread, Duration::ZERO).await.unwrap();
    assert_eq!(unknown(&report, "looked up by the deadline"), thread);
    // What is not known to have ended is neither archived nor deleted.
    let refusal = rt.archive(thread, within).await.unwrap_err();
    assert_eq!(refusal, ArchiveError::Close(CloseError::NoAnswer));
    let refusal = rt.delete(thread, within).await.unwrap_err();
    assert_eq!(refusal, DeleteError::Close(CloseError::NoAnswer));
    store.0.slow_thread.store(false, Ordering::SeqCst);
    store.0.lost_thread.store(true, Ordering::SeqCst);
    let report = rt.close(thread, BUDGET).await.unwrap();
    assert_eq!(unknown(&report, "looked up: "), thread);
    store.0.lost_thread.store(false, Ordering::SeqCst);
    let report = rt.close(thread, BUDGET).await.unwrap();
    assert!(report.timed_out.is_empty() && report.unknown.is_empty(), "{report:?}");
    let refusal = rt.close(nobody, BUDGET).await.unwrap_err();
    assert_eq!(refusal, CloseError::NotFound { thread: nobody });
    assert!(rt.audit().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn an_archive_or_a_removal_that_the_store_never_answers_is_answered_by_its_deadline() {
    let store = Custom::default();
    let rt = runtime(&store, Limits::default()).await;
    let thread = rt.spawn(SpawnThread::new()).await.unwrap().id();
    store.0.hangs.store(true, Ordering::SeqCst);
    let second = Duration::from_secs(1);
    let began = tokio::time::Instant::now();
    assert_eq!(rt.archive(thread, second).await, Err(ArchiveError::NoAnswer));
    assert_eq!(began.elapsed(), second);
    assert_eq!(rt.delete(thread, second).await, Err(DeleteError::NoAnswer));
    assert_eq!(began.elapsed(), 2 * second);
    store.0.hangs.store(false, Ordering::SeqCst);
    rt.archive(thread, second).await.unwrap();
    rt.shutdown(BUDGET).await.unwrap();
}
