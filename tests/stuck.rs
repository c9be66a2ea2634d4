//! Turns that make no progress: what they are at, who is acted on, and how far that goes.

use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::World;
use coppicer::{
    Event, Fact, Limits, Outcome, Phase, Remedy, RuntimeEvent, Script, ScriptedEngine, SpawnThread,
    Step, StuckPolicy, Submission, Tap, TapItem, ThreadConfig, ThreadEvent, ThreadId, TurnPhase,
    Wait,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn policy(up_to: Remedy) -> ThreadConfig {
    ThreadConfig::default().with_stuck(StuckPolicy::default().after(10 * SECOND).up_to(up_to))
}

fn with(config: ThreadConfig) -> SpawnThread {
    SpawnThread::new().with_config(config)
}

/// A turn that hangs until it is stopped.
fn hang() -> Script {
    Script::new().then(Step::Hang)
}

struct Stuck {
    at_ms: u64,
    thread: ThreadId,
    phase: TurnPhase,
    quiet: Duration,
    remedy: Remedy,
    waiters: Vec<ThreadId>,
    blockers: Vec<ThreadId>,
}

impl Stuck {
    fn of(event: &Event) -> Option<Self> {
        let Fact::Thread(ThreadEvent::TurnStuck { phase, quiet, remedy, waiters, blockers }) =
            event.fact.clone()
        else {
            return None;
        };
        let (at_ms, thread) = (event.at_ms, event.thread.expect("a thread's fact"));
        Some(Self { at_ms, thread, phase, quiet, remedy, waiters, blockers })
    }
}

/// All that was told of stuck turns until `end`.
fn told(tap: &mut Tap) -> Vec<Stuck> {
    let mut all = Vec::new();
    while let Some(Some(item)) = futures::FutureExt::now_or_never(tap.next()) {
        if let TapItem::Event(event) = item {
            all.extend(Stuck::of(&event));
        }
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_turn_in_silence_is_told_of_once_and_left_alone_by_default() {
    let world = World::new(ScriptedEngine::always(hang())).await;
    let mut tap = world.watch();
    let thread = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    tokio::time::sleep(5 * HOUR).await;
    let told = told(&mut tap);
    assert_eq!(told.len(), 1, "once");
    assert_eq!((told[0].remedy, &told[0].phase), (Remedy::Tell, &TurnPhase::Model));
    assert_eq!(told[0].quiet, Limits::default().stuck_after);
    assert_eq!(thread.view().phase, Phase::Running);
    drop(tap);
    world.end().await;
}

// turn  |■ a delta each 9 s ■■■■■■■■■■■■|········ silence ·······|
// told                                        10 s ✗
#[tokio::test(start_paused = true)]
async fn whatever_a_turn_does_is_progress_and_silence_counts_from_the_last() {
    let steps = (0..20).flat_map(|n| {
        let work = match n % 4 {
            0 => Step::Delta("on it".into()),
            1 => Step::Remark("still".into()),
            2 => Step::Progress,
            _ => Step::TakeSteered,
        };
        [work, Step::Sleep(9 * SECOND)]
    });
    let script: Script = steps.chain([Step::Hang]).collect();
    let world = World::new(ScriptedEngine::always(script)).await;
    let mut tap = world.watch();
    let thread = world.spawn(with(policy(Remedy::Interrupt)).with_first("go")).await.unwrap();
    tokio::time::sleep(179 * SECOND).await;
    assert_eq!(told(&mut tap).len(), 0, "it went on all the time");
    tokio::time::sleep(20 * SECOND).await;
    let told = told(&mut tap);
    assert!(told.iter().all(|told| told.thread == thread.id() && !told.quiet.is_zero()));
    assert_eq!(
        told.iter().map(|told| told.remedy).collect::<Vec<_>>(),
        [Remedy::Tell, Remedy::Interrupt]
    );
    assert_eq!(told[1].at_ms - told[0].at_ms, 10_000, "one rung for each further period");
    drop(tap);
    world.end().await;
}

// turn  |■|·· silence 15 s ··|■ a remark |·· silence 15 s ··|■ a remark |■ done
// told           10 s                            10 s
#[tokio::test(start_paused = true)]
async fn progress_begins_the_ladder_anew() {
    let spell = || [Step::Sleep(15 * SECOND), Step::Remark("still here".into())];
    let script: Script = spell().into_iter().chain(spell()).collect();
    let world = World::new(ScriptedEngine::always(script)).await;
    let mut tap = world.watch();
    let thread = world.spawn(with(policy(Remedy::Restart))).await.unwrap();
    assert!(matches!(thread.run("go").await.unwrap(), Outcome::Completed { .. }));
    let remedies: Vec<Remedy> = told(&mut tap).iter().map(|told| told.remedy).collect();
    assert_eq!(remedies, [Remedy::Tell, Remedy::Tell]);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_second_rung_stops_the_turn_and_the_thread_goes_on() {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "hang" => hang(),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let thread = world.spawn(with(policy(Remedy::Interrupt))).await.unwrap();
    let begin = tokio::time::Instant::now();
    assert_eq!(thread.run("hang").await.unwrap(), Outcome::Interrupted);
    assert!(begin.elapsed() >= 20 * SECOND && begin.elapsed() < 21 * SECOND);
    assert_eq!(thread.run("on").await.unwrap().message(), Some("on"));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_third_rung_restarts_the_thread_from_its_history_at_the_cost_of_its_budget() {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "hang" => hang(),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let mut tap = world.watch();
    let thread = world.spawn(with(policy(Remedy::Restart))).await.unwrap();
    let (first, second, third) = (
        thread.submit("hang").await.unwrap().submission,
        thread.submit("hang").await.unwrap().submission,
        thread.submit("on").await.unwrap().submission,
    );
    // The first turn is told of and stopped. Nothing has moved since: the next period is the next rung.
    assert_eq!(thread.outcome(&first).await.unwrap(), Outcome::Interrupted);
    assert_eq!(thread.outcome(&second).await.unwrap(), Outcome::Interrupted);
    assert_eq!(thread.outcome(&third).await.unwrap().message(), Some("on"));
    let mut remedies = Vec::new();
    let mut restarts = 0;
    while let Some(Some(item)) = futures::FutureExt::now_or_never(tap.next()) {
        let TapItem::Event(event) = item else { panic!("the tap lost some") };
        remedies.extend(Stuck::of(&event).map(|told| told.remedy));
        restarts += usize::from(event.fact == Fact::Runtime(RuntimeEvent::ThreadRestarted));
    }
    assert_eq!(remedies, [Remedy::Tell, Remedy::Interrupt, Remedy::Restart]);
    assert_eq!((restarts, thread.view().crashes), (1, 1));
    let why = world.why(thread.id()).await.unwrap();
    assert_eq!(why.actor_restarts_left, Some(4), "one of five is used");
    let crash = why.last_crash.expect("a restart on purpose is kept like a crash");
    assert!(crash.cause.contains("made no progress in phase model"), "{}", crash.cause);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tool_is_stuck_when_its_deadline_passes_and_not_before() {
    let script = Script::new().then(Step::Tool(3 * SECOND, HOUR)).then(Step::Say("never".into()));
    let slow = Script::new().then(Step::Tool(60 * SECOND, 50 * SECOND)).say("in time");
    let engine =
        ScriptedEngine::new(
            move |_, input| {
                if input.text() == "slow" { slow.clone() } else { script.clone() }
            },
        );
    let world = World::new(engine).await;
    let mut tap = world.watch();
    let thread = world.spawn(with(policy(Remedy::Tell))).await.unwrap();
    assert_eq!(thread.run("slow").await.unwrap().message(), Some("in time"));
    assert_eq!(told(&mut tap).len(), 0, "longer than the period, and within its own time");
    thread.submit("go").await.unwrap();
    tokio::time::sleep(SECOND).await;
    let deadline_ms = match thread.view().turn_phase {
        Some(TurnPhase::Tool { deadline_ms: Some(deadline_ms) }) => deadline_ms,
        other => panic!("{other:?}"),
    };
    tokio::time::sleep(5 * SECOND).await;
    let told = told(&mut tap);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].at_ms, deadline_ms);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_has_the_time_of_tools() {
    let call = Step::Call { name: "build".into(), arguments: "{}".into(), output: None };
    let script = Script::new().then(call).then(Step::Hang);
    let world = World::new(ScriptedEngine::always(script)).await;
    let mut tap = world.watch();
    let stuck = StuckPolicy::default().after(SECOND).tool_after(100 * SECOND);
    let config = ThreadConfig::default().with_stuck(stuck);
    let thread = world.spawn(with(config).with_first("go")).await.unwrap();
    tokio::time::sleep(99 * SECOND).await;
    assert_eq!(thread.view().turn_phase, Some(TurnPhase::Tool { deadline_ms: None }));
    assert_eq!(told(&mut tap).len(), 0);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(told(&mut tap).len(), 1);
    drop(tap);
    world.end().await;
}

/// A parent that waits for a sub-agent that waits for a sub-agent that hangs.
fn chain() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let spawn = |first: &str, config: ThreadConfig| {
            Script::new()
                .spawn(with(config).with_first(first))
                .then(Step::Wait(Wait::All, HOUR))
                .say("done")
        };
        match &*input.text() {
            "top" => spawn("middle", policy(Remedy::Restart)),
            "middle" => spawn(
                "bottom",
                ThreadConfig::default()
                    .with_stuck(StuckPolicy::default().after(HOUR).up_to(Remedy::Interrupt)),
            ),
            _ => hang(),
        }
    })
}

// top    |── waits ─────────────── 10 s: looks below ── 20 s ──✓ goes on
// middle |── waits ─────────────── 10 s: looks below ── 20 s ──✓ goes on
// bottom |■■■■■■■■■■ silence ■■■■■ told ■■■■■■■■■■■■■■ ✗ interrupted
#[tokio::test(start_paused = true)]
async fn who_holds_up_a_chain_of_waits_is_acted_on_and_those_who_wait_are_not() {
    let world = World::new(chain()).await;
    let mut tap = world.watch();
    let top = world.spawn(with(policy(Remedy::Restart))).await.unwrap();
    let outcome = top.run("top").await.unwrap();
    assert_eq!(outcome.message(), Some("done"), "its wait ended, and it went on");
    let told = told(&mut tap);
    let views = world.list();
    let bottom = views.iter().find(|view| view.depth == 2).unwrap().thread;
    let middle = views.iter().find(|view| view.depth == 1).unwrap().thread;
    assert!(told.iter().all(|told| told.thread == bottom), "nobody else was acted on");
    let remedies: Vec<Remedy> = told.iter().map(|told| told.remedy).collect();
    assert_eq!(remedies, [Remedy::Tell, Remedy::Interrupt], "as far as its own policy goes");
    assert!(told.iter().all(|told| told.waiters == [middle, top.id()]));
    assert!(
        told[0].quiet < 15 * SECOND,
        "the patience of those who wait counts: {:?}",
        told[0].quiet
    );
    assert!(views.iter().all(|view| view.crashes == 0));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_ends_at_the_host_is_told_of_and_nothing_else() {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "top" => Script::new()
            .spawn(with(policy(Remedy::Restart)).with_first("ask"))
            .then(Step::Wait(Wait::All, HOUR))
            .say("done"),
        _ => Script::new().then(Step::Ask("may I?".into(), 2 * HOUR)),
    });
    let world = World::new(engine).await;
    let mut tap = world.watch();
    let top = world.spawn(with(policy(Remedy::Restart)).with_first("top")).await.unwrap();
    tokio::time::sleep(600 * SECOND).await;
    let told = told(&mut tap);
    assert_eq!(told.len(), 1, "once");
    assert!(matches!(told[0].phase, TurnPhase::AwaitHost { .. }));
    assert_eq!((told[0].remedy, &*told[0].waiters), (Remedy::Tell, &[top.id()][..]));
    assert!(world.list().iter().all(|view| view.phase == Phase::Running && view.crashes == 0));
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_ends_where_no_turn_runs_is_told_of_once_with_who_holds_it_up() {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "top" => Script::new()
            .spawn(SpawnThread::new().with_first("hold"))
            .spawn(SpawnThread::new().with_first("queue"))
            .then(Step::Wait(Wait::All, HOUR))
            .say("done"),
        _ => hang(),
    });
    // Two turns may run: the second sub-agent stands in line for a permit.
    let mut limits = Limits::default();
    limits.executing_max = 2;
    let world = World::with_limits(engine, limits).await;
    let mut tap = world.watch();
    let top = world.spawn(with(policy(Remedy::Restart)).with_first("top")).await.unwrap();
    tokio::time::sleep(100 * SECOND).await;
    let told = told(&mut tap);
    let about_top: Vec<&Stuck> = told.iter().filter(|told| told.thread == top.id()).collect();
    assert_eq!(about_top.len(), 1, "once");
    assert_eq!(about_top[0].remedy, Remedy::Tell);
    assert_eq!(about_top[0].blockers.len(), 1);
    assert!(matches!(about_top[0].phase, TurnPhase::AwaitChild { how: Wait::All, .. }));
    assert_eq!(top.view().phase, Phase::Running, "who waits is not acted on");
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_phase_of_a_turn_is_in_its_view_with_since_when() {
    let call = |output: Option<&str>| Step::Call {
        name: "look".into(),
        arguments: "{}".into(),
        output: output.map(str::to_owned),
    };
    let script = Script::new()
        .sleep(SECOND)
        .then(call(Some("seen")))
        .sleep(SECOND)
        .then(call(None))
        .sleep(SECOND)
        .then(Step::Ask("well?".into(), SECOND));
    let world = World::new(ScriptedEngine::always(script)).await;
    let thread = world.spawn(SpawnThread::new().with_first("go")).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..35 {
        tokio::time::sleep(SECOND / 10).await;
        let view = thread.view();
        let Some(phase) = view.turn_phase else { continue };
        assert!(view.turn_phase_since_ms <= view.progress_ms, "a change of phase is progress");
        if seen.last() != Some(&phase) {
            seen.push(phase);
        }
    }
    let names: Vec<&str> = seen.iter().map(TurnPhase::name).collect();
    assert_eq!(names, ["model", "tool", "await_host"], "a call that was answered left no trace");
    tokio::time::sleep(10 * SECOND).await;
    let view = thread.view();
    assert_eq!((view.turn_phase, view.progress_ms), (None, None), "no turn runs");
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_zombie_s_progress_is_not_its_thread_s() {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "deaf" => Script::new().then(Step::IgnoreCancel(HOUR)),
        _ => hang(),
    });
    let world = World::new(engine).await;
    let thread = world.spawn(with(policy(Remedy::Tell)).with_first("deaf")).await.unwrap();
    tokio::time::sleep(SECOND).await;
    thread.interrupt().await.unwrap();
    assert_eq!(thread.view().turn_phase, None);
    thread.submit("go").await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(thread.view().turn_phase, Some(TurnPhase::Model));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_sleeps_leaves_no_timer_and_one_that_wakes_is_watched_again() {
    let engine = ScriptedEngine::new(|_, input| match &*input.text() {
        "hang" => hang(),
        text => Script::new().say(text),
    });
    let world = World::new(engine).await;
    let mut tap = world.watch();
    let thread = world.spawn(with(policy(Remedy::Interrupt))).await.unwrap();
    thread.run("hello").await.unwrap();
    thread.hibernate().await.unwrap();
    tokio::time::sleep(60 * SECOND).await;
    let submission = Submission::input("hang");
    let receipt = thread.submit(submission).await.unwrap();
    assert_eq!(thread.outcome(&receipt.submission).await.unwrap(), Outcome::Interrupted);
    assert_eq!(told(&mut tap).len(), 2);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_turns_in_silence_are_each_told_of_once() {
    let world = World::new(ScriptedEngine::always(hang())).await;
    let mut tap = world.watch();
    let mut threads = Vec::new();
    for _ in 0..1_000 {
        let spawn = with(policy(Remedy::Tell)).with_first("go");
        threads.push(Arc::new(world.spawn(spawn).await.unwrap()));
        let _ = told(&mut tap);
    }
    tokio::time::sleep(9 * SECOND).await;
    let _ = told(&mut tap);
    let mut all = 0;
    for _ in 0..40 {
        tokio::time::sleep(SECOND).await;
        all += told(&mut tap).len();
    }
    assert_eq!(all, 1_000);
    drop(tap);
    world.end().await;
}

// turn    |── 15 s, told after 10 ──✓|── 15 s, told after 10 ──✓
#[tokio::test(start_paused = true)]
async fn a_turn_that_came_to_its_end_begins_the_ladder_anew_for_the_next() {
    let world = World::new(ScriptedEngine::always(Script::new().sleep(15 * SECOND))).await;
    let mut tap = world.watch();
    let thread = world.spawn(with(policy(Remedy::Interrupt))).await.unwrap();
    for _ in 0..2 {
        assert_eq!(thread.run("go").await.unwrap().name(), "completed");
    }
    let remedies: Vec<Remedy> = told(&mut tap).iter().map(|it| it.remedy).collect();
    assert_eq!(remedies, [Remedy::Tell; 2]);
    drop(tap);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_very_many_who_wait_some_are_named() {
    let stuck = ThreadId::from_parts(1, [1; 10]);
    let engine = ScriptedEngine::new(move |_, input| match input.text().as_str() {
        "hang" => hang(),
        _ => Script::new().then(Step::WaitFor(vec![stuck], Wait::All, HOUR)),
    });
    let world = World::new(engine).await;
    let mut tap = world.watch();
    let with_id = with(policy(Remedy::Tell)).with_id(stuck);
    let thread = world.spawn(with_id).await.unwrap();
    thread.submit("hang").await.unwrap();
    for _ in 0..70 {
        world.spawn(SpawnThread::new().with_first("wait")).await.unwrap();
    }
    tokio::time::sleep(11 * SECOND).await;
    let told = told(&mut tap);
    assert_eq!((told.len(), told[0].thread, told[0].waiters.len()), (1, stuck, 64));
    drop(tap);
    world.end().await;
}
