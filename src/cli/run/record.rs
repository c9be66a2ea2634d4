//! `--record`: every event of a run in a file.

use std::path::Path;

use coppicer::{RecordError, RecordOptions, Recorded, Recorder, Runtime, TapFrom, TapOptions};
use tokio::task::JoinHandle;

use super::report::Report;
use crate::cli::{Failure, say, text};

/// Events that wait for the recorder, at most. It writes in the background, and a run is fast.
const EVENTS_MAX: usize = 65_536;

/// The same in bytes.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// A recording under way.
pub(super) struct Recording(JoinHandle<Result<Recorded, RecordError>>);

/// Opens the file, before anything is done that it would miss.
pub(super) fn open(file: &Path) -> Result<Recorder, Failure> {
    Recorder::open(file, RecordOptions::default()).map_err(Failure::Recording)
}

/// Records everything from here to the end of the runtime.
pub(super) fn start(runtime: &Runtime, recorder: Recorder) -> Result<Recording, Failure> {
    let options = TapOptions::all().with_capacity(EVENTS_MAX).with_bytes(EVENT_BYTES_MAX);
    let tap = runtime.tap(options.with_from(TapFrom::Snapshot)).map_err(Failure::Tap)?;
    Ok(Recording(tokio::spawn(recorder.run(tap))))
}

impl Recording {
    /// Waits until all is written. The runtime has ended.
    pub(super) async fn finish(self, report: &mut Report) {
        match self.0.await {
            Ok(Ok(recorded)) if recorded.lost > 0 => {
                say(&format!("the recording misses {} events", recorded.lost));
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                report.failures.push(format!("not recorded: {}", text::with_causes(&error)));
            }
            Err(_) => report.failures.push("not recorded: the recorder was stopped".to_owned()),
        }
    }
}
