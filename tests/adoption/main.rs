//! Adoption: a thread goes below another one with all that is below it, or becomes a root, and nothing
//! of it notices (P1, P4, P5, P6, P8, P10, P12).

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod budgets;
mod hosts;
mod meanwhile;
mod places;

use std::time::Duration;

use coppicer::faulty::FaultyStore;
use coppicer::testing::{BUDGET, World};
use coppicer::{
    Done, Event, EventKind, Fact, RuntimeEvent, Script, ScriptedEngine, SpawnThread, Step, Tap,
    TapFilter, TapOptions, ThreadHandle, ThreadId, ThreadStore, Usage, Wait,
};

/// "work" takes a second; "panic" panics; "adopt T" adopts T; "wait T" waits for T; "use N" uses N
/// tokens; all else is said.
fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| {
        let text = input.text();
        match text.split_once(' ') {
            Some(("adopt", thread)) => Script::new().then(Step::Adopt(thread.parse().unwrap())),
            Some(("wait", thread)) => {
                let thread = thread.parse().unwrap();
                Script::new().then(Step::WaitFor(vec![thread], Wait::All, BUDGET)).say("waited")
            }
            Some(("use", tokens)) => {
                let output_tokens = tokens.parse().unwrap();
                Script::new().then(Step::Usage(Usage { output_tokens, ..Usage::default() }))
            }
            _ if text == "work" => Script::new().sleep(Duration::from_secs(1)).say("worked"),
            _ if text == "panic" => Script::new().panic("boom"),
            _ => Script::new().say(text),
        }
    })
}

async fn world() -> World {
    World::new(engine()).await
}

fn named(name: &str) -> SpawnThread {
    SpawnThread::new().with_name(name)
}

async fn root(world: &World, name: &str) -> ThreadHandle {
    world.spawn(named(name)).await.unwrap()
}

async fn below(world: &World, parent: &ThreadHandle, name: &str) -> ThreadHandle {
    world.spawn(named(name).with_parent(parent.id())).await.unwrap()
}

fn path(thread: &ThreadHandle) -> String {
    thread.view().path.unwrap().to_string()
}

async fn stored_path(world: &World, thread: ThreadId) -> String {
    world.stored(thread).await.unwrap().path.unwrap().to_string()
}

async fn stored_parent(world: &World, thread: ThreadId) -> Option<ThreadId> {
    world.stored(thread).await.unwrap().parent.map(|(parent, _)| parent)
}

async fn mail(store: &FaultyStore, thread: ThreadId) -> usize {
    let (done, mail) = Done::channel();
    store.mail(thread, done);
    mail.await.unwrap().len()
}

fn runtime_facts(world: &World, filter: TapFilter) -> Tap {
    world.tap(TapOptions::matching(filter.kinds([EventKind::Runtime]))).unwrap()
}

fn adoptions(tap: &mut Tap) -> Vec<(ThreadId, Option<ThreadId>, Option<ThreadId>, String)> {
    let events = std::iter::from_fn(|| tap.try_next());
    let adopted = |event: &Event| match &event.fact {
        Fact::Runtime(RuntimeEvent::ThreadAdopted { from, to, path }) => {
            let path = path.as_ref().map(ToString::to_string).unwrap_or_default();
            Some((event.thread.unwrap(), *from, *to, path))
        }
        _ => None,
    };
    events.filter_map(|item| item.event().and_then(adopted)).collect()
}
