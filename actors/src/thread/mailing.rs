//! The core's decisions about mail: what waits here, and when the rest is read from the store.

use coppicer_messages::{Mail, MailPage, Now, Phase, ThreadEvent, ThreadTick};

use super::control::later;
use super::core::ThreadCore;
use super::effect::Effect;
use super::mailbox::Told;
use crate::seldom::Blank;

impl ThreadCore {
    /// Whether more mail may wait here.
    pub(super) fn has_room_for_mail(&self) -> bool {
        self.mail.len() < self.limits.mail_max
    }

    /// There may be mail that nobody told of: what is behind the last that is known is read once all
    /// takes are written.
    pub(crate) fn look_for_mail(&mut self, out: &mut Vec<Effect>) {
        if let Some(read) = self.mail.look(self.limits.mail_max) {
            out.push(Effect::ReadMail(read));
        }
    }

    /// Reads on where the store has more and there is room for it.
    pub(super) fn read_more_mail(&mut self, out: &mut Vec<Effect>) {
        if self.mail.has_more() && !self.mail.is_read() && self.has_room_for_mail() {
            self.look_for_mail(out);
        }
    }

    /// What the mailbox in the store has; none if it could not be read.
    pub(crate) fn mail_read(&mut self, page: Option<MailPage>, now: Now, out: &mut Vec<Effect>) {
        let Some(mailbox) = self.mail.there().filter(|mailbox| mailbox.is_read()) else { return };
        let Some(page) = page else {
            mailbox.read_failed();
            let at = later(now, self.limits.store_retry);
            return out.push(Effect::Arm { at, tick: ThreadTick::MailDue });
        };
        let (new, next) = mailbox.read(page, self.limits.mail_max);
        for mail in new {
            out.push(self.publish(ThreadEvent::MailReceived { mail }));
        }
        match next {
            Some(read) => out.push(Effect::ReadMail(read)),
            None => self.put_mail_away(),
        }
        self.next(now, out);
        if self.phase == Phase::Idle {
            out.push(self.show()); // it may not have the work that it seemed to have
        }
    }

    /// Mail that is durable in this thread's mailbox.
    pub(crate) fn receive(&mut self, mail: Mail, now: Now, out: &mut Vec<Effect>) {
        let id = mail.id.clone();
        match self.mail.told(mail, self.limits.mail_max) {
            Told::Old => return self.put_mail_away(),
            Told::New => out.push(self.publish(ThreadEvent::MailReceived { mail: id })),
            Told::Later => self.read_more_mail(out),
        }
        self.mail_came(now, out);
    }

    /// An empty mailbox takes no room.
    pub(super) fn put_mail_away(&mut self) {
        if self.mail.is_blank() {
            self.mail.clear();
        }
    }
}
