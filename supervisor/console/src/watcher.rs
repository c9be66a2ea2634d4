//! The watcher: owns the board, follows the facts of one tap, and answers what clients ask of it.
//!
//! - Inbox: closures that look at the board, at most [`ASKS_MAX`] of them.
//! - Publishes: [`Mark`], whenever a tick finds that clients have something to see.
//! - Ends: with its runtime, when it is told to stop, or when nobody can ask any more.

use coppicer_actors::{Tap, TapFilter, TapFrom, TapItem, TapOptions, TreeSnapshot};
use coppicer_messages::{EventKind, TapError};
use coppicer_supervisor::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use crate::board::Board;
use crate::bounds::{ASKS_MAX, FRAME_EVERY, WATCH_BYTES_MAX, WATCH_EVENTS_MAX};
use crate::stop::{Reason, Stop};

/// What changes when clients have something to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    row: u64,
    attention: u64,
    lost: u64,
}

type Look = Box<dyn FnOnce(&Board) + Send>;

/// Something that a client asks.
struct Ask {
    /// Whether rows are made anew first.
    anew: bool,
    look: Look,
}

/// How clients ask.
#[derive(Clone)]
pub(crate) struct Watcher {
    asks: mpsc::Sender<Ask>,
    marks: watch::Receiver<Mark>,
}

impl Watcher {
    /// Looks at the board as it is; none if the watcher has ended.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Board) -> T + Send + 'static,
    ) -> Option<T> {
        self.ask(false, look).await
    }

    /// Looks at the board after its rows were made anew.
    pub(crate) async fn look_anew<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Board) -> T + Send + 'static,
    ) -> Option<T> {
        self.ask(true, look).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        anew: bool,
        look: impl FnOnce(&Board) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let look = Box::new(move |board: &Board| drop(reply.send(look(board))));
        self.asks.send(Ask { anew, look }).await.ok()?;
        answer.await.ok()
    }

    /// Told when there is something to see.
    pub(crate) fn marks(&self) -> watch::Receiver<Mark> {
        self.marks.clone()
    }
}

/// Starts to watch a runtime.
///
/// # Errors
/// There is no room for a tap; the runtime has ended.
pub(crate) fn start(
    runtime: &Runtime,
    stop: Stop,
) -> Result<(Watcher, impl Future<Output = ()> + Send + use<>), TapError> {
    let tap = open(runtime)?;
    let (asks, asked) = mpsc::channel(ASKS_MAX);
    let (told, marks) = watch::channel(Mark::default());
    let board = Board::new();
    let watching =
        Watching { runtime: runtime.clone(), board, tap, asked, told, ticks: 0, from: 0 };
    Ok((Watcher { asks, marks }, watching.run(stop)))
}

/// Everything but the pieces of text and the records, of which no row tells.
fn open(runtime: &Runtime) -> Result<Tap, TapError> {
    let quiet = [EventKind::Delta, EventKind::Record];
    let kinds = EventKind::ALL.into_iter().filter(|kind| !quiet.contains(kind));
    let options = TapOptions::matching(TapFilter::all().kinds(kinds))
        .with_from(TapFrom::Snapshot)
        .with_capacity(WATCH_EVENTS_MAX)
        .with_bytes(WATCH_BYTES_MAX);
    runtime.tap(options)
}

struct Watching {
    runtime: Runtime,
    board: Board,
    tap: Tap,
    asked: mpsc::Receiver<Ask>,
    told: watch::Sender<Mark>,
    ticks: u32,
    /// What is up to there is in the snapshot that the board began with, or began anew with behind a gap.
    from: u64,
}

/// How much of what waited was taken in.
enum Taken {
    All,
    More,
    /// Nothing more comes.
    End,
}

/// Facts that are taken in at one go before others get their turn.
const AT_ONCE_MAX: usize = 512;

/// Without a client, rows are made anew with every so many ticks.
const IDLE_TICKS: u32 = 4;

impl Watching {
    async fn run(mut self, stop: Stop) {
        let mut tick = interval(FRAME_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.stopped() => return,
                item = self.tap.next() => match self.take(item) {
                    Taken::All => {}
                    // A tap that always has something would keep its worker to itself.
                    Taken::More => tokio::task::yield_now().await,
                    Taken::End => {
                        self.show();
                        return stop.stop(Reason::RuntimeEnded);
                    }
                },
                Some(ask) = self.asked.recv() => self.answer(ask),
                _ = tick.tick() => self.on_tick(),
            }
        }
    }

    /// Takes in what waits, as far as that goes at once.
    fn take(&mut self, first: Option<TapItem>) -> Taken {
        let Some(first) = first else { return Taken::End };
        self.take_one(first);
        for _ in 1..AT_ONCE_MAX {
            let Some(item) = self.tap.try_next() else { return Taken::All };
            self.take_one(item);
        }
        Taken::More
    }

    fn take_one(&mut self, item: TapItem) {
        match item {
            TapItem::Event(event) if event.seq > self.from => self.board.follow(&event),
            // The snapshot before it has it already.
            TapItem::Event(_) => self.board.lost(1),
            TapItem::Snapshot(snapshot) => self.begin(&snapshot),
            // Behind a gap it goes on from the journal; where that does not reach, a snapshot comes next. Both
            // come from the tap that it has: there may be no room for another.
            TapItem::Lagged { from, count, .. } => {
                self.board.lost(self.tap.regain(from).lost_of(count));
            }
            _ => {}
        }
    }

    fn begin(&mut self, snapshot: &TreeSnapshot) {
        self.from = snapshot.seq;
        self.board.begin(snapshot, self.runtime.now_ms());
    }

    fn answer(&mut self, ask: Ask) {
        if ask.anew {
            self.make_anew();
        }
        (ask.look)(&self.board);
    }

    fn on_tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        self.board.use_of_limits(&self.runtime.use_of_limits(), self.runtime.now_ms());
        // The one that is kept to be cloned is no client.
        let clients = self.told.receiver_count() > 1;
        if clients || self.ticks.is_multiple_of(IDLE_TICKS) {
            self.board.expire(self.runtime.now_ms());
            self.show();
        }
    }

    fn show(&mut self) {
        let row = self.make_anew();
        let (attention, lost) = (self.board.attention.version(), self.board.seen().lost);
        let mark = Mark { row, attention, lost };
        self.told.send_if_modified(|told| std::mem::replace(told, mark) != mark);
    }

    fn make_anew(&mut self) -> u64 {
        let runtime = &self.runtime;
        self.board.refresh(|thread| runtime.get(thread).map(|handle| handle.view()))
    }
}
