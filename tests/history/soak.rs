//! A long time at once: rounds of load and faults, after each of which everything is as it was after the first.
//!
//! `SOAK_MINUTES=10 cargo test --test history soak -- --nocapture` runs longer than the usual half a minute.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use rig::{Mount, Witness, number, until};

use crate::battle::{Battle, SESSION_TIMEOUT, TIMEOUT};

/// How long one round rages.
const ROUND: Duration = Duration::from_secs(5);

/// Growth of memory in a quarter of the time that says nothing, in kB.
const SLACK: i64 = 512;

/// What a daemon and the servers use.
#[derive(Clone, Debug, Default, PartialEq)]
struct Usage {
    /// What has to be what it was: by name, of each mount and of all servers together.
    exact: BTreeMap<String, i64>,
    /// Resident kilobytes of each daemon, and bytes in its cache.
    resident: Vec<i64>,
    cached: Vec<i64>,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact: Vec<String> = self.exact.iter().map(|(name, value)| format!("{name} {value}")).collect();
        write!(f, "{}; resident {:?} kB, cached {:?}", exact.join(", "), self.resident, self.cached)
    }
}

impl Usage {
    fn now(battle: &Battle) -> Usage {
        let mut usage = Usage::default();
        for (host, mount) in battle.mounts.iter().enumerate() {
            let pid = mount.pid();
            let entries = |name: &str| fs::read_dir(format!("/proc/{pid}/{name}")).map_or(0, Iterator::count) as i64;
            let mut put = |name: &str, value| {
                usage.exact.insert(format!("{name}.{host}"), value);
            };
            put("descriptors", entries("fd"));
            put("threads", entries("task"));
            let metrics = metrics(mount);
            for name in ["inodes", "handles", "locks_held", "lock_waiters", "operations_waiting", "session_ephemerals"]
            {
                put(name, metrics.get(&format!("zkmount_{name}")).copied().unwrap_or(-1));
            }
            usage.resident.push(resident(pid));
            usage.cached.push(metrics["zkmount_cache_bytes"]);
        }
        for name in ["zk_watch_count", "zk_num_alive_connections"] {
            let sum = battle.ensemble.servers.iter().map(|server| server.metric(name)).sum();
            usage.exact.insert(name.to_owned(), sum);
        }
        for name in ["zk_znode_count", "zk_ephemerals_count"] {
            usage.exact.insert(name.to_owned(), battle.ensemble.leader().metric(name));
        }
        usage
    }
}

fn metrics(mount: &Mount) -> BTreeMap<String, i64> {
    let text = fs::read_to_string(mount.join("@metrics")).expect("@metrics answers at any time");
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    samples.map(|(name, value)| (name.to_owned(), value.parse::<f64>().expect("a number") as i64)).collect()
}

fn resident(pid: i32) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("kilobytes")
}

/// Removes what the programs have left, and lets the kernel forget it.
fn tidy(battle: &Battle, witness: &Witness) {
    let items = (0..witness.stat("/q").expect("it is never removed").cversion).map(|item| format!("q/i-{item:010}"));
    let versions = ["a/f", "b/f", "c/f"].iter().flat_map(|file| (0..1000).map(move |v| format!("{file}@v={v}")));
    let mut names: Vec<String> = items.chain(versions).collect();
    names
        .extend(["a/f", "b/f", "c/f", "e/x", "e/y"].iter().flat_map(|file| [file.to_string(), format!("{file}@stat")]));
    names.push("d/m".to_owned());
    for dir in ["/a", "/b", "/c", "/d", "/e", "/q", "/t"] {
        for name in witness.children(dir).expect("it is never removed") {
            let path = format!("{dir}/{name}");
            // A session that is gone takes its ephemerals with it at the same time.
            let _ = witness.delete(&path, None);
            names.push(path[1..].to_owned());
        }
    }
    for mount in &battle.mounts {
        until("a mount is connected again", || mount.bash("cat @session").stdout.contains("state=connected"));
        // What others have removed stays in the kernel's memory until it is looked at.
        for name in &names {
            let _ = fs::symlink_metadata(mount.join(name));
        }
    }
}

#[test]
fn soak() {
    let minutes = number("SOAK_MINUTES", 0);
    let time = if minutes == 0 { ROUND } else { Duration::from_secs(60 * minutes) };
    let seed = number("HISTORY_SEED", 20_261_127);
    // A small cache, so that it is full soon: what grows then is something else.
    let mut battle = Battle::with(seed, SESSION_TIMEOUT, TIMEOUT, &["--cache", "64K"]);
    let round = |battle: &mut Battle| {
        battle.seed += 1000;
        battle.rage(ROUND);
        // A witness of its own: its session is not to be among the connections that are counted.
        let witness = battle.witness();
        tidy(battle, &witness);
        witness.close();
    };
    // What is made once for all is made in the first one.
    round(&mut battle);
    let first = Usage::now(&battle);
    println!("first: {first}");
    let began = Instant::now();
    let mut resident = vec![first.resident.clone()];
    while began.elapsed() < time {
        round(&mut battle);
        let mut now = Usage::default();
        let mut settled = || {
            now = Usage::now(&battle);
            now.exact.iter().all(|(name, value)| *value <= first.exact[name] + allowance(name))
        };
        let began = Instant::now();
        while !settled() && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
        }
        println!("{now}");
        let grown: Vec<&String> = now
            .exact
            .iter()
            .filter(|(name, value)| **value > first.exact[*name] + allowance(name))
            .map(|(name, _)| name)
            .collect();
        assert!(grown.is_empty(), "{grown:?} grew from {first} to {now}");
        resident.push(now.resident.clone());
    }
    for host in 0..battle.mounts.len() {
        check_growth(&resident.iter().map(|round| round[host]).collect::<Vec<i64>>());
    }
    let rounds = resident.len();
    println!("{rounds} rounds in {:?}, {}; resident {:?} kB", began.elapsed(), battle.tally, resident);
}

/// Memory that a leak takes grows on; what a program needs once for all does so at the beginning only.
fn check_growth(resident: &[i64]) {
    let quarter = resident.len() / 4;
    if quarter < 4 {
        return;
    }
    let growth = |first: usize| resident[first + quarter - 1] - resident[first];
    let (second, last) = (growth(quarter), growth(resident.len() - quarter));
    assert!(
        last <= SLACK.max(second / 2),
        "{last} kB more in the last quarter, {second} kB in the second: {resident:?}"
    );
}

#[test]
#[should_panic(expected = "in the last quarter")]
fn a_leak_is_found() {
    check_growth(&(0..40).map(|round| 20_000 + 200 * round).collect::<Vec<i64>>());
}

#[test]
fn what_settles_is_no_leak() {
    check_growth(&(0..40).map(|round| 24_000 - 2_000 / (round + 1)).collect::<Vec<i64>>());
}

/// What may be more than after the first round, as it comes and goes by itself.
fn allowance(name: &str) -> i64 {
    if name.starts_with("threads") { 4 } else { 0 }
}
