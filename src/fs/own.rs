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
use super::inode::Ino;
use super::lately::Lately;
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
    /// What this mount made: the kernel has told of it.
    made: Lately<(), REMEMBERED>,
    /// What this mount removed, and when: the kernel has told of it.
    removed: Lately<Mark, REMEMBERED>,
}

/// Znodes of this mount's own making, and of its own removing, that are remembered.
const REMEMBERED: usize = 8192;

/// A moment on the clock of this mount's own changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mark(u64);

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

    /// Now, on the clock of this mount's own changes.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.inner().last)
    }

    /// Tells whether this mount made the znode at a path lately.
    pub(super) fn has_made(&self, path: &ZnodePath) -> bool {
        self.inner().made.get(path).is_some()
    }

    /// Tells whether this mount removed what was at a path since then.
    pub(super) fn has_removed(&self, path: &ZnodePath, since: Mark) -> bool {
        self.inner().removed.get(path).is_some_and(|removed| *removed > since)
    }

    /// A znode is gone: the next one of that path is not the one that this mount made.
    pub(super) fn forget(&self, path: &ZnodePath) {
        self.inner().made.remove(path);
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

    /// An operation was applied, and the kernel tells of it: what it changed is taken out of what was announced.
    fn take_out(&self, id: u64, changes: &[(ZnodePath, Change)]) {
        let mut inner = self.inner();
        let Inner { last, paths, made, removed } = &mut *inner;
        for (path, change) in changes {
            let held = paths.get_mut(path);
            let is_own = |(last, tiding): &(u64, Tiding)| *last >= id && tiding.is(*change);
            let found = held.and_then(|held| Some((held.announced.iter().position(is_own)?, held)));
            let mut is_over = false;
            if let Some((at, held)) = found {
                held.announced.remove(at);
                // Its end was announced before this side of the operation has ended.
                is_over = held.announced.range(at..).any(|(_, tiding)| tiding.is(Change::Deleted));
            }
            *last += 1;
            match change {
                Change::Created if !is_over => made.insert(path, ()),
                Change::Deleted => removed.insert(path, Mark(*last)),
                _ => {}
            }
        }
    }

    /// Ends an operation: what waited for it is passed on.
    fn end(&self, id: u64, changes: &[(ZnodePath, Change)], mut pass: impl FnMut(Tiding)) {
        let mut inner = self.inner();
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
    /// The inodes that those who watch know to be gone when what they are is.
    ends: Vec<Ino>,
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
        // Before anything that waited is passed on, and before the reply, so that who tells of changes knows.
        if told {
            own.take_out(self.id, &self.list);
            for (path, change) in &self.list {
                match change {
                    Change::Created => inodes.tell_name(path, true),
                    Change::Deleted => inodes.tell_name(path, false),
                    Change::Modified => {}
                }
            }
            self.ends.iter().for_each(|ino| inodes.tell_gone(*ino));
        }
        own.end(self.id, &self.list, |tiding| tidings.push(tiding));
    }
}

impl Changes {
    /// Announces changes that are about to be made for a program of this mount, and of which the kernel tells its watchers by
    /// the very names. To be called before they are sent.
    pub fn own(self: &Arc<Changes>, list: Vec<(ZnodePath, Change)>) -> OwnChanges {
        let id = if list.is_empty() { 0 } else { self.own.begin(&list) };
        let deleted = list.iter().filter(|(_, change)| *change == Change::Deleted);
        let ends = deleted.flat_map(|(path, _)| self.inodes.ending(path)).collect();
        let abandoned = ABANDONED.try_with(Arc::clone).ok();
        OwnChanges { changes: self.clone(), id, list, ends, applied: false, abandoned }
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
