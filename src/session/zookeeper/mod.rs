//! A tree of znodes on a ZooKeeper ensemble.
//!
//! | file | what it is |
//! | --- | --- |
//! | `settings` | what to connect to, and how |
//! | `connect` | finding a server, the first handshake, what is wrong with it |
//! | `supervisor` | the life of the session: connections, loss, closing |
//! | `link` | one connection, and a request on it |
//! | `board` | the state of the session and the stream of events, in one order |
//! | `clock` | how long the session is known to live on |
//! | `read`, `peek` | reads |
//! | `write`, `judge` | writes, and what became of one whose reply was lost |
//! | `guard`, `ephemerals` | requests for ephemerals, which are settled or undone even when nobody waits any more |
//! | `wire`, `spawner`, `tls` | the border to the client library |

mod board;
mod clock;
mod connect;
mod ephemerals;
mod guard;
mod judge;
mod link;
mod list;
mod peek;
mod read;
mod settings;
mod spawner;
mod supervisor;
mod tls;
mod wire;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::connect::ConnectError;
pub use self::settings::{ConnectString, ConnectStringError, OnLost, Settings};
pub use self::tls::{Tls, TlsError};

use self::board::Board;
use self::ephemerals::Ephemerals;
use self::link::Answer;
use super::size::Sizes;
use super::{Creation, History, MultiError, Op, OpResult, Peek, SessionView, Sink, Store, StoreError};
use crate::mapping::{Acl, Stat, ZnodePath, Zxid};
use crate::session::store::Listings;

/// How long closing may take, the attempt to reach a server for it included.
const CLOSING: Duration = Duration::from_secs(2);

/// What the store, its supervisor and its background work share.
struct Shared {
    settings: Settings,
    sizes: Sizes,
    board: Arc<Board>,
    ephemerals: Arc<Ephemerals>,
    peek_size: peek::Estimate,
    /// The server is older than recursive watches, multi-reads and lists of ephemerals, which came together: see
    /// [`link::Asks::NewServer`].
    old: AtomicBool,
    /// Whether the store is to be closed.
    close: watch::Sender<bool>,
    /// Whether it has been.
    closed: watch::Sender<bool>,
}

impl Shared {
    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.operation_timeout
    }

    /// Waits until the store is to be closed.
    async fn closing(&self) {
        let mut close = self.close.subscribe();
        // It cannot fail: the sender is ours.
        let _ = close.wait_for(|close| *close).await.is_ok();
    }
}

/// A session on a ZooKeeper ensemble. Dropping it closes the session in the background.
pub struct ZooKeeper {
    shared: Arc<Shared>,
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.shared.close.send_replace(true);
    }
}

impl ZooKeeper {
    /// Connects to an ensemble. Needs a tokio runtime, which must outlive the store.
    ///
    /// The sink may be called before this returns.
    ///
    /// # Errors
    /// When there is no session within the time for one operation.
    pub async fn connect(settings: Settings, sink: Arc<dyn Sink>) -> Result<ZooKeeper, ConnectError> {
        let ephemerals = Arc::new(Ephemerals::new());
        let shared = Arc::new(Shared {
            sizes: Sizes::new(settings.chroot_len(), settings.packet_limit),
            board: Arc::new(Board::new(sink, Arc::clone(&ephemerals))),
            ephemerals,
            peek_size: peek::Estimate::new(),
            old: AtomicBool::new(false),
            close: watch::Sender::new(false),
            closed: watch::Sender::new(false),
            settings,
        });
        let first = supervisor::connect(&shared).await?;
        tokio::spawn(supervisor::run(Arc::clone(&shared), first));
        Ok(ZooKeeper { shared })
    }
}

impl Store for ZooKeeper {
    async fn exists(&self, path: &ZnodePath) -> Result<Stat, StoreError> {
        self.shared.exists(path).await
    }

    async fn get(&self, path: &ZnodePath) -> Result<(Bytes, Stat), StoreError> {
        self.shared.get(path).await
    }

    async fn children(&self, path: &ZnodePath) -> Result<(Vec<String>, Stat), StoreError> {
        self.shared.children(path).await
    }

    async fn peek(&self, paths: &[ZnodePath]) -> Result<Vec<Result<Peek, StoreError>>, StoreError> {
        self.shared.peek(paths).await
    }

    async fn list_many(&self, paths: &[ZnodePath]) -> Result<Listings, StoreError> {
        self.shared.list_many(paths).await
    }

    async fn create(&self, creation: &Creation) -> Result<(ZnodePath, Stat), StoreError> {
        self.shared.create(creation).await
    }

    async fn set(&self, path: &ZnodePath, data: Bytes, version: Option<i32>) -> Result<Stat, StoreError> {
        self.shared.set(path, data, version).await
    }

    async fn delete(&self, path: &ZnodePath, version: Option<i32>) -> Result<(), StoreError> {
        self.shared.delete(path, version).await
    }

    async fn multi(&self, ops: &[Op]) -> Result<Vec<OpResult>, MultiError> {
        self.shared.multi(ops, &[]).await
    }

    async fn multi_or_undo(&self, ops: &[Op], restore: &[Op]) -> Result<Vec<OpResult>, MultiError> {
        self.shared.multi(ops, restore).await
    }

    async fn get_acl(&self, path: &ZnodePath) -> Result<(Vec<Acl>, Stat), StoreError> {
        self.shared.get_acl(path).await
    }

    async fn set_acl(&self, path: &ZnodePath, acl: &[Acl], version: Option<i32>) -> Result<Stat, StoreError> {
        self.shared.set_acl(path, acl, version).await
    }

    async fn sync(&self, path: &ZnodePath) -> Result<(), StoreError> {
        self.shared.sync(path).await
    }

    fn retract(&self, path: &ZnodePath, czxid: Zxid) {
        guard::retract(&self.shared, path.clone(), Some(czxid));
    }

    fn session(&self) -> SessionView {
        self.shared.board.view()
    }

    fn ephemerals(&self) -> Vec<(ZnodePath, Option<Zxid>)> {
        self.shared.ephemerals.known()
    }

    fn history(&self) -> History {
        self.shared.board.history()
    }

    async fn close(&self) {
        self.shared.close.send_replace(true);
        let mut closed = self.shared.closed.subscribe();
        // The supervisor keeps to the time itself; this is for a runtime that is going down.
        let _ = tokio::time::timeout(CLOSING * 2, closed.wait_for(|closed| *closed)).await.is_ok();
    }

    fn data_limit(&self, path: &ZnodePath) -> usize {
        self.shared.sizes.data_limit(path)
    }

    fn multi_limit(&self) -> usize {
        self.shared.sizes.multi_limit()
    }
}
