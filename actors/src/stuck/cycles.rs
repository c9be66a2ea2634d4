//! Waits that can never end, because those who are waited for wait themselves.

use std::collections::{HashMap, HashSet, VecDeque};

use coppicer_messages::{ThreadId, Wait};

use crate::engine::WaitFor;

/// A cycle of waits that holds up `start`: each thread waits for the next, the last for the first.
/// None if its waits may end. `waits`: the open waits of a thread; one without any may go on.
///
/// A wait for all is held up by one that is, a wait for any if all of them are; a thread with several
/// waits at once if all of these are: the greatest set of threads for which that holds is deadlocked.
/// Looks at `most` threads, and finds nothing if that is not enough.
pub(crate) fn cycle(
    start: ThreadId,
    most: usize,
    mut waits: impl FnMut(ThreadId) -> Vec<WaitFor>,
) -> Option<Vec<ThreadId>> {
    let mut known: HashMap<ThreadId, Vec<WaitFor>> = HashMap::new();
    // Who waits for whom, backwards.
    let mut waited_by: HashMap<ThreadId, Vec<ThreadId>> = HashMap::new();
    let mut to_see = VecDeque::from([start]);
    let mut met = HashSet::from([start]);
    while let Some(thread) = to_see.pop_front() {
        let its = waits(thread);
        for &other in its.iter().flat_map(|wait| wait.threads.iter()) {
            waited_by.entry(other).or_default().push(thread);
            if met.insert(other) {
                if met.len() > most {
                    return None;
                }
                to_see.push_back(other);
            }
        }
        known.insert(thread, its);
    }
    let deadlocked = greatest(known.keys().copied().collect(), &known, &waited_by);
    deadlocked.contains(&start).then(|| round(start, &known, &deadlocked))
}

/// The greatest set in which each thread's waits are all held up by the set itself.
fn greatest(
    mut stuck: HashSet<ThreadId>,
    known: &HashMap<ThreadId, Vec<WaitFor>>,
    waited_by: &HashMap<ThreadId, Vec<ThreadId>>,
) -> HashSet<ThreadId> {
    let mut to_see: Vec<ThreadId> = stuck.iter().copied().collect();
    while let Some(thread) = to_see.pop() {
        if stuck.contains(&thread) && !is_held_up(&known[&thread], &stuck) {
            stuck.remove(&thread);
            to_see.extend(waited_by.get(&thread).into_iter().flatten());
        }
    }
    stuck
}

fn is_held_up(waits: &[WaitFor], stuck: &HashSet<ThreadId>) -> bool {
    !waits.is_empty()
        && waits.iter().all(|WaitFor { threads, how }| match how {
            Wait::All => threads.iter().any(|thread| stuck.contains(thread)),
            Wait::Any => !threads.is_empty() && threads.iter().all(|thread| stuck.contains(thread)),
        })
}

/// The first way from `start` through the deadlocked ones that comes back to where it was.
fn round(
    start: ThreadId,
    known: &HashMap<ThreadId, Vec<WaitFor>>,
    deadlocked: &HashSet<ThreadId>,
) -> Vec<ThreadId> {
    let (mut way, mut at, mut places) = (Vec::new(), start, HashMap::new());
    loop {
        if let Some(place) = places.insert(at, way.len()) {
            return way.split_off(place);
        }
        way.push(at);
        let mut next = known[&at].iter().flat_map(|wait| wait.threads.iter());
        match next.find(|thread| deadlocked.contains(thread)) {
            Some(&next) => at = next,
            None => return way, // each deadlocked thread waits for another
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn thread(n: u8) -> ThreadId {
        ThreadId::from_parts(1, [n; 10])
    }

    type Graph = Vec<Vec<(Wait, Vec<u8>)>>;

    fn waits_of(graph: &Graph, asked: ThreadId) -> Vec<WaitFor> {
        let at = (0..graph.len()).find(|&n| thread(n as u8) == asked);
        at.map_or_else(Vec::new, |at| {
            let wait = |(how, threads): &(Wait, Vec<u8>)| WaitFor {
                threads: threads.iter().map(|&n| thread(n)).collect(),
                how: *how,
            };
            graph[at].iter().map(wait).collect()
        })
    }

    fn found(graph: &Graph, start: u8) -> Option<Vec<ThreadId>> {
        cycle(thread(start), 1_000, |asked| waits_of(graph, asked))
    }

    fn all(threads: &[u8]) -> Vec<(Wait, Vec<u8>)> {
        vec![(Wait::All, threads.to_vec())]
    }

    fn any(threads: &[u8]) -> Vec<(Wait, Vec<u8>)> {
        vec![(Wait::Any, threads.to_vec())]
    }

    #[test]
    fn a_thread_that_waits_for_itself_is_a_cycle_of_one() {
        assert_eq!(found(&vec![all(&[0])], 0), Some(vec![thread(0)]));
        assert_eq!(found(&vec![any(&[0])], 0), Some(vec![thread(0)]));
    }

    #[test]
    fn a_ring_is_told_from_the_one_that_closed_it_on() {
        let ring: Graph = vec![all(&[1]), all(&[2]), all(&[0])];
        assert_eq!(found(&ring, 2), Some(vec![thread(2), thread(0), thread(1)]));
    }

    #[test]
    fn a_wait_for_any_ends_while_one_of_them_may_go_on_and_a_wait_for_all_does_not() {
        assert_eq!(found(&vec![any(&[1, 2]), all(&[0]), vec![]], 0), None);
        assert!(found(&vec![all(&[1, 2]), all(&[0]), vec![]], 0).is_some());
        assert!(found(&vec![any(&[1, 2]), all(&[0]), all(&[0])], 0).is_some());
    }

    #[test]
    fn a_chain_that_ends_in_one_who_works_is_none() {
        let chain: Graph = (0..200).map(|n| all(&[n + 1])).chain([vec![]]).collect();
        assert_eq!(found(&chain, 0), None);
    }

    #[test]
    fn who_waits_for_others_in_a_cycle_is_shown_the_cycle_without_itself() {
        let graph: Graph = vec![all(&[1]), all(&[2]), all(&[1])];
        assert_eq!(found(&graph, 0), Some(vec![thread(1), thread(2)]));
    }

    #[test]
    fn of_two_waits_at_once_one_that_may_end_is_enough() {
        let both = vec![(Wait::All, vec![1]), (Wait::All, vec![2])];
        assert_eq!(found(&vec![both.clone(), all(&[0]), vec![]], 0), None);
        assert!(found(&vec![both, all(&[0]), all(&[0])], 0).is_some());
    }

    #[test]
    fn a_wait_for_nobody_is_over() {
        assert_eq!(found(&vec![any(&[])], 0), None);
        assert_eq!(found(&vec![all(&[])], 0), None);
    }

    #[test]
    fn what_is_behind_too_many_threads_is_not_found() {
        let ring: Graph = vec![all(&[1]), all(&[2]), all(&[0])];
        assert_eq!(cycle(thread(0), 2, |asked| waits_of(&ring, asked)), None);
    }

    /// The union of all sets of threads that hold themselves up, by trying each set.
    fn by_trying(graph: &Graph) -> BTreeSet<u8> {
        let mut stuck = BTreeSet::new();
        for set in 0_u32..1 << graph.len() {
            let has = |n: u8| set & (1 << n) != 0;
            let held_up = |n: u8| {
                let waits = &graph[n as usize];
                !waits.is_empty()
                    && waits.iter().all(|(how, threads)| match how {
                        Wait::All => threads.iter().any(|&n| has(n)),
                        Wait::Any => !threads.is_empty() && threads.iter().all(|&n| has(n)),
                    })
            };
            let members: Vec<u8> = (0..graph.len() as u8).filter(|&n| has(n)).collect();
            if members.iter().all(|&n| held_up(n)) {
                stuck.extend(members);
            }
        }
        stuck
    }

    fn graphs() -> impl Strategy<Value = Graph> {
        (1_u8..7).prop_flat_map(|size| {
            let how = prop_oneof![Just(Wait::Any), Just(Wait::All)];
            let wait = (how, prop::collection::vec(0..size, 0..4));
            let waits = prop::collection::vec(wait, 0..3);
            prop::collection::vec(waits, usize::from(size))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_found_is_what_trying_each_set_of_threads_finds(graph in graphs()) {
            let stuck = by_trying(&graph);
            for n in 0..graph.len() as u8 {
                let found = found(&graph, n);
                prop_assert_eq!(found.is_some(), stuck.contains(&n));
                let Some(round) = found else { continue };
                for (place, &one) in round.iter().enumerate() {
                    let next = round[(place + 1) % round.len()];
                    let waits = waits_of(&graph, one);
                    prop_assert!(waits.iter().any(|wait| wait.threads.contains(&next)));
                }
            }
        }
    }
}
