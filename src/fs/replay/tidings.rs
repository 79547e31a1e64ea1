//! What is yet to be told to those who watch, in the order in which it was announced.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::fs::own::Mark;
use crate::mapping::{Kind, ZnodePath, Zxid};
use crate::session::Change;

/// Changes that wait to be told. Beyond that the directories are told that something was missed.
const LIMIT: usize = 16384;

/// Directories that are told so. Beyond that all are.
const DIRECTORIES: usize = 1024;

/// Items that are taken at once: their znodes are looked at in one request.
const BATCH: usize = 256;

/// One change to tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiding {
    /// The znode.
    pub path: ZnodePath,
    /// What happened; none when it may have become a directory.
    pub change: Option<Change>,
    /// What it was before.
    pub kind: Option<Kind>,
    /// All transactions up to this one were announced before.
    pub after: Zxid,
    /// When it was announced, on the clock of this mount's own changes.
    pub mark: Mark,
    /// Its place among all changes.
    pub number: u64,
}

impl Tiding {
    /// Tells whether this is what happened.
    pub fn is(&self, change: Change) -> bool {
        self.change == Some(change)
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// One change.
    Tiding(Tiding),
    /// Changes in these directories were missed, all after a transaction.
    Missed(BTreeSet<ZnodePath>, Zxid),
    /// Any changes were missed, all after a transaction.
    Gap(Zxid),
    /// The ACL of a znode was changed.
    Acl(ZnodePath),
}

/// What is yet to be told.
#[derive(Debug, Default)]
pub struct Tidings {
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    open: bool,
    items: VecDeque<Item>,
    /// The changes that wait, by path.
    waiting: HashMap<ZnodePath, Waiting>,
    /// Changes so far.
    count: u64,
    missed: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    count: usize,
    /// Those of them that are deletions.
    ends: usize,
    /// The last of them.
    last: Option<Change>,
    /// There was a gap since.
    old: bool,
}

impl Tidings {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on there is somebody who tells.
    pub fn open(&self) {
        self.queue().open = true;
    }

    /// Nobody tells any more.
    pub fn close(&self) {
        *self.queue() = Queue::default();
        self.bell.notify_all();
    }

    /// Tells whether there is somebody who tells.
    pub fn is_open(&self) -> bool {
        self.queue().open
    }

    /// Changes that were not told one by one, so far.
    pub fn missed(&self) -> u64 {
        self.queue().missed
    }

    /// Adds a change. One that a change of the same znode that still waits will tell too is left out.
    pub fn push(&self, mut tiding: Tiding) {
        let mut queue = self.queue();
        if !queue.open {
            return;
        }
        let before = queue.waiting.get(&tiding.path).filter(|waiting| !waiting.old).map(|waiting| waiting.last);
        let told = match tiding.change {
            Some(Change::Modified) => matches!(before, Some(Some(Change::Created | Change::Modified))),
            None => before == Some(None),
            _ => false,
        };
        if told {
            return;
        }
        if queue.items.len() >= LIMIT {
            queue.collapse();
        }
        let waiting = queue.waiting.entry(tiding.path.clone()).or_default();
        waiting.count += 1;
        waiting.ends += usize::from(tiding.is(Change::Deleted));
        waiting.last = tiding.change;
        waiting.old = false;
        queue.count += 1;
        tiding.number = queue.count;
        queue.items.push_back(Item::Tiding(tiding));
        drop(queue);
        self.bell.notify_one();
    }

    /// Adds a gap in the announcements: all transactions up to this one were announced before.
    pub fn push_gap(&self, after: Zxid) {
        let mut queue = self.queue();
        if queue.open {
            // What comes after the gap is not told by what was before it.
            queue.waiting.values_mut().for_each(|waiting| waiting.old = true);
            queue.items.push_back(Item::Gap(after));
            drop(queue);
            self.bell.notify_one();
        }
    }

    /// Adds a change of an ACL.
    pub fn push_acl(&self, path: ZnodePath) {
        let mut queue = self.queue();
        if queue.open && queue.items.len() < LIMIT {
            queue.items.push_back(Item::Acl(path));
            drop(queue);
            self.bell.notify_one();
        }
    }

    /// Waits for something to tell, and takes some of it; none when nobody is to tell any more.
    pub fn take(&self) -> Option<Vec<Item>> {
        let mut queue = self.queue();
        while queue.open && queue.items.is_empty() {
            queue = self.bell.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.open.then(|| queue.batch())
    }

    /// The number of the last change.
    pub fn last(&self) -> u64 {
        self.queue().count
    }

    /// Tells whether a deletion of a path is yet to be told.
    pub fn ends(&self, path: &ZnodePath) -> bool {
        self.queue().waiting.get(path).is_some_and(|waiting| waiting.ends > 0)
    }

    #[cfg(test)]
    pub(in crate::fs) fn try_take(&self) -> Vec<Item> {
        self.queue().batch()
    }
}

impl Queue {
    fn batch(&mut self) -> Vec<Item> {
        let count = self.items.len().min(BATCH);
        let batch: Vec<Item> = self.items.drain(..count).collect();
        for item in &batch {
            if let Item::Tiding(tiding) = item
                && let Some(waiting) = self.waiting.get_mut(&tiding.path)
            {
                waiting.count -= 1;
                waiting.ends -= usize::from(tiding.is(Change::Deleted));
                if waiting.count == 0 {
                    self.waiting.remove(&tiding.path);
                }
            }
        }
        batch
    }

    /// Makes one item of all.
    fn collapse(&mut self) {
        let mut directories = BTreeSet::new();
        let mut first: Option<Zxid> = None;
        let mut everything = false;
        for item in self.items.drain(..) {
            let after = match item {
                Item::Tiding(tiding) => {
                    self.missed += 1;
                    directories.insert(tiding.path.parent().unwrap_or(tiding.path));
                    tiding.after
                }
                Item::Missed(more, after) => {
                    directories.extend(more);
                    after
                }
                Item::Gap(after) => {
                    everything = true;
                    after
                }
                Item::Acl(path) => {
                    directories.insert(path.parent().unwrap_or(path));
                    continue;
                }
            };
            first = Some(first.map_or(after, |first| first.min(after)));
        }
        self.waiting.clear();
        let after = first.unwrap_or_default();
        everything |= directories.len() > DIRECTORIES;
        self.items.push_back(if everything { Item::Gap(after) } else { Item::Missed(directories, after) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiding(path: &str, change: Change, after: i64) -> Tiding {
        Tiding {
            path: ZnodePath::parse(path).unwrap(),
            change: Some(change),
            kind: None,
            after: Zxid(after),
            mark: Mark::default(),
            number: 0,
        }
    }

    fn unnumbered(item: Item) -> Item {
        match item {
            Item::Tiding(tiding) => Item::Tiding(Tiding { number: 0, ..tiding }),
            item => item,
        }
    }

    fn open() -> Tidings {
        let tidings = Tidings::default();
        tidings.push(tiding("/never", Change::Created, 0));
        tidings.open();
        tidings
    }

    #[test]
    fn sets_of_one_znode_are_one_as_long_as_they_wait() {
        let tidings = open();
        let changes = [Change::Modified, Change::Modified, Change::Deleted, Change::Created, Change::Modified];
        changes.iter().for_each(|change| tidings.push(tiding("/a", *change, 0)));
        tidings.push(tiding("/b", Change::Modified, 0));
        let told: Vec<Item> = tidings.try_take().into_iter().map(unnumbered).collect();
        let expected = [
            tiding("/a", Change::Modified, 0),
            tiding("/a", Change::Deleted, 0),
            tiding("/a", Change::Created, 0),
            tiding("/b", Change::Modified, 0),
        ];
        assert_eq!(told, expected.map(Item::Tiding));
        tidings.push(tiding("/b", Change::Modified, 0));
        assert_eq!(tidings.try_take().len(), 1, "that one was taken before");
    }

    #[test]
    fn too_many_end_in_the_directories_that_missed_them() {
        let tidings = open();
        for n in 0..=LIMIT {
            tidings.push(tiding(&format!("/d{}/n", n % 3), Change::Created, 7 + n as i64));
        }
        let told = tidings.try_take();
        let Item::Missed(directories, after) = &told[0] else { panic!("{told:?}") };
        assert_eq!((directories.len(), *after, told.len()), (3, Zxid(7), 2));
        assert_eq!(tidings.missed(), LIMIT as u64);
        for n in 0..=LIMIT {
            tidings.push(tiding(&format!("/d{n}/n"), Change::Created, 9));
        }
        assert_eq!(tidings.try_take()[0], Item::Gap(Zxid(9)));
    }

    #[test]
    fn a_closed_queue_ends_the_wait() {
        let tidings = open();
        tidings.push(tiding("/a", Change::Created, 0));
        tidings.close();
        assert_eq!(tidings.take(), None);
    }
}
