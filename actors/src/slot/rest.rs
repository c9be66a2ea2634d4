//! How a thread goes to sleep, and when it may.

use coppicer_messages::{Phase, ThreadMsg, ThreadPatch};
use tokio::time::Instant;

use super::{Door, Shown, Slot};

impl Slot {
    /// Gives up the actor if nothing waits: true if nothing did. Then the next message asks for one.
    pub(crate) fn try_sleep(&self) -> bool {
        let mut lanes = self.lanes.lock();
        if !lanes.input.is_empty() || !lanes.control.is_empty() {
            return false;
        }
        lanes.actor = None;
        lanes.woken = false;
        lanes.door = Door::Dormant;
        true
    }

    /// Notes that the thread did something that keeps it awake for a while.
    pub(crate) fn touch(&self, now: Instant) {
        let mut shown = self.shown.lock();
        shown.active = now.max(shown.active);
    }

    /// Since when nothing was asked of the thread and nothing ran in it; none while something does,
    /// while it pauses after a crash, and while it is parked.
    pub fn idle_since(&self) -> Option<Instant> {
        let rests = |shown: &Shown| shown.phase == Phase::Idle && shown.turn.is_none();
        let since = self.with_view(|shown| rests(shown).then_some(shown.active));
        since.filter(|_| self.depth() == 0)
    }

    /// Asks its actor something, if it has one. Otherwise the request is dropped: it wakes nobody.
    pub fn ask_awake(&self, msg: ThreadMsg) {
        self.notice(msg);
    }

    /// Whether it sleeps, and nothing and nobody waits in it.
    pub fn is_at_rest(&self) -> bool {
        let mut lanes = self.lanes.lock();
        if let Some(waiters) = lanes.waiters.there() {
            waiters.retain(|(_, waiting)| !waiting.is_closed());
        }
        lanes.door == Door::Dormant
            && lanes.actor.is_none()
            && lanes.used == 0
            && lanes.control.is_empty()
            && lanes.waiters.is_empty()
    }

    /// Shows what a patch says of the thread.
    pub fn show_patch(&self, patch: &ThreadPatch) {
        self.change_view(|view| {
            let ThreadPatch { nickname, role, path, .. } = patch.clone();
            nickname.apply(&mut view.names.nickname);
            role.apply(&mut view.names.role);
            path.apply(&mut view.path);
        });
    }
}
