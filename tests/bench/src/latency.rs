//! How long it takes from a set by a raw client until others know of it: a raw watch, `inotifywait`, a reader of `@events`,
//! the same with a look at the new value, and kazoo's DataWatch, which looks at it as well.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rig::{Mode, Mount, Process, Server, Witness, until};
use zookeeper_client::{AddWatchMode, EventType};

use crate::clock::{Spread, now};
use crate::report::show;

const SETS: usize = 1000;

/// Says the number in each value that it is told of, and when.
const DATAWATCH: &str = r#"
import logging, sys, time
from kazoo.client import KazooClient
logging.basicConfig(level=logging.CRITICAL)
zk = KazooClient(hosts=sys.argv[1], timeout=30.0)
zk.start()
@zk.DataWatch("/d/f")
def changed(data, stat):
    at = time.monotonic_ns()
    print(int(data), at, flush=True)
while True: time.sleep(60)
"#;

/// When each listener heard of which set. The sets are numbered from 1.
type Heard = Arc<Mutex<BTreeMap<&'static str, BTreeMap<usize, u64>>>>;

const WATCH: &str = "raw persistent watch";
const READ: &str = "@events and read";
const LISTENERS: [&str; 5] = [WATCH, "inotifywait", "@events", READ, "kazoo DataWatch"];

/// Runs the subject.
pub fn run() {
    let server = Server::boot();
    let witness = Witness::connect(&server.address());
    witness.ensure("/d");
    witness.create("/d/f", b"0", Mode::Persistent).expect("a znode");
    let mount = Mount::new(&server.address());
    let file = mount.join("d/f");
    std::fs::read(&file).expect("a file");
    let heard = Heard::default();
    watch(&server, heard.clone());
    let _inotify = inotify(&file, heard.clone());
    let _kazoo = kazoo(&server, heard.clone());
    let streams: [&'static str; 2] = ["@events", READ];
    for name in streams {
        stream(&mount, name, heard.clone());
    }
    let mut began = Vec::with_capacity(SETS);
    for number in 1..=SETS {
        began.push(now());
        witness.set("/d/f", number.to_string().as_bytes(), None).expect("a set");
        // All have heard of one before the next, so that none is told together with another.
        until("all have heard", || LISTENERS.iter().all(|name| heard.lock().unwrap()[name].contains_key(&number)));
    }
    println!("{:<44} {:>10} {:>10}   ratio of medians to a {WATCH}", "from a remote set to", "median", "p99");
    let heard = heard.lock().unwrap();
    let spread =
        |name: &str| Spread::of((1..=SETS).map(|n| Duration::from_nanos(heard[name][&n].saturating_sub(began[n - 1]))));
    let base = spread(WATCH).percentile(50).as_secs_f64();
    for name in LISTENERS {
        let spread = spread(name);
        let (median, last) = (spread.percentile(50), spread.percentile(99));
        println!("{name:<44} {:>10} {:>10}   {:>6.2} times", show(median), show(last), median.as_secs_f64() / base);
    }
}

/// Notes the next set that a listener hears of, counted from 1.
fn note(heard: &Heard, name: &'static str, at: u64) {
    let mut heard = heard.lock().unwrap();
    let mine = heard.entry(name).or_default();
    let next = mine.len() + 1;
    mine.insert(next, at);
}

fn watch(server: &Server, heard: Heard) {
    heard.lock().unwrap().entry(WATCH).or_default();
    let witness = Witness::connect(&server.address());
    let client = witness.client().clone();
    let mut watcher = witness.block_on(client.watch("/d", AddWatchMode::PersistentRecursive)).expect("a watch");
    // As a program of this kind has it: a runtime of its own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    thread::spawn(move || {
        let _witness = witness;
        runtime.block_on(async {
            loop {
                let event = watcher.changed().await;
                let at = now();
                match event.event_type {
                    EventType::NodeDataChanged => note(&heard, WATCH, at),
                    EventType::Session => return,
                    _ => {}
                }
            }
        });
    });
}

fn inotify(file: &PathBuf, heard: Heard) -> Arc<Process> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new("inotifywait");
    command.args(["-m", "-e", "close_write", "--format", "%e"]).arg(file).stdin(Stdio::null());
    command.stdout(writer.try_clone().expect("a second descriptor")).stderr(writer);
    let process = Process::spawn(command).expect("inotifywait can be run");
    let mut lines = BufReader::new(reader).lines();
    let established = |line: std::io::Result<String>| line.is_ok_and(|line| line.contains("Watches established"));
    assert!(lines.any(established), "inotifywait does not watch");
    heard.lock().unwrap().entry("inotifywait").or_default();
    thread::spawn(move || {
        for _ in lines.map_while(Result::ok).filter(|line| line.starts_with("CLOSE_WRITE")) {
            note(&heard, "inotifywait", now());
        }
    });
    process
}

fn kazoo(server: &Server, heard: Heard) -> Arc<Process> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new("/usr/bin/python3");
    command.arg("-c").arg(DATAWATCH).arg(server.address()).stdin(Stdio::null()).stdout(writer);
    let process = Process::spawn(command).expect("python can be run");
    let mut lines = BufReader::new(reader).lines();
    // It is called with the present value first.
    assert!(lines.next().is_some_and(|line| line.is_ok_and(|line| line.starts_with("0 "))), "kazoo does not watch");
    heard.lock().unwrap().entry("kazoo DataWatch").or_default();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let (number, at) = line.split_once(' ').expect("a number and a time");
            let (number, at) = (number.parse().expect("a number"), at.parse().expect("a time"));
            heard.lock().unwrap().entry("kazoo DataWatch").or_default().insert(number, at);
        }
    });
    process
}

fn stream(mount: &Mount, name: &'static str, heard: Heard) {
    let mut events = File::open(mount.join("d/@events")).expect("a stream");
    let file = File::open(mount.join("d/f")).expect("a file");
    heard.lock().unwrap().entry(name).or_default();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = events.read(&mut buffer) {
            let told = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
            let mut at = now();
            if name == READ {
                let count = file.read_at(&mut buffer, 0).expect("a value");
                assert!(count > 0);
                at = now();
            }
            (0..told).for_each(|_| note(&heard, name, at));
        }
    });
}
