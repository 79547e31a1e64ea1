//! Who holds what through this mount.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bells::Bells;
use super::contender::Mode;
use super::held::Held;
use crate::fs::handle::Fh;
use crate::fs::inode::Ino;
use crate::mapping::{SessionId, ZnodePath, Zxid};
use crate::session::{Change, Event, SessionView, Sink, StateChange};

/// Who holds a lock, as the kernel tells it: for flock(2) the open file, for fcntl(2) the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The locked inode.
    pub ino: Ino,
    /// The kernel's number of the owner.
    pub owner: u64,
}

/// The locks of a mount. It listens to what the store tells.
///
/// Lock order: neither of the locks in here is taken while the other one is held.
#[derive(Debug)]
pub struct Locks {
    /// What contenders say of this host.
    pub host: String,
    /// Those who wait.
    pub bells: Arc<Bells>,
    held: Mutex<HashMap<Key, Arc<Held>>>,
}

impl Default for Locks {
    fn default() -> Locks {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Locks { host, bells: Arc::default(), held: Mutex::default() }
    }
}

impl Locks {
    fn held(&self) -> MutexGuard<'_, HashMap<Key, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a lock was granted; what the owner held before is given back.
    pub fn grant(&self, key: Key, held: Arc<Held>) -> Option<Arc<Held>> {
        let before = self.held().insert(key, held);
        // Others may wait for the same owner: two processes that share an open file.
        self.bells.owner(key);
        before
    }

    /// The lock of an owner.
    pub fn get(&self, key: Key) -> Option<Arc<Held>> {
        self.held().get(&key).cloned()
    }

    /// Tells whether an owner holds a lock in this way.
    pub fn holds(&self, key: Key, mode: Mode) -> Option<Arc<Held>> {
        self.get(key).filter(|held| held.mode == mode)
    }

    /// Takes the lock of an owner out, to give it back.
    pub fn take(&self, key: Key) -> Option<Arc<Held>> {
        self.held().remove(&key)
    }

    /// Takes this lock of an owner out, unless the owner has another one by now.
    pub fn take_this(&self, key: Key, held: &Arc<Held>) -> bool {
        let mut table = self.held();
        let same = table.get(&key).is_some_and(|other| Arc::ptr_eq(other, held));
        same && table.remove(&key).is_some()
    }

    /// Takes out what was locked through a handle.
    pub fn take_handle(&self, fh: Fh) -> Vec<Arc<Held>> {
        let mut table = self.held();
        let keys: Vec<Key> = table.iter().filter(|(_, held)| held.fh == fh).map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| table.remove(&key)).collect()
    }

    /// The highest token of what is held on an inode.
    pub fn token(&self, ino: Ino, now: &SessionView) -> Option<Zxid> {
        let table = self.held();
        let held = table.iter().filter(|(key, held)| key.ino == ino && !held.is_lost(now));
        held.map(|(_, held)| held.token).max()
    }

    /// Number of locks held. A lost one stays in the table until its file is closed, and is none.
    pub fn count(&self) -> usize {
        self.held().values().filter(|held| !held.was_lost()).count()
    }

    fn lose(&self, why: &str, lost: impl Fn(&Held) -> bool) {
        let lost: Vec<Arc<Held>> = self.held().values().filter(|held| lost(held)).cloned().collect();
        for held in lost.into_iter().filter(|held| held.lose()) {
            let Held { contender, token, session, .. } = &*held;
            tracing::warn!(%contender, %token, %session, "a lock is lost: {why}");
        }
    }

    fn session_changed(&self, now: Option<SessionId>) {
        self.lose("its session is gone", |held| Some(held.session) != now);
    }
}

impl Sink for Locks {
    fn event(&self, event: Event) {
        match &event {
            Event::Node { path, change: Change::Deleted, .. } => {
                self.bells.gone(path);
                self.lost_contender(path);
            }
            Event::Node { .. } => {}
            Event::Gap | Event::Blind => self.bells.all(),
            Event::Session(change) => {
                match change {
                    StateChange::Connected(session) => self.session_changed(Some(*session)),
                    StateChange::Suspended(_) => {}
                    StateChange::Lost(_) | StateChange::Closed => self.session_changed(None),
                }
                self.bells.all();
            }
        }
    }
}

impl Locks {
    /// A lock that is given back is taken out first, so what is here was deleted by somebody else.
    fn lost_contender(&self, path: &ZnodePath) {
        self.lose("somebody deleted its contender", |held| held.contender == *path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost() {
        let locks = Locks::default();
        let path = |text: &str| ZnodePath::parse(text).unwrap();
        let key = |owner| Key { ino: Ino(7), owner };
        let held = |name: &str, session, fh| {
            Arc::new(Held::new(path(name), Zxid(fh as i64), SessionId(session), Mode::Shared, Fh(fh)))
        };
        let [a, b, c] = [held("/l/a", 1, 1), held("/l/b", 1, 2), held("/l/c", 1, 3)];
        for (owner, lock) in [(1, &a), (2, &b), (3, &c)] {
            assert!(locks.grant(key(owner), lock.clone()).is_none());
        }
        assert_eq!(locks.count(), 3);
        assert_eq!(locks.take_handle(Fh(3)).len(), 1);
        let gone = |name: &str| Event::Node { path: path(name), change: Change::Deleted, zxid: None };
        locks.event(gone("/l/c"));
        locks.event(gone("/l/a"));
        locks.event(Event::Session(StateChange::Suspended(SessionId(1))));
        locks.event(Event::Session(StateChange::Connected(SessionId(1))));
        let lost = |held: &Arc<Held>| !held.lose();
        assert!(lost(&a), "somebody else deleted it");
        assert!(!locks.take_this(key(2), &a) && locks.take_this(key(2), &b));
        locks.grant(key(2), b.clone());
        locks.event(Event::Session(StateChange::Lost(SessionId(1))));
        assert!(lost(&b));
        assert!(!lost(&c), "it had been given back");
        assert_eq!(locks.count(), 0);
    }
}
