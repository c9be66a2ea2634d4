//! Every change of a thread's life is an event.

use super::*;

/// What the events of one thread say, in short.
fn story(events: &[TapEvent]) -> Vec<String> {
    let short = |event: &TapEvent| match &event.fact {
        Fact::Runtime(RuntimeEvent::ThreadSpawned { .. }) => "spawned".into(),
        Fact::Runtime(RuntimeEvent::ThreadEnded { how }) => match how {
            Ended::Closed { .. } => "ended: closed".into(),
            Ended::Crashed { .. } => "ended: crashed".into(),
            Ended::Dormant => "ended: dormant".into(),
            other => format!("ended: {other:?}"),
        },
        Fact::Runtime(RuntimeEvent::RestartScheduled { .. }) => "restart scheduled".into(),
        Fact::Runtime(RuntimeEvent::ThreadRestarted) => "restarted".into(),
        Fact::Runtime(RuntimeEvent::ThreadParked) => "parked".into(),
        Fact::Thread(ThreadEvent::StatusChanged { status, phase, .. }) => {
            format!("{} {}", status.name(), format!("{phase:?}").to_lowercase())
        }
        Fact::Thread(ThreadEvent::SubmissionAccepted { .. }) => "accepted".into(),
        Fact::Thread(ThreadEvent::SubmissionEnded { outcome, .. }) => {
            format!("outcome {}", outcome.name())
        }
        Fact::Thread(ThreadEvent::TurnStarted { .. }) => "turn started".into(),
        Fact::Thread(ThreadEvent::TurnEnded { .. }) => "turn ended".into(),
        other => format!("{other:?}"),
    };
    events.iter().map(short).collect()
}

/// Numbers of the statuses that a tap saw rise by one.
fn statuses_without_gap(events: &[TapEvent]) -> Vec<ThreadStatus> {
    let mut statuses = Vec::new();
    let mut last = None;
    for event in events {
        if let Fact::Thread(ThreadEvent::StatusChanged { status_seq, status, .. }) = &event.fact {
            assert!(last.is_none_or(|last| *status_seq == last + 1), "{:?}", story(events));
            last = Some(*status_seq);
            statuses.push(status.clone());
        }
    }
    statuses
}

#[tokio::test(start_paused = true)]
async fn every_change_from_spawn_over_a_crash_to_the_close_is_an_event_in_order() {
    let world = world().await;
    let mut tap = matching(&world, TapFilter::all().lifecycle());
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run("hello").await.unwrap();
    let mut restarts = matching(&world, TapFilter::all().kinds([EventKind::Runtime]));
    let hanging = thread.submit("hang").await.unwrap();
    while thread.status() != ThreadStatus::Running {
        tokio::task::yield_now().await;
    }
    thread.panic_for_test();
    World::event(&mut restarts, |event| event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted))
        .await;
    thread.outcome(&hanging.submission).await.unwrap();
    thread.close(BUDGET).await.unwrap();
    let events: Vec<TapEvent> =
        events(&mut tap).into_iter().filter(|event| event.thread == Some(thread.id())).collect();
    assert_eq!(
        story(&events),
        [
            "spawned",
            "pending_init idle",
            "accepted",
            "running running",
            "turn started",
            "turn ended",
            "outcome completed",
            "completed idle",
            "accepted",
            "running running",
            "turn started",
            "ended: crashed",
            "crashed backoff",
            "restart scheduled",
            "restarted",
            "outcome interrupted",
            "interrupted idle",
            "interrupted stopping",
            "shutdown stopped",
            "ended: closed",
        ]
    );
    statuses_without_gap(&events);
    drop((tap, restarts));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_status_stream_skips_no_status_whoever_sets_it() {
    // Dormant, crashed and parked are set by the supervisor, while no actor is there to tell.
    let policy = coppicer::RestartPolicy::default().with_limit(1, Duration::from_secs(60));
    let config = coppicer::ThreadConfig::default().with_restart(policy);
    let world = world().await;
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    let mut changes = thread.status_changes().unwrap();
    let mut seen = Vec::new();
    let name = |event: &Event| match &event.fact {
        Fact::Thread(ThreadEvent::StatusChanged { status, .. }) => status.name(),
        _ => "?",
    };
    let mut until = async |changes: &mut Tap, wanted: &str| {
        loop {
            let event = World::event(changes, |_| true).await;
            let done = name(&event) == wanted;
            seen.push(event);
            if done {
                return;
            }
        }
    };
    thread.hibernate().await.unwrap();
    until(&mut changes, "dormant").await;
    thread.run("hello").await.unwrap();
    until(&mut changes, "completed").await;
    thread.panic_for_test();
    until(&mut changes, "crashed").await;
    until(&mut changes, "completed").await;
    thread.panic_for_test();
    until(&mut changes, "parked").await;
    assert_eq!(thread.view().phase, Phase::Parked);
    thread.close(BUDGET).await.unwrap();
    until(&mut changes, "shutdown").await;
    statuses_without_gap(&seen);
    drop(changes);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_closed_in_the_pause_after_a_crash_is_shown_as_shut_down() {
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut changes = thread.status_changes().unwrap();
    thread.panic_for_test();
    World::event(&mut changes, |_| thread.view().phase == Phase::Backoff).await;
    thread.close(BUDGET).await.unwrap();
    assert_eq!(thread.status(), ThreadStatus::Shutdown);
    let statuses = statuses_without_gap(&events(&mut changes));
    assert_eq!(statuses, [ThreadStatus::Shutdown]);
    drop(changes);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_missed_its_close_is_shown_as_shut_down() {
    // Its last append is held, so that it cannot end by the deadline.
    use coppicer::faulty::StoreOp;
    let world = world().await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let mut changes = thread.status_changes().unwrap();
    world.store.hold(StoreOp::Append);
    let report = thread.close(Duration::from_millis(100)).await.unwrap();
    assert_eq!(report.rung(thread.id()), Some(Rung::Fenced));
    World::event(&mut changes, |event| {
        matches!(
            &event.fact,
            Fact::Thread(ThreadEvent::StatusChanged { status: ThreadStatus::Shutdown, .. })
        )
    })
    .await;
    world.store.release(StoreOp::Append);
    drop(changes);
    world.end().await;
}
