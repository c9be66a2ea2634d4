//! Changes of what is known of a thread. They go through the supervisor, because names are taken
//! once in a tree.

use std::sync::Arc;

use coppicer_actors::{Done, StoredThread, ThreadStore};
use coppicer_messages::{
    AgentPath, Change, Dimension, ParentClose, PatchError, Reply, RuntimeEvent, SpawnError,
    StoreError, SupervisorMsg, ThreadConfig, ThreadId, ThreadPatch,
};

use super::SupervisorState;
use super::resume::look_up;
use super::spawn::{NEEDS_BUDGET, Step, Stored};

/// A patch that is under way.
pub(super) struct Patching {
    thread: ThreadId,
    patch: ThreadPatch,
    reply: Reply<ThreadId, PatchError>,
    /// The path that was taken for it, in which tree.
    taken: Option<(ThreadId, AgentPath)>,
    /// Its tree and the path that it has there, once it was looked up.
    before: Option<(ThreadId, Option<AgentPath>)>,
}

impl SupervisorState {
    pub(super) fn on_patch(
        &mut self,
        thread: ThreadId,
        patch: ThreadPatch,
        reply: Reply<ThreadId, PatchError>,
    ) {
        if reply.expired(self.now().instant) {
            return; // P4
        }
        match self.check_room() {
            Err(SpawnError::Limit(_)) => return reply.tell(Err(PatchError::NoAnswer)),
            Err(_) if self.ended => return reply.tell(Err(PatchError::RuntimeEnded)),
            Ok(()) | Err(_) => {}
        }
        let op = self.new_op();
        self.patches.insert(op, Patching { thread, patch, reply, taken: None, before: None });
        let (store, depth_max) = (self.shared.store.clone(), self.shared.limits.depth_max);
        self.outside(
            op,
            async move { Step::PatchChecked(check(&*store, thread, depth_max).await) },
        );
    }

    pub(super) fn on_patch_checked(&mut self, op: u64, result: Result<Stored, PatchError>) {
        let Some(mut patching) = self.patches.remove(&op) else { return };
        let stored = match result {
            Ok(_) if patching.reply.expired(self.now().instant) => return, // P4
            Ok(stored) => stored,
            Err(refusal) => return patching.reply.tell(Err(refusal)),
        };
        let (thread, root) = (patching.thread, stored.place().root);
        if patching.patch.parent_close == Change::Set(ParentClose::Detach) && stored.is_limited() {
            let (field, reason) = ("parent_close", NEEDS_BUDGET);
            return patching.reply.tell(Err(PatchError::BadConfig { field, reason }));
        }
        if let Change::Set(path) = &patching.patch.path {
            // Taken here too, so that of two at once the second is refused.
            if self.table.is_taken(root, path, thread) {
                let path = path.to_string();
                return patching.reply.tell(Err(PatchError::PathTaken { path }));
            }
            if stored.thread.path.as_ref() != Some(path) {
                self.table.take_path(root, path.clone(), thread);
                patching.taken = Some((root, path.clone()));
            }
        }
        patching.before = Some((root, stored.thread.path));
        let uplink = self.shared.uplink.clone();
        let done = Done::new(move |result| {
            let step = Box::new(Step::Patched(result));
            uplink.send(SupervisorMsg::StepDone { op, step });
        });
        let patch = patching.patch.clone();
        self.patches.insert(op, patching);
        self.shared.store.patch(thread, patch, done);
    }

    pub(super) fn on_patched(&mut self, op: u64, result: Result<StoredThread, StoreError>) {
        let Some(patching) = self.patches.remove(&op) else { return };
        let Patching { thread, patch, reply, taken, before } = patching;
        let stored = match result {
            Ok(stored) => stored,
            Err(error) => {
                let unknown = matches!(error, StoreError::UnknownOutcome { .. });
                if let (Some((root, path)), false) = (&taken, unknown) {
                    self.table.free_path(*root, path, thread);
                }
                return reply.tell(Err(match error {
                    StoreError::PathTaken { path, .. } => PatchError::PathTaken { path },
                    error => PatchError::Store(error),
                }));
            }
        };
        if let Some(entry) = self.table.get_mut(thread) {
            let (root, slot) = (entry.root, entry.slot.clone());
            let before = entry.path.clone();
            patch.path.clone().apply(&mut entry.path);
            Arc::make_mut(&mut entry.rules).parent_close = stored.config.parent_close;
            let after = entry.path.clone();
            if let Some(before) = before.filter(|before| after.as_ref() != Some(before)) {
                self.table.free_path(root, &before, thread);
            }
            if let Change::Set(name) = &patch.nickname {
                self.table.take_nickname(root, name);
            }
            slot.show_patch(&patch);
            self.publish(Some(&slot), RuntimeEvent::ThreadPatched);
            self.publish(Some(&slot), slot.describe());
        } else {
            if let Some((root, path)) = before {
                self.renamed_asleep(root, thread, path.as_ref(), &patch);
            }
            self.publish_of(thread, RuntimeEvent::ThreadPatched);
            let StoredThread { path, config, .. } = stored;
            let ThreadConfig { nickname, role, internal, .. } = (*config).clone();
            let described = RuntimeEvent::ThreadDescribed { path, nickname, role, internal };
            self.publish_of(thread, described);
        }
        reply.tell(Ok(thread));
    }
}

impl SupervisorState {
    /// A thread that is in the store alone has other names from here on.
    fn renamed_asleep(
        &mut self,
        root: ThreadId,
        thread: ThreadId,
        before: Option<&AgentPath>,
        patch: &ThreadPatch,
    ) {
        if let Some(before) = before.filter(|_| !patch.path.is_keep()) {
            let stays = matches!(&patch.path, Change::Set(path) if path == before);
            if !stays {
                self.table.free_path(root, before, thread);
            }
        }
        if let Change::Set(name) = &patch.nickname {
            self.table.take_nickname(root, name);
        }
        // What the store was asked for before is old.
        if self.table.unread_since(root).is_some() {
            self.table.forget_names(root);
        }
    }
}

impl Stored {
    /// Whether it is limited in anything by a budget that is not its own.
    fn is_limited(&self) -> bool {
        let own = self.thread.ledger.map(|ledger| ledger.budget).unwrap_or_default();
        let above = |what| self.accounts.iter().any(|it| it.ledger.budget.of(what).is_some());
        Dimension::ALL.into_iter().any(|what| above(what) && own.of(what).is_none())
    }
}

/// The thread, and what is above it. Whether its new path is taken, the store says when it writes that.
async fn check(
    store: &dyn ThreadStore,
    thread: ThreadId,
    depth_max: u32,
) -> Result<Stored, PatchError> {
    look_up(store, thread, depth_max).await.map_err(|refusal| match refusal {
        SpawnError::Store(error) => PatchError::Store(error),
        _ => PatchError::Store(StoreError::NotFound { thread }),
    })
}
