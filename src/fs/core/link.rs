//! Hard links: ZooKeeper has none, so `ln A B` makes B with A's content, exclusively and at once. It is a copy.

use std::ffi::OsStr;

use super::create::file_mode;
use super::lookup::is_same;
use super::{Caller, Core, Entry, Result, Target};
use crate::error::Errno;
use crate::fs::inode::{Face, Ino};
use crate::mapping::{Lifetime, View};
use crate::session::Store;

impl<S: Store> Core<S> {
    /// Makes a file with the content of another one.
    ///
    /// # Errors
    /// `EEXIST`, from the server.
    pub async fn link(&self, ino: Ino, new_parent: Ino, new_name: &OsStr, caller: Caller) -> Result<Entry> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        let (path, wish) = match self.target(new_parent, new_name).await? {
            Target::Znode(path) => (path, None),
            Target::Create { path, flags } => (path, Some(flags)),
            Target::View(..) => return Err(Errno::EEXIST),
        };
        self.check_writable(&path)?;
        let data = match node.face {
            Face::Scratch(id) => {
                let scratch = self.scratch.get(&node.path).filter(|scratch| scratch.id == id);
                scratch.ok_or(Errno::ESTALE)?.data
            }
            Face::File | Face::View(View::Data | View::Version(_)) => {
                self.commit_truncation(&node.path).await?;
                let (data, stat) = self.read_znode(&node.path).await?;
                if !is_same(&node, &stat) {
                    return Err(Errno::ESTALE);
                }
                data
            }
            _ => return Err(Errno::EPERM),
        };
        if wish.is_none() && self.options.scratch.matches(path.name()) {
            if self.stat(&path).await != Err(Errno::ENOENT) {
                return Err(Errno::EEXIST);
            }
            let scratch = self.scratch.create(&path, caller.pid).ok_or(Errno::EEXIST)?;
            self.scratch.edit(&path, scratch.id, |_| data.to_vec());
            return Ok(self.scratch_entry(&path, &scratch));
        }
        if wish.as_ref().is_some_and(|flags| flags.lifetime == Lifetime::Held) {
            return Err(Errno::EPERM);
        }
        self.check_size(&path, 0, data.len())?;
        if let Some(flags) = wish.as_ref().filter(|flags| flags.sequential) {
            self.check_tag_free(&path, flags).await?;
            let (made, stat) = self.make_sequential(&path, data, file_mode(wish.as_ref())?).await?;
            self.tag(&path, flags, &made, stat.czxid);
            return Ok(Entry { ttl: std::time::Duration::ZERO, ..self.znode_entry(&made, &stat) });
        }
        let stat = self.make_file(&path, data, file_mode(wish.as_ref())?, wish.is_none()).await?;
        Ok(self.znode_entry(&path, &stat))
    }
}
