//! Telling the kernel that attributes it keeps are no longer current.
//!
//! Only attributes are invalidated, never entries: that would take the directory's lock, for which a create holds it while
//! it waits for this daemon, and a daemon that is killed while one of its threads waits for that lock would never end. An
//! entry needs no invalidation, since its inode is one incarnation of a znode: when that is gone, every use of the inode is
//! answered with ESTALE, on which the kernel looks the name up again.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use fuser::{INodeNo, Notifier};
use tokio::sync::Notify;

use super::changes::Changes;
use super::inode::Ino;

/// How long somebody waits for the kernel to be told, which takes microseconds. Attributes are kept no longer by themselves.
const LONG: Duration = Duration::from_secs(1);

/// Tells the kernel that somebody's poll has an answer.
pub type Bell = Box<dyn FnOnce() + Send>;

/// The inodes whose attributes are no longer current; a set, so it is never larger than the inode table. And the bells to be
/// rung, no more than there are polls.
#[derive(Debug, Default)]
pub struct Notices {
    queue: Mutex<Queue>,
    bell: Condvar,
    /// Rung when the kernel has been told something.
    told: Notify,
}

#[derive(Default)]
struct Queue {
    stale: HashSet<Ino>,
    bells: Vec<Bell>,
    open: bool,
    /// Times that something was added, and up to which of them the kernel has been told.
    added: u64,
    told: u64,
}

/// What the kernel is told at once.
struct Taken {
    stale: HashSet<Ino>,
    bells: Vec<Bell>,
    /// The number of the last addition.
    number: u64,
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
        let mut inos = inos.into_iter().peekable();
        let mut queue = self.queue();
        // Nothing is no addition: nobody would be told of it.
        if queue.open && inos.peek().is_some() {
            queue.stale.extend(inos);
            queue.added += 1;
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

    /// Waits until the kernel has been told all that was added so far, for whoever must not see what is older; not for ever.
    pub async fn delivered(&self) {
        if self.are_delivered() {
            return;
        }
        let wanted = self.queue().added;
        let delivered = async {
            loop {
                // It hears of everything from here on.
                let told = self.told.notified();
                if self.has_told(wanted) {
                    return;
                }
                told.await;
            }
        };
        if tokio::time::timeout(LONG, delivered).await.is_err() {
            tracing::warn!("the kernel takes no notice of changes for {LONG:?}");
        }
    }

    /// Tells whether the kernel has been told all that was added so far.
    pub fn are_delivered(&self) -> bool {
        let queue = self.queue();
        !queue.open || queue.told >= queue.added
    }

    fn has_told(&self, number: u64) -> bool {
        let queue = self.queue();
        !queue.open || queue.told >= number
    }

    /// The kernel has been told all up to here.
    fn tell(&self, number: u64) {
        self.queue().told = number;
        self.told.notify_waiters();
    }

    /// Waits for inodes or bells and takes them; none when the mount is closed.
    fn take(&self) -> Option<Taken> {
        let mut queue = self.queue();
        while queue.open && queue.stale.is_empty() && queue.bells.is_empty() {
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.open.then(|| Taken {
            stale: std::mem::take(&mut queue.stale),
            bells: std::mem::take(&mut queue.bells),
            number: queue.added,
        })
    }

    /// Ends the thread that tells the kernel.
    pub fn close(&self) {
        self.queue().open = false;
        self.bell.notify_all();
        self.told.notify_waiters();
    }
}

/// Starts the thread that tells the kernel.
///
/// # Errors
/// When no thread can be made.
pub fn start(changes: Arc<Changes>, notifier: Notifier) -> std::io::Result<()> {
    changes.notices.queue().open = true;
    thread::Builder::new().name("zkmount-notify".to_owned()).spawn(move || {
        while let Some(Taken { stale, bells, number }) = changes.notices.take() {
            bells.into_iter().for_each(|bell| bell());
            for ino in stale {
                // A negative offset leaves the pages alone. An inode that the kernel has forgotten meanwhile is ENOENT.
                if let Err(error) = notifier.inval_inode(INodeNo(ino.0), -1, 0) {
                    tracing::trace!(?ino, %error, "the kernel takes no notice");
                }
            }
            changes.notices.tell(number);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_that_was_added_is_delivered() {
        let notices = Arc::new(Notices::default());
        notices.invalidate([Ino(7)]);
        notices.delivered().await;
        notices.queue().open = true;
        notices.invalidate([Ino(7), Ino(8)]);
        notices.invalidate([]);
        let teller = {
            let notices = notices.clone();
            thread::spawn(move || {
                let Taken { stale, number, .. } = notices.take().unwrap();
                notices.tell(number);
                stale.len()
            })
        };
        let began = std::time::Instant::now();
        notices.delivered().await;
        assert!(began.elapsed() < LONG, "it was told");
        assert_eq!(teller.join().unwrap(), 2);
        notices.close();
        notices.delivered().await;
    }
}
