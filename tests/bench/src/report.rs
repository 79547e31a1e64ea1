//! Times and how they are shown.

use std::time::{Duration, Instant};

/// Runs something `rounds` times: the median of the times that it returned.
pub fn median(rounds: usize, mut once: impl FnMut() -> Duration) -> Duration {
    let mut times: Vec<Duration> = (0..rounds).map(|_| once()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long something takes.
pub fn time(run: impl FnOnce()) -> Duration {
    let since = Instant::now();
    run();
    since.elapsed()
}

/// One line: ours, the peer's, and the ratio.
pub fn ratio(what: &str, ours: Duration, peer: &str, theirs: Duration) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what:<44} {:>10}   {peer} {:>10}   {ratio:>6.2} times", show(ours), show(theirs));
}

/// A duration with three digits and its unit.
pub fn show(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{:.1} us", seconds * 1e6),
    }
}
