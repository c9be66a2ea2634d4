//! `coppicer tap`: the events of a runtime, as lines.

#[cfg(feature = "console")]
pub(super) mod live;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use coppicer::{
    AilingStore, Concern, Event, EventKind, RecordError, Recording, TapItem, ThreadId, TreeRow,
    TreeSnapshot, recording_files,
};
use serde::Serialize;

use super::{Failure, Verdict, say, text};

/// Characters of a thread's id that a line shows: enough to tell threads of one moment apart.
const ID_WIDTH: usize = 18;

/// Shows the events of a runtime, one line each.
///
/// From the address of a console they come as they happen, until it ends; a lost connection is made again.
/// With --replay they come from a recording (`coppicer run --record FILE`): the files FILE.2, FILE.1 and
/// FILE of one that was rotated, one after the other. What is between two events that were lost is shown
/// as a gap. A recording that ends in the middle of an event, as that of a killed process does, is shown
/// up to there; a damaged one is shown as far as it can be read, and the exit code is 1.
///
/// What agents say is foreign: what would steer a terminal, or turn the direction of text, is escaped.
#[derive(Debug, clap::Args)]
#[cfg_attr(
    feature = "console",
    command(group = clap::ArgGroup::new("source").required(true).args(["url", "replay"]))
)]
pub(super) struct Args {
    #[cfg(feature = "console")]
    #[command(flatten)]
    live: live::LiveArgs,
    /// Replay this recording.
    #[cfg_attr(not(feature = "console"), arg(required = true))]
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Only events of this kind; can be given more than once.
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Vec<EventKind>,
    /// Only events of this thread: its id, or 4 or more characters of its beginning.
    #[arg(long, value_name = "THREAD", value_parser = prefix, conflicts_with = "subtree")]
    thread: Option<String>,
    /// Only events of this thread and of all below it.
    #[arg(long, value_name = "THREAD", value_parser = prefix)]
    subtree: Option<String>,
    /// Only events of threads' lives: no records, usage and pieces of text.
    #[arg(long)]
    lifecycle: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

fn kind(text: &str) -> Result<EventKind, String> {
    let names = EventKind::ALL.map(EventKind::name);
    EventKind::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

fn prefix(text: &str) -> Result<String, String> {
    let sound = text.len() >= 4 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if sound {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("expected an id, or 4 or more characters of its beginning".to_owned())
    }
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    #[cfg(feature = "console")]
    if let Some(url) = args.live.url() {
        return live::run(args, url);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut well = true;
    let mut picked = Picked::new(args);
    for file in args.replay.iter().flat_map(|file| recording_files(file)) {
        let mut recording = match Recording::open(file.clone()) {
            Ok(recording) => recording,
            Err(error) => {
                out.flush()?;
                return Err(Failure::Recording(error));
            }
        };
        for item in recording.by_ref() {
            match item {
                Ok(item) => picked.show(&item, &mut out)?,
                Err(error @ (RecordError::Damaged { .. } | RecordError::Unknown { .. })) => {
                    well = false;
                    out.flush()?;
                    say(&format!("error: {}", text::with_causes(&error)));
                }
                Err(error) => {
                    out.flush()?;
                    return Err(Failure::Recording(error));
                }
            }
        }
        if let Some(offset) = recording.torn() {
            out.flush()?;
            say(&format!("{}: ends in the middle of an event at byte {offset}", file.display()));
        }
    }
    out.flush()?;
    Ok(Verdict::of(well))
}

/// What the user asked for.
struct Picked<'a> {
    args: &'a Args,
    kinds: u32,
    /// Whether it was picked before.
    all: bool,
    /// Parents of the threads that were told of, for subtrees.
    parents: HashMap<ThreadId, Option<ThreadId>>,
}

/// One line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Row<'a> {
    Event(&'a Event),
    Snapshot {
        seq: u64,
        rows: Vec<&'a TreeRow>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ailing: Option<&'a AilingStore>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        concerns: Vec<&'a Concern>,
    },
    Lagged {
        from: u64,
        to: u64,
        count: u64,
    },
}

impl<'a> Picked<'a> {
    fn new(args: &'a Args) -> Self {
        let kinds = args.kind.iter().fold(0, |kinds, kind| kinds | kind.bit());
        Self {
            args,
            kinds: if kinds == 0 { u32::MAX } else { kinds },
            all: false,
            parents: HashMap::new(),
        }
    }

    /// Shows all that it is given: who gives it has picked.
    #[cfg(feature = "console")]
    fn everything(args: &'a Args) -> Self {
        Self { all: true, ..Self::new(args) }
    }

    fn show(&mut self, item: &TapItem, out: &mut impl Write) -> io::Result<()> {
        match item {
            TapItem::Event(event) => {
                self.learn(event.thread, event.parent);
                let passes = self.all
                    || self.kinds & event.fact.kind().bit() != 0
                        && (!self.args.lifecycle || event.fact.is_lifecycle())
                        && self.covers(event.thread);
                if passes { self.event(event, out) } else { Ok(()) }
            }
            TapItem::Snapshot(snapshot) => {
                for row in &snapshot.rows {
                    self.learn(Some(row.thread), row.parent);
                }
                self.snapshot(snapshot, out)
            }
            &TapItem::Lagged { from, to, count } => {
                if self.args.json {
                    return json(&Row::Lagged { from, to, count }, out);
                }
                writeln!(out, "-- {count} lost, from {from} to {to}")
            }
            _ => Ok(()),
        }
    }

    fn learn(&mut self, thread: Option<ThreadId>, parent: Option<ThreadId>) {
        if let (Some(thread), true) = (thread, self.args.subtree.is_some()) {
            let known = self.parents.entry(thread).or_default();
            *known = known.or(parent);
        }
    }

    fn covers(&self, thread: Option<ThreadId>) -> bool {
        let is = |thread: ThreadId, prefix: &str| thread.to_string().starts_with(prefix);
        match (&self.args.thread, &self.args.subtree, thread) {
            _ if self.all => true,
            (None, None, _) => true,
            (_, _, None) => false,
            (Some(wanted), _, Some(thread)) => is(thread, wanted),
            (None, Some(root), Some(thread)) => {
                let above = |&at: &ThreadId| self.parents.get(&at).copied().flatten();
                // No deeper than there are threads, whatever the file says.
                std::iter::successors(Some(thread), above)
                    .take(self.parents.len() + 1)
                    .any(|at| is(at, root))
            }
        }
    }

    fn event(&self, event: &Event, out: &mut impl Write) -> io::Result<()> {
        if self.args.json {
            return json(&Row::Event(event), out);
        }
        let thread = event.thread.map_or_else(String::new, short);
        let path = event.path.as_ref().map_or("", |path| path.as_str());
        let turn = event.turn.as_ref().map(|turn| format!(" turn={turn}")).unwrap_or_default();
        let line = format!(
            "{:>6} {} {thread:<ID_WIDTH$} {}{turn}{} {path}",
            event.seq,
            clock(event.at_ms),
            event.fact.name(),
            fields(event)
        );
        writeln!(out, "{}", text::escaped(line.trim_end()))
    }

    fn snapshot(&self, snapshot: &TreeSnapshot, out: &mut impl Write) -> io::Result<()> {
        let rows = snapshot.rows.iter().map(|row| &**row);
        let rows: Vec<&TreeRow> = rows.filter(|row| self.covers(Some(row.thread))).collect();
        let concerns = snapshot.concerns.iter();
        let concerns: Vec<&Concern> =
            concerns.filter(|concern| self.covers(concern.event.thread)).collect();
        if self.args.json {
            let ailing = snapshot.ailing.as_deref();
            return json(&Row::Snapshot { seq: snapshot.seq, rows, ailing, concerns }, out);
        }
        writeln!(out, "-- at {}: {}", snapshot.seq, text::count(rows.len(), "thread"))?;
        if let Some(AilingStore { trouble, reason, .. }) = snapshot.ailing.as_deref() {
            let line = format!("   the store cannot write ({trouble}): {reason}");
            writeln!(out, "{}", text::escaped(&line))?;
        }
        for row in rows {
            let path = row.path.as_ref().map_or("", |path| path.as_str());
            let parent = row.parent.map(|parent| format!(" below {}", short(parent)));
            let (thread, status) = (short(row.thread), row.status.name());
            let line = format!("   {thread} {status}{} {path}", parent.unwrap_or_default());
            writeln!(out, "{}", text::escaped(line.trim_end()))?;
        }
        for concern in concerns {
            let Concern { since_ms, event, .. } = concern;
            let thread = event.thread.map_or_else(|| "the runtime".to_owned(), short);
            let (name, since) = (event.fact.name(), clock(*since_ms));
            let path = event.path.as_ref().map_or("", |path| path.as_str());
            let line = format!("   since {since} {thread} {name}{} {path}", fields(event));
            writeln!(out, "{}", text::escaped(line.trim_end()))?;
        }
        Ok(())
    }
}

fn short(thread: ThreadId) -> String {
    thread.to_string().chars().take(ID_WIDTH).collect()
}

/// The time of the day, in UTC.
fn clock(at_ms: u64) -> String {
    let (s, ms) = (at_ms / 1_000, at_ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3_600 % 24, s / 60 % 60, s % 60)
}

/// What a fact says, as ` name=value`.
fn fields(event: &Event) -> String {
    let Ok(serde_json::Value::Object(fact)) = serde_json::to_value(&event.fact) else {
        return String::new();
    };
    let fields = fact.into_iter().filter_map(|(_, inner)| match inner {
        serde_json::Value::Object(fields) => Some(fields),
        _ => None,
    });
    let fields = fields.flatten().filter(|(name, _)| name != "event");
    fields.fold(String::new(), |mut line, (name, value)| {
        // Writing to a string does not fail.
        let _ = write!(line, " {name}={value}");
        line
    })
}

fn json(row: &Row<'_>, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", text::escaped(&serde_json::to_string(row)?))
}
