//! `coppicer serve`, `coppicer run --console`, and `coppicer tap URL` against them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::support::*;

/// A command that serves a console, and its messages.
pub(crate) struct Serving {
    child: Child,
    err: BufReader<ChildStderr>,
    pub(crate) url: String,
    said: String,
}

impl Serving {
    /// Starts it, and waits until it has said where its console is.
    pub(crate) fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = home.command();
        command.args(args).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let (url, said) = wait_for(&mut err, "console: ");
        Self { child, err, url, said }
    }

    pub(crate) fn wait_for(&mut self, words: &str) {
        self.said += &wait_for(&mut self.err, words).1;
    }

    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    pub(crate) fn end(mut self) -> Ran {
        self.err.read_to_string(&mut self.said).unwrap();
        let mut ran: Ran = self.child.wait_with_output().unwrap().into();
        ran.err = self.said;
        ran
    }

    /// What the console answers to a request with this body.
    pub(crate) fn post(&self, path: &str, body: &str) -> Value {
        let (address, token) = self.url.split_once("/#token=").unwrap();
        let address = address.strip_prefix("http://").unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The kinds of the facts of threads that this tap shows, and how it ended.
    fn tap(&self, home: &Home, args: &[&str]) -> Ran {
        home.coppicer(["tap", &self.url].iter().chain(args))
    }
}

/// Reads messages up to the line that has these words; what is behind them, and all that was read.
fn wait_for(err: &mut BufReader<ChildStderr>, words: &str) -> (String, String) {
    let mut said = String::new();
    loop {
        let mut line = String::new();
        assert!(err.read_line(&mut line).unwrap() > 0, "no message with `{words}` in\n{said}");
        said += &line;
        if let Some((_, rest)) = line.split_once(words) {
            return (rest.trim_end().to_owned(), said);
        }
    }
}

#[test]
fn a_run_serves_its_console_after_its_turns_until_an_interrupt_and_then_reports() {
    let home = Home::new();
    let sessions = examples();
    let run = ["run", sessions.to_str().unwrap(), "--console", "--turns", "1"];
    let mut serving = Serving::start(&home, &run);
    let token_file = home.folder().join("console.token");
    assert!(serving.url.contains(std::fs::read_to_string(&token_file).unwrap().trim_end()));
    serving.wait_for("all turns have ended; the console serves on");
    let tap = serving.tap(&home, &["--snapshot", "--json", "--for", "300ms"]);
    let rows = tap.json_lines()[0]["snapshot"]["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 12, "{tap:?}");
    assert!(rows.iter().all(|row| row["turns"].as_u64() >= Some(1)), "{tap:?}");
    serving.interrupt();
    let ran = serving.end();
    assert_eq!(ran.code, Some(0), "an interrupt of the console is none of the run: {ran:?}");
    assert!(ran.out.contains("12 threads"), "{ran:?}");
    assert!(!token_file.exists());
}

#[test]
fn a_console_ends_after_the_time_that_was_said() {
    let home = Home::new();
    let sessions = examples();
    let ran = home.coppicer([
        "run",
        sessions.to_str().unwrap(),
        "--memory",
        "--console",
        "--console-for",
        "100ms",
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.says(&["the console serves on"]);
    let usage = home.coppicer(["run", "x", "--console-for", "1s"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
}

#[test]
fn a_store_is_served_and_followed_by_a_tap_until_it_ends() {
    let home = Home::new();
    let ran = home.coppicer(["run", examples().to_str().unwrap(), "--turns", "1"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut serving = Serving::start(&home, &["serve"]);
    serving.wait_for("serving ");
    let first = serving.tap(&home, &["--snapshot", "--for", "200ms"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.out.starts_with("-- at "), "{first:?}");
    // A tap that is there is told of the end.
    let mut tap = home
        .command()
        .args(["tap", &serving.url, "--json", "--lifecycle", "--snapshot"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(tap.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let snapshot: Value = serde_json::from_str(&line).unwrap();
    assert!(snapshot["snapshot"]["rows"].as_array().is_some(), "{line}");
    serving.interrupt();
    let ran = serving.end();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.says(&["closed, 0 not in time"]);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"]["fact"]["runtime"]["event"], "runtime_ended", "{rest}");
    let tap: Ran = tap.wait_with_output().unwrap().into();
    assert_eq!((tap.code, &*tap.err), (Some(0), "the end: runtime_ended\n"));
}

#[test]
fn what_agents_say_cannot_steer_the_terminal_of_who_follows() {
    let home = Home::new();
    let serving = Serving::start(&home, &["serve", "--for", "1m"]);
    let mut taps = [&[][..], &["--json"]].map(|args| {
        let mut tap = home.command();
        tap.args(["tap", &serving.url, "--snapshot"]).args(args).stdout(Stdio::piped());
        let mut tap = tap.spawn().unwrap();
        let mut out = BufReader::new(tap.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap(); // the snapshot: from here on it is told
        (tap, out)
    });
    let body = r#"{"input":"\u001b]0;owned\u0007 \u202egpj.exe \u009b2J <b>"}"#;
    assert!(serving.post("/api/threads", body)["thread"].is_string());
    for (tap, out) in &mut taps {
        let said = loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "the tap ended");
            if line.contains("turn_ended") {
                break line;
            }
        };
        let steers =
            |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(said.contains("owned") && said.contains("gpj.exe"), "{said:?}");
        assert!(!said.contains(steers), "{said:?}");
        tap.kill().unwrap();
        tap.wait().unwrap();
    }
    serving.interrupt();
    assert_eq!(serving.end().code, Some(0));
}

#[test]
fn what_cannot_be_followed_or_served_is_said() {
    let home = Home::new();
    let store = home.store();
    for (args, words) in [
        (&["tap", "https://127.0.0.1/#token=a"][..], &["expected an address"][..]),
        (&["tap", "http://127.0.0.1:1/"], &["no token"]),
        (&["tap", "http://127.0.0.1:1/#token=a"], &["cannot reach", "refused"]),
        (
            &["tap", "http://127.0.0.1:1/", "--token-file", "/none"],
            &["cannot read the token", "/none"],
        ),
        (&["tap", "http://127.0.0.1:1/#token=a", "--thread", "0197"], &["name the whole"]),
        (&["serve", "--listen", "0.0.0.0:0"], &["cannot start the console", "loopback"]),
        (
            &["serve", "--listen", "192.0.2.1:0", "--insecure-bind"],
            &["cannot listen on 192.0.2.1:0"],
        ),
    ] {
        let ran = home.coppicer(args);
        assert_eq!((ran.code, &*ran.out), (Some(1), ""), "{args:?}: {ran:?}");
        ran.says(words);
    }
    assert!(!store.with_file_name("console.token").exists());
    for args in [
        &["tap"][..],
        &["tap", "http://h/#token=a", "--replay", "x"],
        &["tap", "--replay", "x", "--snapshot"],
    ] {
        assert_eq!(home.coppicer(args).code, Some(2), "{args:?}");
    }
}
