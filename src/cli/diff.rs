//! `coppicer diff`: where two sessions part.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use coppicer::{
    History, Parting, Record, RecordClass, Seq, SessionFile, SessionSet, read_session, text_of,
    user_turns,
};
use serde::Serialize;

use super::{Failure, Verdict, history, text};

/// Characters of a record's text that are shown.
const TEXT_CHARS_MAX: usize = 100;

/// Shows where two sessions part: what they have in common, and what each goes on with.
///
/// What two sessions share (a fork that begins in the other's file, two segments of one session) is
/// not compared; behind that, records are the same if their content is. Session metas, times and
/// the numbers of lines do not count, so a fork that is a copy is recognised too. Damaged lines are
/// told on standard error, and the exit code is 1; sessions that differ are none the worse for it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A session file.
    left: PathBuf,
    /// Another.
    right: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// How many messages, calls and turns of each side are shown behind the place where they part.
    #[arg(long, value_name = "N", default_value_t = 6)]
    lines: usize,
    /// Look for the files that the histories begin in here too, not only beside the two.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
}

/// One of the two sessions.
struct Side {
    named: PathBuf,
    file: Arc<SessionFile>,
    history: History,
}

#[derive(Serialize)]
struct Report<'a> {
    relation: &'static str,
    shared_records: u64,
    common_records: u64,
    common_user_turns: usize,
    left: ReportSide<'a>,
    right: ReportSide<'a>,
}

#[derive(Serialize)]
struct ReportSide<'a> {
    file: &'a Path,
    thread: String,
    records: u64,
    /// The first record that the other does not have.
    parts_at: u64,
    further_records: u64,
    further_user_turns: usize,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let mut set = SessionSet::new();
    let files = [read(&args.left)?, read(&args.right)?];
    for file in &files {
        set.add_file(file.clone());
        if file.meta.history_base.is_some() {
            set.add_around(&file.path);
            if let Some(folder) = &args.sessions {
                set.add_folder(folder);
            }
        }
    }
    let mut side = |named: &PathBuf, file: &Arc<SessionFile>| {
        let history = set.history_of(file)?;
        Ok::<_, Failure>(Side { named: named.clone(), file: file.clone(), history })
    };
    let left = side(&args.left, &files[0])?;
    let right = side(&args.right, &files[1])?;
    for file in &files {
        history::tell_damage(file);
    }
    let parting = Parting::of(&left.history, &right.history);
    let report = Report {
        relation: relation(&left, &right, &parting),
        shared_records: parting.shared,
        common_records: parting.common,
        common_user_turns: user_turns(&left.history.prefix(parting.left.0)),
        left: left.report(parting.left),
        right: right.report(parting.right),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_report(
            &mut out,
            &report,
            args.lines,
            [(&left, &parting.left), (&right, &parting.right)],
        )?;
    }
    out.flush()?;
    Ok(Verdict::of(files.iter().all(|file| file.damage.is_empty())))
}

/// The file under its full path, so that a base is known to be the file that was named.
fn read(path: &Path) -> Result<Arc<SessionFile>, Failure> {
    let mut file = read_session(path)?;
    if let Ok(full) = path.canonicalize() {
        file.path = full;
    }
    Ok(Arc::new(file))
}

/// What the metas and the histories say of the two.
fn relation(left: &Side, right: &Side, parting: &Parting) -> &'static str {
    let forked = |fork: &Side, from: &Side| fork.file.meta.forked_from == Some(from.file.meta.id);
    if left.file.meta.id == right.file.meta.id {
        "the same thread"
    } else if forked(right, left) {
        "the second is a fork of the first"
    } else if forked(left, right) {
        "the first is a fork of the second"
    } else if left.file.meta.forked_from.is_some()
        && left.file.meta.forked_from == right.file.meta.forked_from
    {
        "two forks of one thread"
    } else if parting.common > 0 {
        "two threads that begin alike"
    } else {
        "two threads"
    }
}

impl Side {
    fn report(&self, parts_at: Seq) -> ReportSide<'_> {
        let records = self.history.len();
        let before = user_turns(&self.history.prefix(parts_at.0));
        ReportSide {
            file: &self.named,
            thread: self.file.meta.id.to_string(),
            records,
            parts_at: parts_at.0,
            further_records: records - parts_at.0,
            further_user_turns: user_turns(&self.history).saturating_sub(before),
        }
    }
}

fn write_report(
    out: &mut impl Write,
    report: &Report<'_>,
    lines: usize,
    sides: [(&Side, &Seq); 2],
) -> io::Result<()> {
    writeln!(out, "{}", report.relation)?;
    writeln!(
        out,
        "in common: {}, {}; {} of them shared",
        text::count(report.common_records as usize, "record"),
        text::count(report.common_user_turns, "turn"),
        report.shared_records,
    )?;
    for (name, side, (of, &from)) in
        [("first", &report.left, sides[0]), ("second", &report.right, sides[1])]
    {
        let file = side.file.display().to_string();
        writeln!(
            out,
            "{name}: {} (thread {}) goes on from record {} with {}, {}",
            text::printable(&file),
            side.thread,
            side.parts_at,
            text::count(side.further_records as usize, "record"),
            text::count(side.further_user_turns, "turn"),
        )?;
        let told = of.history.iter_from(from).filter(|record| is_told(&record.class));
        for record in told.take(lines) {
            writeln!(out, "  [{}] {}", record.seq, one_line(record))?;
        }
    }
    Ok(())
}

/// Whether a record says what happened, and is not a twin, a setting or a count.
fn is_told(class: &RecordClass) -> bool {
    class.is_item()
        || matches!(
            class,
            RecordClass::TurnStarted { .. }
                | RecordClass::TurnCompleted { .. }
                | RecordClass::TurnAborted { .. }
                | RecordClass::RolledBack { .. }
                | RecordClass::Compaction { .. }
                | RecordClass::Opaque
        )
}

fn one_line(record: &Record) -> String {
    let what = match &record.class {
        RecordClass::TurnStarted { turn } => id("turn started", turn.as_deref()),
        RecordClass::TurnCompleted { turn, .. } => id("turn completed", turn.as_deref()),
        RecordClass::TurnAborted { turn, .. } => id("turn aborted", turn.as_deref()),
        RecordClass::RolledBack { turns } => format!("rolled back {turns}"),
        RecordClass::ToolCall { call, .. } => format!("call {call}"),
        RecordClass::ToolOutput { call, .. } => format!("output {call}"),
        class => class.name().replace('_', " "),
    };
    let said = text_of(record).map(|said| {
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        match said.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => format!(": {}…", &said[..end]),
            None => format!(": {said}"),
        }
    });
    text::printable(&format!("{what}{}", said.unwrap_or_default())).into_owned()
}

fn id(what: &str, id: Option<&str>) -> String {
    id.map_or_else(|| what.to_owned(), |id| format!("{what} {id}"))
}
