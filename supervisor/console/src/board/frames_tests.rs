use coppicer_actors::TreeRow;
use proptest::prelude::*;

use super::*;
use crate::board::row::Known;

fn id(number: u8) -> ThreadId {
    ThreadId::from_parts(u64::from(number) + 1, [number; 10])
}

fn row(number: u8, turns: u64) -> Row {
    let mut row = TreeRow::of(id(number));
    row.turns = turns.try_into().unwrap();
    Known::default().row(&row, None)
}

/// What a client makes of what it is sent.
#[derive(Default)]
struct Client {
    place: Option<Place>,
    rows: HashMap<ThreadId, Arc<Row>>,
    fulls: usize,
    sent: usize,
}

impl Client {
    /// Takes one frame; whether there is more.
    fn take(&mut self, frames: &Frames, max: usize) -> bool {
        let news = frames.after(self.place, max);
        assert!(news.rows.len() + news.removed.len() <= max);
        if news.full {
            self.rows.clear();
            self.fulls += 1;
        }
        self.sent += news.rows.len() + news.removed.len();
        for row in news.rows {
            let before = self.rows.insert(row.thread, row.clone());
            let again = before.is_some_and(|before| Arc::ptr_eq(&before, &row));
            assert!(!again, "a change is sent once");
        }
        for thread in news.removed {
            self.rows.remove(&thread);
        }
        // Places go through text, as ids do.
        let text = news.place.to_string();
        self.place = Some(text.parse().unwrap());
        assert_eq!(self.place, Some(news.place));
        news.more
    }

    fn catch_up(&mut self, frames: &Frames, max: usize) {
        while self.take(frames, max) {}
        let shown =
            frames.rows.iter().filter_map(|(thread, (_, row))| Some((*thread, row.clone()?)));
        assert_eq!(self.rows, shown.collect(), "the client has what is so");
    }
}

#[test]
fn a_client_is_sent_what_changed_once_and_no_more() {
    let mut frames = Frames::default();
    let mut client = Client::default();
    frames.put(row(1, 0));
    frames.put(row(2, 0));
    client.catch_up(&frames, 100);
    assert_eq!((client.fulls, client.sent), (1, 2));
    frames.put(row(1, 0));
    client.catch_up(&frames, 100);
    assert_eq!(client.sent, 2, "a row that is what it was is no change");
    for turns in 1..=50 {
        frames.put(row(1, turns));
    }
    client.catch_up(&frames, 100);
    assert_eq!(client.sent, 3, "many changes in between are one row");
    frames.remove(id(2));
    frames.remove(id(2));
    client.catch_up(&frames, 100);
    assert_eq!((client.fulls, client.sent, client.rows.len()), (1, 4, 1));
    assert!(frames.after(client.place, 100).is_empty());
}

#[test]
fn what_came_and_went_while_a_client_was_away_is_a_removal_that_changes_nothing() {
    let mut frames = Frames::default();
    let mut client = Client::default();
    frames.put(row(1, 0));
    client.catch_up(&frames, 100);
    frames.put(row(2, 0));
    frames.remove(id(2));
    frames.remove(id(1));
    frames.put(row(1, 0));
    client.place = client.place.map(|place| place.to_string().parse().unwrap());
    let news = frames.after(client.place, 100);
    assert_eq!((news.full, news.rows.len(), news.removed), (false, 1, vec![id(2)]));
}

#[test]
fn one_that_was_away_for_too_many_removals_begins_anew() {
    let mut frames = Frames::default();
    let (mut early, mut late) = (Client::default(), Client::default());
    frames.put(row(1, 0));
    early.catch_up(&frames, 100);
    frames.put(row(2, 0));
    frames.remove(id(2));
    late.catch_up(&frames, 100);
    for turns in 0..REMOVALS_MAX as u64 {
        frames.put(row(3, turns));
        frames.remove(id(3));
    }
    early.catch_up(&frames, 100);
    late.catch_up(&frames, 100);
    assert_eq!((early.fulls, late.fulls), (2, 1), "the first missed the removal of the second row");
    assert!(frames.rows.len() <= 3 && frames.removals.len() == REMOVALS_MAX);
}

#[test]
fn a_place_of_the_future_is_none() {
    let mut frames = Frames::default();
    frames.put(row(1, 0));
    assert!(frames.after(Some(Place { at: 9, began: 9 }), 10).full);
    assert!(frames.after(Some(Place { at: 0, began: 9 }), 10).full);
    for text in ["", "x", "1.", ".1", "1.2.3", "-1"] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u64),
    Remove(u8),
    /// A client takes one frame of at most so many.
    Take(usize, usize),
    /// A client goes on, as it would on a new connection, until it has everything.
    CatchUp(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..20, 0u64..4).prop_map(|(number, turns)| Step::Put(number, turns)),
        2 => (0u8..20).prop_map(Step::Remove),
        2 => (0usize..3, 1usize..6).prop_map(|(client, max)| Step::Take(client, max)),
        1 => (0usize..3, 1usize..6).prop_map(|(client, max)| Step::CatchUp(client, max)),
    ]
}

proptest! {
    /// Clients that read frames of any size, at any time, have what is so when they have read all, and
    /// begin from nothing once.
    #[test]
    fn every_client_comes_to_what_is_so(steps in prop::collection::vec(step(), 0..200)) {
        let mut frames = Frames::default();
        let mut clients = [Client::default(), Client::default(), Client::default()];
        for step in steps {
            match step {
                Step::Put(number, turns) => frames.put(row(number, turns)),
                Step::Remove(number) => frames.remove(id(number)),
                Step::Take(client, max) => drop(clients[client].take(&frames, max)),
                Step::CatchUp(client, max) => clients[client].catch_up(&frames, max),
            }
        }
        for client in &mut clients {
            client.catch_up(&frames, 3);
            prop_assert_eq!(client.fulls, 1);
        }
    }
}
