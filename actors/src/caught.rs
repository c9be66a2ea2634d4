//! Panics, caught in a small frame of their own next to where they happen. Unwinding searches the table
//! of each function on its way, several times, and those of large functions are large.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Runs a step.
///
/// # Errors
/// What its panic said.
#[inline(never)] // else the table is that of the caller
pub(crate) fn caught<T>(step: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(step)).map_err(|panic| panic_text(&*panic))
}

/// Runs a future to its end, or to its panic.
///
/// # Errors
/// What its panic said.
pub(crate) async fn caught_in<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| poll_caught(work.as_mut(), cx)).await
}

fn poll_caught<T>(
    work: Pin<&mut impl Future<Output = T>>,
    cx: &mut Context<'_>,
) -> Poll<Result<T, String>> {
    match caught(|| work.poll(cx)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(text) => Poll::Ready(Err(text)),
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
