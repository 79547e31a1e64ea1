//! Open files whose znodes are made anew by a rename.
//!
//! A handle writes on the condition of the version that it is based on. A znode that was renamed is a new one, with versions of its
//! own, so the handles that were up to date are told the new version, and the others are to fail as they would have.

use std::collections::HashMap;
use std::sync::Arc;

use super::Core;
use crate::fs::handle::Handle;
use crate::fs::inode::{FileState, Ino};
use crate::mapping::ZnodePath;
use crate::session::{Op, OpResult, Store};

/// A version that no znode ever has.
const NEVER: i32 = i32::MIN;

/// The open files at and below some paths, each with its path before the rename.
#[derive(Debug)]
pub(super) struct Moving {
    files: Vec<(Ino, ZnodePath, Arc<FileState>)>,
}

impl Moving {
    /// What the handles of each have in common, in one order for all who take several write locks.
    pub fn states(&self) -> impl Iterator<Item = &Arc<FileState>> {
        self.files.iter().map(|(_, _, state)| state)
    }
}

impl<S: Store> Core<S> {
    /// The open files at and below these paths.
    pub(super) fn moving(&self, roots: &[&ZnodePath]) -> Moving {
        let mut open = self.changes.inodes.open_below(roots);
        open.sort_by_key(|(ino, _)| *ino);
        Moving { files: open.into_iter().map(|(ino, path)| (ino, path, self.changes.inodes.file(ino))).collect() }
    }

    /// Tells the handles of files that were renamed by this transaction the versions that they have now. The write locks
    /// of the files are held.
    pub(super) async fn base_anew(
        &self,
        moving: &Moving,
        ops: &[Op],
        results: &[OpResult],
        place: impl Fn(&ZnodePath) -> Option<ZnodePath>,
    ) {
        let (before, after) = versions(ops, results);
        for (ino, old, _) in &moving.files {
            let now = place(old).and_then(|new| after.get(&new).copied()).unwrap_or(NEVER);
            for handle in self.handles.of(*ino) {
                let Handle::File(file) = &*handle else { continue };
                if let Some((_, stat)) = &mut file.cursor.lock().await.base {
                    stat.version = if before.get(old) == Some(&stat.version) { now } else { NEVER };
                }
            }
        }
    }
}

/// The versions of what a transaction deleted, and of what it made or set.
fn versions(ops: &[Op], results: &[OpResult]) -> (HashMap<ZnodePath, i32>, HashMap<ZnodePath, i32>) {
    let (mut before, mut after) = (HashMap::new(), HashMap::new());
    for (op, result) in ops.iter().zip(results) {
        match (op, result) {
            (Op::Delete { path, version }, _) => {
                before.extend(version.map(|version| (path.clone(), version)));
            }
            (Op::Create(_), OpResult::Created(path)) => {
                after.insert(path.clone(), 0);
            }
            (Op::Set { path, .. }, OpResult::Set(stat)) => {
                after.insert(path.clone(), stat.version);
            }
            _ => {}
        }
    }
    (before, after)
}
