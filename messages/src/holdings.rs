//! What one owner holds: a row of counts beside the books, so that an audit can name owners.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::{LeaseKind, ThreadId};

/// How many leases of each kind one owner holds. Outlives the owner for as long as one of its leases
/// does: code that would not stop is listed under the thread whose code it is.
pub struct Holdings {
    thread: Option<ThreadId>,
    counts: [AtomicU32; LeaseKind::ALL.len()],
    /// Names of processes, by the number of their lease. Few threads have any.
    processes: OnceLock<Box<Mutex<Processes>>>,
}

#[derive(Default)]
struct Processes {
    next: u64,
    names: BTreeMap<u64, String>,
}

impl Holdings {
    /// Nothing held yet, by this thread or, without one, by the runtime itself.
    pub fn of(thread: Option<ThreadId>) -> Self {
        Self { thread, counts: Default::default(), processes: OnceLock::new() }
    }

    /// Whose they are; none of the runtime's own.
    pub const fn thread(&self) -> Option<ThreadId> {
        self.thread
    }

    /// How many leases of `kind` it holds.
    pub fn count(&self, kind: LeaseKind) -> u64 {
        self.counts[kind.index()].load(Ordering::SeqCst).into()
    }

    /// Whether it holds nothing of any kind.
    pub fn is_empty(&self) -> bool {
        LeaseKind::ALL.into_iter().all(|kind| self.count(kind) == 0)
    }

    pub(crate) fn add(&self, kind: LeaseKind) {
        self.counts[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn take(&self, kind: LeaseKind) {
        self.counts[kind.index()].fetch_sub(1, Ordering::Relaxed);
    }

    /// Lists a process under `name`, unless `max` are listed: the number to forget it by.
    pub fn list_process(&self, name: String, max: usize) -> Option<u64> {
        let mut processes = self.locked();
        if processes.names.len() >= max {
            return None;
        }
        processes.next += 1;
        let number = processes.next;
        processes.names.insert(number, name);
        Some(number)
    }

    /// Forgets a process.
    pub fn forget_process(&self, number: u64) {
        self.locked().names.remove(&number);
    }

    /// The names of its processes, oldest first.
    pub fn processes(&self) -> Vec<String> {
        match self.processes.get() {
            None => Vec::new(),
            Some(_) => self.locked().names.values().cloned().collect(),
        }
    }

    fn locked(&self) -> MutexGuard<'_, Processes> {
        self.processes.get_or_init(Box::default).lock()
    }
}

impl Default for Holdings {
    /// The runtime's own.
    fn default() -> Self {
        Self::of(None)
    }
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for kind in LeaseKind::ALL {
            map.entry(&kind, &self.count(kind));
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_listed_by_name_up_to_their_bound() {
        let holdings = Holdings::of(None);
        let first = holdings.list_process("shell".into(), 2);
        assert!(first.is_some() && holdings.list_process("shell".into(), 2).is_some());
        assert_eq!(holdings.list_process("one too many".into(), 2), None);
        holdings.forget_process(first.unwrap_or_default());
        assert_eq!(holdings.processes(), ["shell"]);
    }
}
