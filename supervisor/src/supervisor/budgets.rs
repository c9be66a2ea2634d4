//! Budgets and lines: what a new thread is paid with, what goes back when one ends, and who waits for
//! a limit to pass.

use std::sync::{Arc, Weak};

use coppicer_actors::{Account, Done, Purse, Slot};
use coppicer_messages::{
    Asker, Budget, Charge, Dimension, Epoch, EventKind, Fact, FundError, OnLimit, Reply,
    SpawnError, SpawnThread, StoreError, SupervisorTick, ThreadEvent, ThreadId, ThreadStatus,
};

use super::line::Owner;
use super::spawn::{Spawning, Step, Stored, Waiter};
use super::table::{Entry, Life, Place};
use super::{Postponed, SupervisorState};

/// Most requests of the lines that are tried again at one go.
const SERVE_MAX: usize = 256;

/// Accounts in memory before those that nobody draws on are looked for.
pub(super) const TIDY_MIN: usize = 1_024;

/// A budget that is being written.
pub(super) struct Funding {
    account: Arc<Account>,
    more: Budget,
    reply: Reply<Budget, FundError>,
}

/// Why a thread is not made, and who has the limit if one was met.
pub(super) struct NotPaid {
    pub(super) refusal: SpawnError,
    pub(super) owner: Option<Owner>,
}

impl From<SpawnError> for NotPaid {
    fn from(refusal: SpawnError) -> Self {
        Self { refusal, owner: None }
    }
}

impl SupervisorState {
    // Accounts.

    /// The account of a thread as the store has it, or as it is in memory already.
    fn account(&mut self, stored: &AccountAbove, above: Option<&Purse>) -> Arc<Account> {
        if let Some(account) = self.accounts.get(&stored.thread).and_then(Weak::upgrade) {
            if !stored.closed {
                account.is_there_again();
            }
            return account;
        }
        let now = self.now().instant;
        let AccountAbove { thread, ledger, closed } = *stored;
        let account = Account::open(thread, ledger, closed, above, &self.shared.leases, now);
        self.keep(&account);
        account
    }

    fn keep(&mut self, account: &Arc<Account>) {
        if self.accounts.len() >= self.accounts_tidy_at {
            self.accounts.retain(|_, account| account.strong_count() > 0);
            self.accounts_tidy_at = TIDY_MIN.max(2 * self.accounts.len());
        }
        self.accounts.insert(account.thread(), Arc::downgrade(account));
    }

    /// What a stored thread draws on.
    pub(super) fn purse_of(&mut self, stored: &Stored) -> Option<Purse> {
        let mut purse: Option<Purse> = None;
        for above in stored.accounts.iter().rev() {
            let account = self.account(above, purse.as_ref());
            purse = Purse::new(Some(account), purse.as_ref());
        }
        let own = stored.thread.ledger.map(|ledger| {
            let closed = stored.thread.status == ThreadStatus::Shutdown;
            let own = AccountAbove { thread: stored.thread.id, ledger, closed };
            self.account(&own, purse.as_ref())
        });
        Purse::new(own, purse.as_ref())
    }

    /// Pays for a new thread: what it draws on from now on, and what has to be written.
    pub(super) fn pay(
        &mut self,
        thread: ThreadId,
        request: &SpawnThread,
    ) -> Result<(Option<Purse>, Vec<Charge>), NotPaid> {
        let now = self.now().instant;
        let above = self.purse_above(request.parent);
        let budget = request.config.budget;
        let charges = match &above {
            Some(purse) => purse.pay_for(thread, budget, now).map_err(|short| {
                let held = purse
                    .account_of(short.of)
                    .is_some_and(|account| account.is_held(short.refusal.limit));
                let owner = held.then_some(Owner::Account(short.of));
                NotPaid { refusal: SpawnError::Limit(short.refusal), owner }
            })?,
            None => Vec::new(),
        };
        let own = budget.map(|budget| {
            let ledger = coppicer_messages::Ledger::new(budget);
            let account =
                Account::open(thread, ledger, false, above.as_ref(), &self.shared.leases, now);
            self.keep(&account);
            account
        });
        Ok((Purse::new(own, above.as_ref()), charges))
    }

    pub(super) fn purse_above(&self, parent: Option<ThreadId>) -> Option<Purse> {
        parent.and_then(|parent| self.table.get(parent)?.slot.purse().cloned())
    }

    /// A thread is not made after all: what was paid for it goes back, once.
    pub(super) fn unpay(&mut self, spawning: &mut Spawning, slot: &Slot) {
        if let Some(above) = spawning.above.take() {
            let charges = if let Some(account) = slot.purse().and_then(Purse::own) {
                account.undo(Some(&above))
            } else {
                above.undo_spawn(spawning.thread);
                Vec::new()
            };
            self.write_charges(charges);
            for what in Dimension::ALL {
                if let Some(account) = above.draws_on(what) {
                    self.lines.freed(Owner::Account(account.thread()));
                }
            }
        }
        if std::mem::take(&mut spawning.reopened)
            && let Some(account) = slot.purse().and_then(Purse::own)
        {
            account.close_again();
        }
    }

    /// A thread is over. What it had goes back here if its own end did not see to it.
    pub(super) fn settle(&mut self, entry: &Entry) {
        let making = entry.making.and_then(|op| Some((op, self.ops.remove(&op)?)));
        if let Some((op, mut spawning)) = making {
            self.unpay(&mut spawning, &entry.slot);
            self.ops.insert(op, spawning);
        }
        let thread = entry.slot.thread();
        if let Some(account) = entry.slot.purse().and_then(Purse::own) {
            if entry.epoch == Epoch(0) {
                self.was_not_ours(entry, account);
            } else if !self.keeps_part(entry) {
                self.write_off(account);
            }
            self.lines.freed(Owner::Account(thread));
        }
        self.left(entry);
    }

    /// A thread of the store leaves memory that never had a life here. It is as the store has it, and may
    /// run elsewhere: it keeps what it had.
    fn was_not_ours(&mut self, entry: &Entry, account: &Account) {
        if let Life::Coming { op } = entry.life()
            && let Some(spawning) = self.ops.get_mut(&op)
            && std::mem::take(&mut spawning.reopened)
        {
            account.close_again();
        }
    }

    /// What a thread had that is over goes back, if its own end did not see to it.
    pub(super) fn write_off(&mut self, account: &Account) {
        let charges = account.write_off();
        self.write_charges(charges);
        for donor in account.donors() {
            self.lines.freed(Owner::Account(donor));
            self.places.wrote(donor);
        }
    }

    /// A thread left the table: whoever waits for its place is next.
    pub(super) fn left(&mut self, entry: &Entry) {
        let thread = entry.slot.thread();
        let owners = [Owner::Runtime, Owner::Tree(entry.root), Owner::Parent(thread)];
        for owner in owners.into_iter().chain(entry.parent.map(Owner::Parent)) {
            self.lines.freed(owner);
        }
        if self.table.tree_limits(entry.root).is_none() {
            self.world.permits().bound_tree(entry.root, None);
        }
    }

    /// Another runtime has the thread: what it had is that one's to give back, and where it is that one's
    /// to say.
    pub(super) fn forget_account(&mut self, thread: ThreadId) {
        let slot = self.table.get(thread).map(|entry| entry.slot.clone());
        if let Some(account) = slot.as_ref().and_then(|slot| slot.purse()?.own()) {
            drop(account.close());
            // If it comes here again, it is as the store has it then.
            self.accounts.remove(&thread);
        }
        self.forget_place(thread);
    }

    /// Ledgers are written by other than their threads: what the store said of them before is old.
    pub(super) fn ledgers_change(&mut self, charges: &[Charge]) {
        for charge in charges {
            self.places.wrote(charge.to);
        }
    }

    fn write_charges(&mut self, charges: Vec<Charge>) {
        self.ledgers_change(&charges);
        if !charges.is_empty() {
            self.shared.store.charge(charges, Done::new(|result| {
                if let Err(error) = result {
                    tracing::error!(%error, "the store could not write what went back of a budget");
                }
            }));
        }
    }

    /// Has the turns of a tree bounded as its root says.
    pub(super) fn bound_tree(&self, place: &Place) {
        if place.tree.executing_max.is_some() {
            self.world.permits().bound_tree(place.root, place.tree.executing_max);
        }
    }

    // More of it.

    pub(super) fn on_fund(
        &mut self,
        thread: ThreadId,
        more: Budget,
        reply: Reply<Budget, FundError>,
    ) {
        let now = self.now().instant;
        if reply.expired(now) {
            return; // P4
        }
        let Some(slot) = self.table.get(thread).map(|entry| entry.slot.clone()) else {
            let reason = Box::new(SpawnError::NotFound { thread });
            return reply.tell(Err(FundError::NotUp { thread, reason }));
        };
        if self.table.get(thread).is_some_and(|entry| entry.trouble.moving.is_some()) {
            return reply.tell(Err(FundError::Moving { thread }));
        }
        let Some(account) = slot.purse().and_then(Purse::own).cloned() else {
            let named = Dimension::ALL.into_iter().find(|&what| more.of(what).is_some());
            let limit = named.map_or("budget", Dimension::limit);
            return reply.tell(Err(FundError::NotLimited { thread, limit }));
        };
        match account.fund(more, now) {
            Err(refusal) => reply.tell(Err(refusal)),
            Ok(charges) => {
                let op = self.new_op();
                self.fundings.insert(op, Funding { account, more, reply });
                let (done, written) = Done::channel();
                self.shared.store.charge(charges, done);
                self.outside(op, async move { Step::Funded(written.await.map(drop)) });
            }
        }
    }

    pub(super) fn on_funded(&mut self, op: u64, result: Result<(), StoreError>) {
        let Some(Funding { account, more, reply }) = self.fundings.remove(&op) else { return };
        match result {
            Ok(()) => {
                account.funded();
                self.lines.freed(Owner::Account(account.thread()));
                self.tell_funded(account.thread(), more);
                reply.tell(Ok(account.ledger().rest()));
            }
            Err(error) => {
                if !matches!(error, StoreError::UnknownOutcome { .. }) {
                    account.unfund(more);
                }
                reply.tell(Err(FundError::Store(error)));
            }
        }
    }

    fn tell_funded(&self, thread: ThreadId, more: Budget) {
        let Some(entry) = self.table.get(thread) else { return };
        let fact = || Fact::Thread(ThreadEvent::BudgetFunded { more });
        let (about, epoch) = (&**entry.slot.about(), entry.slot.epoch());
        self.shared.hub.publish(Some(about), epoch, None, EventKind::Turn, fact);
    }

    // Lines.

    /// Whether a new thread may be put there, and who has the limit if not.
    pub(super) fn admit_new(&self, place: &Place) -> Result<(), NotPaid> {
        let limits = &self.shared.limits;
        let owned = |refusal: SpawnError| {
            let owner = match &refusal {
                SpawnError::Limit(reached) => match reached.limit {
                    "resident_max" | "registered_max" => Some(Owner::Runtime),
                    "tree_max" | "spawns_per_minute_max" => Some(Owner::Tree(place.root)),
                    "children_max" => place.parent.map(Owner::Parent),
                    _ => None,
                },
                _ => None,
            };
            NotPaid { refusal, owner }
        };
        self.table.admit(place, limits).map_err(owned)?;
        self.check_registered().map_err(|reached| owned(reached.into()))?;
        if place.parent.is_some() {
            let now = self.now().instant;
            let rate = self.table.admit_rate(place, limits, now);
            rate.map_err(|reached| owned(reached.into()))?;
        }
        Ok(())
    }

    /// Refuses a request that met a limit, or has it stand in line.
    pub(super) fn refuse_or_wait(
        &mut self,
        request: Box<SpawnThread>,
        asker: Option<Asker>,
        reply: Reply<ThreadId, SpawnError>,
        NotPaid { refusal, owner }: NotPaid,
    ) {
        let (SpawnError::Limit(reached), Some(owner), OnLimit::Wait) =
            (&refusal, owner, request.on_limit)
        else {
            return self.refuse(vec![Waiter::new(reply)], &refusal);
        };
        let now = self.now().instant;
        let max = self.shared.limits.spawn_line_max;
        if self.lines.len() >= max {
            self.lines.tidy(|waiting: &Postponed| !waiting.reply.expired(now));
        }
        if self.lines.len() >= max || reached.value == 0 && reached.limit == "spawns_per_minute_max"
        {
            return self.refuse(vec![Waiter::new(reply)], &refusal);
        }
        let deadline = reply.deadline().instant();
        let due = reached.retry_after.map_or(deadline, |after| (now + after).min(deadline));
        let front = self.serving == Some(owner);
        if front {
            self.serving = None; // whoever is behind it waits too
        }
        self.lines.push(owner, Postponed { request, asker, reply }, [due, deadline], front);
    }

    pub(super) fn on_line_due(&mut self) {
        self.came(SupervisorTick::LineDue);
        self.lines.time_is(self.now().instant);
    }

    /// Has the lines looked at when the first of their times has come.
    fn arm_lines(&mut self) {
        match self.lines.next_due() {
            Some(due) => self.arm_first(due, SupervisorTick::LineDue),
            None => self.disarm(SupervisorTick::LineDue),
        }
    }

    /// Whether a thread has no actor, and can be given one.
    fn sleeps(&self, thread: ThreadId) -> bool {
        let life = self.table.get(thread).map(|entry| (entry.life(), entry.closing));
        let comes = matches!(life, Some((Life::Coming { .. } | Life::Dormant, false)) | None);
        comes && !self.ended && self.closing_all == 0
    }

    /// Tries requests again whose limit may have passed, in their order, until one meets it again.
    pub(super) fn serve_lines(&mut self) {
        self.serve_freed();
        self.arm_lines();
    }

    fn serve_freed(&mut self) {
        let mut tries = SERVE_MAX;
        while let Some(owner) = self.lines.next_freed() {
            self.serving = Some(owner);
            while self.serving.is_some() {
                if tries == 0 {
                    self.lines.freed(owner);
                    self.serving = None;
                    let tick = SupervisorTick::LineDue;
                    self.shared.uplink.send(coppicer_messages::SupervisorMsg::Tick { tick });
                    return;
                }
                let Some(Postponed { request, asker, reply }) = self.lines.pop(owner) else {
                    break;
                };
                if reply.expired(self.now().instant) {
                    continue;
                }
                tries -= 1;
                if let Some(parent) = request.parent.filter(|&parent| self.sleeps(parent)) {
                    // It fell asleep meanwhile, and is woken for it.
                    let deadline = reply.deadline().instant();
                    let waiting = Postponed { request, asker, reply };
                    self.lines.push(Owner::Parent(parent), waiting, [deadline; 2], false);
                    self.on_activate(parent);
                } else {
                    self.on_spawn(request, asker, reply);
                }
            }
            self.serving = None;
        }
    }
}

/// The account of a thread as the store has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AccountAbove {
    pub(super) thread: ThreadId,
    pub(super) ledger: coppicer_messages::Ledger,
    /// Whether its thread has ended.
    pub(super) closed: bool,
}
