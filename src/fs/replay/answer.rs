//! Answers to the requests that the thread that performs causes, from what the act says.

use std::ffi::OsStr;
use std::time::Duration;

use super::act::{Deed, Step};
use super::stage::Stage;
use crate::error::Errno;
use crate::fs::attributes::Attributes;
use crate::fs::core::{Attr, Entry, Result};
use crate::fs::handle::Fh;
use crate::fs::inode::{Ino, Inodes};

/// The handle of the thread's open file.
pub const FH: Fh = Fh(u64::MAX);

impl Stage {
    /// The step that a name in a directory is, and whether it is the last.
    ///
    /// # Errors
    /// `ESTALE` when the kernel is in another incarnation of the directory, on which it looks up the whole path again.
    fn step(&self, dir: Ino, name: &OsStr) -> Result<(Step, bool, Deed)> {
        let act = self.act().ok_or(Errno::ESTALE)?;
        let at = act.steps.iter().position(|step| step.dir == dir && step.name == name).ok_or(Errno::ESTALE)?;
        let step = act.steps.get(at).cloned().ok_or(Errno::ESTALE)?;
        Ok((step, at + 1 == act.steps.len(), act.deed))
    }

    /// Looks a name up.
    ///
    /// # Errors
    /// `ENOENT` for what is about to be made, whether it is there or not.
    pub fn lookup(&self, inodes: &Inodes, dir: Ino, name: &OsStr) -> Result<Entry> {
        let (step, last, deed) = self.step(dir, name)?;
        if last {
            self.look_up();
            if deed.makes() {
                return Err(Errno::ENOENT);
            }
        }
        Ok(entry(inodes, step))
    }

    /// Makes a file or directory.
    pub fn make(&self, inodes: &Inodes, dir: Ino, name: &OsStr) -> Result<Entry> {
        match self.step(dir, name)? {
            (step, true, deed) if deed.makes() => Ok(entry(inodes, step)),
            _ => Err(Errno::ESTALE),
        }
    }

    /// Removes a file or directory.
    ///
    /// # Errors
    /// `ESTALE` unless the name was looked up for this act: the kernel may have another incarnation in mind.
    pub fn remove(&self, dir: Ino, name: &OsStr) -> Result<()> {
        match self.step(dir, name)? {
            (_, true, deed) if deed.removes() && self.is_looked_up() => Ok(()),
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
