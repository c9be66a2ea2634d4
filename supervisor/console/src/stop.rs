//! That a console stops, and why.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// Why it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    RuntimeEnded,
    ConsoleStopped,
}

/// Told once; everybody who waits learns of it. The first reason stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    why: Arc<OnceLock<Reason>>,
}

impl Stop {
    pub(crate) fn stop(&self, why: Reason) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    pub(crate) async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// Why it was stopped; none while it was not.
    pub(crate) fn why(&self) -> Option<Reason> {
        self.token.is_cancelled().then(|| self.why.get().copied()).flatten()
    }
}
