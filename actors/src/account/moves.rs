//! What becomes of an account when its thread is put below another one, or made a root.
//!
//! It keeps what it has: what it was given is given away for good where it was. Where it goes, what it
//! has left is carved from the accounts above it, as at a spawn, so that budgets still add up; there
//! it counts from then on, as after a resume. What was carved from an account that is above it before
//! and after stays as it is.

use std::sync::Arc;

use coppicer_messages::{Amounts, Charge, Dimension};
use tokio::time::Instant;

use super::purse::carve_rest;
use super::{Account, Donors, Purse, Short, charge, to_signed};

/// An account on its way below others: what they set aside for it. Finished or cancelled.
#[must_use = "what was set aside is given back by a cancel"]
pub struct AccountMove {
    donors: Donors,
    /// For each dimension, whether its part comes from another account than before.
    changed: [bool; Dimension::ALL.len()],
    parts: Amounts,
    own: Charge,
    charges: Vec<Charge>,
}

impl AccountMove {
    /// What has to be written with the move.
    pub fn charges(&self) -> Vec<Charge> {
        self.charges.clone()
    }

    /// What has to be written if a move that was written did not come to be.
    pub fn reversed(&self) -> Vec<Charge> {
        self.charges.iter().map(|charge| charge.reversed()).collect()
    }
}

impl Purse {
    /// What a thread without a limit of its own would draw on another account once it is below `above`
    /// than it does with this purse: what it draws on others can neither go back nor come along.
    /// `purse`: what it has now, none if nothing limits it.
    pub fn draws_otherwise(purse: Option<&Self>, above: Option<&Self>) -> Option<Dimension> {
        let own = purse.and_then(Self::own).map(|own| own.ledger().budget).unwrap_or_default();
        Dimension::ALL.into_iter().filter(|&what| own.of(what).is_none()).find(|&what| {
            let [now, then] = [purse, above].map(|purse| purse?.draws_on(what));
            !same(now, then)
        })
    }
}

/// Whether both are the same account, or none.
fn same(one: Option<&Arc<Account>>, other: Option<&Arc<Account>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl Account {
    /// Has those above its new place set aside what it has left.
    ///
    /// # Errors
    /// There is too little left above it; nothing changed.
    pub fn begin_move(&self, above: Option<&Purse>, now: Instant) -> Result<AccountMove, Short> {
        let (remains, before) = {
            let books = self.books.lock();
            (books.remains(), books.donors.clone())
        };
        let donor =
            |what: Dimension| remains.budget.of(what).and_then(|_| above?.draws_on(what).cloned());
        let donors: Donors = Dimension::ALL.map(donor);
        let changed = Dimension::ALL
            .map(|what| !same(before[what as usize].as_ref(), donors[what as usize].as_ref()));
        let rest = |what: Dimension, with_late: bool| {
            if changed[what as usize] { remains.rest(what, with_late) } else { 0 }
        };
        let with_late = carve_rest(&donors, self.thread, rest, now)?;
        let part = |what: Dimension| rest(what, with_late);
        let (mut parts, mut own) = (Amounts::default(), Charge::to(self.thread));
        let mut charges = Vec::new();
        for (at, what) in Dimension::ALL.into_iter().enumerate().filter(|(at, _)| changed[*at]) {
            let budget = remains.granted(what);
            if let Some(donor) = &before[at] {
                charge(&mut charges, donor.thread, |charge| {
                    *charge.carved.of_mut(what) -= budget;
                    *charge.spent.of_mut(what) += budget;
                });
            }
            if let Some(donor) = &donors[at] {
                *parts.of_mut(what) = part(what);
                remains.begin_with(&mut own, what, part(what));
                charge(&mut charges, donor.thread, |charge| {
                    *charge.carved.of_mut(what) += part(what);
                });
            }
        }
        if own != Charge::to(self.thread) {
            charges.push(own);
        }
        Ok(AccountMove { donors, changed, parts, own, charges })
    }

    /// The move was written.
    pub fn finish_move(&self, moved: AccountMove) {
        let AccountMove { donors, changed, own, .. } = moved;
        let (before, budget) = {
            let mut books = self.books.lock();
            let budget = books.ledger.budget;
            books.ledger.apply(&own);
            let before = std::mem::replace(&mut books.donors, donors);
            books.hold_lease();
            (before, budget)
        };
        for (what, donor) in Dimension::ALL.into_iter().zip(&before) {
            if let (Some(donor), true) = (donor, changed[what as usize]) {
                let part = budget.of(what).map_or(0, to_signed);
                donor.take_back(self.thread, what, part, part);
            }
        }
    }

    /// The move did not come to be.
    pub fn cancel_move(&self, moved: &AccountMove) {
        for (what, donor) in Dimension::ALL.into_iter().zip(&moved.donors) {
            if let (Some(donor), true) = (donor, moved.changed[what as usize]) {
                donor.take_back(self.thread, what, moved.parts.of(what), 0);
            }
        }
    }
}

impl std::fmt::Debug for AccountMove {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountMove").field("charges", &self.charges).finish_non_exhaustive()
    }
}
