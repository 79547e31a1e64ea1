//! Signals that end the mount.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the mount: the first cleanly, the second at once.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes the signals over from the kernel, but for a hangup that nohup(1) has taken away.
    pub(super) fn new() -> io::Result<Signals> {
        let hangup = if ignores(libc::SIGHUP)? { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// The next one, by number.
    pub(super) async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = hangup => libc::SIGHUP,
        }
    }
}

/// The name of one of the signals.
pub(super) fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        _ => "SIGTERM",
    }
}

/// Tells whether this process was started with a signal ignored.
fn ignores(signal: i32) -> io::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    Ok(mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rust_ignores_is_seen() {
        // Rust's runtime ignores SIGPIPE, and nobody ignores SIGSEGV.
        assert!(ignores(libc::SIGPIPE).unwrap());
        assert!(!ignores(libc::SIGSEGV).unwrap());
    }
}
