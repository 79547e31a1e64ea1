//! Mounts an Apache ZooKeeper tree as a file system.
//!
//! The layers, each of which uses only those below it:
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cli`], [`config`], [`daemon`], [`logging`] | the command: arguments, validated settings, wiring and life |
//! | [`fs`] | the kernel's side: requests of FUSE on an inode table, handles and a cache |
//! | [`session`] | the remote: the [`session::Store`] trait, ZooKeeper and an in-memory tree behind it |
//! | [`mapping`] | pure rules: paths, names, kinds, attributes, edits of content |
//!
//! [`error`] is the one table from errors to errnos.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod error;
pub mod fs;
pub mod logging;
pub mod mapping;
pub mod session;
