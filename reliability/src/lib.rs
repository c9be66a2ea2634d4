//! Crash tests of Coppicer's store, each with an oracle outside of the process that is killed.
//!
//! The binary of the same name runs them; each of its commands prints one line of counts, and exits
//! with 1 if a promise was broken. What is asked of a store is in [`rules`], as pure code.

pub mod child;
pub mod cli;
pub mod dice;
pub mod disk_full;
pub mod dump;
pub mod faults;
pub mod fill;
pub mod flips;
pub mod kill;
pub mod oracle;
pub mod plan;
pub mod power;
pub mod process;
pub mod rules;
pub mod session;
pub mod snapshot;
pub mod tally;
pub mod tools;
pub mod words;
pub mod zombie;
