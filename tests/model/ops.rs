//! What a case does: the tree that it begins with, and bunches of operations. Generated and shrunk by
//! proptest.

use proptest::option;
use proptest::prelude::*;

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// How its tree looks.
    pub(crate) shape: Shape,
    /// Threads of the tree.
    pub(crate) threads: usize,
    /// Of which of its edges a close of the parent lets go.
    pub(crate) detaching: u64,
    /// Whether idle threads sleep early, and few stay in memory.
    pub(crate) restless: bool,
    /// How its threads supervise and come back; all as by default if nothing is said.
    pub(crate) rules: Option<u64>,
    /// Who has a budget; nobody if nothing is said.
    pub(crate) funds: Option<u64>,
    /// Of how many threads a host keeps the handles from the beginning.
    pub(crate) kept: usize,
    pub(crate) steps: Vec<Step>,
    /// Whether a last host brings everything back, to see what is there.
    pub(crate) look_again: bool,
}

/// How a tree looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// One root, and all others its children.
    Flat,
    /// Each below the one before.
    Chain,
    /// Each has so many children.
    Bushy(usize),
    /// Each below any that was made before it.
    Random(u64),
    /// Several roots with a few levels each.
    Forest(usize),
}

/// Operations that are issued side by side, and the time that passes then.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) ops: Vec<Op>,
    pub(crate) then_ms: u64,
}

/// Names one of the threads that are known when it is used.
pub(crate) type Pick = usize;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Spawn {
        below: Option<Pick>,
        name: Option<u8>,
        first: Option<Work>,
        detached: bool,
        /// How it supervises and comes back, if threads of the case have rules.
        rule: u64,
        /// What of it is limited, if threads of the case have budgets.
        fund: Option<u64>,
        ms: u64,
    },
    /// Puts a thread below another, or makes it a root.
    Adopt {
        thread: Pick,
        below: Option<Pick>,
    },
    Fork {
        from: Pick,
        below: Option<Pick>,
        point: u8,
    },
    Submit {
        to: Pick,
        work: Work,
        how: How,
        id: Option<u8>,
    },
    /// A host keeps the handle of a thread, and uses it from now on; or lets go of it.
    Keep {
        to: Pick,
    },
    LetGo {
        to: Pick,
    },
    Mail {
        to: Pick,
        trigger: bool,
    },
    Compact {
        to: Pick,
    },
    Interrupt {
        to: Pick,
    },
    /// A fault of ours in the thread's actor.
    Panic {
        to: Pick,
    },
    Hibernate {
        to: Pick,
    },
    Park {
        to: Pick,
    },
    Revive {
        to: Pick,
    },
    /// Gives a thread more tokens, out of what those above it have.
    Fund {
        to: Pick,
        tokens: u64,
    },
    Resume {
        to: Pick,
    },
    ResumeTree {
        to: Pick,
    },
    Close {
        to: Pick,
        ms: u64,
    },
    CloseAll {
        ms: u64,
    },
    /// The store answers such requests only after this time.
    Hold {
        what: Held,
        ms: u64,
    },
    /// The next such request fails.
    Fail {
        what: Held,
    },
    Restart {
        how: Restart,
    },
}

/// What a turn does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Say,
    Slow,
    Long,
    Panic,
    OpenCall,
    Fatal,
    Transient,
    SessionLost,
    Stubborn,
    Steered,
    Spawn,
    Brood,
    Post,
    Use,
    Splurge,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    Queue,
    SteerOrQueue,
    Steer,
    Refuse,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Held {
    Create,
    Acquire,
    Append,
    PutEdge,
    Detaching,
    Submission,
    Read,
}

/// How a host ends, before the next one begins on the same store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Restart {
    /// It shuts down, within this time.
    Shutdown { ms: u64 },
    /// It is there no more, from one moment to the next.
    Die,
    /// It is let go of without a word: its actors go on until the store refuses them.
    Abandon,
}

impl Work {
    /// What is said to have it done.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Say => "say",
            Self::Slow => "slow",
            Self::Long => "long",
            Self::Panic => "panic",
            Self::OpenCall => "open-call",
            Self::Fatal => "fatal",
            Self::Transient => "transient",
            Self::SessionLost => "session-lost",
            Self::Stubborn => "stubborn",
            Self::Steered => "steered",
            Self::Spawn => "spawn",
            Self::Brood => "brood",
            Self::Post => "post",
            Self::Use => "use",
            Self::Splurge => "splurge",
        }
    }
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        4 => Just(Work::Say),
        3 => Just(Work::Slow),
        2 => Just(Work::Long),
        2 => Just(Work::Panic),
        1 => Just(Work::OpenCall),
        1 => Just(Work::Fatal),
        1 => Just(Work::Transient),
        1 => Just(Work::SessionLost),
        2 => Just(Work::Stubborn),
        1 => Just(Work::Steered),
        2 => Just(Work::Spawn),
        1 => Just(Work::Brood),
        2 => Just(Work::Post),
        4 => Just(Work::Use),
        1 => Just(Work::Splurge),
    ]
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        6 => Just(How::Queue),
        2 => Just(How::SteerOrQueue),
        1 => Just(How::Steer),
        1 => Just(How::Refuse),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        1 => Just(Held::Create),
        1 => Just(Held::Acquire),
        3 => Just(Held::Append),
        2 => Just(Held::PutEdge),
        1 => Just(Held::Detaching),
        1 => Just(Held::Submission),
        1 => Just(Held::Read),
    ]
}

/// Half of all picks fall on a few threads, so that operations meet.
fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![0usize..8, 0usize..256]
}

/// Budgets of closes: too short for anything, short, and enough.
fn budget_ms() -> impl Strategy<Value = u64> {
    prop_oneof![1 => 0u64..4, 3 => 30u64..400, 1 => 1_000u64..3_000]
}

fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![
        (0u64..300).prop_map(|ms| Restart::Shutdown { ms }),
        Just(Restart::Die),
        Just(Restart::Abandon),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (option::of(pick()), option::of(0u8..4), option::of(work()), any::<bool>(), any::<u64>(), option::of(any::<u64>()), prop_oneof![1 => 1u64..9, 6 => Just(2_000u64)])
            .prop_map(|(below, name, first, detached, rule, fund, ms)| Op::Spawn { below, name, first, detached, rule, fund, ms }),
        4 => (pick(), option::weighted(0.7, pick()))
            .prop_map(|(thread, below)| Op::Adopt { thread, below }),
        2 => (pick(), option::of(pick()), 0u8..4)
            .prop_map(|(from, below, point)| Op::Fork { from, below, point }),
        16 => (pick(), work(), how(), option::of(0u8..3))
            .prop_map(|(to, work, how, id)| Op::Submit { to, work, how, id }),
        3 => (pick(), any::<bool>()).prop_map(|(to, trigger)| Op::Mail { to, trigger }),
        2 => pick().prop_map(|to| Op::Keep { to }),
        1 => pick().prop_map(|to| Op::LetGo { to }),
        1 => pick().prop_map(|to| Op::Compact { to }),
        3 => pick().prop_map(|to| Op::Interrupt { to }),
        4 => pick().prop_map(|to| Op::Panic { to }),
        2 => pick().prop_map(|to| Op::Hibernate { to }),
        2 => pick().prop_map(|to| Op::Park { to }),
        2 => pick().prop_map(|to| Op::Revive { to }),
        1 => (pick(), 1u64..4_000).prop_map(|(to, tokens)| Op::Fund { to, tokens }),
        3 => pick().prop_map(|to| Op::Resume { to }),
        1 => pick().prop_map(|to| Op::ResumeTree { to }),
        5 => (pick(), budget_ms()).prop_map(|(to, ms)| Op::Close { to, ms }),
        1 => budget_ms().prop_map(|ms| Op::CloseAll { ms }),
        2 => (held(), 1u64..200).prop_map(|(what, ms)| Op::Hold { what, ms }),
        2 => held().prop_map(|what| Op::Fail { what }),
        1 => restart().prop_map(|how| Op::Restart { how }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let ops = proptest::collection::vec(op(), 1..8);
    (ops, prop_oneof![3 => 0u64..12, 2 => 12u64..160, 1 => 160u64..2_500])
        .prop_map(|(ops, then_ms)| Step { ops, then_ms })
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        1 => Just(Shape::Flat),
        1 => Just(Shape::Chain),
        2 => (2usize..9).prop_map(Shape::Bushy),
        3 => any::<u64>().prop_map(Shape::Random),
        1 => (2usize..9).prop_map(Shape::Forest),
    ]
}

/// Cases, each with a tree of 200 threads or some more.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let steps = proptest::collection::vec(step(), 1..7);
    let kept = prop_oneof![Just(0usize), Just(8usize)];
    let look_again = proptest::bool::weighted(0.2);
    let kinds = (option::of(any::<u64>()), option::of(any::<u64>()));
    (shape(), 200usize..216, any::<u64>(), any::<bool>(), kinds, kept, steps, look_again).prop_map(
        |(shape, threads, detaching, restless, (rules, funds), kept, steps, look_again)| Case {
            shape,
            threads,
            detaching,
            restless,
            rules,
            funds,
            kept,
            steps,
            look_again,
        },
    )
}

impl Case {
    /// Whether the thread of this place goes on when its parent is closed: one in six.
    pub(crate) const fn detaches(&self, place: usize) -> bool {
        crate::mix(self.detaching ^ place as u64).is_multiple_of(6)
    }
}

impl Shape {
    /// The parent of each of `threads` threads, by place; parents come before their children.
    pub(crate) fn parents(self, threads: usize) -> Vec<Option<usize>> {
        let parent = |place: usize| match self {
            Self::Flat => 0,
            Self::Chain => place - 1,
            Self::Bushy(most) => (place - 1) / most,
            Self::Random(seed) => crate::mix(seed ^ place as u64) as usize % place,
            Self::Forest(roots) => place.saturating_sub(roots) / 3,
        };
        let roots = if let Self::Forest(roots) = self { roots } else { 1 };
        (0..threads).map(|place| (place >= roots).then(|| parent(place))).collect()
    }
}
