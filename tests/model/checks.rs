//! What must hold whenever nothing is in motion.

use std::collections::{BTreeMap, BTreeSet};

use coppicer::{
    EdgeStatus, Epoch, Fact, LeaseKind, Phase, SubmissionId, SubmissionState, Tap, TapItem,
    ThreadEvent, ThreadId, ThreadStatus, ThreadView,
};

use crate::host::Host;

/// What a host has told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    epochs: BTreeMap<ThreadId, Epoch>,
    ended: BTreeSet<(ThreadId, SubmissionId)>,
}

impl Told {
    /// Reads what came, and checks its order: P1, nothing comes of a life behind one of a later
    /// life. P6: each end of a submission is told once.
    pub(crate) fn read(&mut self, tap: &mut Tap, host: &Host) -> usize {
        let mut count = 0;
        let mut book = host.book.lock();
        while let Some(item) = tap.try_next() {
            count += 1;
            let TapItem::Event(event) = item else {
                book.broken.push(format!("the tap of the case lost events: {item:?}"));
                continue;
            };
            book.note(|| {
                let (thread, epoch, fact) = (event.thread, event.epoch, event.fact.name());
                format!("event {} {thread:?} {epoch} {fact} {:?}", event.at_ms, event.turn)
            });
            let (Some(thread), Fact::Thread(fact)) = (event.thread, &event.fact) else { continue };
            if event.epoch == Epoch(0) {
                continue; // told by its supervisor: it has no life yet
            }
            let before = self.epochs.insert(thread, event.epoch);
            if before.is_some_and(|before| before > event.epoch) {
                let epoch = event.epoch;
                book.broken.push(format!("P1: {thread} told {fact:?} of epoch {epoch} too late"));
            }
            if let ThreadEvent::SubmissionEnded { submission, .. } = fact
                && !self.ended.insert((thread, submission.clone()))
            {
                book.broken.push(format!("P6: {thread} told the end of {submission} twice"));
            }
        }
        count
    }
}

/// Checks that hold between any two steps.
pub(crate) async fn between_steps(host: &Host) {
    let mut broken = edges(host);
    let (held, faulty) = {
        let book = host.book.lock();
        (book.held, book.faulty)
    };
    if host.funds && held == 0 && !faulty {
        broken.append(&mut budgets(host).await);
    }
    // While the store holds something back, the books are ahead of what is shown.
    if host.book.lock().held == 0 {
        let drift = host.runtime.audit_now().drift;
        if !drift.is_empty() {
            broken.push(format!("P10: the books do not agree: {drift:?}"));
        }
        for view in host.runtime.list() {
            broken.extend(shown(host, &view));
        }
    }
    broken.append(&mut host.witness.seen.lock().broken);
    host.book.lock().broken.append(&mut broken);
}

/// The same of a host that was let go of, and whose actors go on: what it holds has owners, and what its
/// threads show is so. It may not know yet of what another wrote.
pub(crate) fn of_another(host: &Host) {
    if host.book.lock().held > 0 {
        return;
    }
    let drift = host.runtime.audit_now().drift;
    let mut broken: Vec<String> =
        host.runtime.list().iter().flat_map(|view| shown(host, view)).collect();
    if !drift.is_empty() {
        broken.push(format!("P10: the books of a host let go of do not agree: {drift:?}"));
    }
    host.book.lock().broken.append(&mut broken);
}

/// BU-1: accounts add up, as they were written, and as the runtime has them.
async fn budgets(host: &Host) -> Vec<String> {
    let (alone, cut_short) = {
        let book = host.book.lock();
        (!book.shared, book.cut_short)
    };
    if cut_short {
        return Vec::new();
    }
    let mut broken = {
        let seen = host.witness.seen.lock();
        seen.ledgers.check(&seen.rows, alone)
    };
    // Of two hosts each has in memory what it read and what it changed itself: what the other changed
    // since is in the store alone. Charges are changes, and applied in the transaction of what they are
    // for, so what is written adds up all the same.
    if !alone {
        return broken;
    }
    for view in host.runtime.list() {
        let thread = view.thread;
        let written = host.witness.seen.lock().ledgers.of(thread);
        let (Ok(Some(here)), Some(written)) = (host.runtime.ledger(thread).await, written) else {
            continue;
        };
        // What a turn that runs has used is written with its next write.
        if (here.budget, here.carved) != (written.budget, written.carved) {
            broken.push(format!("BU-1: {thread} has {here:?}, and {written:?} is written"));
        }
    }
    broken
}

/// P8: the store says of each edge what hosts were told.
fn edges(host: &Host) -> Vec<String> {
    let (book, seen) = (host.book.lock(), host.witness.seen.lock());
    let mut broken = Vec::new();
    for (thread, edge) in book.model.edges() {
        let Some(row) = seen.rows.get(&thread) else {
            broken
                .push(format!("P8: a host was told of {thread}, and the store has no such thread"));
            continue;
        };
        if !edge.allows(row.parent) {
            broken.push(format!("P8: {thread} should be {edge:?} and is {:?}", row.parent));
        }
    }
    broken
}

/// P6: what a thread shows is so. P1: it runs at most one turn.
fn shown(host: &Host, view: &ThreadView) -> Vec<String> {
    let mut broken = Vec::new();
    let thread = view.thread;
    let runs = host.running.of(thread);
    let mut claim = |holds: bool, what: &str| {
        if !holds {
            broken.push(format!("{what}: {thread} {view:?}, and the engine runs {runs:?}"));
        }
    };
    claim(runs.len() <= 1, "P1: two turns run");
    let is_running = view.status == ThreadStatus::Running;
    claim(is_running == view.turn.is_some() || view.closed, "P6: status and turn do not agree");
    let settled = matches!(view.phase, Phase::Idle | Phase::Running | Phase::Parked);
    let parked = view.status == ThreadStatus::Parked;
    claim(!settled || parked == (view.phase == Phase::Parked), "P7: parked, or not");
    claim(view.phase != Phase::Running || view.turn.is_some(), "P6: a phase without a turn");
    if let Some(turn) = &view.turn {
        let works = runs.iter().any(|(running, epoch)| running == turn && *epoch == view.epoch);
        claim(
            works || host.running.comes_again(thread, turn),
            "P6: a turn is shown and does not run",
        );
        claim(
            matches!(view.phase, Phase::Running | Phase::Stopping),
            "P6: a turn in another phase",
        );
    } else {
        claim(runs.is_empty(), "P6: a turn runs and is not shown");
    }
    let seen = host.witness.seen.lock();
    let Some(row) = seen.rows.get(&thread) else { return broken };
    if settled && row.epoch == view.epoch && !view.closed {
        let reborn = |status: &ThreadStatus| status.clone().reborn();
        let agrees = row.status.as_ref().map(reborn) == Some(reborn(&view.status))
            || view.status == ThreadStatus::Parked;
        if !agrees {
            broken.push(format!(
                "P6: {thread} shows {:?}, and {:?} is written",
                view.status, row.status
            ));
        }
    }
    broken
}

/// P3: each accepted submission has one outcome, or waits in a thread that is parked or has nothing to
/// use. Those that have none: a thread that ended without being able to write its end has to come up
/// for it.
pub(crate) fn without_outcome(host: &Host) -> Vec<(ThreadId, SubmissionId)> {
    let (book, seen) = (host.book.lock(), host.witness.seen.lock());
    let open = |(thread, id): &&(ThreadId, SubmissionId)| {
        let Some(row) = seen.rows.get(thread) else { return false };
        !matches!(row.submissions.get(id), Some(SubmissionState::Ended(_)))
    };
    book.model.receipts.iter().filter(open).cloned().collect()
}

/// Threads that have mail, are not over and not in memory: all was closed before they came up for it.
pub(crate) fn asleep_with_mail(host: &Host) -> Vec<ThreadId> {
    let seen = host.witness.seen.lock();
    let waits = |(thread, row): &(&ThreadId, &crate::witness::Row)| {
        row.mail.values().any(|taken| !*taken)
            && row.status != Some(ThreadStatus::Parked)
            && host.runtime.get(**thread).is_none()
            && !is_closed(&seen.rows, **thread)
    };
    seen.rows.iter().filter(waits).map(|(thread, _)| *thread).collect()
}

/// P8, P12: what the store says at the end of a case is what was written, and mail that starts a
/// turn has started one unless its reader is closed or parked.
pub(crate) async fn at_the_end(host: &Host) -> Vec<String> {
    let mut broken = budgets(host).await;
    {
        let (book, seen) = (host.book.lock(), host.witness.seen.lock());
        let (used, counted) = (host.running.used().cast_signed(), seen.ledgers.used(&seen.rows));
        // A host that ends may lose what its last turns used since their last writes.
        let exact = !book.faulty;
        // What goes on with its part is counted before it is written that it does.
        let alone = book.life == 1 && seen.ledgers.moves == 0 && !seen.ledgers.late;
        if alone && (counted > used || exact && counted < used) {
            broken.push(format!("BU-1: {used} tokens were used, and {counted} are counted"));
        }
    }
    let rows = host.witness.seen.lock().rows.clone();
    broken.extend(names(host, &rows).await);
    for view in host.runtime.list() {
        if matches!(view.phase, Phase::Starting | Phase::Backoff) {
            broken.push(format!("P7: {} is still on its way: {view:?}", view.thread));
        }
        let written = rows.get(&view.thread).and_then(|row| row.parent).map(|(parent, _)| parent);
        if written != view.parent {
            let (thread, shown) = (view.thread, view.parent);
            broken.push(format!("P8: {thread} shows to be below {shown:?}, not {written:?}"));
        }
        let depth = rows.get(&view.thread).map(|row| row.depth);
        if depth.is_some_and(|depth| depth != view.depth) {
            let (thread, shown) = (view.thread, view.depth);
            broken.push(format!("P8: {thread} shows depth {shown}, not {depth:?}"));
        }
    }
    for (thread, row) in &rows {
        let Ok(stored) = host.runtime.store().thread(*thread).await else {
            broken.push(format!("P8: {thread} is not in the store any more"));
            continue;
        };
        if stored.parent != row.parent || stored.depth != row.depth {
            broken.push(format!("P8: {thread} is below {:?}, not {:?}", stored.parent, row.parent));
        }
        let above = row.parent.and_then(|(parent, _)| rows.get(&parent));
        if above.is_some_and(|above| above.depth + 1 != row.depth) {
            broken.push(format!("P8: {thread} is not one level below its parent"));
        }
        let waiting = row.mail.values().filter(|taken| !**taken).count();
        if waiting == 0 {
            continue;
        }
        let (done, mail) = coppicer::Done::channel();
        host.runtime.store().mail(*thread, done);
        let mail = mail.await.unwrap_or_default();
        if mail.len() != waiting {
            broken.push(format!("P12: {thread} has {} mails, not {waiting}", mail.len()));
        }
        let left = host.runtime.budget_left(*thread);
        let spent = [left.tokens, left.cost_micros, left.wall_ms].contains(&Some(0));
        let rests =
            spent || matches!(row.status, Some(ThreadStatus::Shutdown | ThreadStatus::Parked));
        if mail.iter().any(|mail| mail.trigger) && !rests && !is_closed(&rows, *thread) {
            broken.push(format!("P7: mail for {thread} has not started a turn: {:?}", row.status));
        }
    }
    broken
}

/// A path is that of one thread of its tree that is not closed.
async fn names(host: &Host, rows: &BTreeMap<ThreadId, crate::witness::Row>) -> Vec<String> {
    {
        let book = host.book.lock();
        // Two hosts at once know nothing of each other's threads but what is written; where a thread
        // is may not have been written.
        if book.shared || book.faulty {
            return Vec::new();
        }
    }
    let mut broken = Vec::new();
    let mut taken = BTreeMap::new();
    for thread in rows.keys().copied().filter(|thread| !is_closed(rows, *thread)) {
        let Ok(stored) = host.runtime.store().thread(thread).await else { continue };
        let Some(path) = stored.path else { continue };
        let above = |thread: &ThreadId| rows.get(thread)?.parent.map(|(parent, _)| parent);
        let root = std::iter::successors(Some(thread), above).last();
        if let Some(other) = taken.insert((root, path.clone()), thread) {
            broken.push(format!("P8: {thread} and {other} are both {path}"));
        }
    }
    broken
}

/// Whether a thread, or one above it, is closed.
fn is_closed(rows: &BTreeMap<ThreadId, crate::witness::Row>, thread: ThreadId) -> bool {
    let mut at = Some(thread);
    while let Some(row) = at.and_then(|thread| rows.get(&thread)) {
        let out = matches!(row.parent, Some((_, EdgeStatus::Closed)));
        if out || row.status == Some(ThreadStatus::Shutdown) {
            return true;
        }
        at = row.parent.map(|(parent, _)| parent);
    }
    false
}

/// P10: after everything was closed nothing is held.
pub(crate) async fn after_close(host: &Host) -> Vec<String> {
    let audit = host.runtime.audit().await;
    let mut broken = Vec::new();
    if !audit.is_empty() {
        broken.push(format!("P10: held after everything was closed: {audit:?}"));
    }
    if audit.count(LeaseKind::Slot) == 0 && !host.runtime.list().is_empty() {
        broken.push("P10: closed threads are listed".to_owned());
    }
    broken
}

/// P8: the threads that are reachable from `root` over open edges, by what was written.
pub(crate) fn reachable(host: &Host, root: ThreadId) -> BTreeSet<ThreadId> {
    let seen = host.witness.seen.lock();
    let mut below: BTreeMap<ThreadId, Vec<ThreadId>> = BTreeMap::new();
    for (thread, row) in &seen.rows {
        if let Some((parent, EdgeStatus::Open)) = row.parent {
            below.entry(parent).or_default().push(*thread);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = vec![root];
    while let Some(thread) = next.pop() {
        let children = below.get(&thread).into_iter().flatten();
        next.extend(children.copied().filter(|child| found.insert(*child)));
    }
    found
}
