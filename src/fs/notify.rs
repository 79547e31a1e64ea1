//! Telling the kernel that attributes it keeps are no longer current.
//!
//! Only attributes are invalidated, never entries: that would take the directory's lock, for which a create holds it while
//! it waits for this daemon, and a daemon that is killed while one of its threads waits for that lock would never end. An
//! entry needs no invalidation, since its inode is one incarnation of a znode: when that is gone, every use of the inode is
//! answered with ESTALE, on which the kernel looks the name up again.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use fuser::{INodeNo, Notifier};

use super::changes::Changes;
use super::inode::Ino;

/// Tells the kernel that somebody's poll has an answer.
pub type Bell = Box<dyn FnOnce() + Send>;

/// The inodes whose attributes are no longer current; a set, so it is never larger than the inode table. And the bells to be
/// rung, no more than there are polls.
#[derive(Debug, Default)]
pub struct Notices {
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Default)]
struct Queue {
    stale: HashSet<Ino>,
    bells: Vec<Bell>,
    open: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("stale", &self.stale.len()).finish_non_exhaustive()
    }
}

impl Notices {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds inodes. Nothing is kept while there is no mount.
    pub fn invalidate(&self, inos: impl IntoIterator<Item = Ino>) {
        let mut queue = self.queue();
        if queue.open {
            queue.stale.extend(inos);
            self.bell.notify_one();
        }
    }

    /// Adds bells to be rung.
    pub fn ring(&self, bells: Vec<Bell>) {
        if bells.is_empty() {
            return;
        }
        let mut queue = self.queue();
        if queue.open {
            queue.bells.extend(bells);
            self.bell.notify_one();
        }
    }

    /// Waits for inodes or bells and takes them; none when the mount is closed.
    fn take(&self) -> Option<(HashSet<Ino>, Vec<Bell>)> {
        let mut queue = self.queue();
        while queue.open && queue.stale.is_empty() && queue.bells.is_empty() {
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.open.then(|| (std::mem::take(&mut queue.stale), std::mem::take(&mut queue.bells)))
    }

    /// Ends the thread that tells the kernel.
    pub fn close(&self) {
        self.queue().open = false;
        self.bell.notify_all();
    }
}

/// Starts the thread that tells the kernel.
///
/// # Errors
/// When no thread can be made.
pub fn start(changes: Arc<Changes>, notifier: Notifier) -> std::io::Result<()> {
    changes.notices.queue().open = true;
    thread::Builder::new().name("zkmount-notify".to_owned()).spawn(move || {
        while let Some((stale, bells)) = changes.notices.take() {
            bells.into_iter().for_each(|bell| bell());
            for ino in stale {
                // A negative offset leaves the pages alone. An inode that the kernel has forgotten meanwhile is ENOENT.
                if let Err(error) = notifier.inval_inode(INodeNo(ino.0), -1, 0) {
                    tracing::trace!(?ino, %error, "the kernel takes no notice");
                }
            }
        }
    })?;
    Ok(())
}
