//! Open files and directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Mutex as AsyncMutex;

use super::inode::{FileState, Ino};
use super::list::Listing;
use super::lock::LockMark;
use super::streams::Stream;
use crate::mapping::{SessionId, Stat, View, ZnodePath};

/// The number of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fh(pub u64);

/// What a file was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// Every write goes to the end.
    pub append: bool,
    /// What was in it is to be replaced.
    pub truncate: bool,
}

impl Access {
    /// From the flags of open(2).
    pub fn from_flags(flags: i32) -> Access {
        let mode = flags & libc::O_ACCMODE;
        let write = mode != libc::O_RDONLY;
        Access {
            read: mode != libc::O_WRONLY,
            write,
            append: write && flags & libc::O_APPEND != 0,
            truncate: write && flags & libc::O_TRUNC != 0,
        }
    }
}

/// What an open file has read and is about to write.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The version that the handle is based on.
    pub base: Option<(Bytes, Stat)>,
    /// What was there when it was opened for reading: to be read when it is gone before the first read.
    pub opened: Option<Box<(Bytes, Stat)>>,
    /// The end of that version was told, so that the next read may go on with a newer one.
    pub ended: bool,
    /// The handle truncated the file, and has not written since: its first write replaces the whole value.
    pub claim: Option<u64>,
    /// Writes that wait for the close.
    pub dirty: Option<Vec<u8>>,
    /// A write failed: a pending truncation is not to be committed.
    pub failed: bool,
}

/// An open znode.
#[derive(Debug)]
pub struct OpenFile {
    /// Its inode, by which a rename is followed.
    pub ino: Ino,
    /// What it was opened for.
    pub access: Access,
    /// The only version that the handle may touch, for `@v=`.
    pub guard: Option<i32>,
    /// The session that the handle ends with: of an ephemeral of ours.
    pub owner: Option<SessionId>,
    /// The znode is deleted when the handle is closed, for `@h`.
    pub held: bool,
    /// Writes wait for the close.
    pub gather: bool,
    /// What the handles of the file have in common.
    pub file: Arc<FileState>,
    /// Made by this very open, and not written to since.
    pub fresh: AtomicBool,
    /// What it has read and is about to write.
    pub cursor: AsyncMutex<Cursor>,
    /// The locks that were taken through it.
    pub lock: LockMark,
}

/// An open view that is text.
#[derive(Debug)]
pub struct OpenText {
    /// The znode.
    pub path: ZnodePath,
    /// Which view of it.
    pub view: View,
    /// What it was opened for.
    pub access: Access,
    /// The text.
    pub text: AsyncMutex<Vec<u8>>,
    /// The locks that were taken through it.
    pub lock: LockMark,
}

/// An open scratch file.
#[derive(Debug)]
pub struct OpenScratch {
    /// Its inode, by which a rename is followed.
    pub ino: Ino,
    /// The number of the file.
    pub id: u64,
    /// What it was opened for.
    pub access: Access,
}

/// Something open.
#[derive(Debug)]
pub enum Handle {
    /// A file, or a znode through a view of its data.
    File(Box<OpenFile>),
    /// A text.
    Text(OpenText),
    /// A scratch file.
    Scratch(OpenScratch),
    /// A directory.
    Dir(AsyncMutex<Listing>),
    /// A stream of changes.
    Events(Arc<Stream>),
}

impl Handle {
    /// The locks that were taken through it; none for what cannot be locked.
    pub fn lock(&self) -> Option<&LockMark> {
        match self {
            Handle::File(file) => Some(&file.lock),
            Handle::Text(text) => Some(&text.lock),
            Handle::Scratch(_) | Handle::Dir(_) | Handle::Events(_) => None,
        }
    }
}

/// Everything open.
#[derive(Debug, Default)]
pub struct Handles {
    table: Mutex<HashMap<Fh, (Ino, Arc<Handle>)>>,
    last: AtomicU64,
}

impl Handles {
    fn table(&self) -> MutexGuard<'_, HashMap<Fh, (Ino, Arc<Handle>)>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a handle on an inode.
    pub fn insert(&self, ino: Ino, handle: Handle) -> Fh {
        let fh = Fh(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        self.table().insert(fh, (ino, Arc::new(handle)));
        fh
    }

    /// A handle.
    pub fn get(&self, fh: Fh) -> Option<Arc<Handle>> {
        self.table().get(&fh).map(|(_, handle)| handle.clone())
    }

    /// The handles on an inode.
    pub fn of(&self, ino: Ino) -> Vec<Arc<Handle>> {
        self.table().values().filter(|(other, _)| *other == ino).map(|(_, handle)| handle.clone()).collect()
    }

    /// Removes a handle.
    pub fn remove(&self, fh: Fh) -> Option<(Ino, Arc<Handle>)> {
        self.table().remove(&fh)
    }

    /// Tells whether a file was just made by an open that is still there and has not written to it.
    pub fn is_fresh(&self, ino: Ino) -> bool {
        let fresh = |handle: &Handle| matches!(handle, Handle::File(file) if file.fresh.load(Ordering::Relaxed));
        self.table().values().any(|(other, handle)| *other == ino && fresh(handle))
    }

    /// The session that a file ends with, if a handle on it says so.
    pub fn owner(&self, ino: Ino) -> Option<SessionId> {
        let owner = |handle: &Handle| if let Handle::File(file) = handle { file.owner } else { None };
        self.table().values().filter(|(other, _)| *other == ino).find_map(|(_, handle)| owner(handle))
    }

    /// Number of handles.
    pub fn count(&self) -> usize {
        self.table().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_that_of_the_flags() {
        let access = Access::from_flags;
        assert!(!access(libc::O_RDONLY | libc::O_TRUNC | libc::O_APPEND).truncate);
        let append = access(libc::O_WRONLY | libc::O_APPEND);
        assert!(append.append && append.write && !append.read);
        let both = access(libc::O_RDWR | libc::O_TRUNC);
        assert!(both.read && both.write && both.truncate && !both.append);
    }
}
