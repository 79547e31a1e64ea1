//! Setting attributes, and the numbers of the file system as a whole.

use super::lookup::is_same;
use super::{Attr, Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Fh, Handle};
use crate::fs::inode::{Face, Ino, Node};
use crate::mapping::{View, edit};
use crate::session::Store;

/// The attributes that a program asks to be set.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wanted {
    /// The length.
    pub size: Option<u64>,
    /// The owner, the group or the permissions.
    pub mode_or_owner: bool,
    /// Times that the program chose.
    pub explicit_time: bool,
    /// The time of now.
    pub touch: bool,
}

/// Tries of a heartbeat that meets other writers: theirs touched the file as well.
const TOUCHES: usize = 3;

impl<S: Store> Core<S> {
    /// Sets attributes. Only the length has an effect, and the time of now, which sets the same data again; owner,
    /// permissions and chosen times are ignored, because tools must work, or refused when the mount is strict.
    pub async fn setattr(&self, ino: Ino, fh: Option<Fh>, wanted: Wanted) -> Result<Attr> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        self.check_writable(&node.path)?;
        if self.options.strict && (wanted.mode_or_owner || wanted.explicit_time) {
            return Err(Errno::EPERM);
        }
        if let Some(size) = wanted.size {
            self.resize(&node, fh, size).await?;
        } else if wanted.touch && !wanted.explicit_time && node.face == Face::File && !self.handles.is_fresh(ino) {
            self.heartbeat(&node).await?;
        }
        self.getattr(ino).await
    }

    async fn resize(&self, node: &Node, fh: Option<Fh>, size: u64) -> Result<()> {
        let size = usize::try_from(size).map_err(|_| Errno::EFBIG)?;
        if let Some(fh) = fh {
            let handle = self.handle(fh)?;
            return match &*handle {
                Handle::File(file) => self.resize_handle(file, size).await,
                Handle::Scratch(scratch) => self.resize_scratch(node, scratch.id, size),
                Handle::Text(text) if size == 0 => {
                    self.turn(&text.text).await?.clear();
                    Ok(())
                }
                Handle::Text(_) => Err(Errno::EINVAL),
                Handle::Dir(_) => Err(Errno::EISDIR),
                Handle::Events(_) => Err(Errno::EINVAL),
            };
        }
        match node.face {
            Face::Scratch(id) => self.resize_scratch(node, id, size),
            Face::File | Face::View(View::Data | View::Version(_)) => self.resize_node(node, size).await,
            Face::View(View::Acl) => Ok(()),
            Face::Directory | Face::View(View::Dir) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn resize_scratch(&self, node: &Node, id: u64, size: usize) -> Result<()> {
        self.check_size(&node.path, 0, size)?;
        if self.scratch.get(&node.path).is_none_or(|found| found.id != id) {
            return Err(Errno::ESTALE);
        }
        let edited = self.scratch.edit(&node.path, id, |old| edit::resize(old, size).into_owned());
        if edited { Ok(()) } else { Err(Errno::ENOSPC) }
    }

    /// Sets the same data again, so that others see that somebody is alive.
    async fn heartbeat(&self, node: &Node) -> Result<()> {
        self.commit_truncation(&node.path).await?;
        for attempt in 1.. {
            let (data, stat) = match self.fresh_data(&node.path).await {
                Err(Errno::ENOENT) => return Err(Errno::ESTALE),
                result => result?,
            };
            if !is_same(node, &stat) {
                return Err(Errno::ESTALE);
            }
            match self.set_data(node, data, Some(stat.version)).await {
                Err(Errno::ESTALE) if attempt < TOUCHES => {}
                // Whoever keeps setting it has touched it.
                Err(Errno::ESTALE) | Ok(_) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
