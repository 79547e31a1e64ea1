//! The file system's operations, on a store and without the kernel.
//!
//! One file a family of operations. Everything is in terms of inodes, names and handles; [`super::adapter`] translates.

mod attr;
mod commit;
mod create;
mod data;
mod events;
mod link;
mod list;
mod lock;
mod lookup;
mod metrics;
mod moved;
mod open;
mod remote;
mod remove;
mod rename;
mod resize;
mod retract;
mod sequence;
mod session;
mod subtree;
#[cfg(test)]
pub(in crate::fs) mod tests;
mod view;
mod write;
mod xattr;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard};

pub use self::attr::Wanted;
pub use self::create::Created;
pub use self::list::DirItem;
pub use self::lock::{Lock, Range};
pub(super) use self::lookup::HIDDEN;
pub use self::open::Opened;
pub use self::rename::{RenameMode, Renamed};
pub use self::write::Written;
use super::attributes::{Attributes, Painter};
pub use super::caller::Caller;
use super::changes::Changes;
use super::departures::Departures;
use super::draft::Drafts;
use super::handle::{Fh, Handle, Handles};
use super::inode::Ino;
use super::lock::Locks;
use super::metrics::Metrics;
use super::options::Options;
use super::retiring::Retiring;
use super::scratch::ScratchFiles;
use super::walks::Walks;
use crate::error::Errno;
use crate::mapping::{FileName, Flags, View, ZnodePath};
use crate::session::Store;

/// The result of an operation.
pub type Result<T> = std::result::Result<T, Errno>;

/// How long the kernel may use an entry or attributes without asking, while changes are being announced. It bounds how long a
/// notice that the kernel did not get can mislead.
const TTL: Duration = Duration::from_secs(1);

/// What the kernel is told about a name. Its look-up has been counted.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The attributes.
    pub attributes: Attributes,
    /// How long the name may be used without asking.
    pub ttl: Duration,
}

/// What the kernel is told about an inode.
#[derive(Debug, Clone, Copy)]
pub struct Attr {
    /// The attributes.
    pub attributes: Attributes,
    /// How long they may be used without asking.
    pub ttl: Duration,
}

/// What a name in a directory stands for.
#[derive(Debug)]
enum Target {
    /// A znode.
    Znode(ZnodePath),
    /// A znode to be made.
    Create { path: ZnodePath, flags: Flags },
    /// A view of a znode.
    View(ZnodePath, View),
}

/// The file system.
#[derive(Debug)]
pub struct Core<S> {
    store: Arc<S>,
    changes: Arc<Changes>,
    options: Options,
    painter: Painter,
    handles: Handles,
    scratch: ScratchFiles,
    drafts: Drafts,
    departures: Departures,
    retiring: Retiring,
    walks: Walks,
    locks: Arc<Locks>,
    metrics: Arc<Metrics>,
    mounted: SystemTime,
    /// Znodes that were left out of listings.
    unlistable: AtomicU64,
}

impl<S: Store> Core<S> {
    /// On a store whose sink is `changes`.
    pub fn new(store: Arc<S>, changes: Arc<Changes>, options: Options) -> Core<S> {
        let painter = Painter::new(&options);
        let locks = Arc::new(Locks::default());
        changes.listen(locks.clone());
        let metrics = Arc::new(Metrics::default());
        changes.listen(metrics.clone());
        Core {
            store,
            changes,
            painter,
            options,
            handles: Handles::default(),
            scratch: ScratchFiles::default(),
            drafts: Drafts::default(),
            departures: Departures::default(),
            retiring: Retiring::default(),
            walks: Walks::default(),
            locks,
            metrics,
            mounted: SystemTime::now(),
            unlistable: AtomicU64::default(),
        }
    }

    /// The state that changes of the tree act on.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// The session through which operations go now.
    pub fn session_id(&self) -> crate::mapping::SessionId {
        self.store.session().id
    }

    /// The store that has a path: the one step from a path to its ensemble.
    fn remote(&self, _path: &ZnodePath) -> &S {
        &self.store
    }

    /// How long the kernel may use what it is told.
    fn ttl(&self) -> Duration {
        if self.changes.cache.is_live() { TTL } else { Duration::ZERO }
    }

    /// The path of a directory inode, which is known to be that of its incarnation.
    ///
    /// # Errors
    /// `ESTALE` when that is gone: the path may be another directory's by now. The kernel looks the name up again.
    async fn current_dir(&self, ino: Ino) -> Result<ZnodePath> {
        let path = self.dir(ino)?;
        // The root is always itself, also while ZooKeeper is away: what tells of that is in it.
        if ino == Ino::ROOT {
            return Ok(path);
        }
        if self.changes.cache.is_live() && self.changes.inodes.is_sure(ino) {
            return Ok(path);
        }
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        match self.stat(&path).await {
            Ok(stat) if lookup::is_same(&node, &stat) => self.changes.inodes.assure(ino),
            Ok(_) | Err(Errno::ENOENT) => return Err(Errno::ESTALE),
            // Whoever may not look at it may still be allowed to use it.
            Err(Errno::EACCES) => {}
            Err(error) => return Err(error),
        }
        Ok(path)
    }

    /// The path of a directory inode.
    fn dir(&self, ino: Ino) -> Result<ZnodePath> {
        let node = self.changes.inodes.node(ino).filter(|_| !self.changes.inodes.is_gone(ino)).ok_or(Errno::ESTALE)?;
        match node.face {
            super::inode::Face::Directory | super::inode::Face::View(View::Dir) => Ok(node.path),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Reads a name in a directory.
    async fn target(&self, parent: Ino, name: &std::ffi::OsStr) -> Result<Target> {
        let name = std::os::unix::ffi::OsStrExt::as_bytes(name);
        let dir = self.current_dir(parent).await?;
        if name.len() > crate::mapping::path::NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let parsed = self.options.names.parse(name).inspect_err(|error| {
            tracing::warn!(dir = %dir, name = %String::from_utf8_lossy(name), "refused: {error}");
        })?;
        match parsed {
            FileName::Znode(name) => Ok(Target::Znode(dir.join(&name)?)),
            FileName::Create { base, flags } => Ok(Target::Create { path: dir.join(&base)?, flags }),
            FileName::View { view, .. } if view.is_of_mount() && !dir.is_root() => Err(Errno::ENOENT),
            FileName::View { base: Some(base), view } => Ok(Target::View(dir.join(&base)?, view)),
            FileName::View { base: None, view } => Ok(Target::View(dir, view)),
        }
    }

    /// Refuses a change of a path that is not to be changed through this mount.
    fn check_writable(&self, path: &ZnodePath) -> Result<()> {
        let system = ZnodePath::root().join_raw("zookeeper");
        if self.options.read_only || self.options.guard_system && path.is_within(&system) {
            return Err(Errno::EROFS);
        }
        Ok(())
    }

    /// Waits until it is one's turn. Whoever is before holds it for no longer than one operation, but there may be many.
    ///
    /// # Errors
    /// `ETIMEDOUT` at the deadline, with nothing done.
    async fn turn<'a, T>(&self, of: &'a AsyncMutex<T>) -> Result<AsyncMutexGuard<'a, T>> {
        tokio::time::timeout(self.options.timeout, of.lock()).await.map_err(|_| Errno::ETIMEDOUT)
    }

    fn handle(&self, fh: Fh) -> Result<Arc<Handle>> {
        self.handles.get(fh).ok_or(Errno::EBADF)
    }

    /// The kernel forgets look-ups of an inode.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        self.changes.inodes.forget(ino, lookups);
    }

    /// Takes back an entry that the kernel could not be told.
    pub fn take_back(&self, entry: &Entry) {
        self.forget(entry.attributes.ino, 1);
    }
}
