//! Laws that hold whatever comes.

use std::time::Duration;

use coppicer_messages::{
    AgentPath, Delivery, LeaseKind, Op, Phase, RecordClass, Reply, RestartPolicy, SubmissionId,
    ThreadConfig, ThreadStatus,
};
use proptest::prelude::*;

use super::{Hands, PERMITS, call, ms, output, panicked, transient, turn};
use crate::thread::core::Waiting;
use crate::thread::running::{Stage, TurnEnd};

#[derive(Debug, Clone)]
enum Input {
    Submit(u8),
    Compact,
    Mail(bool),
    AgentMessage(bool),
    Rollback,
    Permit,
    StalePermit,
    Emit(u8),
    TakeSteered,
    End(u8),
    StaleEnd,
    Interrupt,
    InterruptOp,
    Pass(u16),
    Revive,
    Close(u16),
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => (0u8..5).prop_map(Input::Submit),
        1 => Just(Input::Compact),
        1 => any::<bool>().prop_map(Input::Mail),
        1 => any::<bool>().prop_map(Input::AgentMessage),
        1 => Just(Input::Rollback),
        6 => Just(Input::Permit),
        1 => Just(Input::StalePermit),
        2 => (0u8..3).prop_map(Input::Emit),
        2 => Just(Input::TakeSteered),
        6 => (0u8..9).prop_map(Input::End),
        1 => Just(Input::StaleEnd),
        2 => Just(Input::Interrupt),
        1 => Just(Input::InterruptOp),
        4 => (0u16..2_000).prop_map(Input::Pass),
        1 => Just(Input::Revive),
        1 => (0u16..500).prop_map(Input::Close),
    ]
}

impl Hands {
    fn apply(&mut self, step: usize, input: &Input) {
        if self.over.is_some() {
            return; // the actor is gone
        }
        let id = format!("s{step}");
        let running = self.runs().map(str::to_owned);
        match *input {
            Input::Submit(how) => {
                let expected = running.as_deref().map(turn);
                let delivery = match how {
                    0 | 1 => Delivery::Queue,
                    2 => Delivery::SteerOrQueue,
                    3 => Delivery::Steer { expected },
                    _ => Delivery::Refuse,
                };
                let _ = self.submit(&id, delivery);
            }
            Input::Compact => drop(self.send(&id, Op::Compact)),
            Input::Mail(trigger) => self.mail(&id, trigger),
            Input::AgentMessage(trigger) => {
                let from = AgentPath::root();
                let _ = self.send(&id, Op::AgentMessage { from, content: "hi".into(), trigger });
            }
            Input::Rollback => drop(self.send(&id, Op::Rollback { turns: 1 })),
            Input::Permit if !self.asked.is_empty() => self.permit(),
            Input::Permit => {}
            Input::StalePermit => self.permit_for(&turn("stale")),
            Input::Emit(what) => {
                let class = [call("x"), output("x"), RecordClass::Other];
                let to = running.unwrap_or_else(|| "stale".into());
                self.emit(&to, &class[usize::from(what)..=usize::from(what)]);
            }
            Input::TakeSteered => {
                let to = running.unwrap_or_else(|| "stale".into());
                let _ = self.take_steered(&to);
            }
            Input::End(how) => {
                let Some(running) = running else { return };
                let stage = self.core.turn.as_ref().map(|turn| turn.stage);
                // Only a turn whose actor runs can end.
                if matches!(stage, Some(Stage::Live | Stage::Killed)) {
                    self.end(
                        &running,
                        &match how {
                            0..=2 => TurnEnd::Done(Some("done".into())),
                            3 => transient(),
                            4 => TurnEnd::Overloaded,
                            5 => TurnEnd::Failed("no".into()),
                            6 => panicked(),
                            7 => TurnEnd::Killed,
                            _ => TurnEnd::Stopped,
                        },
                    );
                }
            }
            Input::StaleEnd => self.end("stale", &panicked()),
            Input::Interrupt => drop(self.interrupt()),
            Input::InterruptOp => drop(self.send(&id, Op::Interrupt)),
            Input::Pass(time) => self.pass(ms(u64::from(time))),
            Input::Revive => {
                let (reply, _answer) = Reply::channel(self.far(), None);
                self.decide(|core, now, out| core.revive(reply, now, out));
            }
            Input::Close(budget) => self.close(ms(u64::from(budget))),
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        // TH-1.
        let live = self.leases.live(LeaseKind::TurnPermit);
        prop_assert_eq!(live, u64::from(self.core.turn.is_some()), "one permit for one turn");
        prop_assert_eq!(self.core.phase == Phase::Running, {
            self.core.turn.is_some() && self.core.closing.is_none()
        });
        // TH-3.
        let mut places: Vec<&SubmissionId> = self.core.queue.iter().map(Waiting::id).collect();
        let waiting = places.len();
        let mut steered = 0;
        if let Some(turn) = &self.core.turn {
            places.extend(&turn.submissions);
            places.extend(turn.steered.iter().map(|(id, ..)| id));
            steered = turn.steered.len();
        }
        for (id, outcomes) in &self.ended {
            prop_assert_eq!(outcomes.len(), 1, "{} ended more than once", id);
            places.push(id);
        }
        places.sort_unstable();
        let mut accepted: Vec<&SubmissionId> = self.accepted.iter().collect();
        accepted.sort_unstable();
        prop_assert_eq!(places, accepted, "each accepted submission is in exactly one place");
        prop_assert_eq!(self.settled.len(), self.ended.len(), "who waits is told of each end");
        prop_assert_eq!(self.places, waiting + steered, "places in the inbox");
        // The head is what was written.
        prop_assert_eq!(self.core.head, self.began.plus(self.records()));
        // TH-4.
        if self.over.is_some() {
            prop_assert!(self.core.turn.is_none() && self.core.queue.is_empty());
            prop_assert_eq!(self.core.phase, Phase::Stopped);
        }
        // P6.
        let runs = self.core.status == ThreadStatus::Running;
        prop_assert_eq!(runs, self.core.turn.is_some(), "status {:?}", self.core.status);
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_laws_of_a_thread_hold(inputs in proptest::collection::vec(input(), 1..120)) {
        let policy = RestartPolicy::default().with_limit(2, Duration::from_secs(1));
        let mut hands = Hands::of(ThreadConfig::default().with_restart(policy));
        hands.begin(Vec::new());
        for (step, input) in inputs.into_iter().enumerate() {
            hands.apply(step, &input);
            hands.check()?;
        }
        // However it stands, a close ends it, and everything has its outcome.
        if hands.over.is_none() {
            hands.close(ms(300));
            hands.pass(ms(1_000));
            hands.check()?;
        }
        prop_assert!(hands.over.is_some());
        prop_assert_eq!(hands.ended.len(), hands.accepted.len());
        prop_assert_eq!(hands.free_permits(), PERMITS);
    }
}
