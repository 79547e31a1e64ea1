//! Views: text about a znode or the mount.

use super::{Core, Result};
use crate::error::Errno;
use crate::mapping::{Acl, View, ZnodePath};
use crate::session::{SessionState, Store};

impl<S: Store> Core<S> {
    /// The text of a view.
    pub(super) async fn view_text(&self, path: &ZnodePath, view: View) -> Result<Vec<u8>> {
        let text = match view {
            View::Stat => self.fresh_stat(path).await?.to_string(),
            View::Acl => self.acl_text(path).await?,
            View::Session => self.session_text(),
            View::Metrics => self.metrics_text(),
            View::Lock => self.lock_text(path).await?,
            _ => return Err(Errno::ENOENT),
        };
        Ok(text.into_bytes())
    }

    /// The ACL, one entry a line.
    pub(super) async fn acl_text(&self, path: &ZnodePath) -> Result<String> {
        let (acl, _) = self.remote(path).get_acl(path).await?;
        Ok(acl.iter().map(|entry| format!("{entry}\n")).collect())
    }

    /// Sets the ACL to what a text says.
    ///
    /// # Errors
    /// `EINVAL` when it says nothing that is an ACL, with the reason in the log.
    pub(super) async fn set_acl_text(&self, path: &ZnodePath, text: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let acl = Acl::parse_list(text).map_err(|reason| {
            tracing::warn!(%path, "ACL refused: {reason}");
            Errno::EINVAL
        })?;
        self.remote(path).set_acl(path, &acl, None).await?;
        // No event tells of it.
        self.changes.cache.forget(path);
        Ok(())
    }

    /// The state of the session as `key=value` lines.
    fn session_text(&self) -> String {
        let session = self.store.session();
        let state = match session.state {
            SessionState::Connected => "connected",
            SessionState::Suspended => "suspended",
            SessionState::Lost => "lost",
            SessionState::Closed => "closed",
        };
        format!(
            "state={state}\nid={}\ntimeout_ms={}\nvalidity_ms={}\nincarnation={}\nconnections={}\nlive={}\n",
            session.id,
            session.timeout.as_millis(),
            session.validity.as_millis(),
            session.incarnation,
            session.connections,
            session.live,
        )
    }

    /// Counters in Prometheus's text format.
    fn metrics_text(&self) -> String {
        let cache = self.changes.cache.counters();
        let session = self.store.session();
        let unlistable = self.unlistable.load(std::sync::atomic::Ordering::Relaxed);
        [
            ("zkmount_cache_hits_total", "counter", cache.hits),
            ("zkmount_cache_misses_total", "counter", cache.misses),
            ("zkmount_cache_entries", "gauge", cache.entries as u64),
            ("zkmount_cache_bytes", "gauge", cache.bytes as u64),
            ("zkmount_watch_live", "gauge", u64::from(cache.live)),
            ("zkmount_inodes", "gauge", self.changes.inodes.count() as u64),
            ("zkmount_handles", "gauge", self.handles.count() as u64),
            ("zkmount_locks_held", "gauge", self.locks.count() as u64),
            ("zkmount_lock_waiters", "gauge", self.locks.bells.count() as u64),
            ("zkmount_names_too_long_total", "counter", unlistable),
            ("zkmount_changes_untold_total", "counter", self.changes.tidings.missed()),
            ("zkmount_session_connected", "gauge", u64::from(session.state == SessionState::Connected)),
            ("zkmount_session_incarnations_total", "counter", session.incarnation),
            ("zkmount_session_connections_total", "counter", session.connections),
        ]
        .iter()
        .map(|(name, kind, value)| format!("# TYPE {name} {kind}\n{name} {value}\n"))
        .collect()
    }
}
