//! What the log and the counters say of an operation.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::time::Instant;

use fuser::{INodeNo, Request};

use crate::error::Errno;
use crate::fs::core::Core;
use crate::fs::inode::Ino;
use crate::session::Store;

/// What the log says of an operation.
pub(super) struct Label {
    operation: &'static str,
    ino: Ino,
    name: String,
    pub(super) pid: u32,
    since: Instant,
}

impl Label {
    pub(super) fn new(operation: &'static str, request: &Request, ino: INodeNo) -> Label {
        Label { operation, ino: Ino(ino.0), name: String::new(), pid: request.pid(), since: Instant::now() }
    }

    pub(super) fn named(operation: &'static str, request: &Request, ino: INodeNo, name: &OsStr) -> Label {
        // Nobody reads it unless the log is on.
        let name =
            if tracing::enabled!(tracing::Level::DEBUG) { name.to_string_lossy().into_owned() } else { String::new() };
        Label { name, ..Label::new(operation, request, ino) }
    }

    /// Counts the operation, which has ended, and logs it if somebody wants to know.
    pub(super) fn end<S: Store>(&self, core: &Core<S>, error: Option<Errno>) {
        core.count(self.operation, error, self.since.elapsed());
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let dir = core.changes().inodes.node(self.ino).map(|node| node.path);
        let znode = dir.as_ref().map(|dir| if self.name.is_empty() { dir.clone() } else { dir.join_raw(&self.name) });
        // The last transaction on it that is known, for a write that succeeded its own.
        let zxid = znode.and_then(|path| core.changes().cache.zxid(&path)).map(tracing::field::display);
        let session = core.session_id();
        let path = Path { dir: dir.as_ref().map(|path| path.as_str()), name: &self.name };
        let micros = self.since.elapsed().as_micros() as u64;
        let errno = error.and_then(Errno::symbol).unwrap_or("0");
        let (op, pid) = (self.operation, self.pid);
        tracing::debug!(target: "zkmount::operation", op, %path, pid, errno, micros, zxid, %session);
    }
}

struct Path<'a> {
    dir: Option<&'a str>,
    name: &'a str,
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.dir, self.name) {
            (None, name) => write!(f, "?/{name}"),
            (Some(dir), "") => f.write_str(dir),
            (Some("/"), name) => write!(f, "/{name}"),
            (Some(dir), name) => write!(f, "{dir}/{name}"),
        }
    }
}
