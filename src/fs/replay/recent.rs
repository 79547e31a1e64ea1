//! What those who watch were told lately.
//!
//! The kernel forgets what it was told for the sake of those who watch at once, so its inodes cannot say.

use crate::fs::inode::Node;
use crate::fs::lately::Lately;
use crate::fs::own::Mark;
use crate::mapping::{ZnodePath, Zxid};

/// Znodes that are remembered. What is told once more after that does no harm.
const BOUND: usize = 16384;

/// What those who watch were told lately to be there.
#[derive(Debug, Default)]
pub(super) struct Recent {
    told: Lately<(Node, Zxid, Mark), BOUND>,
}

impl Recent {
    /// They were told that this is there, set last by a transaction, as was seen then.
    pub fn is(&mut self, node: Node, mzxid: Zxid, seen: Mark) {
        let path = node.path.clone();
        self.told.insert(&path, (node, mzxid, seen));
    }

    /// They were told that what was at a path is gone.
    pub fn is_gone(&mut self, path: &ZnodePath) {
        self.told.remove(path);
    }

    /// What they were told to be there, the transaction that had set it last, and when it was seen.
    pub fn get(&self, path: &ZnodePath) -> Option<(&Node, Zxid, Mark)> {
        self.told.get(path).map(|(node, mzxid, seen)| (node, *mzxid, *seen))
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
        recent.is(node(0), Zxid(1), Mark::default());
        (0..BOUND).for_each(|n| recent.is(node(n), Zxid(2), Mark::default()));
        assert_eq!(recent.get(&node(0).path), Some((&node(0), Zxid(2), Mark::default())));
        recent.is(node(BOUND), Zxid(2), Mark::default());
        assert_eq!(recent.get(&node(0).path), None);
        assert_eq!(recent.told.len(), BOUND);
        recent.is_gone(&node(7).path);
        assert_eq!(recent.get(&node(7).path), None);
    }
}
