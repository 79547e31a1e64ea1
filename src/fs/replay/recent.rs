//! What those who watch were told lately.
//!
//! The kernel forgets what it was told for the sake of those who watch at once, so its inodes cannot say.

use std::collections::{HashMap, VecDeque};

use crate::fs::inode::Node;
use crate::mapping::{ZnodePath, Zxid};

/// Znodes that are remembered. What is told once more after that does no harm.
const BOUND: usize = 16384;

/// What those who watch were told lately to be there.
#[derive(Debug, Default)]
pub(super) struct Recent {
    told: HashMap<ZnodePath, (u64, Node, Zxid)>,
    order: VecDeque<(u64, ZnodePath)>,
    number: u64,
}

impl Recent {
    /// They were told that this is there, set last by a transaction.
    pub fn is(&mut self, node: Node, mzxid: Zxid) {
        self.number += 1;
        self.order.push_back((self.number, node.path.clone()));
        self.told.insert(node.path.clone(), (self.number, node, mzxid));
        if self.order.len() > BOUND
            && let Some((number, path)) = self.order.pop_front()
            && self.told.get(&path).is_some_and(|(last, ..)| *last == number)
        {
            self.told.remove(&path);
        }
    }

    /// They were told that what was at a path is gone.
    pub fn is_gone(&mut self, path: &ZnodePath) {
        self.told.remove(path);
    }

    /// What they were told to be there, and the transaction that had set it last.
    pub fn get(&self, path: &ZnodePath) -> Option<(&Node, Zxid)> {
        self.told.get(path).map(|(_, node, mzxid)| (node, *mzxid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::inode::Face;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut recent = Recent::default();
        let node =
            |n: usize| Node { path: ZnodePath::parse(&format!("/{n}")).unwrap(), czxid: Zxid(1), face: Face::File };
        recent.is(node(0), Zxid(1));
        (0..BOUND).for_each(|n| recent.is(node(n), Zxid(2)));
        assert_eq!(recent.get(&node(0).path), Some((&node(0), Zxid(2))));
        recent.is(node(BOUND), Zxid(2));
        assert_eq!(recent.get(&node(0).path), None);
        assert_eq!(recent.told.len(), BOUND);
        recent.is_gone(&node(7).path);
        assert_eq!(recent.get(&node(7).path), None);
    }
}
