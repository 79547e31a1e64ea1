//! Removing files and directories. Nothing is ever removed recursively.

use std::ffi::OsStr;

use super::{Core, Result, Target};
use crate::error::Errno;
use crate::fs::inode::Ino;
use crate::mapping::{Kind, View, ZnodePath};
use crate::session::{Change, Store, StoreError};

impl<S: Store> Core<S> {
    /// Removes a file: one delete.
    ///
    /// # Errors
    /// `EISDIR` when it has become a directory, `ESTALE` for `NAME@v=` at another version.
    pub async fn unlink(&self, parent: Ino, name: &OsStr) -> Result<()> {
        let (path, version, named) = match self.target(parent, name).await? {
            Target::Znode(path) => (path, None, true),
            target @ Target::Create { .. } => (self.existing(target).await?, None, false),
            Target::View(path, View::Version(version)) => (path, Some(version), false),
            Target::View(..) => return Err(Errno::EPERM),
        };
        self.check_writable(&path)?;
        match self.stat(&path).await {
            Ok(stat) if stat.kind() == Kind::Directory => return Err(Errno::EISDIR),
            Err(Errno::ENOENT) if self.scratch.remove(&path).is_some() => return Ok(()),
            Err(Errno::ENOENT) => return Err(Errno::ENOENT),
            // Whoever may not read it may still be allowed to delete it.
            _ => {}
        }
        for ino in self.changes.inodes.truncated_at(&path) {
            self.changes.inodes.file(ino).settle();
        }
        match self.delete(&path, version, named).await {
            Err(Errno::ENOTEMPTY) => Err(Errno::EISDIR),
            result => result,
        }
    }

    /// Removes a directory: one delete.
    ///
    /// # Errors
    /// `ENOTEMPTY` comes from the server, which decides at the moment of the delete.
    pub async fn rmdir(&self, parent: Ino, name: &OsStr) -> Result<()> {
        let (path, named) = match self.target(parent, name).await? {
            Target::Znode(path) => (path, true),
            Target::View(path, View::Dir) => (path, false),
            Target::Create { path, flags } if flags.looks_up() => (path, false),
            Target::Create { .. } => return Err(Errno::ENOENT),
            Target::View(..) => return Err(Errno::ENOTDIR),
        };
        self.check_writable(&path)?;
        if let Ok(stat) = self.stat(&path).await
            && stat.kind() == Kind::File
        {
            return Err(Errno::ENOTDIR);
        }
        if !self.scratch.list(&path).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.delete(&path, None, named).await
    }

    /// Deletes a znode. `named` says that the kernel knows it by its own name.
    async fn delete(&self, path: &ZnodePath, version: Option<i32>, named: bool) -> Result<()> {
        let own = if named { vec![(path.clone(), Change::Deleted)] } else { Vec::new() };
        let own = self.changes.own(own);
        match self.remote(path).delete(path, version).await {
            Ok(()) => {
                own.applied();
                self.came_or_went(path);
                Ok(())
            }
            Err(StoreError::NoNode) => {
                self.changes.cache.forget(path);
                Err(Errno::ENOENT)
            }
            Err(error) => Err(self.lost(path, error)),
        }
    }
}
