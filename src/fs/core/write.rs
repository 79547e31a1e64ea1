//! Writing files.
//!
//! A write(2) that returned is a committed setData. A truncation only marks the file, and the first write replaces the
//! whole value, so that nobody ever sees an empty one; with no write at all it is committed by the release or by fsync.
//! Every write but that first one is conditional on the version that the handle is based on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::lookup::is_same;
use super::{Core, Result};
use crate::error::Errno;
use crate::fs::cache::Fresh;
use crate::fs::changes::MARK;
use crate::fs::handle::{Cursor, Fh, Handle, OpenFile, OpenScratch, OpenText};
use crate::fs::inode::{Face, Node};
use crate::mapping::{Acl, Kind, SessionId, Stat, View, ZnodePath, edit};
use crate::session::{Change, CreateMode, Creation, MultiError, Op, OpResult, Store, StoreError, pinned};

/// The longest data that is written, in bytes, whatever the server takes: 255 pages.
///
/// The kernel sends a write(2) in requests of at most 256 pages, counted from the first page that the program's buffer
/// touches. So a write(2) of up to this length is one request, and one over it, whatever its alignment, begins with a
/// request over it: it is refused whole, with the old value intact.
pub const WRITE_LIMIT: usize = 255 * 4096;

/// The first pause of an append that met another writer; it grows with every try.
const BACKOFF: Duration = Duration::from_millis(1);
/// The longest such pause.
const MAX_BACKOFF: Duration = Duration::from_millis(50);

/// By what right a handle writes.
#[derive(Debug, Default)]
struct Right {
    /// The contender of the lock that was taken through it.
    fence: Option<ZnodePath>,
    /// The session that it ends with.
    owner: Option<SessionId>,
}

/// What a write has done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Written {
    /// The number of bytes.
    pub length: usize,
    /// What it has made: a sequential file.
    pub made: Option<Node>,
}

impl<S: Store> Core<S> {
    /// Writes to an open file; the number of bytes is that of all.
    ///
    /// # Errors
    /// `EFBIG` over the size limit, with nothing changed; `ESTALE` when somebody else set the file since the handle
    /// read it, or it is gone; `EIO` when the outcome is unknown or the session of an ephemeral is lost.
    pub async fn write(&self, fh: Fh, offset: u64, data: Bytes) -> Result<Written> {
        let length = data.len();
        let mut made = None;
        match &*self.handle(fh)? {
            Handle::File(file) if !file.access.write => return Err(Errno::EBADF),
            Handle::File(file) => made = self.write_file(file, offset, data).await?,
            Handle::Text(text) => self.write_text(text, offset, &data).await?,
            Handle::Scratch(scratch) => self.write_scratch(scratch, offset, &data)?,
            Handle::Dir(_) => return Err(Errno::EISDIR),
            Handle::Events(_) => return Err(Errno::EBADF),
        }
        Ok(Written { length, made })
    }

    /// What the write has made, if the file was a draft.
    async fn write_file(&self, file: &OpenFile, offset: u64, data: Bytes) -> Result<Option<Node>> {
        let _turn = self.turn(&file.file.write).await?;
        let mut cursor = self.turn(&file.cursor).await?;
        self.check_alive(file)?;
        file.fresh.store(false, Ordering::Relaxed);
        let makes = !file.gather && self.drafts.get(file.ino).is_some();
        let written = match usize::try_from(offset) {
            Ok(offset) if makes => self.write_draft(file, &mut cursor, offset, &data).await,
            Ok(_) if file.access.append && !file.gather => self.append(file, &mut cursor, &data).await,
            Ok(offset) if file.gather => self.gather(file, &mut cursor, offset, &data).await,
            Ok(offset) => self.write_at(file, &mut cursor, offset, &data).await,
            Err(_) => Err(Errno::EFBIG),
        };
        cursor.failed = written.is_err();
        written?;
        Ok(self.changes.inodes.node(file.ino).filter(|_| makes))
    }

    /// Checks the end of a write against the size limit, before anything is allocated for it.
    pub(super) fn check_size(&self, path: &ZnodePath, offset: usize, length: usize) -> Result<()> {
        let limit = self.remote(path).data_limit(path).min(WRITE_LIMIT);
        match offset.checked_add(length) {
            Some(end) if end <= limit => Ok(()),
            _ => Err(Errno::EFBIG),
        }
    }

    pub(super) fn node_of(&self, file: &OpenFile) -> Result<Node> {
        self.changes.inodes.node(file.ino).ok_or(Errno::ESTALE)
    }

    /// The first write of a sequential file makes it.
    async fn write_draft(&self, file: &OpenFile, cursor: &mut Cursor, offset: usize, data: &[u8]) -> Result<()> {
        let node = self.node_of(file)?;
        self.check_size(&node.path, offset, data.len())?;
        let data = Bytes::from(edit::write_at(b"", offset, data));
        let stat = self.make_draft(file.ino, data.clone()).await?;
        cursor.base = Some((data, stat));
        Ok(())
    }

    async fn write_at(&self, file: &OpenFile, cursor: &mut Cursor, offset: usize, data: &[u8]) -> Result<()> {
        let node = self.node_of(file)?;
        self.check_size(&node.path, offset, data.len())?;
        let truncated = cursor.claim.is_some() || file.file.is_truncated();
        let (new, version) = if truncated {
            (edit::write_at(b"", offset, data), file.guard)
        } else {
            let (old, stat) = self.base(file, cursor).await?;
            (edit::write_at(&old, offset, data), Some(stat.version))
        };
        self.check_size(&node.path, 0, new.len())?;
        self.replace(file, cursor, &node, new.into(), version).await
    }

    async fn append(&self, file: &OpenFile, cursor: &mut Cursor, data: &[u8]) -> Result<()> {
        let node = self.node_of(file)?;
        self.check_size(&node.path, 0, data.len())?;
        if cursor.claim.is_some() || file.file.is_truncated() {
            return self.replace(file, cursor, &node, Bytes::copy_from_slice(data), file.guard).await;
        }
        let deadline = Instant::now() + self.options.timeout;
        let mut pause = BACKOFF;
        let mut current = self.read_znode(&node.path).await;
        loop {
            let (old, stat) = match current {
                Ok((_, stat)) if !is_same(&node, &stat) => return Err(Errno::ESTALE),
                Err(Errno::ENOENT) => return Err(Errno::ESTALE),
                result => result?,
            };
            if file.guard.is_some_and(|version| version != stat.version) {
                return Err(Errno::ESTALE);
            }
            self.check_size(&node.path, old.len(), data.len())?;
            let new = Bytes::from([&old[..], data].concat());
            match self.replace(file, cursor, &node, new, Some(stat.version)).await {
                Err(Errno::ESTALE) if Instant::now() < deadline => {}
                result => return result,
            }
            tokio::time::sleep(jitter(pause)).await;
            pause = (pause * 2).min(MAX_BACKOFF);
            current = self.fresh_data(&node.path).await;
        }
    }

    async fn gather(&self, file: &OpenFile, cursor: &mut Cursor, offset: usize, data: &[u8]) -> Result<()> {
        let node = self.node_of(file)?;
        let old = match cursor.dirty.take() {
            Some(dirty) => dirty,
            None if cursor.claim.is_some() => Vec::new(),
            None if file.file.is_truncated() || self.drafts.get(file.ino).is_some() => Vec::new(),
            None => self.base(file, cursor).await?.0.to_vec(),
        };
        let offset = if file.access.append { old.len() } else { offset };
        let fits = self.check_size(&node.path, offset, data.len()).and(self.check_size(&node.path, 0, old.len()));
        cursor.dirty = Some(if fits.is_ok() { edit::write_at(&old, offset, data) } else { old });
        fits
    }

    /// The version that a handle is based on: the one that it read, or now.
    pub(super) async fn base(&self, file: &OpenFile, cursor: &mut Cursor) -> Result<(Bytes, Stat)> {
        match &cursor.base {
            Some(base) => Ok(base.clone()),
            None => self.rebase(file, cursor).await,
        }
    }

    /// Sets the whole value, and bases the handle on it.
    pub(super) async fn replace(
        &self,
        file: &OpenFile,
        cursor: &mut Cursor,
        node: &Node,
        data: Bytes,
        version: Option<i32>,
    ) -> Result<()> {
        // Without a version nothing but this tells the server that another file of that name is not meant.
        if version.is_none() && self.changes.inodes.is_gone(file.ino) {
            return Err(Errno::ESTALE);
        }
        let right = Right { fence: file.lock.fence(), owner: file.owner };
        let stat = self.set_by_right(node, data.clone(), version, right).await?;
        file.file.settle();
        cursor.claim = None;
        cursor.base = Some((data, stat));
        Ok(())
    }

    /// Sets a znode's data. A directory whose data is set stays one.
    ///
    /// # Errors
    /// `ESTALE` at another version, or when the znode is gone.
    pub(super) async fn set_data(&self, node: &Node, data: Bytes, version: Option<i32>) -> Result<Stat> {
        self.set_by_right(node, data, version, Right::default()).await
    }

    /// Sets a znode's data, provided that the right to it still holds.
    ///
    /// # Errors
    /// As [`Core::set_data`], and `EIO` when it does not.
    async fn set_by_right(&self, node: &Node, data: Bytes, version: Option<i32>, right: Right) -> Result<Stat> {
        let Right { fence, owner } = right;
        let path = &node.path;
        let stat = match node.face {
            Face::View(View::Data) => Some(self.stat(path).await?),
            _ => None,
        };
        let bare = stat.is_some_and(|stat| stat.kind() == Kind::Directory && stat.cversion == 0);
        let fenced = fence.is_some();
        let ticket = self.changes.cache.ticket();
        // Through a view the kernel tells of that one only.
        let own = if node.face == Face::File { vec![(path.clone(), Change::Modified)] } else { Vec::new() };
        let own = self.changes.own(own);
        let set = if bare || fenced {
            self.set_in_transaction(path, data.clone(), version, fence, bare).await
        } else {
            let set = self.remote(path).set(path, data.clone(), version);
            let set = match owner {
                Some(session) => pinned(session, set).await,
                None => set.await,
            };
            set.map_err(MultiError::from)
        };
        match set {
            Ok(stat) => {
                self.changes.cache.put(ticket, path, 1, Fresh::Data(data, stat));
                own.applied();
                if version.is_some() && node.face == Face::File && !is_same(node, &stat) {
                    // A znode that is made anew counts its versions anew, and the server compares nothing else.
                    tracing::error!(%path, czxid = %stat.czxid, "a file that was made anew meanwhile has been written over");
                    return Err(Errno::EIO);
                }
                Ok(stat)
            }
            Err(MultiError { index: Some(0), error: StoreError::NoNode }) if fenced => {
                tracing::warn!(%path, "a write was refused, as the lock is lost that was taken through the descriptor");
                Err(Errno::EIO)
            }
            Err(MultiError { error: StoreError::NoNode, .. }) => Err(Errno::ESTALE),
            Err(MultiError { error, .. }) => {
                if matches!(error, StoreError::Unknown | StoreError::Unanswered) {
                    self.changes.cache.forget(path);
                    tracing::warn!(%path, %error, "a write may or may not have been applied");
                }
                Err(error.into())
            }
        }
    }

    /// Sets a znode's data if another znode exists, if one is given. Data would make a file of a bare directory, one that
    /// never had a child, so it gets one, for the moment of the transaction.
    async fn set_in_transaction(
        &self,
        path: &ZnodePath,
        data: Bytes,
        version: Option<i32>,
        fence: Option<ZnodePath>,
        bare: bool,
    ) -> std::result::Result<Stat, MultiError> {
        let mut ops: Vec<Op> = fence.map(|path| Op::Check { path, version: None }).into_iter().collect();
        ops.push(Op::Set { path: path.clone(), data, version });
        if bare {
            let child = path.join_raw(MARK);
            let (mode, acl) = (CreateMode::Persistent, Some(Acl::open()));
            ops.push(Op::Create(Creation { path: child.clone(), data: Bytes::new(), mode, acl }));
            ops.push(Op::Delete { path: child, version: None });
        }
        let results = self.remote(path).multi(&ops).await?;
        let set = results.iter().find_map(|result| if let OpResult::Set(stat) = result { Some(*stat) } else { None });
        set.ok_or_else(|| StoreError::Unexpected("a set without a Stat".to_owned()).into())
    }

    async fn write_text(&self, text: &OpenText, offset: u64, data: &[u8]) -> Result<()> {
        if !text.access.write || text.view != View::Acl {
            return Err(Errno::EBADF);
        }
        let mut whole = self.turn(&text.text).await?;
        let offset =
            if text.access.append { whole.len() } else { usize::try_from(offset).map_err(|_| Errno::EFBIG)? };
        self.check_size(&text.path, offset, data.len())?;
        let new = edit::write_at(&whole, offset, data);
        let stat = self.set_acl_text(&text.path, &new).await?;
        self.changes.answered(&text.path, &stat);
        *whole = new;
        Ok(())
    }

    fn write_scratch(&self, scratch: &OpenScratch, offset: u64, data: &[u8]) -> Result<()> {
        if !scratch.access.write {
            return Err(Errno::EBADF);
        }
        let node = self.changes.inodes.node(scratch.ino).ok_or(Errno::ESTALE)?;
        let offset = usize::try_from(offset).map_err(|_| Errno::EFBIG)?;
        // A scratch file is often a copy to be renamed onto a znode; swap files are larger, and never renamed.
        let end = offset.checked_add(data.len()).filter(|end| *end <= SCRATCH_LIMIT).ok_or(Errno::EFBIG)?;
        debug_assert!(end >= offset);
        if self.scratch.get(&node.path).is_none_or(|found| found.id != scratch.id) {
            // It was removed, or is a znode by now: what is written would be nowhere.
            return Err(Errno::ESTALE);
        }
        let edited = self.scratch.edit(&node.path, scratch.id, |old| {
            let offset = if scratch.access.append { old.len() } else { offset };
            edit::write_at(old, offset, data)
        });
        if edited { Ok(()) } else { Err(Errno::ENOSPC) }
    }
}

/// The longest scratch file, in bytes.
const SCRATCH_LIMIT: usize = 64 << 20;

/// A pause of half to one and a half times this length, so that writers that met once do not meet again.
pub(super) fn jitter(pause: Duration) -> Duration {
    let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8);
    pause / 2 + pause.mul_f64((random % 1000) as f64 / 1000.0)
}
