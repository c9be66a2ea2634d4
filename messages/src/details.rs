//! What people call a thread and know it by, and how that changes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{AgentPath, ParentClose};

/// What a list shows of a thread beside its configuration: names, the first words, the code it is
/// about. Kept with the thread; none of it decides anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ThreadDetails {
    /// What its host or user calls it.
    pub name: Option<String>,
    /// A title, made from its content.
    pub title: Option<String>,
    /// The beginning of its first user message.
    pub preview: Option<String>,
    /// The code it is about.
    pub git: GitDetails,
}

impl ThreadDetails {
    /// None of it: the default.
    pub const fn none() -> Self {
        let git = GitDetails { sha: None, branch: None, origin_url: None };
        Self { name: None, title: None, preview: None, git }
    }
}

/// The code that a thread is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GitDetails {
    /// The commit.
    pub sha: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// Where it comes from.
    pub origin_url: Option<String>,
}

/// What becomes of one field: three-valued, so that "leave it" and "clear it" are told apart.
///
/// In JSON a missing field is left as it is, `null` clears it, a value sets it (REF 5.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Change<T> {
    /// Whether nothing changes.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The value that is set.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// Carries it out.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// This, and then `later`.
    pub fn then(&mut self, later: Self) {
        if !later.is_keep() {
            *self = later;
        }
    }
}

impl<T: Serialize> Serialize for Change<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => serializer.serialize_none(),
            Self::Set(value) => serializer.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::<T>::deserialize(deserializer)?;
        Ok(value.map_or(Self::Clear, Self::Set))
    }
}

macro_rules! patch {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }
        nested { $($(#[$nested_doc:meta])* $nested:ident: $nested_type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* #[serde(skip_serializing_if = "Change::is_keep")] pub $field: Change<$type>,)*
            $($(#[$nested_doc])* #[serde(skip_serializing_if = "no_change")] pub $nested: $nested_type,)*
        }

        impl $name {
            /// Whether nothing changes.
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// This change, and then `later`: what the later one says counts, field by field.
            pub fn merge(&mut self, later: Self) {
                $(self.$field.then(later.$field);)*
                $(self.$nested.merge(later.$nested);)*
            }
        }
    };
}

fn no_change(git: &GitPatch) -> bool {
    git.is_empty()
}

patch! {
    /// A change of a thread's [`GitDetails`], field by field.
    GitPatch {
        /// The commit.
        sha: String,
        /// The branch.
        branch: String,
        /// Where it comes from.
        origin_url: String,
    }
    nested {}
}

patch! {
    /// A change of what is known of a thread, field by field (REF 5.2).
    ThreadPatch {
        /// What its host or user calls it.
        name: String,
        /// A title, made from its content.
        title: String,
        /// The beginning of its first user message.
        preview: String,
        /// The working directory.
        cwd: String,
        /// The model.
        model: String,
        /// `user`, `subagent`, …
        thread_source: String,
        /// A name for people.
        nickname: String,
        /// Its role.
        role: String,
        /// Its path in the tree.
        path: AgentPath,
        /// What becomes of it when its parent is closed. Cleared, it is closed too.
        parent_close: ParentClose,
    }
    nested {
        /// The code that it is about.
        git: GitPatch,
    }
}

impl ThreadPatch {
    /// Sets the name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Change::Set(name.into());
        self
    }

    /// Sets the preview, cut at [`PREVIEW_BYTES_MAX`](Self::PREVIEW_BYTES_MAX).
    #[must_use]
    pub fn with_preview(mut self, text: &str) -> Self {
        self.preview = Change::Set(cut(text, Self::PREVIEW_BYTES_MAX).to_owned());
        self
    }

    /// Most bytes of a preview that the runtime takes from a message.
    pub const PREVIEW_BYTES_MAX: usize = 256;

    /// Most bytes of one field.
    pub const FIELD_BYTES_MAX: usize = 4_096;

    /// The first field that is too long, and its length in bytes.
    pub fn too_long(&self) -> Option<(&'static str, usize)> {
        let text = |name, change: &Change<String>| match change {
            Change::Set(text) if text.len() > Self::FIELD_BYTES_MAX => Some((name, text.len())),
            _ => None,
        };
        [
            ("name", &self.name),
            ("title", &self.title),
            ("preview", &self.preview),
            ("cwd", &self.cwd),
            ("model", &self.model),
            ("thread_source", &self.thread_source),
            ("nickname", &self.nickname),
            ("role", &self.role),
            ("git.sha", &self.git.sha),
            ("git.branch", &self.git.branch),
            ("git.origin_url", &self.git.origin_url),
        ]
        .into_iter()
        .find_map(|(name, change)| text(name, change))
    }
}

impl ThreadDetails {
    /// Carries out what a patch says of them.
    pub fn apply(&mut self, patch: &ThreadPatch) {
        let ThreadPatch { name, title, preview, git, .. } = patch.clone();
        name.apply(&mut self.name);
        title.apply(&mut self.title);
        preview.apply(&mut self.preview);
        git.sha.apply(&mut self.git.sha);
        git.branch.apply(&mut self.git.branch);
        git.origin_url.apply(&mut self.git.origin_url);
    }
}

/// The longest beginning of `text` that has at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Change<String> {
        Change::Set(text.into())
    }

    #[test]
    fn ts_02_a_cleared_field_is_null_and_stays_cleared() {
        let patch = ThreadPatch {
            name: Change::Clear,
            thread_source: Change::Clear,
            nickname: Change::Clear,
            role: Change::Clear,
            path: Change::Clear,
            ..ThreadPatch::default()
        };
        let json = serde_json::to_value(&patch).unwrap();
        for key in ["name", "thread_source", "nickname", "role", "path"] {
            assert_eq!(json.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        assert_eq!(serde_json::from_value::<ThreadPatch>(json).unwrap(), patch);
    }

    #[test]
    fn ts_03_a_part_of_the_git_details_is_patched_alone() {
        let git = GitPatch { sha: Change::Keep, branch: set("main"), origin_url: Change::Clear };
        let json = serde_json::to_string(&git).unwrap();
        assert_eq!(json, r#"{"branch":"main","origin_url":null}"#);
        assert_eq!(serde_json::from_str::<GitPatch>(&json).unwrap(), git);
    }

    #[test]
    fn ts_04_an_empty_object_changes_nothing() {
        let patch: ThreadPatch = serde_json::from_str("{}").unwrap();
        assert!(patch.is_empty());
        assert_eq!(serde_json::to_string(&patch).unwrap(), "{}");
    }

    #[test]
    fn ts_05_of_two_patches_the_later_counts_field_by_field() {
        let mut patch = ThreadPatch {
            name: set("old name"),
            preview: set("old preview"),
            git: GitPatch { sha: set("abc123"), branch: set("main"), ..GitPatch::default() },
            ..ThreadPatch::default()
        };
        patch.merge(ThreadPatch {
            name: Change::Clear,
            title: set("new title"),
            git: GitPatch {
                branch: set("feature"),
                origin_url: Change::Clear,
                ..GitPatch::default()
            },
            ..ThreadPatch::default()
        });
        let expected = ThreadPatch {
            name: Change::Clear,
            preview: set("old preview"),
            title: set("new title"),
            git: GitPatch { sha: set("abc123"), branch: set("feature"), origin_url: Change::Clear },
            ..ThreadPatch::default()
        };
        assert_eq!(patch, expected);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let error = serde_json::from_str::<ThreadPatch>(r#"{"nmae":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("nmae"), "{error}");
    }

    #[test]
    fn a_preview_is_cut_between_characters() {
        let patch = ThreadPatch::default().with_preview(&"é".repeat(200));
        let Change::Set(preview) = patch.preview else { panic!("it is set") };
        assert_eq!(preview.len(), 256);
        let long = ThreadPatch { title: set(&"x".repeat(4_097)), ..ThreadPatch::default() };
        assert_eq!(long.too_long(), Some(("title", 4_097)));
        assert_eq!(ThreadPatch::default().with_name("x".repeat(4_096)).too_long(), None);
    }
}
