//! The names in a directory that those who watch it believe in: what was listed, and what they were told since.
//!
//! After a gap in the announcements this is what the tree is compared with, since a name that has gone leaves no trace in it.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What a name costs beside its bytes.
const NAME_COST: usize = 40;

/// Names that came or went since the listing, before they are merged with it.
const PATCHES: usize = 1024;

/// The names in a directory that those who watch it believe in.
#[derive(Debug, Default)]
pub(super) struct Believed {
    /// As they were listed, sorted; shared with the cache.
    base: Arc<Vec<String>>,
    came: BTreeSet<String>,
    went: BTreeSet<String>,
    bytes: usize,
    /// There are more than are kept.
    lost: bool,
}

impl Believed {
    /// What it costs, in bytes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Tells whether there are more names than are kept.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// The directory was listed. Names that are not in the listing stay until they are told to be gone.
    pub fn listed(&mut self, names: &Arc<Vec<String>>) {
        if Arc::ptr_eq(&self.base, names) {
            return;
        }
        let stay: BTreeSet<String> =
            self.names().into_iter().filter(|name| names.binary_search(name).is_err()).collect();
        *self = Believed { base: names.clone(), came: stay, lost: self.lost, ..Believed::default() };
        self.weigh();
    }

    /// A name was told to have come or gone.
    pub fn told(&mut self, name: &str, exists: bool) {
        let listed = self.base.binary_search_by(|other| other.as_str().cmp(name)).is_ok();
        self.came.remove(name);
        self.went.remove(name);
        match (exists, listed) {
            (true, false) => drop(self.came.insert(name.to_owned())),
            (false, true) => drop(self.went.insert(name.to_owned())),
            _ => {}
        }
        if self.came.len() + self.went.len() > PATCHES.max(self.base.len()) {
            *self = Believed { base: Arc::new(self.names()), lost: self.lost, ..Believed::default() };
        }
        self.weigh();
    }

    /// Forgets the names, but not that there are some.
    pub fn lose(&mut self) {
        *self = Believed { lost: true, ..Believed::default() };
    }

    /// Tells whether a name is among them.
    pub fn has(&self, name: &str) -> bool {
        let listed = || self.base.binary_search_by(|other| other.as_str().cmp(name)).is_ok();
        self.came.contains(name) || !self.went.contains(name) && listed()
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let base = self.base.iter().filter(|name| !self.went.contains(*name)).cloned();
        if self.came.is_empty() {
            return base.collect();
        }
        let mut names: Vec<String> = base.chain(self.came.iter().cloned()).collect();
        names.sort_unstable();
        names
    }

    fn weigh(&mut self) {
        // A listing of many names has names of much the same length.
        let longest = self.base.first().map_or(0, String::len).max(self.base.last().map_or(0, String::len));
        self.bytes = (self.base.len() + self.came.len() + self.went.len()) * (longest.max(16) + NAME_COST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Arc<Vec<String>> {
        Arc::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn what_was_told_stays_until_it_is_told_to_be_gone() {
        let mut believed = Believed::default();
        believed.listed(&names("a b c"));
        believed.told("d", true);
        believed.told("a", false);
        assert_eq!(believed.names(), *names("b c d"));
        // `c` and `d` have gone, and `e` has come, but nobody was told yet.
        believed.listed(&names("b e"));
        assert_eq!(believed.names(), *names("b c d e"));
        believed.told("c", false);
        believed.told("d", false);
        assert_eq!(believed.names(), *names("b e"));
    }

    #[test]
    fn patches_are_merged_and_weighed() {
        let mut believed = Believed::default();
        for n in 0..3 * PATCHES {
            believed.told(&format!("n{n:05}"), true);
        }
        assert_eq!(believed.names().len(), 3 * PATCHES);
        assert!(believed.came.len() <= 2 * PATCHES + 1);
        assert!(believed.bytes() > 3 * PATCHES * NAME_COST);
        believed.lose();
        assert_eq!((believed.names().len(), believed.bytes(), believed.is_lost()), (0, 0, true));
    }
}
