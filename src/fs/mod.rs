//! The kernel's side: a file system over a [`crate::session::Store`].
//!
//! [`adapter`] speaks FUSE and decides nothing; [`core`] is the file system; the others are what it remembers.

pub mod adapter;
pub mod attributes;
pub mod cache;
pub mod caller;
pub mod changes;
pub mod core;
pub mod departures;
pub mod draft;
pub mod handle;
pub mod inode;
mod lately;
pub mod list;
pub mod lock;
pub mod metrics;
pub mod mount;
pub mod notify;
pub mod options;
pub mod own;
pub mod replay;
pub mod retiring;
pub mod scratch;
pub mod streams;
pub mod walks;

pub use changes::Changes;
pub use mount::{MountSettings, Mounted, mount};
pub use options::{Commit, Options};
