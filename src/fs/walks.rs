//! Which directories were listed lately, to tell a walk from a look.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mapping::ZnodePath;

/// Directories that are remembered: the way down a deep tree, for some walks at a time.
const REMEMBERED: usize = 128;
/// A walk goes on within this time.
const RECENT: Duration = Duration::from_secs(2);

/// The directories that were listed lately.
#[derive(Debug, Default)]
pub struct Walks {
    listed: Mutex<VecDeque<(ZnodePath, Instant)>>,
}

impl Walks {
    fn listed(&self) -> MutexGuard<'_, VecDeque<(ZnodePath, Instant)>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory is being listed.
    pub fn note(&self, path: &ZnodePath) {
        let mut listed = self.listed();
        listed.retain(|(other, _)| other != path);
        listed.push_back((path.clone(), Instant::now()));
        if listed.len() > REMEMBERED {
            listed.pop_front();
        }
    }

    /// Tells whether a directory was listed lately; a walk that is still below it keeps it so.
    pub fn is_recent(&self, path: &ZnodePath) -> bool {
        let mut listed = self.listed();
        let recent = listed.iter_mut().find(|(other, since)| other == path && since.elapsed() < RECENT);
        match recent {
            Some((_, since)) => {
                *since = Instant::now();
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_listed_lately_is_remembered_within_bounds() {
        let walks = Walks::default();
        let dir = |n: usize| ZnodePath::root().join_raw(&n.to_string());
        assert!(!walks.is_recent(&dir(0)));
        (0..=REMEMBERED).for_each(|n| walks.note(&dir(n)));
        assert!(!walks.is_recent(&dir(0)) && walks.is_recent(&dir(1)) && walks.is_recent(&dir(REMEMBERED)));
    }
}
