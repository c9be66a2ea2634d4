//! What does a fork cost in memory, in time and bytes, beside a `Vec` clone and the reference's way?
//!
//! Unit of work: one fork planned, made, and given its own first record (its meta line), so that
//! what a shared tail costs is in it. Baselines in the same run: a `Vec` of the same records cloned
//! (it shares each line's bytes, which is generous), and what the system that we replace does: read
//! the session's file, parse each line, and write each line to a new file.
//!
//! Bytes are counted by the allocator: what a fork keeps for as long as it lives.
//! `-- --quick` leaves out the longest history.

mod size;

use std::alloc::System;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use coppicer::{
    ForkOptions, ForkPoint, History, Line, NewRecord, Record, Seq, SessionMeta, ThreadId,
    plan_fork, write_history,
};
use sessions::{TURN_RECORDS, session, turn};
use size::Size;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[path = "../src/cli/stress/sessions.rs"]
mod sessions;

fn meta() -> NewRecord {
    let id = ThreadId::from_parts(1, [1; 10]);
    Line::session_meta(1, &SessionMeta::new(id, "/srv/demo").forked_from(id))
}

/// One fork with a first record of its own.
fn fork(source: &History, point: &ForkPoint, own: &NewRecord) -> History {
    let plan = plan_fork(source, point, &ForkOptions::at(1)).expect("the point is in the history");
    let mut fork = plan.history(source);
    fork.append(own.clone());
    fork
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

/// The median of the times of one run, and the bytes that its result keeps.
fn measure<T>(runs: usize, mut run: impl FnMut() -> T) -> (Duration, usize) {
    black_box(run());
    let region = Region::new(ALLOCATOR);
    let kept = black_box(run());
    let change = region.change();
    let bytes = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    drop(kept);
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = now();
            let result = black_box(run());
            let time = start.elapsed();
            drop(result);
            time
        })
        .collect();
    times.sort_unstable();
    (times[times.len() / 2], bytes)
}

/// As the reference forks: every line is read, parsed, and written again with a time of its own.
fn rewrite(from: &Path, to: &Path) {
    let file = BufReader::new(File::open(from).expect("the session was written"));
    let mut out = BufWriter::new(File::create(to).expect("the folder can be written"));
    for line in file.lines() {
        let line = line.expect("the session can be read");
        let mut value: serde_json::Value = serde_json::from_str(&line).expect("sound lines");
        value["timestamp"] = "2026-11-22T12:14:56.603Z".into();
        serde_json::to_writer(&mut out, &value).expect("the folder can be written");
        out.write_all(b"\n").expect("the folder can be written");
    }
    out.flush().expect("the folder can be written");
}

fn row(table: &mut String, records: u64, way: &str, (time, bytes): (Duration, usize)) {
    writeln!(table, "| {records:>9} | {way:<32} | {:>12.2} | {bytes:>11} |", micros(time))
        .expect("a text takes every row");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn by_length(lengths: &[u64]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (from, to) = (folder.path().join("source.jsonl"), folder.path().join("fork.jsonl"));
    let mut table = String::from(
        "| records   | way                              | µs per fork  | bytes kept  |\n\
         |----------:|----------------------------------|-------------:|------------:|\n",
    );
    for &records in lengths {
        let own = meta();
        let source = session(records, "What a user or an agent says in a line of this session.");
        let half = source.len() / 2 / TURN_RECORDS;
        let newest = format!("turn-{}", source.len() / TURN_RECORDS - 1);
        let mut rolled_back = source.clone();
        rolled_back.append(Line::rolled_back(1, 2));
        let mut running = source.clone();
        running.extend(turn(u64::MAX, "unfinished").into_iter().take(5));
        for (way, source, point) in [
            ("as if interrupted, idle", &source, ForkPoint::Interrupted),
            ("as if interrupted, in a tool call", &running, ForkPoint::Interrupted),
            ("last boundary of a running turn", &running, ForkPoint::LastStable),
            ("before the middle user message", &source, ForkPoint::from(half as usize)),
            ("at the middle record", &source, ForkPoint::At(Seq(half * TURN_RECORDS))),
            ("after the newest turn", &source, ForkPoint::After(newest.as_str().into())),
            ("after the oldest turn", &source, ForkPoint::After("turn-0".into())),
            ("rolled back, as if interrupted", &rolled_back, ForkPoint::Interrupted),
            ("rolled back, middle message", &rolled_back, ForkPoint::from(half as usize)),
            ("the last 2 turns, copied", &source, ForkPoint::LastTurns(2)),
        ] {
            row(&mut table, records, way, measure(301, || fork(source, &point, &own)));
        }
        let vec: Vec<Record> = source.iter().cloned().collect();
        row(&mut table, records, "Vec clone", measure(11, || vec.clone()));
        let file = File::create(&from).expect("the folder can be written");
        write_history(BufWriter::new(file), &source).expect("the folder can be written");
        let runs = if records > 100_000 { 1 } else { 3 };
        let (time, _) = measure(runs, || rewrite(&from, &to));
        let written = fs::metadata(&to).expect("the fork was written").len() as usize;
        row(&mut table, records, "parse and rewrite (bytes on disk)", (time, written));
    }
    println!("{table}");
}

/// 1,000 forks of a thread, all alive: 72,000 records are 100 MB.
fn thousand_forks(records: u64) {
    let text = "x".repeat(2_300);
    let source = session(records, &text);
    let bytes: usize = source.iter().map(|record| record.raw.len()).sum();
    let (own, turns) = (meta(), source.len() / TURN_RECORDS);
    for (way, spread) in [("as if interrupted", false), ("before each of 1,000 messages", true)] {
        let region = Region::new(ALLOCATOR);
        let start = now();
        let forks: Vec<History> = (0..1_000u64)
            .map(|nth| {
                let point = if spread {
                    ForkPoint::from((nth * turns / 1_000) as usize)
                } else {
                    ForkPoint::Interrupted
                };
                fork(&source, &point, &own)
            })
            .collect();
        let time = start.elapsed();
        let change = region.change();
        let kept = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
        println!(
            "1,000 forks of a thread of {} MB ({} records), {way}: {:.1} ms, {:.1} MB",
            bytes / 1_000_000,
            source.len(),
            micros(time) / 1e3,
            kept as f64 / 1e6
        );
        drop(forks);
    }
}

fn main() {
    let size = Size::of_args();
    if size.is_left_out("fork") {
        return;
    }
    by_length(size.pick(&[20, 200], &[1_000, 100_000], &[1_000, 100_000, 1_000_000]));
    thousand_forks(size.pick(200, 72_000, 72_000));
}
