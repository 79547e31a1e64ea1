//! Who waits for an answer, and whether a signal waits for them.
//!
//! fuser answers the kernel's FUSE_INTERRUPT with ENOSYS, after which nothing, not even SIGKILL, ends a request that the daemon
//! holds. So the daemon looks for pending signals of the callers of long requests itself.

use std::time::Duration;

/// The thread that made a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Caller {
    /// Its thread id; 0 when it lives in another pid namespace.
    pub pid: u32,
}

/// A request is held for so long before its caller is looked at: most are answered earlier.
const GRACE: Duration = Duration::from_millis(20);
/// How often the caller of a long request is looked at.
const PERIOD: Duration = Duration::from_millis(50);

impl Caller {
    /// Waits until the caller has a pending signal that it does not block, or is gone. Never ends for one that
    /// cannot be seen.
    pub async fn interrupted(self) {
        if self.pid == 0 {
            return std::future::pending().await;
        }
        tokio::time::sleep(GRACE).await;
        while !self.is_interrupted() {
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Tells whether the caller is ending because a signal killed it.
    ///
    /// A program that is being started closes descriptors as well, and waits for this very answer while it does; its
    /// `/proc/PID/stat` cannot be read before. Its status can, and shows memory, which one that is ending has no more.
    pub fn is_killed(self) -> bool {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", self.pid)).unwrap_or_default();
        !has_memory(&read("status")) && flags(&read("stat")) & PF_SIGNALED != 0
    }

    fn is_interrupted(self) -> bool {
        match std::fs::read_to_string(format!("/proc/{}/status", self.pid)) {
            Ok(status) => pending_signals(&status) != 0,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

/// Signals that interrupt nobody's work: shells get them whenever a child ends or the window changes.
const HARMLESS: u64 = bit(libc::SIGCHLD) | bit(libc::SIGCONT) | bit(libc::SIGURG) | bit(libc::SIGWINCH);

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// The kernel's flag of a task that a signal killed (`include/linux/sched.h`).
const PF_SIGNALED: u64 = 0x400;

/// Whether a task of this `/proc/PID/status` has memory. It gives that up before its files when it ends.
fn has_memory(status: &str) -> bool {
    status.lines().any(|line| line.starts_with("VmSize:"))
}

/// The task's flags in `/proc/PID/stat`: the seventh field after the name, which may have spaces and parentheses.
fn flags(stat: &str) -> u64 {
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().nth(6).and_then(|flags| flags.parse().ok()).unwrap_or_default()
}

/// The signals of `/proc/PID/status` that are pending for the thread or its process, and not blocked. To answer EINTR with none
/// pending would leak the kernel's internal 512 to the program.
fn pending_signals(status: &str) -> u64 {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        u64::from_str_radix(line.trim(), 16).unwrap_or_default()
    };
    (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & !HARMLESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_and_not_blocked() {
        let status = |pending, shared, blocked| {
            format!("Name:\tx\nSigQ:\t0/1\nSigPnd:\t{pending:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n")
        };
        assert_eq!(pending_signals(&status(0, 0, 0)), 0);
        assert_eq!(pending_signals(&status(2, 8, 0)), 10);
        assert_eq!(pending_signals(&status(2, 8, 8)), 2);
        assert_eq!(pending_signals(""), 0);
        assert_eq!(pending_signals(&status(bit(libc::SIGCHLD), 0, 0)), 0);
    }

    #[test]
    fn the_flags_of_a_task() {
        assert_eq!(flags("42 (a) b) c) R 1 2 3 4 5 4195328 0 0"), 0x40_0400);
        assert_eq!(flags(""), 0);
        assert!(!Caller { pid: std::process::id() }.is_killed());
        assert!(has_memory(&std::fs::read_to_string("/proc/self/status").unwrap()));
        assert!(!has_memory("Name:\tx\nState:\tS (sleeping)\n"));
    }

    #[test]
    fn a_thread_that_is_gone_is_interrupted() {
        assert!(Caller { pid: u32::MAX >> 1 }.is_interrupted());
        assert!(!Caller { pid: std::process::id() }.is_interrupted());
    }
}
