//! The example against a collector of a few lines: what arrives is one trace.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// Takes requests of one connection until it ends.
fn collect(connection: TcpStream, spans: &SyncSender<Span>) {
    let mut reader = BufReader::new(connection);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = ExportTraceServiceRequest::decode(&*body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            spans.send(span).unwrap();
        }
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
    }
}

#[test]
fn a_request_its_turn_its_tool_call_and_what_the_tool_traces_arrive_as_one_trace() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, spans) = sync_channel(64);
    let accepting = Builder::new().name("collector".into());
    let accepting = accepting.spawn(move || {
        for connection in listener.incoming() {
            let sender = sender.clone();
            let collecting = Builder::new().name("connection".into());
            collecting.spawn(move || collect(connection.unwrap(), &sender)).unwrap();
        }
    });
    accepting.unwrap();
    let answer = coppicer_otlp_example::serve_one_request(&endpoint).unwrap();
    assert_eq!(answer, "Middlemarch is on shelf 11");

    // All were sent before it returned; the collector may still be reading.
    let mut found = Vec::new();
    while found.len() < 5 {
        found.push(spans.recv_timeout(Duration::from_secs(10)).expect("five spans"));
    }
    let named = |name: &str| {
        let span = found.iter().find(|span| span.name == name);
        span.unwrap_or_else(|| panic!("no {name} in {found:?}"))
    };
    let (request, thread) = (named("request"), named("thread librarian"));
    let (turn, call) = (named("invoke_agent librarian"), named("execute_tool look_up"));
    let work = named("read_index");
    for span in [turn, call, work] {
        assert_eq!(span.trace_id, request.trace_id, "{}", span.name);
    }
    assert_eq!(turn.parent_span_id, request.span_id);
    assert_eq!(call.parent_span_id, turn.span_id);
    assert_eq!(work.parent_span_id, call.span_id);
    let links: Vec<_> = turn.links.iter().map(|link| (&link.trace_id, &link.span_id)).collect();
    assert_eq!(links, [(&thread.trace_id, &thread.span_id)], "the turn follows from its thread");
    assert_ne!(thread.trace_id, request.trace_id, "a thread outlives the request");
    let keys: Vec<&str> = turn.attributes.iter().map(|it| it.key.as_str()).collect();
    for key in ["gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.conversation.id"] {
        assert!(keys.contains(&key), "{key} is not in {keys:?}");
    }
}
