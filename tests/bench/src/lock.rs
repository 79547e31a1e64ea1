//! Locks beside kazoo's Lock: taking one that is free, handing one over, and what that costs the server with few and with
//! many waiters.

use std::time::Duration;

use rig::{Mount, Server, Shell};

use crate::report::ratio;

/// Takes and gives back a free lock so often.
const FREE: usize = 1000;
/// Hands a lock over so often.
const HANDOVERS: usize = 1000;
const WAITERS: [usize; 3] = [2, 10, 100];

/// Threads that take turns with a lock; it prints how long that took. `take` and `give` come from each peer.
const TURNS: &str = r#"
import sys, threading, time
contenders, rounds = int(sys.argv[1]), int(sys.argv[2])
ready = threading.Barrier(contenders + 1)
def work(n):
    lock = make(n)
    ready.wait()
    for _ in range(rounds):
        take(lock)
        give(lock)
threads = [threading.Thread(target=work, args=(n,)) for n in range(contenders)]
[thread.start() for thread in threads]
ready.wait()
began = time.monotonic()
[thread.join() for thread in threads]
print(time.monotonic() - began)
"#;

const FLOCK: &str = r#"
import fcntl, os
def make(n): return os.open("d/@lock", os.O_RDONLY)
def take(lock): fcntl.flock(lock, fcntl.LOCK_EX)
def give(lock): fcntl.flock(lock, fcntl.LOCK_UN)
"#;

const KAZOO: &str = r#"
import logging, sys
from kazoo.client import KazooClient
logging.basicConfig(level=logging.CRITICAL)
zk = KazooClient(hosts=sys.argv[3], timeout=30.0)
zk.start()
def make(n): return zk.Lock("/k", str(n))
def take(lock): lock.acquire()
def give(lock): lock.release()
"#;

/// Runs the subject.
pub fn run() {
    let server = Server::boot();
    let mount = Mount::new(&server.address());
    mount.bash("mkdir d k").success();
    let (ours, _) = turns(&server, &mount, FLOCK, 1, FREE);
    let (theirs, _) = turns(&server, &mount, KAZOO, 1, FREE);
    ratio("flock and unlock, free", ours, "kazoo", theirs);
    for waiters in WAITERS {
        let (ours, requests) = turns(&server, &mount, FLOCK, waiters + 1, HANDOVERS / (waiters + 1));
        let (theirs, their_requests) = turns(&server, &mount, KAZOO, waiters + 1, HANDOVERS / (waiters + 1));
        ratio(&format!("hand-over with {waiters} waiting"), ours, "kazoo", theirs);
        println!("  requests at the server for each hand-over: {requests:.2}, kazoo {their_requests:.2}");
    }
}

/// What one turn takes, and how many requests the server counts for it.
fn turns(server: &Server, mount: &Mount, peer: &str, contenders: usize, rounds: usize) -> (Duration, f64) {
    let before = server.metric("zk_packets_received");
    let output = mount
        .script(Shell::Bash, "exec /usr/bin/python3 -c \"$@\"")
        .arg(format!("{peer}{TURNS}"))
        .arg(contenders.to_string())
        .arg(rounds.to_string())
        .arg(server.address())
        .deadline(Duration::from_secs(600))
        .run()
        .success();
    let requests = server.metric("zk_packets_received") - before;
    let turns = (contenders * rounds) as f64;
    let seconds: f64 = output.text().parse().expect("seconds");
    (Duration::from_secs_f64(seconds / turns), requests as f64 / turns)
}
