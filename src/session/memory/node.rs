//! A znode in memory.

use std::collections::HashSet;

use bytes::Bytes;

use crate::mapping::{Acl, SessionId, Stat, Zxid};
use crate::session::CreateMode;

/// The owner field of a container.
const CONTAINER: i64 = i64::MIN;
/// The top byte of the owner field of a znode with a time to live; the milliseconds are in the low five bytes.
const TTL: u64 = 0xff << 56;
/// The largest time to live, in milliseconds.
pub const TTL_MAX: u128 = 0xff_ffff_ffff;

/// All of a znode but its children.
#[derive(Debug, Clone)]
pub struct Record {
    pub data: Bytes,
    pub acl: Vec<Acl>,
    pub czxid: Zxid,
    pub mzxid: Zxid,
    pub pzxid: Zxid,
    pub ctime: i64,
    pub mtime: i64,
    pub version: i32,
    pub aversion: i32,
    /// Children ever created: the number of the next sequential child. What clients see as cversion counts the
    /// deleted ones too.
    pub created: i32,
    /// The session, or a mark with the top bit set.
    pub owner: i64,
}

/// A znode.
#[derive(Debug, Clone)]
pub struct Node {
    pub record: Record,
    pub children: HashSet<String>,
}

impl Node {
    /// A znode as it is when it is created.
    pub fn new(data: Bytes, acl: Vec<Acl>, owner: i64, zxid: Zxid, now: i64) -> Node {
        let record = Record {
            data,
            acl,
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: now,
            mtime: now,
            version: 0,
            aversion: 0,
            created: 0,
            owner,
        };
        Node { record, children: HashSet::new() }
    }

    /// What clients see.
    pub fn stat(&self) -> Stat {
        let record = &self.record;
        let children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            czxid: record.czxid,
            mzxid: record.mzxid,
            pzxid: record.pzxid,
            ctime: record.ctime,
            mtime: record.mtime,
            version: record.version,
            cversion: record.created.wrapping_mul(2).wrapping_sub(children),
            aversion: record.aversion,
            ephemeral_owner: self.session(),
            data_length: i32::try_from(record.data.len()).unwrap_or(i32::MAX),
            num_children: children,
        }
    }

    /// The session that it lives in. The server hides its own marks.
    fn session(&self) -> SessionId {
        let owner = self.record.owner;
        if owner == CONTAINER || owner as u64 & TTL == TTL { SessionId::NONE } else { SessionId(owner) }
    }

    /// Tells whether the server would remove it by itself by now.
    pub fn is_expired(&self, now: i64) -> bool {
        let record = &self.record;
        if !self.children.is_empty() {
            return false;
        }
        if record.owner == CONTAINER {
            return record.created > 0;
        }
        let owner = record.owner as u64;
        owner & TTL == TTL && now.saturating_sub(record.mtime) >= (owner & !TTL) as i64
    }
}

/// The owner field of a znode that a session makes.
pub fn owner(mode: CreateMode, session: SessionId) -> i64 {
    match mode {
        CreateMode::Persistent | CreateMode::PersistentSequential => 0,
        CreateMode::Ephemeral | CreateMode::EphemeralSequential => session.0,
        CreateMode::Container => CONTAINER,
        CreateMode::Ttl(ttl) => (TTL | ttl.as_millis().min(TTL_MAX) as u64) as i64,
    }
}
