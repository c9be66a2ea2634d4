//! The ledgers of all threads, as they follow from what was written: an oracle for budgets that does
//! not ask the store either.

use std::collections::BTreeMap;

use coppicer::{Amounts, Charge, Dimension, Ledger, ThreadId, ThreadStatus};

use crate::witness::Row;

/// One ledger.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    ledger: Ledger,
    /// Parts that counted as used when its thread ended, since they had not been given back. Those who
    /// have them give them back all the same.
    written_off: Amounts,
    /// What was taken from it when it was written off.
    taken: Amounts,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Ledgers {
    kept: BTreeMap<ThreadId, Kept>,
    /// What making each thread charged.
    making: BTreeMap<ThreadId, Vec<Charge>>,
    /// Tokens that count as used and were given away for good.
    given_away: i64,
    /// How often somebody went with what was given to him.
    pub(crate) moves: usize,
    /// Whether a part came back that had counted as used.
    pub(crate) late: bool,
}

impl Ledgers {
    /// A thread was made.
    pub(crate) fn made(&mut self, thread: ThreadId, ledger: Option<Ledger>, charges: &[Charge]) {
        if let Some(ledger) = ledger {
            self.kept.insert(thread, Kept { ledger, ..Kept::default() });
        }
        self.apply(charges);
        self.making.insert(thread, charges.to_vec());
    }

    /// The making of a thread was undone; `ended`: its end was written before.
    pub(crate) fn undone(&mut self, thread: ThreadId, ended: bool) {
        let mut back: Vec<Charge> = self.making.remove(&thread).unwrap_or_default();
        for charge in &mut back {
            *charge = charge.reversed();
            if ended {
                charge.carved = Amounts::default();
            }
        }
        self.apply(&back);
        self.kept.remove(&thread);
    }

    pub(crate) fn apply(&mut self, charges: &[Charge]) {
        for charge in charges {
            if let Some(kept) = self.kept.get_mut(&charge.to) {
                kept.ledger.apply(charge);
            }
        }
    }

    /// The same, in a write of a thread itself: what it does not wait for any more is written off.
    pub(crate) fn applied_by(&mut self, thread: ThreadId, charges: &[Charge]) {
        self.apply(charges);
        for charge in charges {
            if charge.to == thread {
                self.write_off(charge);
            } else {
                self.came_back(charge);
            }
        }
    }

    /// The same, in a write of nobody's: an account is written off, gets more, or has been drawn on. It
    /// is below all that it was carved from.
    pub(crate) fn applied(&mut self, rows: &BTreeMap<ThreadId, Row>, charges: &[Charge]) {
        self.apply(charges);
        let depth = |charge: &Charge| rows.get(&charge.to).map(|row| row.depth);
        let own = (0..charges.len()).max_by_key(|&at| depth(&charges[at]));
        for (at, charge) in charges.iter().enumerate() {
            if Some(at) == own {
                self.take(charge);
                self.write_off(charge);
            } else {
                self.came_back(charge);
            }
        }
    }

    fn take(&mut self, charge: &Charge) {
        let Some(kept) = self.kept.get_mut(&charge.to) else { return };
        for what in Dimension::ALL {
            *kept.taken.of_mut(what) -= charge.granted.of(what).min(0);
        }
    }

    /// The same, in a move of a thread: what came back to it late is set aside with what it has left.
    pub(crate) fn applied_moving(&mut self, thread: ThreadId, charges: &[Charge]) {
        self.apply(charges);
        let given_away = self.given_away;
        for charge in charges.iter().filter(|charge| charge.to == thread) {
            self.write_off(charge);
        }
        self.given_away = given_away;
    }

    /// A part came back, maybe one that had been written off: how much of it was used is not known where
    /// it had counted.
    fn came_back(&mut self, charge: &Charge) {
        let Some(kept) = self.kept.get(&charge.to) else { return };
        let is_late =
            |what: Dimension| charge.carved.of(what) < 0 && kept.written_off.of(what) != 0;
        self.late |= Dimension::ALL.into_iter().any(is_late);
    }

    fn write_off(&mut self, charge: &Charge) {
        let Some(kept) = self.kept.get_mut(&charge.to) else { return };
        for what in Dimension::ALL {
            // Less than nothing, if those who had it have given it back since.
            let gone = -charge.carved.of(what);
            *kept.written_off.of_mut(what) += gone;
            if what == Dimension::Tokens {
                self.given_away += gone;
            }
        }
    }

    /// What a move changed of what was `counted` before it: it was given away, and not used.
    pub(crate) fn moved(&mut self, rows: &BTreeMap<ThreadId, Row>, counted: i64) {
        self.given_away += self.counted(rows) - counted;
        self.moves += 1;
    }

    /// What the store should say.
    pub(crate) fn of(&self, thread: ThreadId) -> Option<Ledger> {
        self.kept.get(&thread).map(|kept| kept.ledger)
    }

    /// The nearest account above a thread that limits this.
    fn donor(
        &self,
        rows: &BTreeMap<ThreadId, Row>,
        thread: ThreadId,
        what: Dimension,
    ) -> Option<ThreadId> {
        let above = |thread: ThreadId| rows.get(&thread)?.parent.map(|(parent, _)| parent);
        std::iter::successors(above(thread), |at| above(*at))
            .find(|at| self.of(*at).is_some_and(|ledger| ledger.budget.of(what).is_some()))
    }

    /// BU-1: what an account gave away is what those below it hold that are not over, and no more than
    /// it has. `alone`: there was one host at a time. Each of two admits what it knows to be left, and
    /// neither asks the store: together they may give away what is there once only.
    pub(crate) fn check(&self, rows: &BTreeMap<ThreadId, Row>, alone: bool) -> Vec<String> {
        let mut broken = Vec::new();
        let mut held: BTreeMap<ThreadId, Amounts> = BTreeMap::new();
        for (thread, kept) in &self.kept {
            let is_over = |row: &Row| row.status == Some(ThreadStatus::Shutdown);
            if rows.get(thread).is_none_or(is_over) {
                continue;
            }
            for what in Dimension::ALL {
                let Some(part) = kept.ledger.budget.of(what) else { continue };
                if let Some(donor) = self.donor(rows, *thread, what) {
                    *held.entry(donor).or_default().of_mut(what) += part.cast_signed();
                }
            }
        }
        for (thread, Kept { ledger, written_off, taken }) in &self.kept {
            let is_over =
                rows.get(thread).is_none_or(|row| row.status == Some(ThreadStatus::Shutdown));
            let held = held.get(thread).copied().unwrap_or_default();
            for what in Dimension::ALL {
                let Some(budget) = ledger.budget.of(what) else { continue };
                let (carved, spent) = (ledger.carved.of(what), ledger.spent.of(what));
                let gave = carved + written_off.of(what);
                if gave != held.of(what) {
                    let (has, limit) = (held.of(what), what.limit());
                    broken.push(format!(
                        "BU-1: {thread} gave {gave} of {limit} away, and those below it hold \
                         {has}: {ledger:?}"
                    ));
                }
                // Usage is counted after it happened; spawns are asked for, and may be counted after
                // what was left for them was taken.
                let asked = if what == Dimension::Spawns { spent - taken.of(what) } else { 0 };
                let gone = carved + asked.max(0);
                if alone && (gone > budget.cast_signed() || spent < 0 && !is_over) {
                    broken.push(format!("BU-1: {thread} gave away what it has not: {ledger:?}"));
                }
            }
        }
        broken
    }

    /// Tokens that were used, as far as accounts say so, and that were not merely given away.
    pub(crate) fn used(&self, rows: &BTreeMap<ThreadId, Row>) -> i64 {
        self.counted(rows) - self.given_away
    }

    /// Tokens that count as used.
    pub(crate) fn counted(&self, rows: &BTreeMap<ThreadId, Row>) -> i64 {
        let counts = |thread: ThreadId| {
            let row = rows.get(&thread);
            // What one that is over used counts where it was carved from.
            row.is_some_and(|row| row.status != Some(ThreadStatus::Shutdown))
                || self.donor(rows, thread, Dimension::Tokens).is_none()
        };
        let limited = self
            .kept
            .iter()
            .filter(|(thread, kept)| kept.ledger.budget.tokens.is_some() && counts(**thread));
        limited.map(|(_, kept)| kept.ledger.spent.tokens).sum()
    }
}
