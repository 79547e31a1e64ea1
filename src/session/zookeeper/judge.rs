//! Whether a write whose reply was lost can have been applied.
//!
//! All that may be concluded rests on the order of transactions. Let *z* be the highest transaction that this session
//! had seen when the request was sent. If the request was applied, then as a transaction after *z*. So a znode that
//! exists with a czxid of at most *z* has not been deleted by it, data with an mzxid of at most *z* has not been set by
//! it, and a directory with a pzxid of at most *z* has had no child created or deleted by it. Any of these proves that
//! the request was not applied, and only then is it sent again.
//!
//! Nothing proves that it *was* applied: the same bytes, the next version, or the absence of a deleted znode may be
//! another client's work, and a success must be ours. So everything else is unknown. (Ephemerals are the exception,
//! since they name their session; see `ephemerals`.)

use std::collections::HashMap;

use crate::mapping::{Stat, ZnodePath, Zxid};
use crate::session::{CreateMode, Op};

/// A write, as far as it matters here.
#[derive(Debug, Clone)]
pub enum Write {
    Create { path: ZnodePath, sequential: bool },
    Set { path: ZnodePath },
    Delete { path: ZnodePath },
    SetAcl { path: ZnodePath, version: Option<i32> },
}

impl Write {
    /// The writes of a transaction.
    pub fn of_multi(ops: &[Op]) -> Vec<Write> {
        let write = |op: &Op| match op {
            Op::Check { .. } => None,
            Op::Create(creation) => Some(Write::create(&creation.path, creation.mode)),
            Op::Set { path, .. } => Some(Write::Set { path: path.clone() }),
            Op::Delete { path, .. } => Some(Write::Delete { path: path.clone() }),
        };
        ops.iter().filter_map(write).collect()
    }

    /// The write that makes a znode.
    pub fn create(path: &ZnodePath, mode: CreateMode) -> Write {
        Write::Create { path: path.clone(), sequential: mode.is_sequential() }
    }

    /// The znodes whose Stats tell something.
    fn witnesses(&self) -> Vec<ZnodePath> {
        match self {
            Write::Create { path, sequential: true } => path.parent().into_iter().collect(),
            Write::Create { path, .. } | Write::Delete { path } => {
                [Some(path.clone()), path.parent()].into_iter().flatten().collect()
            }
            Write::Set { path } | Write::SetAcl { path, .. } => vec![path.clone()],
        }
    }

    /// Tells whether the Stats prove that the write was not applied after `seen`.
    fn is_disproved(&self, seen: Zxid, stats: &HashMap<ZnodePath, Stat>) -> bool {
        let stat = |path: &ZnodePath| stats.get(path);
        let unchanged = |path: &ZnodePath| {
            path.parent().is_some_and(|parent| stat(&parent).is_some_and(|parent| parent.pzxid <= seen))
        };
        let is_old = |path: &ZnodePath| stat(path).is_some_and(|stat| stat.czxid <= seen);
        match self {
            Write::Create { path, sequential } => unchanged(path) || (!sequential && is_old(path)),
            Write::Delete { path } => unchanged(path) || is_old(path),
            Write::Set { path } => stat(path).is_some_and(|stat| stat.mzxid <= seen),
            Write::SetAcl { path, version } => {
                is_old(path) && stat(path).is_some_and(|stat| Some(stat.aversion) == *version)
            }
        }
    }
}

/// The znodes whose Stats tell whether a request of these writes was applied.
pub fn witnesses(writes: &[Write]) -> Vec<ZnodePath> {
    let mut paths: Vec<ZnodePath> = writes.iter().flat_map(Write::witnesses).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Tells whether the Stats prove that a request of these writes, which were to be applied together, was not applied
/// after `seen`. Znodes that are not there are left out.
pub fn is_disproved(writes: &[Write], seen: Zxid, stats: &HashMap<ZnodePath, Stat>) -> bool {
    writes.iter().any(|write| write.is_disproved(seen, stats))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn stats(list: &[(&str, [i64; 3])]) -> HashMap<ZnodePath, Stat> {
        let stat = |&[czxid, mzxid, pzxid]: &[i64; 3]| Stat {
            czxid: Zxid(czxid),
            mzxid: Zxid(mzxid),
            pzxid: Zxid(pzxid),
            ..Stat::default()
        };
        list.iter().map(|(name, zxids)| (path(name), stat(zxids))).collect()
    }

    fn disproved(write: Write, list: &[(&str, [i64; 3])]) -> bool {
        is_disproved(&[write], Zxid(10), &stats(list))
    }

    #[test]
    fn creations() {
        let create = || Write::Create { path: path("/d/x"), sequential: false };
        assert!(disproved(create(), &[("/d", [1, 1, 10])]));
        assert!(!disproved(create(), &[("/d", [1, 1, 11])]), "somebody may have deleted it again");
        assert!(disproved(create(), &[("/d", [1, 1, 11]), ("/d/x", [9, 9, 9])]), "it was there before");
        assert!(!disproved(create(), &[("/d", [1, 1, 11]), ("/d/x", [11, 11, 11])]));
        assert!(!disproved(create(), &[]), "the directory is gone");
        let sequential = || Write::Create { path: path("/d/x"), sequential: true };
        assert!(disproved(sequential(), &[("/d", [1, 1, 10])]));
        assert!(!disproved(sequential(), &[("/d", [1, 1, 11]), ("/d/x", [9, 9, 9])]), "another name");
    }

    #[test]
    fn deletions_and_changes() {
        let delete = || Write::Delete { path: path("/d/x") };
        assert!(disproved(delete(), &[("/d", [1, 1, 11]), ("/d/x", [10, 12, 12])]));
        assert!(!disproved(delete(), &[("/d", [1, 1, 12]), ("/d/x", [12, 12, 12])]), "made again");
        assert!(!disproved(delete(), &[("/d", [1, 1, 11])]));
        let set = || Write::Set { path: path("/d/x") };
        assert!(disproved(set(), &[("/d/x", [1, 10, 12])]));
        assert!(!disproved(set(), &[("/d/x", [1, 11, 1])]));
        assert!(!disproved(set(), &[]));
        let set_acl = |version| Write::SetAcl { path: path("/d/x"), version };
        assert!(disproved(set_acl(Some(0)), &[("/d/x", [1, 1, 1])]));
        assert!(!disproved(set_acl(None), &[("/d/x", [1, 1, 1])]));
        assert!(!disproved(set_acl(Some(0)), &[("/d/x", [11, 11, 11])]), "made again");
    }

    #[test]
    fn one_write_that_was_not_applied_is_enough() {
        let writes = [Write::Set { path: path("/a") }, Write::Delete { path: path("/b") }];
        assert!(is_disproved(&writes, Zxid(10), &stats(&[("/a", [1, 11, 1]), ("/b", [1, 1, 1])])));
        assert!(!is_disproved(&writes, Zxid(10), &stats(&[("/a", [1, 11, 1])])));
        assert_eq!(witnesses(&writes), [path("/"), path("/a"), path("/b")]);
    }
}
