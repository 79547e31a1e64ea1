//! What waits for a close, a rename or fsync: the writes of `commit=close`, and truncations without a write.

use bytes::Bytes;

use super::lookup::is_same;
use super::{Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Cursor, OpenFile};
use crate::fs::inode::Node;
use crate::mapping::ZnodePath;
use crate::session::Store;

/// How often a truncation is tried while others keep setting the file.
const TRIES: u32 = 100;

impl<S: Store> Core<S> {
    /// Commits the writes that wait for a close.
    pub(super) async fn commit_writes(&self, file: &OpenFile) -> Result<()> {
        let _turn = self.turn(&file.file.write).await?;
        let mut cursor = self.turn(&file.cursor).await?;
        let Some(dirty) = cursor.dirty.take() else { return Ok(()) };
        self.check_alive(file)?;
        if self.drafts.get(file.ino).is_some() {
            let data = Bytes::from(dirty);
            let stat = self.make_draft(file.ino, data.clone()).await.inspect_err(|_| cursor.failed = true)?;
            cursor.base = Some((data, stat));
            return Ok(());
        }
        let node = self.node_of(file)?;
        let version = match (cursor.claim.is_some() || file.file.is_truncated(), &cursor.base) {
            (false, Some((_, stat))) => Some(stat.version),
            _ => file.guard,
        };
        let committed = self.replace(file, &mut cursor, &node, dirty.into(), version).await;
        cursor.failed = committed.is_err();
        committed
    }

    /// Commits the writes and the truncation that wait. When the handle is being closed, a truncation is left to other
    /// handles that have truncated the file as well.
    pub(super) async fn commit(&self, file: &OpenFile, closing: bool) -> Result<()> {
        if !file.access.write {
            return Ok(());
        }
        let written = self.commit_writes(file).await;
        let _turn = self.turn(&file.file.write).await?;
        let mut cursor = self.turn(&file.cursor).await?;
        if self.drafts.get(file.ino).is_some() {
            // Nothing was written, or what was could not be: then there is nothing to make.
            if cursor.failed {
                return written;
            }
            self.check_alive(file)?;
            return self.make_draft(file.ino, Bytes::new()).await.map(drop);
        }
        let Some(claim) = cursor.claim else { return written };
        let due = match closing {
            // The old value stays when the write that was to replace it failed.
            true => file.file.withdraw(claim, cursor.failed),
            false => !cursor.failed && file.file.is_claimed(claim),
        };
        if !due {
            return written;
        }
        let truncated = self.commit_nothing(file, &mut cursor).await;
        file.file.settle();
        truncated
    }

    /// Commits a truncation.
    async fn commit_nothing(&self, file: &OpenFile, cursor: &mut Cursor) -> Result<()> {
        self.check_alive(file)?;
        let node = self.node_of(file)?;
        match self.replace(file, cursor, &node, Bytes::new(), file.guard).await {
            // Somebody removed the file: there is nothing left to truncate.
            Err(Errno::ESTALE) if file.guard.is_none() => Ok(()),
            result => result,
        }
    }

    /// Commits the truncation of the file at a path, if one waits: before it is renamed or copied.
    pub(super) async fn commit_truncation(&self, path: &ZnodePath) -> Result<()> {
        for ino in self.changes.inodes.truncated_at(path) {
            let file = self.changes.inodes.file(ino);
            let _turn = self.turn(&file.write).await?;
            let Some(node) = self.changes.inodes.node(ino) else { continue };
            if file.is_truncated() {
                self.empty(&node).await?;
                file.settle();
            }
        }
        Ok(())
    }

    /// Empties a znode, if it is still the one that was truncated: nobody truncated another of that name.
    async fn empty(&self, node: &Node) -> Result<()> {
        for attempt in 1.. {
            let stat = match self.fresh_stat(&node.path).await {
                Err(Errno::ENOENT) => return Ok(()),
                result => result?,
            };
            if !is_same(node, &stat) {
                return Ok(());
            }
            match self.set_data(node, Bytes::new(), Some(stat.version)).await {
                Err(Errno::ESTALE) if attempt < TRIES => {}
                result => return result.map(drop),
            }
        }
        Ok(())
    }
}
