//! What a thread draws on, and what one turn of it uses.

use std::sync::Arc;
use std::time::Duration;

use coppicer_messages::{Budget, Charge, Dimension, LimitReached, ThreadId, TurnId, Usage};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Account, Donors, Run, charge, to_signed};
use crate::slot::Slot;

/// Too little is left of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// Of what, and how much is left.
    pub refusal: LimitReached,
    /// Whose budget.
    pub of: ThreadId,
}

/// For each dimension the account that a thread draws on; none where nothing limits it.
#[derive(Debug, Clone)]
pub struct Purse {
    own: Option<Arc<Account>>,
    draws: Donors,
}

impl Purse {
    /// The purse of a thread below one with this purse. `None` if nothing limits it.
    pub fn new(own: Option<Arc<Account>>, above: Option<&Self>) -> Option<Self> {
        let budget = own.as_ref().map_or_else(Budget::new, |own| own.ledger().budget);
        let draw = |what: Dimension| match budget.of(what) {
            Some(_) => own.clone(),
            None => above.and_then(|above| above.draws_on(what).cloned()),
        };
        let draws: Donors = Dimension::ALL.map(draw);
        (own.is_some() || draws.iter().any(Option::is_some)).then_some(Self { own, draws })
    }

    /// The thread's own account.
    pub const fn own(&self) -> Option<&Arc<Account>> {
        self.own.as_ref()
    }

    /// The account that one dimension is drawn on.
    pub const fn draws_on(&self, what: Dimension) -> Option<&Arc<Account>> {
        self.draws[what as usize].as_ref()
    }

    /// The account of another thread among those that it draws on.
    pub fn account_of(&self, thread: ThreadId) -> Option<&Arc<Account>> {
        self.draws.iter().flatten().find(|account| account.thread == thread)
    }

    /// What is left; none where nothing limits it.
    pub fn left(&self, now: Instant) -> Budget {
        let mut left = Budget::new();
        for (what, account) in Dimension::ALL.into_iter().zip(&self.draws) {
            let rest = account.as_ref().map(|account| account.books.lock().left(what, now));
            *left.of_mut(what) = rest.map(|rest| u64::try_from(rest).unwrap_or(0));
        }
        left
    }

    /// What is used up that a turn needs, if something is.
    pub fn spent(&self, now: Instant) -> Option<LimitReached> {
        [Dimension::Tokens, Dimension::CostMicros, Dimension::WallMs].into_iter().find_map(|what| {
            let books = self.draws_on(what)?.books.lock();
            let granted = books.ledger.budget.of(what).map_or(0, to_signed);
            (books.left(what, now) <= 0).then(|| books.refusal(what, granted))
        })
    }

    /// Pays for a new sub-agent: counts its spawn and carves its budget. What has to be written with
    /// its making.
    ///
    /// # Errors
    /// Too little is left; nothing changed.
    pub fn pay_for(
        &self,
        child: ThreadId,
        budget: Option<Budget>,
        now: Instant,
    ) -> Result<Vec<Charge>, Short> {
        let mut charges = Vec::new();
        let budget = budget.unwrap_or_default();
        if let Some(account) = self.draws_on(Dimension::Spawns) {
            let mut books = account.books.lock();
            let left = books.left(Dimension::Spawns, now);
            if left < 1 {
                let refusal = books.refusal(Dimension::Spawns, left);
                return Err(Short { refusal, of: account.thread });
            }
            books.ledger.spent.spawns += 1;
            charge(&mut charges, account.thread, |charge| charge.spent.spawns += 1);
        }
        let part = |what: Dimension| budget.of(what).map_or(0, to_signed);
        if let Err(short) = carve_all(&self.draws, child, part, now) {
            self.undo_spawn(child);
            return Err(short);
        }
        for (what, account) in Dimension::ALL.into_iter().zip(&self.draws) {
            if let (Some(account), true) = (account, part(what) != 0) {
                charge(&mut charges, account.thread, |charge| {
                    *charge.carved.of_mut(what) += part(what);
                });
            }
        }
        Ok(charges)
    }

    /// The store did not take what turns used: it is in no write again.
    pub(crate) fn is_owed(&self, charges: &[Charge]) {
        for charge in charges {
            if let Some(account) = self.account_of(charge.to) {
                let mut books = account.books.lock();
                books.unwritten += charge.spent;
                books.owed += charge.spent;
            }
        }
    }

    /// Takes back that a sub-agent was spawned. Its parts are taken back by its account.
    pub fn undo_spawn(&self, _child: ThreadId) {
        if let Some(account) = self.draws_on(Dimension::Spawns) {
            account.books.lock().ledger.spent.spawns -= 1;
            account.wake();
        }
    }

    /// Has the thread told when there is more of what is used up.
    pub(crate) fn wait(&self, slot: &Arc<Slot>) {
        for account in self.draws.iter().flatten() {
            account.books.lock().waiting.insert(slot.thread(), Arc::downgrade(slot));
        }
    }

    /// A turn of the thread begins.
    pub(crate) fn begin(&self, slot: &Arc<Slot>, turn: &TurnId, now: Instant) -> Arc<Spending> {
        let thread = slot.thread();
        for account in self.draws.iter().flatten() {
            let run = Run { slot: Arc::downgrade(slot), turn: turn.clone() };
            account.books.lock().runs.insert(thread, run);
        }
        let mut began_ms = 0;
        if let Some(account) = self.draws_on(Dimension::WallMs) {
            let mut books = account.books.lock();
            began_ms = books.ms(now);
            books.began_ms += began_ms;
            books.clocked += 1;
        }
        Arc::new(Spending::new(self.clone(), thread, began_ms))
    }
}

/// Carves parts from all of these, or none.
pub(super) fn carve_all(
    donors: &Donors,
    child: ThreadId,
    part: impl Fn(Dimension) -> i64,
    now: Instant,
) -> Result<(), Short> {
    for (at, what) in Dimension::ALL.into_iter().enumerate() {
        let Some(donor) = donors[at].as_ref().filter(|_| part(what) != 0) else { continue };
        if let Err(refusal) = donor.carve(child, what, part(what), now) {
            for what in Dimension::ALL.into_iter().take(at) {
                if let Some(donor) = donors[what as usize].as_ref().filter(|_| part(what) != 0) {
                    donor.take_back(child, what, part(what), 0);
                }
            }
            return Err(Short { refusal, of: donor.thread });
        }
    }
    Ok(())
}

/// Carves what an account has left; if that is too much for those above it, without what came back to
/// it after its end: whether that was a part of it.
pub(super) fn carve_rest(
    donors: &Donors,
    child: ThreadId,
    part: impl Fn(Dimension, bool) -> i64,
    now: Instant,
) -> Result<bool, Short> {
    let whole = carve_all(donors, child, |what| part(what, true), now).map(|()| true);
    whole.or_else(|_| carve_all(donors, child, |what| part(what, false), now).map(|()| false))
}

/// What one turn uses, from its beginning to its end.
pub(crate) struct Spending {
    purse: Purse,
    thread: ThreadId,
    state: Mutex<State>,
}

struct State {
    /// When its time began on the account that it is drawn on; none once it is over.
    began_ms: Option<i64>,
    /// What is counted and not yet in a write of its thread.
    unwritten: Vec<Charge>,
}

impl Spending {
    pub(super) const fn new(purse: Purse, thread: ThreadId, began_ms: i64) -> Self {
        let state = State { began_ms: Some(began_ms), unwritten: Vec::new() };
        Self { purse, thread, state: Mutex::new(state) }
    }

    /// What is left.
    pub(crate) fn left(&self, now: Instant) -> Budget {
        self.purse.left(now)
    }

    /// Counts usage. If that is more than there was, every turn that draws on it is told.
    pub(crate) fn count(&self, usage: Usage, now: Instant) {
        let used = |what| match what {
            Dimension::Tokens => to_signed(usage.total_tokens()),
            Dimension::CostMicros => to_signed(usage.cost_micros),
            Dimension::WallMs | Dimension::Spawns => 0,
        };
        for what in [Dimension::Tokens, Dimension::CostMicros] {
            let Some(account) = self.purse.draws_on(what).filter(|_| used(what) != 0) else {
                continue;
            };
            let mut state = self.state.lock();
            if state.began_ms.is_none() {
                return; // its turn is over: too late to be written with it
            }
            charge(&mut state.unwritten, account.thread, |charge| {
                *charge.spent.of_mut(what) += used(what);
            });
            let exceeded = {
                let mut books = account.books.lock();
                let spent = books.ledger.spent.of_mut(what);
                *spent = spent.saturating_add(used(what));
                let unwritten = books.unwritten.of_mut(what);
                *unwritten = unwritten.saturating_add(used(what));
                books.left(what, now) < 0
            };
            drop(state);
            if exceeded {
                account.tell_spent(what);
            }
        }
    }

    /// What was counted since this was last asked, for the write that the thread makes next.
    pub(crate) fn take_unwritten(&self) -> Vec<Charge> {
        self.take(&mut self.state.lock())
    }

    /// What was counted goes into a write, and what no store took before.
    fn take(&self, state: &mut State) -> Vec<Charge> {
        let mut charges = std::mem::take(&mut state.unwritten);
        for account in self.purse.draws.iter().flatten() {
            let owed = std::mem::take(&mut account.books.lock().owed);
            if !owed.is_zero() {
                charge(&mut charges, account.thread, |charge| charge.spent += owed);
            }
        }
        for charge in &charges {
            if let Some(account) = self.purse.account_of(charge.to) {
                account.books.lock().unwritten += -charge.spent;
            }
        }
        charges
    }

    /// When to look at the time again; none if it is not limited. If it is used up, every turn that
    /// draws on it is told.
    pub(crate) fn look_at_time(&self, now: Instant) -> Option<Duration> {
        let account = self.purse.draws_on(Dimension::WallMs)?;
        let (left, clocked) = {
            let books = account.books.lock();
            (books.left(Dimension::WallMs, now), books.clocked.max(1))
        };
        if left <= 0 {
            account.tell_spent(Dimension::WallMs);
            return None;
        }
        let share = left.unsigned_abs().div_ceil(clocked.unsigned_abs());
        Some(Duration::from_millis(share))
    }

    /// The turn is over: its time counts. What has to be written with its end.
    pub(crate) fn end(&self, now: Instant) -> Vec<Charge> {
        let (mut charges, began_ms) = {
            let mut state = self.state.lock();
            (self.take(&mut state), state.began_ms.take())
        };
        if let Some(began_ms) = began_ms {
            self.end_time(began_ms, now, &mut charges);
        }
        charges
    }

    fn end_time(&self, began_ms: i64, now: Instant, charges: &mut Vec<Charge>) {
        for account in self.purse.draws.iter().flatten() {
            account.books.lock().runs.remove(&self.thread);
        }
        if let Some(account) = self.purse.draws_on(Dimension::WallMs) {
            let mut books = account.books.lock();
            let took = (books.ms(now) - began_ms).max(0);
            books.clocked -= 1;
            books.began_ms -= began_ms;
            books.ledger.spent.wall_ms = books.ledger.spent.wall_ms.saturating_add(took);
            drop(books);
            charge(charges, account.thread, |charge| charge.spent.wall_ms += took);
            account.look_again(Dimension::WallMs);
        }
    }
}

impl Drop for Spending {
    /// However its turn came to an end, it does not go on to count. What it counted is in no write.
    fn drop(&mut self) {
        let began_ms = self.state.lock().began_ms.take();
        if let Some(began_ms) = began_ms {
            self.end_time(began_ms, Instant::now(), &mut Vec::new());
        }
    }
}
