//! The way up to the supervisor.

use std::fmt;
use std::sync::Arc;

use coppicer_messages::SupervisorMsg;

/// The way up to the supervisor. False if it is gone.
#[derive(Clone)]
pub struct Uplink(Arc<dyn Fn(SupervisorMsg) -> bool + Send + Sync>);

impl Uplink {
    /// An uplink that sends through `send`.
    pub fn new(send: impl Fn(SupervisorMsg) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(send))
    }

    /// Sends; false if the supervisor is gone.
    pub fn send(&self, msg: SupervisorMsg) -> bool {
        (self.0)(msg)
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uplink")
    }
}
