//! A mailbox beside a store that is a list: what is taken is what came, once, in order.

use proptest::prelude::*;

use super::*;

const MOST: usize = 4;

fn letter(n: usize, trigger: bool) -> Mail {
    Mail {
        id: MailId::from(format!("m-{n}")),
        sender: None,
        author: "/root/other".into(),
        recipient: "/root/me".into(),
        content: String::new(),
        trigger,
        trace: None,
    }
}

/// The store: each mail with whether it was taken.
#[derive(Default)]
struct Kept(Vec<(Mail, bool)>);

impl Kept {
    fn page(&self, read: ReadMail) -> MailPage {
        let behind = self.0.iter().enumerate().skip(read.after.0 as usize);
        let unread: Vec<_> = behind.filter(|(_, (_, taken))| !taken).collect();
        let (page, rest) = unread.split_at(read.most.min(unread.len()));
        let upto = page.last().map_or(read.after, |(at, _)| MailPlace(*at as u64 + 1));
        let triggers = rest.iter().any(|(_, (mail, _))| mail.trigger);
        MailPage {
            mail: page.iter().map(|(_, (mail, _))| mail.clone()).collect(),
            rest: MailRest { upto, more: !rest.is_empty(), triggers },
        }
    }

    fn take(&mut self, ids: &[Mail]) {
        for mail in ids {
            let row = self.0.iter_mut().find(|(kept, _)| kept.id == mail.id).unwrap();
            assert!(!std::mem::replace(&mut row.1, true), "{} is taken twice", mail.id);
        }
    }

    fn all(&self) -> ReadMail {
        ReadMail { after: MailPlace(0), most: self.0.len() }
    }
}

fn read_on(mailbox: &mut Mailbox, kept: &Kept, mut read: Option<ReadMail>) -> usize {
    let mut pages = 0;
    while let Some(next) = read {
        pages += 1;
        (_, read) = mailbox.read(kept.page(next), MOST);
        assert!(mailbox.len() <= MOST);
    }
    pages
}

#[test]
fn what_has_no_room_is_read_when_there_is_some() {
    let (mut mailbox, mut kept) = (Mailbox::default(), Kept::default());
    for n in 0..10 {
        kept.0.push((letter(n, n == 9), false));
        let told = mailbox.told(letter(n, n == 9), MOST);
        assert_eq!(told, if n < MOST { Told::New } else { Told::Later });
    }
    assert!(mailbox.starts() && mailbox.is_ready(), "what comes before it is here");
    let mut got = Vec::new();
    while mailbox.starts() {
        let taken = mailbox.take(2);
        kept.take(&taken);
        got.extend(taken);
        if mailbox.has_more() {
            let read = mailbox.look(MOST);
            assert!(read.is_some_and(|read| read.most <= MOST));
            read_on(&mut mailbox, &kept, read);
        }
    }
    let ids: Vec<_> = got.iter().map(|mail| mail.id.to_string()).collect();
    assert_eq!(ids, (0..10).map(|n| format!("m-{n}")).collect::<Vec<_>>());
    assert!(!mailbox.has_more() && mailbox.len() == 0);
}

#[test]
fn a_look_reads_what_is_behind_the_last_one_alone() {
    let (mut mailbox, mut kept) = (Mailbox::default(), Kept::default());
    for n in 0..2_000 {
        kept.0.push((letter(n, false), false));
    }
    let most = 10_000;
    let mut looks = [0; 2];
    for pages in &mut looks {
        let mut read = mailbox.look(most);
        while let Some(next) = read {
            *pages += 1;
            (_, read) = mailbox.read(kept.page(next), most);
        }
    }
    assert_eq!(looks, [2_000usize.div_ceil(MAIL_PAGE_MAX), 1]);
    assert_eq!(mailbox.len(), 2_000);
}

#[test]
fn what_comes_while_it_is_read_is_not_lost() {
    let (mut mailbox, mut kept) = (Mailbox::default(), Kept::default());
    for n in 0..MOST {
        kept.0.push((letter(n, false), false));
        mailbox.told(letter(n, false), MOST);
    }
    let read = mailbox.look(MOST).unwrap();
    let page = kept.page(read); // read before the next one came
    kept.0.push((letter(9, true), false));
    assert_eq!(mailbox.told(letter(9, true), MOST), Told::Later);
    assert!(mailbox.look(MOST).is_none(), "one look at a time");
    let (_, again) = mailbox.read(page, MOST);
    read_on(&mut mailbox, &kept, again);
    assert!(mailbox.starts() && mailbox.has_more());
}

#[test]
fn a_look_that_failed_is_owed() {
    let mut mailbox = Mailbox::default();
    mailbox.look(MOST).unwrap();
    mailbox.read_failed();
    assert!(mailbox.has_more() && !mailbox.is_read());
}

#[derive(Debug, Clone)]
enum Step {
    /// Mail is written to the store; its writer will tell of it.
    Write(bool),
    /// The first, or the last, of those who have not told yet does.
    Tell(bool),
    /// The thread accepts mail of its own.
    Accept(bool),
    /// Whoever came back asks for a look.
    Look,
    /// The store answers.
    Answer,
    /// The answer is lost.
    Fail,
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Write),
        4 => any::<bool>().prop_map(Step::Tell),
        1 => any::<bool>().prop_map(Step::Accept),
        1 => Just(Step::Look),
        3 => Just(Step::Answer),
        1 => Just(Step::Fail),
        2 => (1..6usize).prop_map(Step::Take),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    /// MB-2, MB-3: whatever the order in which mail is told of, read and taken, in the end each was
    /// taken once, and none is left.
    #[test]
    fn each_mail_is_taken_once(begins in 0..12usize, steps in steps()) {
        let mut kept = Kept::default();
        let mut n = 0;
        let mut new = |trigger| {
            n += 1;
            letter(n, trigger)
        };
        for _ in 0..begins {
            kept.0.push((new(false), false));
        }
        let first = kept.page(ReadMail { after: MailPlace(0), most: MOST });
        let mut mailbox = Mailbox::of(first.mail, first.rest, MOST);
        let mut untold: Vec<Mail> = kept.0.iter().map(|(mail, _)| mail.clone()).collect();
        // The page as the store had it when it was asked, which is after all takes before.
        let mut on_its_way: Option<MailPage> = None;
        let look = |mailbox: &mut Mailbox, kept: &Kept, on_its_way: &mut Option<MailPage>| {
            if let Some(read) = mailbox.look(MOST) {
                *on_its_way = Some(kept.page(read));
            }
        };
        for step in steps {
            match step {
                Step::Write(trigger) => {
                    let mail = new(trigger);
                    kept.0.push((mail.clone(), false));
                    untold.push(mail);
                }
                Step::Tell(first) => {
                    let at = if first { 0 } else { untold.len().saturating_sub(1) };
                    if at < untold.len() {
                        let told = mailbox.told(untold.remove(at), MOST);
                        if told == Told::Later && mailbox.len() < MOST && !mailbox.is_read() {
                            look(&mut mailbox, &kept, &mut on_its_way);
                        }
                    }
                }
                Step::Accept(trigger) if mailbox.len() < MOST && !mailbox.has_more() => {
                    let mail = new(trigger);
                    kept.0.push((mail.clone(), false));
                    mailbox.accept(mail);
                }
                Step::Accept(_) => {}
                Step::Look => look(&mut mailbox, &kept, &mut on_its_way),
                Step::Answer => if let Some(page) = on_its_way.take() {
                    let (_, next) = mailbox.read(page, MOST);
                    on_its_way = next.map(|next| kept.page(next));
                },
                Step::Fail => if on_its_way.take().is_some() {
                    mailbox.read_failed();
                },
                Step::Take(most) => {
                    kept.take(&mailbox.take(most));
                    if mailbox.has_more() && !mailbox.is_read() {
                        look(&mut mailbox, &kept, &mut on_its_way);
                    }
                }
            }
            prop_assert!(mailbox.len() <= MOST);
            prop_assert_eq!(mailbox.triggers, mailbox.waiting.iter().filter(|m| m.trigger).count());
        }
        // All is told of; the store answers.
        for mail in untold {
            mailbox.told(mail, MOST);
        }
        for _ in 0..200 {
            if let Some(page) = on_its_way.take() {
                let (_, next) = mailbox.read(page, MOST);
                on_its_way = next.map(|next| kept.page(next));
            }
            if mailbox.has_more() && !mailbox.is_read() {
                look(&mut mailbox, &kept, &mut on_its_way);
            }
            kept.take(&mailbox.take(MOST));
        }
        prop_assert!(kept.page(kept.all()).mail.is_empty(), "some was never taken");
        prop_assert!(!mailbox.starts() && !mailbox.has_more() && !mailbox.is_read());
    }
}

#[test]
fn what_comes_behind_mail_that_is_not_here_is_read_behind_it() {
    // The store has one more than was read.
    let rest = MailRest { upto: MailPlace(1), more: true, triggers: false };
    let mut mailbox = Mailbox::of(vec![letter(0, false)], rest, MOST);
    assert_eq!(mailbox.told(letter(2, false), MOST), Told::Later, "MB-1, though there is room");
    let mut kept = Kept::default();
    for n in 0..3 {
        kept.0.push((letter(n, false), false));
    }
    let read = mailbox.look(MOST);
    read_on(&mut mailbox, &kept, read);
    let ids: Vec<_> = mailbox.take(9).iter().map(|mail| mail.id.to_string()).collect();
    assert_eq!(ids, ["m-0", "m-1", "m-2"]);
}

#[test]
fn a_look_that_is_asked_for_while_one_is_under_way_is_done_once_more() {
    // Nobody told of what came: who asks may know of it in another way.
    let (mut mailbox, mut kept) = (Mailbox::default(), Kept::default());
    let read = mailbox.look(MOST).unwrap();
    let page = kept.page(read);
    kept.0.push((letter(0, true), false));
    assert!(mailbox.look(MOST).is_none());
    let (_, again) = mailbox.read(page, MOST);
    assert!(again.is_some());
    read_on(&mut mailbox, &kept, again);
    assert!(mailbox.is_ready());
}

#[test]
fn what_was_read_is_remembered_within_its_bound_and_then_not_told_from() {
    let letters = |from, to| (from..to).map(|n| letter(n, false)).collect();
    let known = Mailbox::of(letters(0, MOST), MailRest::default(), MOST);
    assert!(!known.forgets && known.had.len() == MOST);
    let mut mailbox = Mailbox::of(letters(0, MOST + 1), MailRest::default(), MOST);
    assert!(mailbox.forgets && mailbox.had.is_empty());
    mailbox.take(9);
    assert_eq!(mailbox.told(letter(0, false), MOST), Told::Later, "MB-2: it may be old");
}

#[test]
fn mail_that_starts_a_turn_and_is_to_be_read_lets_none_begin_with_nothing_here() {
    let rest = MailRest { upto: MailPlace(0), more: true, triggers: true };
    let mut mailbox = Mailbox::of(Vec::new(), rest, MOST);
    assert!(mailbox.starts() && !mailbox.is_ready());
    mailbox.accept(letter(1, false));
    assert!(mailbox.is_ready(), "it comes first");
    mailbox.look(MOST).unwrap();
    assert!(!mailbox.is_ready(), "what is read may come before");
}

#[test]
fn what_found_no_room_starts_a_turn_all_the_same() {
    let (mut mailbox, mut kept) = (Mailbox::default(), Kept::default());
    kept.0.push((letter(9, true), false));
    let read = mailbox.look(MOST).unwrap();
    let page = kept.page(read);
    for n in 0..MOST {
        mailbox.accept(letter(n, false)); // took the room meanwhile
    }
    let (new, next) = mailbox.read(page, MOST);
    assert!(new.is_empty() && next.is_none());
    assert!(mailbox.starts() && mailbox.has_more());
}
