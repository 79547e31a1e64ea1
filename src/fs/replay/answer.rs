//! Answers to the requests that the thread that performs causes, from what the act says.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use super::act::{Act, Deed, Step};
use super::stage::Stage;
use crate::error::Errno;
use crate::fs::attributes::Attributes;
use crate::fs::changes::Changes;
use crate::fs::core::{Attr, Entry, Result};
use crate::fs::handle::Fh;
use crate::fs::inode::{Ino, Inodes, Known};
use crate::fs::own::Mark;

/// The handle of the thread's open file.
pub const FH: Fh = Fh(u64::MAX);

impl Stage {
    /// The step that a name in a directory is, and whether it is the last.
    ///
    /// # Errors
    /// `ESTALE` when the kernel is in another incarnation of the directory, on which it looks up the whole path again.
    fn step(&self, dir: Ino, name: &OsStr) -> Result<(Step, bool, Arc<Act>)> {
        let act = self.act().ok_or(Errno::ESTALE)?;
        let at = act.steps.iter().position(|step| step.dir == dir && step.name == name).ok_or(Errno::ESTALE)?;
        let step = act.steps.get(at).cloned().ok_or(Errno::ESTALE)?;
        Ok((step, at + 1 == act.steps.len(), act))
    }

    /// Looks once more before the kernel tells of a name that came or went. It holds the directory's lock by now, so what
    /// its own programs did to the name is done and known, or comes after this.
    ///
    /// # Errors
    /// `ENOENT` when one of them has removed it since it was seen. An inode that was there before that one, and that somebody
    /// may watch, is told to be gone all the same.
    fn check(&self, changes: &Changes, step: &Step, seen: Mark) -> Result<()> {
        let path = &step.node.path;
        let is_other = |known: &Known| known.ino == step.ino && known.is_watchable();
        if changes.own.has_removed(path, seen) && !changes.inodes.known(path).iter().any(is_other) {
            self.outrun();
            return Err(Errno::ENOENT);
        }
        Ok(())
    }

    /// Looks a name up.
    ///
    /// # Errors
    /// `ENOENT` for what is about to be made, whether it is there or not.
    pub fn lookup(&self, inodes: &Inodes, dir: Ino, name: &OsStr) -> Result<Entry> {
        let (step, last, act) = self.step(dir, name)?;
        if last {
            self.look_up();
            if act.deed.makes() {
                return Err(Errno::ENOENT);
            }
        }
        Ok(entry(inodes, step))
    }

    /// Makes a file or directory.
    ///
    /// # Errors
    /// `ENOENT` when this mount has removed it since it was seen.
    pub fn make(&self, changes: &Changes, dir: Ino, name: &OsStr) -> Result<Entry> {
        match self.step(dir, name)? {
            (step, true, act) if act.deed.makes() => {
                self.check(changes, &step, act.seen)?;
                Ok(entry(&changes.inodes, step))
            }
            _ => Err(Errno::ESTALE),
        }
    }

    /// Removes a file or directory.
    ///
    /// # Errors
    /// `ESTALE` unless the name was looked up for this act: the kernel may have another incarnation in mind. `ENOENT` when
    /// this mount has removed it since it was seen.
    pub fn remove(&self, changes: &Changes, dir: Ino, name: &OsStr) -> Result<()> {
        match self.step(dir, name)? {
            (step, true, act) if act.deed.removes() && self.is_looked_up() => {
                self.check(changes, &step, act.seen)?;
                if changes.own.has_made(&step.node.path) {
                    self.succeed();
                }
                Ok(())
            }
            _ => Err(Errno::ESTALE),
        }
    }

    /// Opens a file.
    pub fn open_file(&self, ino: Ino) -> Result<Fh> {
        let act = self.act().ok_or(Errno::ESTALE)?;
        match act.last() {
            Some(step) if act.deed == Deed::Modify && step.ino == ino => Ok(FH),
            _ => Err(Errno::ESTALE),
        }
    }

    /// The attributes of an inode, for whatever the kernel asks or sets; `root` are those of the root.
    pub fn attributes(&self, ino: Ino, root: Attributes) -> Result<Attr> {
        let act = self.act();
        let mut steps = act.iter().flat_map(|act| &act.steps);
        let attributes = match steps.find(|step| step.ino == ino) {
            Some(step) => step.attributes,
            None if ino == Ino::ROOT => root,
            None => return Err(Errno::ESTALE),
        };
        Ok(Attr { attributes, ttl: Duration::ZERO })
    }
}

/// Counts a look-up. The kernel may keep nothing of it.
fn entry(inodes: &Inodes, step: Step) -> Entry {
    inodes.look_up_to_tell(step.ino, step.node);
    Entry { attributes: step.attributes, ttl: Duration::ZERO }
}
