//! flock(2), fcntl(2) and the view of a lock.

use std::sync::Arc;

use super::{Core, Result};
use crate::error::Errno;
use crate::fs::handle::{Fh, Handle};
use crate::fs::inode::{Face, Ino};
use crate::fs::lock::{Cancel, Card, Claim, Contender, Held, Key, LockMark, Mode, Recipe, Site};
use crate::mapping::{Kind, Stat, View, ZnodePath};
use crate::session::{Store, StoreError};

/// A lock as a program asks for it.
#[derive(Debug, Clone, Copy)]
pub struct Lock {
    /// The kernel's number of who asks: the open file for flock(2), the process for fcntl(2).
    pub owner: u64,
    /// How the lock is wanted; none to give it back.
    pub mode: Option<Mode>,
    /// The part of the file.
    pub range: Range,
    /// The process; 0 when it is not known.
    pub pid: u32,
}

/// A part of a file, its last byte included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
}

impl Range {
    /// Tells whether this is the whole file. Some programs say so by the greatest length, one less than without end.
    fn is_whole(self) -> bool {
        self.start == 0 && self.end >= i64::MAX as u64 - 1
    }
}

/// Looks at a queue whose first contender goes while it is looked at.
const LOOKS: usize = 5;

impl<S: Store> Core<S> {
    /// Takes a lock, changes how it is held, or gives it back. A lock that is held in another way is given back first,
    /// so that others may have it in between, as flock(2) says.
    ///
    /// # Errors
    /// `EAGAIN` when it is busy and is not to be waited for, `EINTR` when it is cancelled, `ENOLCK` without a session,
    /// `EIO` when a lock that was taken through the handle is lost, `EINVAL` for a part of a file, `EOPNOTSUPP` for what
    /// is not in ZooKeeper, `EROFS`.
    pub async fn setlk(&self, ino: Ino, fh: Fh, lock: Lock, wait: bool, cancel: &Cancel) -> Result<()> {
        let handle = self.handle(fh)?;
        let mark = handle.lock().ok_or(Errno::EOPNOTSUPP)?;
        self.check_locks(Some(mark))?;
        let key = Key { ino, owner: lock.owner };
        let held = self.locks.get(key);
        let Some(mode) = lock.mode else {
            return match held {
                Some(_) if !lock.range.is_whole() => Err(Errno::EINVAL),
                Some(held) => self.unlock(key, &held).await,
                None => Ok(()),
            };
        };
        if !lock.range.is_whole() {
            return Err(Errno::EINVAL);
        }
        match held {
            Some(held) if held.is_lost(&self.store.session()) => return Err(Errno::EIO),
            Some(held) if held.mode == mode => return Ok(()),
            Some(held) => self.unlock(key, &held).await?,
            None => {}
        }
        let site = match mark.site.get() {
            Some(site) => site.clone(),
            None => self.lock_site(ino).await?,
        };
        if matches!(&*handle, Handle::Text(_)) {
            mark.site.get_or_init(|| site.clone());
        }
        self.check_writable(&site.dir.join_raw("contender"))?;
        let claim = Claim { key, fh, mode, wait, pid: lock.pid };
        let held = self.recipe(site).acquire(&claim, cancel).await?;
        self.mark(key, &held);
        // What the holders before wrote has been announced before their contenders went. Neither may the kernel know
        // older sizes now.
        self.changes.notices.delivered().await;
        Ok(())
    }

    /// Whoever keeps a lock from being taken, and their process if it is on this host, or else 0; none when it is free.
    pub async fn getlk(&self, ino: Ino, lock: Lock) -> Result<Option<(Mode, u32)>> {
        let Some(mode) = lock.mode else { return Ok(None) };
        let own = self.locks.get(Key { ino, owner: lock.owner });
        let own = own.as_ref().map(|held| held.contender.name());
        let site = self.lock_site(ino).await?;
        let recipe = self.recipe(site.clone());
        for _ in 0..LOOKS {
            let queue = match recipe.queue().await {
                Err(StoreError::NoNode) => return Ok(None),
                queue => queue?,
            };
            let Some(other) = queue.obstacle(mode, |other| Some(other.name.as_str()) == own) else { return Ok(None) };
            let path = site.dir.join_raw(&other.name);
            let card = match self.remote(&path).get(&path).await {
                Err(StoreError::NoNode) => continue,
                Err(StoreError::NoAuth) => Card::default(),
                found => Card::read(&found?.0),
            };
            let pid = card.pid.filter(|_| card.host == self.locks.host);
            return Ok(Some((other.mode, pid.unwrap_or_default())));
        }
        Ok(None)
    }

    /// Takes back a lock whose caller no longer waits for it.
    pub async fn take_back_lock(&self, ino: Ino, owner: u64) {
        let key = Key { ino, owner };
        if let Some(held) = self.locks.get(key) {
            // That it may be lost already makes no difference.
            let _ = self.unlock(key, &held).await.is_ok();
        }
    }

    /// A process closes a descriptor: with it go the locks that it has taken by fcntl(2), through whatever descriptor.
    pub async fn unlock_owner(&self, ino: Ino, owner: u64) {
        self.take_back_lock(ino, owner).await;
    }

    /// The last descriptor of an open file is closed: with it go the locks that were taken through it.
    pub(super) async fn unlock_handle(&self, fh: Fh) {
        for held in self.locks.take_handle(fh) {
            self.recipe(site_of_held(&held)).release(&held).await;
        }
    }

    /// Fails when a lock that was taken through a handle is lost.
    pub(super) fn check_locks(&self, mark: Option<&LockMark>) -> Result<()> {
        match mark {
            Some(mark) if mark.is_lost(|| self.store.session()) => Err(Errno::EIO),
            _ => Ok(()),
        }
    }

    /// Gives a lock back. What was written under it is committed first.
    async fn unlock(&self, key: Key, held: &Arc<Held>) -> Result<()> {
        if held.is_lost(&self.store.session()) {
            return Err(Errno::EIO);
        }
        let handle = self.handles.get(held.fh);
        let committed = match handle.as_deref() {
            Some(Handle::File(file)) if file.gather => self.commit_writes(file).await,
            _ => Ok(()),
        };
        if !self.locks.take_this(key, held) {
            // Somebody else has just done it.
            return committed;
        }
        if let Some(mark) = handle.as_deref().and_then(Handle::lock) {
            mark.remove(held);
        }
        self.recipe(site_of_held(held)).release(held).await;
        committed
    }

    /// From now on the handle depends on the lock.
    fn mark(&self, key: Key, held: &Arc<Held>) {
        let handle = self.handles.get(held.fh);
        let Some(mark) = handle.as_deref().and_then(Handle::lock) else { return };
        mark.add(held.clone());
        // Another process that shares the open file may have given it back meanwhile.
        if !self.locks.get(key).is_some_and(|now| Arc::ptr_eq(&now, held)) {
            mark.remove(held);
        }
    }

    fn recipe(&self, site: Site) -> Recipe<S> {
        Recipe::new(self.store.clone(), self.locks.clone(), site)
    }

    /// Where the lock on an inode is.
    async fn lock_site(&self, ino: Ino) -> Result<Site> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        match &node.face {
            Face::File => Ok(Site::of_file(&node.path)),
            Face::Directory | Face::View(View::Dir) => Ok(Site::of_directory(&node.path)),
            Face::View(view) if !view.is_of_mount() => self.lock_site_of(&node.path).await,
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Where the lock on a znode is, which depends on its kind. One that is gone was a file, if it was locked.
    async fn lock_site_of(&self, path: &ZnodePath) -> Result<Site> {
        let directory = path.is_root()
            || match self.stat(path).await {
                Err(Errno::ENOENT) => false,
                stat => stat?.kind() == Kind::Directory,
            };
        Ok(if directory { Site::of_directory(path) } else { Site::of_file(path) })
    }

    /// Holders and queue of a lock, one a line, in the order of their turns.
    pub(super) async fn lock_text(&self, path: &ZnodePath) -> Result<String> {
        let site = self.lock_site_of(path).await?;
        let queue = match self.recipe(site.clone()).queue().await {
            Err(StoreError::NoNode) => return Ok(String::new()),
            queue => queue?,
        };
        let paths: Vec<ZnodePath> = queue.iter().map(|(contender, _)| site.dir.join_raw(&contender.name)).collect();
        if paths.is_empty() {
            return Ok(String::new());
        }
        let peeks = self.remote(path).peek(&paths).await?;
        let mut text = String::new();
        for (((contender, holds), path), peek) in queue.iter().zip(&paths).zip(peeks) {
            let (stat, data) = match peek {
                Ok(peek) => (peek.stat, peek.data),
                // It may stand in the queue without anybody being allowed to look at it.
                Err(StoreError::NoAuth) => (Stat::default(), None),
                Err(_) => continue,
            };
            let data = match data {
                Some(data) => data,
                None => self.remote(path).get(path).await.map(|(data, _)| data).unwrap_or_default(),
            };
            text += &self.lock_line(contender, holds, &stat, &Card::read(&data));
        }
        Ok(text)
    }

    fn lock_line(&self, contender: &Contender, holds: bool, stat: &Stat, card: &Card) -> String {
        let session = self.store.session();
        let ours = stat.ephemeral_owner == session.id;
        let validity = if ours { session.validity.as_millis().to_string() } else { "-".to_owned() };
        format!(
            "{} mode={} host={} pid={} since={} token={} session={} validity_ms={validity} znode={}\n",
            if holds { "holder" } else { "waiter" },
            contender.mode,
            if card.host.is_empty() { "-" } else { &card.host },
            card.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            utc(stat.ctime),
            stat.czxid,
            stat.ephemeral_owner,
            contender.name.split_whitespace().collect::<Vec<_>>().join("?"),
        )
    }
}

/// Where a lock that is held is.
fn site_of_held(held: &Held) -> Site {
    Site::of_directory(&held.contender.parent().unwrap_or_else(ZnodePath::root))
}

/// A time in milliseconds since the epoch as `2026-01-31T23:59:59Z`.
fn utc(millis: i64) -> String {
    let (days, second) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000) / 1000);
    // Days since 1 March of the year 0, in whose years the leap day is the last one.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, number) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i64::from(number <= 2);
    format!("{year:04}-{number:02}-{date:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_772_323_199_999), "2026-02-28T23:59:59Z");
        assert_eq!(utc(1_772_323_200_000), "2026-03-01T00:00:00Z");
        assert_eq!(utc(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn ranges() {
        let whole = |start, end| Range { start, end }.is_whole();
        assert!(whole(0, i64::MAX as u64) && whole(0, i64::MAX as u64 - 1));
        assert!(!whole(0, 0) && !whole(1, i64::MAX as u64) && !whole(0, 1 << 30));
    }
}
