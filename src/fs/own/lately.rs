//! Paths that were changed lately, each with when.

use std::collections::{HashMap, VecDeque};

use crate::mapping::ZnodePath;

/// Paths that are remembered.
const BOUND: usize = 8192;

/// Paths that were changed lately, each with the number of the last change.
#[derive(Debug, Default)]
pub(super) struct Lately {
    numbers: HashMap<ZnodePath, u64>,
    /// The same, oldest first; of a path that was changed again, also the earlier times.
    order: VecDeque<(u64, ZnodePath)>,
}

impl Lately {
    /// A path was changed.
    pub fn insert(&mut self, path: &ZnodePath, number: u64) {
        self.numbers.insert(path.clone(), number);
        self.order.push_back((number, path.clone()));
        if self.order.len() > BOUND
            && let Some((number, path)) = self.order.pop_front()
            && self.numbers.get(&path) == Some(&number)
        {
            self.numbers.remove(&path);
        }
    }

    /// The last change of a path.
    pub fn get(&self, path: &ZnodePath) -> Option<u64> {
        self.numbers.get(path).copied()
    }

    /// Forgets a path.
    pub fn remove(&mut self, path: &ZnodePath) {
        self.numbers.remove(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut lately = Lately::default();
        let path = |n: u64| ZnodePath::parse(&format!("/{n}")).unwrap();
        (0..2 * BOUND as u64).for_each(|n| lately.insert(&path(n % (BOUND as u64 + 1)), n));
        assert_eq!(lately.numbers.len(), BOUND);
        assert_eq!(lately.order.len(), BOUND);
        assert_eq!(lately.get(&path(0)), Some(BOUND as u64 + 1));
        lately.remove(&path(0));
        assert_eq!(lately.get(&path(0)), None);
    }
}
