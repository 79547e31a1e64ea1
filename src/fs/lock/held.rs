//! Locks that are held, and whether they are lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::contender::Mode;
use super::recipe::Site;
use crate::fs::handle::Fh;
use crate::mapping::{SessionId, ZnodePath, Zxid};
use crate::session::{SessionState, SessionView};

/// A lock that was granted.
#[derive(Debug)]
pub struct Held {
    /// The contender.
    pub contender: ZnodePath,
    /// The transaction that created it: the fencing token. Of two holders in a row the later one has the higher.
    pub token: Zxid,
    /// The session that it lives in.
    pub session: SessionId,
    /// How the lock is held.
    pub mode: Mode,
    /// The handle through which it was taken.
    pub fh: Fh,
    lost: AtomicBool,
}

impl Held {
    /// A lock that has just been granted.
    pub fn new(contender: ZnodePath, token: Zxid, session: SessionId, mode: Mode, fh: Fh) -> Held {
        Held { contender, token, session, mode, fh, lost: AtomicBool::new(false) }
    }

    /// The lock is lost, for good. True when it was not before.
    pub fn lose(&self) -> bool {
        !self.lost.swap(true, Ordering::SeqCst)
    }

    /// Tells whether the lock was found to be lost.
    pub fn was_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Tells whether the lock is lost: its session is not known to be alive. Once lost it stays so.
    pub fn is_lost(&self, now: &SessionView) -> bool {
        if !is_alive(self.session, now) {
            self.lose();
        }
        self.lost.load(Ordering::SeqCst)
    }
}

/// Tells whether a session is known to be alive, connected at this moment or not.
pub fn is_alive(session: SessionId, now: &SessionView) -> bool {
    now.id == session
        && matches!(now.state, SessionState::Connected | SessionState::Suspended)
        && !now.validity.is_zero()
}

/// The locks that were taken through one handle, which is of no use any more once one of them is lost.
#[derive(Debug, Default)]
pub struct LockMark {
    locks: Mutex<Vec<Arc<Held>>>,
    /// Where a view's lock is, found out once: that depends on the kind of its znode, whose Stat changes with every
    /// contender.
    pub site: OnceLock<Site>,
}

impl LockMark {
    fn locks(&self) -> MutexGuard<'_, Vec<Arc<Held>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lock was taken through the handle.
    pub fn add(&self, held: Arc<Held>) {
        self.locks().push(held);
    }

    /// A lock was given back in time.
    pub fn remove(&self, held: &Arc<Held>) {
        self.locks().retain(|other| !Arc::ptr_eq(other, held));
    }

    /// Tells whether a lock that was taken through the handle is lost.
    pub fn is_lost(&self, now: impl FnOnce() -> SessionView) -> bool {
        let locks = self.locks().clone();
        !locks.is_empty() && {
            let now = now();
            locks.iter().any(|held| held.is_lost(&now))
        }
    }

    /// The contender on which writes through the handle depend.
    pub fn fence(&self) -> Option<ZnodePath> {
        self.locks().first().map(|held| held.contender.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn view(id: i64, state: SessionState, validity: u64) -> SessionView {
        SessionView {
            state,
            id: SessionId(id),
            timeout: Duration::from_secs(30),
            validity: Duration::from_secs(validity),
            incarnation: 1,
            connections: 1,
            live: true,
        }
    }

    #[test]
    fn a_lock_lives_as_long_as_its_session_is_known_to() {
        let held = || {
            let path = ZnodePath::parse("/l/x").unwrap();
            Arc::new(Held::new(path, Zxid(7), SessionId(1), Mode::Exclusive, Fh(1)))
        };
        let up = view(1, SessionState::Connected, 30);
        for (now, lost) in [
            (up.clone(), false),
            (view(1, SessionState::Suspended, 1), false),
            (view(1, SessionState::Suspended, 0), true),
            (view(1, SessionState::Connected, 0), true),
            (view(2, SessionState::Connected, 30), true),
            (view(1, SessionState::Lost, 30), true),
            (view(1, SessionState::Closed, 30), true),
        ] {
            let (mark, held) = (LockMark::default(), held());
            mark.add(held.clone());
            assert_eq!(mark.is_lost(|| now.clone()), lost, "{now:?}");
            assert_eq!(mark.is_lost(|| up.clone()), lost, "lost for good after {now:?}");
            mark.remove(&held);
            assert!(!mark.is_lost(|| now) && mark.fence().is_none());
        }
    }
}
