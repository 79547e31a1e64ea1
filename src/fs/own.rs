//! Changes that this mount makes itself.
//!
//! The kernel tells its watchers of what its own programs do, so the announcements of these changes must not be told once
//! more. They come before the reply of the operation that made them, from the same server as those of others: an operation
//! says beforehand what it is about to change, what is announced of those paths meanwhile waits for its end, and then its own
//! changes are taken out, each once, and the others are told.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::changes::Changes;
use super::replay::Tiding;
use crate::mapping::ZnodePath;
use crate::session::{Change, Op};

/// The operations that are changing something, and what was announced of it meanwhile.
#[derive(Debug, Default)]
pub struct Own {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    paths: HashMap<ZnodePath, Held>,
    /// What this mount made lately, for the comparison after a gap: the kernel has told of it.
    made: HashMap<ZnodePath, u64>,
    /// The same, oldest first.
    order: VecDeque<(u64, ZnodePath)>,
}

/// Znodes of this mount's own making that are remembered.
const MADE: usize = 1024;

#[derive(Debug, Default)]
struct Held {
    /// The operations under way.
    operations: Vec<u64>,
    /// What was announced, each with the last operation that was under way: it waits for that one and all before.
    announced: VecDeque<(u64, Tiding)>,
}

impl Own {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an announcement back if an operation that is under way may have caused it; else passes it on.
    pub(super) fn sort(&self, path: &ZnodePath, tiding: Tiding, pass: impl FnOnce(Tiding)) {
        let mut inner = self.inner();
        match inner.paths.get_mut(path) {
            Some(Held { operations, announced }) if !operations.is_empty() => {
                let last = operations.iter().copied().max().unwrap_or_default();
                announced.push_back((last, tiding));
            }
            // Still under the lock, so that what was kept back before does not come after this.
            _ => pass(tiding),
        }
    }

    /// Tells whether this mount made the znode at a path lately.
    pub(super) fn has_made(&self, path: &ZnodePath) -> bool {
        self.inner().made.contains_key(path)
    }

    /// A znode is gone: the next one of that path is not the one that this mount made.
    pub(super) fn forget(&self, path: &ZnodePath) {
        self.inner().made.remove(path);
    }

    fn remember(&self, path: &ZnodePath) {
        let mut inner = self.inner();
        inner.last += 1;
        let number = inner.last;
        inner.made.insert(path.clone(), number);
        inner.order.push_back((number, path.clone()));
        if inner.order.len() > MADE
            && let Some((number, path)) = inner.order.pop_front()
            && inner.made.get(&path) == Some(&number)
        {
            inner.made.remove(&path);
        }
    }

    fn begin(&self, changes: &[(ZnodePath, Change)]) -> u64 {
        let mut inner = self.inner();
        inner.last += 1;
        let id = inner.last;
        for (path, _) in changes {
            let operations = &mut inner.paths.entry(path.clone()).or_default().operations;
            if operations.last() != Some(&id) {
                operations.push(id);
            }
        }
        id
    }

    /// Ends an operation: what it changed is taken out, and what waited for it is passed on.
    fn end(&self, id: u64, changes: &[(ZnodePath, Change)], applied: bool, mut pass: impl FnMut(Tiding)) {
        let mut inner = self.inner();
        for (path, change) in changes {
            let Some(held) = inner.paths.get_mut(path) else { continue };
            if applied {
                let own = held.announced.iter().position(|(last, tiding)| *last >= id && tiding.is(*change));
                own.map(|at| held.announced.remove(at));
            }
        }
        for (path, _) in changes {
            let Some(held) = inner.paths.get_mut(path) else { continue };
            held.operations.retain(|other| *other != id);
            let first = held.operations.iter().copied().min().unwrap_or(u64::MAX);
            while held.announced.front().is_some_and(|(last, _)| *last < first) {
                if let Some((_, tiding)) = held.announced.pop_front() {
                    pass(tiding);
                }
            }
            if held.operations.is_empty() {
                inner.paths.remove(path);
            }
        }
    }
}

tokio::task_local! {
    /// The caller was told that the operation was interrupted, so that the kernel tells nobody of it.
    static ABANDONED: Arc<AtomicBool>;
}

/// An operation whose caller may be gone before it ends, as the flag says then.
pub fn for_caller<F: Future>(abandoned: Arc<AtomicBool>, operation: F) -> impl Future<Output = F::Output> {
    ABANDONED.scope(abandoned, operation)
}

/// An operation that is changing something. Dropping it says that it failed, or that its outcome is not known.
#[derive(Debug)]
pub struct OwnChanges {
    changes: Arc<Changes>,
    id: u64,
    list: Vec<(ZnodePath, Change)>,
    applied: bool,
    abandoned: Option<Arc<AtomicBool>>,
}

impl OwnChanges {
    /// The changes were made.
    pub fn applied(mut self) {
        self.applied = true;
    }
}

impl Drop for OwnChanges {
    fn drop(&mut self) {
        if self.list.is_empty() {
            return;
        }
        let Changes { own, tidings, inodes, .. } = &*self.changes;
        let abandoned = self.abandoned.as_ref().is_some_and(|abandoned| abandoned.load(Ordering::SeqCst));
        let told = self.applied && !abandoned;
        own.end(self.id, &self.list, told, |tiding| tidings.push(tiding));
        if told {
            for (path, change) in &self.list {
                match change {
                    Change::Created => {
                        own.remember(path);
                        inodes.tell_name(path, true);
                    }
                    Change::Deleted => {
                        inodes.tell_gone_at(path);
                        inodes.tell_name(path, false);
                    }
                    Change::Modified => {}
                }
            }
        }
    }
}

impl Changes {
    /// Announces changes that are about to be made for a program of this mount, and of which the kernel tells its watchers by
    /// the very names. To be called before they are sent.
    pub fn own(self: &Arc<Changes>, list: Vec<(ZnodePath, Change)>) -> OwnChanges {
        let id = if list.is_empty() { 0 } else { self.own.begin(&list) };
        OwnChanges { changes: self.clone(), id, list, applied: false, abandoned: ABANDONED.try_with(Arc::clone).ok() }
    }
}

/// What a transaction changes.
pub fn changes_of(ops: &[Op]) -> Vec<(ZnodePath, Change)> {
    let change = |op: &Op| match op {
        Op::Check { .. } => None,
        Op::Create(creation) => Some((creation.path.clone(), Change::Created)),
        Op::Set { path, .. } => Some((path.clone(), Change::Modified)),
        Op::Delete { path, .. } => Some((path.clone(), Change::Deleted)),
    };
    ops.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::replay::Item;
    use crate::session::{Event, Sink};

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn announce(changes: &Changes, text: &str, change: Change) {
        changes.event(Event::Node { path: path(text), change, zxid: None });
    }

    /// What would be told, in its order.
    fn told(changes: &Changes) -> Vec<(String, Change)> {
        let items = changes.tidings.try_take();
        let told = items.into_iter().map(|item| match item {
            Item::Tiding(tiding) => (tiding.path.as_str().to_owned(), tiding.change.unwrap()),
            other => panic!("{other:?}"),
        });
        told.collect()
    }

    fn changes() -> Arc<Changes> {
        let changes = Changes::new(1 << 20);
        changes.tidings.open();
        changes
    }

    #[test]
    fn own_changes_are_taken_out_each_once() {
        let changes = changes();
        let own = changes.own(vec![(path("/a"), Change::Created), (path("/a"), Change::Modified)]);
        announce(&changes, "/a", Change::Created);
        announce(&changes, "/b", Change::Created);
        announce(&changes, "/a", Change::Modified);
        announce(&changes, "/a", Change::Modified);
        assert_eq!(told(&changes), [("/b".to_owned(), Change::Created)]);
        own.applied();
        assert_eq!(told(&changes), [("/a".to_owned(), Change::Modified)]);
        announce(&changes, "/a", Change::Deleted);
        assert_eq!(told(&changes), [("/a".to_owned(), Change::Deleted)]);
        assert!(changes.own.inner().paths.is_empty());
    }

    #[test]
    fn a_failure_has_no_own_changes() {
        let changes = changes();
        let own = changes.own(vec![(path("/a"), Change::Created)]);
        announce(&changes, "/a", Change::Created);
        drop(own);
        assert_eq!(told(&changes), [("/a".to_owned(), Change::Created)]);
    }

    #[test]
    fn what_was_announced_waits_for_the_operations_of_its_time_only() {
        let changes = changes();
        let first = changes.own(vec![(path("/a"), Change::Modified)]);
        announce(&changes, "/a", Change::Modified);
        announce(&changes, "/a", Change::Deleted);
        let second = changes.own(vec![(path("/a"), Change::Modified)]);
        announce(&changes, "/a", Change::Created);
        first.applied();
        assert_eq!(told(&changes), [("/a".to_owned(), Change::Deleted)]);
        drop(second);
        assert_eq!(told(&changes), [("/a".to_owned(), Change::Created)]);
    }
}
