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

    /// Which list is for a role: its own, or the one for all.
    pub(crate) fn list<'a>(&self, role: Option<&'a str>) -> Option<&'a str> {
        role.filter(|&role| self.of_role.contains_key(role))
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
    /// Those names of this round that threads have of which the store alone knows.
    kept: BTreeSet<String>,
    /// Of which lists that was asked, by their role.
    asked: BTreeSet<Option<String>>,
    /// How often all were used up.
    resets: u32,
}

impl NamesUsed {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { used: BTreeSet::new(), kept: BTreeSet::new(), asked: BTreeSet::new(), resets: 0 }
    }

    /// Whether none was ever used.
    pub(crate) fn is_empty(&self) -> bool {
        (self.used.is_empty() && self.kept.is_empty())
            && (self.asked.is_empty() && self.resets == 0)
    }

    /// Uses a name that was chosen elsewhere, whether or not it is used.
    pub(crate) fn take(&mut self, name: &str) {
        self.used.insert(name.to_owned());
    }

    /// Whether it is known which names of this list may be given in this round, and one may.
    pub(crate) fn knows(&self, list: Option<&str>, names: &[String]) -> bool {
        let is_free = |name: &String| self.is_free(&with_ordinal(name, self.resets));
        self.has_asked(list) && names.iter().any(is_free)
    }

    /// The round whose names of this list are to be asked for: this one, or the next if none is left.
    pub(crate) fn next_round(&self, list: Option<&str>) -> u32 {
        if self.has_asked(list) { self.resets.saturating_add(1) } else { self.resets }
    }

    /// Takes over what the store said of a round of this list.
    pub(crate) fn learn(&mut self, list: Option<&str>, Round { round, taken }: Round) {
        if round < self.resets {
            return; // of a round that is over by now
        }
        if round > self.resets {
            self.begin_round(round);
        }
        self.kept.extend(taken);
        self.asked.insert(list.map(str::to_owned));
    }

    /// What the store said is old.
    pub(crate) fn forget(&mut self) {
        self.asked.clear();
    }

    fn has_asked(&self, list: Option<&str>) -> bool {
        self.asked.iter().any(|asked| asked.as_deref() == list)
    }

    fn is_free(&self, name: &str) -> bool {
        !self.used.contains(name) && !self.kept.contains(name)
    }

    fn begin_round(&mut self, round: u32) {
        self.used.clear();
        self.kept.clear();
        self.asked.clear();
        self.resets = round;
    }

    /// Uses a free one of the candidates, of which there is at least one: `pick` has one of so many
    /// places. If none is free, all are free again, with the next ordinal.
    pub(crate) fn choose(
        &mut self,
        candidates: &[String],
        pick: impl FnOnce(usize) -> usize,
    ) -> String {
        let named = |round| candidates.iter().map(move |name| with_ordinal(name, round));
        let mut free: Vec<String> = named(self.resets).filter(|name| self.is_free(name)).collect();
        if free.is_empty() {
            self.begin_round(self.resets.saturating_add(1));
            free = named(self.resets).collect();
        }
        let name = free.swap_remove(pick(free.len()).min(free.len() - 1));
        self.used.insert(name.clone());
        name
    }
}

/// Which names of a list may be given in a round: all but those that are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) round: u32,
    pub(crate) taken: Vec<String>,
}

/// A round of a list, from this one on, of which not all names are taken: none before it has a free name
/// but by those that came free since. `taken` says which of some names are. Asks for as many rounds as
/// the number of that one has digits, twice, not for all before it.
pub(crate) async fn free_round<E, F>(
    candidates: &[String],
    from: u32,
    taken: impl Fn(Vec<String>) -> F,
) -> Result<Round, E>
where
    F: Future<Output = Result<Vec<String>, E>>,
{
    let look = async |round| {
        let names: BTreeSet<String> =
            candidates.iter().map(|name| with_ordinal(name, round)).collect();
        let all = names.len();
        let taken = taken(names.into_iter().collect()).await?;
        Ok((taken.len() < all, Round { round, taken }))
    };
    // The last that is known to be full, and one that is not.
    let (mut full, mut step) = (None, 1_u32);
    let mut free = loop {
        let round = full.map_or(from, |full: u32| full.saturating_add(step));
        let (is_free, found) = look(round).await?;
        if is_free || round == u32::MAX {
            break found;
        }
        step = if full.is_some() { step.saturating_mul(2) } else { step };
        full = Some(round);
    };
    while let Some(last) = full.filter(|last| free.round - last > 1) {
        let (is_free, found) = look(last + (free.round - last) / 2).await?;
        if is_free {
            free = found;
        } else {
            full = Some(found.round);
        }
    }
    Ok(free)
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
    use futures::FutureExt as _;

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
    fn names_of_stored_threads_are_asked_for_round_by_round_and_list_by_list() {
        let (list, others) = (names(&["alpha", "beta"]), names(&["gamma"]));
        let round = |round, taken: &[&str]| Round { round, taken: names(taken) };
        let mut tree = NamesUsed::default();
        assert!(!tree.knows(None, &list) && tree.next_round(None) == 0);
        tree.learn(None, round(0, &["alpha"]));
        assert!(tree.knows(None, &list) && !tree.knows(Some("scout"), &others));
        assert_eq!(tree.choose(&list, |_| 0), "beta");
        assert!(!tree.knows(None, &list), "none is left of it");
        assert_eq!((tree.next_round(None), tree.next_round(Some("scout"))), (1, 0));
        tree.learn(None, round(3, &["beta the 4th"]));
        tree.learn(Some("scout"), round(0, &[])); // told too late
        assert!(tree.knows(None, &list) && !tree.knows(Some("scout"), &others));
        assert_eq!(tree.choose(&list, |_| 0), "alpha the 4th");
        tree.learn(Some("scout"), round(3, &[]));
        assert_eq!(tree.choose(&others, |_| 0), "gamma the 4th");
        tree.learn(None, round(4, &[]));
        tree.forget();
        assert!(!tree.knows(None, &list) && tree.next_round(None) == 4);
    }

    #[test]
    fn the_first_round_with_a_free_name_is_found_without_asking_for_all_before_it() {
        let list = names(&["alpha", "beta", "alpha"]);
        for full in [0_u32, 1, 2, 3, 4, 7, 8, 100, 1_000] {
            for from in [0, full / 2, full] {
                let asked = std::cell::Cell::new(0_u32);
                let taken = |names: Vec<String>| {
                    asked.set(asked.get() + 1);
                    // All before `full`, and one of that.
                    let is_taken = |name: &String| {
                        (0..full).any(|n| list.iter().any(|it| with_ordinal(it, n) == *name))
                            || *name == with_ordinal("beta", full)
                    };
                    let taken = names.into_iter().filter(is_taken).collect();
                    std::future::ready(Ok::<Vec<String>, ()>(taken))
                };
                let found = free_round(&list, from, taken).now_or_never().unwrap().unwrap();
                let expected = Round { round: full, taken: vec![with_ordinal("beta", full)] };
                assert_eq!(found, expected, "from {from}");
                assert!(
                    asked.get() <= 2 * (full.checked_ilog2().unwrap_or(0) + 2),
                    "{} for {full}",
                    asked.get()
                );
            }
        }
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
