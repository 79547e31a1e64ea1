//! Views: text about a znode or the mount.

use super::{Core, Result};
use crate::error::Errno;
use crate::mapping::{Acl, Stat, View, ZnodePath};
use crate::session::Store;

impl<S: Store> Core<S> {
    /// The text of a view.
    pub(super) async fn view_text(&self, path: &ZnodePath, view: View) -> Result<Vec<u8>> {
        let text = match view {
            View::Stat => self.fresh_stat(path).await?.to_string(),
            View::Acl => self.acl_text(path).await?,
            View::Session => self.session_text(),
            View::Ephemerals => self.ephemerals_text().await,
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
    pub(super) async fn set_acl_text(&self, path: &ZnodePath, text: &[u8]) -> Result<Stat> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let acl = Acl::parse_list(text).map_err(|reason| {
            tracing::warn!(%path, "ACL refused: {reason}");
            Errno::EINVAL
        })?;
        let stat = self.remote(path).set_acl(path, &acl, None).await?;
        // No event tells of it.
        self.changes.cache.forget(path);
        Ok(stat)
    }
}
