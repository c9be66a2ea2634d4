//! What a thread does when it has another place in its tree, or is in another tree.

use super::state::ThreadState;

impl ThreadState {
    /// Ends are told to the parent that it has now, and mail is signed with its path of now.
    pub(super) fn on_moved(&mut self) {
        let about = self.slot.about();
        self.core.parent = about.parent;
        self.core.path.clone_from(&about.path);
    }
}
