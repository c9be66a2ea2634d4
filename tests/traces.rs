//! Traces: the spans of threads, turns and tool calls, and trace contexts from submissions to engines,
//! sub-agents and mail.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use coppicer::testing::{BUDGET, World};
use coppicer::{
    Done, Engine, EngineError, EngineSession, Item, Limits, Mail, MemoryStore, OpenContext,
    Runtime, SpawnThread, Submission, ThreadConfig, ThreadId, TraceBridge, TraceContext,
    TurnContext, TurnInput, TurnOutput, Usage,
};
use coppicer_messages::text::steers;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Span};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn caller() -> TraceContext {
    TraceContext::parse(PARENT).unwrap().with_state("vendor=x").unwrap()
}

// The engine.

/// What a turn was given, by the text that it works on: its cause, and its own context.
type Given = Arc<Mutex<BTreeMap<String, (Option<TraceContext>, Option<TraceContext>)>>>;

#[derive(Clone, Default)]
struct Agent(Given);

impl Engine for Agent {
    fn open(&self, _: OpenContext) -> BoxFuture<'_, Result<Box<dyn EngineSession>, EngineError>> {
        let session: Box<dyn EngineSession> = Box::new(self.clone());
        Box::pin(async { Ok(session) })
    }
}

impl EngineSession for Agent {
    fn run_turn<'a>(
        &'a mut self,
        cx: &'a TurnContext,
        input: TurnInput,
    ) -> BoxFuture<'a, Result<TurnOutput, EngineError>> {
        Box::pin(async move {
            // What comes behind it is mail: of ends of sub-agents, among others.
            let text = input.text().lines().next().unwrap_or_default().to_owned();
            self.0.lock().insert(text.clone(), (input.trace.clone(), cx.trace_context()));
            act(cx, &text).await.map_err(EngineError::fatal)?;
            Ok(TurnOutput::message("done"))
        })
    }
}

async fn act(cx: &TurnContext, text: &str) -> Result<(), String> {
    let call =
        || Item::ToolCall { call: "call-1".into(), name: "grep".into(), arguments: "{}".into() };
    match text {
        "delegate" => {
            let child = SpawnThread::new().with_name("poet").with_first("verse");
            cx.spawn(child).await.map_err(|error| error.to_string())?;
        }
        "call" => {
            cx.emit(call()).await.map_err(|error| error.to_string())?;
            cx.in_call("call-1", async { drop(tracing::info_span!("work")) }).await;
            let output = Item::ToolOutput { call: "call-1".into(), output: "found".into() };
            cx.emit(output).await.map_err(|error| error.to_string())?;
            let mut usage = Usage::default();
            (usage.input_tokens, usage.output_tokens) = (100, 20);
            cx.usage(usage);
            cx.usage(usage);
        }
        "leave open" => cx.emit(call()).await.map_err(|error| error.to_string())?,
        "fail" => return Err("as asked".into()),
        "panic" => panic!("as asked"),
        "hang" => cx.cancelled().await,
        text => {
            if let Some(name) = text.strip_prefix("call ") {
                let (call, name, arguments) = (name.into(), name.to_owned(), "{}".to_owned());
                let begun = Item::ToolCall { call, name, arguments };
                cx.emit(begun).await.map_err(|error| error.to_string())?;
            }
            if let Some(to) = text.strip_prefix("mail ") {
                let to: ThreadId = to.parse().map_err(|_| "no thread")?;
                cx.mail(to, "a letter", true).await.map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

// The subscriber.

#[derive(Debug, Clone, Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    follows: Vec<u64>,
    handles: usize,
    /// The fields as a subscriber writes them that formats each by its `Debug`.
    written: String,
}

/// Keeps every span that it is told of, by its number from 1.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>, Arc<Mutex<Vec<u64>>>);

impl Spans {
    fn change<T>(&self, id: &Id, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.0.lock()[id.into_u64() as usize - 1])
    }

    fn named(&self, name: &str) -> Vec<(u64, Seen)> {
        let spans = self.0.lock();
        let numbered = (1..).zip(spans.iter());
        numbered.filter(|(_, seen)| seen.name == name).map(|(n, seen)| (n, seen.clone())).collect()
    }
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>, &'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.1, "{field}={value:?} ");
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        let _ = write!(self.1, "{field}={value:?} ");
        self.0.insert(field.name(), value.to_owned());
    }
}

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let current = self.1.lock().last().copied().filter(|_| attributes.is_contextual());
        let mut seen = Seen {
            name: attributes.metadata().name(),
            parent: attributes.parent().map(Id::into_u64).or(current),
            handles: 1,
            ..Seen::default()
        };
        attributes.record(&mut Fields(&mut seen.fields, &mut seen.written));
        let mut spans = self.0.lock();
        spans.push(seen);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.change(id, |seen| values.record(&mut Fields(&mut seen.fields, &mut seen.written)));
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.change(id, |seen| seen.follows.push(follows.into_u64()));
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.change(id, |seen| seen.handles += 1);
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.change(&id, |seen| {
            seen.handles -= 1;
            seen.handles == 0
        })
    }

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, id: &Id) {
        self.1.lock().push(id.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.1.lock().pop();
    }
}

// The bridge.

/// A tracer: each span has its number as its id, in the trace of its cause or in one of its own.
#[derive(Clone, Default)]
struct Tracer(Arc<Mutex<Vec<(u64, TraceContext)>>>);

impl TraceBridge for Tracer {
    fn begun(&self, span: &Span, cause: Option<&TraceContext>) -> Option<TraceContext> {
        let number = span.id()?.into_u64();
        let trace = cause.map_or([number as u8; 16], TraceContext::trace_id);
        TraceContext::new(trace, number.to_be_bytes(), true).ok()
    }

    fn linked(&self, span: &Span, cause: &TraceContext) {
        self.0.lock().extend(span.id().map(|id| (id.into_u64(), cause.clone())));
    }
}

struct Broken;

impl TraceBridge for Broken {
    fn begun(&self, _: &Span, _: Option<&TraceContext>) -> Option<TraceContext> {
        panic!("a fault of the host")
    }

    fn linked(&self, _: &Span, _: &TraceContext) {
        panic!("a fault of the host")
    }
}

async fn runtime(agent: &Agent, bridge: impl TraceBridge) -> Runtime {
    let store = MemoryStore::new();
    let builder = Runtime::builder().engine(agent.clone()).store(store).limits(Limits::default());
    builder.trace_bridge(bridge).start().await.unwrap()
}

async fn end(runtime: Runtime) {
    runtime.shutdown(BUDGET).await.unwrap();
    let audit = runtime.audit().await;
    assert!(audit.is_empty(), "{audit:?}");
}

async fn given(agent: &Agent, text: &str) -> (Option<TraceContext>, Option<TraceContext>) {
    let waiting = async {
        loop {
            if let Some(given) = agent.0.lock().get(text).cloned() {
                return given;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(BUDGET, waiting).await.expect("no such turn in time")
}

fn traced(text: &str) -> Submission {
    Submission::input(text).with_trace(caller())
}

// Contexts.

#[tokio::test(start_paused = true)]
async fn what_caused_a_submission_reaches_the_engine_its_sub_agents_and_who_gets_its_mail() {
    let agent = Agent::default();
    let world = World::new(agent.clone()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    let reader = world.spawn(SpawnThread::new()).await.unwrap();
    thread.run(traced("delegate")).await.unwrap();
    thread.run(traced(&format!("mail {}", reader.id()))).await.unwrap();
    thread.run("nobody's").await.unwrap();
    let same = (Some(caller()), Some(caller()));
    for text in ["delegate", "verse", "a letter"] {
        assert_eq!(given(&agent, text).await, same, "{text}: without a tracer it is passed on");
    }
    assert_eq!(given(&agent, "nobody's").await, (None, None));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_cause_of_a_spawn_is_that_of_its_first_submission_unless_it_says_another() {
    let agent = Agent::default();
    let world = World::new(agent.clone()).await;
    let spawn = |first: Submission| SpawnThread::new().with_trace(caller()).with_first(first);
    let other = TraceContext::new([7; 16], [7; 8], false).unwrap();
    world.spawn(spawn("of the spawn".into())).await.unwrap();
    let first = Submission::input("of its own").with_trace(other.clone());
    world.spawn(spawn(first)).await.unwrap();
    assert_eq!(given(&agent, "of the spawn").await.0, Some(caller()));
    assert_eq!(given(&agent, "of its own").await.0, Some(other));
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_keeps_its_cause_when_the_thread_comes_back_and_a_new_span_is_no_conflict() {
    let agent = Agent::default();
    let world = World::new(agent.clone()).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    thread.submit("hang").await.unwrap();
    let named = || traced("later").with_id("later-1".parse().unwrap());
    thread.submit(named()).await.unwrap();
    thread.panic_for_test();
    assert_eq!(given(&agent, "later").await.0, Some(caller()));
    let other = TraceContext::new([7; 16], [7; 8], false).unwrap();
    let again = thread.submit(named().with_trace(other)).await.unwrap();
    assert!(again.duplicate, "the caller's second try has another span");
    world.end().await;
}

// Spans.

#[tokio::test(start_paused = true)]
async fn a_turn_has_a_span_that_follows_from_its_threads_and_holds_its_calls() {
    let (agent, spans) = (Agent::default(), Spans::default());
    let guard = tracing::subscriber::set_default(spans.clone());
    let world = World::new(agent).await;
    let mut config = ThreadConfig::default().with_nickname("Ada");
    config.model = Some("m-1".into());
    let request = SpawnThread::new().with_config(config).with_trace(caller());
    let thread = world.spawn(request).await.unwrap();
    thread.run(traced("call")).await.unwrap();
    let id = thread.id().to_string();
    world.end().await;
    drop(guard);

    let [(thread, of_thread)] = &spans.named("thread")[..] else { panic!("one life") };
    let [(turn, of_turn)] = &spans.named("turn")[..] else { panic!("one turn") };
    let [(call, of_call)] = &spans.named("tool_call")[..] else { panic!("one call") };
    let [(_, work)] = &spans.named("work")[..] else { panic!("the engine's own span") };
    assert_eq!((of_thread.parent, of_turn.parent), (None, None));
    assert_eq!(of_turn.follows, [*thread]);
    assert_eq!((of_call.parent, work.parent), (Some(*turn), Some(*call)));
    let open = |seen: &Seen| seen.handles;
    assert_eq!([open(of_thread), open(of_turn), open(of_call)], [0, 0, 0], "all are over");
    let expect = |seen: &Seen, fields: &[(&str, &str)]| {
        for (name, value) in fields {
            assert_eq!(seen.fields.get(name).map(String::as_str), Some(*value), "{name}");
        }
        assert!(!seen.fields.contains_key("error.type"), "{:?}", seen.fields);
    };
    expect(
        of_thread,
        &[
            ("otel.name", "thread Ada"),
            ("gen_ai.agent.id", &id),
            ("gen_ai.agent.name", "Ada"),
            ("gen_ai.conversation.id", &id),
            ("coppicer.thread.end", "closed"),
            ("traceparent", PARENT),
        ],
    );
    expect(
        of_turn,
        &[
            ("otel.name", "invoke_agent Ada"),
            ("gen_ai.operation.name", "invoke_agent"),
            ("gen_ai.agent.id", &id),
            ("gen_ai.agent.name", "Ada"),
            ("gen_ai.conversation.id", &id),
            ("gen_ai.request.model", "m-1"),
            ("gen_ai.usage.input_tokens", "200"),
            ("gen_ai.usage.output_tokens", "40"),
            ("coppicer.turn.attempt", "1"),
            ("coppicer.turn.end", "completed"),
            ("traceparent", PARENT),
        ],
    );
    expect(
        of_call,
        &[
            ("otel.name", "execute_tool grep"),
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.conversation.id", &id),
            ("gen_ai.tool.name", "grep"),
            ("gen_ai.tool.call.id", "call-1"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn names_of_agents_and_tools_steer_no_terminal() {
    const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{202e}\rgpj\u{9b}31m\u{2028}x";
    let spans = Spans::default();
    let guard = tracing::subscriber::set_default(spans.clone());
    let world = World::new(Agent::default()).await;
    let config = ThreadConfig::default().with_nickname(HOSTILE);
    let thread = world.spawn(SpawnThread::new().with_config(config)).await.unwrap();
    thread.run(format!("call {HOSTILE}").as_str()).await.unwrap();
    world.end().await;
    drop(guard);
    let escaped = "\\u001b]0;owned\\u0007\\u202e\\u000dgpj\\u009b31m\\u2028x";
    for (name, what) in
        [("thread", "thread"), ("turn", "invoke_agent"), ("tool_call", "execute_tool")]
    {
        let [(_, seen)] = &spans.named(name)[..] else { panic!("one {name}") };
        assert_eq!(seen.fields["otel.name"], format!("{what} {escaped}"));
        let steering: Vec<char> = seen.written.chars().filter(|&c| steers(c)).collect();
        assert!(steering.is_empty(), "{:?}", seen.written);
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_says_how_what_it_stands_for_ended() {
    let (agent, spans) = (Agent::default(), Spans::default());
    let guard = tracing::subscriber::set_default(spans.clone());
    let world = World::new(agent).await;
    let thread = world.spawn(SpawnThread::new()).await.unwrap();
    for text in ["leave open", "fail", "panic"] {
        thread.run(text).await.unwrap();
    }
    thread.submit("hang").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    thread.interrupt().await.unwrap();
    thread.panic_for_test();
    thread.run("after").await.unwrap();
    world.end().await;
    drop(guard);

    let said = |name: &str, field: &str| -> Vec<String> {
        let spans = spans.named(name).into_iter();
        spans.map(|(_, seen)| seen.fields.get(field).cloned().unwrap_or_default()).collect()
    };
    let ends = ["completed", "failed", "panicked", "interrupted", "completed"];
    assert_eq!(said("turn", "coppicer.turn.end"), ends);
    assert_eq!(said("turn", "error.type"), ["", "failed", "panicked", "", ""]);
    assert_eq!(said("turn", "otel.status_description")[1], "as asked");
    assert_eq!(said("tool_call", "error.type"), ["aborted"]);
    assert_eq!(said("thread", "coppicer.thread.end"), ["crashed", "closed"]);
    assert_eq!(said("thread", "error.type"), ["crashed", ""]);
}

#[tokio::test(start_paused = true)]
async fn with_a_bridge_a_turns_own_span_is_the_cause_of_what_it_brings_about() {
    let (agent, spans, tracer) = (Agent::default(), Spans::default(), Tracer::default());
    let guard = tracing::subscriber::set_default(spans.clone());
    let runtime = runtime(&agent, tracer.clone()).await;
    let thread = runtime.spawn(SpawnThread::new()).await.unwrap();
    thread.run(traced("delegate")).await.unwrap();
    let (cause, own) = given(&agent, "delegate").await;
    let own = own.unwrap();
    assert_eq!(cause, Some(caller()));
    assert_eq!(own.trace_id(), caller().trace_id(), "the caller's trace");
    let (turn, _) = spans.named("turn")[0];
    assert_eq!(own.span_id(), turn.to_be_bytes(), "the turn's span");
    let (of_child, childs) = given(&agent, "verse").await;
    assert_eq!(of_child, Some(own.clone()), "the parent's turn");
    let childs = childs.unwrap();
    assert_eq!(childs.trace_id(), caller().trace_id());
    let of_threads = spans.named("thread");
    assert_eq!(of_threads[1].1.fields["traceparent"], own.traceparent(), "its thread too");

    let reader = runtime.spawn(SpawnThread::new()).await.unwrap();
    reader.submit("hang").await.unwrap();
    let mail = format!("mail {}", reader.id());
    thread.run(traced(&mail)).await.unwrap();
    let mailed = given(&agent, &mail).await.1.unwrap();
    reader.submit("work").await.unwrap();
    reader.interrupt().await.unwrap();
    given(&agent, "work").await;
    let links = tracer.0.lock().clone();
    let turns: Vec<u64> = spans.named("turn").into_iter().map(|(number, _)| number).collect();
    let [.., with_notice, with_mail] = turns[..] else { panic!("{turns:?}") };
    let expected = [(with_notice, childs), (with_mail, mailed)];
    assert_eq!(links, expected, "mail beside input is a link, and so is the end of a sub-agent");
    end(runtime).await;
    drop(guard);
}

/// The mail that a thread has not read.
async fn mail_of(world: &World, thread: ThreadId) -> Vec<Mail> {
    let (done, answer) = Done::channel();
    world.runtime().store().mail(thread, done);
    answer.await.unwrap()
}

/// The links of the span of a turn that works on `text`, once it has run.
async fn links_of(
    runtime: &Runtime,
    thread: ThreadId,
    tracer: &Tracer,
    text: &str,
) -> Vec<TraceContext> {
    let before = tracer.0.lock().len();
    runtime.get(thread).unwrap().run(text).await.unwrap();
    tracer.0.lock()[before..].iter().map(|(_, cause)| cause.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_parent_is_told_of_an_end_is_linked_to_the_last_turn_of_the_sub_agent() {
    let (agent, spans, tracer) = (Agent::default(), Spans::default(), Tracer::default());
    let guard = tracing::subscriber::set_default(spans.clone());
    let runtime = runtime(&agent, tracer.clone()).await;
    let parent = runtime.spawn(SpawnThread::new()).await.unwrap().id();
    let request = SpawnThread::new().with_parent(parent);
    let child = runtime.spawn(request.with_first(traced("verse"))).await.unwrap();
    let own = given(&agent, "verse").await.1.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(links_of(&runtime, parent, &tracer, "read").await, [own], "it has completed");

    child.run(traced("panic")).await.unwrap();
    let crashed = given(&agent, "panic").await.1.unwrap();
    assert_eq!(
        links_of(&runtime, parent, &tracer, "read on").await,
        std::slice::from_ref(&crashed)
    );
    runtime.close(child.id(), BUDGET).await.unwrap();
    assert_eq!(links_of(&runtime, parent, &tracer, "read more").await, [crashed], "closed");
    end(runtime).await;
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_next_life_tells_of_names_what_caused_the_turn() {
    let agent = Agent::default();
    let world = World::new(agent.clone()).await;
    let parent = world.spawn(SpawnThread::new()).await.unwrap();
    let other = TraceContext::new([7; 16], [7; 8], false).unwrap();
    let request = SpawnThread::new().with_parent(parent.id());
    let child = world.spawn(request).await.unwrap();
    child.run(traced("of its first life")).await.unwrap();
    child.submit(Submission::input("hang").with_trace(other.clone())).await.unwrap();
    given(&agent, "hang").await;
    child.panic_for_test();
    child.run("nobody's").await.unwrap();
    let told: Vec<Option<TraceContext>> =
        mail_of(&world, parent.id()).await.into_iter().map(|mail| mail.trace).collect();
    assert_eq!(told, [Some(caller()), Some(other), None]);
    world.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_panics_costs_the_spans_their_context_and_no_turn() {
    let (agent, spans) = (Agent::default(), Spans::default());
    let guard = tracing::subscriber::set_default(spans.clone());
    let runtime = runtime(&agent, Broken).await;
    let thread = runtime.spawn(SpawnThread::new()).await.unwrap();
    let outcome = thread.run(traced("call")).await.unwrap();
    assert_eq!(outcome.message(), Some("done"));
    assert_eq!(given(&agent, "call").await.1, Some(caller()), "passed on as it came");
    assert_eq!(spans.named("tool_call").len(), 1);
    end(runtime).await;
    drop(guard);
}
