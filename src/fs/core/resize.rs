//! Truncating and extending.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::lookup::is_same;
use super::{Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Cursor, OpenFile};
use crate::fs::inode::{Face, Node};
use crate::mapping::{View, edit};
use crate::session::Store;

impl<S: Store> Core<S> {
    /// Truncates or extends an open file.
    pub(super) async fn resize_handle(&self, file: &OpenFile, size: usize) -> Result<()> {
        if !file.access.write {
            return Err(Errno::EINVAL);
        }
        self.check_alive(file)?;
        if size == 0 && self.drafts.get(file.ino).is_some() {
            self.turn(&file.cursor).await?.dirty = None;
            return Ok(());
        }
        if size == 0 && !file.gather {
            file.fresh.store(false, Ordering::Relaxed);
            let mut cursor = self.turn(&file.cursor).await?;
            cursor.failed = false;
            if cursor.claim.is_none_or(|claim| !file.file.is_claimed(claim)) {
                cursor.claim = Some(file.file.truncate());
            }
            return Ok(());
        }
        let _turn = self.turn(&file.file.write).await?;
        let mut cursor = self.turn(&file.cursor).await?;
        let resized = self.resize_file(file, &mut cursor, size).await;
        cursor.failed = resized.is_err();
        resized
    }

    async fn resize_file(&self, file: &OpenFile, cursor: &mut Cursor, size: usize) -> Result<()> {
        let node = self.node_of(file)?;
        self.check_size(&node.path, 0, size)?;
        self.check_alive(file)?;
        if file.gather {
            let old = match cursor.dirty.take() {
                Some(dirty) => dirty,
                None if size == 0 || cursor.claim.is_some() || file.file.is_truncated() => Vec::new(),
                None if self.drafts.get(file.ino).is_some() => Vec::new(),
                None => self.base(file, cursor).await?.0.to_vec(),
            };
            cursor.dirty = Some(edit::resize(&old, size).into_owned());
            return Ok(());
        }
        if self.drafts.get(file.ino).is_some() {
            let data = Bytes::from(vec![0; size]);
            let stat = self.make_draft(file.ino, data.clone()).await?;
            cursor.base = Some((data, stat));
            return Ok(());
        }
        let truncated = cursor.claim.is_some() || file.file.is_truncated();
        let (old, version) = if truncated {
            (Bytes::new(), file.guard)
        } else {
            let (old, stat) = self.base(file, cursor).await?;
            (old, Some(stat.version))
        };
        if old.len() == size && !truncated {
            return Ok(());
        }
        let new = Bytes::from(edit::resize(&old, size).into_owned());
        self.replace(file, cursor, &node, new, version).await
    }

    /// Truncates or extends a file that is not open, by truncate(2).
    pub(super) async fn resize_node(&self, node: &Node, size: usize) -> Result<()> {
        self.check_size(&node.path, 0, size)?;
        let (old, stat) = self.fresh_data(&node.path).await?;
        if !is_same(node, &stat) {
            return Err(Errno::ESTALE);
        }
        let guard = match node.face {
            Face::View(View::Version(version)) if version != stat.version => return Err(Errno::ESTALE),
            Face::View(View::Version(version)) => Some(version),
            _ => None,
        };
        if old.len() != size {
            let version = if size == 0 { guard } else { Some(stat.version) };
            self.set_data(node, edit::resize(&old, size).into_owned().into(), version).await?;
        }
        Ok(())
    }
}
