//! Accounts: what a thread with a budget has, has used, and has given to those below it.
//!
//! A thread draws each dimension on the nearest account that limits it: its own, or one above.
//! For each account and dimension, what it used and what those below it hold is at most its budget,
//! as far as the runtime admits work: usage is reported after it happened, and may exceed it once.
//!
//! Every change in memory has its [`Charge`]s for the store, which are written with what caused it.
//! A part that is given to a thread is carved from the account above until the thread ends; then what
//! is left goes back, and what was used counts there. What was not given back by threads below an
//! account that ends counts as used.

mod ends;
mod moves;
mod purse;
mod refund;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use coppicer_messages::{
    Amounts, Budget, Charge, Dimension, Lease, LeaseBook, LeaseKind, Ledger, LimitReached,
    ThreadId, ThreadMsg, TurnId,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::slot::Slot;
pub use moves::AccountMove;
pub(crate) use purse::Spending;
pub use purse::{Purse, Short};
use refund::Ending;
pub(crate) use refund::Refund;

/// How many holders a refusal names.
const HOLDERS_MAX: usize = 16;

/// The account of one thread. Its lock guards sums and is held for one of them.
pub struct Account {
    thread: ThreadId,
    books: Mutex<Books>,
}

struct Books {
    ledger: Ledger,
    /// What of that turns have used that is in no write yet.
    unwritten: Amounts,
    /// What of that the store did not take when it was to be written. It goes into the next write.
    owed: Amounts,
    /// For each dimension that it limits: the account that its part is carved from.
    donors: Donors,
    /// Whether its thread has ended, and its parts went back.
    closed: bool,
    /// Whether the store has written that.
    end_written: bool,
    /// The end of its thread is being written, and what goes back with it.
    ending: Option<Ending>,
    /// What was written for its thread's return.
    reopening: Vec<Charge>,
    /// That it holds parts of others, while its thread has a slot, which the audit shows to own it.
    lease: Option<Lease>,
    leases: Arc<LeaseBook>,
    /// Slots of its thread.
    slots: usize,
    /// Who holds parts of it, oldest first, as far as they were seen since it is in memory.
    holders: BTreeMap<ThreadId, Amounts>,
    /// Turns that draw on it.
    runs: BTreeMap<ThreadId, Run>,
    /// For turns that draw their time on it: the sum of when they began, in milliseconds after `base`.
    began_ms: i64,
    clocked: i64,
    base: Instant,
    /// Threads with work that waits until there is more.
    waiting: BTreeMap<ThreadId, Weak<Slot>>,
}

struct Run {
    slot: Weak<Slot>,
    turn: TurnId,
}

type Donors = [Option<Arc<Account>>; Dimension::ALL.len()];

impl Books {
    /// Whether its thread has ended, or its end is on its way to the store: nobody gets more of it.
    const fn is_over(&self) -> bool {
        self.closed || self.ending.is_some()
    }

    fn left(&self, what: Dimension, now: Instant) -> i64 {
        if self.is_over() {
            return 0;
        }
        let granted = self.ledger.budget.of(what).map_or(i64::MAX, to_signed);
        let gone = self.ledger.spent.of(what).saturating_add(self.ledger.carved.of(what));
        let running = if what == Dimension::WallMs { self.running_ms(now) } else { 0 };
        granted.saturating_sub(gone).saturating_sub(running)
    }

    /// What turns that run have run so far.
    fn running_ms(&self, now: Instant) -> i64 {
        self.clocked.saturating_mul(self.ms(now)).saturating_sub(self.began_ms)
    }

    fn ms(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.base).as_millis() as i64
    }

    /// What it was granted and has used, for whoever it is carved from again.
    fn remains(&self) -> Remains {
        let mut remains = Remains {
            budget: self.ledger.budget,
            used: Amounts::default(),
            late: Amounts::default(),
        };
        for what in Dimension::ALL {
            let late = -self.ledger.carved.of(what).min(0);
            let written = self.ledger.spent.of(what).saturating_sub(self.unwritten.of(what));
            *remains.late.of_mut(what) = late;
            *remains.used.of_mut(what) = written.saturating_sub(late);
        }
        remains
    }

    fn holders_of(&self, what: Dimension) -> Vec<ThreadId> {
        let holds = self.holders.iter().filter(|(_, amounts)| amounts.of(what) > 0);
        holds.map(|(holder, _)| *holder).take(HOLDERS_MAX).collect()
    }

    fn refusal(&self, what: Dimension, value: i64) -> LimitReached {
        let advice = if self.closed {
            "resume the thread that it is carved from"
        } else {
            "fund the thread, or close a sub-agent that holds a part"
        };
        LimitReached {
            limit: what.limit(),
            value: u64::try_from(value).unwrap_or(0),
            holders: self.holders_of(what),
            retry_after: None,
            advice,
        }
    }

    /// Has a lease while it holds parts of others and its thread has a slot.
    fn hold_lease(&mut self) {
        let holds = self.slots > 0 && !self.closed && self.donors.iter().any(Option::is_some);
        if !holds {
            self.lease = None;
        } else if self.lease.is_none() {
            self.lease = Some(self.leases.grant(LeaseKind::Budget));
        }
    }

    fn hold(&mut self, child: ThreadId, what: Dimension, more: i64) {
        let held = self.holders.entry(child).or_default();
        *held.of_mut(what) = held.of(what).saturating_add(more);
        if held.is_zero() {
            self.holders.remove(&child);
        }
    }
}

/// What an account that is carved again was granted, and has used of it as whoever it is carved from has to
/// see it. What is in no write yet counts when it is written.
#[derive(Clone, Copy)]
struct Remains {
    budget: Budget,
    used: Amounts,
    /// What came back of parts that had counted as used when its thread ended: less than nothing is given
    /// away by it, and what was not used of them is used less.
    late: Amounts,
}

impl Remains {
    fn granted(&self, what: Dimension) -> i64 {
        self.budget.of(what).map_or(0, to_signed)
    }

    /// What it has left, with what came back late or without.
    fn rest(&self, what: Dimension, with_late: bool) -> i64 {
        let late = if with_late { 0 } else { self.late.of(what) };
        let used = self.used.of(what) + late;
        self.granted(what).saturating_sub(used).max(0)
    }

    /// Has its ledger begin with a part of this size, of which nothing is used or given away.
    fn begin_with(&self, own: &mut Charge, what: Dimension, part: i64) {
        let late = self.late.of(what);
        *own.granted.of_mut(what) = part - self.granted(what);
        *own.spent.of_mut(what) = -(self.used.of(what) + late);
        *own.carved.of_mut(what) = late;
    }
}

impl Account {
    /// The account of a thread that is to draw on `above`, as the store has it. `closed`: its thread
    /// has ended, and what it had went back.
    pub fn open(
        thread: ThreadId,
        ledger: Ledger,
        closed: bool,
        above: Option<&Purse>,
        leases: &Arc<LeaseBook>,
        now: Instant,
    ) -> Arc<Self> {
        let donor =
            |what: Dimension| ledger.budget.of(what).and_then(|_| above?.draws_on(what).cloned());
        let donors: Donors = Dimension::ALL.map(donor);
        for (what, donor) in Dimension::ALL.into_iter().zip(&donors) {
            if let (Some(donor), false) = (donor, closed) {
                // It holds its part already; only who it is was not known here.
                let mut books = donor.books.lock();
                if books.holders.get(&thread).is_none_or(|held| held.of(what) == 0) {
                    books.hold(thread, what, ledger.budget.of(what).map_or(0, to_signed));
                }
            }
        }
        Arc::new(Self {
            thread,
            books: Mutex::new(Books {
                ledger,
                unwritten: Amounts::default(),
                owed: Amounts::default(),
                donors,
                closed,
                end_written: closed,
                ending: None,
                reopening: Vec::new(),
                lease: None,
                leases: leases.clone(),
                slots: 0,
                holders: BTreeMap::new(),
                runs: BTreeMap::new(),
                began_ms: 0,
                clocked: 0,
                base: now,
                waiting: BTreeMap::new(),
            }),
        })
    }

    /// Its thread has a slot.
    pub(crate) fn seat(&self) {
        let mut books = self.books.lock();
        books.slots += 1;
        books.hold_lease();
    }

    /// A slot of its thread is gone. Others may draw on it still.
    pub(crate) fn unseat(&self) {
        let mut books = self.books.lock();
        books.slots = books.slots.saturating_sub(1);
        books.hold_lease();
    }

    /// Whose it is.
    pub const fn thread(&self) -> ThreadId {
        self.thread
    }

    /// What it has, has used and has given away.
    pub fn ledger(&self) -> Ledger {
        self.books.lock().ledger
    }

    /// Whether it holds parts of accounts above it: one lease.
    pub fn is_carved(&self) -> bool {
        self.books.lock().lease.is_some()
    }

    /// Whether somebody below it holds a part, which may come back.
    pub fn is_held(&self, limit: &str) -> bool {
        let what = Dimension::ALL.into_iter().find(|what| what.limit() == limit);
        what.is_some_and(|what| !self.books.lock().holders_of(what).is_empty())
    }

    /// Who it was carved from.
    pub fn donors(&self) -> Vec<ThreadId> {
        let books = self.books.lock();
        let mut donors: Vec<ThreadId> =
            books.donors.iter().flatten().map(|donor| donor.thread).collect();
        donors.dedup();
        donors
    }

    /// Gives `child` a part.
    fn carve(
        &self,
        child: ThreadId,
        what: Dimension,
        part: i64,
        now: Instant,
    ) -> Result<(), LimitReached> {
        let mut books = self.books.lock();
        let left = books.left(what, now);
        if books.is_over() || left < part {
            return Err(books.refusal(what, left));
        }
        let carved = books.ledger.carved.of_mut(what);
        *carved = carved.saturating_add(part);
        books.hold(child, what, part);
        drop(books);
        self.look_again(what);
        Ok(())
    }

    /// Takes a part back, and counts what of it was used.
    fn take_back(&self, child: ThreadId, what: Dimension, part: i64, used: i64) {
        let mut books = self.books.lock();
        let ledger = &mut books.ledger;
        *ledger.carved.of_mut(what) = ledger.carved.of(what).saturating_sub(part);
        *ledger.spent.of_mut(what) = ledger.spent.of(what).saturating_add(used);
        books.hold(child, what, -part);
        drop(books);
        self.wake();
        self.look_again(what);
    }

    /// Tells threads whose work waits, and turns whose time is clocked, that there is more.
    pub fn funded(&self) {
        self.wake();
        self.look_again(Dimension::WallMs);
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut self.books.lock().waiting);
        for slot in waiting.into_values().filter_map(|slot| slot.upgrade()) {
            slot.notice(ThreadMsg::LookAtBudget);
        }
    }

    /// Has one of the turns that run look when its time is used up: it is another time now.
    fn look_again(&self, what: Dimension) {
        if what != Dimension::WallMs {
            return;
        }
        let slot = {
            let books = self.books.lock();
            let mut slots = books.runs.values().filter_map(|run| run.slot.upgrade());
            slots.next()
        };
        if let Some(slot) = slot {
            slot.notice(ThreadMsg::LookAtBudget);
        }
    }

    /// Tells all turns that draw on it that this of it is used up.
    fn tell_spent(&self, what: Dimension) {
        let (limit, runs) = {
            let books = self.books.lock();
            let granted = books.ledger.budget.of(what).map_or(0, to_signed);
            let run = |run: &Run| Some((run.slot.upgrade()?, run.turn.clone()));
            let runs: Vec<(Arc<Slot>, TurnId)> = books.runs.values().filter_map(run).collect();
            (books.refusal(what, granted), runs)
        };
        for (slot, turn) in runs {
            slot.notice(ThreadMsg::BudgetSpent { turn, limit: limit.clone() });
        }
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("thread", &self.thread)
            .field("ledger", &self.ledger())
            .finish_non_exhaustive()
    }
}

fn to_signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// Adds to the charge of one account.
fn charge(charges: &mut Vec<Charge>, to: ThreadId, change: impl FnOnce(&mut Charge)) {
    if let Some(charge) = charges.iter_mut().find(|charge| charge.to == to) {
        return change(charge);
    }
    let mut fresh = Charge::to(to);
    change(&mut fresh);
    charges.push(fresh);
}
