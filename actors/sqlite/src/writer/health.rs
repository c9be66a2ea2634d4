//! What a store tells of its own state.

use coppicer_actors::{StoreHealth, StoreWatch};
use coppicer_messages::StoreTrouble;
use parking_lot::Mutex;

/// Whether the store can write, and what kind of trouble keeps it from that, told at each change.
#[derive(Default)]
pub(crate) struct Health {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Why it cannot; none if it can.
    ailing: Option<(StoreTrouble, String)>,
    watches: Vec<StoreWatch>,
}

impl Health {
    /// Tells `told` of changes from now on, and at once if the store is ailing.
    pub(crate) fn watch(&self, told: &StoreWatch) {
        let ailing = {
            let mut state = self.state.lock();
            state.watches.push(told.clone());
            state.ailing.clone()
        };
        if let Some((trouble, reason)) = ailing {
            told(StoreHealth::Ailing { trouble, reason });
        }
    }

    pub(crate) fn ailing(&self, trouble: StoreTrouble, reason: &str) {
        let watches = {
            let mut state = self.state.lock();
            // Of one trouble there are many errors. Another kind of it asks for something else to be done.
            let known = state.ailing.as_ref().map(|(known, _)| *known);
            if known.is_some_and(|known| known == trouble || trouble == StoreTrouble::Other) {
                return;
            }
            state.ailing = Some((trouble, reason.to_owned()));
            state.watches.clone()
        };
        tracing::error!(%trouble, reason, "the store cannot write");
        tell(&watches, &StoreHealth::Ailing { trouble, reason: reason.to_owned() });
    }

    pub(crate) fn well(&self) {
        let watches = {
            let mut state = self.state.lock();
            if state.ailing.take().is_none() {
                return;
            }
            state.watches.clone()
        };
        tracing::info!("the store writes again");
        tell(&watches, &StoreHealth::Well);
    }

    pub(crate) fn damaged(&self, damage: &StoreHealth) {
        let watches = self.state.lock().watches.clone();
        tracing::error!(?damage, "a thread of the store is damaged");
        tell(&watches, damage);
    }
}

fn tell(watches: &[StoreWatch], health: &StoreHealth) {
    for watch in watches {
        watch(health.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn trouble_is_told_once_and_again_only_if_it_is_of_another_kind() {
        let health = Health::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = told.clone();
        health.watch(&(Arc::new(move |health| keep.lock().push(health)) as StoreWatch));
        let all = [
            (StoreTrouble::Other, "no folder"),
            (StoreTrouble::DiskFull, "full"),
            (StoreTrouble::DiskFull, "still full"),
            (StoreTrouble::Other, "an error of the disk"),
            (StoreTrouble::ReadOnly, "mounted anew"),
        ];
        for (trouble, reason) in all {
            health.ailing(trouble, reason);
        }
        health.well();
        health.well();
        let ailing = |at: usize| {
            let (trouble, reason) = all[at];
            StoreHealth::Ailing { trouble, reason: reason.to_owned() }
        };
        assert_eq!(*told.lock(), [ailing(0), ailing(1), ailing(4), StoreHealth::Well]);
    }
}
