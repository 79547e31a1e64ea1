//! What ZooKeeper tells about a znode, and whether that is a file or a directory.

use std::fmt;

/// The id of a transaction; -1 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Zxid(pub i64);

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The id of a ZooKeeper session; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The Stat of a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// The transaction that created the znode.
    pub czxid: Zxid,
    /// The transaction that last set its data.
    pub mzxid: Zxid,
    /// The transaction that last created or deleted a child.
    pub pzxid: Zxid,
    /// Creation, in milliseconds since the epoch.
    pub ctime: i64,
    /// Last change of the data, in milliseconds since the epoch.
    pub mtime: i64,
    /// Changes of the data.
    pub version: i32,
    /// Changes of the set of children.
    pub cversion: i32,
    /// Changes of the ACL.
    pub aversion: i32,
    /// The session that an ephemeral lives in; 0 for others.
    pub ephemeral_owner: SessionId,
    /// Length of the data, in bytes.
    pub data_length: i32,
    /// Number of children.
    pub num_children: i32,
}

impl Stat {
    /// The kind of a znode with this Stat that is not the mounted root.
    ///
    /// It is a function of the Stat alone, so that every host sees the same, today and after a remount. An empty
    /// file made through a mount has version 1, which tells it from a directory that has no child yet. The cversion
    /// of a znode that once had a child is not 0; it goes negative after some two billion changes.
    pub fn kind(&self) -> Kind {
        let parent = self.num_children > 0 || self.cversion != 0;
        let bare = !self.is_ephemeral() && self.data_length == 0 && self.version == 0;
        if parent || bare { Kind::Directory } else { Kind::File }
    }

    /// Tells whether a session owns the znode.
    ///
    /// The server marks containers and znodes with a TTL in the same field, in its top byte.
    pub fn is_ephemeral(&self) -> bool {
        let owner = self.ephemeral_owner.0 as u64;
        owner != 0 && owner != CONTAINER && owner >> 56 != TTL
    }
}

/// The owner field of a container (`EphemeralType.CONTAINER_EPHEMERAL_OWNER`).
const CONTAINER: u64 = 1 << 63;
/// The top byte of the owner field of a znode with a TTL (`EphemeralType.TTL`).
const TTL: u64 = 0xff;

impl fmt::Display for Stat {
    /// `key=value` lines that a shell can evaluate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "czxid={}", self.czxid)?;
        writeln!(f, "mzxid={}", self.mzxid)?;
        writeln!(f, "pzxid={}", self.pzxid)?;
        writeln!(f, "ctime={}", self.ctime)?;
        writeln!(f, "mtime={}", self.mtime)?;
        writeln!(f, "version={}", self.version)?;
        writeln!(f, "cversion={}", self.cversion)?;
        writeln!(f, "aversion={}", self.aversion)?;
        writeln!(f, "ephemeralOwner={}", self.ephemeral_owner)?;
        writeln!(f, "dataLength={}", self.data_length)?;
        writeln!(f, "numChildren={}", self.num_children)
    }
}

/// What a znode is in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file with the znode's data.
    File,
    /// A directory with the znode's children.
    Directory,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let bare = Stat::default();
        assert_eq!(bare.kind(), Kind::Directory, "made by mkdir or ensure_path");
        assert_eq!(Stat { version: 1, ..bare }.kind(), Kind::File, "an empty file, made with a setData");
        assert_eq!(Stat { data_length: 1, ..bare }.kind(), Kind::File);
        assert_eq!(Stat { ephemeral_owner: SessionId(1), ..bare }.kind(), Kind::File);
        assert_eq!(Stat { num_children: 1, cversion: 1, data_length: 5, ..bare }.kind(), Kind::Directory);
        assert_eq!(
            Stat { cversion: 2, data_length: 5, version: 3, ..bare }.kind(),
            Kind::Directory,
            "had a child once"
        );
        assert_eq!(Stat { cversion: -7, data_length: 5, ..bare }.kind(), Kind::Directory);
    }

    #[test]
    fn containers_and_ttl_are_no_ephemerals() {
        let owner = |owner: u64| Stat { ephemeral_owner: SessionId(owner as i64), ..Stat::default() };
        assert!(
            !owner(0).is_ephemeral()
                && !owner(CONTAINER).is_ephemeral()
                && !owner(0xff00_0000_0000_1388).is_ephemeral()
        );
        assert!(owner(0x0100_0000_0000_0001).is_ephemeral());
    }
}
