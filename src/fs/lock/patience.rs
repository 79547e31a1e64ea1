//! How long a request for a lock may be held.
//!
//! A program that waits for a lock waits as long as it likes, since a signal ends its wait. Two things need a bound: callers
//! whose signals cannot be seen, and kernels that abort the whole mount over a request that takes too long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::error::Errno;
use crate::fs::caller::Caller;

/// How long a caller in another pid namespace may wait, whose signals cannot be seen.
const UNSEEN: Duration = Duration::from_secs(60);
/// Where the kernel tells how long a request may take, in seconds; 0 is for ever.
const KERNEL_LIMITS: [&str; 2] = ["/proc/sys/fs/fuse/default_request_timeout", "/proc/sys/fs/fuse/max_request_timeout"];
/// Of that time so much is used; the kernel looks every 15 seconds, so its clock is a coarse one.
const SHARE: f64 = 0.7;

/// How long a request of this caller may be held; none for as long as the caller likes.
pub fn limit(caller: Caller) -> Option<Duration> {
    let kernel = shortest(KERNEL_LIMITS.iter().filter_map(|path| std::fs::read_to_string(path).ok()));
    let unseen = (caller.pid == 0).then_some(UNSEEN);
    kernel.into_iter().chain(unseen).min()
}

/// Waits until a request of this caller must not be held any longer, and says why: `EINTR` for a signal, `ETIMEDOUT` for
/// the time.
pub async fn exhausted(caller: Caller) -> Errno {
    let limit = async {
        match limit(caller) {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = caller.interrupted() => Errno::EINTR,
        () = limit => Errno::ETIMEDOUT,
    }
}

fn shortest(limits: impl Iterator<Item = String>) -> Option<Duration> {
    let seconds = limits.filter_map(|limit| limit.trim().parse::<u32>().ok()).filter(|seconds| *seconds > 0);
    seconds.min().map(|seconds| Duration::from_secs(seconds.into()).mul_f64(SHARE))
}

/// Tells one that waits that nobody wants the result any more.
#[derive(Debug, Default)]
pub struct Cancel {
    done: AtomicBool,
    bell: Notify,
}

impl Cancel {
    /// Nobody wants it any more.
    pub fn cancel(&self) {
        self.done.store(true, Ordering::SeqCst);
        self.bell.notify_one();
    }

    /// Tells whether that was said.
    pub fn is_cancelled(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// Waits until it is said. For one at a time.
    pub async fn cancelled(&self) {
        while !self.is_cancelled() {
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_limit_counts() {
        // > Where the kernel limits the time of a request, a wait ends with ETIMEDOUT before that; so does, after a minute, one of a caller in another pid namespace, whose signals cannot be seen.
        let limits = |texts: &[&str]| shortest(texts.iter().map(|text| (*text).to_owned()));
        assert_eq!(limits(&["0\n", "0\n"]), None);
        assert_eq!(limits(&["0\n", "30\n"]), Some(Duration::from_secs(21)));
        assert_eq!(limits(&["20\n", "30\n"]), Some(Duration::from_secs(14)));
        assert!(limit(Caller { pid: 0 }).is_some_and(|limit| limit <= UNSEEN));
    }

    #[tokio::test]
    async fn a_cancellation_is_kept() {
        let cancel = Cancel::default();
        cancel.cancel();
        cancel.cancelled().await;
        cancel.cancelled().await;
    }
}
