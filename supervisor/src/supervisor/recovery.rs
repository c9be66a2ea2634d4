//! Bringing up what an earlier process left unfinished, and what waits for the store.
//!
//! The store knows which threads have something to do. They come up in the background, a few at a
//! time; nothing else is loaded, and nobody waits for it.

use std::collections::HashMap;

use coppicer_actors::{About, Lineage, StoredThread};
use coppicer_messages::{
    Deadline, RuntimeEvent, SpawnError, SpawnOrigin, StoreError, SupervisorTick, ThreadId,
};

use super::spawn::{Kind, Step};
use super::table::Life;
use super::{SupervisorState, publish_of};

/// Which threads of its store a runtime brings up when it starts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recover {
    /// Those that an earlier process left unfinished: with submissions that have no outcome, or with
    /// unread mail that starts a turn. So every submission that was ever accepted gets its one
    /// outcome, though nobody asks for its thread (P3).
    #[default]
    Unfinished,
    /// None. What is unfinished goes on when somebody asks for its thread.
    OnDemand,
}

/// How far the recovery is.
#[derive(Debug)]
pub(super) struct Recovery {
    pages: Pages,
    after: Option<ThreadId>,
    /// Those that were found and are not up, and who they are once the store has said it.
    found: HashMap<ThreadId, Option<Box<Who>>>,
}

/// Who a thread is that is in the store alone: who hears of it wants to know by what name it goes.
#[derive(Debug, Clone)]
pub(super) struct Who {
    about: About,
    nickname: Option<String>,
}

impl Who {
    /// As the store has it; what is above its parent it may not say.
    pub(super) fn of(stored: &StoredThread) -> Self {
        let mut about = About::of(stored.id);
        about.parent = stored.parent.map(|(parent, _)| parent);
        about.path.clone_from(&stored.path);
        about.depth = stored.depth;
        Self { about, nickname: stored.config.nickname.clone() }
    }

    /// The same, below this.
    pub(super) fn below(mut self, lineage: &Lineage) -> Self {
        self.about.lineage = lineage.clone();
        self
    }
}

/// Whether the store is asked for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pages {
    /// There may be more.
    More,
    /// It is being asked.
    Asked,
    /// It could not tell, and is asked again after a pause.
    Pause,
    /// There is no more.
    Over,
}

impl Recovery {
    pub(super) fn new(recover: Recover) -> Self {
        let pages = match recover {
            Recover::Unfinished => Pages::More,
            Recover::OnDemand => Pages::Over,
        };
        Self { pages, after: None, found: HashMap::new() }
    }

    /// A thread is to come up that is in the store alone.
    pub(super) fn has_found(&mut self, thread: ThreadId) {
        self.found.insert(thread, None);
    }

    /// Who a thread is that was found, if the store has said it.
    pub(super) fn take_who(&mut self, thread: ThreadId) -> Option<Box<Who>> {
        self.found.get_mut(&thread).and_then(Option::take)
    }

    /// The store may be asked again.
    pub(super) fn end_pause(&mut self) {
        if self.pages == Pages::Pause {
            self.pages = Pages::More;
        }
    }
}

impl SupervisorState {
    /// Brings up what is to come up by itself, as far as there is room, and asks for more.
    pub(super) fn bring_back(&mut self) {
        if self.ended || self.closing_all > 0 {
            return;
        }
        while let Some(thread) = self.comebacks.next() {
            match self.table.get(thread).map(|entry| (entry.life(), entry.closing)) {
                Some((Life::AwaitStore, false)) if self.parent_comes(thread) => {
                    self.comebacks.done(thread);
                    self.table.set_life(thread, Life::AwaitParent);
                }
                Some((Life::AwaitStore, false)) => {
                    let parking = self.table.get(thread).is_some_and(|entry| entry.parking);
                    let kind = if parking { Kind::Parking } else { Kind::Restart };
                    self.load(thread, SpawnOrigin::Activation, Vec::new(), kind);
                }
                None if self.recovery.found.contains_key(&thread)
                    && !self.coming.contains_key(&thread) =>
                {
                    self.find(thread, SpawnOrigin::Recovery, Vec::new());
                }
                // Somebody else has brought it up, or does.
                Some(_) | None => self.came_back(thread),
            }
        }
        if self.recovery.pages == Pages::More && self.comebacks.runs_low() {
            self.recovery.pages = Pages::Asked;
            let (store, after) = (self.shared.store.clone(), self.recovery.after);
            let count = self.shared.limits.recoveries_max.max(1);
            let op = self.new_op();
            self.outside(op, async move { Step::Unfinished(store.unfinished(after, count).await) });
        }
    }

    pub(super) fn on_unfinished(&mut self, result: Result<Vec<ThreadId>, StoreError>) {
        if self.recovery.pages != Pages::Asked {
            return; // everything closes meanwhile
        }
        match result {
            Ok(threads) => {
                // A store whose index is damaged may go back: then there is no end to it.
                let goes_on = threads.last().is_some_and(|last| self.recovery.after < Some(*last));
                self.recovery.pages = if goes_on { Pages::More } else { Pages::Over };
                self.recovery.after = threads.last().copied().or(self.recovery.after);
                for thread in threads {
                    if self.table.get(thread).is_none() {
                        self.recovery.found.insert(thread, None);
                        self.comebacks.add(thread);
                    }
                }
            }
            Err(error) => {
                let reason = format!("cannot ask the store what is unfinished: {error}");
                let (again, nickname) = (true, None);
                self.publish(None, RuntimeEvent::RecoveryFailed { reason, again, nickname });
                self.recovery.pages = Pages::Pause;
                let pause = self.shared.limits.store_retry;
                let at = Deadline::after(self.now().instant, pause).instant();
                self.arm_first(at, SupervisorTick::ComebackDue);
            }
        }
    }

    pub(super) fn on_comeback_due(&mut self) {
        self.came(SupervisorTick::ComebackDue);
        self.recovery.end_pause();
        self.comebacks.due(self.now().instant);
        self.arm_comebacks();
    }

    /// A thread is up, or does not come up by itself any more.
    pub(super) fn came_back(&mut self, thread: ThreadId) {
        self.comebacks.done(thread);
        self.recovery.found.remove(&thread);
    }

    /// A thread that was left unfinished did not come up. It is tried again, unless that is in vain.
    /// `who` it is, if that was known before its entry was taken back.
    pub(super) fn recovery_failed(
        &mut self,
        thread: ThreadId,
        refusal: &SpawnError,
        who: Option<Box<Who>>,
    ) {
        let again = match refusal {
            SpawnError::Store(_) | SpawnError::Limit(_) => true,
            // It has come to its end, or is to.
            SpawnError::NotFound { .. } | SpawnError::Closing { .. } | SpawnError::RuntimeEnded => {
                return self.came_back(thread);
            }
            _ => false,
        };
        let reason = format!("thread {thread}: {refusal}");
        let who = who.or_else(|| self.recovery.take_who(thread));
        let nickname = who.as_ref().and_then(|who| who.nickname.clone());
        let failed = RuntimeEvent::RecoveryFailed { reason, again, nickname };
        match who.as_deref().filter(|_| self.table.get(thread).is_none()) {
            Some(who) => publish_of(&self.shared, &who.about, failed),
            None => self.publish_of(thread, failed),
        }
        if !again {
            return self.came_back(thread);
        }
        let pause = self.shared.limits.store_retry;
        let at = Deadline::after(self.now().instant, pause).instant();
        self.recovery.found.insert(thread, who);
        self.comebacks.add_later(thread, at);
        self.arm_comebacks();
    }

    /// The store has said who one of those is that are to come up.
    pub(super) fn learn_who(&mut self, thread: ThreadId, who: impl FnOnce() -> Who) {
        if let Some(known) = self.recovery.found.get_mut(&thread) {
            *known = Some(Box::new(who()));
        }
    }

    /// Nothing comes up by itself any more: everything closes.
    pub(super) fn stop_recovering(&mut self) {
        self.comebacks.clear();
        self.recovery.pages = Pages::Over;
        self.recovery.found.clear();
    }
}
