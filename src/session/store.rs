//! What the file system asks of a tree of znodes.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

use super::{History, StoreError};
use crate::mapping::{Acl, SessionId, Stat, ZnodePath, Zxid};

/// How a znode is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CreateMode {
    /// Lives until it is deleted.
    Persistent,
    /// Persistent, with a number that the server appends.
    PersistentSequential,
    /// Lives as long as the session.
    Ephemeral,
    /// Ephemeral, with a number that the server appends.
    EphemeralSequential,
    /// Removed by the server some time after its last child.
    Container,
    /// Removed by the server when it has no children and was not set for so long.
    Ttl(Duration),
}

impl CreateMode {
    /// Tells whether the server appends a number to the name.
    pub fn is_sequential(self) -> bool {
        matches!(self, CreateMode::PersistentSequential | CreateMode::EphemeralSequential)
    }

    /// Tells whether the znode lives as long as the session.
    pub fn is_ephemeral(self) -> bool {
        matches!(self, CreateMode::Ephemeral | CreateMode::EphemeralSequential)
    }
}

/// A znode to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Creation {
    /// Its path; for a sequential one without the number.
    pub path: ZnodePath,
    /// Its data.
    pub data: Bytes,
    /// How it is made.
    pub mode: CreateMode,
    /// Its ACL; none for the store's default.
    pub acl: Option<Vec<Acl>>,
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The znode exists, at this version if one is given.
    Check {
        /// The znode.
        path: ZnodePath,
        /// The version of its data.
        version: Option<i32>,
    },
    /// Make a znode.
    Create(Creation),
    /// Set a znode's data, at this version if one is given.
    Set {
        /// The znode.
        path: ZnodePath,
        /// The new data.
        data: Bytes,
        /// The version of its data before.
        version: Option<i32>,
    },
    /// Delete a znode, at this version if one is given.
    Delete {
        /// The znode.
        path: ZnodePath,
        /// The version of its data.
        version: Option<i32>,
    },
}

/// The result of one operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    /// Checked or deleted.
    Done,
    /// Created. Old servers give no usable Stat here, so there is none.
    Created(ZnodePath),
    /// Set.
    Set(Stat),
}

/// Why a transaction failed; nothing of it was applied unless the error says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {index:?} of the transaction: {error}")]
pub struct MultiError {
    /// The operation that failed; none when the transaction failed as a whole.
    pub index: Option<usize>,
    /// Why.
    pub error: StoreError,
}

/// The transaction that takes another one back: what that created goes, and `restore` makes again what it deleted.
pub fn undo(ops: &[Op], results: &[OpResult], restore: &[Op]) -> Vec<Op> {
    let mut undo = Vec::new();
    for (place, (op, result)) in ops.iter().zip(results).enumerate() {
        let (Op::Create(_), OpResult::Created(path)) = (op, result) else { continue };
        let later = &ops[place + 1..];
        if later.iter().any(|op| matches!(op, Op::Delete { path: gone, .. } if gone == path)) {
            continue;
        }
        // At the version that it has when nobody else has set it.
        let sets = later.iter().filter(|op| matches!(op, Op::Set { path: set, .. } if set == path)).count();
        undo.push(Op::Delete { path: path.clone(), version: i32::try_from(sets).ok() });
    }
    undo.reverse();
    undo.extend_from_slice(restore);
    undo
}

impl From<StoreError> for MultiError {
    fn from(error: StoreError) -> MultiError {
        MultiError { index: None, error }
    }
}

/// What a bulk read tells of one znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// Its Stat.
    pub stat: Stat,
    /// Its data, where that came with the Stat.
    pub data: Option<Bytes>,
}

/// The state of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Connected, and the session is known to be alive.
    Connected,
    /// Not connected, or not known to be alive; the session may live on.
    Suspended,
    /// The session is gone, and there is no new one yet.
    Lost,
    /// Closed on purpose.
    Closed,
}

/// What is known of the session right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its state.
    pub state: SessionState,
    /// Its id; of the last one while there is none.
    pub id: SessionId,
    /// The timeout that the server granted.
    pub timeout: Duration,
    /// How long the session is known to live on, counted from the sending of the last answered request; zero when
    /// that is over.
    pub validity: Duration,
    /// Sessions so far, this one included.
    pub incarnation: u64,
    /// Connections so far.
    pub connections: u64,
    /// Whether changes are being announced, so that what was read before is known to be current.
    pub live: bool,
}

/// The names of the children of several znodes.
pub type Listings = Vec<Result<Vec<String>, StoreError>>;

/// A tree of znodes, reached through one session.
///
/// Every operation ends by the store's deadline. A write ends as applied, not applied, or unknown
/// ([`StoreError::Unknown`], [`StoreError::Unanswered`]). Nothing is sent while there is no connection: an operation waits for the
/// session until its deadline, then fails with [`StoreError::TimedOut`].
pub trait Store: Send + Sync + 'static {
    /// The Stat of a znode.
    fn exists(&self, path: &ZnodePath) -> impl Future<Output = Result<Stat, StoreError>> + Send;

    /// The data and Stat of a znode.
    fn get(&self, path: &ZnodePath) -> impl Future<Output = Result<(Bytes, Stat), StoreError>> + Send;

    /// The names of a znode's children, in no order, and its Stat.
    fn children(&self, path: &ZnodePath) -> impl Future<Output = Result<(Vec<String>, Stat), StoreError>> + Send;

    /// The Stats of many znodes, in their order, in as few round trips as their sizes allow.
    ///
    /// # Errors
    /// A failure of one znode is in its place; one of the whole is the error.
    fn peek(
        &self,
        paths: &[ZnodePath],
    ) -> impl Future<Output = Result<Vec<Result<Peek, StoreError>>, StoreError>> + Send;

    /// The names of the children of many znodes, in their order, each in no order, in few round trips.
    ///
    /// # Errors
    /// A failure of one znode is in its place; one of the whole is the error.
    fn list_many(&self, paths: &[ZnodePath]) -> impl Future<Output = Result<Listings, StoreError>> + Send {
        async move {
            let mut lists = Vec::with_capacity(paths.len());
            for path in paths {
                lists.push(self.children(path).await.map(|(names, _)| names));
            }
            Ok(lists)
        }
    }

    /// Makes a znode: its path, with the number of a sequential one, and Stat.
    fn create(&self, creation: &Creation) -> impl Future<Output = Result<(ZnodePath, Stat), StoreError>> + Send;

    /// Sets a znode's data, at this version if one is given.
    fn set(
        &self,
        path: &ZnodePath,
        data: Bytes,
        version: Option<i32>,
    ) -> impl Future<Output = Result<Stat, StoreError>> + Send;

    /// Deletes a znode, at this version if one is given.
    fn delete(&self, path: &ZnodePath, version: Option<i32>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Applies all of the operations, or none.
    fn multi(&self, ops: &[Op]) -> impl Future<Output = Result<Vec<OpResult>, MultiError>> + Send;

    /// Applies all of the operations, or none, as [`Store::multi`] does. When it makes ephemerals and ends as unknown, it is
    /// taken back once it is known to have been applied: `restore` makes again what it deleted.
    fn multi_or_undo(
        &self,
        ops: &[Op],
        restore: &[Op],
    ) -> impl Future<Output = Result<Vec<OpResult>, MultiError>> + Send {
        let _ = restore;
        self.multi(ops)
    }

    /// The ACL and Stat of a znode.
    fn get_acl(&self, path: &ZnodePath) -> impl Future<Output = Result<(Vec<Acl>, Stat), StoreError>> + Send;

    /// Sets the ACL of a znode, at this version of the ACL if one is given.
    fn set_acl(
        &self,
        path: &ZnodePath,
        acl: &[Acl],
        version: Option<i32>,
    ) -> impl Future<Output = Result<Stat, StoreError>> + Send;

    /// Waits until what the leader has committed is seen by this session.
    fn sync(&self, path: &ZnodePath) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes an ephemeral of the current session in the background, across interruptions, if it still is the one that
    /// this transaction created: for a caller who was told that it failed although it was made. Never waits; needs a
    /// tokio runtime. (What was made by a request that ended as [`StoreError::Unanswered`] is deleted without asking.)
    fn retract(&self, path: &ZnodePath, czxid: Zxid);

    /// The session right now; never waits.
    fn session(&self) -> SessionView;

    /// The ephemerals of the session, each with the transaction that created it where that is known, in the order of their
    /// paths, as far as this side knows; never waits.
    fn ephemerals(&self) -> Vec<(ZnodePath, Option<Zxid>)>;

    /// What became of the sessions so far; never waits.
    fn history(&self) -> History;

    /// Closes the session at once, so that its ephemerals go.
    fn close(&self) -> impl Future<Output = ()> + Send;

    /// The largest data that one set of this path can carry, in bytes.
    fn data_limit(&self, path: &ZnodePath) -> usize;

    /// The largest transaction, in bytes; each operation costs its paths, its data and [`OP_OVERHEAD`].
    fn multi_limit(&self) -> usize;
}

/// What an operation in a transaction costs beside its path and data, in bytes, generously.
pub const OP_OVERHEAD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_taken_back_by_its_opposite() {
        let path = |text: &str| ZnodePath::parse(text).unwrap();
        let create = |text: &str| {
            Op::Create(Creation { path: path(text), data: Bytes::new(), mode: CreateMode::Persistent, acl: None })
        };
        let delete = |text: &str, version| Op::Delete { path: path(text), version };
        let ops = [
            create("/new"),
            create("/new/n-"),
            create("/new/mark"),
            delete("/new/mark", None),
            Op::Set { path: path("/new"), data: Bytes::new(), version: None },
            delete("/old", Some(7)),
        ];
        let results = [
            OpResult::Created(path("/new")),
            OpResult::Created(path("/new/n-0000000001")),
            OpResult::Created(path("/new/mark")),
            OpResult::Done,
            OpResult::Set(Stat::default()),
            OpResult::Done,
        ];
        let undone = undo(&ops, &results, &[create("/old")]);
        assert_eq!(undone, [delete("/new/n-0000000001", Some(0)), delete("/new", Some(1)), create("/old")]);
    }
}
