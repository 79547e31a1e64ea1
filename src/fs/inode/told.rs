//! What those who watch files and directories can know, and what they were told.

use std::sync::Arc;

use super::{ANY, Believed, Face, Few, Ino, Inode, Inodes, Node, Standing, Table};
use crate::mapping::{Stat, ZnodePath, Zxid};

/// The names that are believed in may cost so many bytes; directories beyond that are only known to have some.
const BELIEVED_LIMIT: usize = 64 << 20;

/// An inode that the kernel knows and that is a znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub ino: Ino,
    /// What it stands for.
    pub node: Node,
    /// Somebody else than the replay of changes refers to it.
    pub asked: bool,
    /// It was told to be gone.
    pub gone: bool,
}

impl Known {
    fn new(ino: Ino, inode: &Inode) -> Known {
        Known { ino, node: inode.node.clone(), asked: inode.asked, gone: inode.gone }
    }

    /// It is the same inode, for the same, and no end of it was told since.
    pub fn is_same(&self, before: &Known) -> bool {
        self.ino == before.ino && self.node == before.node && self.gone == before.gone
    }

    /// Somebody may watch it, and does not know that it is gone.
    pub fn is_watchable(&self) -> bool {
        self.asked && !self.gone
    }

    /// It is a directory that somebody may watch.
    pub fn is_watchable_dir(&self) -> bool {
        self.is_watchable() && self.node.face == Face::Directory
    }
}

impl Table {
    fn here(&self, path: &ZnodePath) -> impl Iterator<Item = (Ino, &Inode)> {
        let inos = self.paths.get(path).map_or(&[][..], Few::as_slice);
        inos.iter().filter_map(|ino| Some((*ino, self.inodes.get(ino)?)))
    }

    fn edit_believed(&mut self, path: &ZnodePath, edit: impl Fn(&mut Believed)) {
        for ino in self.paths.get(path).map_or(Vec::new(), |few| few.as_slice().to_vec()) {
            let Some(inode) = self.inodes.get_mut(&ino).filter(|inode| inode.node.face == Face::Directory) else {
                continue;
            };
            let believed = inode.believed.get_or_insert_default();
            self.believed -= believed.bytes();
            edit(believed);
            if self.believed + believed.bytes() > BELIEVED_LIMIT {
                believed.lose();
            }
            self.believed += believed.bytes();
        }
    }
}

fn is_znode(inode: &Inode) -> bool {
    matches!(inode.node.face, Face::File | Face::Directory)
}

impl Inodes {
    /// Counts a look-up by the replay of changes.
    pub fn look_up_to_tell(&self, ino: Ino, node: Node) {
        self.table().insert(ino, node).lookups += 1;
    }

    /// The files and directories at a path that the kernel knows.
    pub fn known(&self, path: &ZnodePath) -> Vec<Known> {
        let table = self.table();
        table.here(path).filter(|(_, inode)| is_znode(inode)).map(|(ino, inode)| Known::new(ino, inode)).collect()
    }

    /// All files and directories that somebody may watch.
    pub fn watchable(&self) -> Vec<Known> {
        let table = self.table();
        let known = table.inodes.iter().filter(|(_, inode)| is_znode(inode));
        known.map(|(ino, inode)| Known::new(*ino, inode)).filter(Known::is_watchable).collect()
    }

    /// Tells whether somebody may watch what happens at a path: there, or in the directory above. The second tells whether
    /// they may believe that the path above is a file.
    pub fn is_watchable(&self, path: &ZnodePath) -> (bool, bool) {
        let table = self.table();
        let alive = |inode: &Inode| inode.asked && !inode.gone;
        let here = table.here(path).any(|(_, inode)| is_znode(inode) && alive(inode));
        let knows = |path: Option<&ZnodePath>, face| {
            path.is_some_and(|path| table.here(path).any(|(_, i)| alive(i) && i.node.face == face))
        };
        let parent = path.parent();
        let in_directory = knows(parent.as_ref(), Face::Directory);
        let in_file = knows(parent.as_ref(), Face::File);
        // They know it from a listing, or were told of it.
        let is_listed =
            || !in_directory && knows(parent.as_ref().and_then(ZnodePath::parent).as_ref(), Face::Directory);
        (here || in_directory, in_file || is_listed())
    }

    /// Those who watch were told that an inode is gone.
    pub fn tell_gone(&self, ino: Ino) {
        if let Some(inode) = self.table().inodes.get_mut(&ino) {
            inode.gone = true;
        }
    }

    /// The inodes whose end is that of what is at a path now, not of what was there before.
    pub fn ending(&self, path: &ZnodePath) -> Vec<Ino> {
        let table = self.table();
        let is_ending = |inode: &Inode| is_znode(inode) && inode.standing != Standing::Gone && inode.node.czxid != ANY;
        table.here(path).filter(|(_, inode)| is_ending(inode)).map(|(ino, _)| ino).collect()
    }

    /// Those who watch the directory above a path were told that the name came or went.
    pub fn tell_name(&self, path: &ZnodePath, exists: bool) {
        if let Some(parent) = path.parent() {
            self.table().edit_believed(&parent, |believed| believed.told(path.name(), exists));
        }
    }

    /// Tells whether the ACL of what somebody may watch at a path was changed since it was seen last.
    pub fn notice_acl(&self, path: &ZnodePath, stat: &Stat) -> bool {
        let mut table = self.table();
        let mut changed = false;
        for ino in table.paths.get(path).map_or(Vec::new(), |few| few.as_slice().to_vec()) {
            let Some(inode) = table.inodes.get_mut(&ino).filter(|inode| is_znode(inode) && inode.asked) else {
                continue;
            };
            let is_same = inode.node.czxid == stat.czxid || path.is_root();
            // An older answer may come later.
            if is_same && inode.aversion.is_none_or(|before| before < stat.aversion) {
                changed |= inode.aversion.is_some();
                inode.aversion = Some(stat.aversion);
            }
        }
        changed
    }

    /// What is in the directory above a path since before this transaction was there before anybody watched that.
    pub fn watchable_since(&self, path: &ZnodePath) -> Zxid {
        let Some(parent) = path.parent() else { return Zxid::default() };
        let table = self.table();
        let dirs = table.here(&parent).filter(|(_, inode)| inode.asked && inode.node.face == Face::Directory);
        dirs.map(|(_, inode)| inode.since).min().unwrap_or_default()
    }

    /// A directory was listed.
    pub fn listed(&self, dir: &ZnodePath, names: &Arc<Vec<String>>) {
        self.table().edit_believed(dir, |believed| believed.listed(names));
    }

    /// Tells whether those who watch the directory above a path believe in the name; none when that is not known.
    pub fn believes(&self, path: &ZnodePath) -> Option<bool> {
        let parent = path.parent()?;
        let table = self.table();
        let mut dirs = table.here(&parent).filter_map(|(_, inode)| inode.believed.as_deref());
        let first = dirs.next()?;
        (!first.is_lost()).then(|| first.has(path.name()) || dirs.any(|believed| believed.has(path.name())))
    }

    /// The names in a directory that those who watch it believe in, and whether these are all.
    pub fn believed(&self, ino: Ino) -> (Vec<String>, bool) {
        let table = self.table();
        let believed = table.inodes.get(&ino).and_then(|inode| inode.believed.as_deref());
        believed.map_or((Vec::new(), true), |believed| (believed.names(), !believed.is_lost()))
    }
}
