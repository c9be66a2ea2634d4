//! Ways to keep records on disk: one append at a time per thread, acknowledged when it is durable.

/// Bytes of a record: the mean of recorded sessions.
pub(crate) const RECORD_BYTES: usize = 1_184;

/// One way to keep records.
pub(crate) trait Keeper: Send + Sync + 'static {
    /// Appends a record of [`RECORD_BYTES`] to thread `n`, at place `at`. Returns when it is durable.
    ///
    /// # Errors
    /// It was not kept.
    fn append(&self, n: u64, at: u64) -> impl Future<Output = Result<(), String>> + Send;
}

/// An error as text.
pub(crate) fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
