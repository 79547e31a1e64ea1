//! A tree of znodes in memory, with ZooKeeper's semantics: the try-out that needs no server, and the twin of the
//! ZooKeeper store in tests.
//!
//! Several sessions can share one tree, lose their connection and expire, as clients of one ensemble do.

mod access;
mod hub;
mod node;
mod tree;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

pub use self::access::Identity;
use self::hub::{Hub, Session};
use super::size::{DEFAULT_PACKET_LIMIT, Sizes};
use super::{CreateMode, Creation, History, MultiError, Op, OpResult, Peek, SessionView, Sink, Store, StoreError};
use crate::mapping::{Acl, Stat, ZnodePath, Zxid};

/// How a session in memory behaves.
#[derive(Debug, Clone)]
pub struct MemorySettings {
    /// What the session has authenticated as.
    pub identities: Vec<Identity>,
    /// The ACL of what it makes, where a creation names none.
    pub acl: Vec<Acl>,
    /// How long an operation waits for a suspended session.
    pub operation_timeout: Duration,
    /// The session timeout.
    pub session_timeout: Duration,
    /// The largest request, as `jute.maxbuffer`.
    pub packet_limit: usize,
    /// Whether a Stat is for those who may read the znode only, as on servers from 3.9 on.
    pub private_stats: bool,
}

impl Default for MemorySettings {
    fn default() -> MemorySettings {
        MemorySettings {
            identities: Vec::new(),
            acl: Acl::open(),
            operation_timeout: Duration::from_secs(10),
            session_timeout: Duration::from_secs(30),
            packet_limit: DEFAULT_PACKET_LIMIT,
            private_stats: false,
        }
    }
}

/// A tree that sessions share.
#[derive(Debug, Clone)]
pub struct MemoryTree {
    hub: Arc<Hub>,
}

impl Default for MemoryTree {
    fn default() -> MemoryTree {
        MemoryTree::new()
    }
}

impl MemoryTree {
    /// An empty tree.
    pub fn new() -> MemoryTree {
        MemoryTree::with_reaper(Duration::from_secs(1))
    }

    /// An empty tree whose containers and znodes with a time to live are looked after that often.
    pub fn with_reaper(every: Duration) -> MemoryTree {
        MemoryTree { hub: Hub::new(every) }
    }

    /// Starts a session on the tree.
    pub fn session(&self, sink: Arc<dyn Sink>) -> Memory {
        self.session_with(sink, MemorySettings::default())
    }

    /// Starts a session on the tree, with these settings.
    pub fn session_with(&self, sink: Arc<dyn Sink>, settings: MemorySettings) -> Memory {
        let session = self.hub.session(sink, settings);
        Memory { session, tree: self.clone(), fault: Mutex::new(None) }
    }
}

/// A session on a tree in memory. Dropping it closes it.
pub struct Memory {
    session: Arc<Session>,
    tree: MemoryTree,
    fault: Mutex<Option<Fault>>,
}

/// What becomes of the next write whose reply is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is applied.
    Applied,
    /// It never reaches the server.
    NotApplied,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.session.close();
    }
}

impl Memory {
    /// A session on a tree of its own.
    pub fn new(sink: Arc<dyn Sink>) -> Memory {
        MemoryTree::new().session(sink)
    }

    /// The tree, for further sessions.
    pub fn tree(&self) -> &MemoryTree {
        &self.tree
    }

    /// Loses the connection: operations wait, and changes are not announced.
    pub fn suspend(&self) {
        self.session.suspend();
    }

    /// Gets the connection back, with a new session when the old one has expired.
    pub fn resume(&self) {
        self.session.resume();
    }

    /// Loses the session with its ephemerals. A new one starts at once, or with [`Memory::resume`] when suspended.
    pub fn expire(&self) {
        self.session.expire();
    }

    /// Loses the reply of the next write: it ends as [`StoreError::Unknown`].
    pub fn lose_next_reply(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    fn sizes(&self) -> Sizes {
        Sizes::new(0, self.session.settings().packet_limit)
    }

    fn fits(&self, body: usize) -> Result<(), StoreError> {
        if self.sizes().fits(body) { Ok(()) } else { Err(StoreError::TooLarge) }
    }

    async fn write<T, E: From<StoreError>>(
        &self,
        apply: impl FnOnce(&mut tree::Tree, tree::Caller<'_>) -> Result<(T, Vec<tree::Told>), E>,
    ) -> Result<T, E> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        match fault {
            None => self.session.write(apply).await,
            Some(Fault::NotApplied) => Err(E::from(StoreError::Unknown)),
            Some(Fault::Applied) => {
                self.session.write(apply).await?;
                Err(E::from(StoreError::Unknown))
            }
        }
    }
}

impl Store for Memory {
    async fn exists(&self, path: &ZnodePath) -> Result<Stat, StoreError> {
        let private = self.session.settings().private_stats;
        self.session
            .read(|tree, caller| if private { tree.get(path, caller).map(|(_, stat)| stat) } else { tree.exists(path) })
            .await
    }

    async fn get(&self, path: &ZnodePath) -> Result<(Bytes, Stat), StoreError> {
        self.session.read(|tree, caller| tree.get(path, caller)).await
    }

    async fn children(&self, path: &ZnodePath) -> Result<(Vec<String>, Stat), StoreError> {
        self.session.read(|tree, caller| tree.children(path, caller)).await
    }

    async fn peek(&self, paths: &[ZnodePath]) -> Result<Vec<Result<Peek, StoreError>>, StoreError> {
        let private = self.session.settings().private_stats;
        let look = |tree: &tree::Tree, caller: tree::Caller<'_>| {
            let hide = |peek: Peek| if private && peek.data.is_none() { Err(StoreError::NoAuth) } else { Ok(peek) };
            Ok(paths.iter().map(|path| tree.peek(path, caller).and_then(hide)).collect())
        };
        self.session.read(look).await
    }

    async fn create(&self, creation: &Creation) -> Result<(ZnodePath, Stat), StoreError> {
        let acl = creation.acl.as_deref().unwrap_or(&self.session.settings().acl);
        self.fits(self.sizes().create(creation, acl))?;
        if matches!(creation.mode, CreateMode::Container | CreateMode::Ttl(_)) {
            self.session.start_reaper();
        }
        self.write(|tree, caller| tree.create(creation, acl, caller)).await
    }

    async fn set(&self, path: &ZnodePath, data: Bytes, version: Option<i32>) -> Result<Stat, StoreError> {
        self.fits(self.sizes().set(path, data.len()))?;
        self.write(|tree, caller| tree.set(path, data, version, caller)).await
    }

    async fn delete(&self, path: &ZnodePath, version: Option<i32>) -> Result<(), StoreError> {
        self.write(|tree, caller| tree.delete(path, version, caller)).await
    }

    async fn multi(&self, ops: &[Op]) -> Result<Vec<OpResult>, MultiError> {
        let acl = &self.session.settings().acl;
        self.fits(self.sizes().multi(ops, acl))?;
        let reaped =
            |op: &Op| matches!(op, Op::Create(Creation { mode: CreateMode::Container | CreateMode::Ttl(_), .. }));
        if ops.iter().any(reaped) {
            self.session.start_reaper();
        }
        self.write(|tree, caller| tree.multi(ops, acl, caller)).await
    }

    async fn get_acl(&self, path: &ZnodePath) -> Result<(Vec<Acl>, Stat), StoreError> {
        self.session.read(|tree, caller| tree.get_acl(path, caller)).await
    }

    async fn set_acl(&self, path: &ZnodePath, acl: &[Acl], version: Option<i32>) -> Result<Stat, StoreError> {
        self.fits(self.sizes().set_acl(path, acl))?;
        self.write(|tree, caller| tree.set_acl(path, acl, version, caller)).await
    }

    async fn sync(&self, _path: &ZnodePath) -> Result<(), StoreError> {
        self.session.read(|_, _| Ok(())).await
    }

    fn retract(&self, path: &ZnodePath, czxid: Zxid) {
        self.session.retract(path.clone(), czxid);
    }

    fn session(&self) -> SessionView {
        self.session.view()
    }

    fn ephemerals(&self) -> Vec<(ZnodePath, Option<Zxid>)> {
        let mut owned = self.session.ephemerals();
        owned.sort();
        owned.into_iter().map(|(path, czxid)| (path, Some(czxid))).collect()
    }

    fn history(&self) -> History {
        self.session.history()
    }

    async fn close(&self) {
        self.session.close();
    }

    fn data_limit(&self, path: &ZnodePath) -> usize {
        self.sizes().data_limit(path)
    }

    fn multi_limit(&self) -> usize {
        self.sizes().multi_limit()
    }
}
