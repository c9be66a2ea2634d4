//! The names of a run's submissions, and which of them crash.

use coppicer::{SubmissionId, ThreadId, digest};

/// Which turns of a run crash: by seed, thread and submission alone, so that time does not matter,
/// nor how often a turn was tried because its host was killed.
///
/// A submission's id has all of it, so that whoever runs the submission draws the same lot: also a
/// later run of another seed that finds it unfinished in its store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lot {
    pub(super) seed: u64,
    /// From 0 to 1.
    pub(super) probability: f64,
}

/// Where in a turn the engine panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crash {
    /// Before anything is emitted.
    AtOnce,
    /// With a tool call open.
    InCall,
    /// When all was emitted.
    AtEnd,
}

impl Lot {
    /// The id of the submission `name` of a run with this lot. `job` tells the inputs of one thread
    /// from those of another version of its session; `engine` is what turns are made of.
    pub(super) fn submission(self, engine: &str, job: &str, name: &str) -> SubmissionId {
        let Self { seed, probability } = self;
        // With an exponent, so that no number is long.
        let id = format!("run:{engine}:{seed}:{probability:e}:{job}:{name}");
        SubmissionId::new(id).expect("words and numbers of bounded length")
    }

    /// Whether, and where, the turn of this submission crashes. What no run sent does not.
    pub(super) fn drawn_for(thread: ThreadId, submission: &SubmissionId) -> Option<Crash> {
        let parts: Vec<&str> = submission.as_str().split(':').collect();
        let ["run", engine, seed, probability, job, name] = parts[..] else { return None };
        let probability: f64 = probability.parse().ok()?;
        let text = format!("{seed}/{thread}/{engine}/{job}/{name}");
        let drawn = drawn(&text);
        (fraction(drawn) < probability).then(|| match mix(drawn) % 3 {
            0 => Crash::AtOnce,
            1 => Crash::InCall,
            _ => Crash::AtEnd,
        })
    }
}

/// A number from 0 to 1 that follows from the text alone.
pub(super) fn share(text: &str) -> f64 {
    fraction(drawn(text))
}

fn drawn(text: &str) -> u64 {
    let digest = u128::from_be_bytes(digest(text.as_bytes()));
    mix((digest >> 64) as u64 ^ mix(digest as u64))
}

fn fraction(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

/// Spreads the bits of a number (the finisher of `SplitMix64`).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64, probability: f64) -> Vec<Option<Crash>> {
        let lot = Lot { seed, probability };
        let thread = |n: u8| ThreadId::from_parts(1_000, [n; 10]);
        let submission = |n: u32| lot.submission("replay", "fresh", &n.to_string());
        let draw = |t, n| Lot::drawn_for(thread(t), &submission(n));
        (0..=255).flat_map(|t| (0..20).map(move |n| draw(t, n))).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_and_the_share_is_the_probability() {
        assert_eq!(draws(1, 0.3), draws(1, 0.3));
        assert_ne!(draws(1, 0.3), draws(2, 0.3));
        let crashes = draws(1, 0.3).into_iter().flatten().count();
        let share = crashes as f64 / (256.0 * 20.0);
        assert!((0.27..0.33).contains(&share), "{share}");
        for crash in [Crash::AtOnce, Crash::InCall, Crash::AtEnd] {
            assert!(draws(1, 0.3).contains(&Some(crash)));
        }
    }

    #[test]
    fn nothing_and_everything_can_crash() {
        assert!(draws(1, 0.0).iter().all(Option::is_none));
        assert!(draws(1, 1.0).iter().all(Option::is_some));
    }

    #[test]
    fn an_id_holds_the_longest_numbers_and_what_no_run_sent_never_crashes() {
        for probability in [f64::MIN_POSITIVE, 0.1 + 0.2, 1.0, 0.0, 5e-324] {
            let lot = Lot { seed: u64::MAX, probability };
            let id = lot.submission("replay", "0123456789abcdef", "unfinished");
            assert!(id.as_str().len() < 100, "{id}");
        }
        let thread = ThreadId::from_parts(1, [1; 10]);
        for other in ["s", "run:replay:7:1e0:x", "run:replay:7:much:x:1"] {
            let other = SubmissionId::new(other).unwrap();
            assert_eq!(Lot::drawn_for(thread, &other), None);
        }
    }
}
