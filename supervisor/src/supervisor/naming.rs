//! Names for people in a tree that came from the store: which names of a list threads of it have that
//! are not here. The store is asked for the names of one round of one list at a time, before the first
//! spawn that draws one of them; so a spawn costs the same in a tree of any size. Paths are checked by
//! the store in the write that takes them.

use coppicer_messages::{SpawnError, SpawnThread, StoreError, ThreadId};

use super::spawn::{Step, Waiter};
use super::{Postponed, SupervisorState};
use crate::nicknames::{Round, free_round};

/// Spawns that wait for the names of a list.
pub(super) struct Naming {
    waiting: Vec<Postponed>,
    /// What the names are good for: see [`Table::learn_nicknames`](super::table::Table::learn_nicknames).
    since: u64,
}

impl Naming {
    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// A list of names, in a tree: the root, and the role whose list it is.
pub(super) type ListIn = (ThreadId, Option<String>);

impl SupervisorState {
    /// The list of names that has to be asked for before this is spawned.
    pub(super) fn names_to_read(&self, request: &SpawnThread) -> Option<ListIn> {
        if request.config.nickname.is_some() {
            return None;
        }
        let root = self.table.root_of(request.parent?)?;
        let role = request.config.role.as_deref();
        let (list, names) = (self.nicknames.list(role), self.nicknames.candidates(role));
        let known = self.table.knows_nicknames(root, list, names);
        (!known).then(|| (root, list.map(str::to_owned)))
    }

    /// Has a spawn wait for the names of a list; the first one has them read.
    pub(super) fn read_names(&mut self, of: ListIn, spawn: Postponed) {
        let now = self.now().instant;
        if let Some(naming) = self.naming.get_mut(&of) {
            naming.waiting.retain(|waiting| !waiting.reply.expired(now));
            return naming.waiting.push(spawn);
        }
        let (root, list) = (of.0, of.1.as_deref());
        let since = self.table.unread_since(root).unwrap_or_default();
        let from = self.table.next_round(root, list);
        let names = self.nicknames.candidates(list).to_vec();
        self.naming.insert(of.clone(), Naming { waiting: vec![spawn], since });
        let (op, store) = (self.new_op(), self.shared.store.clone());
        let read = async move {
            let found = free_round(&names, from, |names| store.nicknames_taken(root, names)).await;
            Step::Names { of, found }
        };
        self.outside(op, read);
    }

    pub(super) fn on_names(&mut self, of: &ListIn, found: Result<Round, StoreError>) {
        let Some(Naming { waiting, since }) = self.naming.remove(of) else { return };
        match found {
            Ok(round) => {
                self.table.learn_nicknames(of.0, since, of.1.as_deref(), round);
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
}
