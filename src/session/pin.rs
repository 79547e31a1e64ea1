//! Operations that must not outlive a session.
//!
//! An operation that finds no connection waits, and the session that it was asked in may be lost meanwhile: then it is
//! sent in the next one. For most that is what the user wants. For what rests on something that went with the old session,
//! a lock or an ephemeral, it would be a write of somebody who has lost the right to it; looking before is not enough.

use std::future::Future;

use crate::mapping::SessionId;

tokio::task_local! {
    static PIN: SessionId;
}

/// Runs operations that are to be sent in this session or not at all.
///
/// When the session is lost before an operation is sent, the operation fails with
/// [`SessionLost`](super::StoreError::SessionLost).
pub async fn pinned<F: Future>(session: SessionId, operations: F) -> F::Output {
    PIN.scope(session, operations).await
}

/// The session that the current operation is to be sent in; none for any.
pub(crate) fn pin() -> Option<SessionId> {
    PIN.try_with(|session| *session).ok()
}

/// Runs what goes on behind an operation with the operation's pin.
pub(crate) async fn with_pin<F: Future>(pin: Option<SessionId>, operation: F) -> F::Output {
    match pin {
        Some(session) => pinned(session, operation).await,
        None => operation.await,
    }
}
