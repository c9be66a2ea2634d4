//! Progress, on standard error: a bar on a terminal, plain lines elsewhere, nothing beside `--json`.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Most often a plain line is printed.
const LINE_GAP: Duration = Duration::from_secs(2);

/// Shows how far the work is.
#[derive(Debug)]
pub(super) struct Progress {
    how: How,
    done: usize,
    all: usize,
    crashes: usize,
}

#[derive(Debug)]
enum How {
    Bar(ProgressBar),
    Lines { last: Instant },
    Silent,
}

impl Progress {
    /// Progress towards `all` turns.
    pub(super) fn new(all: usize, silent: bool) -> Self {
        let how = if silent {
            How::Silent
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::new(all as u64);
            let style = "{elapsed} {bar:30} {pos}/{len} turns {msg}";
            bar.set_style(
                ProgressStyle::with_template(style)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            How::Bar(bar)
        } else {
            How::Lines { last: Instant::now() }
        };
        Self { how, done: 0, all, crashes: 0 }
    }

    /// Says what comes next.
    pub(super) fn phase(&self, what: &str) {
        match &self.how {
            How::Bar(bar) => bar.println(what),
            How::Lines { .. } => crate::cli::say(what),
            How::Silent => {}
        }
    }

    /// One more turn has its outcome.
    pub(super) fn turn_ended(&mut self, crashed: bool) {
        self.done += 1;
        self.crashes += usize::from(crashed);
        let (done, all, crashes) = (self.done, self.all, self.crashes);
        match &mut self.how {
            How::Bar(bar) => {
                bar.set_position(done as u64);
                if crashed {
                    bar.set_message(format!("({crashes} crashed)"));
                }
            }
            How::Lines { last } => {
                let now = Instant::now();
                if done == all || now - *last >= LINE_GAP {
                    *last = now;
                    crate::cli::say(&format!("{done}/{all} turns, {crashes} crashed"));
                }
            }
            How::Silent => {}
        }
    }

    /// Takes the bar away, so that the report stands alone.
    pub(super) fn finish(&self) {
        if let How::Bar(bar) = &self.how {
            bar.finish_and_clear();
        }
    }
}
