//! Whether a turn that crashed is tried again: a pure decision.

use coppicer_messages::{CrashRecord, OnCrash, Poison, SubmissionId, TurnId};

/// What becomes of a turn that crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retrial {
    /// It is tried again.
    Again,
    /// It is over: it has crashed often enough.
    Over,
    /// It is over: its policy never tries a turn again.
    Never,
}

/// Decides what becomes of the work of `submission`, whose attempt of this number crashed. `crashes`
/// are those of its thread that are kept, this one included.
pub(crate) fn after(
    on_crash: OnCrash,
    poison: Poison,
    submission: &SubmissionId,
    attempt: u32,
    crashes: &[CrashRecord],
) -> Retrial {
    let OnCrash::Retry { attempts_max } = on_crash else { return Retrial::Never };
    if attempt >= attempts_max
        || at_same_place(submission, attempt, crashes) >= poison.same_place_max.max(1)
    {
        return Retrial::Over;
    }
    Retrial::Again
}

/// How often attempts at `submission` crashed where the last one did.
fn at_same_place(submission: &SubmissionId, attempt: u32, crashes: &[CrashRecord]) -> u32 {
    let of_it = |crash: &&CrashRecord| {
        crash.turn.as_ref().is_some_and(|turn| {
            (1..=attempt).any(|attempt| *turn == TurnId::of_attempt(submission, attempt))
        })
    };
    let mut places = crashes.iter().filter(of_it).map(|crash| crash.place);
    let Some(last) = places.next_back() else { return 0 };
    1 + places.filter(|place| *place == last).count() as u32
}

#[cfg(test)]
mod tests {
    use coppicer_messages::{AfterPoison, Epoch, Seq};

    use super::*;

    fn name() -> SubmissionId {
        SubmissionId::new("s").unwrap()
    }

    fn crash(turn: &str, place: u64) -> CrashRecord {
        CrashRecord {
            at_ms: 0,
            epoch: Epoch(1),
            turn: Some(TurnId::new(turn).unwrap()),
            seq: Seq(0),
            place,
            cause: "boom".into(),
        }
    }

    fn poison(same_place_max: u32) -> Poison {
        let mut poison = Poison::default();
        (poison.same_place_max, poison.then) = (same_place_max, AfterPoison::GoOn);
        poison
    }

    fn decide(attempts_max: u32, same_place_max: u32, places: &[u64]) -> Retrial {
        let crashes: Vec<CrashRecord> = places
            .iter()
            .zip(1..)
            .map(|(place, attempt)| crash(TurnId::of_attempt(&name(), attempt).as_str(), *place))
            .collect();
        let on_crash = OnCrash::Retry { attempts_max };
        after(on_crash, poison(same_place_max), &name(), places.len() as u32, &crashes)
    }

    #[test]
    fn a_turn_is_tried_again_until_it_crashed_so_often_at_the_same_place() {
        assert_eq!(decide(10, 3, &[5]), Retrial::Again);
        assert_eq!(decide(10, 3, &[5, 5]), Retrial::Again);
        assert_eq!(decide(10, 3, &[5, 5, 5]), Retrial::Over);
        assert_eq!(decide(10, 3, &[5, 7, 5, 9]), Retrial::Again, "it gets on");
        assert_eq!(decide(10, 3, &[5, 7, 5, 9, 5]), Retrial::Over);
        assert_eq!(decide(10, 0, &[5]), Retrial::Over, "at least once");
    }

    #[test]
    fn a_turn_that_crashes_elsewhere_each_time_ends_with_its_attempts() {
        assert_eq!(decide(4, 3, &[1, 2, 3]), Retrial::Again);
        assert_eq!(decide(4, 3, &[1, 2, 3, 4]), Retrial::Over);
    }

    #[test]
    fn crashes_of_other_turns_and_of_none_do_not_count() {
        let mut crashes: Vec<CrashRecord> = (0..9).map(|_| crash("other", 5)).collect();
        crashes.push(CrashRecord { turn: None, ..crash("s", 5) });
        crashes.push(crash("s", 5));
        let on_crash = OnCrash::Retry { attempts_max: 9 };
        assert_eq!(after(on_crash, poison(2), &name(), 1, &crashes), Retrial::Again);
        for never in [OnCrash::Interrupt, OnCrash::Requeue { attempts_max: 9 }] {
            assert_eq!(after(never, poison(2), &name(), 1, &crashes), Retrial::Never);
        }
    }
}
