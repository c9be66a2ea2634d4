//! Panics that a scenario orders are not told on the terminal. All others are.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// What the panic of an engine begins with, if a scenario ordered it.
pub(super) const ORDERED: &str = "ordered by a stress scenario";

/// What the panic of a thread's actor says, if a scenario ordered it.
#[cfg(feature = "testing")]
const ORDERED_OF_ACTOR: &str = "asked to panic by a test";
#[cfg(not(feature = "testing"))]
const ORDERED_OF_ACTOR: &str = ORDERED;

/// When the last ordered panic began. The hook sets it, so it is one of the process, as the hook is.
static LAST: OnceLock<Last> = OnceLock::new();

struct Last {
    since: Instant,
    nanos: AtomicU64,
}

/// When the last panic that was ordered began.
pub(super) fn last_ordered_panic() -> Option<Instant> {
    let last = LAST.get()?;
    Some(last.since + std::time::Duration::from_nanos(last.nanos.load(Ordering::SeqCst)))
}

/// Silences what is ordered, and notes when it was. Thousands of messages would hide the one that
/// matters, and cost more than what is measured.
#[expect(clippy::disallowed_methods, reason = "this process is the host, and has one runtime")]
pub(super) fn quieten_ordered_panics() {
    let last = LAST.get_or_init(|| Last { since: Instant::now(), nanos: AtomicU64::new(0) });
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or_default();
        if text.starts_with(ORDERED) || text == ORDERED_OF_ACTOR {
            last.nanos.store(last.since.elapsed().as_nanos() as u64, Ordering::SeqCst);
        } else {
            usual(panic);
        }
    }));
}
