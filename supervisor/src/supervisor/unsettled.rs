//! Moves whose charges the store has not written yet: the accounts that they change are as the store has
//! them, or as it will have them, and nobody knows which. What ends meanwhile would give back by the one
//! reckoning what the other gave away, and nothing could put that right if the host ended first. So a
//! thread is told to end when its account is settled, and one that cannot wait (it is fenced off at a
//! deadline) keeps its part until then: rather too little is left for a while than too much for ever.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use coppicer_actors::{Account, Purse, ThreadMove};
use coppicer_messages::ThreadId;

use super::SupervisorState;
use super::close::Place;
use super::table::Entry;

/// Accounts that moves change which are not written.
#[derive(Default)]
pub(super) struct Unsettled {
    /// How many such moves change the account of a thread.
    moves: BTreeMap<ThreadId, u32>,
    /// Threads of closes that would have been told to end.
    tells: HashMap<ThreadId, Vec<(u64, Place)>>,
    /// Accounts of threads that are over, without an end in the store, and whom they are carved from.
    over: HashMap<ThreadId, (Arc<Account>, BTreeSet<ThreadId>)>,
    /// How many of those are carved from the account of a thread. It would count them as used, for good.
    drawn: BTreeMap<ThreadId, u32>,
    /// Accounts as they are in memory: the store has them as they were, and does not say so.
    kept: HashMap<ThreadId, Arc<Account>>,
}

/// The threads whose accounts a move changes; none if it changes no account.
fn touched(to: &ThreadMove) -> impl Iterator<Item = ThreadId> {
    let moved = (!to.charges.is_empty()).then_some(to.thread);
    let others = to.charges.iter().map(|charge| charge.to).filter(|id| *id != to.thread);
    moved.into_iter().chain(others)
}

impl Unsettled {
    /// A move is being written, or is owed to the store.
    pub(super) fn begin(&mut self, to: &ThreadMove) {
        for thread in touched(to) {
            *self.moves.entry(thread).or_default() += 1;
        }
    }

    /// It was written, or never will be. Those whose accounts are settled by that.
    fn end(&mut self, to: &ThreadMove) -> Vec<ThreadId> {
        let mut settled = Vec::new();
        for thread in touched(to) {
            let Some(moves) = self.moves.get_mut(&thread) else { continue };
            *moves -= 1;
            if *moves == 0 {
                self.moves.remove(&thread);
                self.kept.remove(&thread);
                settled.push(thread);
            }
        }
        settled
    }

    /// Whether a move that is not written changes the account of a thread, or that of one that is over
    /// and holds a part of it.
    pub(super) fn has(&self, thread: ThreadId) -> bool {
        self.moves.contains_key(&thread) || self.drawn.contains_key(&thread)
    }

    /// A thread is over: its account is kept as it is. Those of which nobody who is over holds a part any more.
    fn keep_over(&mut self, account: &Arc<Account>) -> Vec<ThreadId> {
        let donors: BTreeSet<ThreadId> = account.donors().into_iter().collect();
        let before = self.over.insert(account.thread(), (account.clone(), donors.clone()));
        for donor in donors {
            *self.drawn.entry(donor).or_default() += 1;
        }
        self.draw_no_more(before.map(|(_, donors)| donors).unwrap_or_default())
    }

    /// Accounts of which one that was over does not hold a part any more: those that nobody does.
    fn draw_no_more(&mut self, donors: BTreeSet<ThreadId>) -> Vec<ThreadId> {
        let mut free = Vec::new();
        for donor in donors {
            let Some(drawn) = self.drawn.get_mut(&donor) else { continue };
            *drawn -= 1;
            if *drawn == 0 {
                self.drawn.remove(&donor);
                free.push(donor);
            }
        }
        free
    }
}

impl SupervisorState {
    /// A thread of a close is to be told to end: whether that has to wait for its account.
    pub(super) fn tell_waits(&mut self, close: u64, place: Place, thread: ThreadId) -> bool {
        let waits = self.unsettled.has(thread) && self.table.get(thread).is_some();
        if waits {
            self.unsettled.tells.entry(thread).or_default().push((close, place));
            self.write_owed(); // there is no time to wait for the next try
        }
        waits
    }

    /// A thread is over without an end in the store, and its account is not settled: it keeps its part
    /// until then. Whether that is so.
    pub(super) fn keeps_part(&mut self, entry: &Entry) -> bool {
        let thread = entry.slot.thread();
        let account = entry.slot.purse().and_then(Purse::own);
        let Some(account) = account.filter(|_| self.unsettled.has(thread)) else { return false };
        let settled = self.unsettled.keep_over(account);
        self.go_on_settled(settled);
        true
    }

    /// The accounts of these threads, as far as they are here: what is charged for them is to be kept.
    pub(super) fn accounts_here(
        &self,
        threads: impl IntoIterator<Item = ThreadId>,
    ) -> Vec<Arc<Account>> {
        let here = |thread: ThreadId| self.accounts.get(&thread).and_then(Weak::upgrade);
        threads.into_iter().filter_map(here).collect()
    }

    /// Keeps accounts in memory until what moves change of them is written.
    pub(super) fn keep_donors(&mut self, donors: Vec<Arc<Account>>) {
        let Unsettled { moves, kept, .. } = &mut self.unsettled;
        let changed = donors.into_iter().filter(|donor| moves.contains_key(&donor.thread()));
        kept.extend(changed.map(|donor| (donor.thread(), donor)));
    }

    /// A move was written, or never will be.
    pub(super) fn move_settled(&mut self, to: &ThreadMove) {
        let settled = self.unsettled.end(to);
        self.go_on_settled(settled);
    }

    /// These accounts may be settled now: goes on with what waited for that.
    fn go_on_settled(&mut self, mut settled: Vec<ThreadId>) {
        // Those above come after those below them.
        while let Some(thread) = settled.pop() {
            if self.unsettled.has(thread) {
                continue;
            }
            self.to_tell.extend(self.unsettled.tells.remove(&thread).unwrap_or_default());
            if let Some((account, donors)) = self.unsettled.over.remove(&thread) {
                if self.table.get(thread).is_none() {
                    self.write_off(&account);
                }
                settled.extend(self.unsettled.draw_no_more(donors));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use coppicer_actors::EdgeChange;
    use coppicer_messages::{Budget, Charge, Ledger};

    use super::*;

    fn id(n: u64) -> ThreadId {
        ThreadId::from_parts(n, [0; 10])
    }

    fn to(thread: u64, charged: &[u64]) -> ThreadMove {
        let charges = charged.iter().map(|n| Charge::to(id(*n))).collect();
        ThreadMove {
            thread: id(thread),
            edge: EdgeChange::Root,
            paths: Vec::new(),
            charges,
            epoch: None,
        }
    }

    #[test]
    fn an_account_is_settled_when_the_last_move_that_changes_it_is() {
        let mut unsettled = Unsettled::default();
        let (one, other, plain) = (to(1, &[1, 9]), to(2, &[9]), to(3, &[]));
        for it in [&one, &other, &plain] {
            unsettled.begin(it);
        }
        assert!([1, 2, 9].into_iter().all(|n| unsettled.has(id(n))));
        assert!(!unsettled.has(id(3)), "it changes no account");
        assert_eq!(unsettled.end(&plain), []);
        assert_eq!(unsettled.end(&one), [id(1)]);
        assert_eq!(unsettled.end(&other), [id(2), id(9)]);
        assert!(!unsettled.has(id(9)));
    }

    #[test]
    fn an_account_is_not_settled_while_one_that_is_over_and_is_not_settled_holds_a_part_of_it() {
        let (leases, now) = (Arc::default(), tokio::time::Instant::now());
        let ledger = Ledger::new(Budget::new().with_tokens(100));
        let open =
            |n, above: Option<&Purse>| Account::open(id(n), ledger, false, above, &leases, now);
        let above = Purse::new(Some(open(1, None)), None);
        let below = open(2, above.as_ref());
        let mut unsettled = Unsettled::default();
        let moves = to(3, &[2]);
        unsettled.begin(&moves);
        assert_eq!(unsettled.keep_over(&below), []);
        assert_eq!(unsettled.keep_over(&below), []);
        assert!(unsettled.has(id(1)) && unsettled.has(id(2)));
        assert_eq!(unsettled.end(&moves), [id(3), id(2)]);
        assert!(unsettled.has(id(1)) && !unsettled.has(id(2)), "those below come first");
        let (_, donors) = unsettled.over.remove(&id(2)).unwrap();
        assert_eq!(unsettled.draw_no_more(donors), [id(1)]);
        assert!(!unsettled.has(id(1)));
    }
}
