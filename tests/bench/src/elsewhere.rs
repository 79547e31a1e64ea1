//! Many changes in a part of the tree that nobody looks at: what they cost the daemon, and how far behind it is when they end.

use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rig::{Mode, Mount, Server, Witness};
use zookeeper_client::{AddWatchMode, EventType};

use crate::clock::{now, processor};
use crate::report::{ratio, show};

/// Changes each second, if the server can do so many.
const RATE: usize = 20_000;
const SECONDS: usize = 10;
/// Sets in one transaction.
const BATCH: usize = 200;
const ZNODES: usize = 10_000;

/// Runs the subject.
pub fn run() {
    let server = Server::options().heap(1024).boot();
    let witness = Witness::connect(&server.address());
    witness.ensure("/here");
    witness.ensure("/elsewhere");
    witness.fill((0..ZNODES).map(|n| (path(n), b"0".to_vec())));
    let mount = Mount::new(&server.address());
    std::fs::read_dir(mount.join("here")).expect("a directory").for_each(drop);
    let stream = follow(&mount);
    let (seen, raw) = watch(&server);

    change(&witness, Duration::from_secs(1));
    thread::sleep(Duration::from_secs(2));
    let (memory, cpu, events) = (mount.resident(), processor(mount.pid()), seen.load(Ordering::SeqCst));
    let began = Instant::now();
    let sets = change(&witness, Duration::from_secs(SECONDS as u64));
    let took = began.elapsed();
    let behind = sets - (seen.load(Ordering::SeqCst) - events).min(sets);
    // The last change is one that is watched: when it is heard of, everything before it was.
    let last = now();
    witness.create("/here/end", b"", Mode::Persistent).expect("a znode");
    let lag = |heard: u64| Duration::from_nanos(heard.saturating_sub(last));
    let patience = Duration::from_secs(300);
    let theirs = lag(raw.recv_timeout(patience).expect("the raw watch hears of the end"));
    let ours = lag(stream.recv_timeout(patience).expect("the mount hears of the end"));
    let used = processor(mount.pid()) - cpu;
    println!("changes elsewhere: {sets} in {}, {:.0} a second", show(took), sets as f64 / took.as_secs_f64());
    println!("  the raw watch was behind by {behind} of them when the last one was committed");
    ratio("from the last change to its being known", ours, "raw watch", theirs);
    let share = 100.0 * used.as_secs_f64() / (took + ours).as_secs_f64();
    println!("  the daemon's time for a change: {}, {share:.0} % of one core", show(used / sets as u32));
    let grown = mount.resident() as i64 - memory as i64;
    println!("  the daemon's memory: {} kB before, grown by {} kB", memory / 1024, grown / 1024);
    assert_eq!(mount.bash("ls elsewhere | wc -l").success().text(), ZNODES.to_string());
}

fn path(number: usize) -> String {
    format!("/elsewhere/n{number:05}")
}

/// Sets znodes as fast as [`RATE`] for so long; returns how many.
fn change(witness: &Witness, during: Duration) -> u64 {
    let began = Instant::now();
    let mut sets = 0;
    let mut waiting = std::collections::VecDeque::new();
    while began.elapsed() < during {
        let due = began.elapsed().as_secs_f64() * RATE as f64;
        if sets as f64 > due {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let mut multi = witness.client().new_multi_writer();
        for n in 0..BATCH {
            let value = sets.to_string();
            multi.add_set_data(&path((sets as usize + n) % ZNODES), value.as_bytes(), None).expect("a path");
        }
        sets += BATCH as u64;
        waiting.push_back(multi.commit());
        if waiting.len() > 8 {
            witness.block_on(waiting.pop_front().expect("one of nine")).expect("a transaction");
        }
    }
    waiting.into_iter().for_each(|commit| drop(witness.block_on(commit).expect("a transaction")));
    sets
}

/// A stream of the changes here: the time of the first line.
fn follow(mount: &Mount) -> mpsc::Receiver<u64> {
    let mut events = File::open(mount.join("here/@events")).expect("a stream");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        if events.read(&mut buffer).is_ok() {
            let _ = sender.send(now());
        }
    });
    receiver
}

/// A raw watch of everything: how many sets it has seen, and when it saw a creation.
fn watch(server: &Server) -> (Arc<AtomicU64>, mpsc::Receiver<u64>) {
    let witness = Witness::connect(&server.address());
    let client = witness.client().clone();
    let mut watcher = witness.block_on(client.watch("/", AddWatchMode::PersistentRecursive)).expect("a watch");
    let seen = Arc::new(AtomicU64::new(0));
    let (sender, receiver) = mpsc::channel();
    let count = seen.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    thread::spawn(move || {
        let _witness = witness;
        loop {
            match runtime.block_on(watcher.changed()).event_type {
                EventType::NodeDataChanged => drop(count.fetch_add(1, Ordering::SeqCst)),
                EventType::NodeCreated => drop(sender.send(now())),
                EventType::Session => return,
                _ => {}
            }
        }
    });
    (seen, receiver)
}
