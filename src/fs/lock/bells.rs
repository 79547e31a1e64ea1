//! Waking a waiter when its predecessor goes, or when it has to look again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::table::Key;
use crate::mapping::ZnodePath;

/// Everybody who waits through this mount.
#[derive(Debug, Default)]
pub struct Bells {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiters: HashMap<u64, Waiter>,
    /// The waiters by the znode that they wait for.
    paths: HashMap<ZnodePath, Vec<u64>>,
    next: u64,
}

#[derive(Debug)]
struct Waiter {
    key: Key,
    bell: Arc<Notify>,
    path: Option<ZnodePath>,
}

/// The place of one waiter. Dropping it leaves.
#[derive(Debug)]
pub struct Bell {
    bells: Arc<Bells>,
    id: u64,
    notify: Arc<Notify>,
}

impl Bells {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bell for whoever waits for this lock owner.
    pub fn hang(self: &Arc<Bells>, key: Key) -> Bell {
        let notify = Arc::new(Notify::new());
        let mut inner = self.inner();
        let id = inner.next;
        inner.next += 1;
        inner.waiters.insert(id, Waiter { key, bell: notify.clone(), path: None });
        Bell { bells: self.clone(), id, notify }
    }

    /// Rings for those who wait for this znode to go.
    pub fn gone(&self, path: &ZnodePath) {
        let inner = self.inner();
        let waiters = inner.paths.get(path).into_iter().flatten().filter_map(|id| inner.waiters.get(id));
        waiters.for_each(|waiter| waiter.bell.notify_one());
    }

    /// Rings for all who wait on behalf of this lock owner.
    pub fn owner(&self, key: Key) {
        self.inner().waiters.values().filter(|waiter| waiter.key == key).for_each(|waiter| waiter.bell.notify_one());
    }

    /// Rings for everybody.
    pub fn all(&self) {
        self.inner().waiters.values().for_each(|waiter| waiter.bell.notify_one());
    }

    /// Number of waiters.
    pub fn count(&self) -> usize {
        self.inner().waiters.len()
    }
}

impl Inner {
    fn leave(&mut self, id: u64, path: Option<ZnodePath>) {
        let Some(path) = path else { return };
        if let Some(ids) = self.paths.get_mut(&path) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.paths.remove(&path);
            }
        }
    }
}

impl Bell {
    /// From now on the bell rings when this znode goes. A ring is kept until it is waited for, so whoever looks whether
    /// the znode is there after this misses nothing.
    pub fn follow(&self, path: &ZnodePath) {
        let mut inner = self.bells.inner();
        let Some(waiter) = inner.waiters.get_mut(&self.id) else { return };
        let old = waiter.path.replace(path.clone());
        inner.leave(self.id, old);
        inner.paths.entry(path.clone()).or_default().push(self.id);
    }

    /// Waits until it rings.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        let mut inner = self.bells.inner();
        let path = inner.waiters.remove(&self.id).and_then(|waiter| waiter.path);
        inner.leave(self.id, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::inode::Ino;

    #[tokio::test]
    async fn a_ring_is_kept_and_meant_for_one() {
        let bells = Arc::new(Bells::default());
        let path = |text: &str| ZnodePath::parse(text).unwrap();
        let key = |owner| Key { ino: Ino(1), owner };
        let (a, b) = (bells.hang(key(1)), bells.hang(key(2)));
        a.follow(&path("/x"));
        a.follow(&path("/y"));
        b.follow(&path("/x"));
        bells.gone(&path("/y"));
        a.rung().await;
        let quiet = |bell| tokio::time::timeout(std::time::Duration::from_millis(1), Bell::rung(bell));
        bells.gone(&path("/x"));
        assert!(quiet(&a).await.is_err(), "it follows another one now");
        b.rung().await;
        bells.owner(key(2));
        b.rung().await;
        assert!(quiet(&a).await.is_err());
        bells.all();
        a.rung().await;
        drop((a, b));
        assert!(bells.inner().paths.is_empty() && bells.count() == 0);
    }
}
