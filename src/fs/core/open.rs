//! Opening and closing files.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Mutex as AsyncMutex;

use super::lookup::is_same;
use super::{Caller, Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Access, Cursor, Fh, Handle, OpenFile, OpenScratch, OpenText};
use crate::fs::inode::{Face, Ino, Node};
use crate::fs::lock::LockMark;
use crate::fs::options::Commit;
use crate::mapping::{Kind, SessionId, Stat, View, ZnodePath};
use crate::session::{SessionState, Store};

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
            Face::Tag(_) | Face::Draft(_) => return Err(Errno::ESTALE),
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
                let (path, text) = (node.path, AsyncMutex::new(text));
                Handle::Text(OpenText { path, view: *view, access, text, lock: LockMark::default() })
            }
            // It may be opened for writing, as fcntl(2) wants it for an exclusive lock and `9>` in a shell does it.
            Face::View(View::Lock) => {
                let (path, text) = (node.path, AsyncMutex::default());
                Handle::Text(OpenText { path, view: View::Lock, access, text, lock: LockMark::default() })
            }
            Face::View(View::Events) => {
                if access.write {
                    return Err(Errno::EACCES);
                }
                Handle::Events(self.open_stream(&node.path)?)
            }
            Face::View(View::Txn) => return Err(Errno::ENOENT),
            Face::File | Face::View(View::Data | View::Version(_)) => {
                return self.open_znode(ino, &node, access, caller).await;
            }
        };
        self.changes.inodes.open(ino);
        let stream = matches!(handle, Handle::Events(_));
        Ok(Opened { fh: self.handles.insert(ino, handle), stream })
    }

    async fn open_znode(&self, ino: Ino, node: &Node, access: Access, caller: Caller) -> Result<Opened> {
        // Who opens a file for reading can read it, whatever happens to it before the first read.
        let found = if access.read && !access.truncate {
            self.read_znode(&node.path).await.map(|(data, stat)| (Some(data), stat))
        } else {
            self.stat(&node.path).await.map(|stat| (None, stat))
        };
        let (data, stat) = match found {
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
        let how = OpenAs { guard, gather: access.truncate && self.is_backed_up(node, caller), ..OpenAs::default() };
        let opened = self.open_file(ino, &stat, access, how);
        if let Some(Handle::File(file)) = self.handles.get(opened.fh).as_deref() {
            let mut cursor = file.cursor.lock().await;
            cursor.claim = access.truncate.then(|| file.file.truncate());
            cursor.opened = data.map(|data| Box::new((data, stat)));
        }
        Ok(opened)
    }

    /// vim has just made a backup of the file, and will write it piece by piece.
    fn is_backed_up(&self, node: &Node, caller: Caller) -> bool {
        self.scratch.has_backup_by(&node.path, caller.pid)
    }

    /// Adds a handle on a znode with this Stat.
    pub(super) fn open_file(&self, ino: Ino, stat: &Stat, access: Access, how: OpenAs) -> Opened {
        let session = self.store.session().id;
        let ours = stat.is_ephemeral() && stat.ephemeral_owner == session && session != SessionId::NONE;
        self.open_as(ino, access, OpenAs { owner: ours.then_some(session), ..how }, Some(stat))
    }

    /// Adds a handle.
    pub(super) fn open_as(&self, ino: Ino, access: Access, how: OpenAs, stat: Option<&Stat>) -> Opened {
        let inodes = &self.changes.inodes;
        inodes.open(ino);
        let made = stat.filter(|_| how.made).map(|stat| (bytes::Bytes::new(), *stat));
        let handle = OpenFile {
            ino,
            access,
            guard: how.guard,
            owner: how.owner,
            held: how.held,
            gather: how.gather || self.options.commit == Commit::Close,
            // What a version holds does not change: its truncation by one is not seen by the others.
            file: if how.guard.is_some() { Arc::default() } else { inodes.file(ino) },
            fresh: AtomicBool::new(how.made),
            cursor: AsyncMutex::new(Cursor { base: made, ..Cursor::default() }),
            lock: LockMark::default(),
        };
        Opened { fh: self.handles.insert(ino, Handle::File(Box::new(handle))), stream: false }
    }

    /// The last descriptor of an open file is closed. What waits for it is committed; close(2) has long returned, so
    /// a failure is only logged.
    pub async fn release(&self, fh: Fh) {
        let Some((ino, handle)) = self.handles.remove(fh) else { return };
        match &*handle {
            Handle::File(file) if file.held => self.release_held(file).await,
            Handle::File(file) => {
                if let Err(error) = self.commit(file, true).await {
                    let path = self.changes.inodes.node(ino).map(|node| node.path);
                    tracing::error!(?path, %error, "what was written at last is not saved");
                }
                self.drafts.end(ino, None);
            }
            _ => {}
        }
        self.unlock_handle(fh).await;
        self.changes.inodes.close(ino);
    }

    /// Deletes a held file. Until the first wait, this is done by the thread that took the kernel's request, before it
    /// takes another one: nobody who looks afterwards finds the file or its tag.
    async fn release_held(&self, file: &OpenFile) {
        let node = self.changes.inodes.node(file.ino).filter(|node| node.face == Face::File);
        let retirement = node.map(|node| {
            self.drafts.forget_made(&node.path);
            self.retiring.begin(node.path)
        });
        {
            // A write whose caller was interrupted may still be under way.
            let _turn = file.file.write.lock().await;
            self.drafts.end(file.ino, None);
        }
        if let Some(node) = self.changes.inodes.node(file.ino) {
            self.retract(&node).await;
        }
        drop(retirement);
    }

    /// Waits while a held file of this path is being deleted.
    pub(super) async fn retired(&self, path: &ZnodePath) -> Result<()> {
        tokio::time::timeout(self.options.timeout, self.retiring.gone(path)).await.map_err(|_| Errno::ETIMEDOUT)
    }

    /// A close(2) of one descriptor of an open file; there may be others. Only writes that wait for it are committed,
    /// and no truncation: shells close their first descriptor before they write to the second.
    pub async fn flush(&self, fh: Fh, caller: Caller) -> Result<()> {
        match &*self.handle(fh)? {
            Handle::File(file) if self.abandons(file.ino, caller) => {
                self.turn(&file.cursor).await?.failed = true;
                Ok(())
            }
            Handle::File(file) if file.gather => self.commit_writes(file).await,
            _ => Ok(()),
        }
    }

    /// Commits what waits, has the server catch up with the leader, and drops what is cached at and below the file.
    pub async fn fsync(&self, ino: Ino, fh: Option<Fh>) -> Result<()> {
        let handle = fh.and_then(|fh| self.handles.get(fh));
        self.check_locks(handle.as_deref().and_then(Handle::lock))?;
        if let Some(Handle::File(file)) = handle.as_deref() {
            self.check_alive(file)?;
            self.commit(file, false).await?;
        }
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        if matches!(node.face, Face::Scratch(_)) {
            return Ok(());
        }
        self.remote(&node.path).sync(&node.path).await?;
        self.changes.cache.forget_below(&node.path);
        Ok(())
    }

    /// Fails when the session that an open ephemeral belongs to is gone, or a lock that was taken through the handle.
    pub(super) fn check_alive(&self, file: &OpenFile) -> Result<()> {
        match file.owner {
            Some(owner) if self.is_lost(owner) => Err(Errno::EIO),
            _ => self.check_locks(Some(&file.lock)),
        }
    }

    /// Tells whether a session is gone. Between a loss and the next session the last one is still shown.
    fn is_lost(&self, session: SessionId) -> bool {
        let now = self.store.session();
        now.id != session || now.state == SessionState::Lost
    }

    /// Fails when an open inode is an ephemeral whose session is gone: what the kernel asks by inode, a program may have
    /// asked by a path, and is to look that up again.
    pub(super) fn check_inode(&self, ino: Ino) -> Result<()> {
        let lost = self.changes.inodes.is_open(ino) && self.handles.owner(ino).is_some_and(|owner| self.is_lost(owner));
        if lost { Err(Errno::ESTALE) } else { Ok(()) }
    }
}

/// How a file is opened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct OpenAs {
    /// The only version that the handle may touch.
    pub guard: Option<i32>,
    /// The znode is deleted when the handle is closed.
    pub held: bool,
    /// It was made by this open.
    pub made: bool,
    /// The session that the handle ends with.
    pub owner: Option<SessionId>,
    /// Writes wait for the close.
    pub gather: bool,
}
