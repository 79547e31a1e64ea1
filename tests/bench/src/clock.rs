//! The one clock of all processes, and what is made of its times.

use std::time::Duration;

/// CLOCK_MONOTONIC, in nanoseconds: the same in every process, also in Python's `time.monotonic_ns`.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The processor time of a process so far, of all its threads that are alive.
pub fn processor(pid: i32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process").flatten();
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    times.filter_map(|times| times.split(' ').next()?.parse().ok()).map(Duration::from_nanos).sum()
}

/// Times of the same thing, sorted.
pub struct Spread(Vec<Duration>);

impl Spread {
    /// Of some times.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Spread {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Spread(times)
    }

    /// The shortest.
    pub fn best(&self) -> Duration {
        self.0[0]
    }

    /// The time that so many of a hundred do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}
