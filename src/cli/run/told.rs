//! The engine `told`: turns do what their input tells them to, line by line. To see what a host would see
//! of an agent that asks, is late, spends or crashes.

use std::time::Duration;

use coppicer::{EngineError, Script, SpawnThread, Step, Usage};

use crate::cli::duration;

/// How long a question waits for its answer.
const ASK_WITHIN: Duration = Duration::from_secs(3600);

/// What the orders are, for who gave another one.
pub(super) const ORDERS: &str = "/ask QUESTION, /use TOKENS, /sleep TIME, /tool WITHIN TAKES, /call TOOL, \
                                 /spawn NAME [INPUT], /fail TEXT, /panic TEXT, /hang";

/// What a turn does that is told `text`. An order that is none fails the turn, before it does anything.
pub(super) fn script(text: &str) -> Script {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(step)
        .collect::<Result<_, _>>()
        .unwrap_or_else(|line: &str| {
            let error = format!("{:?} is no order; there are {ORDERS}", line.trim());
            Script::new().fail(EngineError::fatal(error))
        })
}

/// One line: an order, or what is said.
fn step(line: &str) -> Result<Step, &str> {
    let Some(order) = line.trim().strip_prefix('/') else { return Ok(Step::Say(line.to_owned())) };
    let (name, rest) = order.split_once(char::is_whitespace).unwrap_or((order, ""));
    let rest = rest.trim();
    let time = |text: &str| duration::parse(text.trim()).map_err(|_| line);
    Ok(match (name, rest) {
        ("ask", question) if !question.is_empty() => Step::Ask(question.into(), ASK_WITHIN),
        ("use", tokens) => {
            let output_tokens = tokens.parse().map_err(|_| line)?;
            Step::Usage(Usage { output_tokens, ..Usage::default() })
        }
        ("sleep", rest) => Step::Sleep(time(rest)?),
        ("tool", rest) => {
            let (within, takes) = rest.split_once(char::is_whitespace).ok_or(line)?;
            Step::Tool(time(within)?, time(takes)?)
        }
        // It stays open, until the end of the turn closes it.
        ("call", tool) if !tool.is_empty() => {
            Step::Call { name: tool.to_owned(), arguments: "{}".to_owned(), output: None }
        }
        ("spawn", rest) if !rest.is_empty() => {
            let (name, input) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let request = SpawnThread::new().with_name(name);
            let input = input.trim();
            Step::Spawn(Box::new(if input.is_empty() {
                request
            } else {
                request.with_first(input)
            }))
        }
        ("fail", error) if !error.is_empty() => Step::Fail(EngineError::fatal(error)),
        ("panic", text) => Step::Panic(text.to_owned()),
        ("hang", "") => Step::Hang,
        _ => return Err(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        format!("{:?}", script(text))
    }

    #[test]
    fn each_line_is_an_order_or_is_said() {
        let steps = "hello\n\n  /ask may I?\n/use 400\n/sleep 2s\n/tool 300ms 10m\n/call shell\n/fail no\n/hang\n";
        let usage = Usage { output_tokens: 400, ..Usage::default() };
        let expected = Script::new()
            .say("hello")
            .then(Step::Ask("may I?".into(), ASK_WITHIN))
            .then(Step::Usage(usage))
            .sleep(Duration::from_secs(2))
            .then(Step::Tool(Duration::from_millis(300), Duration::from_secs(600)))
            .then(Step::Call { name: "shell".into(), arguments: "{}".into(), output: None })
            .fail(EngineError::fatal("no"))
            .then(Step::Hang);
        assert_eq!(told(steps), format!("{expected:?}"));
        let child = |request: SpawnThread| format!("{:?}", Script::new().spawn(request));
        let scan = || SpawnThread::new().with_name("scan");
        assert_eq!(told("/spawn scan"), child(scan()));
        assert_eq!(told("/spawn scan  /panic boom"), child(scan().with_first("/panic boom")));
    }

    #[test]
    fn what_is_no_order_fails_the_turn_before_it_does_anything_and_names_those_that_are() {
        for text in [
            "/dance",
            "/use many",
            "/tool 1s",
            "/sleep",
            "/ask",
            "/hang on",
            "/call",
            "/spawn",
            "/fail",
        ] {
            let said = told(&format!("hello\n{text}"));
            assert!(
                said.contains("is no order; there are /ask") && !said.contains("Say"),
                "{said}"
            );
        }
    }
}
