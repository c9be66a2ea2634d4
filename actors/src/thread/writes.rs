//! A thread's writes: gathered during one wake-up, made in one append, told when they are durable.

use std::collections::VecDeque;

use coppicer_messages::{Charge, Ended, EventKind, Seq, StoreError, SubmitError, ThreadMsg};

use super::effect::Effect;
use super::spending::charge_alone;
use super::state::ThreadState;
use crate::account::Refund;
use crate::seldom::{Blank, Seldom};
use crate::store::{Batch, Done};

/// What was written, what is being written, and what may only follow it.
pub(super) struct Writes {
    /// Gathered during one wake-up.
    pub(super) batch: Seldom<Batch>,
    /// What turns used that is written with `batch`. It was used also if that is refused.
    pub(super) usage: Vec<Charge>,
    /// What goes back of its thread's budget once `batch` is written.
    pub(super) refund: Option<Box<Refund>>,
    /// Where `batch` begins.
    pub(super) from: Seq,
    /// Appends made so far, and those that are durable.
    pub(super) made: u64,
    pub(super) durable: u64,
    /// Waits for the append of its number.
    pub(super) parked: Seldom<VecDeque<(u64, Effect)>>,
}

impl Writes {
    /// Nothing written yet; the next record goes to `from`.
    pub(super) fn starting_at(from: Seq) -> Self {
        let (batch, parked) = (Seldom::none(), Seldom::none());
        Self { batch, usage: Vec::new(), refund: None, from, made: 0, durable: 0, parked }
    }

    /// Whether something that was decided earlier is not durable, or not told yet.
    pub(super) fn are_pending(&self) -> bool {
        !self.batch.is_empty() || self.made != self.durable || !self.parked.is_empty()
    }

    /// Takes what was gathered. A thread at work keeps the room for more.
    fn take_batch(&mut self, works: bool) -> Batch {
        if works { std::mem::take(&mut *self.batch) } else { self.batch.take() }
    }

    pub(super) fn add(&mut self, more: Batch) {
        let batch = &mut *self.batch;
        append(&mut batch.records, more.records);
        append(&mut batch.accepted, more.accepted);
        append(&mut batch.states, more.states);
        append(&mut batch.mail, more.mail);
        append(&mut batch.mail_taken, more.mail_taken);
        append(&mut batch.crashes, more.crashes);
        append(&mut batch.charges, more.charges);
        match (&mut batch.patch, more.patch) {
            (Some(patch), Some(later)) => patch.merge(*later),
            (None, later) => batch.patch = later,
            (Some(_), None) => {}
        }
        batch.task = more.task.or_else(|| batch.task.take());
        batch.status = more.status.or_else(|| batch.status.take());
        batch.updated_ms = more.updated_ms.or(batch.updated_ms);
    }
}

impl Blank for Batch {
    const BLANK: &'static Self = &Self {
        number: 0,
        records: Vec::new(),
        accepted: Vec::new(),
        states: Vec::new(),
        mail: Vec::new(),
        mail_taken: Vec::new(),
        task: None,
        status: None,
        patch: None,
        updated_ms: None,
        crashes: Vec::new(),
        charges: Vec::new(),
        settled: false,
    };

    fn is_blank(&self) -> bool {
        self.is_empty()
    }
}

/// Most lists of a batch come from one decision: then nothing is copied.
fn append<T>(list: &mut Vec<T>, mut more: Vec<T>) {
    if list.is_empty() {
        *list = more;
    } else {
        list.append(&mut more);
    }
}

impl ThreadState {
    pub(super) fn gather(&mut self, more: Batch) {
        let most = self.world.turns.limits.batch_records_max;
        if self.writes.batch.records.len() + more.records.len() > most {
            self.flush();
        }
        self.writes.add(more);
    }

    /// Appends what was gathered. False if there was nothing.
    pub(super) fn flush(&mut self) -> bool {
        if self.writes.batch.is_empty() && self.writes.usage.is_empty() {
            return false;
        }
        if let Some(spending) = self.live.as_ref().and_then(|live| live.link.spending.as_ref()) {
            self.writes.usage.extend(spending.take_unwritten());
        }
        let usage = std::mem::take(&mut self.writes.usage);
        let mut batch = self.writes.take_batch(self.core.turn.is_some());
        batch.charges.extend(&usage);
        let expected = self.writes.from;
        self.writes.from = expected.plus(batch.records.len() as u64);
        self.writes.made += 1;
        let append = self.writes.made;
        batch.number = append;
        batch.settled = self.core.turn.is_none();
        if !batch.records.is_empty() && self.world.turns.hub.wants(EventKind::Record) {
            let turn = self.core.turn.as_ref().map(|turn| turn.id.clone());
            let classes = batch.records.iter().map(|record| record.class.clone()).collect();
            let told = Effect::TellRecords { turn, from: expected, classes };
            self.writes.parked.push_back((append, told));
        }
        let (slot, epoch) = (self.slot.clone(), self.fence.epoch);
        let refund = self.writes.refund.take();
        let store = (!usage.is_empty()).then(|| self.world.turns.store.clone());
        let done = Done::new(move |result: Result<Seq, StoreError>| {
            if let (Err(_), Some(store)) = (&result, store) {
                charge_alone(&*store, &slot, usage);
            }
            if let Some(refund) = refund {
                refund.answered(&result);
            }
            slot.notice(ThreadMsg::Committed { epoch, append, result });
        });
        self.world.turns.store.append(self.fence, expected, batch, done);
        true
    }

    pub(super) fn on_committed(&mut self, append: u64, result: Result<Seq, StoreError>) {
        match result {
            Ok(_head) => {
                self.writes.durable = self.writes.durable.max(append);
                while self.writes.parked.front().is_some_and(|(number, _)| *number <= append) {
                    let Some((_, effect)) = self.writes.parked.pop_front() else { break };
                    self.carry_out(effect);
                    if self.over {
                        return;
                    }
                }
            }
            Err(error) => self.on_refused(&error),
        }
    }

    /// The store refused: what was decided is not so, and this incarnation cannot go on. Nothing
    /// that waited for the write is told as done.
    pub(super) fn on_refused(&mut self, error: &StoreError) {
        for (_, effect) in std::mem::take(&mut self.writes.parked) {
            if let Effect::Accept { reply, receipt } = effect {
                reply.tell(Err(match error {
                    StoreError::UnknownOutcome { .. } => {
                        SubmitError::Unknown { submission: receipt.submission }
                    }
                    error => SubmitError::Store(error.clone()),
                }));
            }
        }
        if let Some(live) = self.live.take() {
            live.end();
            live.link.count_as_zombie(&self.world.turns.leases, self.slot.holdings());
            self.settle_outside(&live.link);
        }
        let how = match error {
            StoreError::Fenced { .. } | StoreError::NotFound { .. } => Ended::Fenced,
            // Not the thread's fault: it comes back when the store can write.
            StoreError::Unavailable { .. } | StoreError::UnknownOutcome { .. } => {
                Ended::StoreLost { reason: error.to_string() }
            }
            StoreError::Corrupt { seq, reason, .. } => {
                Ended::Damaged { what: format!("record {seq}: {reason}") }
            }
            error => Ended::Crashed { cause: error.to_string() },
        };
        self.take_down();
        self.end(how);
    }
}
