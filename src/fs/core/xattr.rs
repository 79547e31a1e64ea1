//! Extended attributes: the Stat, the path and the ACL of a znode.

use super::lookup::is_same;
use super::{Core, Result};
use crate::error::Errno;
use crate::fs::inode::{Face, Ino};
use crate::session::Store;

/// What all of them start with.
const PREFIX: &str = "user.zk.";
/// Those that are listed. The ACL is not, as it costs a request, and as a copy should not silently take it along.
const LISTED: [&str; 8] = ["path", "czxid", "mzxid", "pzxid", "version", "cversion", "aversion", "ephemeralOwner"];

impl<S: Store> Core<S> {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA` when there is none.
    pub async fn getxattr(&self, ino: Ino, name: &str) -> Result<Vec<u8>> {
        // The kernel asks for capabilities and POSIX ACLs all the time.
        let name = name.strip_prefix(PREFIX).ok_or(Errno::ENODATA)?;
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        if let Face::Scratch(_) = node.face {
            return if name == "scratch" { Ok(b"1".to_vec()) } else { Err(Errno::ENODATA) };
        }
        let node = match node.face {
            Face::Draft(_) => {
                self.finish_draft(ino).await?;
                self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?
            }
            _ => node,
        };
        self.check_inode(ino)?;
        if name == "path" {
            return Ok(node.path.as_str().into());
        }
        if name == "acl" {
            return Ok(self.acl_text(&node.path).await?.into_bytes());
        }
        if name == "lock.token" {
            let token = self.locks.token(ino, &self.store.session()).ok_or(Errno::ENODATA)?;
            return Ok(token.to_string().into_bytes());
        }
        if !LISTED.contains(&name) {
            return Err(Errno::ENODATA);
        }
        let stat = match self.stat(&node.path).await {
            // The name may be another znode's by now.
            Err(Errno::ENOENT) => return Err(Errno::ESTALE),
            result => result?,
        };
        if !is_same(&node, &stat) && !self.changes.inodes.is_open(ino) {
            return Err(Errno::ESTALE);
        }
        let value = match name {
            "czxid" => stat.czxid.to_string(),
            "mzxid" => stat.mzxid.to_string(),
            "pzxid" => stat.pzxid.to_string(),
            "version" => stat.version.to_string(),
            "cversion" => stat.cversion.to_string(),
            "aversion" => stat.aversion.to_string(),
            _ => stat.ephemeral_owner.to_string(),
        };
        Ok(value.into_bytes())
    }

    /// The names of the extended attributes, each with a zero byte behind it.
    pub fn listxattr(&self, ino: Ino) -> Result<Vec<u8>> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        let names: &[&str] = match node.face {
            Face::Scratch(_) => &["scratch"],
            _ => &LISTED,
        };
        Ok(names.iter().flat_map(|name| format!("{PREFIX}{name}\0").into_bytes()).collect())
    }

    /// Sets an extended attribute: the ACL. What ZooKeeper alone decides is ignored, because tools that copy all
    /// attributes must work, or refused when the mount is strict.
    pub async fn setxattr(&self, ino: Ino, name: &str, value: &[u8]) -> Result<()> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        self.check_writable(&node.path)?;
        let name = name.strip_prefix(PREFIX).ok_or(Errno::EOPNOTSUPP)?;
        match name {
            "acl" if !matches!(node.face, Face::Scratch(_)) => {
                let stat = self.set_acl_text(&node.path, value).await?;
                // The kernel tells of it.
                self.changes.inodes.notice_acl(&node.path, &stat);
                Ok(())
            }
            name if LISTED.contains(&name) && !self.options.strict => Ok(()),
            name if LISTED.contains(&name) => Err(Errno::EPERM),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Removes an extended attribute: never.
    pub fn removexattr(&self, ino: Ino, name: &str) -> Result<()> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        self.check_writable(&node.path)?;
        if name.starts_with(PREFIX) { Err(Errno::EPERM) } else { Err(Errno::ENODATA) }
    }
}
