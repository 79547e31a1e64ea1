//! Streams of changes: opening and polling them.

use std::sync::Arc;

use super::{Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Fh, Handle};
use crate::fs::notify::Bell;
use crate::fs::streams::Stream;
use crate::mapping::ZnodePath;
use crate::session::{SessionState, Store};

impl<S: Store> Core<S> {
    /// Opens the stream of the changes of a znode and all that is below it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` when the server announces no changes: there would never be a line.
    pub(super) fn open_stream(&self, path: &ZnodePath) -> Result<Arc<Stream>> {
        let session = self.store.session();
        if session.state == SessionState::Connected && !session.live {
            tracing::warn!(%path, "no stream of changes: the server does not announce them");
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(self.changes.streams.open(path, self.options.names))
    }

    /// The stream that a handle is, if it is one.
    pub fn stream(&self, fh: Fh) -> Option<Arc<Stream>> {
        match &*self.handles.get(fh)? {
            Handle::Events(stream) => Some(stream.clone()),
            _ => None,
        }
    }

    /// Tells whether a read would not wait; if it would, the bell of this poller is rung when that changes.
    pub fn poll(&self, fh: Fh, poller: Option<(u64, Bell)>) -> bool {
        self.stream(fh).is_none_or(|stream| stream.poll(poller))
    }
}
