//! Adoption: a thread with all below it goes below another one, or becomes a root.

use std::collections::HashSet;
use std::sync::Arc;

use coppicer_actors::{
    Account, AccountMove, Done, EdgeChange, EdgeStatus, Lineage, Purse, ThreadMove, ThreadStore,
};
use coppicer_messages::{
    AdoptError, AgentPath, Asker, LimitReached, MOVES_MAX, Reply, SpawnError, StoreError,
    SupervisorMsg, ThreadId, ThreadStatus,
};

use super::SupervisorState;
use super::moving::edge_below;
use super::resume::look_up;
use super::spawn::{Step, Stored};
use super::table::{Life, Renaming};

/// A thread that is to be moved.
pub(super) struct Adopting {
    thread: ThreadId,
    to: Option<ThreadId>,
    asker: Option<Asker>,
    reply: Reply<ThreadId, AdoptError>,
    /// What the store writes; none while the thread is looked up.
    writing: Option<Writing>,
    /// Changes of places before it was looked up.
    places: u64,
}

/// A move that the store writes.
struct Writing {
    from: Option<ThreadId>,
    renaming: Option<Renaming>,
    /// The paths that are written with it, and those that they take the place of.
    paths: Vec<(ThreadId, AgentPath)>,
    before: Vec<(ThreadId, Option<AgentPath>)>,
    account: Option<(Arc<Account>, AccountMove)>,
    /// Those of its branch that are here.
    known: HashSet<ThreadId>,
    /// Whether the thread was closed meanwhile, by its name.
    edge_closed: bool,
    /// Whether a part of its branch went on without it meanwhile.
    torn: bool,
    /// The close because of which it went on as a root meanwhile.
    goes_on: Option<u64>,
}

/// What the store says of a thread that is to be moved.
pub(super) struct Surveyed {
    stored: Stored,
    /// What is below it; not read if its paths do not change.
    branch: Vec<ThreadId>,
    /// Those of its branch that have a path.
    paths: Vec<(ThreadId, AgentPath)>,
    /// Paths that are taken in the tree that it goes to, by others.
    taken: HashSet<AgentPath>,
}

impl SupervisorState {
    pub(super) fn on_adopt(
        &mut self,
        thread: ThreadId,
        to: Option<ThreadId>,
        asker: Option<Asker>,
        reply: Reply<ThreadId, AdoptError>,
    ) {
        if reply.expired(self.now().instant) {
            return; // P4
        }
        match self.check_room() {
            Ok(()) => {}
            Err(SpawnError::Limit(reached)) => {
                return reply.tell(Err(AdoptError::Limit(reached)));
            }
            Err(_) => return reply.tell(Err(AdoptError::RuntimeEnded)),
        }
        if to == Some(thread) {
            return reply.tell(Err(AdoptError::Cycle { thread, parent: thread }));
        }
        let op = self.new_op();
        self.moves.insert(op, Adopting { thread, to, asker, reply, writing: None, places: 0 });
        self.survey(op);
    }

    /// Asks the store what it knows of a thread that is to be moved.
    fn survey(&mut self, op: u64) {
        let places = self.places.now();
        let Some(adopting) = self.moves.get_mut(&op) else { return };
        adopting.places = places;
        let (thread, to) = (adopting.thread, adopting.to);
        let (store, depth_max) = (self.shared.store.clone(), self.shared.limits.depth_max);
        self.outside(op, async move {
            Step::Surveyed(survey(&*store, thread, to, depth_max).await.map(Box::new))
        });
    }

    pub(super) fn on_surveyed(&mut self, op: u64, result: Result<Box<Surveyed>, AdoptError>) {
        let Some(mut adopting) = self.moves.remove(&op) else { return };
        if adopting.reply.expired(self.now().instant) {
            return; // P4
        }
        if self.places.changed(adopting.places) {
            // What it said may be old. Others have got on meanwhile.
            self.moves.insert(op, adopting);
            return self.survey(op);
        }
        let begun = result.and_then(|surveyed| self.begin_move(op, &adopting, &surveyed));
        match begun {
            Err(refusal) => {
                self.let_go(adopting.thread);
                adopting.reply.tell(Err(refusal));
            }
            Ok(None) => adopting.reply.tell(Ok(adopting.thread)), // it is there already
            Ok(Some(writing)) => {
                let to = ThreadMove {
                    thread: adopting.thread,
                    edge: edge_below(adopting.to, EdgeStatus::Open),
                    paths: writing
                        .paths
                        .iter()
                        .cloned()
                        .map(|(id, path)| (id, Some(path)))
                        .collect(),
                    charges: writing
                        .account
                        .as_ref()
                        .map(|(_, it)| it.charges())
                        .unwrap_or_default(),
                    epoch: self.life_of(adopting.thread),
                };
                let uplink = self.shared.uplink.clone();
                let done = Done::new(move |result| {
                    let step = Box::new(Step::Moved(result));
                    uplink.send(SupervisorMsg::StepDone { op, step });
                });
                adopting.writing = Some(writing);
                self.moves.insert(op, adopting);
                self.unsettled.begin(&to);
                self.places.wrote(to.thread);
                self.relocate(to, done);
            }
        }
    }

    /// Checks a move and reserves what it needs: none if the thread is there already.
    fn begin_move(
        &mut self,
        op: u64,
        adopting: &Adopting,
        surveyed: &Surveyed,
    ) -> Result<Option<Writing>, AdoptError> {
        let &Adopting { thread, to, asker, .. } = adopting;
        let stored = &surveyed.stored;
        if let Some(asker) = asker {
            let current = self.table.get(asker.thread).is_some_and(|it| it.epoch == asker.epoch);
            if !current {
                return Err(AdoptError::Fenced);
            }
        }
        self.check_target(thread, to)?;
        if self.table.get(thread).is_none() {
            if let Some(thread) = self.between_places(thread, &stored.lineage) {
                return Err(AdoptError::Moving { thread });
            }
            if stored.is_closed || stored.closed_above {
                return Err(AdoptError::Closed { thread });
            }
            // One that is being looked up to be brought to life finds it here.
            self.seat_asleep(stored);
        }
        let Some(entry) = self.table.get(thread) else {
            return Err(AdoptError::NotFound { thread });
        };
        if entry.closing {
            return Err(AdoptError::Closing { thread });
        }
        if entry.making.is_some() {
            return Err(AdoptError::BeingMade { thread });
        }
        if entry.trouble.moving.is_some() || entry.unplaced {
            return Err(AdoptError::Moving { thread });
        }
        self.check_settled(thread)?;
        // The store shows some of it where they are not any more, with what is below them.
        let here: HashSet<ThreadId> = self.table.subtree(thread).into_iter().collect();
        let elsewhere = |id: &ThreadId| {
            let is_here = self.table.get(*id).is_none() || here.contains(id);
            self.table.is_between_places(*id) || !is_here
        };
        if let Some(&id) = surveyed.branch.iter().find(|id| elsewhere(id)) {
            return Err(AdoptError::Moving { thread: id });
        }
        let from = entry.parent;
        if from == to {
            self.let_go(thread);
            return Ok(None);
        }
        if let (Some(_), Some(parent)) = (asker, from) {
            return Err(AdoptError::HasParent { thread, parent });
        }
        let (slot, path) = (entry.slot.clone(), entry.path.clone());
        // Half of them: each may be followed by the close of the new parent.
        if slot.moves() >= MOVES_MAX / 2 - 1 {
            return Err(AdoptError::Limit(LimitReached {
                limit: "moves_max",
                value: (MOVES_MAX / 2 - 1) as u64,
                holders: Vec::new(),
                retry_after: None,
                advice: "leave the thread where it is until it has left memory once",
            }));
        }
        self.table.admit_branch(thread, to, &self.shared.limits)?;
        let parent = to.and_then(|to| self.table.get(to));
        let renaming = match parent {
            Some(parent) => Renaming::below(parent.path.as_ref(), path.as_ref())?,
            None => None,
        };
        let (paths, before) = self.new_paths(thread, renaming.as_ref(), to, surveyed)?;
        let account = self.move_account(thread, to)?;
        if let Some(entry) = self.table.get_mut(thread) {
            entry.trouble.moving = Some(op);
        }
        Ok(Some(Writing {
            from,
            renaming,
            paths,
            before,
            account,
            known: here,
            edge_closed: false,
            torn: false,
            goes_on: None,
        }))
    }

    /// Whether the paths of a branch are settled: nothing above it moves, and nothing into it.
    fn check_settled(&self, thread: ThreadId) -> Result<(), AdoptError> {
        let about = |id: ThreadId| self.table.get(id).map(|entry| entry.slot.about());
        let moves = |id: &ThreadId| self.table.is_between_places(*id);
        if let Some(above) = about(thread).and_then(|about| about.lineage.iter().find(moves)) {
            return Err(AdoptError::Moving { thread: above });
        }
        if let Some(below) = self.table.subtree(thread).into_iter().find(moves) {
            return Err(AdoptError::Moving { thread: below });
        }
        let into = |id: ThreadId| {
            id == thread || about(id).is_some_and(|about| about.lineage.contains(thread))
        };
        // Also out of it: what is closed on its way is put back.
        let touches = |adopting: &&Adopting| {
            let from = adopting.writing.as_ref().map(|writing| writing.from);
            from.is_some_and(|from| from.into_iter().chain(adopting.to).any(into))
        };
        match self.moves.values().find(touches) {
            Some(Adopting { thread, .. }) => Err(AdoptError::Moving { thread: *thread }),
            None => Ok(()),
        }
    }

    /// A part of a branch goes on without what is above it: the moves of those do not come to be.
    /// Its path before them, if they change it.
    pub(super) fn tear(&mut self, thread: ThreadId, lineage: &Lineage) -> Option<AgentPath> {
        let mut path = None;
        for above in lineage.iter() {
            let moving = self.table.get(above).and_then(|entry| entry.trouble.moving);
            let adopting = moving.and_then(|op| self.moves.get_mut(&op));
            if let Some(writing) = adopting.and_then(|adopting| adopting.writing.as_mut()) {
                writing.torn = true;
                let before = writing.before.iter().find(|(id, _)| *id == thread);
                path = path.or_else(|| before.and_then(|(_, path)| path.clone()));
            }
        }
        path
    }

    /// Whether a thread may be put below `to` now.
    fn check_target(&self, thread: ThreadId, to: Option<ThreadId>) -> Result<(), AdoptError> {
        if self.ended || self.closing_all > 0 {
            return Err(AdoptError::RuntimeEnded);
        }
        let Some(parent) = to else { return Ok(()) };
        let Some(entry) = self.table.get(parent) else {
            return Err(AdoptError::ParentGone { parent });
        };
        let about = entry.slot.about();
        if about.lineage.contains(thread) {
            return Err(AdoptError::Cycle { thread, parent });
        }
        if let Some(thread) = self.table.closing_above(parent) {
            return Err(AdoptError::Closing { thread });
        }
        // Two moves under way at once could make a cycle.
        let moves = |id: &ThreadId| {
            *id != thread && self.table.get(*id).is_some_and(|entry| entry.trouble.moving.is_some())
        };
        match std::iter::once(parent).chain(about.lineage.iter()).find(moves) {
            Some(thread) => Err(AdoptError::Moving { thread }),
            None if matches!(entry.life(), Life::Lost) => Err(AdoptError::ParentGone { parent }),
            None => Ok(()),
        }
    }

    /// The paths that a branch has below its new parent, and those that it has now.
    #[expect(clippy::type_complexity, reason = "two lists of paths by thread")]
    fn new_paths(
        &self,
        thread: ThreadId,
        renaming: Option<&Renaming>,
        to: Option<ThreadId>,
        surveyed: &Surveyed,
    ) -> Result<(Vec<(ThreadId, AgentPath)>, Vec<(ThreadId, Option<AgentPath>)>), AdoptError> {
        let mut paths = Vec::new();
        if let Some(renaming) = renaming {
            paths = self.table.renamed(thread, renaming)?;
            // What of it sleeps in the store alone.
            for (id, path) in &surveyed.paths {
                if self.table.get(*id).is_none()
                    && let Some(path) = renaming.of(path)?
                {
                    paths.push((*id, path));
                }
            }
        }
        let root = to.and_then(|to| self.table.get(to)).map(|entry| entry.root);
        if let Some(root) = root.filter(|&root| self.table.root_of(thread) != Some(root)) {
            // Also those that keep their paths must be the only ones who have them there.
            let mut all: Vec<(ThreadId, AgentPath)> = paths.clone();
            for (id, path) in self.table.paths_of(thread).into_iter().chain(surveyed.paths.clone())
            {
                if !all.iter().any(|(known, _)| *known == id) {
                    all.push((id, path));
                }
            }
            free_of(&self.table, root, &all, &surveyed.taken)?;
        } else if let Some(root) = root {
            free_of(&self.table, root, &paths, &surveyed.taken)?;
        }
        let before = paths.iter().map(|(id, _)| {
            let here = self.table.get(*id).and_then(|entry| entry.path.clone());
            let there = surveyed.paths.iter().find(|(known, _)| known == id);
            (*id, here.or_else(|| there.map(|(_, path)| path.clone())))
        });
        let before = before.collect();
        Ok((paths, before))
    }

    /// Has those above the new place set aside what the thread's budget has left.
    fn move_account(
        &self,
        thread: ThreadId,
        to: Option<ThreadId>,
    ) -> Result<Option<(Arc<Account>, AccountMove)>, AdoptError> {
        let (own, above) = (self.own_purse(thread), self.purse_above(to));
        if let Some(what) = Purse::draws_otherwise(own.as_ref(), above.as_ref()) {
            return Err(AdoptError::Budget { thread, limit: what.limit() });
        }
        let Some(account) = own.as_ref().and_then(Purse::own).cloned() else { return Ok(None) };
        let now = self.now().instant;
        let moved = account.begin_move(above.as_ref(), now);
        let moved = moved.map_err(|short| AdoptError::Limit(short.refusal))?;
        Ok(Some((account, moved)))
    }

    /// The store wrote a move, or could not.
    pub(super) fn on_moved(&mut self, op: u64, result: Result<(), StoreError>) {
        let Some(Adopting { thread, to, reply, writing, .. }) = self.moves.remove(&op) else {
            return;
        };
        let Some(writing) = writing else { return };
        self.places.wrote(thread);
        let charges =
            writing.account.as_ref().map(|(_, moved)| moved.charges()).unwrap_or_default();
        self.ledgers_change(&charges);
        let written =
            ThreadMove { thread, edge: EdgeChange::Root, paths: Vec::new(), charges, epoch: None };
        if let Some(entry) = self.table.get_mut(thread).filter(|it| it.trouble.moving == Some(op)) {
            entry.trouble.moving = None;
        }
        self.on_moved_then(thread, to, reply, writing, result);
        self.move_settled(&written);
        self.find_held_back();
    }

    fn on_moved_then(
        &mut self,
        thread: ThreadId,
        to: Option<ThreadId>,
        reply: Reply<ThreadId, AdoptError>,
        writing: Writing,
        result: Result<(), StoreError>,
    ) {
        let refusal = match result {
            Ok(()) if writing.torn => Some(AdoptError::Moving { thread }),
            Ok(()) => self.still_may(thread, to, writing.from).err(),
            Err(error) => {
                if let Some((account, moved)) = &writing.account {
                    account.cancel_move(moved);
                }
                let is_lost =
                    matches!(error, StoreError::Fenced { .. }) && self.table.get(thread).is_none();
                if is_lost {
                    // Where it is is for the other runtime to say.
                    self.table.is_placed(thread);
                    if let Some(close) = writing.goes_on {
                        self.close_detached(close, thread, Ok(()));
                    }
                } else if matches!(error, StoreError::UnknownOutcome { .. })
                    || writing.goes_on.is_some()
                {
                    self.write_truth(thread, &writing, false);
                }
                self.let_go(thread);
                return reply.tell(Err(AdoptError::Store(error)));
            }
        };
        if let Some(refusal) = refusal {
            if let Some((account, moved)) = &writing.account {
                account.cancel_move(moved);
            }
            self.write_truth(thread, &writing, true);
            self.let_go(thread);
            return reply.tell(Err(refusal));
        }
        let Writing { renaming, account, known, .. } = writing;
        self.put_branch(thread, to, renaming.as_ref(), None);
        self.write_late(thread, to, &known);
        if let Some((account, moved)) = account {
            account.finish_move(moved);
        }
        if let Some(entry) = self.table.get_mut(thread) {
            entry.adrift = false;
        }
        let awake = self.table.get(thread).is_some_and(|entry| entry.life() == Life::Live);
        if let Some(parent) = to.filter(|_| awake) {
            self.wake_for_child(parent);
        }
        self.let_go(thread);
        reply.tell(Ok(thread));
    }

    /// Those that were spawned below a thread while the store wrote its move have got their paths and
    /// depths from its old place.
    fn write_late(&mut self, thread: ThreadId, to: Option<ThreadId>, known: &HashSet<ThreadId>) {
        let late = |id: &ThreadId| !known.contains(id);
        let late: Vec<ThreadId> = self.table.subtree(thread).into_iter().filter(late).collect();
        if late.is_empty() {
            return;
        }
        let path = |id: ThreadId| Some((id, Some(self.table.get(id)?.path.clone()?)));
        let paths = late.into_iter().filter_map(path).collect();
        let edge = edge_below(to, EdgeStatus::Open);
        let to = ThreadMove { thread, edge, paths, charges: Vec::new(), epoch: None };
        self.write_place(0, to);
    }

    /// Whether a move that was written may be carried out.
    fn still_may(
        &self,
        thread: ThreadId,
        to: Option<ThreadId>,
        from: Option<ThreadId>,
    ) -> Result<(), AdoptError> {
        match self.table.get(thread) {
            None => return Err(AdoptError::Closed { thread }),
            Some(entry) if entry.closing => return Err(AdoptError::Closing { thread }),
            Some(entry) if entry.parent != from => return Err(AdoptError::Moving { thread }),
            Some(_) => {}
        }
        self.check_target(thread, to)
    }

    /// Has the store write where a thread really is, after a move that did not come to be.
    fn write_truth(&mut self, thread: ThreadId, writing: &Writing, written: bool) {
        let from = writing.from.filter(|_| writing.goes_on.is_none());
        let parent = self.table.get(thread).map_or(from, |entry| entry.parent);
        let status = if writing.edge_closed { EdgeStatus::Closed } else { EdgeStatus::Open };
        let mut charges = match &writing.account {
            Some((_, moved)) if written => moved.reversed(),
            _ => Vec::new(),
        };
        let above = writing.account.iter().flat_map(|(account, _)| account.donors());
        let charged: Vec<ThreadId> = charges.iter().map(|charge| charge.to).chain(above).collect();
        let donors = self.accounts_here(charged);
        if let (Some((account, _)), Some(_)) = (&writing.account, writing.goes_on) {
            charges.extend(Account::detach(account));
        }
        let edge = edge_below(parent, status);
        let paths = writing.before.iter().map(|(id, before)| {
            let here = self.table.get(*id).map(|entry| entry.path.clone());
            (*id, here.unwrap_or_else(|| before.clone()))
        });
        let to = ThreadMove { thread, edge, paths: paths.collect(), charges, epoch: None };
        self.write_place(writing.goes_on.unwrap_or(0), to);
        self.keep_donors(donors);
    }

    /// A thread goes on as a root while the store writes that it is elsewhere: that it is a root is
    /// written after that, with what its account becomes by both. Whether it moves.
    pub(super) fn goes_on_when_written(&mut self, close: u64, thread: ThreadId) -> bool {
        let moving = self.table.get(thread).and_then(|entry| entry.trouble.moving);
        let adopting = moving.and_then(|op| self.moves.get_mut(&op));
        let Some(writing) = adopting.and_then(|adopting| adopting.writing.as_mut()) else {
            return false;
        };
        writing.goes_on = Some(close);
        self.table.is_to_be_placed(thread);
        if let Some(entry) = self.table.get_mut(thread) {
            entry.adrift = false;
        }
        true
    }

    /// A thread that is being moved is closed by its name: wherever it is then, its edge is closed.
    pub(super) fn closed_on_its_way(&mut self, thread: ThreadId) {
        let moving = self.table.get(thread).and_then(|entry| entry.trouble.moving);
        let adopting = moving.and_then(|op| self.moves.get_mut(&op));
        if let Some(writing) = adopting.and_then(|adopting| adopting.writing.as_mut()) {
            writing.edge_closed = true;
        }
    }
}

/// Whether nobody else of a tree has one of these paths.
fn free_of(
    table: &super::table::Table,
    root: ThreadId,
    paths: &[(ThreadId, AgentPath)],
    taken: &HashSet<AgentPath>,
) -> Result<(), AdoptError> {
    let is_taken = |(id, path): &&(ThreadId, AgentPath)| {
        table.is_taken(root, path, *id) || taken.contains(path)
    };
    match paths.iter().find(is_taken) {
        Some((_, path)) => Err(AdoptError::PathTaken { path: path.to_string() }),
        None => Ok(()),
    }
}

/// What the store says of a thread and its branch, and of the tree that it is to go to. Looks at both
/// whole; at neither if it is to be a root, which changes no path.
async fn survey(
    store: &dyn ThreadStore,
    thread: ThreadId,
    to: Option<ThreadId>,
    depth_max: u32,
) -> Result<Surveyed, AdoptError> {
    let refused = |refusal: SpawnError| match refusal {
        SpawnError::NotFound { thread } => AdoptError::NotFound { thread },
        SpawnError::Store(error) => AdoptError::Store(error),
        _ => AdoptError::Closed { thread },
    };
    let stored = look_up(store, thread, depth_max).await.map_err(refused)?;
    let (mut paths, mut taken) = (Vec::new(), HashSet::new());
    let Some(to) = to else {
        return Ok(Surveyed { stored, branch: Vec::new(), paths, taken });
    };
    let branch = store.descendants(thread, None).await.map_err(AdoptError::Store)?;
    for id in branch.iter().copied().chain([thread]) {
        match store.thread(id).await {
            Ok(found) => paths.extend(found.path.map(|path| (id, path))),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(AdoptError::Store(error)),
        }
    }
    if paths.is_empty() {
        return Ok(Surveyed { stored, branch, paths, taken });
    }
    let there = look_up(store, to, depth_max).await.map_err(|refusal| match refused(refusal) {
        AdoptError::NotFound { .. } | AdoptError::Closed { .. } => {
            AdoptError::ParentGone { parent: to }
        }
        other => other,
    })?;
    let own: HashSet<ThreadId> = branch.iter().copied().chain([thread]).collect();
    let root = there.place().root;
    let mut tree = store.descendants(root, None).await.map_err(AdoptError::Store)?;
    tree.push(root);
    for id in tree.into_iter().filter(|id| !own.contains(id)) {
        match store.thread(id).await {
            // Closed threads have given up their names.
            Ok(found) if found.status == ThreadStatus::Shutdown => {}
            Ok(found) => taken.extend(found.path),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(AdoptError::Store(error)),
        }
    }
    Ok(Surveyed { stored, branch, paths, taken })
}
