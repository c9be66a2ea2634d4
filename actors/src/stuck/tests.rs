use std::sync::Arc;

use coppicer_messages::Wait;

use super::*;

const PERIODS: Periods = Periods {
    after: Duration::from_secs(10),
    tool_after: Duration::from_secs(60),
    up_to: Remedy::Restart,
};

fn tool(deadline_ms: Option<u64>) -> TurnPhase {
    TurnPhase::Tool { deadline_ms }
}

fn look(phase: &TurnPhase, last: Option<(Remedy, u64)>, now_ms: u64) -> Looked<'_> {
    Looked { phase, progress_ms: 1_000, last, now_ms }
}

#[test]
fn each_phase_has_a_time_of_its_own() {
    let until = |phase: &TurnPhase| match judge(&look(phase, None, 1_001), &PERIODS) {
        Verdict::NotYet { at_ms } => at_ms,
        other => panic!("{other:?}"),
    };
    assert_eq!(until(&TurnPhase::Model), 11_000);
    assert_eq!(until(&tool(None)), 61_000);
    assert_eq!(until(&tool(Some(5_000))), 5_000, "a deadline counts, whatever the period");
    assert_eq!(until(&tool(Some(500_000))), 500_000);
}

#[test]
fn each_further_period_is_one_rung_up_to_the_last_that_is_allowed() {
    let model = TurnPhase::Model;
    assert_eq!(judge(&look(&model, None, 11_000), &PERIODS), Verdict::Act(Remedy::Tell));
    let told = Some((Remedy::Tell, 11_000));
    assert_eq!(judge(&look(&model, told, 20_999), &PERIODS), Verdict::NotYet { at_ms: 21_000 });
    assert_eq!(judge(&look(&model, told, 21_000), &PERIODS), Verdict::Act(Remedy::Interrupt));
    let stopped = Some((Remedy::Interrupt, 21_000));
    assert_eq!(judge(&look(&model, stopped, 31_000), &PERIODS), Verdict::Act(Remedy::Restart));
    let restarted = Some((Remedy::Restart, 31_000));
    assert_eq!(judge(&look(&model, restarted, 41_000), &PERIODS), Verdict::Rest);
    let gentle = Periods { up_to: Remedy::Tell, ..PERIODS };
    assert_eq!(judge(&look(&model, told, 21_000), &gentle), Verdict::Rest);
}

#[test]
fn who_waits_for_threads_is_never_acted_on_and_who_waits_for_the_host_is_told_of() {
    let waits = TurnPhase::AwaitChild { threads: Arc::from([]), how: Wait::All };
    assert_eq!(judge(&look(&waits, None, 11_000), &PERIODS), Verdict::LookBelow);
    let asks = TurnPhase::AwaitHost { question: "q".into() };
    assert_eq!(judge(&look(&asks, None, 11_000), &PERIODS), Verdict::Act(Remedy::Tell));
    let told = Some((Remedy::Tell, 11_000));
    assert_eq!(judge(&look(&asks, told, 99_000), &PERIODS), Verdict::Rest);
}

#[test]
fn the_patience_of_who_waits_shortens_periods_and_no_deadline() {
    let hurried = PERIODS.at_most(Duration::from_secs(2));
    assert_eq!(judge(&look(&TurnPhase::Model, None, 3_000), &hurried), Verdict::Act(Remedy::Tell));
    assert_eq!(judge(&look(&tool(None), None, 3_000), &hurried), Verdict::Act(Remedy::Tell));
    let due = Verdict::NotYet { at_ms: 50_000 };
    assert_eq!(judge(&look(&tool(Some(50_000)), None, 3_000), &hurried), due);
    assert_eq!(hurried.at_most(Duration::from_secs(9)), hurried, "never longer");
}

#[test]
fn a_period_without_end_is_no_overflow() {
    let never = Periods { after: Duration::MAX, ..PERIODS };
    let verdict = judge(&look(&TurnPhase::Model, None, u64::MAX - 1), &never);
    assert_eq!(verdict, Verdict::NotYet { at_ms: u64::MAX });
}

fn thread(n: u8) -> ThreadId {
    ThreadId::from_parts(1, [n; 10])
}

fn waits(threads: &[u8]) -> Link {
    let threads = threads.iter().map(|&n| thread(n)).collect();
    Link::Waits(vec![WaitFor { threads, how: Wait::All }])
}

#[test]
fn the_ends_of_a_chain_hold_it_up_and_what_has_ended_does_not() {
    let look = |asked| match (0..9).find(|&n| thread(n) == asked) {
        Some(0) => waits(&[1, 2, 3]),
        Some(1) => waits(&[4, 2]),
        Some(2) => Link::Ended,
        Some(3) => Link::Is(End::Pauses),
        _ => Link::Is(End::Runs),
    };
    let found = blockers(thread(0), 100, look);
    assert_eq!(found, [(thread(4), End::Runs), (thread(3), End::Pauses)]);
}

#[test]
fn a_cycle_has_no_end_and_the_look_at_it_has() {
    assert_eq!(
        blockers(thread(0), 100, |asked| waits(if asked == thread(0) { &[1] } else { &[0] })),
        []
    );
}

#[test]
fn a_look_stops_at_its_bound() {
    let everybody: Vec<u8> = (1..=200).collect();
    let mut looks = 0;
    let found = blockers(thread(0), 10, |asked| {
        looks += 1;
        if asked == thread(0) { waits(&everybody) } else { Link::Is(End::Runs) }
    });
    assert!(looks <= 10 && found.len() <= 10, "{looks} {}", found.len());
}

#[test]
fn a_new_turn_has_a_whole_period_whatever_was_done_to_the_one_before_it() {
    let model = TurnPhase::Model;
    let last = Some((Remedy::Tell, 2_000));
    let looked = Looked { phase: &model, progress_ms: 11_000, last, now_ms: 13_000 };
    assert_eq!(judge(&looked, &PERIODS), Verdict::NotYet { at_ms: 21_000 });
}
