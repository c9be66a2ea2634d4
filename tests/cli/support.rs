//! Runs the `coppicer` command as a process, and makes session files for it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// What a run of the command gave.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// The result as one JSON value.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The result as one JSON value a line.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        self.out.lines().map(read).collect()
    }

    /// Fails unless a line of the messages has all of these words and nothing panicked.
    pub(crate) fn says(&self, words: &[&str]) {
        let found = self.err.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no message with {words:?} in {self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
    }
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let out: String = self.out.chars().take(4_000).collect();
        let err: String = self.err.chars().take(4_000).collect();
        write!(f, "exit {:?}\n--- stdout\n{out}\n--- stderr\n{err}", self.code)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A folder for stores, and for all that the command takes from the user's home: no test touches the
/// user's own.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The default store of its commands.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder().join("default.db")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coppicer"));
        command.env("COPPICER_STORE", self.store());
        command.env("HOME", self.folder()).env("XDG_DATA_HOME", self.folder().join("data"));
        command
    }

    pub(crate) fn coppicer<A: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Ran {
        self.command().args(args).output().unwrap().into()
    }

    /// Runs a command that must succeed and say nothing beside its result.
    pub(crate) fn well<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        let ran = self.coppicer(args);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
        ran
    }
}

/// Runs the command in a home of its own.
pub(crate) fn coppicer<A: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    Home::new().coppicer(args)
}

/// All recorded sessions.
pub(crate) fn sessions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sessions")
}

/// The one session file of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    let files = files_in(&examples().join(name));
    assert_eq!(files.len(), 1, "{name}: {files:?}");
    files[0].clone()
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sessions")
}

pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    files
}

/// An id with this number in it.
pub(crate) fn id(number: u32) -> String {
    format!("0197f0a2-4c11-7d3e-9a55-{number:012x}")
}

pub(crate) fn line(kind: &str, payload: &str) -> String {
    format!(r#"{{"timestamp":"2026-06-03T08:15:30.123Z","type":"{kind}","payload":{payload}}}"#)
        + "\n"
}

/// The first line of thread `number`, with further fields (each `,"name":value`).
pub(crate) fn meta(number: u32, further: &str) -> String {
    let payload = format!(
        r#"{{"id":"{}","timestamp":"2026-06-03T08:15:29.900Z","cwd":"/srv/demo","originator":"demo","cli_version":"1","source":"cli"{further}}}"#,
        id(number)
    );
    line("session_meta", &payload)
}

/// A turn that says `text` back.
pub(crate) fn turn(number: u32, text: &str) -> String {
    let mut lines = String::new();
    let quoted = serde_json::to_string(text).unwrap();
    let said = |role: &str, part: &str| {
        format!(
            r#"{{"type":"message","role":"{role}","content":[{{"type":"{part}","text":{quoted}}}]}}"#
        )
    };
    lines += &line("event_msg", &format!(r#"{{"type":"task_started","turn_id":"t{number}"}}"#));
    lines += &line("response_item", &said("user", "input_text"));
    lines += &line("response_item", &said("assistant", "output_text"));
    write!(
        lines,
        "{}",
        line("event_msg", &format!(r#"{{"type":"task_complete","turn_id":"t{number}"}}"#))
    )
    .unwrap();
    lines
}

/// Writes a sound session of thread `number`.
pub(crate) fn write_sound(folder: &Path, name: &str, number: u32) -> PathBuf {
    write(folder, name, meta(number, "") + &turn(1, "one") + &turn(2, "two"))
}

pub(crate) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Waits for a moment in the life of another process that nothing tells of.
pub(crate) fn pause(time: std::time::Duration) {
    #[expect(clippy::disallowed_methods, reason = "another process is let run for a while")]
    std::thread::sleep(time);
}
