//! From what is to be told to the system call that tells it, and the way there from the mount's root.

use std::collections::HashSet;
use std::ffi::OsString;

use super::act::{Act, Deed, Outcome, Step};
use super::teller::{Ended, Found, Goes, Now, Teller};
use crate::fs::inode::{Face, Ino, Known, Node};
use crate::fs::own::Mark;
use crate::mapping::path::NAME_MAX;
use crate::mapping::{Stat, View, ZnodePath};
use crate::session::Store;

impl<S: Store> Teller<S> {
    /// Tells that a znode is there that was seen then.
    pub(super) fn make(&mut self, node: Node, stat: &Stat, seen: Mark) -> Goes {
        let (mut node, mut stat, mut seen) = (node, *stat, seen);
        loop {
            let deed = match node.face {
                Face::Directory => Deed::MakeDir,
                _ => Deed::Create { write: stat.mzxid > stat.czxid },
            };
            if !matches!(self.act(deed, node.clone(), &stat, seen)?, Outcome::Outrun) {
                break;
            }
            // This mount has removed it, or one before it.
            let path = node.path.clone();
            match self.look_at(&path)? {
                Some(Found { now: Now::Is(now), seen: then, .. }) if !self.changes.own.has_made(&path) => {
                    (node, stat, seen) = (Node::of(&path, &now), now, then);
                }
                _ => return Ok(()),
            }
        }
        self.changes.inodes.tell_name(&node.path, true);
        self.recent.is(node, stat.mzxid, seen);
        Ok(())
    }

    pub(super) fn set(&mut self, node: Node, stat: &Stat, seen: Mark) -> Goes {
        self.act(Deed::Modify, node.clone(), stat, seen)?;
        self.recent.is(node, stat.mzxid, seen);
        Ok(())
    }

    /// The data of a directory is the file `@data` in it.
    pub(super) fn set_data_of_directory(&mut self, path: &ZnodePath, stat: &Stat, seen: Mark) -> Goes {
        let node = Node { path: path.clone(), czxid: stat.czxid, face: Face::View(View::Data) };
        self.act(Deed::Modify, node, stat, seen)?;
        self.recent.is(Node::of(path, stat), stat.mzxid, seen);
        Ok(())
    }

    /// Tells that an incarnation is gone, as was seen then.
    pub(super) fn remove(&mut self, node: Node, seen: Mark) -> Goes {
        let deed = if node.face == Face::Directory { Deed::RemoveDir } else { Deed::Unlink };
        let (ino, path) = (self.ino_of(&node), node.path.clone());
        let outcome = self.act(deed, node, &Stat::default(), seen)?;
        self.changes.inodes.tell_gone(ino);
        if let Outcome::Outrun = outcome {
            return Ok(());
        }
        self.changes.inodes.tell_name(&path, false);
        self.recent.is_gone(&path);
        if let Outcome::Told { succeeded: true } = outcome
            && let Some(Found { now: Now::Is(stat), seen, .. }) = self.look_at(&path)?
        {
            // They were told of the end of the last one after the creation of this one.
            self.make(Node::of(&path, &stat), &stat, seen)?;
        }
        Ok(())
    }

    /// Tells that an ACL was changed, or that something in a directory was missed.
    pub(super) fn touch(&self, node: Node) -> Goes {
        self.act(Deed::Touch, node, &Stat::default(), Mark::default()).map(drop)
    }

    /// Has an act performed that tells of what was seen then.
    pub(super) fn act(&self, deed: Deed, node: Node, stat: &Stat, seen: Mark) -> Goes<Outcome> {
        let above = if is_data(&node) { Some(node.path.clone()) } else { node.path.parent() };
        let mut dirs = above.map(|above| self.changes.inodes.known(&above)).unwrap_or_default();
        dirs.retain(Known::is_watchable_dir);
        if dirs.len() < 2 {
            return self.act_in(deed, node, stat, seen, None);
        }
        // A directory that was renamed here, and the new incarnation of it that was looked up since: both may be watched.
        let mut outcome = Outcome::Told { succeeded: false };
        for dir in dirs {
            outcome = self.act_in(deed, node.clone(), stat, seen, Some(dir))?;
        }
        Ok(outcome)
    }

    fn act_in(&self, deed: Deed, node: Node, stat: &Stat, seen: Mark, dir: Option<Known>) -> Goes<Outcome> {
        let path = node.path.clone();
        let Some(steps) = self.steps(node, stat, dir)? else { return Ok(Outcome::Told { succeeded: false }) };
        let outcome = self.stage.perform(Act { deed, steps, seen }).ok_or(Ended)?;
        match &outcome {
            Outcome::Failed(error) => tracing::debug!(%path, ?deed, %error, "nobody is told"),
            outcome => tracing::trace!(%path, ?deed, ?outcome, "told"),
        }
        Ok(outcome)
    }

    /// The inode that a node is or will be.
    pub(super) fn ino_of(&self, node: &Node) -> Ino {
        let known = self.changes.inodes.known(&node.path);
        known.iter().rev().find(|known| known.node == *node).map_or_else(|| node.ino(), |known| known.ino)
    }

    /// The way from the root to a node, whose directory is `last` if that is given; none when there is no way.
    fn steps(&self, node: Node, stat: &Stat, last: Option<Known>) -> Goes<Option<Vec<Step>>> {
        let mut above = Vec::new();
        let mut next = if is_data(&node) { Some(node.path.clone()) } else { node.path.parent() };
        while let Some(path) = next.filter(|path| !path.is_root()) {
            next = path.parent();
            above.push(path);
        }
        let mut steps = Vec::new();
        let mut dir = Ino::ROOT;
        for path in above.into_iter().rev() {
            let known = match &last {
                Some(last) if last.node.path == path => Some(last.clone()),
                _ => self.directory(&path),
            };
            let (ino, node) = match known {
                Some(known) => (known.ino, known.node),
                // The kernel has forgotten it, and yet knows what is below.
                None => match self.look(HashSet::from([path.clone()]))?.get(&path) {
                    Some(Found { now: Now::Is(stat), .. }) => {
                        let node = Node { path: path.clone(), czxid: stat.czxid, face: Face::Directory };
                        (node.ino(), node)
                    }
                    _ => return Ok(None),
                },
            };
            let name = self.core.shown(path.name());
            let Some(step) = self.step(dir, name, ino, node, &Stat::default()) else { return Ok(None) };
            dir = ino;
            steps.push(step);
        }
        if node.path.is_root() && !is_data(&node) {
            return Ok(Some(steps));
        }
        let (name, ino) = match is_data(&node) {
            true => (self.core.shown_view("data"), node.ino()),
            false => (self.core.shown(node.path.name()), self.ino_of(&node)),
        };
        let Some(step) = self.step(dir, name, ino, node, stat) else { return Ok(None) };
        steps.push(step);
        Ok(Some(steps))
    }

    /// The directory at a path, as the kernel knows it.
    fn directory(&self, path: &ZnodePath) -> Option<Known> {
        let known = self.changes.inodes.known(path);
        known.into_iter().rev().find(|known| !known.gone && known.node.face == Face::Directory)
    }

    fn step(&self, dir: Ino, name: String, ino: Ino, node: Node, stat: &Stat) -> Option<Step> {
        if name.len() > NAME_MAX {
            return None;
        }
        let attributes = self.core.paint(ino, &node, stat);
        Some(Step { dir, name: OsString::from(name), ino, node, attributes })
    }
}

/// Tells whether this is the data of a directory, which is shown as a file in it.
fn is_data(node: &Node) -> bool {
    node.face == Face::View(View::Data)
}
