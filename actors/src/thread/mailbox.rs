//! The mail of a thread that waits for a turn: so much of it here, the rest in the store. Pure.
//!
//! MB-1: what waits here is in the order in which it came. MB-2: each mail is taken up once, however
//! often it is told of or read. MB-3: what is in the store up to `upto` is known here; what is not is
//! read before it is needed.
//!
//! Mail comes in three ways. It is told of by its writer when it is durable; accepted from a host; or
//! read from the store, where all of it is. What is told of while there is no room, or while it might
//! have been read before, is left to be read.

use std::collections::{BTreeSet, HashSet, VecDeque};

use coppicer_messages::{MAIL_PAGE_MAX, Mail, MailId, MailPage, MailPlace, MailRest};

use crate::seldom::Blank;

#[derive(Default)]
pub(crate) struct Mailbox {
    waiting: VecDeque<Mail>,
    /// How many of those that wait start a turn.
    triggers: usize,
    /// What was read from the store and may be told of too: told of then, it is old.
    had: BTreeSet<MailId>,
    /// There was more of that than is remembered: from then on all that is told of is read.
    forgets: bool,
    upto: MailPlace,
    beyond: Beyond,
    reading: Option<Box<Reading>>,
}

/// What the store has behind `upto` that is not here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Beyond {
    /// Nothing that is known of.
    #[default]
    Nothing,
    /// Mail.
    Some,
    /// Mail, of which some starts a turn.
    Starts,
}

impl Beyond {
    const fn of(rest: MailRest) -> Self {
        match rest {
            MailRest { more: false, .. } => Self::Nothing,
            MailRest { triggers: true, .. } => Self::Starts,
            MailRest { .. } => Self::Some,
        }
    }
}

/// A look into the store, page by page.
struct Reading {
    /// What waited here when it began, and what came since, also if it was taken.
    known: HashSet<MailId>,
    /// Something came that the page on its way may not have.
    again: bool,
}

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadMail {
    pub(crate) after: MailPlace,
    /// How much; none if it is only asked whether there is any.
    pub(crate) most: usize,
}

/// What mail is that was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// It waits here now.
    New,
    /// It was here before.
    Old,
    /// It is read from the store when there is room.
    Later,
}

impl Blank for Mailbox {
    const BLANK: &'static Self = &Self {
        waiting: VecDeque::new(),
        triggers: 0,
        had: BTreeSet::new(),
        forgets: false,
        upto: MailPlace(0),
        beyond: Beyond::Nothing,
        reading: None,
    };

    /// Without `upto`, which only saves reading again what is known.
    fn is_blank(&self) -> bool {
        let Self { waiting, triggers: _, had, forgets, upto: _, beyond, reading } = self;
        waiting.is_empty()
            && had.is_empty()
            && !forgets
            && *beyond == Beyond::Nothing
            && reading.is_none()
    }
}

impl Mailbox {
    /// What a thread finds that was just acquired. `kept_max`: how much of what was read is remembered.
    pub(crate) fn of(mail: Vec<Mail>, rest: MailRest, kept_max: usize) -> Self {
        let mut mailbox = Self { upto: rest.upto, beyond: Beyond::of(rest), ..Self::default() };
        for mail in mail {
            mailbox.remember(&mail.id, kept_max);
            mailbox.push(mail);
        }
        if mailbox.is_blank() { Self::default() } else { mailbox }
    }

    /// How much waits here.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is more in the store, or may be.
    pub(crate) fn has_more(&self) -> bool {
        self.beyond != Beyond::Nothing
    }

    /// Whether some of it starts a turn.
    pub(crate) fn starts(&self) -> bool {
        self.triggers > 0 || self.beyond == Beyond::Starts
    }

    /// Whether a turn can take it now: not if what starts it is still to be read, and nothing else is
    /// here that could come before.
    pub(crate) fn is_ready(&self) -> bool {
        self.triggers > 0
            || self.beyond == Beyond::Starts && self.reading.is_none() && !self.waiting.is_empty()
    }

    /// Whether a look is under way, which may find what starts a turn.
    pub(crate) const fn is_read(&self) -> bool {
        self.reading.is_some()
    }

    fn push(&mut self, mail: Mail) {
        self.triggers += usize::from(mail.trigger);
        if let Some(reading) = &mut self.reading {
            reading.known.insert(mail.id.clone());
        }
        self.waiting.push_back(mail);
    }

    fn remember(&mut self, id: &MailId, kept_max: usize) {
        if self.forgets {
            return;
        }
        self.had.insert(id.clone());
        if self.had.len() > kept_max {
            self.forgets = true;
            self.had.clear();
        }
    }

    /// Mail that its own thread accepts, which has room for it.
    pub(crate) fn accept(&mut self, mail: Mail) {
        self.push(mail);
    }

    /// Mail that is durable, as its writer says. At most `most` waits here.
    pub(crate) fn told(&mut self, mail: Mail, most: usize) -> Told {
        if self.had.remove(&mail.id) {
            return Told::Old;
        }
        if !self.forgets && self.beyond == Beyond::Nothing && self.waiting.len() < most {
            self.push(mail);
            return Told::New;
        }
        let beyond = if mail.trigger { Beyond::Starts } else { Beyond::Some };
        if self.beyond != Beyond::Starts {
            self.beyond = beyond;
        }
        if let Some(reading) = &mut self.reading {
            reading.again = true;
        }
        Told::Later
    }

    /// Takes what came first, `most` of it.
    pub(crate) fn take(&mut self, most: usize) -> Vec<Mail> {
        let most = most.min(self.waiting.len());
        let taken: Vec<Mail> = self.waiting.drain(..most).collect();
        self.triggers -= taken.iter().filter(|mail| mail.trigger).count();
        taken
    }

    /// Begins to read what the store has that is not here. None if that is under way; then it is done
    /// once more. What was taken must be durable before it is read.
    pub(crate) fn look(&mut self, most: usize) -> Option<ReadMail> {
        if let Some(reading) = &mut self.reading {
            reading.again = true;
            return None;
        }
        let known = self.waiting.iter().map(|mail| mail.id.clone()).collect();
        self.reading = Some(Box::new(Reading { known, again: false }));
        Some(self.next_page(most))
    }

    fn next_page(&self, most: usize) -> ReadMail {
        let room = most.saturating_sub(self.waiting.len());
        ReadMail { after: self.upto, most: room.min(MAIL_PAGE_MAX) }
    }

    /// What was read: the mails that are new, and what is read next.
    pub(crate) fn read(&mut self, page: MailPage, most: usize) -> (Vec<MailId>, Option<ReadMail>) {
        let Some(mut reading) = self.reading.take() else { return (Vec::new(), None) };
        let (mut new, mut rest) = (Vec::new(), page.rest);
        for mail in page.mail {
            if reading.known.contains(&mail.id) {
                continue;
            }
            if self.waiting.len() >= most {
                // What came meanwhile took the room: the page is read once more when there is some.
                let triggers = rest.triggers || mail.trigger;
                rest = MailRest { upto: self.upto, more: true, triggers };
                continue;
            }
            reading.known.insert(mail.id.clone());
            self.remember(&mail.id, most);
            new.push(mail.id.clone());
            self.push(mail);
        }
        self.upto = rest.upto;
        self.beyond = Beyond::of(rest);
        let goes_on = self.has_more() && self.waiting.len() < most;
        if std::mem::take(&mut reading.again) || goes_on {
            self.reading = Some(reading);
            return (new, Some(self.next_page(most)));
        }
        (new, None)
    }

    /// It could not be read: there may be some.
    pub(crate) fn read_failed(&mut self) {
        if self.reading.take().is_some() && self.beyond == Beyond::Nothing {
            self.beyond = Beyond::Some;
        }
    }
}

#[cfg(test)]
#[path = "mailbox_tests.rs"]
mod tests;
