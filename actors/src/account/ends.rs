//! How an account ends, comes back, and gets more: what that changes above it, and what has to be
//! written for it.

use coppicer_messages::{Amounts, Budget, Charge, Dimension, FundError, Ledger};
use tokio::time::Instant;

use super::purse::{carve_all, carve_rest};
use super::{Account, Purse, Short, charge, to_signed};

impl Account {
    /// Its thread has ended: what is left goes back. What has to be written with that end.
    pub fn close(&self) -> Vec<Charge> {
        let mut books = self.books.lock();
        books.ending = None;
        if books.closed {
            return Vec::new();
        }
        let (ending, charges) = books.part(self.thread);
        self.give_back(books, ending, false);
        charges
    }

    /// Its thread has ended, and its end is not in the store: what was left goes back all the same,
    /// and it has nothing until it is funded. What has to be written.
    pub fn write_off(&self) -> Vec<Charge> {
        if self.is_over_when_answered() {
            return Vec::new();
        }
        let mut charges = self.close();
        if charges.iter().all(|charge| charge.to == self.thread) {
            return charges; // nothing of it was carved
        }
        let mut books = self.books.lock();
        let (mut granted, mut spent) = (Amounts::default(), Amounts::default());
        for what in Dimension::ALL {
            if books.donors[what as usize].is_some() {
                *granted.of_mut(what) = -books.ledger.budget.of(what).map_or(0, to_signed);
                // The rest is in no write yet, and counts when it is.
                *spent.of_mut(what) = books.unwritten.of(what) - books.ledger.spent.of(what);
            }
        }
        charge(&mut charges, self.thread, |charge| {
            charge.granted += granted;
            charge.spent += spent;
        });
        let mut own = Charge::to(self.thread);
        (own.granted, own.spent) = (granted, spent);
        books.ledger.apply(&own);
        charges
    }

    /// Its thread has ended in another host, which has written that, and what went back with it: as the
    /// store has it, it is so here.
    pub fn ended_elsewhere(&self, ledger: Ledger) {
        let mut books = self.books.lock();
        if books.is_over() {
            return;
        }
        (books.closed, books.end_written) = (true, true);
        let before = std::mem::replace(&mut books.ledger, ledger);
        books.hold_lease();
        let donors = books.donors.clone();
        drop(books);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            if let Some(donor) = donor {
                let part = before.budget.of(what).map_or(0, to_signed);
                donor.take_back(self.thread, what, part, ledger.spent.of(what));
            }
        }
    }

    /// Its thread comes back after it had ended: what it had left is carved again. What came back to it
    /// after its end is a part of that, as far as there is so much above it, where it stays counted as used.
    ///
    /// # Errors
    /// There is too little left above it; nothing changed.
    pub fn reopen(&self, now: Instant) -> Result<(), Short> {
        let (remains, donors) = {
            let books = self.books.lock();
            if !books.closed {
                return Ok(());
            }
            (books.remains(), books.donors.clone())
        };
        let rest = |what: Dimension, with_late: bool| remains.rest(what, with_late);
        let with_late = carve_rest(&donors, self.thread, rest, now)?;
        let part = |what: Dimension| rest(what, with_late);
        let mut charges = Vec::new();
        let mut own = Charge::to(self.thread);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            if let Some(donor) = donor {
                remains.begin_with(&mut own, what, part(what));
                charge(&mut charges, donor.thread, |charge| {
                    *charge.carved.of_mut(what) += part(what);
                });
            }
        }
        let mut books = self.books.lock();
        if !charges.is_empty() {
            charges.push(own);
        }
        books.ledger.apply(&own);
        (books.closed, books.end_written) = (false, false);
        books.hold_lease();
        books.reopening = charges;
        drop(books);
        self.funded(); // whoever draws on it may have waited
        Ok(())
    }

    /// What has to be written with the return of its thread.
    pub fn reopening(&self) -> Vec<Charge> {
        self.books.lock().reopening.clone()
    }

    /// Its thread did not come back after all, and nothing of that was written.
    pub fn close_again(&self) {
        let mut books = self.books.lock();
        let charges = std::mem::take(&mut books.reopening);
        if books.closed {
            return;
        }
        (books.closed, books.end_written) = (true, true);
        books.hold_lease();
        let donors = books.donors.clone();
        let ledger = books.ledger;
        for charge in charges.iter().filter(|charge| charge.to == self.thread) {
            books.ledger.apply(&charge.reversed());
        }
        drop(books);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            if let Some(donor) = donor {
                let part = ledger.budget.of(what).map_or(0, to_signed);
                donor.take_back(self.thread, what, part, 0);
            }
        }
    }

    /// The making of its thread was undone: its parts go back, as does the spawn. What of it was used
    /// stays used; that has to be written.
    pub fn undo(&self, above: Option<&Purse>) -> Vec<Charge> {
        let mut charges = Vec::new();
        let (ledger, donors) = {
            let mut books = self.books.lock();
            let closed = std::mem::replace(&mut books.closed, true);
            if closed {
                drop(books);
                if let Some(above) = above {
                    above.undo_spawn(self.thread);
                }
                return charges;
            }
            books.hold_lease();
            (books.ledger, books.donors.clone())
        };
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            if let Some(donor) = donor {
                let used = ledger.spent.of(what);
                let part = ledger.budget.of(what).map_or(0, to_signed);
                donor.take_back(self.thread, what, part, used);
                if used != 0 {
                    charge(&mut charges, donor.thread, |charge| {
                        *charge.spent.of_mut(what) += used;
                    });
                }
            }
        }
        if let Some(above) = above {
            above.undo_spawn(self.thread);
        }
        charges
    }

    /// It has no account above it any more: what it was given is given away for good. If its thread has
    /// ended, what went back is given away again, as far as it is still there. What has to be written.
    pub fn detach(&self) -> Vec<Charge> {
        let mut charges = Vec::new();
        let (remains, closed, donors) = {
            let mut books = self.books.lock();
            let donors = std::mem::take(&mut books.donors);
            books.hold_lease();
            (books.remains(), books.closed, donors)
        };
        let mut own = Charge::to(self.thread);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            let Some(donor) = donor else { continue };
            let part = remains.granted(what);
            if closed {
                let left = part.saturating_sub(remains.used.of(what));
                let given = donor.give_away(what, left);
                remains.begin_with(&mut own, what, given);
                charge(&mut charges, donor.thread, |charge| *charge.spent.of_mut(what) += given);
            } else {
                donor.take_back(self.thread, what, part, part);
                charge(&mut charges, donor.thread, |charge| {
                    *charge.carved.of_mut(what) -= part;
                    *charge.spent.of_mut(what) += part;
                });
            }
        }
        if own != Charge::to(self.thread) {
            self.books.lock().ledger.apply(&own);
            charges.push(own);
        }
        charges
    }

    /// Gives this much away for good, or what is left if that is less: how much.
    fn give_away(&self, what: Dimension, wanted: i64) -> i64 {
        let mut books = self.books.lock();
        // What one that is over had left went back, unless it had it of nobody.
        if books.closed && books.donors[what as usize].is_some() {
            return 0;
        }
        let Ledger { budget, spent, carved, .. } = books.ledger;
        let gone = spent.of(what).saturating_add(carved.of(what));
        let left = budget.of(what).map_or(0, to_signed).saturating_sub(gone);
        let given = wanted.min(left).max(0);
        *books.ledger.spent.of_mut(what) += given;
        given
    }

    /// Gives it more, out of the accounts above it. What has to be written.
    ///
    /// # Errors
    /// It does not limit one of these; there is too little left above it; nothing changed.
    pub fn fund(&self, more: Budget, now: Instant) -> Result<Vec<Charge>, FundError> {
        let (ledger, donors) = {
            let books = self.books.lock();
            (books.ledger, books.donors.clone())
        };
        let part = |what: Dimension| more.of(what).map_or(0, to_signed);
        for what in Dimension::ALL {
            if more.of(what).is_some() && ledger.budget.of(what).is_none() {
                let (thread, limit) = (self.thread, what.limit());
                return Err(FundError::NotLimited { thread, limit });
            }
        }
        carve_all(&donors, self.thread, part, now)
            .map_err(|short| FundError::Limit(short.refusal))?;
        let mut charges = Vec::new();
        let mut own = Charge::to(self.thread);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            *own.granted.of_mut(what) = part(what);
            if let (Some(donor), true) = (donor, part(what) != 0) {
                charge(&mut charges, donor.thread, |charge| {
                    *charge.carved.of_mut(what) += part(what);
                });
            }
        }
        self.books.lock().ledger.apply(&own);
        charges.push(own);
        Ok(charges)
    }

    /// The store did not write that it was funded.
    pub fn unfund(&self, more: Budget) {
        let donors = self.books.lock().donors.clone();
        let mut own = Charge::to(self.thread);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            let part = more.of(what).map_or(0, to_signed);
            *own.granted.of_mut(what) = -part;
            if let Some(donor) = donor {
                donor.take_back(self.thread, what, part, 0);
            }
        }
        self.books.lock().ledger.apply(&own);
    }
}
