//! Why an operation on a store failed.

/// The outcome of an operation that did not succeed.
///
/// All but [`StoreError::Unknown`] and [`StoreError::Unanswered`] say that nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no such znode.
    #[error("no such znode")]
    NoNode,
    /// The znode exists.
    #[error("the znode exists")]
    NodeExists,
    /// The znode has children.
    #[error("the znode has children")]
    NotEmpty,
    /// The ACL denies it.
    #[error("not authorized")]
    NoAuth,
    /// The ACL is invalid.
    #[error("invalid ACL")]
    InvalidAcl,
    /// The znode is at another version.
    #[error("the znode is at another version")]
    BadVersion,
    /// The parent is an ephemeral.
    #[error("an ephemeral has no children")]
    NoChildrenForEphemerals,
    /// The server refuses the arguments.
    #[error("bad arguments: {0}")]
    BadArguments(String),
    /// A quota is exceeded.
    #[error("quota exceeded")]
    QuotaExceeded,
    /// The request would be over the size limit. It was not sent.
    #[error("over the size limit")]
    TooLarge,
    /// The server is read-only.
    #[error("read-only server")]
    ReadOnly,
    /// The server does not know the operation, such as a TTL without extended types.
    #[error("not supported by the server: {0}")]
    Unsupported(&'static str),
    /// No session before the deadline. Nothing was sent.
    #[error("no connection to the ensemble before the deadline")]
    TimedOut,
    /// The request was sent and not answered before the deadline: it may still be applied.
    #[error("no answer before the deadline")]
    Unanswered,
    /// The session that the operation depends on is gone.
    #[error("the session is lost")]
    SessionLost,
    /// The reply was lost, and whether the request was applied cannot be told.
    #[error("the reply was lost, the outcome is unknown")]
    Unknown,
    /// The store has been closed.
    #[error("the session is closed")]
    Closed,
    /// What the server or the library should never say.
    #[error("unexpected: {0}")]
    Unexpected(String),
}
