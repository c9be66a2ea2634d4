//! The contract of a store, as a suite that every store runs.
//!
//! A store that passes [`all`] can carry threads: ownership is fenced, refusals change nothing,
//! outcomes are final, forks share, and edges can be listed whatever they look like. `GS-…`, `TS-…`
//! and `LS-…` are the cases of REF 12.5, 12.6 and 12.7.

#![allow(
    clippy::unwrap_used,
    reason = "a suite of tests: it panics where a store breaks the contract"
)]

use std::sync::Arc;

use futures::future::BoxFuture;

use super::ThreadStore;

/// A store under test, fresh for each case.
pub type Store = Arc<dyn ThreadStore>;

/// One case: its name, and what it checks. It panics where the store breaks the contract.
pub type Case = (&'static str, fn(Store) -> BoxFuture<'static, ()>);

/// Runs every case, each on a fresh store from `make`.
///
/// # Panics
/// Where the store breaks the contract; the place says which case it was.
pub async fn all(make: impl Fn() -> Store) {
    for (_name, case) in cases() {
        case(make()).await;
    }
}

/// Every case, for stores that want a test of its own for each.
pub fn cases() -> impl Iterator<Item = Case> {
    let rooms = [
        ownership::CASES,
        writing::CASES,
        mail::CASES,
        edges::CASES,
        names::CASES,
        reading::CASES,
        lists::CASES,
        forks::CASES,
        keeping::CASES,
        accounts::CASES,
    ];
    rooms.into_iter().flatten().copied()
}

macro_rules! cases {
    ($($(#[$doc:meta])* async fn $name:ident($store:ident) $body:block)*) => {
        pub(super) const CASES: &[Case] = &[$((stringify!($name), |store| $name(store).boxed()),)*];

        $($(#[$doc])* async fn $name($store: Store) $body)*
    };
}

mod accounts;
mod edges;
mod forks;
mod keeping;
mod lists;
mod mail;
mod names;
mod ownership;
mod reading;
#[cfg(test)]
mod tests;
mod words;
mod writing;
