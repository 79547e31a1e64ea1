//! `@metrics`.

use std::collections::BTreeMap;
use std::fs;

use rig::{Mount, Proxy, Witness, shared_server, until};

/// The samples of a scrape, by name with labels.
fn scrape(mount: &Mount) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(mount.join("@metrics")).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, n)| (name.to_owned(), n.parse().unwrap())).collect()
}

#[test]
fn what_a_scraper_reads() {
    // > `@metrics` is text for Prometheus: operations by kind with their errors and times, the cache, the watch, the session.
    let connect = shared_server().chroot("metrics");
    let mount = Mount::new(&connect);
    let before = scrape(&mount);
    mount.bash("echo x > f && cat f && mkdir d && ! cat missing && ! mkdir d && rm f && echo y > e@e").success();
    let after = scrape(&mount);
    let rise = |name: &str| after.get(name).unwrap_or(&0.0) - before.get(name).unwrap_or(&0.0);
    for (name, least) in [
        ("zkmount_operations_total{op=\"create\"}", 2.0),
        ("zkmount_operations_total{op=\"write\"}", 2.0),
        ("zkmount_operations_total{op=\"mkdir\"}", 1.0),
        ("zkmount_operations_total{op=\"unlink\"}", 1.0),
        ("zkmount_errors_total{errno=\"ENOENT\"}", 1.0),
        ("zkmount_operations_failed_total{op=\"lookup\"}", 1.0),
        ("zkmount_watch_events_total{change=\"created\"}", 3.0),
        ("zkmount_watch_events_total{change=\"deleted\"}", 1.0),
        ("zkmount_operation_seconds_count{op=\"write\"}", 2.0),
        ("zkmount_session_ephemerals", 1.0),
    ] {
        assert!(rise(name) >= least, "{name} rose by {}", rise(name));
    }
    assert_eq!(after["zkmount_session_connected"], 1.0);
    assert_eq!(after["zkmount_watch_live"], 1.0);
    assert_eq!(after["zkmount_session_incarnations_total"], 1.0);
}

#[test]
fn the_format_is_that_of_prometheus() {
    let mount = Mount::new("memory:");
    mount.bash("echo x > f; cat f; ls; rm f").success();
    let text = fs::read_to_string(mount.join("@metrics")).unwrap();
    let mut family = None;
    let mut seen = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let name = help.split(' ').next().unwrap();
            assert!(!seen.contains(&name), "{name} comes twice");
            seen.push(name);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(seen.last(), Some(&name), "a type without a help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = Some(name);
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(family.unwrap()), "{line} stands below {family:?}");
            assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}");
        }
    }
    // A bucket holds what those before it hold.
    let samples = scrape(&mount);
    let bucket = |le: &str| samples[&format!("zkmount_operation_seconds_bucket{{op=\"lookup\",le=\"{le}\"}}")];
    let buckets = ["0.0001", "0.001", "0.01", "0.1", "1", "10", "+Inf"].map(bucket);
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!(bucket("+Inf"), samples["zkmount_operation_seconds_count{op=\"lookup\"}"]);
    assert!(text.len() < 64 << 10, "{} bytes", text.len());
}

#[test]
fn interruptions_and_losses_are_counted() {
    let connect = shared_server().chroot("counted");
    let proxy = Proxy::to(shared_server());
    let mount = Mount::new(&proxy.instead_of(&connect));
    let value = |name: &str| scrape(&mount)[name];
    let before = value("zkmount_watch_gaps_total");
    proxy.cut();
    until("it has connected again", || value("zkmount_session_reconnects_total") >= 1.0);
    until("the gap is counted", || value("zkmount_watch_gaps_total") > before);
    assert!(value("zkmount_session_interruptions_total") >= 1.0);
    assert_eq!(value("zkmount_session_losses_total"), 0.0);
    proxy.expire_sessions();
    until("there is a new session", || value("zkmount_session_incarnations_total") == 2.0);
    assert_eq!(value("zkmount_session_losses_total"), 1.0);
    Witness::connect(&connect).create("/x", b"", rig::Mode::Persistent).unwrap();
}
