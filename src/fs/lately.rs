//! What is known of paths since something happened there lately. Older things are forgotten, so that memory has a bound.

use std::collections::{HashMap, VecDeque};

use crate::mapping::ZnodePath;

/// What is known of the `BOUND` paths that were added last.
#[derive(Debug)]
pub(super) struct Lately<T, const BOUND: usize> {
    known: HashMap<ZnodePath, (u64, T)>,
    /// Oldest first; of a path that was added again, also the earlier times.
    order: VecDeque<(u64, ZnodePath)>,
    number: u64,
}

impl<T, const BOUND: usize> Default for Lately<T, BOUND> {
    fn default() -> Lately<T, BOUND> {
        Lately { known: HashMap::new(), order: VecDeque::new(), number: 0 }
    }
}

impl<T, const BOUND: usize> Lately<T, BOUND> {
    /// Adds a path, or what is known of it now.
    pub fn insert(&mut self, path: &ZnodePath, value: T) {
        self.number += 1;
        self.known.insert(path.clone(), (self.number, value));
        self.order.push_back((self.number, path.clone()));
        if self.order.len() > BOUND
            && let Some((number, path)) = self.order.pop_front()
            && self.known.get(&path).is_some_and(|(last, _)| *last == number)
        {
            self.known.remove(&path);
        }
    }

    /// What is known of a path.
    pub fn get(&self, path: &ZnodePath) -> Option<&T> {
        self.known.get(path).map(|(_, value)| value)
    }

    /// Forgets a path.
    pub fn remove(&mut self, path: &ZnodePath) {
        self.known.remove(path);
    }

    /// The number of paths of which something is known.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: usize = 100;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut lately = Lately::<usize, BOUND>::default();
        let path = |n: usize| ZnodePath::parse(&format!("/{n}")).unwrap();
        (0..2 * BOUND).for_each(|n| lately.insert(&path(n % (BOUND + 1)), n));
        assert_eq!(lately.len(), BOUND);
        assert_eq!(lately.order.len(), BOUND);
        assert_eq!(lately.get(&path(0)), Some(&(BOUND + 1)));
        lately.remove(&path(0));
        assert_eq!(lately.get(&path(0)), None);
    }
}
