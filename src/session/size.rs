//! How large a request is on the wire, for the limit that servers put on it (`jute.maxbuffer`).
//!
//! A larger request is answered by a closed connection, which fails every other request in flight; so it must not
//! be sent. The length prefix of the packet does not count.

use crate::mapping::{Acl, ZnodePath};
use crate::session::{CreateMode, Creation, Op};

/// What servers take by default: `jute.maxbuffer` is 0xfffff.
pub const DEFAULT_PACKET_LIMIT: usize = 0xf_ffff;

/// Transaction id and operation code.
const HEADER: usize = 8;
/// The length before a string or buffer, and the size of an `int`.
const INT: usize = 4;
/// Operation code, end mark and error code before each operation of a transaction, and after the last.
const OP_HEADER: usize = 9;
/// The time to live of a znode that has one.
const TTL: usize = 8;

/// Sizes of requests on paths below a chroot.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// The length of the chroot that is put before each path.
    chroot: usize,
    /// The largest packet.
    limit: usize,
}

impl Sizes {
    /// Sizes of requests below a chroot of this length, with this largest packet.
    pub fn new(chroot: usize, limit: usize) -> Sizes {
        Sizes { chroot, limit }
    }

    /// Tells whether a request with a body of so many bytes may be sent.
    pub fn fits(&self, body: usize) -> bool {
        HEADER + body <= self.limit
    }

    /// The largest data that one set of this path can carry.
    pub fn data_limit(&self, path: &ZnodePath) -> usize {
        self.limit.saturating_sub(HEADER + self.set(path, 0))
    }

    /// The largest transaction, less what it costs without any operation.
    pub fn multi_limit(&self) -> usize {
        self.limit.saturating_sub(HEADER + OP_HEADER)
    }

    /// The body of a set.
    pub fn set(&self, path: &ZnodePath, data: usize) -> usize {
        self.path(path) + INT + data + INT
    }

    /// The body of a create.
    pub fn create(&self, creation: &Creation, acl: &[Acl]) -> usize {
        let ttl = if matches!(creation.mode, CreateMode::Ttl(_)) { TTL } else { 0 };
        self.path(&creation.path) + INT + creation.data.len() + acl_size(acl) + INT + ttl
    }

    /// The body of a change of an ACL.
    pub fn set_acl(&self, path: &ZnodePath, acl: &[Acl]) -> usize {
        self.path(path) + acl_size(acl) + INT
    }

    /// The body of a transaction.
    pub fn multi(&self, ops: &[Op], default_acl: &[Acl]) -> usize {
        let size = |op: &Op| match op {
            Op::Check { path, .. } | Op::Delete { path, .. } => self.path(path) + INT,
            Op::Create(creation) => self.create(creation, creation.acl.as_deref().unwrap_or(default_acl)),
            Op::Set { path, data, .. } => self.set(path, data.len()),
        };
        ops.iter().map(|op| OP_HEADER + size(op)).sum::<usize>() + OP_HEADER
    }

    fn path(&self, path: &ZnodePath) -> usize {
        INT + self.chroot + path.as_str().len()
    }
}

fn acl_size(acl: &[Acl]) -> usize {
    INT + acl.iter().map(|entry| 3 * INT + entry.scheme.len() + entry.id.len()).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn as_measured() {
        let sizes = Sizes::new(0, DEFAULT_PACKET_LIMIT);
        let path = ZnodePath::parse("/a").unwrap();
        assert_eq!(sizes.data_limit(&path), DEFAULT_PACKET_LIMIT - 20 - 2);
        let creation = Creation { path, data: Bytes::new(), mode: CreateMode::Persistent, acl: None };
        let world = Acl::open();
        assert_eq!(HEADER + sizes.create(&creation, &world), 47 + 2);
        assert!(sizes.fits(DEFAULT_PACKET_LIMIT - HEADER) && !sizes.fits(DEFAULT_PACKET_LIMIT - HEADER + 1));
    }
}
