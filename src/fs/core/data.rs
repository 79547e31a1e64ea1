//! Reading files.
//!
//! A handle reads one version: a pass from offset 0 to the end never mixes two. A newer version may be taken by a read at
//! offset 0, and by one at the end after one that found nothing there, so that `tail -f` goes on. A read that found less than
//! was asked for has not told the end: cat and most libraries read on until they get nothing.

use bytes::Bytes;

use super::lookup::is_same;
use super::{Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Cursor, Fh, Handle, OpenFile};
use crate::mapping::{Stat, View, edit};
use crate::session::{Store, pinned};

impl<S: Store> Core<S> {
    /// Reads from an open file.
    ///
    /// # Errors
    /// `EIO` on an ephemeral whose session is lost, or when a lock is that was taken through the handle; `ESTALE` when the file is gone and was not opened for reading.
    pub async fn read(&self, fh: Fh, offset: u64, size: usize) -> Result<Bytes> {
        match &*self.handle(fh)? {
            Handle::File(file) => self.read_file(file, offset, size).await,
            Handle::Text(text) => {
                self.check_locks(Some(&text.lock))?;
                let mut whole = self.turn(&text.text).await?;
                // The queue at the moment of the read, not of the open: whoever waits for a lock opens it long before.
                if text.view == View::Lock && offset == 0 {
                    *whole = self.view_text(&text.path, text.view).await?;
                }
                Ok(Bytes::copy_from_slice(edit::slice(&whole, offset, size)))
            }
            Handle::Scratch(scratch) => {
                let node = self.changes.inodes.node(scratch.ino).ok_or(Errno::ESTALE)?;
                let found = self.scratch.get(&node.path).filter(|found| found.id == scratch.id);
                let data = found.map(|found| found.data).ok_or(Errno::ESTALE)?;
                Ok(part(&data, offset, size))
            }
            Handle::Dir(_) => Err(Errno::EISDIR),
            Handle::Events(stream) => Ok(stream.read(size).await),
        }
    }

    async fn read_file(&self, file: &OpenFile, offset: u64, size: usize) -> Result<Bytes> {
        self.check_alive(file)?;
        let mut cursor = self.turn(&file.cursor).await?;
        if let Some(dirty) = &cursor.dirty {
            return Ok(Bytes::copy_from_slice(edit::slice(dirty, offset, size)));
        }
        if file.file.is_truncated() {
            // A pass that another program has begun goes on with its version: the beginning alone would be a torn value.
            let begun = cursor.base.as_ref().filter(|_| offset > 0 && cursor.claim.is_none());
            return Ok(begun.map(|(data, _)| part(data, offset, size)).unwrap_or_default());
        }
        if self.drafts.get(file.ino).is_some() {
            return Ok(Bytes::new());
        }
        let at_end = cursor.base.as_ref().is_none_or(|(data, _)| offset >= data.len() as u64);
        if offset == 0 || cursor.base.is_none() || at_end && cursor.ended {
            match file.owner {
                // What waits for a connection does not wait for another session.
                Some(owner) => pinned(owner, self.rebase(file, &mut cursor)).await?,
                None => self.rebase(file, &mut cursor).await?,
            };
        }
        let data = cursor.base.as_ref().map(|(data, _)| data.clone()).unwrap_or_default();
        let read = part(&data, offset, size);
        cursor.ended = read.is_empty();
        Ok(read)
    }

    /// Bases a handle on the current version. When the file is gone, it stays with the last one, or with that of the open.
    pub(super) async fn rebase(&self, file: &OpenFile, cursor: &mut Cursor) -> Result<(Bytes, Stat)> {
        let node = self.changes.inodes.node(file.ino).ok_or(Errno::ESTALE)?;
        let current = match self.read_znode(&node.path).await {
            Ok((data, stat)) if is_same(&node, &stat) => Some((data, stat)),
            Ok(_) | Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        match (current, &cursor.base, file.guard) {
            (Some((_, stat)), _, Some(version)) if stat.version != version => Err(Errno::ESTALE),
            (Some(current), _, _) => {
                cursor.base = Some(current.clone());
                cursor.opened = None;
                Ok(current)
            }
            (None, Some(last), _) => Ok(last.clone()),
            (None, None, _) => {
                cursor.base = cursor.opened.take().map(|opened| *opened);
                cursor.base.clone().ok_or(Errno::ESTALE)
            }
        }
    }
}

/// The part of `data` that a read gives, without a copy.
fn part(data: &Bytes, offset: u64, size: usize) -> Bytes {
    data.slice_ref(edit::slice(data, offset, size))
}
