//! How fast is a line's class found, beside a bare skip of the same bytes and a parse of them?
//!
//! Unit of work: one pass over all lines of a recorded session, in memory. Baselines in the same
//! run: `serde_json` skipping each line ([`IgnoredAny`]: nothing is kept, no text is checked), and
//! `serde_json` building each line's value, which is what the system that we replace does.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use coppicer::{classify, record_of};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::de::IgnoredAny;
use serde_json::Value;

/// Sessions of one kind each: long, with tool calls, of the paginated mode.
const SESSIONS: [&str; 3] = ["legacy/long220", "legacy/tools", "paginated/tools"];

fn lines_of(session: &str) -> Vec<Vec<u8>> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sessions").join(session);
    let files = fs::read_dir(folder).expect("the fixtures are there");
    let file = files.flatten().map(|entry| entry.path()).min().expect("a session has a file");
    let bytes = fs::read(file).expect("a fixture can be read");
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

fn classes(criterion: &mut Criterion) {
    for session in SESSIONS {
        let lines = lines_of(session);
        let bytes: usize = lines.iter().map(Vec::len).sum();
        let mut group = criterion.benchmark_group(format!("classify/{session}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("class", |bencher| {
            bencher.iter(|| lines.iter().for_each(|line| drop(black_box(classify(line)))));
        });
        group.bench_function("record", |bencher| {
            bencher.iter(|| lines.iter().for_each(|line| drop(black_box(record_of(line)))));
        });
        group.bench_function("serde_json_skip", |bencher| {
            bencher.iter(|| {
                for line in &lines {
                    let skipped: IgnoredAny = serde_json::from_slice(line).expect("sound lines");
                    black_box(skipped);
                }
            });
        });
        group.bench_function("serde_json_value", |bencher| {
            bencher.iter(|| {
                for line in &lines {
                    let value: Value = serde_json::from_slice(line).expect("sound lines");
                    black_box(value);
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, classes);
criterion_main!(benches);
