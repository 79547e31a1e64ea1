//! A system call to be performed, and all that is needed to answer the requests that it causes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::fs::attributes::Attributes;
use crate::fs::inode::{Ino, Node};
use crate::fs::own::Mark;

/// What is done, by which the kernel tells what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A file is made, and closed; written to before, if it was set after it was created.
    Create {
        /// It is written to.
        write: bool,
    },
    /// A directory is made.
    MakeDir,
    /// A file is written to, and closed.
    Modify,
    /// A file is removed.
    Unlink,
    /// A directory is removed.
    RemoveDir,
    /// The times of a directory are set: the sign that something in it was missed.
    Touch,
}

impl Deed {
    /// Tells whether the name must not exist before.
    pub fn makes(self) -> bool {
        matches!(self, Deed::Create { .. } | Deed::MakeDir)
    }

    /// Tells whether the kernel must have looked the name up for this very call.
    pub fn removes(self) -> bool {
        matches!(self, Deed::Unlink | Deed::RemoveDir)
    }
}

/// A name on the way from the mount's root to what is acted on, and what it stands for.
#[derive(Debug, Clone)]
pub struct Step {
    /// The directory that the name is in.
    pub dir: Ino,
    /// The name, as it is shown.
    pub name: OsString,
    /// The inode, which after a rename is not what its node says.
    pub ino: Ino,
    /// What it stands for.
    pub node: Node,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A system call to be performed.
#[derive(Debug, Clone)]
pub struct Act {
    /// What is done.
    pub deed: Deed,
    /// The names, from the root on; none for the root itself.
    pub steps: Vec<Step>,
    /// When that was seen which this tells of, on the clock of this mount's own changes.
    pub seen: Mark,
}

/// What came of an act.
#[derive(Debug)]
pub enum Outcome {
    /// The kernel told of it.
    Told {
        /// What was removed had a successor by then, of this mount's own making: those who watch were told of that before.
        succeeded: bool,
    },
    /// This mount itself removed what was at the name since it was seen: those who watch were told so by the kernel.
    Outrun,
    /// The system call failed.
    Failed(io::Error),
}

impl Act {
    /// The path, relative to the mount's root.
    pub fn path(&self) -> OsString {
        let names: Vec<&[u8]> = self.steps.iter().map(|step| step.name.as_bytes()).collect();
        if names.is_empty() { OsString::from(".") } else { OsStr::from_bytes(&names.join(&b'/')).to_owned() }
    }

    /// What is acted on; none for the root.
    pub fn last(&self) -> Option<&Step> {
        self.steps.last()
    }
}
