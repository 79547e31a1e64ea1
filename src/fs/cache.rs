//! What is known of the tree and known to be current.
//!
//! An answer is kept only while the watch announces every change, and only if no change of its path was announced since its
//! request was sent: the reply and the event come by different ways, and an old reply may be handled after a newer event.
//! An older value never replaces a newer one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::mapping::{Kind, Stat, ZnodePath, Zxid};
use crate::session::{Change, Event};

/// Changes that are remembered for the answers under way; an answer that was overtaken by more is not kept.
const RECENT: usize = 1024;

/// What an entry costs beside its contents, in bytes: the maps' slots, the path's allocation.
const ENTRY_COST: usize = 300;

/// Some servers (3.8.0 of Debian, since CVE-2024-23944) announce no changes of znodes that the session may not read, so
/// nothing is believed for longer than this. Nor does a change of an ACL have an event: this is how long data is shown that may
/// no longer be read.
const UNREADABLE: Duration = Duration::from_secs(10);

/// What the cache says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// This is current.
    Hit(T),
    /// There is no such znode.
    Absent,
    /// Ask the store.
    Miss,
}

/// The state of the cache when a request was sent.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    epoch: u64,
    seen: u64,
}

/// An answer of the store.
#[derive(Debug, Clone)]
pub enum Fresh {
    /// The Stat.
    Stat(Stat),
    /// The data and the Stat.
    Data(Bytes, Stat),
    /// The names of the children and the Stat.
    Children(Arc<Vec<String>>, Stat),
    /// The names of the children, without the Stat.
    Names(Arc<Vec<String>>),
    /// There is no such znode.
    Absent,
}

/// What is known of one znode. What few znodes have is boxed: there may be hundreds of thousands.
#[derive(Debug, Default)]
struct Entry {
    stat: Option<Stat>,
    /// When the Stat was told.
    heard: Option<Instant>,
    /// The data, the transaction that set it, and when it was told.
    data: Option<(Bytes, i64, Instant)>,
    children: Option<Box<(Arc<Vec<String>>, Instant)>>,
    absent: Option<Box<Instant>>,
    cost: u32,
    used: bool,
}

fn is_recent(since: Instant) -> bool {
    since.elapsed() < UNREADABLE
}

impl Entry {
    fn stat(&self) -> Option<Stat> {
        self.stat.filter(|_| self.heard.is_some_and(is_recent))
    }

    fn weigh(&self, path: &ZnodePath) -> usize {
        let data = self.data.as_ref().map_or(0, |(data, ..)| data.len());
        let names = self.children.as_deref().map_or(0, |(names, _)| names.iter().map(|name| name.len() + 32).sum());
        ENTRY_COST + path.as_str().len() + data + names
    }

    /// Weighs the entry again: what it cost before, and what it costs now.
    fn reweigh(&mut self, path: &ZnodePath) -> (usize, usize) {
        let now = self.weigh(path);
        let before = std::mem::replace(&mut self.cost, u32::try_from(now).unwrap_or(u32::MAX));
        (before as usize, self.cost as usize)
    }
}

#[derive(Debug, Default)]
struct Inner {
    live: bool,
    epoch: u64,
    seen: u64,
    recent: VecDeque<ZnodePath>,
    entries: HashMap<ZnodePath, Entry>,
    clock: VecDeque<ZnodePath>,
    bytes: usize,
    hits: u64,
    misses: u64,
    /// The last transaction that was seen; all up to it have been announced.
    latest: Zxid,
    /// The same, when the announcements were interrupted for the last time.
    before_gap: Zxid,
}

/// Counters of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheCounters {
    /// Answers from memory.
    pub hits: u64,
    /// Answers that had to be asked for.
    pub misses: u64,
    /// Znodes in memory.
    pub entries: usize,
    /// Bytes in memory, about.
    pub bytes: usize,
    /// Whether the cache is in use.
    pub live: bool,
}

/// The cache.
#[derive(Debug)]
pub struct Cache {
    inner: Mutex<Inner>,
    limit: usize,
}

impl Cache {
    /// A cache of so many bytes.
    pub fn new(limit: usize) -> Cache {
        Cache { inner: Mutex::default(), limit }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before a request is sent.
    pub fn ticket(&self) -> Ticket {
        let inner = self.inner();
        Ticket { epoch: inner.epoch, seen: inner.seen }
    }

    /// Tells whether changes are being announced.
    pub fn is_live(&self) -> bool {
        self.inner().live
    }

    /// The last transaction that was seen in an answer or an announcement. All up to it have been announced, as an announcement
    /// comes before any answer that shows what it announces.
    pub fn latest(&self) -> Zxid {
        self.inner().latest
    }

    /// The last transaction that was seen before the announcements were interrupted.
    pub fn before_gap(&self) -> Zxid {
        self.inner().before_gap
    }

    /// The Stat of a znode, if one is known, of whatever age. Does not count as a use.
    pub fn known(&self, path: &ZnodePath) -> Option<Stat> {
        self.inner().entries.get(path).and_then(|entry| entry.stat)
    }

    /// The kind of a znode, if that is known.
    pub fn kind(&self, path: &ZnodePath) -> Option<Kind> {
        self.known(path).map(|stat| stat.kind())
    }

    /// The transaction that last set a znode's data, if that is known.
    pub fn zxid(&self, path: &ZnodePath) -> Option<Zxid> {
        self.known(path).map(|stat| stat.mzxid)
    }

    /// The Stat of a znode.
    pub fn stat(&self, path: &ZnodePath) -> Found<Stat> {
        self.find(path, Entry::stat)
    }

    /// The data and Stat of a znode.
    pub fn data(&self, path: &ZnodePath) -> Found<(Bytes, Stat)> {
        self.find(path, |entry| {
            let (stat, (data, mzxid, since)) = (entry.stat()?, entry.data.as_ref()?);
            (stat.mzxid.0 == *mzxid && is_recent(*since)).then(|| (data.clone(), stat))
        })
    }

    /// The names of a znode's children.
    pub fn children(&self, path: &ZnodePath) -> Found<Arc<Vec<String>>> {
        self.find(path, |entry| {
            let (names, since) = entry.children.as_deref()?;
            is_recent(*since).then(|| names.clone())
        })
    }

    fn find<T>(&self, path: &ZnodePath, get: impl FnOnce(&Entry) -> Option<T>) -> Found<T> {
        let mut inner = self.inner();
        let found = match inner.entries.get_mut(path) {
            Some(entry) => {
                entry.used = true;
                match &entry.absent {
                    Some(since) if is_recent(**since) => Found::Absent,
                    Some(_) => Found::Miss,
                    None => get(entry).map_or(Found::Miss, Found::Hit),
                }
            }
            None => Found::Miss,
        };
        match found {
            Found::Miss => inner.misses += 1,
            _ => inner.hits += 1,
        }
        found
    }

    /// Keeps an answer. `own` is the number of changes of the path that the request itself made.
    pub fn put(&self, ticket: Ticket, path: &ZnodePath, own: usize, fresh: Fresh) {
        let mut inner = self.inner();
        inner.see(&fresh);
        if inner.changes_since(ticket, path).is_none_or(|changes| changes > own) {
            return;
        }
        inner.keep(path, fresh);
        inner.evict(self.limit);
    }

    /// Tells whether an answer to a request that was sent then is still current.
    pub fn is_current(&self, ticket: Ticket, path: &ZnodePath) -> bool {
        self.inner().changes_since(ticket, path) == Some(0)
    }

    /// Drops what is known of a znode.
    pub fn forget(&self, path: &ZnodePath) {
        self.inner().drop_entry(path);
    }

    /// Drops what is known of a directory's children: one came or went.
    pub fn forget_listing(&self, path: &ZnodePath) {
        self.inner().drop_listing(path);
    }

    /// Drops everything at and below a path, the answers under way included.
    pub fn forget_below(&self, path: &ZnodePath) {
        let mut inner = self.inner();
        inner.epoch += 1;
        let below: Vec<ZnodePath> = inner.entries.keys().filter(|known| known.is_within(path)).cloned().collect();
        below.iter().for_each(|known| inner.drop_entry(known));
    }

    /// Takes notice of what the store tells.
    pub fn apply(&self, event: &Event) {
        let mut inner = self.inner();
        match event {
            Event::Node { path, change, zxid } => {
                inner.latest = inner.latest.max(zxid.unwrap_or_default());
                inner.seen += 1;
                inner.recent.push_back(path.clone());
                if inner.recent.len() > RECENT {
                    inner.recent.pop_front();
                }
                inner.drop_entry(path);
                if *change != Change::Modified
                    && let Some(parent) = path.parent()
                {
                    inner.drop_listing(&parent);
                }
            }
            Event::Gap => {
                if inner.live {
                    inner.before_gap = inner.latest;
                }
                inner.clear();
                inner.live = true;
            }
            Event::Blind => {
                if inner.live {
                    inner.before_gap = inner.latest;
                }
                inner.clear();
                inner.live = false;
            }
            Event::Session(_) => {}
        }
    }

    /// The counters.
    pub fn counters(&self) -> CacheCounters {
        let inner = self.inner();
        CacheCounters {
            hits: inner.hits,
            misses: inner.misses,
            entries: inner.entries.len(),
            bytes: inner.bytes,
            live: inner.live,
        }
    }
}

fn is_child(path: &ZnodePath, dir: &ZnodePath) -> bool {
    path.parent().as_ref() == Some(dir)
}

impl Inner {
    /// The changes that touch a znode and were announced since then; none when that is not known any more.
    fn changes_since(&self, ticket: Ticket, path: &ZnodePath) -> Option<usize> {
        if !self.live || ticket.epoch != self.epoch {
            return None;
        }
        let since = usize::try_from(self.seen - ticket.seen).unwrap_or(usize::MAX);
        let newer = self.recent.range(self.recent.len().checked_sub(since)?..);
        // A Stat counts the children, so a child that comes or goes makes it old as well.
        Some(newer.filter(|changed| *changed == path || is_child(changed, path)).count())
    }

    fn clear(&mut self) {
        self.epoch += 1;
        self.entries.clear();
        self.clock.clear();
        self.recent.clear();
        self.seen += 1;
        self.bytes = 0;
    }

    fn see(&mut self, fresh: &Fresh) {
        if let Fresh::Stat(stat) | Fresh::Data(_, stat) | Fresh::Children(_, stat) = fresh {
            self.latest = self.latest.max(stat.czxid).max(stat.mzxid).max(stat.pzxid);
        }
    }

    fn keep(&mut self, path: &ZnodePath, fresh: Fresh) {
        if !self.entries.contains_key(path) {
            self.clock.push_back(path.clone());
            self.entries.insert(path.clone(), Entry::default());
        }
        let Some(entry) = self.entries.get_mut(path) else { return };
        let stat = match &fresh {
            Fresh::Stat(stat) | Fresh::Data(_, stat) | Fresh::Children(_, stat) => Some(*stat),
            Fresh::Names(_) => entry.stat,
            Fresh::Absent => None,
        };
        if let (Some(new), Some(old)) = (stat, entry.stat)
            && (new.mzxid < old.mzxid || new.pzxid < old.pzxid)
        {
            return;
        }
        entry.stat = stat;
        entry.absent = None;
        if !matches!(fresh, Fresh::Names(_)) {
            entry.heard = Some(Instant::now());
        }
        match fresh {
            Fresh::Stat(_) => {}
            Fresh::Data(data, stat) => entry.data = Some((data, stat.mzxid.0, Instant::now())),
            Fresh::Children(names, _) | Fresh::Names(names) => entry.children = Some(Box::new((names, Instant::now()))),
            Fresh::Absent => {
                *entry = Entry {
                    absent: Some(Box::new(Instant::now())),
                    cost: entry.cost,
                    used: entry.used,
                    ..Entry::default()
                };
            }
        }
        let (before, now) = entry.reweigh(path);
        self.bytes = self.bytes + now - before;
    }

    fn drop_entry(&mut self, path: &ZnodePath) {
        if let Some(entry) = self.entries.remove(path) {
            self.bytes -= entry.cost as usize;
        }
    }

    /// The Stat goes too, as it counts the children; the data stays, to be used when a new Stat confirms it.
    fn drop_listing(&mut self, path: &ZnodePath) {
        let Some(entry) = self.entries.get_mut(path) else { return };
        entry.children = None;
        entry.stat = None;
        let (before, now) = entry.reweigh(path);
        self.bytes = self.bytes + now - before;
    }

    /// Second chance: what was used since the hand last came by stays. The clock may hold paths that are gone, or twice.
    fn evict(&mut self, limit: usize) {
        while self.bytes > limit {
            let Some(path) = self.clock.pop_front() else { return };
            match self.entries.get_mut(&path) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.clock.push_back(path);
                }
                Some(_) => self.drop_entry(&path),
                None => {}
            }
        }
        if self.clock.len() > 2 * self.entries.len() + RECENT {
            self.clock = self.entries.keys().cloned().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Zxid;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn stat(mzxid: i64) -> Stat {
        Stat { mzxid: Zxid(mzxid), ..Stat::default() }
    }

    fn changed(text: &str, change: Change) -> Event {
        Event::Node { path: path(text), change, zxid: None }
    }

    fn live(limit: usize) -> Cache {
        let cache = Cache::new(limit);
        cache.apply(&Event::Gap);
        cache
    }

    #[test]
    fn nothing_is_kept_while_changes_are_not_announced() {
        let cache = Cache::new(1 << 20);
        cache.put(cache.ticket(), &path("/a"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.stat(&path("/a")), Found::Miss);
        cache.apply(&Event::Gap);
        let before = cache.ticket();
        cache.put(before, &path("/a"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.stat(&path("/a")), Found::Hit(stat(1)));
        cache.apply(&Event::Blind);
        assert_eq!(cache.stat(&path("/a")), Found::Miss);
        cache.apply(&Event::Gap);
        cache.put(before, &path("/a"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.stat(&path("/a")), Found::Miss, "asked for before the gap");
    }

    #[test]
    fn an_answer_that_an_event_overtook_is_not_kept() {
        let cache = live(1 << 20);
        let ticket = cache.ticket();
        cache.apply(&changed("/a", Change::Modified));
        cache.put(ticket, &path("/a"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.stat(&path("/a")), Found::Miss);
        cache.put(ticket, &path("/b"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.stat(&path("/b")), Found::Hit(stat(1)), "another path");
        cache.put(ticket, &path("/a"), 1, Fresh::Stat(stat(2)));
        assert_eq!(cache.stat(&path("/a")), Found::Hit(stat(2)), "the event was that of the request itself");
    }

    #[test]
    fn many_events_overtake_everything() {
        let cache = live(1 << 20);
        let ticket = cache.ticket();
        (0..=RECENT).for_each(|_| cache.apply(&changed("/other", Change::Modified)));
        cache.put(ticket, &path("/a"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.stat(&path("/a")), Found::Miss);
    }

    #[test]
    fn children_come_and_go() {
        let cache = live(1 << 20);
        let names = Arc::new(vec!["x".to_owned()]);
        cache.put(cache.ticket(), &path("/d"), 0, Fresh::Data(Bytes::from_static(b"v"), stat(1)));
        cache.put(cache.ticket(), &path("/d"), 0, Fresh::Children(names.clone(), stat(1)));
        assert_eq!(cache.children(&path("/d")), Found::Hit(names.clone()));
        cache.apply(&changed("/d/x", Change::Modified));
        assert_eq!(cache.children(&path("/d")), Found::Hit(names.clone()));
        cache.apply(&changed("/d/x", Change::Deleted));
        assert_eq!((cache.children(&path("/d")), cache.stat(&path("/d"))), (Found::Miss, Found::Miss));
        cache.put(cache.ticket(), &path("/d"), 0, Fresh::Stat(stat(1)));
        assert_eq!(cache.data(&path("/d")), Found::Hit((Bytes::from_static(b"v"), stat(1))), "confirmed by the Stat");
        cache.put(cache.ticket(), &path("/d"), 0, Fresh::Stat(stat(2)));
        assert_eq!(cache.data(&path("/d")), Found::Miss);
        let ticket = cache.ticket();
        cache.apply(&changed("/d/y", Change::Created));
        cache.put(ticket, &path("/d"), 0, Fresh::Children(names.clone(), stat(2)));
        assert_eq!(cache.children(&path("/d")), Found::Miss, "overtaken by a child");
    }

    #[test]
    fn absence_ends_with_creation() {
        let cache = live(1 << 20);
        cache.put(cache.ticket(), &path("/a"), 0, Fresh::Absent);
        assert_eq!(cache.stat(&path("/a")), Found::Absent);
        cache.apply(&changed("/a", Change::Created));
        assert_eq!(cache.stat(&path("/a")), Found::Miss);
    }

    #[test]
    fn what_was_heard_long_ago_is_asked_for_again() {
        let cache = live(1 << 20);
        cache.put(cache.ticket(), &path("/a"), 0, Fresh::Data(Bytes::from_static(b"v"), stat(1)));
        let age = |heard: bool, read: bool| {
            let Some(long_ago) = Instant::now().checked_sub(UNREADABLE) else { return };
            let mut inner = cache.inner();
            let entry = inner.entries.get_mut(&path("/a")).unwrap();
            entry.heard = entry.heard.map(|since| if heard { long_ago } else { since });
            entry.data = entry.data.take().map(|(data, set, since)| (data, set, if read { long_ago } else { since }));
        };
        age(true, false);
        assert_eq!((cache.stat(&path("/a")), cache.data(&path("/a"))), (Found::Miss, Found::Miss));
        cache.put(cache.ticket(), &path("/a"), 0, Fresh::Stat(stat(1)));
        assert!(matches!(cache.data(&path("/a")), Found::Hit(_)), "the data itself is not old");
        age(false, true);
        assert_eq!((cache.stat(&path("/a")), cache.data(&path("/a"))), (Found::Hit(stat(1)), Found::Miss));
    }

    #[test]
    fn older_never_replaces_newer() {
        let cache = live(1 << 20);
        let ticket = cache.ticket();
        cache.put(ticket, &path("/a"), 0, Fresh::Stat(stat(5)));
        cache.put(ticket, &path("/a"), 0, Fresh::Stat(stat(4)));
        assert_eq!(cache.stat(&path("/a")), Found::Hit(stat(5)));
    }

    #[test]
    fn the_limit_holds_and_what_is_used_stays() {
        let cache = live(10 * (ENTRY_COST + 10));
        cache.put(cache.ticket(), &path("/hot"), 0, Fresh::Stat(stat(1)));
        for n in 0..1000 {
            assert_eq!(cache.stat(&path("/hot")), Found::Hit(stat(1)), "at {n}");
            cache.put(cache.ticket(), &path(&format!("/cold{n}")), 0, Fresh::Stat(stat(1)));
            assert!(cache.counters().bytes <= cache.limit);
        }
        cache.forget_below(&ZnodePath::root());
        assert_eq!((cache.counters().bytes, cache.counters().entries), (0, 0));
    }
}
