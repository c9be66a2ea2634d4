//! From where on a history has to be read to know what a model is shown.

use coppicer_messages::{RecordClass, Seq};

use crate::history::History;

/// Finds from where on a history has to be read to know what a model is shown.
///
/// That is the start of the turn of its newest compaction that holds a replacement, if no turns were
/// rolled back since, and of its newest turn's settings if they are older; else the first record.
/// The items of the view are the same as of the whole history; its settings are those of a turn that
/// was read, or none.
#[derive(Debug, Clone, Copy, Default)]
pub struct ViewStart {
    compacted: bool,
    settings: bool,
}

impl ViewStart {
    /// Looks at the next older record: the place, once it is known.
    pub fn look(&mut self, seq: Seq, class: &RecordClass) -> Option<Seq> {
        match class {
            RecordClass::RolledBack { turns: 1.. } if !self.compacted => return Some(Seq(0)),
            RecordClass::Compaction { replaced: true } => self.compacted = true,
            RecordClass::TurnContext { .. } => self.settings = true,
            RecordClass::TurnStarted { .. } if self.compacted && self.settings => return Some(seq),
            _ => {}
        }
        None
    }
}

/// From where on `history` has to be read to know what a model is shown: see [`ViewStart`].
pub fn view_start(history: &History) -> Seq {
    let mut start = ViewStart::default();
    let mut newest_first = history.iter().rev();
    newest_first.find_map(|record| start.look(record.seq, &record.class)).unwrap_or_default()
}
