//! Taking back what was made for a caller who was told that it failed, or who is gone.
//!
//! A signal ends the wait of a caller, not the request. An ephemeral must not outlive a failure that was reported: it would
//! block others for as long as the mount lives. What is persistent goes as well, as long as nobody has touched it.

use std::time::Duration;

use super::lookup::is_same;
use super::rename::Renamed;
use super::{Core, Created, Entry, Opened, Written};
use crate::error::Errno;
use crate::fs::handle::Handle;
use crate::fs::inode::Node;
use crate::mapping::{SessionId, Stat};
use crate::session::{SessionState, Store, StoreError};

/// Between two tries to delete what should not exist.
const PAUSE: Duration = Duration::from_millis(200);

impl<S: Store> Core<S> {
    /// Takes back a file that was made and opened.
    pub async fn take_back_created(&self, created: Created) {
        let node = self.changes.inodes.node(created.entry.attributes.ino);
        self.drafts.end(created.entry.attributes.ino, None);
        self.take_back_opened(created.opened).await;
        if let Some(node) = node.filter(|_| created.made) {
            self.unmake(&node).await;
        }
        self.take_back(&created.entry);
    }

    /// Closes what was opened. A truncation that came with it is not committed.
    pub async fn take_back_opened(&self, opened: Opened) {
        if let Some(Handle::File(file)) = self.handles.get(opened.fh).as_deref() {
            file.cursor.lock().await.failed = true;
        }
        self.release(opened.fh).await;
    }

    /// Takes back a name that was made.
    pub async fn take_back_made(&self, entry: Entry) {
        if let Some(node) = self.changes.inodes.node(entry.attributes.ino) {
            self.unmake(&node).await;
        }
        self.take_back(&entry);
    }

    /// Takes back the sequential file that a write made.
    pub async fn take_back_written(&self, written: Written) {
        if let Some(node) = written.made {
            self.unmake(&node).await;
        }
    }

    /// Takes back a rename that was to create something.
    pub async fn take_back_renamed(&self, renamed: Renamed) {
        let Some(done) = renamed.0 else { return };
        let session = self.store.session().id;
        loop {
            match self.remote(&done.from).multi(&done.undo).await {
                Ok(_) => {
                    self.changes.inodes.renamed(&done.to, &done.from);
                    self.came_or_went(&done.from);
                    self.came_or_went(&done.to);
                    return;
                }
                // An earlier try was applied, or others have been at it since.
                Err(error) if settles(&error.error) => {
                    let Ok(stat) = self.fresh_stat(&done.to).await else { return };
                    let node = Node { path: done.to, czxid: stat.czxid, face: crate::fs::inode::Face::File };
                    return self.retract(&node).await;
                }
                Err(_) if self.has_ended(session) => return,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Deletes what a caller was told that it failed: an ephemeral of ours, or what is persistent and as it was made.
    async fn unmake(&self, node: &Node) {
        self.delete_if(node, may_go).await;
    }

    /// Deletes an ephemeral of ours.
    pub(super) async fn retract(&self, node: &Node) {
        self.delete_if(node, is_ours).await;
    }

    /// Does not end before it is deleted, or another one, or the session gone.
    async fn delete_if(&self, node: &Node, may_go: fn(&Stat, SessionId) -> bool) {
        let session = self.store.session().id;
        loop {
            let done = match self.fresh_stat(&node.path).await {
                Ok(stat) if !is_same(node, &stat) || !may_go(&stat, session) => true,
                // At this version: in between, somebody may have deleted it and made another one.
                Ok(stat) => match self.remote(&node.path).delete(&node.path, Some(stat.version)).await {
                    Ok(()) => {
                        self.came_or_went(&node.path);
                        true
                    }
                    Err(StoreError::BadVersion) => continue,
                    Err(_) => false,
                },
                Err(error) => error == Errno::ENOENT,
            };
            if done || self.has_ended(session) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn has_ended(&self, session: SessionId) -> bool {
        let now = self.store.session();
        now.id != session || now.state == SessionState::Closed
    }
}

fn is_ours(stat: &Stat, session: SessionId) -> bool {
    stat.is_ephemeral() && stat.ephemeral_owner == session
}

fn may_go(stat: &Stat, session: SessionId) -> bool {
    // An empty file is made with one setData.
    let is_as_made = stat.cversion == 0 && (stat.version == 0 || stat.version == 1 && stat.data_length == 0);
    is_ours(stat, session) || !stat.is_ephemeral() && is_as_made
}

/// Whether an error says that a transaction will never be applied.
fn settles(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::TimedOut
            | StoreError::Unanswered
            | StoreError::Unknown
            | StoreError::SessionLost
            | StoreError::Closed
    )
}
