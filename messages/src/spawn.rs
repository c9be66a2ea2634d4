//! Requests that bring a thread to life. New, resumed and forked threads take the same road.

use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use crate::TraceContext;
use crate::{
    Budget, Children, ForkPoint, ParentClose, Poison, RestartPolicy, StuckPolicy, Submission,
    ThreadId, TreeLimits,
};

/// Where a thread comes from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Origin {
    /// It is new.
    New,
    /// It is in the store. One that is live already is the answer, whatever else is asked.
    Resume {
        /// Which.
        thread: ThreadId,
        /// The rollout that it is to have been imported from: a live one with another is refused
        /// (REF 1.5). `None` matches every one.
        rollout_path: Option<String>,
    },
    /// It begins as another's history up to a point. The other is unchanged.
    Fork {
        /// The source.
        from: ThreadId,
        /// Where it is cut.
        at: ForkPoint,
    },
}

/// A request to bring one thread to life.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SpawnThread {
    /// Where it comes from.
    pub origin: Origin,
    /// The id that a new thread or fork shall have; `None` makes one.
    pub id: Option<ThreadId>,
    /// The thread that it is a sub-agent of.
    pub parent: Option<ThreadId>,
    /// How it is configured.
    pub config: ThreadConfig,
    /// Its name below its parent: one path segment of `a-z 0-9 _`, unique among its siblings.
    pub name: Option<String>,
    /// Whether a root without a nickname is given one too, as every sub-agent is.
    pub nicknamed: bool,
    /// Its first submission, accepted before anybody else's.
    pub first: Option<Submission>,
    /// What follows if a limit is met.
    pub on_limit: OnLimit,
    /// W3C trace context of the caller: the cause of the new thread or fork, and of its first
    /// submission, unless that says another.
    pub trace: Option<TraceContext>,
}

/// What follows if a spawn meets a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnLimit {
    /// It is refused at once.
    #[default]
    Refuse,
    /// It stands in line until its deadline, if the limit may pass by itself or by the end of
    /// another: first come first served for each tree, thread or runtime that has the limit.
    Wait,
}

impl SpawnThread {
    /// A request with what has no sensible default.
    pub fn from_origin(origin: Origin) -> Self {
        Self {
            origin,
            id: None,
            parent: None,
            config: ThreadConfig::default(),
            name: None,
            nicknamed: false,
            first: None,
            on_limit: OnLimit::Refuse,
            trace: None,
        }
    }

    /// A new thread.
    pub fn new() -> Self {
        Self::from_origin(Origin::New)
    }

    /// A thread that is in the store. Name, parent and configuration are its own: what the request
    /// says of them is ignored (REF 1.5). Its [`first`](Self::first) is submitted to it; if that is
    /// refused, the thread is up all the same.
    pub fn resume(thread: ThreadId) -> Self {
        Self::from_origin(Origin::Resume { thread, rollout_path: None })
    }

    /// A fork of `from`, cut at `at`.
    pub fn fork(from: ThreadId, at: impl Into<ForkPoint>) -> Self {
        Self::from_origin(Origin::Fork { from, at: at.into() })
    }

    /// Sets the id of a new thread or fork.
    #[must_use]
    pub const fn with_id(mut self, id: ThreadId) -> Self {
        self.id = Some(id);
        self
    }

    /// Makes it a sub-agent of `parent`.
    #[must_use]
    pub const fn with_parent(mut self, parent: ThreadId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Sets its configuration.
    #[must_use]
    pub fn with_config(mut self, config: ThreadConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets its name below its parent.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Has a root given a nickname. Every sub-agent that has none of its own in its
    /// [`config`](Self::config) is given one anyway.
    #[must_use]
    pub const fn nicknamed(mut self) -> Self {
        self.nicknamed = true;
        self
    }

    /// Has it stand in line if it meets a limit that may pass, until its deadline.
    #[must_use]
    pub const fn or_wait(mut self) -> Self {
        self.on_limit = OnLimit::Wait;
        self
    }

    /// Has it outlive its parent, or not. One that does needs a budget of its own for all that its
    /// parent is limited in; otherwise the spawn is refused as
    /// [`BadConfig`](crate::SpawnError::BadConfig).
    #[must_use]
    pub const fn with_parent_close(mut self, policy: ParentClose) -> Self {
        self.config.parent_close = policy;
        self
    }

    /// Sets the W3C trace context of the caller.
    #[must_use]
    pub fn with_trace(mut self, trace: TraceContext) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Hands what caused it down to what says no cause of its own.
    #[doc(hidden)]
    #[must_use]
    pub fn caused_by(mut self, cause: Option<TraceContext>) -> Self {
        self.trace = self.trace.or(cause);
        if let Some(first) = self.first.as_mut().filter(|first| first.trace.is_none()) {
            first.trace.clone_from(&self.trace);
        }
        self
    }

    /// Sets its first submission.
    #[must_use]
    pub fn with_first(mut self, first: impl Into<Submission>) -> Self {
        self.first = Some(first.into());
        self
    }
}

impl Default for SpawnThread {
    fn default() -> Self {
        Self::new()
    }
}

/// What a host settles for one thread. Kept with the thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ThreadConfig {
    /// The working directory that its meta line names.
    pub cwd: Option<String>,
    /// The model that its meta line names.
    pub model: Option<String>,
    /// What kind of session started it; `cli` if none is said.
    pub source: Option<String>,
    /// `user`, `subagent`, …
    pub thread_source: Option<String>,
    /// A name for people. A sub-agent without one is given one that no other of its tree has.
    pub nickname: Option<String>,
    /// Its role.
    pub role: Option<String>,
    /// Whether it is hidden: not listed, not found by id, but closed with everything (REF 1.3).
    pub internal: bool,
    /// What follows a crash.
    pub restart: RestartPolicy,
    /// What becomes of a turn that crashed.
    pub on_crash: OnCrash,
    /// Whether the engine runs on OS threads of its own, where blocking it harms nobody else.
    pub placement: Placement,
    /// When a turn that crashes is not tried again.
    pub poison: Poison,
    /// How it supervises its children.
    pub children: Children,
    /// Whether its end counts for its parent's [`AutoShutdown`](crate::AutoShutdown).
    pub significant: bool,
    /// What becomes of it when its parent is closed.
    pub parent_close: ParentClose,
    /// What it and all below it may use: carved from its parent's.
    pub budget: Option<Budget>,
    /// Tighter bounds for its tree, if it is a root.
    pub tree: TreeLimits,
    /// When its turns count as stuck, and what follows.
    pub stuck: StuckPolicy,
}

impl ThreadConfig {
    /// The same, to be shared. Threads that are configured by default share one.
    pub fn shared(&self) -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<ThreadConfig>> = LazyLock::new(Arc::default);
        if *self == **DEFAULT { DEFAULT.clone() } else { Arc::new(self.clone()) }
    }

    /// The default with another restart policy.
    #[must_use]
    pub const fn with_restart(mut self, restart: RestartPolicy) -> Self {
        self.restart = restart;
        self
    }

    /// The default with another rule for turns that make no progress.
    #[must_use]
    pub const fn with_stuck(mut self, stuck: StuckPolicy) -> Self {
        self.stuck = stuck;
        self
    }

    /// The default with a budget.
    #[must_use]
    pub const fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// The default with tighter bounds for its tree. Counts for roots.
    #[must_use]
    pub const fn with_tree(mut self, limits: TreeLimits) -> Self {
        self.tree = limits;
        self
    }

    /// The default with another way to supervise its children.
    #[must_use]
    pub const fn with_children(mut self, children: Children) -> Self {
        self.children = children;
        self
    }

    /// The default, significant for its parent's [`AutoShutdown`](crate::AutoShutdown).
    #[must_use]
    pub const fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    /// The default, which goes on when its parent is closed: [`ParentClose::Detach`].
    #[must_use]
    pub const fn detached(mut self) -> Self {
        self.parent_close = ParentClose::Detach;
        self
    }

    /// The default with another rule for turns that crash again and again.
    #[must_use]
    pub const fn with_poison(mut self, poison: Poison) -> Self {
        self.poison = poison;
        self
    }

    /// The default in another working directory.
    #[must_use]
    pub fn with_cwd(mut self, cwd: impl Into<String>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// The default with a role.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// The default with a nickname, which is taken as it is.
    #[must_use]
    pub fn with_nickname(mut self, nickname: impl Into<String>) -> Self {
        self.nickname = Some(nickname.into());
        self
    }

    /// The default, hidden.
    #[must_use]
    pub const fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// The default with its engine placed elsewhere.
    #[must_use]
    pub const fn with_placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// The default with another rule for turns that a dead host left.
    #[must_use]
    pub const fn with_on_crash(mut self, on_crash: OnCrash) -> Self {
        self.on_crash = on_crash;
        self
    }
}

/// Where a thread's engine runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// On the host's async workers, with everything else. Code that blocks them blocks the host.
    #[default]
    Shared,
    /// On an OS thread of its own for each turn. For engines that may block.
    Dedicated,
}

/// What becomes of a submission whose turn crashed: its engine panicked, or its thread's actor or its
/// host died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnCrash {
    /// It ends: as `Crashed` if its engine panicked, else as `Interrupted`.
    #[default]
    Interrupt,
    /// It is tried again if its actor or its host died, at most this many times in all, then ends as
    /// `Crashed`. A panic of its engine ends it at once.
    Requeue {
        /// Most attempts.
        attempts_max: u32,
    },
    /// It is tried again whatever crashed, at most this many times in all and as long as it is no
    /// [`Poison`], then ends as `Crashed`. A turn that mail alone started is not tried again.
    Retry {
        /// Most attempts.
        attempts_max: u32,
    },
}
