//! What changed while nobody announced it: the tree is compared with what those who watch believe.
//!
//! What is newer than the last transaction that was announced is new, and what they know and is not there is gone.
//!
//! This mount goes on making and removing things meanwhile, and the kernel tells of these. So what is compared with a listing
//! is what was believed before it, and what seems to have vanished is looked at once more.

use std::collections::BTreeSet;

use super::teller::{Found, Goes, Now, Teller};
use crate::fs::inode::{ANY, Face, Ino, Known, Node};
use crate::mapping::{Kind, Stat, ZnodePath, Zxid};
use crate::session::Store;

/// Znodes that are looked at in one request.
const BATCH: usize = 1024;

impl<S: Store> Teller<S> {
    /// Compares, and tells the differences; only those in and of some directories, if they are given, which are then told
    /// that something was missed. All up to the transaction `after` was told.
    pub(super) fn resync(&mut self, after: Zxid, only: Option<&BTreeSet<ZnodePath>>) -> Goes {
        let concerned = |path: &ZnodePath| match only {
            Some(directories) => {
                directories.contains(path) || path.parent().is_some_and(|parent| directories.contains(&parent))
            }
            None => true,
        };
        let begun = self.changes.own.mark();
        let mut known = self.changes.inodes.watchable();
        known.retain(|known| concerned(&known.node.path));
        known.sort_by(|a, b| a.node.path.as_str().cmp(b.node.path.as_str()));
        if only.is_some() {
            for dir in known.iter().filter(|known| known.is_watchable_dir() && is_among(only, known)) {
                self.touch(dir.node.clone())?;
            }
        }
        let mut alive = Vec::new();
        let mut gone = Vec::new();
        for batch in known.chunks(BATCH) {
            let found = self.look(batch.iter().map(|known| known.node.path.clone()).collect())?;
            for known in batch {
                let Some(found) = found.get(&known.node.path) else { continue };
                match found.now {
                    Now::Is(stat) => alive.push((known, stat, found.clone())),
                    Now::Absent => gone.push(known),
                    Now::Hidden => {}
                }
            }
        }
        // What is below goes first, as it does in the tree.
        for known in gone.into_iter().rev() {
            if self.stands(known) {
                self.remove(known.node.clone(), begun)?;
            }
        }
        let mut directories = Vec::new();
        for (known, stat, found) in alive {
            if !self.stands(known) {
                continue;
            }
            self.compare(known, &stat, &found, after)?;
            let is_same = known.node.path.is_root() || known.node.czxid == stat.czxid;
            if is_same && known.node.face == Face::Directory && is_among(only, known) {
                directories.push((known.ino, known.node.path.clone(), stat));
            }
        }
        for (ino, path, stat) in directories {
            self.compare_children(ino, &path, &stat, after)?;
        }
        self.compared = self.changes.tidings.last();
        Ok(())
    }

    /// Tells whether an inode is what it was, and nobody was told since that it is gone. The kernel may have forgotten it, as it
    /// forgets what is below a directory that it is told of.
    fn stands(&self, known: &Known) -> bool {
        let inodes = &self.changes.inodes;
        inodes.node(known.ino).is_none() || inodes.known(&known.node.path).iter().any(|now| now.is_same(known))
    }

    fn compare(&mut self, known: &Known, stat: &Stat, found: &Found, after: Zxid) -> Goes {
        let path = &known.node.path;
        let after = after.max(self.changes.inodes.watchable_since(path));
        if path.is_root() || known.node == Node::of(path, stat) {
            if stat.czxid > after && !self.is_told(path, stat) && !path.is_root() && !self.changes.own.has_made(path) {
                // Somebody has found it before those who watch were told.
                self.created(path, found, false)?;
            } else if stat.mzxid > after {
                self.modified(path, found, None, false)?;
            }
        } else if known.node.czxid == stat.czxid {
            let kind = if known.node.face == Face::Directory { Kind::Directory } else { Kind::File };
            self.modified(path, found, Some(kind), false)?;
        } else if known.node.czxid != ANY {
            self.remove(known.node.clone(), found.seen)?;
            self.created(path, found, false)?;
        }
        Ok(())
    }

    /// Compares the names in a directory, and those children that the kernel does not know.
    fn compare_children(&mut self, ino: Ino, dir: &ZnodePath, stat: &Stat, after: Zxid) -> Goes {
        let (believed, complete) = self.changes.inodes.believed(ino);
        let names = {
            let dir = dir.clone();
            self.ask(move |core| {
                let dir = dir.clone();
                async move {
                    match core.children(&dir).await {
                        Err(crate::error::Errno::ENOENT | crate::error::Errno::EACCES) => Ok(None),
                        result => result.map(Some),
                    }
                }
            })?
        };
        let Some(names) = names else { return Ok(()) };
        let vanished = believed.iter().filter(|name| names.binary_search(name).is_err());
        let vanished: Vec<ZnodePath> = vanished.map(|name| dir.join_raw(name)).collect();
        for batch in vanished.chunks(BATCH) {
            let found = self.look(batch.iter().cloned().collect())?;
            for path in batch {
                if let Some(found) = found.get(path) {
                    self.vanished(path, found)?;
                }
            }
        }
        let is_asked = |path: &ZnodePath| self.changes.inodes.known(path).iter().any(Known::is_watchable);
        let others: Vec<ZnodePath> =
            names.iter().map(|name| dir.join_raw(name)).filter(|path| !is_asked(path)).collect();
        for batch in others.chunks(BATCH) {
            let found = self.look(batch.iter().cloned().collect())?;
            for path in batch {
                let Some(found) = found.get(path) else { continue };
                let Now::Is(child) = &found.now else { continue };
                let after = after.max(self.changes.inodes.watchable_since(path));
                let is_believed = || believed.binary_search_by(|name| name.as_str().cmp(path.name())).is_ok();
                if child.czxid > after && !self.changes.own.has_made(path) {
                    if is_believed() && !self.is_told(path, child) {
                        self.deleted(path, None, found)?;
                    } else {
                        self.created(path, found, false)?;
                    }
                } else {
                    // From now on its deletion can be told from that of what nobody was told of.
                    self.changes.inodes.tell_name(path, true);
                    if has_turned(child, after) && self.turned(path, found, Some(Kind::File))? {
                        continue;
                    }
                    if child.mzxid > after {
                        self.modified(path, found, None, false)?;
                    }
                }
            }
        }
        if !complete && stat.pzxid > after {
            self.touch(Node { path: dir.clone(), czxid: stat.czxid, face: Face::Directory })?;
        }
        Ok(())
    }
}

/// Tells whether a znode that the kernel does not know was a file, and got its only child since. Of one that has had several
/// that cannot be told.
fn has_turned(stat: &Stat, after: Zxid) -> bool {
    let is_file_without = Stat { cversion: 0, num_children: 0, ..*stat }.kind() == Kind::File;
    is_file_without && stat.cversion == 1 && stat.pzxid > after
}

fn is_among(only: Option<&BTreeSet<ZnodePath>>, known: &Known) -> bool {
    only.is_none_or(|directories| directories.contains(&known.node.path))
}
