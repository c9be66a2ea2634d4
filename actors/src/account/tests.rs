//! Budgets that add up, without a runtime. Beside the accounts in memory a store is kept, which sees
//! nothing but the charges.

use std::collections::HashMap;

use coppicer_messages::{Budget, Usage};
use proptest::prelude::*;

use super::*;

fn id(n: u64) -> ThreadId {
    ThreadId::from_parts(n, [0; 10])
}

/// Accounts of one tree, and what the store has of them.
struct Tree {
    leases: Arc<LeaseBook>,
    now: Instant,
    threads: Vec<Member>,
    stored: HashMap<ThreadId, Ledger>,
}

struct Member {
    parent: Option<usize>,
    purse: Option<Purse>,
    open: bool,
}

impl Tree {
    fn new(root: Budget) -> Self {
        let mut tree = Self {
            leases: Arc::default(),
            now: Instant::now(),
            threads: Vec::new(),
            stored: HashMap::new(),
        };
        tree.add(None, Some(root));
        tree
    }

    fn add(&mut self, parent: Option<usize>, budget: Option<Budget>) {
        let thread = id(self.threads.len() as u64);
        let above = parent.and_then(|parent| self.threads[parent].purse.as_ref());
        let own = budget.map(|budget| {
            let ledger = Ledger::new(budget);
            self.stored.insert(thread, ledger);
            let account = Account::open(thread, ledger, false, above, &self.leases, self.now);
            account.seat();
            account
        });
        let purse = Purse::new(own, above);
        self.threads.push(Member { parent, purse, open: true });
    }

    fn store(&mut self, charges: &[Charge]) {
        for charge in charges {
            if let Some(ledger) = self.stored.get_mut(&charge.to) {
                ledger.apply(charge);
            }
        }
    }

    fn spawn(&mut self, parent: usize, budget: Option<Budget>) -> Result<usize, Short> {
        let child = id(self.threads.len() as u64);
        let purse = self.threads[parent].purse.clone();
        let paid = purse.map(|purse| purse.pay_for(child, budget, self.now)).transpose()?;
        self.store(&paid.unwrap_or_default());
        self.add(Some(parent), budget);
        Ok(self.threads.len() - 1)
    }

    fn account(&self, at: usize) -> Option<&Arc<Account>> {
        self.threads[at].purse.as_ref()?.own()
    }

    fn use_tokens(&mut self, at: usize, tokens: u64) {
        let Some(purse) = self.threads[at].purse.clone() else { return };
        let spending = Spending::of(purse, id(at as u64));
        let usage = Usage { output_tokens: tokens, cost_micros: tokens / 2, ..Usage::default() };
        spending.count(usage, self.now);
        let charges = spending.end(self.now);
        self.store(&charges);
    }

    fn close(&mut self, at: usize) {
        self.threads[at].open = false;
        let charges = self.account(at).map(|account| account.close()).unwrap_or_default();
        self.store(&charges);
    }

    fn reopen(&mut self, at: usize) -> bool {
        let Some(account) = self.account(at).cloned() else {
            self.threads[at].open = true;
            return true;
        };
        if account.reopen(self.now).is_err() {
            return false;
        }
        self.threads[at].open = true;
        self.store(&account.reopening());
        true
    }

    /// Children before parents, as a close goes.
    fn close_below(&mut self, top: usize) {
        for at in 0..self.threads.len() {
            if self.threads[at].parent == Some(top) {
                self.close_below(at);
            }
        }
        if self.threads[top].open {
            self.close(top);
        }
    }

    fn is_within(&self, mut at: usize, top: usize) -> bool {
        while at != top {
            let Some(parent) = self.threads[at].parent else { return false };
            at = parent;
        }
        true
    }

    /// Moves a thread, if its budget allows it: whether it did.
    fn put(&mut self, at: usize, to: Option<usize>, written: bool) -> bool {
        let own = self.threads[at].purse.clone();
        let above = to.and_then(|to| self.threads[to].purse.clone());
        if Purse::draws_otherwise(own.as_ref(), above.as_ref()).is_some() {
            return false;
        }
        if let Some(account) = self.account(at).cloned() {
            let Ok(moved) = account.begin_move(above.as_ref(), self.now) else { return false };
            self.store(&moved.charges());
            if !written {
                account.cancel_move(&moved);
                self.store(&moved.reversed());
                return false;
            }
            account.finish_move(moved);
        }
        if written {
            self.threads[at].parent = to;
        }
        written
    }

    /// The store says the same as memory.
    fn agree(&self) -> Result<(), TestCaseError> {
        for account in (0..self.threads.len()).filter_map(|at| self.account(at)) {
            let ledger = account.ledger();
            prop_assert_eq!(Some(&ledger), self.stored.get(&account.thread()));
        }
        Ok(())
    }

    /// What those that are open hold of an account is what it has given away; the store says the same
    /// as memory; nothing is granted twice.
    fn check(&self) -> Result<(), TestCaseError> {
        for at in 0..self.threads.len() {
            let Some(account) = self.account(at) else { continue };
            let ledger = account.ledger();
            prop_assert_eq!(Some(&ledger), self.stored.get(&account.thread()), "of {}", at);
            for what in Dimension::ALL {
                let held: i64 = (0..self.threads.len())
                    .filter(|&child| child != at && self.threads[child].open)
                    .filter_map(|child| self.account(child))
                    .filter(|child| {
                        let books = child.books.lock();
                        books.donors[what as usize]
                            .as_ref()
                            .is_some_and(|d| Arc::ptr_eq(d, account))
                    })
                    .map(|child| child.ledger().budget.of(what).map_or(0, to_signed))
                    .sum();
                prop_assert_eq!(ledger.carved.of(what), held, "{:?} of {}", what, at);
            }
        }
        let open = (0..self.threads.len()).filter(|&at| self.threads[at].open);
        let carved = open.filter_map(|at| self.account(at)).filter(|own| !own.donors().is_empty());
        prop_assert_eq!(self.leases.live(LeaseKind::Budget), carved.count() as u64);
        Ok(())
    }
}

impl Spending {
    /// What a turn of no thread in particular uses.
    fn of(purse: Purse, thread: ThreadId) -> Self {
        Self::new(purse, thread, 0)
    }
}

fn budget(tokens: Option<u64>, spawns: Option<u64>) -> Budget {
    let mut budget = Budget::new();
    (budget.tokens, budget.spawns) = (tokens, spawns);
    budget
}

#[test]
fn a_childs_part_is_its_parents_until_it_ends() {
    let mut tree = Tree::new(budget(Some(100), None));
    let child = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    let refused = tree.spawn(0, Some(budget(Some(50), None))).unwrap_err();
    assert_eq!((refused.refusal.limit, refused.refusal.value), ("budget.tokens", 40));
    assert_eq!(refused.refusal.holders, [id(1)], "who holds the rest is named");
    tree.use_tokens(child, 25);
    tree.close(child);
    let left = tree.threads[0].purse.as_ref().unwrap().left(tree.now).tokens;
    assert_eq!(left, Some(75), "what it did not use is back, what it used is gone");
    assert!(tree.reopen(child));
    let ledger = tree.account(child).unwrap().ledger();
    assert_eq!((ledger.budget.tokens, ledger.spent.tokens), (Some(35), 0), "what it had left");
    tree.check().unwrap();
}

#[test]
fn a_thread_without_a_budget_draws_on_the_nearest_that_limits_it() {
    let mut tree = Tree::new(budget(Some(100), Some(2)));
    let middle = tree.spawn(0, Some(budget(None, Some(2)))).unwrap_err();
    assert_eq!(
        (middle.refusal.limit, middle.refusal.value),
        ("budget.spawns", 1),
        "one is its own"
    );
    let plain = tree.spawn(0, None).unwrap();
    tree.use_tokens(plain, 30);
    assert_eq!(tree.account(0).unwrap().ledger().spent.tokens, 30);
    let deep = tree.spawn(plain, Some(budget(Some(70), None))).unwrap();
    assert!(tree.spawn(plain, None).is_err(), "the spawns of the root are used up");
    assert_eq!(tree.threads[plain].purse.as_ref().unwrap().left(tree.now).tokens, Some(0));
    tree.close_below(deep);
    tree.check().unwrap();
}

#[test]
fn a_thread_below_a_closed_account_is_refused_until_that_is_open_again() {
    let mut tree = Tree::new(budget(Some(100), None));
    let parent = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    let child = tree.spawn(parent, Some(budget(Some(10), None))).unwrap();
    tree.close_below(parent);
    assert!(!tree.reopen(child), "its parent has given everything back");
    assert!(tree.reopen(parent) && tree.reopen(child));
    tree.check().unwrap();
}

fn rest(tree: &Tree, at: usize) -> Option<u64> {
    tree.threads[at].purse.as_ref().unwrap().left(tree.now).tokens
}

#[test]
fn what_comes_back_after_an_end_is_there_once_when_its_thread_returns() {
    let mut tree = Tree::new(budget(Some(100), None));
    let parent = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    let child = tree.spawn(parent, Some(budget(Some(40), None))).unwrap();
    tree.close(parent);
    assert_eq!(rest(&tree, 0), Some(60), "what is out counts as used");
    tree.use_tokens(child, 10);
    tree.close(child);
    assert!(tree.reopen(parent));
    assert_eq!((rest(&tree, parent), rest(&tree, 0)), (Some(50), Some(10)));
    tree.use_tokens(parent, 50);
    tree.close(parent);
    assert_eq!(rest(&tree, 0), Some(10), "60 were used, and 30 had counted already when it ended");
    tree.agree().unwrap();
}

#[test]
fn what_comes_back_after_an_end_is_not_there_if_too_little_is_left_above() {
    let mut tree = Tree::new(budget(Some(100), None));
    let parent = tree.spawn(0, Some(budget(Some(100), None))).unwrap();
    let child = tree.spawn(parent, Some(budget(Some(50), None))).unwrap();
    tree.use_tokens(parent, 50);
    tree.close(parent);
    tree.use_tokens(child, 10);
    tree.close(child);
    assert!(tree.reopen(parent), "it may come back all the same");
    assert_eq!((rest(&tree, parent), rest(&tree, 0)), (Some(0), Some(0)));
    tree.agree().unwrap();
}

#[test]
fn an_end_that_another_host_wrote_is_one_here_and_what_returns_is_carved_again() {
    let mut tree = Tree::new(budget(Some(100), None));
    let child = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    let account = tree.account(child).unwrap().clone();
    // What the other host wrote with the end of the thread, which had used 20.
    let mut own = Charge::to(id(1));
    own.spent.tokens = 20;
    let mut donor = Charge::to(id(0));
    (donor.spent.tokens, donor.carved.tokens) = (20, -60);
    tree.store(&[own, donor]);
    let ledger = tree.stored[&id(1)];
    account.ended_elsewhere(ledger);
    account.ended_elsewhere(ledger);
    assert_eq!(rest(&tree, 0), Some(80), "once");
    assert!(tree.reopen(child));
    assert_eq!((rest(&tree, 0), rest(&tree, child)), (Some(40), Some(40)));
    tree.check().unwrap();
}

#[test]
fn what_ends_without_a_durable_end_gives_back_the_same_and_keeps_nothing() {
    let mut tree = Tree::new(budget(Some(100), None));
    let child = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    tree.use_tokens(child, 25);
    let account = tree.account(child).unwrap().clone();
    let charges = account.write_off();
    tree.store(&charges);
    tree.threads[child].open = false;
    assert_eq!(tree.account(0).unwrap().ledger().rest().tokens, Some(75));
    assert_eq!(account.ledger().rest().tokens, Some(0));
    assert!(account.write_off().is_empty(), "once");
    tree.check().unwrap();
}

#[test]
fn what_is_given_to_one_that_leaves_the_tree_counts_as_used() {
    let mut tree = Tree::new(budget(Some(100), None));
    let child = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    let account = tree.account(child).unwrap().clone();
    let charges = account.detach();
    tree.store(&charges);
    assert_eq!(tree.account(0).unwrap().ledger().rest().tokens, Some(40));
    tree.use_tokens(child, 50);
    tree.close(child);
    assert_eq!(tree.account(0).unwrap().ledger().rest().tokens, Some(40), "once");
    tree.check().unwrap();
}

#[test]
fn what_moves_has_what_it_had_left_and_those_above_it_set_it_aside() {
    let mut tree = Tree::new(budget(Some(100), None));
    let old = tree.spawn(0, Some(budget(Some(60), None))).unwrap();
    let new = tree.spawn(0, Some(budget(Some(30), None))).unwrap();
    let moved = tree.spawn(old, Some(budget(Some(40), None))).unwrap();
    assert!(!tree.put(moved, Some(new), true), "40 are more than 30");
    tree.use_tokens(moved, 15);
    assert!(!tree.put(moved, Some(new), false), "a move that does not come to be");
    tree.check().unwrap();
    assert!(tree.put(moved, Some(new), true));
    let rest = |at| tree.account(at).unwrap().ledger().rest().tokens.unwrap();
    assert_eq!((rest(old), rest(new), rest(moved)), (20, 5, 25));
    tree.check().unwrap();
    tree.close_below(old);
    assert_eq!(tree.account(0).unwrap().ledger().rest().tokens, Some(30), "40 of 60 are gone");
    tree.close_below(0);
    tree.check().unwrap();
}

#[test]
fn what_a_running_turn_has_used_moves_with_its_thread_and_counts_when_it_is_written() {
    let mut tree = Tree::new(budget(Some(100), None));
    let new = tree.spawn(0, Some(budget(Some(40), None))).unwrap();
    let moved = tree.spawn(0, Some(budget(Some(30), None))).unwrap();
    let spending = Spending::of(tree.threads[moved].purse.clone().unwrap(), id(2));
    spending.count(Usage { output_tokens: 20, ..Usage::default() }, tree.now);
    assert!(tree.put(moved, Some(new), true));
    assert_eq!(tree.stored[&id(2)].spent.tokens, 0, "never less than nothing");
    assert_eq!((rest(&tree, moved), rest(&tree, new)), (Some(10), Some(10)));
    let charges = spending.end(tree.now);
    tree.store(&charges);
    tree.check().unwrap();
    tree.close(moved);
    assert_eq!(rest(&tree, new), Some(20));
    tree.check().unwrap();
}

#[test]
fn what_stays_below_the_account_that_it_draws_on_moves_and_takes_nothing_with_it() {
    let mut tree = Tree::new(budget(Some(100), None));
    let old = tree.spawn(0, None).unwrap();
    let new = tree.spawn(0, Some(budget(None, None))).unwrap();
    let limited = tree.spawn(0, Some(budget(Some(10), None))).unwrap();
    let plain = tree.spawn(old, None).unwrap();
    let owns = tree.spawn(old, Some(budget(Some(60), None))).unwrap();
    let rest = |tree: &Tree, at: usize| tree.account(at).unwrap().ledger().rest().tokens.unwrap();
    assert!(!tree.put(plain, Some(limited), true), "it would draw on another");
    assert!(!tree.put(plain, None, true), "it would be free of any");
    assert!(tree.put(plain, Some(new), true) && tree.put(owns, Some(plain), true));
    assert_eq!((rest(&tree, 0), rest(&tree, owns)), (30, 60), "nothing was carved twice");
    assert!(!tree.put(owns, Some(old), false), "a move that does not come to be");
    tree.check().unwrap();
    tree.use_tokens(plain, 5);
    tree.use_tokens(owns, 20);
    tree.close_below(owns);
    assert_eq!(rest(&tree, 0), 65, "what it did not use is back");
    tree.check().unwrap();
}

#[test]
fn time_is_used_by_each_turn_that_runs() {
    let mut tree = Tree::new(Budget::new().with_wall_ms(10_000));
    let purse = tree.threads[0].purse.clone().unwrap();
    let second = |n: u64| tree.now + std::time::Duration::from_secs(n);
    let one = Spending::new(purse.clone(), id(0), clocked(&purse, second(0)));
    assert_eq!(one.look_at_time(second(4)).unwrap().as_millis(), 6_000);
    let two = Spending::new(purse.clone(), id(1), clocked(&purse, second(4)));
    assert_eq!(one.look_at_time(second(4)).unwrap().as_millis(), 3_000, "two use it twice as fast");
    let charges = two.end(second(6));
    assert_eq!(charges[0].spent.wall_ms, 2_000);
    assert_eq!(purse.left(second(6)).wall_ms, Some(2_000));
    assert_eq!(one.look_at_time(second(8)), None, "used up");
    let later = second(8);
    tree.store(&charges);
    let charges = one.end(later);
    tree.store(&charges);
    assert_eq!(tree.stored[&id(0)].spent.wall_ms, 10_000);
    tree.check().unwrap();
}

/// Has a turn draw its time, as `Purse::begin` does.
fn clocked(purse: &Purse, now: Instant) -> i64 {
    let mut books = purse.draws_on(Dimension::WallMs).unwrap().books.lock();
    let began = books.ms(now);
    (books.began_ms, books.clocked) = (books.began_ms + began, books.clocked + 1);
    began
}

proptest! {
    /// Whatever is spawned, used, closed, resumed, funded and given away: it adds up, and the store,
    /// which sees nothing but charges, has the same.
    #[test]
    fn budgets_add_up(
        root in (proptest::option::of(0_u64..400), proptest::option::of(0_u64..12)),
        steps in proptest::collection::vec((0_u8..8, 0_usize..64, 0_u64..80, any::<bool>()), 1..120),
    ) {
        let mut tree = Tree::new(budget(root.0, root.1));
        for (what, which, amount, both) in steps {
            let at = which % tree.threads.len();
            match what {
                0 | 1 if tree.threads[at].open => {
                    let own = match amount % 3 {
                        0 => None,
                        1 => Some(budget(Some(amount), None)),
                        _ => Some(budget(both.then_some(amount), Some(amount % 4))),
                    };
                    let before: Vec<Option<Ledger>> =
                        (0..tree.threads.len()).map(|at| Some(tree.account(at)?.ledger())).collect();
                    if tree.spawn(at, own).is_err() {
                        let after: Vec<Option<Ledger>> = (0..tree.threads.len())
                            .map(|at| Some(tree.account(at)?.ledger()))
                            .collect();
                        prop_assert_eq!(before, after, "a refusal changes nothing");
                    }
                }
                2 if tree.threads[at].open => tree.use_tokens(at, amount),
                3 if tree.threads[at].open => tree.close_below(at),
                4 if !tree.threads[at].open => {
                    let up = tree.threads[at].parent.is_none_or(|parent| tree.threads[parent].open);
                    if up {
                        tree.reopen(at);
                    }
                }
                5 if tree.threads[at].open => {
                    let more = Budget::new().with_tokens(amount);
                    if let Some(account) = tree.account(at).cloned() {
                        match account.fund(more, tree.now) {
                            Ok(charges) if both => tree.store(&charges),
                            Ok(_) => account.unfund(more),
                            Err(_) => {}
                        }
                    }
                }
                6 if tree.threads[at].open && at > 0 => {
                    if let Some(account) = tree.account(at).cloned() {
                        let charges = account.detach();
                        tree.store(&charges);
                    }
                }
                7 if tree.threads[at].open && at > 0 => {
                    let to = (amount > 0).then(|| amount as usize % tree.threads.len());
                    let fits = to.is_none_or(|to| tree.threads[to].open && !tree.is_within(to, at));
                    let before = tree.account(at).map(|account| account.ledger().rest());
                    if fits && tree.put(at, to, both) {
                        let after = tree.account(at).map(|account| account.ledger().rest());
                        prop_assert_eq!(before, after, "it has what it had left");
                    }
                }
                _ => {}
            }
            tree.check()?;
        }
        tree.close_below(0);
        prop_assert_eq!(tree.leases.live(LeaseKind::Budget), 0);
    }

    /// Also where threads end before those below them, who give back later, or to one that is there
    /// again: what was used and what all have left is never more than there was.
    #[test]
    fn nothing_is_given_twice(
        all in 0_u64..400,
        steps in proptest::collection::vec((0_u8..7, 0_usize..64, 0_u64..80), 1..160),
    ) {
        let mut tree = Tree::new(budget(Some(all), None));
        let mut used = 0;
        for (what, which, amount) in steps {
            let at = which % tree.threads.len();
            let is_open = tree.threads[at].open;
            match what {
                0 | 1 if is_open => drop(tree.spawn(at, Some(budget(Some(amount), None)))),
                2 | 3 if is_open => {
                    let tokens = amount.min(rest(&tree, at).unwrap());
                    tree.use_tokens(at, tokens);
                    used += tokens;
                }
                4 if is_open && at > 0 => tree.close(at),
                5 if !is_open => {
                    tree.reopen(at);
                }
                6 if is_open && at > 0 => {
                    let to = amount as usize % tree.threads.len();
                    if tree.threads[to].open && !tree.is_within(to, at) {
                        tree.put(at, Some(to), true);
                    }
                }
                _ => {}
            }
            tree.agree()?;
            let open = (0..tree.threads.len()).filter(|&at| tree.threads[at].open);
            let left: u64 = open.filter_map(|at| rest(&tree, at)).sum();
            prop_assert!(used + left <= all, "{used} used, {left} left, of {all}");
        }
    }
}
