//! The session's ephemerals, and which of them stem from requests whose reply was lost.
//!
//! Nobody else makes ephemerals in our session. So after a reconnect, those that no caller knows of come from requests
//! whose reply was lost, provided that they are looked for before anything new is sent. That look is the *census*; what
//! it finds is then claimed, each by one of the requests that fit.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::mapping::{Stat, ZnodePath, Zxid};
use crate::session::{Creation, Op};

/// An ephemeral that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its path; for a sequential one without the number.
    pub path: ZnodePath,
    pub sequential: bool,
    /// The data that it has once the whole request is applied.
    pub data: Bytes,
    /// The version that it has then.
    pub version: i32,
}

impl Wanted {
    /// The ephemeral that a creation asks for.
    pub fn of(creation: &Creation) -> Option<Wanted> {
        creation.mode.is_ephemeral().then(|| Wanted {
            path: creation.path.clone(),
            sequential: creation.mode.is_sequential(),
            data: creation.data.clone(),
            version: 0,
        })
    }

    /// The ephemerals that a transaction asks for and leaves, each with the place of its creation.
    pub fn of_multi(ops: &[Op]) -> Vec<(usize, Wanted)> {
        let mut wanted: Vec<(usize, Wanted)> = Vec::new();
        for (place, op) in ops.iter().enumerate() {
            match op {
                Op::Create(creation) => wanted.extend(Wanted::of(creation).map(|one| (place, one))),
                Op::Set { path, data, .. } => {
                    if let Some((_, one)) = wanted.iter_mut().find(|(_, one)| !one.sequential && one.path == *path) {
                        one.data = data.clone();
                        one.version += 1;
                    }
                }
                Op::Delete { path, .. } => wanted.retain(|(_, one)| one.sequential || one.path != *path),
                Op::Check { .. } => {}
            }
        }
        wanted
    }

    /// Tells whether a znode of this path can be the one that was asked for.
    pub fn fits(&self, path: &ZnodePath) -> bool {
        if !self.sequential {
            return *path == self.path;
        }
        let number = path.as_str().strip_prefix(self.path.as_str());
        number.is_some_and(|number| number.len() >= 10 && number.bytes().all(|b| b.is_ascii_digit() || b == b'-'))
    }
}

/// An ephemeral of our session that no caller knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    pub stat: Stat,
    /// Its data; none when we may not read it.
    pub data: Option<Bytes>,
}

/// What became of a request whose reply was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It was applied: this is what it made.
    Applied(ZnodePath, Stat),
    /// What it was to make is not there.
    NotApplied,
    /// It cannot be told: this may stem from it, and somebody has changed it since. Nobody is told of it any more.
    Changed(ZnodePath, Stat),
}

/// See the module.
#[derive(Debug)]
pub struct Ephemerals {
    inner: Mutex<Inner>,
    /// Requests for ephemerals that are on their way.
    sent: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What callers know of, with the transaction that created it where that is known.
    known: HashMap<ZnodePath, Option<Zxid>>,
    /// Requests whose reply was lost and that have not been settled.
    lost: Vec<(u64, Wanted)>,
    next: u64,
    strays: HashMap<ZnodePath, Stray>,
    /// What was deleted while requests were on their way: one of them may have made it.
    gone: HashSet<ZnodePath>,
}

/// How many deletions are kept for requests that are on their way. What they made is rarely gone before its reply.
const GONE: usize = 4096;

/// A request for ephemerals that is on its way.
#[derive(Debug)]
pub struct Ticket<'a> {
    ephemerals: &'a Ephemerals,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut inner = self.ephemerals.inner();
        self.ephemerals.sent.send_modify(|sent| *sent -= 1);
        if *self.ephemerals.sent.borrow() == 0 {
            inner.gone.clear();
        }
    }
}

/// A request whose reply was lost, until it is settled.
#[derive(Debug)]
pub struct Lost<'a> {
    ephemerals: &'a Ephemerals,
    id: u64,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.ephemerals.inner().lost.retain(|(id, _)| *id != self.id);
    }
}

impl Ephemerals {
    pub fn new() -> Ephemerals {
        Ephemerals { inner: Mutex::default(), sent: watch::Sender::new(0) }
    }

    /// Notes that a request is about to be sent.
    pub fn send(&self) -> Ticket<'_> {
        self.sent.send_modify(|sent| *sent += 1);
        Ticket { ephemerals: self }
    }

    /// Waits until it is known of each request that was sent whether its reply was lost.
    pub async fn settled(&self) {
        let mut sent = self.sent.subscribe();
        // It cannot fail: the sender is ours.
        let _ = sent.wait_for(|sent| *sent == 0).await.is_ok();
    }

    /// Notes that a caller is told of an ephemeral, unless it has gone since. Its creation has been announced by now.
    pub fn know(&self, path: ZnodePath, czxid: Option<Zxid>) {
        let mut inner = self.inner();
        if !inner.gone.remove(&path) {
            inner.known.insert(path, czxid);
        }
    }

    /// Notes that an ephemeral was deleted by us.
    pub fn forget(&self, path: &ZnodePath) {
        self.inner().known.remove(path);
    }

    /// Notes that the creation of a znode was announced.
    pub fn came(&self, path: &ZnodePath) {
        self.inner().gone.remove(path);
    }

    /// Notes that the deletion of a znode was announced.
    pub fn went(&self, path: &ZnodePath) {
        let mut inner = self.inner();
        inner.known.remove(path);
        inner.strays.remove(path);
        if *self.sent.borrow() > 0 {
            if inner.gone.len() >= GONE {
                inner.gone.clear();
            }
            inner.gone.insert(path.clone());
        }
    }

    /// Forgets what is not among the session's ephemerals any more: deletions were not announced for a while.
    pub fn remain(&self, all: &HashSet<ZnodePath>) {
        let mut inner = self.inner();
        inner.known.retain(|path, _| all.contains(path));
        inner.gone.clear();
    }

    /// Notes that all are gone with their session: those that callers knew of.
    pub fn clear(&self) -> Vec<ZnodePath> {
        let mut inner = self.inner();
        inner.strays.clear();
        std::mem::take(&mut inner.known).into_keys().collect()
    }

    /// Those that callers know of, in the order of their paths.
    pub fn known(&self) -> Vec<(ZnodePath, Option<Zxid>)> {
        let mut known: Vec<_> = self.inner().known.iter().map(|(path, czxid)| (path.clone(), *czxid)).collect();
        known.sort();
        known
    }

    /// Notes that the reply of a request for this ephemeral was lost. Take it before the ticket is dropped.
    pub fn lose(&self, wanted: Wanted) -> Lost<'_> {
        let mut inner = self.inner();
        let id = inner.next;
        inner.next += 1;
        inner.lost.push((id, wanted));
        Lost { ephemerals: self, id }
    }

    /// What requests asked for whose replies were lost.
    pub fn lost(&self) -> Vec<Wanted> {
        self.inner().lost.iter().map(|(_, wanted)| wanted.clone()).collect()
    }

    /// Those of the session's ephemerals that a lost request may have made and that nobody knows of.
    pub fn suspects(&self, all: HashSet<ZnodePath>) -> Vec<ZnodePath> {
        let inner = self.inner();
        all.into_iter().filter(|path| inner.lost.iter().any(|(_, wanted)| wanted.fits(path))).collect()
    }

    /// Takes the census: what of the session's ephemerals a lost request may have made.
    pub fn census(&self, found: impl IntoIterator<Item = (ZnodePath, Stray)>) {
        let mut inner = self.inner();
        let known = std::mem::take(&mut inner.known);
        let is_stray = |path: &ZnodePath, stray: &Stray| match known.get(path) {
            None => true,
            Some(czxid) => czxid.is_some_and(|czxid| czxid != stray.stat.czxid),
        };
        inner.strays = found.into_iter().filter(|(path, stray)| is_stray(path, stray)).collect();
        inner.known = known;
    }

    /// Settles a lost request with what the last census found.
    pub fn claim(&self, lost: Lost<'_>) -> Claim {
        let mut inner = self.inner();
        let Some(place) = inner.lost.iter().position(|(id, _)| *id == lost.id) else { return Claim::NotApplied };
        let (_, wanted) = inner.lost.swap_remove(place);
        let mut fitting: Vec<(Zxid, ZnodePath)> = inner
            .strays
            .iter()
            .filter(|(path, _)| wanted.fits(path))
            .map(|(path, stray)| (stray.stat.czxid, path.clone()))
            .collect();
        fitting.sort();
        let mut changed = None;
        for (_, path) in fitting {
            let Some(stray) = inner.strays.get(&path) else { continue };
            // Of a name that the server did not choose there can be only one.
            let same = stray.data.as_ref().is_none_or(|data| *data == wanted.data);
            if !wanted.sequential || (same && stray.stat.version == wanted.version) {
                let stat = stray.stat;
                inner.strays.remove(&path);
                inner.known.insert(path.clone(), Some(stat.czxid));
                return Claim::Applied(path, stat);
            }
            if stray.stat.version != wanted.version {
                changed.get_or_insert((path, stray.stat));
            }
        }
        let Some((path, stat)) = changed else { return Claim::NotApplied };
        inner.strays.remove(&path);
        inner.known.insert(path.clone(), Some(stat.czxid));
        Claim::Changed(path, stat)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::CreateMode;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn wanted(text: &str, sequential: bool, data: &'static str) -> Wanted {
        Wanted { path: path(text), sequential, data: Bytes::from_static(data.as_bytes()), version: 0 }
    }

    fn found(text: &str, czxid: i64, data: &'static str) -> (ZnodePath, Stray) {
        let stat = Stat { czxid: Zxid(czxid), ..Stat::default() };
        (path(text), Stray { stat, data: Some(Bytes::from_static(data.as_bytes())) })
    }

    #[test]
    fn each_stray_is_claimed_once() {
        let ephemerals = Ephemerals::new();
        ephemerals.know(path("/q/n-0000000001"), Some(Zxid(5)));
        let lost = [("a", 0), ("a", 0), ("b", 0)].map(|(data, _)| ephemerals.lose(wanted("/q/n-", true, data)));
        ephemerals.census([
            found("/q/n-0000000001", 5, "a"),
            found("/q/n-0000000003", 7, "a"),
            found("/q/n-0000000004", 8, "b"),
        ]);
        let claims = lost.map(|lost| ephemerals.claim(lost));
        assert!(matches!(&claims[0], Claim::Applied(name, _) if name.as_str() == "/q/n-0000000003"));
        assert_eq!(claims[1], Claim::NotApplied);
        assert!(matches!(&claims[2], Claim::Applied(name, _) if name.as_str() == "/q/n-0000000004"));
    }

    #[test]
    fn what_was_known_before_is_not_claimed() {
        let ephemerals = Ephemerals::new();
        ephemerals.know(path("/lock"), Some(Zxid(5)));
        let lost = ephemerals.lose(wanted("/lock", false, "x"));
        ephemerals.census([found("/lock", 5, "x")]);
        assert_eq!(ephemerals.claim(lost), Claim::NotApplied);
        let lost = ephemerals.lose(wanted("/lock", false, "x"));
        ephemerals.census([found("/lock", 9, "y")]);
        assert!(matches!(ephemerals.claim(lost), Claim::Applied(..)), "another one, which only we can have made");
    }

    #[test]
    fn a_changed_stray_is_nobodys() {
        let ephemerals = Ephemerals::new();
        let lost = ephemerals.lose(wanted("/q/n-", true, "a"));
        let (name, mut stray) = found("/q/n-0000000003", 7, "z");
        stray.stat.version = 1;
        ephemerals.census([(name, stray)]);
        let again = ephemerals.lose(wanted("/q/n-", true, "b"));
        assert!(matches!(ephemerals.claim(lost), Claim::Changed(name, _) if name.as_str() == "/q/n-0000000003"));
        assert_eq!(ephemerals.claim(again), Claim::NotApplied);
    }

    #[test]
    fn what_is_gone_is_not_known() {
        let ephemerals = Ephemerals::new();
        let (name, other) = (path("/e"), path("/other"));
        let ticket = ephemerals.send();
        // An earlier one of the same name goes before ours comes.
        ephemerals.went(&name);
        ephemerals.came(&name);
        ephemerals.know(name.clone(), Some(Zxid(5)));
        assert_eq!(ephemerals.known().len(), 1);
        ephemerals.went(&name);
        // Ours goes before its reply is there.
        ephemerals.came(&name);
        ephemerals.went(&name);
        ephemerals.know(name.clone(), Some(Zxid(7)));
        assert_eq!(ephemerals.known(), []);
        ephemerals.went(&name);
        drop(ticket);
        ephemerals.know(name.clone(), Some(Zxid(9)));
        ephemerals.know(other.clone(), Some(Zxid(9)));
        ephemerals.remain(&HashSet::from([other.clone()]));
        assert_eq!(ephemerals.known(), [(other, Some(Zxid(9)))]);
        // A stray that goes is nobody's.
        let lost = ephemerals.lose(wanted("/e", false, ""));
        ephemerals.census([found("/e", 11, "")]);
        ephemerals.went(&name);
        assert_eq!(ephemerals.claim(lost), Claim::NotApplied);
    }

    #[tokio::test]
    async fn settled_waits_for_the_tickets() {
        let ephemerals = Ephemerals::new();
        let ticket = ephemerals.send();
        let lost = ephemerals.lose(wanted("/a", false, ""));
        let mut settled = std::pin::pin!(ephemerals.settled());
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(settled.as_mut().poll(cx).is_pending())).await);
        drop(ticket);
        settled.await;
        assert_eq!(ephemerals.lost().len(), 1);
        drop(lost);
        assert!(ephemerals.lost().is_empty());
    }

    #[test]
    fn what_a_transaction_leaves() {
        let creation =
            |text: &str, mode| Op::Create(Creation { path: path(text), data: Bytes::new(), mode, acl: None });
        let ops = [
            creation("/a", CreateMode::Ephemeral),
            creation("/b", CreateMode::Persistent),
            creation("/c", CreateMode::Ephemeral),
            Op::Set { path: path("/a"), data: Bytes::from_static(b"x"), version: None },
            Op::Delete { path: path("/c"), version: None },
        ];
        let left = Wanted::of_multi(&ops);
        assert_eq!(left, [(0, Wanted { version: 1, ..wanted("/a", false, "x") })]);
    }
}
