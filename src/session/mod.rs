//! The remote tree: what a store of znodes can do, ZooKeeper and an in-memory tree behind it.

pub mod chronicle;
pub mod error;
pub mod event;
pub mod memory;
pub mod pin;
pub mod size;
pub mod store;
pub mod zookeeper;

pub use chronicle::{History, LostSession};
pub use error::StoreError;
pub use event::{Change, Event, Sink, StateChange};
pub use memory::{Memory, MemoryTree};
pub use pin::pinned;
pub use store::{CreateMode, Creation, MultiError, Op, OpResult, Peek, SessionState, SessionView, Store};
pub use zookeeper::ZooKeeper;
