//! Settings of the file system.

use std::time::Duration;

use super::scratch::Patterns;
use crate::mapping::Names;

/// When a write is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// By each write(2), before it returns.
    Write,
    /// By the close after writes, or by fsync: one transaction a save, with errors that shells do not report.
    Close,
}

/// Settings of the file system.
#[derive(Debug, Clone)]
pub struct Options {
    /// The rules for names.
    pub names: Names,
    /// Nothing can be changed.
    pub read_only: bool,
    /// chmod, chown and explicit times are refused, where they are otherwise ignored.
    pub strict: bool,
    /// Permission bits that files do not get.
    pub fmask: u16,
    /// Permission bits that directories do not get.
    pub dmask: u16,
    /// The owner of all files.
    pub uid: u32,
    /// The group of all files.
    pub gid: u32,
    /// When a write is committed.
    pub commit: Commit,
    /// Names that are kept in memory.
    pub scratch: Patterns,
    /// The deadline of one operation.
    pub timeout: Duration,
    /// Refuses changes below `/zookeeper`: the mounted root is the ensemble's.
    pub guard_system: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            names: Names::default(),
            read_only: false,
            strict: false,
            fmask: 0,
            dmask: 0,
            uid: 0,
            gid: 0,
            commit: Commit::Write,
            scratch: Patterns::default(),
            timeout: Duration::from_secs(10),
            guard_system: true,
        }
    }
}
