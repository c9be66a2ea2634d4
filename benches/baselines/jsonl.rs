//! One JSONL file per thread, flushed after each line, as agent hosts keep theirs.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::keeper::{Keeper, RECORD_BYTES, told};

/// The files.
#[derive(Debug)]
pub(crate) struct Jsonl {
    files: Vec<Arc<File>>,
}

impl Jsonl {
    /// Makes so many in a folder.
    ///
    /// # Errors
    /// They cannot be made there.
    pub(crate) fn new(folder: &Path, threads: u64) -> Result<Self, String> {
        let open = |n| {
            let path = folder.join(format!("{n}.jsonl"));
            OpenOptions::new().create_new(true).append(true).open(path).map(Arc::new).map_err(told)
        };
        Ok(Self { files: (0..threads).map(open).collect::<Result<_, _>>()? })
    }
}

impl Keeper for Jsonl {
    async fn append(&self, n: u64, _at: u64) -> Result<(), String> {
        let file = self.files[n as usize].clone();
        let write = move || {
            let mut line = vec![b'x'; RECORD_BYTES];
            line.push(b'\n');
            (&*file).write_all(&line).and_then(|()| file.sync_data())
        };
        tokio::task::spawn_blocking(write).await.map_err(told)?.map_err(told)
    }
}
