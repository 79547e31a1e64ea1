//! System calls that may never return, such as any on a mount whose daemon is stopped.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The result of `call`, made on a thread of its own; none when it takes longer. The thread is left behind then.
pub(super) fn bounded<T: Send + 'static>(limit: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let body = move || {
        let _ = sender.send(call());
    };
    thread::Builder::new().name("bounded".to_owned()).spawn(body).ok()?;
    receiver.recv_timeout(limit).ok()
}

/// Takes all descriptors but the standard ones away from the calling thread, and from no other.
///
/// A thread that waits for this process's own mount must hold no /dev/fuse. Killed with SIGKILL meanwhile, the process would
/// never end: the thread waits for an answer, and the connection that could answer stays open as long as the thread.
pub(super) fn leave_descriptors() {
    // CLOSE_RANGE_UNSHARE gives the thread a table of its own first. A kernel without it (before 5.9) leaves that danger.
    let flags = libc::CLOSE_RANGE_UNSHARE;
    unsafe { libc::syscall(libc::SYS_close_range, libc::STDERR_FILENO + 1, libc::c_uint::MAX, flags) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_call_that_never_returns_is_left_behind() {
        let (_keep, never) = mpsc::channel::<()>();
        assert_eq!(bounded(Duration::from_millis(1), move || never.recv().is_ok()), None);
        assert_eq!(bounded(Duration::from_secs(20), || 7), Some(7));
    }

    #[test]
    fn a_thread_leaves_its_own_descriptors_only() {
        let file = tempfile::tempfile().unwrap();
        let number = file.as_raw_fd();
        let open = move || unsafe { libc::fcntl(number, libc::F_GETFD) } != -1;
        let seen = bounded(Duration::from_secs(20), move || {
            let before = open();
            leave_descriptors();
            (before, open())
        });
        assert_eq!(seen, Some((true, false)));
        assert!(open());
    }
}
