//! `coppicer history`: what a model would be shown of a session.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use coppicer::{
    MessagePhase, RecordClass, SessionFile, ViewItem, model_view, read_session, resolve_history,
};
use serde_json::Value;

use super::{Failure, Verdict, text};

/// Shows what a model would be shown of a session.
///
/// That is the history after rollbacks and compactions; of a fork or of a segment file, with the
/// history that it begins in. Damaged lines are told on standard error and left out, and the exit
/// code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A session file.
    file: PathBuf,
    /// Print one JSON array of response items, each byte for byte as the file has it.
    #[arg(long)]
    json: bool,
    /// Look for the files that the history begins in here too, not only beside FILE.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let file = read_session(&args.file)?;
    let history = resolve_history(&file, args.sessions.as_deref())?;
    tell_damage(&file);
    let opaque = history.iter().filter(|record| record.class == RecordClass::Opaque).count();
    let view = model_view(&history);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        out.write_all(&view.to_json())?;
        writeln!(out)?;
    } else {
        for item in &view.items {
            write_item(&mut out, item)?;
        }
    }
    out.flush()?;
    Ok(Verdict::of(file.damage.is_empty() && opaque == 0))
}

/// Tells the damaged lines of a file that is worked on all the same.
pub(super) fn tell_damage(file: &SessionFile) {
    for damage in &file.damage {
        let (path, line) = (file.path.display(), damage.line);
        super::say(&format!("warning: {path}:{line}: {}; the line is left out", damage.reason));
    }
}

/// One item: the number of its record, who speaks, and what is said. Further lines are indented, so
/// that no text can pass for the next item.
fn write_item(out: &mut impl Write, item: &ViewItem) -> io::Result<()> {
    let payload: Value = serde_json::from_slice(item.payload()).unwrap_or_default();
    let (label, body) = describe(item, &payload);
    let label = text::printable(&label).replace(['\n', '\t'], " ");
    let body = text::printable(&body);
    writeln!(out, "[{}] {label}: {}", item.seq, body.replace('\n', "\n    "))
}

fn describe<'a>(item: &ViewItem, payload: &'a Value) -> (String, Cow<'a, str>) {
    let field = |name: &str| payload[name].as_str().unwrap_or_default();
    match &item.class {
        RecordClass::UserMessage => ("user".into(), content(payload)),
        RecordClass::ContextualUserMessage => ("context".into(), content(payload)),
        RecordClass::DeveloperMessage => (field("role").to_owned(), content(payload)),
        RecordClass::AssistantMessage { phase } => {
            let label = match phase {
                MessagePhase::Commentary => "assistant, on the way",
                MessagePhase::None | MessagePhase::Final => "assistant",
            };
            (label.into(), content(payload))
        }
        RecordClass::Envelope { .. } => ("mail".into(), content(payload)),
        RecordClass::Reasoning => ("reasoning".into(), parts(&payload["summary"])),
        RecordClass::ToolCall { call, .. } => {
            let name = match field("name") {
                "" => field("type"),
                name => name,
            };
            let input = ["arguments", "input", "action"]
                .into_iter()
                .find(|&key| payload.get(key).is_some_and(|value| !value.is_null()));
            let input = input.map_or(Cow::Borrowed(""), |key| plain(&payload[key]));
            (format!("call {call} {name}"), input)
        }
        RecordClass::ToolOutput { call, .. } => {
            let output = ["output", "tools"].into_iter().find(|&key| payload.get(key).is_some());
            (format!("output {call}"), output.map_or_else(Cow::default, |key| plain(&payload[key])))
        }
        _ => (field("type").to_owned(), Cow::Owned(payload.to_string())),
    }
}

fn content(payload: &Value) -> Cow<'_, str> {
    parts(&payload["content"])
}

/// The texts of a list of parts; a part without a text by its kind.
fn parts(list: &Value) -> Cow<'_, str> {
    let Some(list) = list.as_array() else {
        return plain(list);
    };
    let texts = list.iter().map(|part| match part["text"].as_str() {
        Some(text) => text.to_owned(),
        None => format!("[{}]", part["type"].as_str().unwrap_or("part")),
    });
    Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
}

fn plain(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed(""),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Cow::Owned(value.to_string())
        }
    }
}
