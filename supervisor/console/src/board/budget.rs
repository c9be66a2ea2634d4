//! A budget, as clients have it.

use std::collections::BTreeMap;

use coppicer_messages::{Amounts, Budget, Dimension, Ledger};
use serde::Serialize;

/// Amounts by the name of what is limited. Dimensions that are not limited are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BudgetRow {
    granted: BTreeMap<&'static str, u64>,
    spent: BTreeMap<&'static str, i64>,
    carved: BTreeMap<&'static str, i64>,
    left: BTreeMap<&'static str, u64>,
}

impl BudgetRow {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let used = |amounts: &Amounts| {
            let of =
                |what: Dimension| ledger.budget.of(what).map(|_| (name(what), amounts.of(what)));
            Dimension::ALL.into_iter().filter_map(of).collect()
        };
        Self {
            granted: Self::limited(&ledger.budget),
            spent: used(&ledger.spent),
            carved: used(&ledger.carved),
            left: Self::limited(&ledger.rest()),
        }
    }

    /// What of a budget is limited.
    pub(crate) fn limited(budget: &Budget) -> BTreeMap<&'static str, u64> {
        let of = |what: Dimension| budget.of(what).map(|amount| (name(what), amount));
        Dimension::ALL.into_iter().filter_map(of).collect()
    }
}

fn name(what: Dimension) -> &'static str {
    what.limit().trim_start_matches("budget.")
}
