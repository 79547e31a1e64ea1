//! What a store tells by itself.

use crate::mapping::{SessionId, ZnodePath, Zxid};

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was created.
    Created,
    /// Its data was set.
    Modified,
    /// It was deleted.
    Deleted,
}

/// A step in the life of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateChange {
    /// The session is up: at first, after an interruption, or a new one after a loss.
    Connected(SessionId),
    /// The connection is gone; the session may live on.
    Suspended(SessionId),
    /// The session is gone, with its ephemerals and locks.
    Lost(SessionId),
    /// The store was closed on purpose.
    Closed,
}

/// What a store tells by itself, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A znode changed. Own changes are announced too.
    Node {
        /// Which one.
        path: ZnodePath,
        /// How.
        change: Change,
        /// The transaction, where the server tells.
        zxid: Option<Zxid>,
    },
    /// The watch was interrupted and is live again as of now: anything may have changed in between.
    Gap,
    /// The watch is not live: changes are not announced until the next [`Event::Gap`].
    Blind,
    /// The session changed its state.
    Session(StateChange),
}

/// Takes the events of a store.
///
/// A store calls it before it returns the result of any operation that may reflect the event, and never concurrently.
pub trait Sink: Send + Sync + 'static {
    /// Takes one event. It must not block: it runs before the result of somebody's read.
    fn event(&self, event: Event);
}

/// Takes no notice.
impl Sink for () {
    fn event(&self, _event: Event) {}
}
