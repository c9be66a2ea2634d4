//! A model-based test of whole agent trees: random operations on trees of 200 threads and more, under
//! faults, with virtual time. After every step promises are checked against a model that knows only
//! what hosts were told, and against a store that sees each write.
//!
//! - `ops.rs`: what a case does; generated and shrunk by proptest.
//! - `setup.rs`: how its threads are set up. Pure.
//! - `model.rs`, `ledgers.rs`: what must be so. Pure.
//! - `engine.rs`, `witness.rs`: what really ran, what was really written.
//! - `host.rs`, `runner.rs`: carry a case out. `checks.rs`: what must hold.
//!
//! `COPPICER_MODEL_CASES` says how many cases are run, `COPPICER_MODEL_SEED` which is the first: a
//! failure names both for the case that failed. One seed is one case, and one trace: `COPPICER_MODEL_TRACE`
//! has the trace of the smallest failing case printed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it panics")]

mod checks;
mod engine;
mod host;
mod ledgers;
mod model;
mod ops;
mod runner;
mod setup;
mod witness;

use std::sync::Once;

use coppicer::testing::Bug;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use ops::{Case, cases};
use runner::{Options, run};

/// Cases in all, if nobody says how many.
const CASES: u64 = 2_000;
/// Tests that share them: each has a thread of its own.
const PARTS: u64 = 4;
/// Tries to make a failing case smaller.
const SHRINKS_MAX: u32 = 400;
/// Cases within which a seeded bug has to be found.
const BUG_CASES_MAX: u64 = 400;

/// `SplitMix64`.
pub(crate) const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

fn first_seed() -> u64 {
    setting("COPPICER_MODEL_SEED").unwrap_or(0)
}

/// Panics that a case asks for are no news; all others are told as ever.
#[expect(clippy::disallowed_methods, reason = "this process is the test's own")]
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let asked = panic
                .payload()
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.payload().downcast_ref::<String>().map(String::as_str))
                .is_some_and(|text| text == "boom" || text == "asked to panic by a test");
            if !asked {
                before(panic);
            }
        }));
    });
}

/// The generator of one seed.
fn generator(seed: u64) -> TestRunner {
    let config =
        Config { failure_persistence: None, max_shrink_iters: SHRINKS_MAX, ..Config::default() };
    let mut bytes = [0; 32];
    for (place, part) in bytes.chunks_mut(8).enumerate() {
        part.copy_from_slice(&mix(seed ^ (place as u64) << 56).to_le_bytes());
    }
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// The case of one seed.
fn case_of(seed: u64) -> Case {
    let tree = cases().new_tree(&mut generator(seed)).expect("cases can be made");
    proptest::strategy::ValueTree::current(&tree)
}

/// Runs the case of one seed; if it fails, the smallest one that was found to fail too.
fn check(seed: u64) {
    let options = Options { seed, ..Options::default() };
    let mut generator = generator(seed);
    let tree = cases().new_tree(&mut generator).expect("cases can be made");
    let result =
        generator.run_one(tree, |case| run(&case, options).map(drop).map_err(TestCaseError::fail));
    match result {
        Ok(_) => {}
        Err(TestError::Fail(why, case)) => {
            if setting("COPPICER_MODEL_TRACE").is_some() {
                drop(run(&case, Options { traced: true, ..options }));
            }
            panic!(
                "seed {seed}:\n{why}\nthe smallest case that fails:\n{case:#?}\nreplay with\n  \
             COPPICER_MODEL_SEED={seed} COPPICER_MODEL_CASES=1 cargo test --all-features --test model part_1\n"
            )
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

/// Every `PARTS`-th case, from `part` on.
fn check_part(part: u64) {
    quiet();
    let cases = setting("COPPICER_MODEL_CASES").unwrap_or(CASES);
    for place in (part..cases).step_by(PARTS as usize) {
        check(first_seed() + place);
    }
}

#[test]
fn trees_keep_their_promises_part_1() {
    check_part(0);
}

#[test]
fn trees_keep_their_promises_part_2() {
    check_part(1);
}

#[test]
fn trees_keep_their_promises_part_3() {
    check_part(2);
}

#[test]
fn trees_keep_their_promises_part_4() {
    check_part(3);
}

#[test]
fn one_seed_is_one_trace() {
    quiet();
    for seed in 0..8 {
        let options = Options { seed: seed + 1_000, traced: true, bug: None };
        let [first, second] = [(), ()].map(|()| run(&case_of(options.seed), options).unwrap());
        assert!(first.len() > 400, "a case does something: {} lines", first.len());
        let differ = first.iter().zip(&second).position(|(first, second)| first != second);
        if let Some(at) = differ {
            let from = at.saturating_sub(8);
            panic!(
                "seed {}, line {at}:\n{:#?}\n{:#?}",
                options.seed,
                &first[from..=at],
                &second[from..=at]
            );
        }
        assert_eq!(first.len(), second.len());
    }
}

/// Runs cases with a bug until one fails: after how many, and why.
fn hunt(bug: Bug) -> (u64, String) {
    quiet();
    for place in 0..BUG_CASES_MAX {
        let options = Options { seed: place, bug: Some(bug), traced: false };
        if let Err(why) = run(&case_of(place), options) {
            println!("{bug:?} was found by case {}: {why}", place + 1);
            let sound = Options { bug: None, ..options };
            run(&case_of(place), sound).expect("without the bug the case passes");
            return (place + 1, why);
        }
    }
    panic!("{bug:?} was not found by {BUG_CASES_MAX} cases");
}

#[test]
fn the_model_finds_a_slot_leak() {
    let (_, why) = hunt(Bug::SlotLeak);
    assert!(why.contains("P10"), "{why}");
}

#[test]
fn the_model_finds_a_removal_by_id() {
    hunt(Bug::StaleRemoval);
}

#[test]
fn the_model_finds_a_lost_mailbox() {
    hunt(Bug::LostMailbox);
}

#[test]
fn the_model_finds_a_double_notice() {
    let (_, why) = hunt(Bug::DoubleNotice);
    assert!(why.contains("P12"), "{why}");
}

#[test]
fn the_model_finds_a_double_refund() {
    let (_, why) = hunt(Bug::DoubleRefund);
    assert!(why.contains("BU-1"), "{why}");
}

#[test]
fn the_model_finds_a_parked_thread_that_runs() {
    let (_, why) = hunt(Bug::ParkedRuns);
    assert!(why.contains("P7"), "{why}");
}
