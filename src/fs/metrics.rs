//! Counters of what the mount does, for Prometheus.
//!
//! Every label has few values, all of them known beforehand, so that a scrape stays small however long the mount lives.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::error::Errno;
use crate::session::{Change, Event, Sink, StateChange};

/// The kinds of operations, sorted. What is not among them is counted as the last.
const KINDS: [&str; 28] = [
    "copy_file_range",
    "create",
    "flush",
    "fsync",
    "fsyncdir",
    "getattr",
    "getlk",
    "getxattr",
    "link",
    "lookup",
    "mkdir",
    "mknod",
    "open",
    "opendir",
    "poll",
    "read",
    "readdir",
    "readdirplus",
    "readlink",
    "release",
    "rename",
    "rmdir",
    "setattr",
    "setlk",
    "setxattr",
    "unlink",
    "write",
    "~other",
];

/// Upper bounds of the latency's buckets: from what memory answers to what an ensemble that is away lets wait.
const BOUNDS: [(Duration, &str); 6] = [
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(10), "10"),
];

/// One kind of operation.
#[derive(Debug, Default)]
struct Kind {
    failed: AtomicU64,
    micros: AtomicU64,
    /// By bucket, each without those before; the last has no bound.
    took: [AtomicU64; BOUNDS.len() + 1],
}

/// The numbers of errors that have a counter of their own, where they have a name here; others are counted at 0.
const ERRNOS: usize = 134;

/// The counters. Each is of its own: a scrape may see an operation in one and not yet in another.
#[derive(Debug)]
pub struct Metrics {
    kinds: [Kind; KINDS.len()],
    errors: [AtomicU64; ERRNOS],
    created: AtomicU64,
    modified: AtomicU64,
    deleted: AtomicU64,
    gaps: AtomicU64,
    interruptions: AtomicU64,
    waiting: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            kinds: std::array::from_fn(|_| Kind::default()),
            errors: std::array::from_fn(|_| AtomicU64::new(0)),
            created: AtomicU64::new(0),
            modified: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            interruptions: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// Counts an operation that has ended.
    pub fn operation(&self, kind: &str, error: Option<Errno>, took: Duration) {
        let place = KINDS.binary_search(&kind).unwrap_or(KINDS.len() - 1);
        let kind = &self.kinds[place];
        let bucket = BOUNDS.iter().position(|(bound, _)| took <= *bound).unwrap_or(BOUNDS.len());
        kind.took[bucket].fetch_add(1, Relaxed);
        kind.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        if let Some(errno) = error {
            kind.failed.fetch_add(1, Relaxed);
            let named = usize::try_from(errno.0).ok().filter(|number| *number < ERRNOS && errno.symbol().is_some());
            self.errors[named.unwrap_or(0)].fetch_add(1, Relaxed);
        }
    }

    /// Counts a request as one that waits, until the result is dropped.
    pub fn waiting(self: &Arc<Metrics>) -> Waiting {
        self.waiting.fetch_add(1, Relaxed);
        Waiting(self.clone())
    }

    /// What was counted, in Prometheus's text format. What never happened is left out where a label would tell it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let seen: Vec<(&str, &Kind, Vec<u64>)> = KINDS
            .iter()
            .zip(&self.kinds)
            .map(|(name, kind)| {
                (name.trim_start_matches('~'), kind, kind.took.iter().map(|n| n.load(Relaxed)).collect())
            })
            .filter(|(_, _, took): &(_, _, Vec<u64>)| took.iter().any(|count| *count > 0))
            .collect();
        let total = |took: &[u64]| took.iter().sum::<u64>();
        family(&mut text, "zkmount_operations_total", "counter", "Requests of the kernel that were answered.");
        for (name, _, took) in &seen {
            line(&mut text, format_args!("zkmount_operations_total{{op=\"{name}\"}}"), total(took));
        }
        family(&mut text, "zkmount_operations_failed_total", "counter", "Those that were answered with an error.");
        for (name, kind, _) in &seen {
            line(
                &mut text,
                format_args!("zkmount_operations_failed_total{{op=\"{name}\"}}"),
                kind.failed.load(Relaxed),
            );
        }
        family(
            &mut text,
            "zkmount_errors_total",
            "counter",
            "Errors that were answered; ENOENT and EEXIST are daily bread.",
        );
        for (number, count) in self.errors.iter().enumerate().filter(|(_, count)| count.load(Relaxed) > 0) {
            let name = Errno(number as i32).symbol().unwrap_or("other");
            line(&mut text, format_args!("zkmount_errors_total{{errno=\"{name}\"}}"), count.load(Relaxed));
        }
        family(&mut text, "zkmount_operation_seconds", "histogram", "From the request to its answer.");
        for (name, kind, took) in &seen {
            let mut sum = 0;
            for ((_, bound), count) in BOUNDS.iter().zip(took) {
                sum += count;
                line(&mut text, format_args!("zkmount_operation_seconds_bucket{{op=\"{name}\",le=\"{bound}\"}}"), sum);
            }
            let (count, seconds) = (total(took), kind.micros.load(Relaxed) as f64 / 1e6);
            line(&mut text, format_args!("zkmount_operation_seconds_bucket{{op=\"{name}\",le=\"+Inf\"}}"), count);
            line(&mut text, format_args!("zkmount_operation_seconds_sum{{op=\"{name}\"}}"), seconds);
            line(&mut text, format_args!("zkmount_operation_seconds_count{{op=\"{name}\"}}"), count);
        }
        let waiting = "Requests that wait for the ensemble, for a lock, or for one another.";
        single(&mut text, "zkmount_operations_waiting", "gauge", waiting, self.waiting.load(Relaxed));
        family(&mut text, "zkmount_watch_events_total", "counter", "Changes of znodes that were announced.");
        for (name, count) in [("created", &self.created), ("modified", &self.modified), ("deleted", &self.deleted)] {
            line(&mut text, format_args!("zkmount_watch_events_total{{change=\"{name}\"}}"), count.load(Relaxed));
        }
        let gaps = "Times that changes may have been missed, so that everything was looked at again.";
        single(&mut text, "zkmount_watch_gaps_total", "counter", gaps, self.gaps.load(Relaxed));
        let interruptions = "Connections that failed under a session.";
        single(
            &mut text,
            "zkmount_session_interruptions_total",
            "counter",
            interruptions,
            self.interruptions.load(Relaxed),
        );
        text
    }
}

/// A request that waits.
#[derive(Debug)]
pub struct Waiting(Arc<Metrics>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl Sink for Metrics {
    fn event(&self, event: Event) {
        let counter = match event {
            Event::Node { change: Change::Created, .. } => &self.created,
            Event::Node { change: Change::Modified, .. } => &self.modified,
            Event::Node { change: Change::Deleted, .. } => &self.deleted,
            Event::Gap => &self.gaps,
            Event::Session(StateChange::Suspended(_)) => &self.interruptions,
            Event::Blind | Event::Session(_) => return,
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Adds a number that has no labels.
pub fn single(text: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    family(text, name, kind, help);
    line(text, format_args!("{name}"), value);
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: std::fmt::Arguments<'_>, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_by_kind_error_and_time() {
        assert!(KINDS.is_sorted());
        let metrics = Metrics::default();
        let note = |kind, error, millis| metrics.operation(kind, error, Duration::from_millis(millis));
        note("lookup", None, 0);
        note("lookup", Some(Errno::ENOENT), 5);
        note("write", Some(Errno::ETIMEDOUT), 10_001);
        note("a new one", Some(Errno(9999)), 1);
        metrics.event(Event::Gap);
        let text = metrics.text();
        for line in [
            "# TYPE zkmount_operation_seconds histogram",
            "zkmount_operations_total{op=\"lookup\"} 2",
            "zkmount_operations_failed_total{op=\"lookup\"} 1",
            "zkmount_errors_total{errno=\"ENOENT\"} 1",
            "zkmount_errors_total{errno=\"other\"} 1",
            "zkmount_operation_seconds_bucket{op=\"lookup\",le=\"0.001\"} 1",
            "zkmount_operation_seconds_bucket{op=\"lookup\",le=\"0.01\"} 2",
            "zkmount_operation_seconds_bucket{op=\"write\",le=\"10\"} 0",
            "zkmount_operation_seconds_bucket{op=\"write\",le=\"+Inf\"} 1",
            "zkmount_operation_seconds_sum{op=\"write\"} 10.001",
            "zkmount_operations_total{op=\"other\"} 1",
            "zkmount_watch_gaps_total 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("op=\"mkdir\""), "{text}");
    }
}
