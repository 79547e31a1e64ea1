//! Pure rules from a ZooKeeper tree to a file system: no I/O, no clock, no lock.

pub mod acl;
pub mod edit;
pub mod name;
pub mod path;
pub mod stat;

pub use acl::{Acl, Permissions};
pub use name::{FileName, Flags, Lifetime, Names, View};
pub use path::{PathError, ZnodePath};
pub use stat::{Kind, SessionId, Stat, Zxid};
