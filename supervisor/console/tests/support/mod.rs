//! A world with a console, and a client that can also be rude.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use coppicer_actors::{Engine, Script, ScriptedEngine, Step};
use coppicer_console::{Console, ConsoleOptions};
use coppicer_messages::{Limits, SpawnThread, ThreadId};
use coppicer_supervisor::testing::World;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

/// The budget of everything that has no other. Real time: sockets do not follow a paused clock.
pub(crate) const BUDGET: Duration = Duration::from_secs(20);

/// Says what it is told; `hang` hangs, `panic` panics, `ask` asks its host, `fail` fails.
pub(crate) fn engine() -> ScriptedEngine {
    ScriptedEngine::new(|_, input| match &*input.text() {
        "hang" => Script::new().then(Step::Hang),
        "panic" => Script::new().panic("boom"),
        "ask" => Script::new().then(Step::Ask("may I?".into(), BUDGET)),
        "call" => Script::new().call("shell", "{}", "done").say("called"),
        text => Script::new().say(text),
    })
}

/// A world and its console.
pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) console: Console,
    pub(crate) client: Client,
    folder: TempDir,
}

impl Served {
    pub(crate) async fn new() -> Self {
        Self::with(engine(), Limits::default(), |options| options).await
    }

    pub(crate) async fn with(
        engine: impl Engine,
        limits: Limits,
        settle: impl FnOnce(ConsoleOptions) -> ConsoleOptions,
    ) -> Self {
        Self::on(World::with_limits(engine, limits).await, settle)
    }

    /// A console for a world that is there.
    pub(crate) fn on(world: World, settle: impl FnOnce(ConsoleOptions) -> ConsoleOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = ConsoleOptions::new(folder.path().join("console.token"));
        let console = Console::start(world.runtime(), settle(options)).unwrap();
        let client = Client::of(&console);
        Self { world, console, client, folder }
    }

    /// A thread that has said this.
    pub(crate) async fn spawn(&self, text: &str) -> ThreadId {
        let thread = self.world.spawn(SpawnThread::new()).await.unwrap();
        thread.run(text).await.unwrap();
        thread.id()
    }

    /// Stops the console, and checks with the world that nothing is held any more.
    pub(crate) async fn end(self) {
        timeout(BUDGET, self.console.stop()).await.expect("the console stops");
        self.world.end().await;
    }
}

impl Deref for Served {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn read(text: &str) -> Self {
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunked(rest) } else { rest.to_owned() };
        Self { status, head: head.to_owned(), body }
    }
}

fn unchunked(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.push_str(&rest[..size]);
        text = &rest[size + 2..];
    }
    body
}

impl Client {
    pub(crate) fn of(console: &Console) -> Self {
        let url = console.url();
        let token = url.split_once("#token=").unwrap().1.to_owned();
        Self { address: console.address(), token }
    }

    /// The headers that a well-behaved request has.
    pub(crate) fn headers(&self) -> String {
        format!("Host: {}\r\nAuthorization: Bearer {}\r\n", self.address, self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\n{}Connection: close\r\n\r\n", self.headers()))
            .await
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&self.posted(path, body, "Content-Type: application/json\r\n")).await
    }

    /// A POST with these headers beside those of every request.
    pub(crate) fn posted(&self, path: &str, body: &str, headers: &str) -> String {
        let (ours, bytes) = (self.headers(), body.len());
        format!(
            "POST {path} HTTP/1.1\r\n{ours}{headers}Content-Length: {bytes}\r\nConnection: close\r\n\r\n{body}"
        )
    }

    /// Sends this text, and reads to the end.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        let exchange = async {
            let mut stream = self.connect().await;
            // The console may have answered and closed before it was told all.
            let _ = stream.write_all(request.as_bytes()).await;
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes).await;
            Answer::read(&String::from_utf8_lossy(&bytes))
        };
        timeout(BUDGET, exchange).await.expect("an answer in time")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Opens a stream of events.
    pub(crate) async fn open(&self, path: &str, last: Option<&str>) -> Events {
        let mut stream = self.connect().await;
        let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\n{}{last}\r\n", self.headers());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Events { stream, text: String::new(), place: None };
        timeout(BUDGET, events.begin()).await.expect("an answer in time");
        events
    }
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

/// A stream of events.
pub(crate) struct Events {
    pub(crate) stream: TcpStream,
    text: String,
    /// The last id, of an event or of none.
    pub(crate) place: Option<String>,
}

impl Events {
    /// The next event; none if the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        timeout(BUDGET, self.read()).await.expect("an event in time")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            // Chunks carry whole events here, so that their sizes are lines of their own.
            if let Some(block) = self.take_block() {
                if let Some(event) = event_of(&block) {
                    return Some(event);
                }
                continue;
            }
            self.read_more().await?;
        }
    }

    fn take_block(&mut self) -> Option<String> {
        let (block, rest) = self.text.split_once("\n\n")?;
        let (block, rest) = (block.to_owned(), rest.to_owned());
        self.text = rest;
        self.place = field(&block, "id").or(self.place.take());
        Some(block)
    }

    /// Reads until the place to go on from is one that `wanted` accepts. Nothing may be told until then.
    pub(crate) async fn place(&mut self, wanted: impl Fn(u64) -> bool) -> String {
        let read = async {
            loop {
                if let Some(place) = &self.place
                    && wanted(place.split_once('-').unwrap().1.parse().unwrap())
                {
                    return place.clone();
                }
                match self.take_block() {
                    Some(block) => assert!(event_of(&block).is_none(), "{block}"),
                    None => self.read_more().await.expect("the stream goes on"),
                }
            }
        };
        timeout(BUDGET, read).await.expect("a place in time")
    }

    /// Reads the head of the answer: from here on the stream is there.
    async fn begin(&mut self) {
        loop {
            if let Some(end) = self.text.find("\r\n\r\n") {
                let rest = self.text.split_off(end);
                assert!(self.text.contains(" 200 "), "{}{rest}", self.text);
                rest[4..].clone_into(&mut self.text);
                return;
            }
            self.read_more().await.expect("an answer");
        }
    }

    async fn read_more(&mut self) -> Option<()> {
        let mut bytes = vec![0; 1 << 18];
        let read = self.stream.read(&mut bytes).await.ok()?;
        self.text.push_str(&String::from_utf8_lossy(&bytes[..read]));
        (read > 0).then_some(())
    }

    /// The next event of this name.
    pub(crate) async fn named(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.name == name {
                return event;
            }
        }
    }

    /// The next event that `wanted` accepts.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if wanted(&event) {
                return event;
            }
        }
    }
}

fn field(block: &str, name: &str) -> Option<String> {
    let mut lines = block.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
}

fn event_of(block: &str) -> Option<Event> {
    let data = field(block, "data")?;
    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
    let name = field(block, "event").unwrap_or_default();
    Some(Event { name, id: field(block, "id"), data })
}

/// Passes connections on to a console, and cuts them when it is told to. Tells when it has passed on an id.
pub(crate) async fn proxy(to: SocketAddr, cuts: Arc<Notify>, ids: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut console = TcpStream::connect(to).await.unwrap();
            let mut head = vec![0; 8_192];
            let read = client.read(&mut head).await.unwrap();
            // A console goes by its own name only.
            let head =
                String::from_utf8_lossy(&head[..read]).replace(&own.to_string(), &to.to_string());
            console.write_all(head.as_bytes()).await.unwrap();
            let pass = async {
                let mut piece = vec![0; 1 << 16];
                while let Ok(read @ 1..) = console.read(&mut piece).await {
                    client.write_all(&piece[..read]).await.unwrap();
                    if piece[..read].windows(5).any(|bytes| bytes == b"\nid: ") {
                        ids.notify_one();
                    }
                }
            };
            tokio::select! {
                () = pass => {}
                () = cuts.notified() => {}
            }
        }
    });
    own
}
