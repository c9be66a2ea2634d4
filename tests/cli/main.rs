//! The `coppicer` command, run as a process.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod bad_input;
mod diff;
mod files;
mod run;
mod support;
