//! Mailboxes in the store, page by page.

use coppicer_messages::{MAIL_PAGE_MAX, MailPlace, StoreError, ThreadId};

use super::{Done, ThreadStore};

/// How much mail a thread has not read; counts to `most`, or to the end of the page that reaches it.
///
/// # Errors
/// As [`ThreadStore::mail_page`].
pub async fn count_mail(
    store: &dyn ThreadStore,
    thread: ThreadId,
    most: usize,
) -> Result<usize, StoreError> {
    let (mut count, mut after) = (0, MailPlace::default());
    loop {
        let (done, page) = Done::channel();
        store.mail_page(thread, after, MAIL_PAGE_MAX, done);
        let page = page.await?;
        count += page.mail.len();
        if !page.rest.more || count >= most {
            return Ok(count);
        }
        after = page.rest.upto;
    }
}
