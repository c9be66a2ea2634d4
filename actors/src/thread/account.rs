//! What a thread says when it is asked why it does what it does.

use coppicer_messages::{Now, Phase, QUEUED_NAMED_MAX, ThreadAccount};

use super::core::{ThreadCore, Waiting};
use super::running::Stage;

impl ThreadCore {
    /// Its account. `awaits_store`: whether writes are under way.
    pub(super) fn account(&self, awaits_store: bool, now: Now) -> ThreadAccount {
        let mut account = ThreadAccount::default();
        account.queue = self.queue.len();
        account.queued = self.queue.iter().take(QUEUED_NAMED_MAX).map(Waiting::named).collect();
        account.mail = (!self.mail.has_more()).then_some(self.mail.len());
        account.awaits_permit.clone_from(&self.asking);
        account.awaits_store = awaits_store;
        if let Some(turn) = &self.turn {
            account.turn_since_ms = Some(turn.started.at_ms);
            account.attempt = Some(turn.attempt);
            account.retrying = turn.stage == Stage::Retrying;
        }
        if self.phase == Phase::Backoff {
            account.backoff_until_ms = self.backoff_until_ms;
        }
        let waiting = self.questions.iter().filter(|(_, reply)| !reply.is_closed());
        account.questions = waiting.map(|(question, _)| question.clone()).collect();
        account.questions.sort_unstable();
        account.engine_restarts_left = self.tracker.left(&self.config.restart, now.instant);
        account.closing = self.closing.is_some();
        account
    }
}
