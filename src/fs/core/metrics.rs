//! `@metrics`.

use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::Core;
use crate::error::Errno;
use crate::fs::metrics::{Waiting, single};
use crate::session::{SessionState, Store};

impl<S: Store> Core<S> {
    /// Counts an operation of the kernel's that has ended.
    pub fn count(&self, kind: &str, error: Option<Errno>, took: Duration) {
        self.metrics.operation(kind, error, took);
    }

    /// Counts a request of the kernel's as one that waits.
    pub fn waiting(&self) -> Waiting {
        self.metrics.waiting()
    }

    /// Counters in Prometheus's text format.
    pub(super) fn metrics_text(&self) -> String {
        let cache = self.changes.cache.counters();
        let session = self.store.session();
        let since = self.mounted.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is = |state| u8::from(session.state == state);
        let mut text = self.metrics.text();
        let mut gauge = |name: &str, help: &str, value: f64| single(&mut text, name, "gauge", help, value);
        gauge("zkmount_start_time_seconds", "When the mount began, in seconds since the epoch.", since.as_secs_f64());
        gauge("zkmount_cache_entries", "Znodes in the cache.", cache.entries as f64);
        gauge("zkmount_cache_bytes", "Bytes in the cache, about.", cache.bytes as f64);
        gauge("zkmount_watch_live", "Whether changes are being announced.", f64::from(u8::from(cache.live)));
        gauge("zkmount_inodes", "Inodes that the kernel knows.", self.changes.inodes.count() as f64);
        gauge("zkmount_handles", "Open files and directories.", self.handles.count() as f64);
        gauge("zkmount_locks_held", "Locks that are held through this mount.", self.locks.count() as f64);
        gauge("zkmount_lock_waiters", "Requests that wait for a lock.", self.locks.bells.count() as f64);
        gauge("zkmount_session_ephemerals", "Ephemerals of the session.", self.store.ephemerals().len() as f64);
        gauge("zkmount_session_connected", "Whether the session is up.", is(SessionState::Connected).into());
        let validity = session.validity.as_secs_f64();
        gauge("zkmount_session_validity_seconds", "So long the session is known to live on.", validity);
        let mut counter = |name: &str, help: &str, value: u64| single(&mut text, name, "counter", help, value);
        counter("zkmount_cache_hits_total", "Answers from the cache.", cache.hits);
        counter("zkmount_cache_misses_total", "Answers that had to be asked for.", cache.misses);
        let untold = "Changes that inotify was not told one by one.";
        counter("zkmount_changes_untold_total", untold, self.changes.tidings.missed());
        counter("zkmount_session_incarnations_total", "Sessions so far.", session.incarnation);
        counter("zkmount_session_connections_total", "Connections so far.", session.connections);
        let reconnects = session.connections.saturating_sub(1);
        counter("zkmount_session_reconnects_total", "Connections after the first.", reconnects);
        counter("zkmount_session_losses_total", "Sessions that were lost.", self.store.history().losses);
        let unlistable = self.unlistable.load(Ordering::Relaxed);
        let too_long = "Times that a znode was left out of a listing, as its name is too long for the kernel.";
        counter("zkmount_names_too_long_total", too_long, unlistable);
        text
    }
}
