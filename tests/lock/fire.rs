//! Mutual exclusion under fire: many contenders on two hosts, and everything that fails.
//!
//! `ZKMOUNT_FIRE=full` runs 40 contenders for 5,000 acquisitions instead of 12 for 300.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rig::{Job, Mode, Mount, Proxy, Server, Shell, Witness, Workdir, until_within};

use crate::checker::{Claims, Layout, check, parse, reject_planted};

/// Counts under the lock until it is killed. What it is about to write and what was written goes into a log.
const WORKER: &str = r#"
import errno, fcntl, os, signal, sys, time
path, log, bound = sys.argv[1], os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND), int(sys.argv[3])
def say(*words): os.write(log, (" ".join(map(str, words)) + "\n").encode())
def stuck(*_):
    say("stuck", os.getpid())
    os._exit(3)
signal.signal(signal.SIGALRM, stuck)
while True:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError as e:
        say("refused", errno.errorcode[e.errno])
        time.sleep(0.02)
        continue
    try:
        began = time.monotonic()
        signal.alarm(bound)
        fcntl.flock(fd, fcntl.LOCK_EX)
        signal.alarm(0)
        waited = int(1000 * (time.monotonic() - began))
        token = os.getxattr(fd, "user.zk.lock.token").decode()
        value = int(os.pread(fd, 100, 0).split()[0]) + 1
        say("try", value, token)
        os.pwrite(fd, f"{value} {token}".ljust(40).encode(), 0)
        say("ack", value, token, waited)
    except OSError as e:
        signal.alarm(0)
        say("refused", errno.errorcode[e.errno])
        time.sleep(0.02)
    finally:
        os.close(fd)
"#;

struct Plan {
    workers: usize,
    acquisitions: usize,
    /// Acquisitions between two faults.
    pace: usize,
    patience: Duration,
}

fn plan() -> Plan {
    if std::env::var("ZKMOUNT_FIRE").is_ok_and(|fire| fire == "full") {
        Plan { workers: 40, acquisitions: 5000, pace: 25, patience: Duration::from_secs(1800) }
    } else {
        Plan { workers: 12, acquisitions: 300, pace: 15, patience: Duration::from_secs(150) }
    }
}

/// How long one worker may wait, in seconds: for all the others and all that fails meanwhile.
const BOUND: u32 = 120;

struct Battle {
    server: Server,
    proxies: [Proxy; 2],
    mounts: [Mount; 2],
    workers: Vec<Job>,
    notes: Workdir,
    random: u64,
    began: Instant,
    faults: [usize; 5],
}

impl Battle {
    fn log(&self) -> String {
        fs::read_to_string(self.notes.path().join("log")).unwrap()
    }

    fn acknowledged(&self) -> usize {
        self.log().lines().filter(|line| line.starts_with("ack ")).count()
    }

    fn draw(&mut self, below: usize) -> usize {
        // splitmix64, so that a seed gives the same faults again.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below as u64) as usize
    }

    fn start_worker(&self, host: usize) -> Job {
        Shell::Bash
            .script("exec /usr/bin/python3 -c \"$@\"")
            .arg(WORKER)
            .arg(self.mounts[host].join("counter"))
            .arg(self.notes.path().join("log"))
            .arg(BOUND.to_string())
            .deadline(Duration::from_secs(3600))
            .start()
    }

    /// Kills a worker, cuts or stalls a wire, ends a session, or kills the server.
    fn fault(&mut self) {
        // Each of them once, and then at random.
        let kind = match self.faults.iter().sum() {
            before @ 0..5 => before,
            _ => [0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4][self.draw(11)],
        };
        self.faults[kind] += 1;
        let host = self.draw(2);
        match kind {
            0 => {
                let victim = self.draw(self.workers.len());
                self.workers[victim].kill9();
                self.workers[victim] = self.start_worker(host);
            }
            1 => drop(self.proxies[host].cut()),
            2 => {
                self.proxies[host].stall_both();
                std::thread::sleep(Duration::from_millis(self.draw(300) as u64));
                self.proxies[host].flow();
            }
            3 => {
                let proxy = &self.proxies[host];
                // There may be no session just now, or it may end by itself at the same moment.
                if catch_unwind(AssertUnwindSafe(|| proxy.expire_sessions())).is_err() {
                    proxy.accept();
                }
            }
            _ => {
                self.server.kill9();
                self.server.restart();
            }
        }
    }
}

#[test]
fn a_counter_under_the_lock_is_exact_whatever_fails() {
    // > Under kills, cuts, stalls, lost sessions and restarts of the server, every write to a locked file through the locked descriptor is by the holder of the lock at that transaction.
    let plan = plan();
    let server = Server::boot();
    let connect = server.chroot("fire");
    let proxies = [Proxy::to(&server), Proxy::to(&server)];
    let mounts = [0, 1].map(|host| {
        let through = proxies[host].instead_of(&connect);
        Mount::options(&through).args(&["--session-timeout", "8s"]).mount()
    });
    Witness::connect(&connect).create("/counter", b"0 0x0", Mode::Persistent).unwrap();
    let notes = Workdir::new("fire");
    fs::write(notes.path().join("log"), "").unwrap();
    let random = 20_261_127;
    let mut battle =
        Battle { server, proxies, mounts, workers: Vec::new(), notes, random, began: Instant::now(), faults: [0; 5] };
    battle.workers = (0..plan.workers).map(|n| battle.start_worker(n % 2)).collect();
    let mut next = plan.pace;
    while next < plan.acquisitions {
        until_within(plan.patience, "the next fault is due", || battle.acknowledged() >= next);
        battle.fault();
        next += plan.pace;
    }
    until_within(plan.patience, "everybody has counted", || battle.acknowledged() >= plan.acquisitions);
    battle.workers.iter().for_each(Job::kill9);
    battle.judge(&connect);
}

impl Battle {
    fn judge(&self, connect: &str) {
        let chroot = &connect[connect.find('/').unwrap()..];
        let layout = Layout { lock: format!("{chroot}/.counter.lock"), counter: format!("{chroot}/counter") };
        let witness = Witness::connect(connect);
        let empty = || witness.children("/.counter.lock").unwrap_or_default().is_empty();
        until_within(Duration::from_secs(60), "nobody is left in the queue", empty);
        let log = self.log();
        assert!(!log.contains("stuck"), "a worker waited for {BOUND} s in vain");
        let said = |word: &str| log.lines().filter_map(|line| parse(line.strip_prefix(word)?.as_bytes())).collect();
        let claims = Claims { tried: said("try "), acknowledged: said("ack ") };
        let history = self.server.history_below(chroot);
        let written = check(&history, &layout, &claims).unwrap_or_else(|why| panic!("{why}"));
        reject_planted(&history, &layout, &claims);
        let longest = log.lines().filter_map(|line| line.strip_prefix("ack ")?.rsplit(' ').next()?.parse::<u64>().ok());
        let refused: BTreeSet<&str> = log.lines().filter_map(|line| line.strip_prefix("refused ")).collect();
        let [kills, cuts, stalls, losses, restarts] = self.faults;
        println!(
            "{written} written, {} acknowledged in {:?}; {kills} kills, {cuts} cuts, {stalls} stalls, {losses} sessions \
             ended, {restarts} restarts; longest wait {} ms; {} refused: {refused:?}",
            claims.acknowledged.len(),
            self.began.elapsed(),
            longest.max().unwrap_or_default(),
            log.lines().filter(|line| line.starts_with("refused ")).count(),
        );
        assert!(Path::new(&self.mounts[0].join("counter")).exists());
    }
}
