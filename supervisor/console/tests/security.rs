//! Each rule of who is let in, by a request that must fail, and of which nothing is seen afterwards.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use std::time::Duration;

use coppicer_actors::{TapCounts, TapOptions};
use coppicer_console::{Console, ConsoleError, ConsoleOptions};
use coppicer_messages::{LeaseKind, Limits};
use coppicer_supervisor::testing::World;
use support::{BUDGET, Client, Served, engine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const SPAWN: &str = r#"{"input":"hello"}"#;
const JSON: &str = "Content-Type: application/json\r\n";

/// Sends what must fail, and checks that no fact came of it and no thread is there.
async fn refused(served: &Served, request: String, status: u16, code: &str) {
    let mut tap = served.world.runtime().tap(TapOptions::all()).unwrap();
    let answer = served.client.send(&request).await;
    assert_eq!((answer.status, &*answer.code()), (status, code), "{request:.300}");
    assert!(answer.head.contains("application/problem+json"), "{answer:?}");
    assert!(!answer.head.to_ascii_lowercase().contains("access-control"), "no CORS: {answer:?}");
    assert!(tap.try_next().is_none(), "a fact came of {request:.300}");
    let TapCounts { emitted, .. } = tap.counts();
    assert_eq!((emitted, served.world.list().len()), (0, 0));
}

/// The request that works, with one part of it replaced.
fn spawn_with(client: &Client, from: &str, to: &str) -> String {
    let request = client.posted("/api/threads", SPAWN, JSON);
    assert!(request.contains(from), "{from} is in no request");
    request.replace(from, to)
}

#[tokio::test]
async fn a_request_without_the_token_or_with_another_one_is_refused() {
    let served = Served::new().await;
    let client = served.client.clone();
    let bearer = format!("Authorization: Bearer {}\r\n", client.token);
    let other = format!("Authorization: Bearer {}\r\n", "0".repeat(64));
    refused(&served, spawn_with(&client, &bearer, ""), 401, "no_token").await;
    refused(&served, spawn_with(&client, &bearer, &other), 401, "bad_token").await;
    let cookie = format!("Cookie: token={}\r\n", client.token);
    refused(&served, spawn_with(&client, &bearer, &cookie), 401, "no_token").await;
    let in_query = spawn_with(&client, &bearer, "")
        .replace("/api/threads", &format!("/api/threads?token={}", client.token));
    refused(&served, in_query, 401, "no_token").await;
    for path in
        ["/api/tree", "/api/tree/stream", "/api/events", "/api/info", "/metrics", "/nowhere"]
    {
        let read =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", client.address);
        refused(&served, read, 401, "no_token").await;
    }
    served.end().await;
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused_though_it_leads_here() {
    let served = Served::new().await;
    let client = served.client.clone();
    let ours = format!("Host: {}\r\n", client.address);
    let port = client.address.port();
    for host in [
        format!("Host: evil.example:{port}\r\n"),
        "Host: localhost\r\n".to_owned(),
        format!("Host: 127.0.0.1:{port}.evil.example\r\n"),
        format!("{ours}{ours}"),
        String::new(),
    ] {
        refused(&served, spawn_with(&client, &ours, &host), 421, "bad_host").await;
    }
    // The page too: who has our name resolve to us must not even get that.
    let page = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned();
    refused(&served, page, 421, "bad_host").await;
    served.end().await;
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_and_is_told_of_nothing_it_may_do() {
    let served = Served::new().await;
    let client = served.client.clone();
    for origin in ["http://evil.example", "https://localhost", "null", "http://127.0.0.1:1"] {
        let headers = format!("{JSON}Origin: {origin}\r\n");
        let request = client.posted("/api/threads", SPAWN, &headers);
        refused(&served, request, 403, "bad_origin").await;
        let events = format!(
            "GET /api/events HTTP/1.1\r\n{}Origin: {origin}\r\nConnection: close\r\n\r\n",
            client.headers()
        );
        refused(&served, events, 403, "bad_origin").await;
    }
    let preflight = format!(
        "OPTIONS /api/threads HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\n\
         Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n",
        client.address
    );
    refused(&served, preflight, 403, "bad_origin").await;
    served.end().await;
}

#[tokio::test]
async fn a_body_that_a_form_could_send_is_refused() {
    let served = Served::new().await;
    let client = served.client.clone();
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n",
    ] {
        let request = client.posted("/api/threads", SPAWN, kind);
        refused(&served, request, 415, "bad_content_type").await;
    }
    served.end().await;
}

#[tokio::test]
async fn a_body_of_another_form_is_refused() {
    let served = Served::new().await;
    let client = served.client.clone();
    let deep = format!("{{\"input\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for body in [
        "",
        "null",
        "[]",
        "{",
        r#"{"input":7}"#,
        r#"{"inputs":"hello"}"#,
        r#"{"input":"a","input":"b"}"#,
        &deep,
        "{\"input\":\"\u{feff}",
    ] {
        let request = client.posted("/api/threads", body, JSON);
        refused(&served, request, 400, "bad_json").await;
    }
    let wrong = client.posted("/api/threads/not-an-id/park", "{}", JSON);
    refused(&served, wrong, 400, "bad_id").await;
    let elsewhere = client.posted("/api/thread", "{}", JSON);
    refused(&served, elsewhere, 404, "no_such_path").await;
    let put = client.posted("/api/threads", SPAWN, JSON).replace("POST", "PUT");
    refused(&served, put, 405, "method_not_allowed").await;
    served.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let served = Served::new().await;
    let client = served.client.clone();
    let large = format!(r#"{{"input":"{}"}}"#, "x".repeat(1 << 20));
    let announced = client.posted("/api/threads", &large, JSON);
    refused(&served, announced, 413, "body_too_large").await;
    let chunks = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    let chunked = format!(
        "POST /api/threads HTTP/1.1\r\n{}{JSON}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{chunks}",
        client.headers()
    );
    refused(&served, chunked, 413, "body_too_large").await;
    // One byte less than the limit is taken up.
    let envelope = r#"{"input":""}"#.len();
    let fits = format!(r#"{{"input":"{}"}}"#, "x".repeat((1 << 20) - envelope));
    assert_eq!(client.post("/api/threads", &fits).await.status, 201);
    served.end().await;
}

#[tokio::test]
async fn too_many_or_too_large_headers_are_refused() {
    let served = Served::new().await;
    let client = served.client.clone();
    let many = "X-Many: 1\r\n".repeat(100);
    let large = format!("X-Large: {}\r\n", "x".repeat(64 << 10));
    for headers in [many, large] {
        let request = client.posted("/api/threads", SPAWN, &format!("{JSON}{headers}"));
        let answer = client.send(&request).await;
        assert!([431, 0].contains(&answer.status), "{answer:?}");
        assert_eq!(served.world.list().len(), 0);
    }
    served.end().await;
}

#[tokio::test]
async fn a_request_that_never_ends_is_given_up() {
    let served = Served::new().await;
    let client = served.client.clone();
    let mut head = client.connect().await;
    head.write_all(b"POST /api/threads HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let mut body = client.connect().await;
    let request = client.posted("/api/threads", SPAWN, JSON);
    body.write_all(&request.as_bytes()[..request.len() - 3]).await.unwrap();
    let (mut head_answer, mut body_answer) = (Vec::new(), Vec::new());
    let both = async {
        tokio::join!(head.read_to_end(&mut head_answer), body.read_to_end(&mut body_answer))
    };
    let _ = timeout(BUDGET, both).await.expect("both are given up");
    let body_answer = String::from_utf8_lossy(&body_answer);
    assert!(body_answer.contains("408") && body_answer.contains("body_too_slow"), "{body_answer}");
    assert_eq!(served.world.list().len(), 0);
    served.end().await;
}

#[tokio::test]
async fn connections_and_streams_are_counted_and_a_place_comes_free_again() {
    const CONNECTIONS_MAX: usize = 64;
    const STREAMS_MAX: usize = 16;
    let served = Served::new().await;
    let client = served.client.clone();
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut events = client.open("/api/tree/stream", None).await;
        events.named("frame").await;
        streams.push(events);
    }
    for path in ["/api/tree/stream", "/api/events"] {
        let answer = client.get(path).await;
        assert_eq!((answer.status, &*answer.code()), (503, "too_many_streams"));
    }
    assert_eq!(client.get("/api/tree").await.status, 200, "there are connections left");
    let mut idle = Vec::new();
    for _ in STREAMS_MAX..CONNECTIONS_MAX {
        idle.push(client.connect().await);
    }
    // Taken in one after the other, so that the last of them is there when the next is refused.
    let answer = client.get("/api/tree").await;
    assert_eq!((answer.status, &*answer.code()), (503, "too_many_connections"));
    drop((streams, idle));
    let again = async {
        while client.get("/api/tree").await.status != 200 {
            tokio::task::yield_now().await;
        }
    };
    timeout(BUDGET, again).await.expect("places come free");
    client.open("/api/events", None).await;
    served.end().await;
}

#[tokio::test]
async fn only_loopback_is_listened_on_unless_it_is_said_otherwise() {
    let world = World::with_limits(engine(), Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("console.token");
    let options = || ConsoleOptions::new(&file).listen("0.0.0.0:0".parse().unwrap());
    let refused = Console::start(world.runtime(), options()).unwrap_err();
    assert!(matches!(refused, ConsoleError::NotLoopback { .. }), "{refused}");
    assert!(!file.exists(), "nothing is left of it");
    let console = Console::start(world.runtime(), options().insecure_bind()).unwrap();
    assert!(file.exists());
    console.stop().await;
    assert!(!file.exists());
    world.end().await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_token_is_in_a_file_of_its_user_s_own_and_another_with_each_start() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::with_limits(engine(), Limits::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let options = || ConsoleOptions::new(folder.path().join("console.token"));
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let console = Console::start(world.runtime(), options()).unwrap();
        let mode = std::fs::metadata(console.token_file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let token = std::fs::read_to_string(console.token_file()).unwrap();
        assert!(console.url().ends_with(&format!("/#token={}", token.trim_end())));
        assert!(!format!("{console:?}").contains(token.trim_end()), "it is in no log");
        tokens.push(token);
        console.stop().await;
    }
    assert_ne!(tokens[0], tokens[1]);
    world.end().await;
}

#[tokio::test]
async fn every_answer_says_what_browsers_may_make_of_it() {
    let served = Served::new().await;
    for path in ["/", "/app.js", "/app.css", "/api/tree", "/nowhere", "/metrics", "/healthz"] {
        let head = served.client.get(path).await.head.to_ascii_lowercase();
        for line in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "default-src 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(line), "{path}: {line} is not in\n{head}");
        }
        assert!(!head.contains("unsafe-inline") && !head.contains("unsafe-eval"));
        assert!(!head.contains("access-control"), "{path}");
    }
    served.end().await;
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_nothing_from_elsewhere() {
    let served = Served::new().await;
    let page = served.client.get("/").await.body;
    let script = served.client.get("/app.js").await.body;
    let style = served.client.get("/app.css").await.body;
    for tag in page.split('<').filter(|tag| tag.starts_with("script")) {
        assert!(tag.contains("src=\"/app.js\"") && tag.trim_end().ends_with('>'), "inline: {tag}");
    }
    for word in [" style=", "<style", " onclick=", " onload=", "javascript:"] {
        assert!(!page.contains(word), "{word} is in the page");
    }
    for word in
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
    {
        assert!(!script.contains(word), "{word} is in the script");
    }
    for (name, text) in [("page", &page), ("script", &script), ("style", &style)] {
        for word in ["https://", "http://", "@import", "url(//", "src=\"//", "href=\"//"] {
            let svg = text.replace("http://www.w3.org/", "");
            assert!(!svg.contains(word), "{word} is in the {name}");
        }
    }
    served.end().await;
}

#[tokio::test]
async fn what_agents_say_cannot_steer_the_terminal_of_who_asks() {
    let served = Served::new().await;
    let hostile = "\u{1b}]0;owned\u{7} \u{202e}gpj.exe <script>alert(1)</script> \u{9b}2J";
    let thread = served.spawn(hostile).await;
    for path in [
        "/api/tree".to_owned(),
        format!("/api/threads/{thread}"),
        format!("/api/threads/{thread}/history"),
        format!("/api/threads/{thread}/timeline"),
        "/api/threads".to_owned(),
    ] {
        let answer = served.client.get(&path).await;
        assert!(answer.body.contains("owned"), "{path}");
        let steers = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!answer.body.contains(steers), "{path}");
        assert!(answer.head.to_ascii_lowercase().contains("content-type: application/json"));
    }
    let tree = served.client.get_json("/api/tree").await;
    assert_eq!(tree["rows"][0]["status_text"], hostile, "it means the same");
    let audit = served.world.audit().await;
    assert_eq!(audit.count(LeaseKind::Tap), 2, "the watcher's and the counters'");
    timeout(Duration::from_secs(5), served.end()).await.unwrap();
}
