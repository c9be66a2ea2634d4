//! The contract suite on a real file.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::Arc;

use coppicer_actors::contract;
use coppicer_sqlite::SqliteStore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_store_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    for (name, case) in contract::cases() {
        let path = folder.path().join(format!("{name}.db"));
        let store = Arc::new(SqliteStore::open(path).unwrap());
        println!("{name}");
        case(store).await;
    }
}
