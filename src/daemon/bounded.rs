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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_never_returns_is_left_behind() {
        let (_keep, never) = mpsc::channel::<()>();
        assert_eq!(bounded(Duration::from_millis(1), move || never.recv().is_ok()), None);
        assert_eq!(bounded(Duration::from_secs(20), || 7), Some(7));
    }
}
