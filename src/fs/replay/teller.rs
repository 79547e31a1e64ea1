//! Decides what those who watch are told.
//!
//! An announcement says what happened, not to which incarnation, and it may be old by the time it is told. So each is held
//! against what is there now and what was told before: what was told is never told again, what is replaced is told to be gone
//! first, and sets that follow each other closely are one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Handle;

use super::recent::Recent;
use super::stage::Stage;
use super::tidings::{Item, Tiding};
use crate::fs::changes::Changes;
use crate::fs::core::{Core, HIDDEN};
use crate::fs::inode::{ANY, Face, Known, Node};
use crate::fs::own::Mark;
use crate::mapping::{Kind, Stat, ZnodePath, Zxid};
use crate::session::{Change, Store, StoreError};

/// The incarnation of what came and went before it could be looked at.
const GHOST: Zxid = Zxid(-2);

/// Between two tries to look at znodes, while the ensemble does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// What is at a path now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Now {
    /// Nothing.
    Absent,
    /// A znode whose Stat may not be read.
    Hidden,
    /// A znode.
    Is(Stat),
}

/// What was found at a path.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What is there.
    pub now: Now,
    /// What the kernel knew at the path before that was looked at. Of these, what is not there is gone for certain. What the
    /// kernel has learnt since may be newer than what was found: to tell that that is gone would be false, and the kernel
    /// lets nobody make anything any more in a directory that it believes to be removed.
    pub before: Vec<Known>,
    /// When this was, on the clock of this mount's own changes: before it was looked.
    pub seen: Mark,
}

/// Decides what those who watch are told, and has it told.
#[derive(Debug)]
pub struct Teller<S> {
    pub(super) core: Arc<Core<S>>,
    pub(super) changes: Arc<Changes>,
    pub(super) stage: Arc<Stage>,
    runtime: Handle,
    pub(super) recent: Recent,
    /// The last change that had been announced when the last comparison ended.
    pub(super) compared: u64,
}

/// Nobody is to be told any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended;

/// Whether the work goes on.
pub(super) type Goes<T = ()> = Result<T, Ended>;

impl<S: Store> Teller<S> {
    /// Over a core, with the runtime in which it asks the store.
    pub fn new(core: Arc<Core<S>>, stage: Arc<Stage>, runtime: Handle) -> Teller<S> {
        Teller { changes: core.changes().clone(), core, stage, runtime, recent: Recent::default(), compared: 0 }
    }

    /// Tells, until the mount is gone.
    pub fn run(mut self) {
        while let Some(items) = self.changes.tidings.take() {
            if self.tell(items).is_err() {
                break;
            }
        }
        super::stop(&self.stage, &self.changes.tidings);
    }

    pub(super) fn tell(&mut self, items: Vec<Item>) -> Goes {
        let mut items = VecDeque::from(items);
        while let Some(item) = items.front() {
            match item {
                Item::Tiding(_) => self.tell_changes(&mut items)?,
                Item::Missed(directories, after) => {
                    self.resync(*after, Some(directories))?;
                    items.pop_front();
                }
                Item::Gap(after) => {
                    self.resync(*after, None)?;
                    items.pop_front();
                }
                Item::Acl(path) => {
                    if let Some(Found { now: Now::Is(stat), .. }) = self.look_at(path)? {
                        self.touch(Node::of(path, &stat))?;
                    }
                    items.pop_front();
                }
            }
        }
        Ok(())
    }

    /// Tells the changes that come before anything else.
    fn tell_changes(&mut self, items: &mut VecDeque<Item>) -> Goes {
        let changes = items.iter().map_while(|item| match item {
            Item::Tiding(tiding) => Some(tiding.path.clone()),
            _ => None,
        });
        let now = self.look(changes.collect())?;
        while let Some(Item::Tiding(tiding)) = items.front().cloned() {
            items.pop_front();
            let Some(found) = now.get(&tiding.path) else { continue };
            let is_end =
                |item: &Item| matches!(item, Item::Tiding(t) if t.path == tiding.path && t.is(Change::Deleted));
            let ends = items.iter().any(is_end) || self.changes.tidings.ends(&tiding.path);
            match tiding.change {
                Some(Change::Created) => self.created(&tiding.path, found, ends)?,
                Some(Change::Modified) => self.modified(&tiding.path, found, tiding.kind, ends)?,
                Some(Change::Deleted) => self.ended(&tiding, found)?,
                None => drop(self.turned(&tiding.path, found, tiding.kind)?),
            }
        }
        Ok(())
    }

    /// Looks at znodes. Waits for the ensemble as long as it takes.
    pub(super) fn look(&self, paths: HashSet<ZnodePath>) -> Goes<HashMap<ZnodePath, Found>> {
        let paths: Vec<ZnodePath> = paths.into_iter().collect();
        let seen = self.changes.own.mark();
        let before: Vec<Vec<Known>> = paths.iter().map(|path| self.changes.inodes.known(path)).collect();
        let stats = self.ask({
            let paths = paths.clone();
            move |core| {
                let paths = paths.clone();
                async move { core.peek(&paths).await }
            }
        })?;
        let now = stats.into_iter().map(|stat| match stat {
            Ok(stat) => Now::Is(stat),
            Err(StoreError::NoNode) => Now::Absent,
            Err(_) => Now::Hidden,
        });
        let found = now.zip(before).map(|(now, before)| Found { now, before, seen });
        Ok(paths.into_iter().zip(found).collect())
    }

    /// Looks at one znode.
    pub(super) fn look_at(&self, path: &ZnodePath) -> Goes<Option<Found>> {
        Ok(self.look(HashSet::from([path.clone()]))?.remove(path))
    }

    /// What the kernel knew at a path before that was looked at, and still knows there.
    fn known(&self, path: &ZnodePath, found: &Found) -> Vec<Known> {
        let mut known = self.changes.inodes.known(path);
        known.retain(|known| found.before.iter().any(|before| known.is_same(before)));
        known
    }

    /// What those who watch were told lately to be there, unless the kernel has told them since that it is gone.
    fn told(&self, path: &ZnodePath) -> Option<(Node, Zxid)> {
        let (node, mzxid, since) = self.recent.get(path)?;
        (!self.changes.own.has_removed(path, since)).then(|| (node.clone(), mzxid))
    }

    /// Asks the core, in the runtime, again and again until there is an answer.
    pub(super) fn ask<T, F>(&self, question: impl Fn(Arc<Core<S>>) -> F) -> Goes<T>
    where
        T: Send + 'static,
        F: Future<Output = crate::fs::core::Result<T>> + Send + 'static,
    {
        loop {
            let (sender, receiver) = mpsc::sync_channel(1);
            let answer = question(self.core.clone());
            self.runtime.spawn(async move {
                let _ = sender.send(answer.await);
            });
            // No answer at all means that the runtime is gone.
            match receiver.recv() {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::debug!(%error, "what changed cannot be looked at yet"),
                Err(mpsc::RecvError) => return Err(Ended),
            }
            if !self.changes.tidings.is_open() {
                return Err(Ended);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A znode was created. `ends` says that its end is yet to be told.
    pub(super) fn created(&mut self, path: &ZnodePath, found: &Found, ends: bool) -> Goes {
        if !self.is_watched(path) {
            return Ok(());
        }
        match &found.now {
            Now::Is(stat) => {
                if self.is_told(path, stat) {
                    // What came after the creation may be told only by now.
                    return self.modified(path, found, None, ends);
                }
                let known = self.known(path, found);
                let old = known.iter().find(|known| is_other(known, stat));
                if ends && (old.is_some() || self.told(path).is_some()) {
                    // The end of what they believe in comes first, and tells of this one as well.
                    return Ok(());
                }
                if let Some(old) = old {
                    self.remove(old.node.clone(), found.seen)?;
                }
                self.make(Node::of(path, stat), stat, found.seen)
            }
            Now::Hidden => self.make(hidden(path), &Stat::default(), found.seen),
            // Without an end to follow it would be believed in for ever.
            Now::Absent if ends && self.told(path).is_none() => {
                self.make(ghost(path, Kind::File), &Stat::default(), found.seen)
            }
            Now::Absent => Ok(()),
        }
    }

    /// A znode's data was set, by which it may have turned from what it was, if that is known. `ends` says that an end of it, or
    /// of the one before, is yet to be told.
    pub(super) fn modified(&mut self, path: &ZnodePath, found: &Found, kind: Option<Kind>, ends: bool) -> Goes {
        if self.turned(path, found, kind)? {
            return Ok(());
        }
        let known = self.changes.inodes.known(path);
        match &found.now {
            Now::Is(stat) => {
                let node = Node::of(path, stat);
                match self.told(path) {
                    Some((told, mzxid)) if told.czxid == node.czxid && mzxid == stat.mzxid => return Ok(()),
                    Some((told, _)) if told.czxid == node.czxid => {}
                    // It may have been set before that end.
                    _ if ends => return Ok(()),
                    _ => {}
                }
                match node.face {
                    Face::Directory if known.iter().any(Known::is_watchable_dir) => {
                        self.set_data_of_directory(path, stat, found.seen)
                    }
                    Face::Directory => Ok(()),
                    _ if known.iter().any(Known::is_watchable) || self.is_watched(path) => {
                        self.set(node, stat, found.seen)
                    }
                    _ => Ok(()),
                }
            }
            Now::Hidden if self.is_watched(path) => self.set(hidden(path), &Stat::default(), found.seen),
            Now::Hidden | Now::Absent => Ok(()),
        }
    }

    /// A name that those who watch believe in was not in a listing.
    pub(super) fn vanished(&mut self, path: &ZnodePath, found: &Found) -> Goes {
        let is_old = |stat: &Stat| self.known(path, found).iter().any(|known| is_other(known, stat));
        let is_gone = match &found.now {
            Now::Is(stat) => is_old(stat),
            Now::Absent => self.changes.inodes.believes(path) != Some(false),
            Now::Hidden => false,
        };
        if is_gone { self.deleted(path, None, found) } else { Ok(()) }
    }

    /// A znode was deleted, of this kind if that is known.
    pub(super) fn deleted(&mut self, path: &ZnodePath, kind: Option<Kind>, found: &Found) -> Goes {
        if let Now::Is(stat) = &found.now
            && self.is_told(path, stat)
        {
            // Its successor was told already, and so was the end of this one.
            return Ok(());
        }
        // One that was renamed while it was open is what is there only if nothing else is.
        let mut olds = self.olds(path, found);
        olds.sort_by_key(|known| (known.node.czxid != ANY, known.asked));
        match olds.pop() {
            Some(old) => self.remove(old.node, found.seen)?,
            // They were told by the kernel that the name was made anew.
            None if self.changes.own.has_made(path) => return Ok(()),
            None if self.is_watched(path) => {
                let told = self.told(path).map(|(told, _)| told);
                self.remove(told.unwrap_or_else(|| ghost(path, kind.unwrap_or(Kind::File))), found.seen)?;
            }
            None => return Ok(()),
        }
        match found.now {
            Now::Is(_) => self.created(path, found, false),
            _ => Ok(()),
        }
    }

    /// The inodes at a path that are gone, and of which that was not told.
    fn olds(&self, path: &ZnodePath, found: &Found) -> Vec<Known> {
        let mut known = self.known(path, found);
        known.retain(|known| match &found.now {
            Now::Is(stat) => is_other(known, stat),
            _ => !known.gone,
        });
        known
    }

    /// The deletion of a znode was announced.
    fn ended(&mut self, tiding: &Tiding, found: &Found) -> Goes {
        let path = &tiding.path;
        if self.olds(path, found).is_empty() {
            // A comparison has told of it, or it came and went before that.
            let compared = tiding.number <= self.compared && self.changes.inodes.believes(path) == Some(false);
            // The kernel has told of the end of a later one, after which they were told of no other.
            let outrun = self.told(path).is_none() && self.changes.own.has_removed(path, tiding.mark);
            if compared || outrun {
                return Ok(());
            }
        }
        self.deleted(path, tiding.kind, found)
    }

    /// Tells that a file has become a directory, or the other way round; true if it has. `kind` is what it was, if that is
    /// known, for those who know it from a listing.
    pub(super) fn turned(&mut self, path: &ZnodePath, found: &Found, kind: Option<Kind>) -> Goes<bool> {
        let Now::Is(stat) = &found.now else { return Ok(false) };
        let node = Node::of(path, stat);
        let known = self.known(path, found).into_iter().filter(|known| !known.gone).map(|known| known.node);
        let told = self.told(path).map(|(told, _)| told);
        let mut olds: Vec<Node> = known.chain(told).filter(|known| known.czxid == stat.czxid).collect();
        if olds.is_empty() && self.is_watched(path) && self.changes.inodes.believes(path) == Some(true) {
            olds.extend(kind.map(|kind| Node { path: path.clone(), czxid: stat.czxid, face: kind.into() }));
        }
        match olds.into_iter().find(|old| old.face != node.face) {
            Some(old) if !path.is_root() => {
                self.remove(old, found.seen)?;
                self.make(node, stat, found.seen)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Tells whether those who watch were told that a znode with this Stat was created.
    pub(super) fn is_told(&self, path: &ZnodePath, stat: &Stat) -> bool {
        self.told(path).is_some_and(|(told, _)| told.czxid == Node::of(path, stat).czxid)
    }

    /// Tells whether somebody may watch the directory above.
    pub(super) fn is_watched(&self, path: &ZnodePath) -> bool {
        let parent = path.parent();
        parent.is_some_and(|parent| self.changes.inodes.known(&parent).iter().any(Known::is_watchable_dir))
    }
}

fn hidden(path: &ZnodePath) -> Node {
    Node { path: path.clone(), czxid: HIDDEN, face: Face::File }
}

fn ghost(path: &ZnodePath, kind: Kind) -> Node {
    Node { path: path.clone(), czxid: GHOST, face: kind.into() }
}

/// Tells whether an inode is not that of a znode with this Stat, and its end was not told.
fn is_other(known: &Known, stat: &Stat) -> bool {
    !known.gone && known.node.czxid != ANY && known.node.czxid != stat.czxid
}
