//! Restart policies: what follows a crash (P7).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether a child comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// After a crash and after a normal end that nobody asked for.
    Permanent,
    /// After a crash only.
    #[default]
    Transient,
    /// Never.
    Temporary,
}

/// How often, within which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RestartLimit {
    /// Most restarts within `period`.
    pub count: u32,
    /// The window.
    pub period: Duration,
}

/// The pause before a restart: `initial × factor^(n-1)`, at most `max`, plus up to `jitter` of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// The pause before the first restart of a window.
    pub initial: Duration,
    /// What each further one multiplies it with; at least 1.
    pub factor: f32,
    /// The longest pause, before jitter.
    pub max: Duration,
    /// Share of the pause that is added at random, from 0 to 1.
    pub jitter: f32,
}

/// What follows when the restarts are spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnSpent {
    /// The thread is parked: readable, forkable, closable, revivable.
    #[default]
    Park,
    /// The thread is closed.
    Close,
    /// It is its parent's affair: that one crashes of it, and what is below comes back with it. A
    /// root is parked.
    Escalate,
}

/// Which siblings come back with a child that crashed. Those that go down with it do so in the
/// reverse of their start order, come back in it, and none of their restart budgets is charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// None.
    #[default]
    OneForOne,
    /// Those that were started after it.
    RestForOne,
    /// All.
    OneForAll,
}

/// Whether a thread closes when its significant children have ended by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// No.
    #[default]
    Never,
    /// With the first of them.
    Any,
    /// With the last of them.
    All,
}

/// What becomes of a sub-agent when its parent is closed, whoever closes that one: a caller, the
/// thread itself, its restart policy, or a close of something above it. A parent that crashes, comes
/// back, is parked or sleeps is not closed: that changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentClose {
    /// It is closed first.
    #[default]
    Close,
    /// It goes on, with all below it: it is the root of a tree of its own from then on. It keeps its
    /// id, path, history, inbox and budget. Closing everything closes it too.
    Detach,
}

/// How a thread supervises its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Children {
    /// Who comes back with one that crashed.
    pub strategy: Strategy,
    /// Whether the thread closes with its significant children.
    pub auto_shutdown: AutoShutdown,
}

/// What follows a crash of one thread. Siblings never share a budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// Whether it comes back.
    pub restart: Restart,
    /// How often.
    pub limit: RestartLimit,
    /// After which pause.
    pub backoff: Backoff,
    /// What follows when that is spent.
    pub on_spent: OnSpent,
}

impl Default for RestartPolicy {
    /// Five restarts a minute, from 100 ms doubling to 10 s, a tenth of jitter, then parked.
    fn default() -> Self {
        Self {
            restart: Restart::Transient,
            limit: RestartLimit { count: 5, period: Duration::from_secs(60) },
            backoff: Backoff {
                initial: Duration::from_millis(100),
                factor: 2.0,
                max: Duration::from_secs(10),
                jitter: 0.1,
            },
            on_spent: OnSpent::Park,
        }
    }
}

impl RestartPolicy {
    /// The default with another budget.
    #[must_use]
    pub const fn with_limit(mut self, count: u32, period: Duration) -> Self {
        self.limit = RestartLimit { count, period };
        self
    }

    /// The default with another pause.
    #[must_use]
    pub const fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The default with another end.
    #[must_use]
    pub const fn with_on_spent(mut self, on_spent: OnSpent) -> Self {
        self.on_spent = on_spent;
        self
    }

    /// The default for children that come back otherwise.
    #[must_use]
    pub const fn with_restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }
}
