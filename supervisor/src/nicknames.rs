//! Names for people: each sub-agent has one, unlike any other of its tree for as long as there are
//! enough (REF 3.2). Pure: no clock, no store, no actor.

use std::collections::{BTreeSet, HashMap};

/// The names that sub-agents are given, where no list is said: what grows in a coppice, and what
/// lives there.
const WOODLAND: &str = "\
    Alder Apple Ash Aspen Badger Barberry Bay Beech Bilberry Birch Blackcap Blackthorn \
    Bluebell Box Bracken Bramble Brimstone Broom Bryony Buckthorn Bullfinch Campion Cedar \
    Celandine Chaffinch Cherry Chestnut Clematis Comfrey Cornel Cowslip Crab Cypress Damson \
    Dogwood Dormouse Elder Elm Fern Fieldfare Fir Fox Foxglove Gean Goldcrest Gorse Guelder \
    Harebell Hawthorn Hazel Heather Hedgehog Hobby Holly Honeysuckle Hornbeam Ivy Jay Juniper \
    Larch Lime Linden Linnet Lungwort Maple Marten Medlar Merlin Mistletoe Moss Mulberry \
    Nightingale Nuthatch Oak Orchis Osier Pear Pine Plane Poplar Primrose Privet Quickthorn \
    Quince Redstart Robin Rowan Sallow Siskin Sloe Sorrel Spindle Spruce Sycamore Thorn \
    Treecreeper Walnut Whitebeam Whitethroat Willow Woodruff Yew";

/// The names that sub-agents without one of their own are given: a list for all, and lists for
/// roles that have their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nicknames {
    any: Vec<String>,
    of_role: HashMap<String, Vec<String>>,
}

/// Why a list of names is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NicknameError {
    /// There is no name in it (REF: "no available agent nicknames").
    #[error("a list of nicknames must not be empty")]
    NoCandidates {
        /// The role that it was for; none for the list for all.
        role: Option<String>,
    },
    /// More names than [`Nicknames::NAMES_MAX`].
    #[error("a list of nicknames has at most {max} names, this one has {got}")]
    TooMany {
        /// The bound.
        max: usize,
        /// What was given.
        got: usize,
    },
    /// A name is blank, has control characters, or is longer than [`Nicknames::BYTES_MAX`].
    #[error("`{name}` is no nickname: it must have 1 to {max} bytes, not all blank, on one line")]
    BadName {
        /// The name.
        name: String,
        /// Most bytes.
        max: usize,
    },
}

impl Nicknames {
    /// Most bytes of a name in a list.
    pub const BYTES_MAX: usize = 64;
    /// Most names in a list.
    pub const NAMES_MAX: usize = 10_000;

    /// These names for all.
    ///
    /// # Errors
    /// The list is empty or too long; a name is none.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, NicknameError> {
        Ok(Self { any: checked(names, None)?, of_role: HashMap::new() })
    }

    /// These names for threads of a role, in place of those for all.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_role(
        mut self,
        role: impl Into<String>,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Self, NicknameError> {
        let role = role.into();
        let names = checked(names, Some(&role))?;
        self.of_role.insert(role, names);
        Ok(self)
    }

    /// Those for a role. Never empty.
    pub(crate) fn candidates(&self, role: Option<&str>) -> &[String] {
        role.and_then(|role| self.of_role.get(role)).unwrap_or(&self.any)
    }
}

impl Default for Nicknames {
    fn default() -> Self {
        let any = WOODLAND.split_whitespace().map(str::to_owned).collect();
        Self { any, of_role: HashMap::new() }
    }
}

fn checked(
    names: impl IntoIterator<Item = impl Into<String>>,
    role: Option<&str>,
) -> Result<Vec<String>, NicknameError> {
    let names: Vec<String> = names.into_iter().map(Into::into).collect();
    if names.is_empty() {
        return Err(NicknameError::NoCandidates { role: role.map(str::to_owned) });
    }
    if names.len() > Nicknames::NAMES_MAX {
        return Err(NicknameError::TooMany { max: Nicknames::NAMES_MAX, got: names.len() });
    }
    let max = Nicknames::BYTES_MAX;
    let is_bad = |name: &&String| {
        name.trim().is_empty() || name.len() > max || name.chars().any(char::is_control)
    };
    match names.iter().find(is_bad) {
        Some(name) => Err(NicknameError::BadName { name: name.clone(), max }),
        None => Ok(names),
    }
}

/// The names that are used in one tree. A name stays used when its thread ends, and when the spawn
/// that it was for is undone.
#[derive(Debug, Default)]
pub(crate) struct NamesUsed {
    used: BTreeSet<String>,
    /// Those of stored threads, which are used whatever round it is.
    kept: BTreeSet<String>,
    /// How often all were used up.
    resets: u32,
}

impl NamesUsed {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { used: BTreeSet::new(), kept: BTreeSet::new(), resets: 0 }
    }

    /// Whether none was ever used.
    pub(crate) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.kept.is_empty() && self.resets == 0
    }

    /// Uses a name that was chosen elsewhere, whether or not it is used.
    pub(crate) fn take(&mut self, name: &str) {
        self.used.insert(name.to_owned());
    }

    /// Uses the name of a thread that the store has: no other one of the tree is given it.
    pub(crate) fn keep(&mut self, name: String) {
        self.kept.insert(name);
    }

    /// Uses a free one of the candidates, of which there is at least one: `pick` has one of so many
    /// places. If none is free, all are free again, with the next ordinal.
    pub(crate) fn choose(
        &mut self,
        candidates: &[String],
        pick: impl FnOnce(usize) -> usize,
    ) -> String {
        let is_free = |name: &String| !self.used.contains(name) && !self.kept.contains(name);
        let named = candidates.iter().map(|name| with_ordinal(name, self.resets));
        let mut free: Vec<String> = named.filter(is_free).collect();
        // Ends: each round has as many names as there are candidates, and what is kept has an end.
        while free.is_empty() {
            self.used.clear();
            self.resets += 1;
            let named = candidates.iter().map(|name| with_ordinal(name, self.resets));
            free = named.filter(|name| !self.kept.contains(name)).collect();
        }
        let name = free.swap_remove(pick(free.len()).min(free.len() - 1));
        self.used.insert(name.clone());
        name
    }
}

/// "Alder", "Alder the 2nd", "Alder the 3rd", ….
fn with_ordinal(name: &str, resets: u32) -> String {
    if resets == 0 {
        return name.to_owned();
    }
    let n = u64::from(resets) + 1;
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{name} the {n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ar_01_ordinals_are_those_of_the_reference() {
        let cases = [
            (0, "Plato"),
            (1, "Plato the 2nd"),
            (2, "Plato the 3rd"),
            (3, "Plato the 4th"),
            (10, "Plato the 11th"),
            (11, "Plato the 12th"),
            (12, "Plato the 13th"),
            (20, "Plato the 21st"),
            (100, "Plato the 101st"),
            (110, "Plato the 111th"),
        ];
        for (resets, name) in cases {
            assert_eq!(with_ordinal("Plato", resets), name);
        }
    }

    #[test]
    fn ar_09_ar_10_ar_12_a_used_name_stays_used_and_the_next_round_has_ordinals() {
        let mut tree = NamesUsed::default();
        assert_eq!(tree.choose(&names(&["alpha"]), |_| 0), "alpha");
        assert_eq!(tree.choose(&names(&["alpha", "beta"]), |_| 0), "beta", "AR-09");
        let mut tree = NamesUsed::default();
        tree.take("alpha");
        assert_eq!(tree.choose(&names(&["alpha"]), |_| 0), "alpha the 2nd", "AR-10");
        assert_eq!(tree.resets, 1);
        let mut tree = NamesUsed::default();
        let plato = names(&["Plato"]);
        let chosen = [0; 3].map(|at| tree.choose(&plato, |_| at));
        assert_eq!(chosen, ["Plato", "Plato the 2nd", "Plato the 3rd"], "AR-12");
        assert_eq!(tree.resets, 2);
    }

    #[test]
    fn names_of_stored_threads_are_used_in_every_round() {
        let mut tree = NamesUsed::default();
        for kept in ["alpha", "beta the 2nd"] {
            tree.keep(kept.to_owned());
        }
        let list = names(&["alpha", "beta"]);
        let chosen = [0; 5].map(|at| tree.choose(&list, |_| at));
        let expected = ["beta", "alpha the 2nd", "alpha the 3rd", "beta the 3rd", "alpha the 4th"];
        assert_eq!(chosen, expected);
    }

    #[test]
    fn ar_17_an_empty_list_and_a_bad_name_are_refused() {
        let none: [&str; 0] = [];
        let refused = Nicknames::new(none).unwrap_err();
        assert_eq!(refused, NicknameError::NoCandidates { role: None });
        let refused = Nicknames::default().with_role("tester", none).unwrap_err();
        assert_eq!(refused, NicknameError::NoCandidates { role: Some("tester".into()) });
        for bad in ["", "  ", "a\nb", &"x".repeat(65)] {
            let refused = Nicknames::new([bad]).unwrap_err();
            assert!(matches!(refused, NicknameError::BadName { .. }), "{bad:?}");
        }
        let many = (0..=Nicknames::NAMES_MAX).map(|n| n.to_string());
        assert!(matches!(Nicknames::new(many), Err(NicknameError::TooMany { .. })));
    }

    #[test]
    fn a_role_has_its_own_list_and_all_others_the_common_one() {
        let lists = Nicknames::new(["Ash"]).unwrap().with_role("researcher", ["Atlas"]).unwrap();
        assert_eq!(lists.candidates(Some("researcher")), ["Atlas"]);
        assert_eq!(lists.candidates(Some("worker")), ["Ash"]);
        assert_eq!(lists.candidates(None), ["Ash"]);
    }

    #[test]
    fn every_name_of_the_common_list_is_given_once_before_any_comes_again() {
        let list = Nicknames::default();
        let candidates = list.candidates(None);
        let mut tree = NamesUsed::default();
        let mut given: Vec<String> =
            (0..candidates.len()).map(|n| tree.choose(candidates, |free| n % free)).collect();
        assert_eq!(tree.resets, 0);
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 102);
        let next = tree.choose(candidates, |free| free - 1);
        assert!(next.ends_with(" the 2nd"), "{next}");
    }
}
