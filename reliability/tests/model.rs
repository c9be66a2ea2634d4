//! The store on disk against the one in memory: the same random requests to both, every answer
//! compared, and everything that can be read, after each reopening too.
//!
//! A case is decided by its seed; a failure prints it.

mod requests;

use std::sync::Arc;

use coppicer::{MemoryStore, SqliteStore, ThreadStore};
use coppicer_reliability::dice::Dice;
use coppicer_reliability::dump::{Dump, dump};
use coppicer_reliability::session::folder_in_memory;
use requests::Case;

const CASES: u64 = 200;
const REQUESTS: u64 = 45;

/// Cases on one pair of stores: each has ids of its own, all are in the lists.
const CASES_OF_A_STORE: u64 = 5;

fn open(path: &std::path::Path) -> Arc<SqliteStore> {
    use coppicer::{Durability, SqliteOptions};
    let options = SqliteOptions::new().durability(Durability::Process);
    Arc::new(SqliteStore::open_with(path, options).expect("it opens every time"))
}

fn same(case: u64, at: &str, memory: &Dump, disk: &Dump) {
    for (what, expected) in memory {
        assert_eq!(Some(expected), disk.get(what), "case {case}, {at}: {what}");
    }
}

async fn compare(
    case: &Case,
    seed: u64,
    at: &str,
    memory: &dyn ThreadStore,
    disk: &dyn ThreadStore,
) {
    let expected = dump(memory, &case.threads, &case.submissions(), false).await;
    let found = dump(disk, &case.threads, &case.submissions(), false).await;
    same(seed, at, &expected, &found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_on_disk_answers_as_the_one_in_memory_also_after_it_was_reopened() {
    let mut answers = 0;
    let mut refusals = 0;
    for block in 0..CASES / CASES_OF_A_STORE {
        let folder = folder_in_memory().unwrap();
        let path = folder.path().join("store.db");
        let memory = MemoryStore::new();
        let mut disk = open(&path);
        for number in 0..CASES_OF_A_STORE {
            let seed = block * CASES_OF_A_STORE + number;
            let mut dice = Dice::of(seed, &[20]);
            let mut case = Case::new(seed);
            for at in 0..REQUESTS {
                case.look(&memory).await;
                if dice.below(1_000) < 25 {
                    // What was not answered by then is carried out all the same.
                    let (expected, pending) = {
                        let request = case.next(&mut dice);
                        (request.clone().ask(&memory).await, request.begin(&*disk))
                    };
                    if dice.chance(50) {
                        Arc::into_inner(disk).expect("nobody else holds it").close();
                    } else {
                        drop(disk);
                    }
                    assert_eq!(expected, pending.await, "case {seed}, request {at}, then the end");
                    disk = open(&path);
                    compare(&case, seed, &format!("reopened at {at}"), &memory, &*disk).await;
                    continue;
                }
                let request = case.next(&mut dice);
                let what = format!("case {seed}, request {at}: {request:?}");
                let expected = request.clone().ask(&memory).await;
                let found = request.ask(&*disk).await;
                assert_eq!(expected, found, "{what}");
                case.learn(&found);
                answers += 1;
                refusals += u64::from(found.is_err());
            }
            compare(&case, seed, "at the end", &memory, &*disk).await;
        }
    }
    println!("model: cases {CASES}, requests {answers}, refused {refusals}");
    assert!(refusals > answers / 50, "refusals are compared too: {refusals} of {answers}");
    assert!(refusals < answers / 2, "most requests are carried out: {refusals} of {answers}");
}
