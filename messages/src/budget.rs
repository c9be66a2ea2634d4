//! Budgets that add up: what a thread and all below it may use, and what they have used.

use serde::{Deserialize, Serialize};

use crate::ThreadId;

/// What a thread and all below it may use. What is not said is not limited here, and draws on the
/// nearest thread above that limits it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Budget {
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// Cost, in millionths of the host's currency.
    pub cost_micros: Option<u64>,
    /// Time in which turns ran, in milliseconds; turns side by side add up.
    pub wall_ms: Option<u64>,
    /// Sub-agents spawned.
    pub spawns: Option<u64>,
}

/// One of the things that a [`Budget`] limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// [`Budget::tokens`].
    Tokens,
    /// [`Budget::cost_micros`].
    CostMicros,
    /// [`Budget::wall_ms`].
    WallMs,
    /// [`Budget::spawns`].
    Spawns,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tokens, Self::CostMicros, Self::WallMs, Self::Spawns];

    /// How a refusal names it.
    pub const fn limit(self) -> &'static str {
        match self {
            Self::Tokens => "budget.tokens",
            Self::CostMicros => "budget.cost_micros",
            Self::WallMs => "budget.wall_ms",
            Self::Spawns => "budget.spawns",
        }
    }
}

impl Budget {
    /// Nothing is limited.
    pub const fn new() -> Self {
        Self { tokens: None, cost_micros: None, wall_ms: None, spawns: None }
    }

    /// Limits tokens, read and written.
    #[must_use]
    pub const fn with_tokens(mut self, tokens: u64) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Limits cost, in millionths of the host's currency.
    #[must_use]
    pub const fn with_cost_micros(mut self, cost_micros: u64) -> Self {
        self.cost_micros = Some(cost_micros);
        self
    }

    /// Limits the time in which turns run, in milliseconds.
    #[must_use]
    pub const fn with_wall_ms(mut self, wall_ms: u64) -> Self {
        self.wall_ms = Some(wall_ms);
        self
    }

    /// Limits the sub-agents that are spawned.
    #[must_use]
    pub const fn with_spawns(mut self, spawns: u64) -> Self {
        self.spawns = Some(spawns);
        self
    }

    /// What it says of one dimension.
    pub const fn of(&self, what: Dimension) -> Option<u64> {
        match what {
            Dimension::Tokens => self.tokens,
            Dimension::CostMicros => self.cost_micros,
            Dimension::WallMs => self.wall_ms,
            Dimension::Spawns => self.spawns,
        }
    }

    /// Where it says so.
    pub const fn of_mut(&mut self, what: Dimension) -> &mut Option<u64> {
        match what {
            Dimension::Tokens => &mut self.tokens,
            Dimension::CostMicros => &mut self.cost_micros,
            Dimension::WallMs => &mut self.wall_ms,
            Dimension::Spawns => &mut self.spawns,
        }
    }
}

impl Amounts {
    /// The amount of one dimension.
    pub const fn of(&self, what: Dimension) -> i64 {
        match what {
            Dimension::Tokens => self.tokens,
            Dimension::CostMicros => self.cost_micros,
            Dimension::WallMs => self.wall_ms,
            Dimension::Spawns => self.spawns,
        }
    }

    /// Where it is.
    pub const fn of_mut(&mut self, what: Dimension) -> &mut i64 {
        match what {
            Dimension::Tokens => &mut self.tokens,
            Dimension::CostMicros => &mut self.cost_micros,
            Dimension::WallMs => &mut self.wall_ms,
            Dimension::Spawns => &mut self.spawns,
        }
    }

    /// Whether all are 0.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// One amount for each thing that a [`Budget`] limits. A change where it is negative.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Amounts {
    /// Tokens, read and written.
    pub tokens: i64,
    /// Cost, in millionths of the host's currency.
    pub cost_micros: i64,
    /// Time in which turns ran, in milliseconds.
    pub wall_ms: i64,
    /// Sub-agents spawned.
    pub spawns: i64,
}

/// The account of a thread that has a budget, as the store keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Ledger {
    /// What it was granted.
    pub budget: Budget,
    /// What it has used, and what those below it used that are over.
    pub spent: Amounts,
    /// What it has given to threads below it that are not over.
    pub carved: Amounts,
}

/// A change of the ledger of one thread. The store applies it in the transaction of the write that
/// it belongs to; one to a thread without a ledger changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Charge {
    /// Whose ledger.
    pub to: ThreadId,
    /// What is granted: of what its budget limits.
    pub granted: Amounts,
    /// What is used.
    pub spent: Amounts,
    /// What is given to a thread below it, or came back from it.
    pub carved: Amounts,
}

impl Charge {
    /// A change of nothing.
    pub const fn to(to: ThreadId) -> Self {
        let none = Amounts { tokens: 0, cost_micros: 0, wall_ms: 0, spawns: 0 };
        Self { to, granted: none, spent: none, carved: none }
    }

    /// The change that takes this one back.
    #[must_use]
    pub fn reversed(self) -> Self {
        let Self { to, granted, spent, carved } = self;
        Self { to, granted: -granted, spent: -spent, carved: -carved }
    }

    /// The change that takes the making of a thread back. `ended`: its durable end has given back what
    /// was carved for it.
    #[must_use]
    pub fn undone(self, ended: bool) -> Self {
        let back = self.reversed();
        if ended { Self { carved: Amounts::default(), ..back } } else { back }
    }
}

impl std::ops::Neg for Amounts {
    type Output = Self;

    fn neg(self) -> Self {
        let Self { tokens, cost_micros, wall_ms, spawns } = self;
        Self { tokens: -tokens, cost_micros: -cost_micros, wall_ms: -wall_ms, spawns: -spawns }
    }
}

impl std::ops::AddAssign for Amounts {
    fn add_assign(&mut self, more: Self) {
        self.tokens = self.tokens.saturating_add(more.tokens);
        self.cost_micros = self.cost_micros.saturating_add(more.cost_micros);
        self.wall_ms = self.wall_ms.saturating_add(more.wall_ms);
        self.spawns = self.spawns.saturating_add(more.spawns);
    }
}

impl Ledger {
    /// A fresh account.
    pub fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Carries out a change.
    pub fn apply(&mut self, charge: &Charge) {
        let grant = |limit: &mut Option<u64>, more: i64| {
            *limit = limit.map(|limit| limit.saturating_add_signed(more));
        };
        grant(&mut self.budget.tokens, charge.granted.tokens);
        grant(&mut self.budget.cost_micros, charge.granted.cost_micros);
        grant(&mut self.budget.wall_ms, charge.granted.wall_ms);
        grant(&mut self.budget.spawns, charge.granted.spawns);
        self.spent += charge.spent;
        self.carved += charge.carved;
    }

    /// What is left of it; none where it does not limit, 0 where more was used than it had.
    pub fn rest(&self) -> Budget {
        let rest = |limit: Option<u64>, spent: i64, carved: i64| {
            let gone = u64::try_from(spent.saturating_add(carved)).unwrap_or(0);
            limit.map(|limit| limit.saturating_sub(gone))
        };
        let Self { budget, spent, carved } = self;
        Budget {
            tokens: rest(budget.tokens, spent.tokens, carved.tokens),
            cost_micros: rest(budget.cost_micros, spent.cost_micros, carved.cost_micros),
            wall_ms: rest(budget.wall_ms, spent.wall_ms, carved.wall_ms),
            spawns: rest(budget.spawns, spent.spawns, carved.spawns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_away_and_what_was_used_is_not_there_any_more() {
        let thread = ThreadId::from_parts(1, [0; 10]);
        let mut ledger = Ledger::new(Budget { tokens: Some(100), ..Budget::default() });
        let mut charge = Charge::to(thread);
        charge.spent.tokens = 30;
        charge.carved.tokens = 50;
        ledger.apply(&charge);
        assert_eq!(ledger.rest().tokens, Some(20));
        assert_eq!(ledger.rest().spawns, None, "not limited");
        ledger.apply(&charge);
        assert_eq!(ledger.rest().tokens, Some(0), "never less than nothing");
        ledger.apply(&charge.reversed());
        ledger.apply(&charge.reversed());
        assert_eq!(ledger.rest().tokens, Some(100));
        let mut grant = Charge::to(thread);
        grant.granted.tokens = 5;
        ledger.apply(&grant);
        assert_eq!(ledger.rest().tokens, Some(105));
    }
}
