//! What the threads of a stored tree are called. A tree that came from the store has threads that are
//! not here; their names are read once, before the first spawn in it that takes or is given one.

use coppicer_actors::Named;
use coppicer_messages::{AgentPath, SpawnError, SpawnThread, StoreError, ThreadId};

use super::spawn::{Step, Waiter};
use super::table::Entry;
use super::{Postponed, SupervisorState};

/// Spawns that wait for the names of their tree.
pub(super) struct Naming {
    waiting: Vec<Postponed>,
    /// What the names are good for: see [`Table::learn_names`](super::table::Table::learn_names).
    since: u64,
    /// Threads that ended since the store was asked, and their paths.
    over: Vec<(ThreadId, Option<AgentPath>)>,
}

impl Naming {
    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a thread is over by now, or was below one that is.
    fn is_over(&self, named: &Named) -> bool {
        self.over.iter().any(|(thread, path)| {
            let above = path.as_ref().zip(named.path.as_ref());
            *thread == named.thread || above.is_some_and(|(above, path)| path.is_within(above))
        })
    }
}

impl SupervisorState {
    /// The root of the tree whose names have to be read before this is spawned.
    pub(super) fn names_to_read(&self, request: &SpawnThread) -> Option<ThreadId> {
        let root = self.table.root_of(request.parent?)?;
        let asks = request.name.is_some() || request.config.nickname.is_none();
        (asks && self.table.unread_since(root).is_some()).then_some(root)
    }

    /// Has a spawn wait for the names of its tree; the first one has them read.
    pub(super) fn read_names(&mut self, root: ThreadId, spawn: Postponed) {
        let now = self.now().instant;
        if let Some(naming) = self.naming.get_mut(&root) {
            naming.waiting.retain(|waiting| !waiting.reply.expired(now));
            return naming.waiting.push(spawn);
        }
        let since = self.table.unread_since(root).unwrap_or_default();
        self.naming.insert(root, Naming { waiting: vec![spawn], since, over: Vec::new() });
        let (op, store) = (self.new_op(), self.shared.store.clone());
        self.outside(op, async move { Step::Names { root, names: store.names(root).await } });
    }

    pub(super) fn on_names(&mut self, root: ThreadId, names: Result<Vec<Named>, StoreError>) {
        let Some(mut naming) = self.naming.remove(&root) else { return };
        let waiting = std::mem::take(&mut naming.waiting);
        match names {
            Ok(mut names) => {
                names.retain(|named| !naming.is_over(named));
                self.table.learn_names(root, naming.since, names);
                for Postponed { request, asker, reply } in waiting {
                    self.on_spawn(request, asker, reply);
                }
            }
            Err(error) => {
                let waiting = waiting.into_iter().map(|spawn| Waiter::new(spawn.reply)).collect();
                self.refuse(waiting, &SpawnError::Store(error));
            }
        }
    }

    /// A thread is over: its names are free, also if the store was asked for them before.
    pub(super) fn over_while_naming(&mut self, entry: &Entry) {
        if let Some(naming) = self.naming.get_mut(&entry.root) {
            naming.over.push((entry.slot.thread(), entry.path.clone()));
        }
    }
}
