//! `coppicer fork`: a new session file that begins as another's history up to a point.

use std::io::{self, Write};
use std::path::PathBuf;

use coppicer::{
    Clock, ForkOptions, ForkPoint, ForkRefusal, History, IdSource, NewRecord, RecordClass, Seq,
    SessionMeta, SessionSource, TurnRef, plan_fork, read_session, resolve_history, write_flattened,
};

use super::{Failure, Verdict, history, out, text};

/// Writes a fork of a session as a new session file.
///
/// The fork is a thread of its own that stands alone: a new id, `forked_from_id` in its first line,
/// the records before the point, and what closes a turn and tool calls that are open there. FILE is
/// only read. Damaged lines among the records are told on standard error and left out, and the exit
/// code is 1. Prints the id of the fork.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A session file.
    file: PathBuf,
    #[command(flatten)]
    point: Point,
    /// The file to write. It appears whole or not at all.
    #[arg(short, long, value_name = "OUT")]
    out: PathBuf,
    /// Overwrite OUT if there is such a file.
    #[arg(long)]
    force: bool,
    /// Look for the files that the history begins in here too, not only beside FILE.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Point {
    /// Before the user message with this number, from 0, of those that still count. A number past
    /// the last keeps everything but an unfinished turn.
    #[arg(long, value_name = "N")]
    before_user: Option<usize>,
    /// Everything, as if the session were interrupted now.
    #[arg(long)]
    interrupted: bool,
    /// From the N-th last turn on, as sub-agents are given it.
    #[arg(long, value_name = "N")]
    last_turns: Option<u32>,
    /// The records before this one, from 0.
    #[arg(long, value_name = "SEQ")]
    at: Option<u64>,
    /// Up to and with this turn.
    #[arg(long, value_name = "TURN")]
    after: Option<String>,
    /// Up to this turn, without it.
    #[arg(long, value_name = "TURN")]
    before: Option<String>,
    /// Everything but an unfinished turn.
    #[arg(long)]
    last_stable: bool,
    /// Everything; refused in the middle of a turn, since nobody ends the turn of a file.
    #[arg(long)]
    next_stable: bool,
}

impl Point {
    /// The parser has seen to it that exactly one is given.
    fn fork_point(&self) -> ForkPoint {
        let turn = |id: &String| TurnRef::from(id.as_str());
        let user = self.before_user.map(ForkPoint::BeforeUserMessage);
        user.or(self.last_turns.map(ForkPoint::LastTurns))
            .or(self.at.map(|seq| ForkPoint::At(Seq(seq))))
            .or(self.after.as_ref().map(|id| ForkPoint::After(turn(id))))
            .or(self.before.as_ref().map(|id| ForkPoint::Before(turn(id))))
            .or(self.last_stable.then_some(ForkPoint::LastStable))
            .or(self.next_stable.then_some(ForkPoint::NextStable))
            .unwrap_or(ForkPoint::Interrupted)
    }
}

/// Why there is no fork. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {refusal}", path.display())]
pub(super) struct Refused {
    path: PathBuf,
    refusal: ForkRefusal,
}

pub(super) fn run(args: &Args) -> Result<Verdict, Failure> {
    let file = read_session(&args.file)?;
    let source = resolve_history(&file, args.sessions.as_deref())?;
    let (clock, ids) = (Clock::system(), IdSource::random());
    let now_ms = clock.now().at_ms;
    let plan = plan_fork(&source, &args.point.fork_point(), &ForkOptions::at(now_ms))
        .map_err(|refusal| Refused { path: args.file.clone(), refusal })?;
    let fork = plan.history(&source);
    let sound: History = fork
        .iter()
        .filter(|record| record.class != RecordClass::Opaque)
        .cloned()
        .map(NewRecord::from)
        .collect();
    let meta = meta_of(&file.meta, ids.thread(now_ms), now_ms);
    out::write_file(&args.out, args.force, |out| write_flattened(out, &meta, &sound))?;
    history::tell_damage(&file);
    print(args, &meta, &sound)?;
    Ok(Verdict::of(file.damage.is_empty() && sound.len() == fork.len()))
}

/// A thread of its own: it keeps what its model was told and where it works, not its place in a tree.
fn meta_of(source: &SessionMeta, id: coppicer::ThreadId, now_ms: u64) -> SessionMeta {
    let mut meta = SessionMeta::new(id, source.cwd.clone()).forked_from(source.id);
    meta.created_ms = Some(now_ms);
    meta.source = SessionSource::Cli;
    meta.model_provider.clone_from(&source.model_provider);
    meta.base_instructions.clone_from(&source.base_instructions);
    meta.history_mode = source.history_mode;
    meta
}

fn print(args: &Args, meta: &SessionMeta, fork: &History) -> io::Result<()> {
    let records = fork.iter().filter(|record| record.class != RecordClass::Meta).count();
    let path = args.out.display().to_string();
    let (path, records) = (text::printable(&path), text::count(records, "record"));
    writeln!(io::stdout().lock(), "{}\t{path}\t{records}", meta.id)
}
