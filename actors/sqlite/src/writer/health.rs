//! What a store tells of its own state.

use coppicer_actors::{StoreHealth, StoreWatch};
use coppicer_messages::StoreTrouble;
use parking_lot::Mutex;

/// Whether the store can write, told at each change.
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
            if state.ailing.is_some() {
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
