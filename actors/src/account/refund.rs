//! What goes back with the durable end of a thread: in memory when the store has written that end, and
//! not before. Until then nobody can have what may not have come back.

use std::sync::Arc;

use coppicer_messages::{Amounts, Charge, Dimension, Seq, StoreError, ThreadId};
use parking_lot::MutexGuard;

use super::{Account, Books, charge, to_signed};
use crate::store::{Done, ThreadStore};

/// An end that is being written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// What it has, what it has used, and what it gave away and does not get back.
    granted: Amounts,
    used: Amounts,
    lost: Amounts,
    /// Whether its thread is over whatever the store says.
    over: bool,
}

/// The end of a thread on its way to the store. Dropped, it was not written.
pub(crate) struct Refund {
    account: Option<Arc<Account>>,
    store: Arc<dyn ThreadStore>,
}

impl Books {
    /// Its thread ends: what goes back with that, and what has to be written for it.
    pub(super) fn part(&mut self, thread: ThreadId) -> (Ending, Vec<Charge>) {
        self.reopening.clear();
        // What was not given back is given away.
        let lost = self.ledger.carved;
        let (mut granted, mut used) = (Amounts::default(), self.ledger.spent);
        used += lost;
        let mut charges = Vec::new();
        if !lost.is_zero() {
            charge(&mut charges, thread, |charge| {
                charge.spent += lost;
                charge.carved += -lost;
            });
        }
        for (what, donor) in Dimension::ALL.into_iter().zip(&self.donors) {
            *granted.of_mut(what) = self.ledger.budget.of(what).map_or(0, to_signed);
            if let Some(donor) = donor {
                charge(&mut charges, donor.thread, |charge| {
                    *charge.carved.of_mut(what) -= granted.of(what);
                    *charge.spent.of_mut(what) += used.of(what);
                });
            }
        }
        (Ending { granted, used, lost, over: false }, charges)
    }
}

impl Account {
    /// Its thread ends: what is left goes back with the write of that. What is to be written; nothing
    /// if it is over already, or another write says so.
    pub(crate) fn begin_end(
        self: &Arc<Self>,
        store: Arc<dyn ThreadStore>,
    ) -> Option<(Vec<Charge>, Refund)> {
        let mut books = self.books.lock();
        if books.is_over() {
            return None;
        }
        let (ending, charges) = books.part(self.thread);
        books.ending = Some(ending);
        drop(books);
        Some((charges, Refund { account: Some(self.clone()), store }))
    }

    /// It is over, and what is left goes back. `written`: whether the store has written the end.
    pub(super) fn give_back(
        &self,
        mut books: MutexGuard<'_, Books>,
        ending: Ending,
        written: bool,
    ) {
        let Ending { granted, used, lost, .. } = ending;
        (books.closed, books.end_written) = (true, written);
        books.hold_lease();
        books.ledger.spent += lost;
        books.ledger.carved += -lost;
        let donors = books.donors.clone();
        drop(books);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            if let Some(donor) = donor {
                donor.take_back(self.thread, what, granted.of(what), used.of(what));
            }
        }
    }

    /// Whether the end of its thread is being written. If so, it is over whatever comes of that.
    pub(super) fn is_over_when_answered(&self) -> bool {
        let mut books = self.books.lock();
        books.ending.as_mut().map(|ending| ending.over = true).is_some()
    }

    /// Its thread is there again, and the store does not say that it has ended: its end is on its way
    /// there, or did not get there.
    pub fn is_there_again(&self) {
        let mut books = self.books.lock();
        if let Some(ending) = books.ending.as_mut() {
            ending.over = false;
        } else if books.closed && !books.end_written {
            books.closed = false;
            books.hold_lease();
            drop(books);
            self.funded(); // whoever draws on it may have waited
        }
    }

    fn ended(&self) {
        let mut books = self.books.lock();
        if let Some(ending) = books.ending.take() {
            self.give_back(books, ending, true);
        }
    }
}

impl Refund {
    /// The store has written the end, or not.
    pub(crate) fn answered(mut self, result: &Result<Seq, StoreError>) {
        let Some(account) = self.account.take() else { return };
        match result {
            Ok(_) => account.ended(),
            Err(StoreError::UnknownOutcome { .. }) => account.may_have_ended(),
            Err(_) => self.refused(&account),
        }
    }

    fn refused(&self, account: &Arc<Account>) {
        let ending = account.books.lock().ending.take();
        match ending {
            Some(ending) if ending.over => {
                write(&*self.store, account.thread, account.write_off());
            }
            // Nobody had anything of it meanwhile, and what waits may go on.
            Some(_) => account.funded(),
            None => {}
        }
    }
}

impl Account {
    /// Rather too little is left of a budget than too much.
    fn may_have_ended(&self) {
        let mut books = self.books.lock();
        if books.ending.take().is_some() {
            books.closed = true;
            books.hold_lease();
        }
    }
}

fn write(store: &dyn ThreadStore, thread: ThreadId, charges: Vec<Charge>) {
    if !charges.is_empty() {
        store.charge(charges, Done::new(move |result| {
            if let Err(error) = result {
                tracing::error!(%error, %thread, "the store could not write what went back of a budget");
            }
        }));
    }
}

impl Drop for Refund {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            self.refused(&account);
        }
    }
}
