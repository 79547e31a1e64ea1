//! How long the session is known to live on.
//!
//! The server counts a session's timeout from the last request that it received, so it cannot end earlier than one
//! timeout after that request was *sent*. That, on a clock that goes on while the machine sleeps, is all that this side
//! knows for certain; the client library notices an expiry later, and Rust's `Instant` stops in suspend.
//!
//! Only what the leader answered counts: a follower that has lost the leader may answer reads for a while after the
//! leader has ended the session.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A point in time, since boot, sleep included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Boot(Duration);

impl Boot {
    /// Now.
    pub fn now() -> Boot {
        let time = clock_gettime(ClockId::Boottime);
        Boot(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

/// The validity of one session. Once it is over it stays over.
#[derive(Debug)]
pub struct Validity(Mutex<Lease>);

#[derive(Debug)]
struct Lease {
    timeout: Duration,
    confirmed: Boot,
    over: bool,
}

impl Validity {
    /// The validity of a session with this timeout that the leader confirmed in answer to what was sent then.
    pub fn new(timeout: Duration, sent: Boot) -> Validity {
        Validity(Mutex::new(Lease { timeout, confirmed: sent, over: false }))
    }

    /// Notes that the leader answered what was sent then.
    pub fn confirm(&self, sent: Boot) {
        let mut lease = self.lease();
        if !lease.left(Boot::now()).is_zero() {
            lease.confirmed = lease.confirmed.max(sent);
        }
    }

    /// How long the session is known to live on.
    pub fn left(&self) -> Duration {
        self.lease().left(Boot::now())
    }

    /// When the leader last confirmed the session, as the time since then.
    pub fn age(&self) -> Duration {
        Boot::now().0.saturating_sub(self.lease().confirmed.0)
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Whoever was told that it is over may have acted on it, so an answer that comes late does not revive it.
    fn left(&mut self, now: Boot) -> Duration {
        let left = self.timeout.saturating_sub(now.0.saturating_sub(self.confirmed.0));
        self.over |= left.is_zero();
        if self.over { Duration::ZERO } else { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_the_sending_and_never_revives() {
        let at = |seconds| Boot(Duration::from_secs(seconds));
        let mut lease = Lease { timeout: Duration::from_secs(10), confirmed: at(100), over: false };
        assert_eq!(lease.left(at(104)), Duration::from_secs(6));
        lease.confirmed = at(103);
        assert_eq!(lease.left(at(104)), Duration::from_secs(9));
        assert_eq!(lease.left(at(113)), Duration::ZERO);
        lease.confirmed = at(113);
        assert_eq!(lease.left(at(113)), Duration::ZERO);
    }

    #[test]
    fn a_late_answer_is_refused() {
        let validity = Validity::new(Duration::ZERO, Boot::now());
        validity.confirm(Boot::now());
        assert_eq!(validity.left(), Duration::ZERO);
    }
}
