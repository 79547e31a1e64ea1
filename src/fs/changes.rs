//! What the store tells, carried to all that depends on it: the cache first, then the kernel and the listeners.

use std::sync::{Arc, PoisonError, RwLock};

use super::cache::Cache;
use super::inode::Inodes;
use super::notify::Notices;
use super::own::Own;
use super::replay::{Tiding, Tidings};
use super::streams::Streams;
use crate::mapping::{Kind, Stat, ZnodePath, Zxid};
use crate::session::{Change, Event, Sink};

/// The state that changes of the tree act on. A store gets it as its [`Sink`], the file system as its memory.
///
/// Lock order: `own`, then `tidings`. None of the other locks in here is taken while another one is held.
pub struct Changes {
    /// What is known of the tree.
    pub cache: Cache,
    /// What the kernel refers to.
    pub inodes: Inodes,
    /// What the kernel is to be told.
    pub notices: Notices,
    /// What this mount is changing itself.
    pub(super) own: Own,
    /// What those who watch are to be told.
    pub tidings: Tidings,
    /// The streams of changes that are open.
    pub streams: Streams,
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
            own: Own::default(),
            tidings: Tidings::default(),
            streams: Streams::default(),
            listeners: RwLock::default(),
        })
    }

    /// Adds one that is told every event, after the cache. It must not block.
    pub fn listen(&self, listener: Arc<dyn Sink>) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
}

/// The name of a child that comes and goes within one transaction, to tell a directory that has data and never had a child
/// from a file. Nobody is told of it.
pub const MARK: &str = "zkmount-makes-a-directory";

impl Changes {
    /// A znode was read. Nobody announces a change of its ACL.
    pub(super) fn answered(&self, path: &ZnodePath, stat: &Stat) {
        if self.tidings.is_open() && self.inodes.notice_acl(path, stat) {
            self.tidings.push_acl(path.clone());
        }
    }

    /// Hands a change over to those who tell the kernel's watchers, if there can be any.
    /// `above` is what the path above was before.
    fn tell(&self, tiding: Tiding, above: Option<Kind>) {
        if !self.tidings.is_open() {
            return;
        }
        let path = tiding.path.clone();
        let (watchable, may_turn) = self.inodes.is_watchable(&path);
        if may_turn
            && tiding.is(Change::Created)
            && let Some(parent) = path.parent()
        {
            self.tidings.push(Tiding { path: parent, change: None, kind: above, ..tiding.clone() });
        }
        if watchable {
            self.own.sort(&path, tiding, |tiding| self.tidings.push(tiding));
        }
    }
}

impl Sink for Changes {
    fn event(&self, event: Event) {
        let (before, above) = match &event {
            Event::Node { path, change: Change::Created, .. } => {
                (None, path.parent().and_then(|parent| self.cache.kind(&parent)))
            }
            Event::Node { path, .. } => (self.cache.kind(path), None),
            _ => (None, None),
        };
        let after = self.cache.latest();
        self.cache.apply(&event);
        match &event {
            Event::Node { path, change, .. } => {
                if *change == Change::Deleted {
                    self.inodes.end(path);
                }
                self.notices.invalidate(self.inodes.at(path));
                if let Some(parent) = path.parent().filter(|_| *change != Change::Modified) {
                    self.inodes.touch(&parent);
                    self.notices.invalidate(self.inodes.at(&parent));
                }
                if path.name() == MARK {
                    return;
                }
                if *change == Change::Deleted {
                    self.own.forget(path);
                }
                let mark = self.own.mark();
                let (path, change) = (path.clone(), Some(*change));
                self.tell(Tiding { path, change, kind: before, after, mark, number: 0 }, above);
            }
            Event::Gap | Event::Blind => {
                self.inodes.doubt();
                self.notices.invalidate(self.inodes.all().into_iter().map(|(ino, _)| ino));
                if event == Event::Gap && self.cache.before_gap() != Zxid::default() {
                    self.tidings.push_gap(self.cache.before_gap());
                }
            }
            Event::Session(_) => {}
        }
        self.notices.ring(self.streams.event(&event));
        let listeners = self.listeners.read().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener.event(event.clone()));
    }
}
