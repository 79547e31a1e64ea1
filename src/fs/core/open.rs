//! Opening and closing files.

use std::sync::atomic::AtomicBool;

use tokio::sync::Mutex as AsyncMutex;

use super::lookup::is_same;
use super::{Caller, Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Access, Cursor, Fh, Handle, OpenFile, OpenScratch, OpenText};
use crate::fs::inode::{Face, Ino, Node};
use crate::fs::options::Commit;
use crate::mapping::{Kind, SessionId, Stat, View, Zxid};
use crate::session::Store;

/// An open file.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// The handle.
    pub fh: Fh,
    /// It is read from front to end, as a pipe is.
    pub stream: bool,
}

impl<S: Store> Core<S> {
    /// Opens a file.
    ///
    /// # Errors
    /// `ESTALE` when that incarnation is gone or has become a directory, on which the kernel looks the name up again;
    /// `EROFS`.
    pub async fn open(&self, ino: Ino, flags: i32, caller: Caller) -> Result<Opened> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        let access = Access::from_flags(flags);
        if access.write {
            self.check_writable(&node.path)?;
        }
        let handle = match &node.face {
            Face::Directory | Face::View(View::Dir) => return Err(Errno::EISDIR),
            Face::Tag(_) => return Err(Errno::EINVAL),
            Face::Scratch(id) => {
                if access.truncate && !self.scratch.edit(&node.path, *id, |_| Vec::new()) {
                    return Err(Errno::ENOSPC);
                }
                Handle::Scratch(OpenScratch { ino, id: *id, access })
            }
            Face::View(view @ (View::Stat | View::Acl | View::Session | View::Ephemerals | View::Metrics)) => {
                if access.write && *view != View::Acl {
                    return Err(Errno::EACCES);
                }
                let text = if access.truncate { Vec::new() } else { self.view_text(&node.path, *view).await? };
                Handle::Text(OpenText { path: node.path, view: *view, access, text: AsyncMutex::new(text) })
            }
            Face::View(View::Lock | View::Events | View::Txn) => return Err(Errno::ENOENT),
            Face::File | Face::View(View::Data | View::Version(_)) => {
                return self.open_znode(ino, &node, access, caller).await;
            }
        };
        self.changes.inodes.open(ino);
        Ok(Opened { fh: self.handles.insert(ino, handle), stream: false })
    }

    async fn open_znode(&self, ino: Ino, node: &Node, access: Access, caller: Caller) -> Result<Opened> {
        let stat = match self.stat(&node.path).await {
            Err(Errno::ENOENT) => return Err(Errno::ESTALE),
            result => result?,
        };
        if !is_same(node, &stat) || node.face == Face::File && stat.kind() != Kind::File {
            return Err(Errno::ESTALE);
        }
        let guard = match node.face {
            Face::View(View::Version(version)) if version != stat.version => return Err(Errno::ESTALE),
            Face::View(View::Version(version)) => Some(version),
            _ => None,
        };
        let opened = self.open_file(ino, &stat, access, OpenAs { guard, ..OpenAs::default() }, caller);
        if access.truncate {
            self.changes.inodes.file(ino).set_truncated(true);
        }
        Ok(opened)
    }

    /// Adds a handle on a znode with this Stat.
    pub(super) fn open_file(&self, ino: Ino, stat: &Stat, access: Access, how: OpenAs, caller: Caller) -> Opened {
        let inodes = &self.changes.inodes;
        let path = inodes.node(ino).map(|node| node.path);
        let backed_up = path.is_some_and(|path| self.scratch.has_backup_by(&path, caller.pid));
        let session = self.store.session().id;
        let ours = stat.is_ephemeral() && stat.ephemeral_owner == session && session != SessionId::NONE;
        inodes.open(ino);
        let handle = OpenFile {
            ino,
            access,
            guard: how.guard,
            owner: ours.then_some(session),
            held: how.held,
            gather: self.options.commit == Commit::Close || access.truncate && backed_up,
            file: inodes.file(ino),
            fresh: AtomicBool::new(how.made),
            cursor: AsyncMutex::new(Cursor {
                base: how.made.then(|| (bytes::Bytes::new(), *stat)),
                ..Cursor::default()
            }),
        };
        Opened { fh: self.handles.insert(ino, Handle::File(handle)), stream: false }
    }

    /// The last descriptor of an open file is closed. What waits for it is committed; close(2) has long returned, so
    /// a failure is only logged.
    pub async fn release(&self, fh: Fh) {
        let Some((ino, handle)) = self.handles.remove(fh) else { return };
        if let Handle::File(file) = &*handle {
            if let Err(error) = self.commit(file).await {
                let path = self.changes.inodes.node(ino).map(|node| node.path);
                tracing::error!(?path, %error, "what was written at last is not saved");
            }
            if let Some(czxid) = file.held {
                self.let_go(file, czxid).await;
            }
        }
        self.changes.inodes.close(ino);
    }

    /// Deletes a held znode, if it still is that incarnation.
    async fn let_go(&self, file: &OpenFile, czxid: Zxid) {
        let Some(node) = self.changes.inodes.node(file.ino) else { return };
        let held = match self.stat(&node.path).await {
            Ok(stat) => stat.czxid == czxid || node.czxid == crate::fs::inode::ANY,
            // Not known: the owner is checked by nobody else, but the incarnation is of our own session.
            Err(error) => error != Errno::ENOENT,
        };
        if held && let Err(error) = self.remote(&node.path).delete(&node.path, None).await {
            tracing::warn!(path = %node.path, %error, "a held znode could not be deleted, its session will end it");
        }
    }

    /// A close(2) of one descriptor of an open file; there may be others. Only writes that wait for it are committed,
    /// and no truncation: shells close their first descriptor before they write to the second.
    pub async fn flush(&self, fh: Fh) -> Result<()> {
        match &*self.handle(fh)? {
            Handle::File(file) if file.gather => self.commit_writes(file).await,
            _ => Ok(()),
        }
    }

    /// Commits what waits, has the server catch up with the leader, and drops what is cached at and below the file.
    pub async fn fsync(&self, ino: Ino, fh: Option<Fh>) -> Result<()> {
        if let Some(Handle::File(file)) = fh.and_then(|fh| self.handles.get(fh)).as_deref() {
            self.commit(file).await?;
        }
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        if matches!(node.face, Face::Scratch(_)) {
            return Ok(());
        }
        self.remote(&node.path).sync(&node.path).await?;
        self.changes.cache.forget_below(&node.path);
        Ok(())
    }

    /// Fails when the session that an open ephemeral belongs to is gone.
    pub(super) fn check_alive(&self, file: &OpenFile) -> Result<()> {
        match file.owner {
            Some(owner) if self.store.session().id != owner => Err(Errno::EIO),
            _ => Ok(()),
        }
    }
}

/// How a file is opened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct OpenAs {
    /// The only version that the handle may touch.
    pub guard: Option<i32>,
    /// The incarnation to delete when the handle is closed.
    pub held: Option<Zxid>,
    /// It was made by this open.
    pub made: bool,
}
