//! The `coppicer` command, run as a process.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod bad_input;
#[cfg(all(feature = "console", unix))]
mod console;
mod continued;
mod damage;
mod diff;
mod files;
mod hosted;
mod opening;
mod run;
mod store;
mod stress;
mod support;
mod tap;
#[cfg(all(feature = "console", unix))]
mod why;
