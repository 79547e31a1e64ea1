//! Making files and directories.

use std::ffi::OsStr;
use std::time::Duration;

use bytes::Bytes;

use super::open::{OpenAs, Opened};
use super::{Caller, Core, Entry, Result, Target};
use crate::error::Errno;
use crate::fs::cache::Fresh;
use crate::fs::handle::{Access, Handle, OpenScratch};
use crate::fs::inode::Ino;
use crate::fs::own::changes_of;
use crate::mapping::{Flags, Lifetime, Stat, ZnodePath};
use crate::session::{Change, CreateMode, Creation, Op, OpResult, Store, StoreError};

/// A made or opened file.
#[derive(Debug, Clone, Copy)]
pub struct Created {
    /// Its name.
    pub entry: Entry,
    /// Its handle.
    pub opened: Opened,
    /// It was made, rather than opened.
    pub made: bool,
}

impl<S: Store> Core<S> {
    /// Opens a new file, or an old one unless the flags say `O_EXCL`.
    ///
    /// # Errors
    /// `EEXIST` comes from the server only: of several creates at the same time, through any mounts, one succeeds.
    pub async fn create(&self, parent: Ino, name: &OsStr, open_flags: i32, caller: Caller) -> Result<Created> {
        let (path, wish) = match self.target(parent, name).await? {
            Target::Znode(path) => (path, None),
            Target::Create { path, flags } => (path, Some(flags)),
            Target::View(..) => return Err(Errno::ENOENT),
        };
        self.check_writable(&path)?;
        let access = Access::from_flags(open_flags);
        if wish.is_none() && self.options.scratch.matches(path.name()) {
            return self.create_scratch(&path, access, open_flags, caller).await;
        }
        if let Some(flags) = wish.as_ref().filter(|flags| flags.sequential) {
            return match self.tagged(&path, flags).await {
                Ok(_) if libc::O_EXCL & open_flags != 0 => Err(Errno::EEXIST),
                // The kernel has a file for the name that is a link by now; it is to look again.
                Ok(_) => Err(Errno::ESTALE),
                Err(Errno::ENOENT) => self.create_draft(&path, flags, access).await,
                Err(error) => Err(error),
            };
        }
        let mode = file_mode(wish.as_ref())?;
        self.retired(&path).await?;
        match self.make_file(&path, Bytes::new(), mode, wish.is_none()).await {
            Ok(stat) => {
                let entry = self.znode_entry(&path, &stat);
                let held = wish.is_some_and(|flags| flags.lifetime == Lifetime::Held);
                let how = OpenAs { held, made: true, ..OpenAs::default() };
                let opened = self.open_file(entry.attributes.ino, &stat, access, how);
                Ok(Created { entry, opened, made: true })
            }
            Err(StoreError::NodeExists) if open_flags & libc::O_EXCL == 0 => {
                let entry = self.look_up_znode(&path).await?;
                match self.open(entry.attributes.ino, open_flags, caller).await {
                    Ok(opened) => Ok(Created { entry, opened, made: false }),
                    Err(error) => {
                        self.take_back(&entry);
                        Err(error)
                    }
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn create_scratch(&self, path: &ZnodePath, access: Access, flags: i32, caller: Caller) -> Result<Created> {
        match self.stat(path).await {
            Err(Errno::ENOENT) => {}
            Ok(_) if flags & libc::O_EXCL != 0 => return Err(Errno::EEXIST),
            Ok(_) => {
                let entry = self.look_up_znode(path).await?;
                let opened = self.open(entry.attributes.ino, flags, caller).await?;
                return Ok(Created { entry, opened, made: false });
            }
            Err(error) => return Err(error),
        }
        if let Some(parent) = path.parent() {
            self.stat(&parent).await?;
        }
        let scratch = match self.scratch.create(path, caller.pid) {
            Some(scratch) => scratch,
            None if flags & libc::O_EXCL != 0 => return Err(Errno::EEXIST),
            None => self.scratch.get(path).ok_or(Errno::ESTALE)?,
        };
        if access.truncate {
            self.scratch.edit(path, scratch.id, |_| Vec::new());
        }
        let entry = self.scratch_entry(path, &scratch);
        let ino = entry.attributes.ino;
        self.changes.inodes.open(ino);
        let fh = self.handles.insert(ino, Handle::Scratch(OpenScratch { ino, id: scratch.id, access }));
        Ok(Created { entry, opened: Opened { fh, stream: false }, made: false })
    }

    /// Makes a file without opening it.
    pub async fn mknod(&self, parent: Ino, name: &OsStr, mode: u32, caller: Caller) -> Result<Entry> {
        if !matches!(mode & libc::S_IFMT, 0 | libc::S_IFREG) {
            return Err(Errno::EPERM);
        }
        let created = self.create(parent, name, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, caller).await?;
        let ino = created.entry.attributes.ino;
        self.release(created.opened.fh).await;
        // A sequential one is only made by now, and its name is not the one that was asked for.
        let attributes = self.getattr(ino).await.map_or(created.entry.attributes, |attr| attr.attributes);
        Ok(Entry { attributes, ..created.entry })
    }

    /// Makes a directory: exactly one create.
    pub async fn mkdir(&self, parent: Ino, name: &OsStr) -> Result<Entry> {
        let (path, wish) = match self.target(parent, name).await? {
            Target::Znode(path) => (path, None),
            Target::Create { path, flags } => (path, Some(flags)),
            Target::View(..) => return Err(Errno::EEXIST),
        };
        self.check_writable(&path)?;
        let mode = directory_mode(wish.as_ref())?;
        if let Some(flags) = wish.as_ref().filter(|flags| flags.sequential) {
            self.check_tag_free(&path, flags).await?;
        }
        self.retired(&path).await?;
        let creation = Creation { path: path.clone(), data: Bytes::new(), mode, acl: None };
        let ticket = self.changes.cache.ticket();
        // The kernel tells of the name that was asked for, which with flags is not the directory's.
        let own = if wish.is_none() { vec![(path.clone(), Change::Created)] } else { Vec::new() };
        let own = self.changes.own(own);
        let (made, stat) = self.remote(&path).create(&creation).await.map_err(|error| self.lost(&path, error))?;
        self.changes.cache.put(ticket, &made, 1, Fresh::Stat(stat));
        own.applied();
        self.came_or_went(&made);
        if let Some(flags) = wish.as_ref().filter(|flags| flags.sequential) {
            self.tag(&path, flags, &made, stat.czxid);
        }
        let entry = self.znode_entry(&made, &stat);
        // The name that was asked for is not the directory's.
        Ok(if mode.is_sequential() { Entry { ttl: Duration::ZERO, ..entry } } else { entry })
    }

    /// Makes a file in one transaction: an empty one with a setData, which tells it from a directory everywhere. `named` says
    /// that the kernel knows it by its own name.
    pub(super) async fn make_file(
        &self,
        path: &ZnodePath,
        data: Bytes,
        mode: CreateMode,
        named: bool,
    ) -> std::result::Result<Stat, StoreError> {
        let ticket = self.changes.cache.ticket();
        let creation = Creation { path: path.clone(), data: data.clone(), mode, acl: None };
        let ops = file_ops(creation);
        let own = self.changes.own(if named { changes_of(&ops) } else { Vec::new() });
        let made = if let [Op::Create(creation)] = &ops[..] {
            self.remote(path).create(creation).await.map(|(_, stat)| stat)
        } else {
            match self.remote(path).multi(&ops).await {
                Ok(results) => match results.last() {
                    Some(OpResult::Set(stat)) => Ok(*stat),
                    _ => Err(StoreError::Unexpected("a set without a Stat".to_owned())),
                },
                Err(error) => Err(error.error),
            }
        };
        match made {
            Ok(stat) => {
                self.changes.cache.put(ticket, path, ops.len(), Fresh::Data(data, stat));
                own.applied();
                self.came_or_went(path);
                Ok(stat)
            }
            Err(error) => {
                self.lost(path, error.clone());
                Err(error)
            }
        }
    }

    /// Logs a change whose outcome is not known, and distrusts what is cached of it.
    pub(super) fn lost(&self, path: &ZnodePath, error: StoreError) -> Errno {
        if matches!(error, StoreError::Unknown | StoreError::Unanswered) {
            self.changes.cache.forget(path);
            if let Some(parent) = path.parent() {
                self.changes.cache.forget_listing(&parent);
            }
            tracing::warn!(%path, %error, "a change may or may not have been applied");
        }
        if let StoreError::Unsupported(what) = error {
            tracing::warn!(%path, "not supported: {what}");
        }
        Errno::from(error)
    }

    /// A child came or went through this mount.
    pub(super) fn came_or_went(&self, path: &ZnodePath) {
        if let Some(parent) = path.parent() {
            self.changes.inodes.touch(&parent);
        }
    }
}

/// The operations that make a file: the create, and for an empty one that would be taken for a directory a setData.
pub(super) fn file_ops(creation: Creation) -> Vec<Op> {
    let bare = creation.data.is_empty() && !creation.mode.is_ephemeral();
    let path = creation.path.clone();
    let mut ops = vec![Op::Create(creation)];
    if bare {
        ops.push(Op::Set { path, data: Bytes::new(), version: None });
    }
    ops
}

/// How a file with these flags in its name is made.
pub(super) fn file_mode(flags: Option<&Flags>) -> Result<CreateMode> {
    match flags.map(|flags| (flags.lifetime, flags.sequential)) {
        None => Ok(CreateMode::Persistent),
        Some((Lifetime::Ephemeral | Lifetime::Held, true)) => Ok(CreateMode::EphemeralSequential),
        Some((_, true)) => Ok(CreateMode::PersistentSequential),
        Some((Lifetime::Container, _)) => Err(Errno::EPERM),
        Some((Lifetime::Persistent, _)) => Ok(CreateMode::Persistent),
        Some((Lifetime::Ephemeral | Lifetime::Held, _)) => Ok(CreateMode::Ephemeral),
        Some((Lifetime::Ttl(ttl), _)) => Ok(CreateMode::Ttl(ttl)),
    }
}

/// How a directory with these flags in its name is made.
fn directory_mode(flags: Option<&Flags>) -> Result<CreateMode> {
    match flags.map(|flags| (flags.lifetime, flags.sequential)) {
        None | Some((Lifetime::Persistent, false)) => Ok(CreateMode::Persistent),
        Some((Lifetime::Persistent, true)) => Ok(CreateMode::PersistentSequential),
        Some((Lifetime::Ephemeral | Lifetime::Held, _)) => Err(Errno::EPERM),
        Some((Lifetime::Container, _)) => Ok(CreateMode::Container),
        Some((Lifetime::Ttl(ttl), _)) => Ok(CreateMode::Ttl(ttl)),
    }
}
