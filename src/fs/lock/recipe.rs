//! Getting in, waiting, and getting out, whatever happens to the connection.
//!
//! A contender that nobody knows of would block everybody for as long as the session lives. So one whose request ended in
//! doubt is looked for by its name, which nobody else uses, and what nobody wants any more is deleted in the background
//! until that is known to have happened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bells::Bell;
use super::contender::{Card, Contender, Mode};
use super::held::{Held, is_alive};
use super::patience::Cancel;
use super::queue::{Queue, Turn};
use super::table::{Key, Locks};
use crate::error::Errno;
use crate::fs::handle::Fh;
use crate::mapping::{SessionId, ZnodePath, Zxid};
use crate::session::{CreateMode, Creation, SessionState, Store, StoreError, pinned};

/// How often a waiter looks by itself while changes are announced: some servers announce none of a znode that the session
/// may not read, as another client's contender may be.
const SLOW: Duration = Duration::from_secs(10);
/// How often it looks while they are not.
const FAST: Duration = Duration::from_secs(1);
/// Tries to make a contender in a directory that the server removes whenever it is empty.
const TRIES: usize = 10;
/// The first pause between two tries to clean up; it grows with every try.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Where a lock's contenders are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The directory.
    pub dir: ZnodePath,
    /// It belongs to the lock, and is made when it is needed.
    pub own: bool,
}

impl Site {
    /// Of the lock on a directory: in itself.
    pub fn of_directory(path: &ZnodePath) -> Site {
        Site { dir: path.clone(), own: false }
    }

    /// Of the lock on a file: in a container beside it, since a file that gets children is a directory.
    pub fn of_file(path: &ZnodePath) -> Site {
        let parent = path.parent().unwrap_or_else(ZnodePath::root);
        Site { dir: parent.join_raw(&format!(".{}.lock", path.name())), own: true }
    }
}

/// A request for a lock.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who asks.
    pub key: Key,
    /// Through which handle.
    pub fh: Fh,
    /// How the lock is wanted.
    pub mode: Mode,
    /// Whether to wait for it.
    pub wait: bool,
    /// The process that asks; 0 when it is not known.
    pub pid: u32,
}

/// The lock of one place.
#[derive(Debug)]
pub struct Recipe<S> {
    store: Arc<S>,
    locks: Arc<Locks>,
    site: Site,
}

impl<S> Clone for Recipe<S> {
    fn clone(&self) -> Recipe<S> {
        Recipe { store: self.store.clone(), locks: self.locks.clone(), site: self.site.clone() }
    }
}

/// A contender of ours.
struct Entered {
    path: ZnodePath,
    token: Zxid,
    session: SessionId,
}

type Result<T> = std::result::Result<T, Errno>;

impl<S: Store> Recipe<S> {
    /// The lock of a place.
    pub fn new(store: Arc<S>, locks: Arc<Locks>, site: Site) -> Recipe<S> {
        Recipe { store, locks, site }
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// `EAGAIN` when it is busy and was not to be waited for; `EINTR` when it was cancelled; `ENOLCK` while there is no
    /// session and when the session is lost; `ESTALE` when the directory is gone. No contender is left behind by any.
    pub async fn acquire(&self, claim: &Claim, cancel: &Cancel) -> Result<Arc<Held>> {
        self.check_session()?;
        if !claim.wait {
            // A look costs less than a contender, and leaves nothing to clean up.
            match self.queue().await {
                Ok(queue) if queue.obstacle(claim.mode, |_| false).is_some() => return Err(Errno::EAGAIN),
                Ok(_) | Err(StoreError::NoNode) => {}
                Err(error) => return Err(self.refusal(error)),
            }
        }
        let entered = self.enter(claim).await?;
        let granted = self.wait_turn(&entered, claim, cancel).await;
        if !granted.as_ref().is_ok_and(|held| held.contender == entered.path) {
            self.leave(entered.path).await;
        }
        granted
    }

    /// Gives a lock back. When this returns the others have it, unless there is no connection: then in the background.
    pub async fn release(&self, held: &Held) {
        if !held.is_lost(&self.store.session()) {
            self.leave(held.contender.clone()).await;
        }
    }

    /// The contenders now.
    ///
    /// # Errors
    /// What the store says; that there is no such directory means that there are none.
    pub async fn queue(&self) -> std::result::Result<Queue, StoreError> {
        let (names, _) = self.store.children(&self.site.dir).await?;
        Ok(Queue::new(&names))
    }

    fn refusal(&self, error: StoreError) -> Errno {
        match error {
            StoreError::SessionLost | StoreError::Closed => Errno::ENOLCK,
            StoreError::NoNode => Errno::ESTALE,
            error => {
                tracing::debug!(dir = %self.site.dir, %error, "no lock");
                Errno::from(error)
            }
        }
    }

    fn check_session(&self) -> Result<()> {
        match self.store.session().state {
            SessionState::Lost | SessionState::Closed => Err(Errno::ENOLCK),
            SessionState::Connected | SessionState::Suspended => Ok(()),
        }
    }

    /// Makes a contender.
    async fn enter(&self, claim: &Claim) -> Result<Entered> {
        let name = Contender::prefix(claim.mode);
        let prefix = self.site.dir.join_raw(&name);
        let card = Card { host: self.locks.host.clone(), pid: Some(claim.pid).filter(|pid| *pid != 0) };
        let creation = Creation {
            path: prefix.clone(),
            data: card.write(claim.mode),
            mode: CreateMode::EphemeralSequential,
            acl: None,
        };
        for _ in 0..TRIES {
            self.check_session()?;
            let made = match self.store.create(&creation).await {
                Err(StoreError::Unknown | StoreError::Unanswered) => match self.find(&name).await {
                    Ok(None) => continue,
                    Ok(Some(path)) => self.store.exists(&path).await.map(|stat| (path, stat)),
                    Err(error) => Err(error),
                },
                Err(StoreError::NoNode) if self.site.own => {
                    self.make_site().await?;
                    continue;
                }
                Err(error) => return Err(self.refusal(error)),
                made => made,
            };
            match made {
                Ok((path, stat)) => return Ok(Entered { path, token: stat.czxid, session: stat.ephemeral_owner }),
                Err(error) => {
                    self.clean_up(Remains::Prefix(name));
                    return Err(self.refusal(error));
                }
            }
        }
        Err(Errno::ENOLCK)
    }

    /// Makes the directory of a file's lock.
    async fn make_site(&self) -> Result<()> {
        let creation =
            Creation { path: self.site.dir.clone(), data: Bytes::new(), mode: CreateMode::Container, acl: None };
        match self.store.create(&creation).await {
            Ok(_) | Err(StoreError::NodeExists | StoreError::Unknown | StoreError::Unanswered) => Ok(()),
            Err(error) => Err(self.refusal(error)),
        }
    }

    async fn wait_turn(&self, entered: &Entered, claim: &Claim, cancel: &Cancel) -> Result<Arc<Held>> {
        let mut bell = None;
        loop {
            if cancel.is_cancelled() {
                return Err(Errno::EINTR);
            }
            if let Some(held) = self.already(claim) {
                return Ok(held);
            }
            let queue = match pinned(entered.session, self.queue()).await {
                Ok(queue) => queue,
                // The queue goes on without a connection, as long as the session does.
                Err(StoreError::TimedOut | StoreError::Unanswered | StoreError::Unknown) if claim.wait => {
                    self.check_own(entered)?;
                    continue;
                }
                Err(error) => return Err(self.refusal(error)),
            };
            self.check_own(entered)?;
            let before = match queue.turn(entered.path.name()) {
                Turn::Now if cancel.is_cancelled() => return Err(Errno::EINTR),
                Turn::Now if self.store.session().state == SessionState::Connected => {
                    return self.grant(entered, claim);
                }
                // Look again, which waits for the connection.
                Turn::Now => continue,
                Turn::Gone => {
                    tracing::warn!(contender = %entered.path, "somebody deleted a contender of this mount");
                    return Err(Errno::ENOLCK);
                }
                Turn::After(_) if !claim.wait => return Err(Errno::EAGAIN),
                Turn::After(before) => self.site.dir.join_raw(&before.name),
            };
            let bell = bell.get_or_insert_with(|| self.locks.bells.hang(claim.key));
            bell.follow(&before);
            if self.already(claim).is_none() {
                pinned(entered.session, self.wait_for(&before, bell, cancel)).await;
            }
        }
    }

    /// The lock that somebody else has taken for the same owner meanwhile.
    fn already(&self, claim: &Claim) -> Option<Arc<Held>> {
        self.locks.holds(claim.key, claim.mode).filter(|held| !held.is_lost(&self.store.session()))
    }

    /// Waits until another contender is gone, or there is another reason to look.
    async fn wait_for(&self, before: &ZnodePath, bell: &Bell, cancel: &Cancel) {
        loop {
            if let Err(StoreError::NoNode | StoreError::SessionLost) = self.store.exists(before).await {
                return;
            }
            let period = if self.store.session().live { SLOW } else { FAST };
            tokio::select! {
                () = bell.rung() => return,
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(period) => {}
            }
        }
    }

    /// Fails unless the session of a contender is known to be alive.
    fn check_own(&self, entered: &Entered) -> Result<()> {
        if is_alive(entered.session, &self.store.session()) { Ok(()) } else { Err(Errno::ENOLCK) }
    }

    /// The contender stands first. It is the holder if its session is alive now, after that was seen.
    fn grant(&self, entered: &Entered, claim: &Claim) -> Result<Arc<Held>> {
        let held = Held::new(entered.path.clone(), entered.token, entered.session, claim.mode, claim.fh);
        let held = Arc::new(held);
        // Entered first, and looked at afterwards: a loss in between is seen by one or the other.
        if let Some(before) = self.locks.grant(claim.key, held.clone()) {
            self.clean_up(Remains::Path(before.contender.clone()));
        }
        if held.is_lost(&self.store.session()) {
            self.locks.take_this(claim.key, &held);
            return Err(Errno::ENOLCK);
        }
        Ok(held)
    }

    /// The contender of this name without the number. The answer is final: everything that this session has sent before
    /// has been applied, or never will be.
    async fn find(&self, prefix: &str) -> std::result::Result<Option<ZnodePath>, StoreError> {
        self.store.sync(&self.site.dir).await?;
        match self.store.children(&self.site.dir).await {
            Ok((names, _)) => {
                let name = names.iter().find(|name| name.starts_with(prefix));
                Ok(name.map(|name| self.site.dir.join_raw(name)))
            }
            Err(StoreError::NoNode) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a contender; when that cannot be done at once, in the background.
    async fn leave(&self, path: ZnodePath) {
        if self.store.session().state == SessionState::Connected && is_done(&self.store.delete(&path, None).await) {
            return;
        }
        self.clean_up(Remains::Path(path));
    }

    /// Sees to it that a contender is gone, however long that takes.
    fn clean_up(&self, remains: Remains) {
        let recipe = self.clone();
        tokio::spawn(async move {
            let (mut pause, mut said) = (PAUSE, false);
            loop {
                let deleted = recipe.delete(&remains).await;
                if is_done(&deleted) {
                    return;
                }
                if let Err(error @ (StoreError::NoAuth | StoreError::BadArguments(_) | StoreError::Unexpected(_))) =
                    deleted
                {
                    if !said {
                        tracing::warn!(dir = %recipe.site.dir, ?remains, %error, "a contender is left in a lock's queue");
                    }
                    // Rights may be given back; all else stays as it is until the session ends.
                    if error != StoreError::NoAuth {
                        return;
                    }
                    said = true;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        });
    }

    async fn delete(&self, remains: &Remains) -> std::result::Result<(), StoreError> {
        let path = match remains {
            Remains::Path(path) => Some(path.clone()),
            Remains::Prefix(prefix) => self.find(prefix).await?,
        };
        match path {
            Some(path) => self.store.delete(&path, None).await,
            None => Ok(()),
        }
    }
}

/// What is left of a contender that nobody wants.
#[derive(Debug)]
enum Remains {
    /// A znode.
    Path(ZnodePath),
    /// A znode of this name, if it was made at all, with the number that the server gave it.
    Prefix(String),
}

/// Tells whether a contender is gone, or will be with its session.
fn is_done(deleted: &std::result::Result<(), StoreError>) -> bool {
    matches!(deleted, Ok(()) | Err(StoreError::NoNode | StoreError::Closed))
}
