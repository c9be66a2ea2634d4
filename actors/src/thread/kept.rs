//! How an accepted submission is kept until it has ended: its op, and what caused it, if it says so.

use coppicer_messages::{Op, TraceContext};
use serde::Deserialize;
use serde_json::value::{RawValue, Value};

/// With a trace context. Without, it is the op alone, as it always was; no op is called `op`.
#[derive(Deserialize)]
struct Traced {
    op: Op,
    trace: Value,
}

/// The body that is kept of an op, which is JSON already.
pub(super) fn body(op: Vec<u8>, trace: Option<&TraceContext>) -> Vec<u8> {
    let Some(trace) = trace else { return op };
    let Ok(trace) = serde_json::to_string(trace) else { return op };
    let mut body = Vec::with_capacity(op.len() + trace.len() + 20);
    body.extend_from_slice(br#"{"trace":"#);
    body.extend_from_slice(trace.as_bytes());
    body.extend_from_slice(br#","op":"#);
    body.extend_from_slice(&op);
    body.push(b'}');
    body
}

/// What was kept. A trace context that cannot be read any more costs the submission nothing.
pub(super) fn read(body: &[u8]) -> Option<(Op, Option<TraceContext>)> {
    if let Ok(Traced { op, trace }) = serde_json::from_slice(body) {
        return Some((op, serde_json::from_value(trace).ok()));
    }
    serde_json::from_slice::<&RawValue>(body).ok()?;
    serde_json::from_slice(body).ok().map(|op| (op, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn input() -> Op {
        Op::UserInput { input: "hello".into(), delivery: coppicer_messages::Delivery::Queue }
    }

    #[test]
    fn a_submission_is_kept_with_what_caused_it_and_as_ever_without() {
        let context = TraceContext::parse(PARENT).unwrap().with_state("a=1").unwrap();
        for op in [input(), Op::Compact] {
            let json = serde_json::to_vec(&op).unwrap();
            assert_eq!(body(json.clone(), None), json, "the bytes of before");
            assert_eq!(read(&json), Some((op.clone(), None)));
            let kept = body(json, Some(&context));
            assert_eq!(read(&kept), Some((op, Some(context.clone()))));
        }
    }

    #[test]
    fn a_bad_trace_context_costs_nothing_and_a_bad_op_is_told() {
        let kept = br#"{"trace":"nonsense","op":"compact"}"#;
        assert_eq!(read(kept), Some((Op::Compact, None)));
        for bad in [&b"{}"[..], br#"{"trace":"x","op":"what"}"#, b"no json", b"\"what\""] {
            assert_eq!(read(bad), None);
        }
    }
}
