//! What the store tells, carried to all that depends on it: the cache first, then the kernel and the listeners.

use std::sync::{Arc, PoisonError, RwLock};

use super::cache::Cache;
use super::inode::Inodes;
use super::notify::Notices;
use crate::session::{Change, Event, Sink};

/// The state that changes of the tree act on. A store gets it as its [`Sink`], the file system as its memory.
///
/// Lock order: none of the locks in here is taken while another one is held.
pub struct Changes {
    /// What is known of the tree.
    pub cache: Cache,
    /// What the kernel refers to.
    pub inodes: Inodes,
    /// What the kernel is to be told.
    pub notices: Notices,
    listeners: RwLock<Vec<Arc<dyn Sink>>>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").field("cache", &self.cache.counters()).finish_non_exhaustive()
    }
}

impl Changes {
    /// With a cache of so many bytes.
    pub fn new(cache_bytes: usize) -> Arc<Changes> {
        Arc::new(Changes {
            cache: Cache::new(cache_bytes),
            inodes: Inodes::default(),
            notices: Notices::default(),
            listeners: RwLock::default(),
        })
    }

    /// Adds one that is told every event, after the cache. It must not block.
    pub fn listen(&self, listener: Arc<dyn Sink>) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
}

impl Sink for Changes {
    fn event(&self, event: Event) {
        self.cache.apply(&event);
        match &event {
            Event::Node { path, change, .. } => {
                self.notices.invalidate(self.inodes.at(path));
                if let Some(parent) = path.parent().filter(|_| *change != Change::Modified) {
                    self.inodes.touch(&parent);
                    self.notices.invalidate(self.inodes.at(&parent));
                }
            }
            Event::Gap | Event::Blind => {
                self.notices.invalidate(self.inodes.all().into_iter().map(|(ino, _)| ino));
            }
            Event::Session(_) => {}
        }
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener.event(event.clone()));
    }
}
