//! The daemon is killed with SIGKILL under load, again and again, and mounted again on the same mount point.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rig::{Change, Job, Mode, Mount, Server, Shell, Witness, Workdir, number, until, until_within};

use crate::place::{chroot, session_id};

/// Writes whole values, holds locks and ephemerals, makes and removes; goes on when the mount is back. A value names its
/// writer and number, and is as long as it says.
const WORKER: &str = r#"
import fcntl, os, sys, time
mount, name, notes = sys.argv[1:]
n = 0
def value():
    body = f"{name}.{n}:"
    length = 40 + n * 977 % 60000
    return (body + str(length) + ":").ljust(length, chr(97 + n % 26)).encode()
def put(path, flags):
    fd = os.open(f"{mount}/{path}", flags, 0o666)
    try:
        os.write(fd, value())
    finally:
        os.close(fd)
acks = os.open(f"{notes}/acks", os.O_WRONLY | os.O_APPEND)
while not os.path.exists(f"{notes}/stop"):
    n += 1
    try:
        put(f"v{n % 4}", os.O_WRONLY | os.O_TRUNC)
        os.write(acks, b"set\n")
        put(f"d/{name}.{n}@e", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.mkdir(f"{mount}/d/dir.{name}.{n}")
        os.rmdir(f"{mount}/d/dir.{name}.{n}")
        put(f"q/{name}-@s", os.O_WRONLY | os.O_CREAT)
        fd = os.open(f"{mount}/lock", os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            os.pwrite(fd, value(), 0)
            os.ftruncate(fd, len(value()))
        finally:
            os.close(fd)
        os.write(acks, b"round\n")
    except OSError:
        time.sleep(0.01)
"#;

/// Whether a value is one that a worker wrote, in full.
fn is_whole(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(length), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let fill = rest.bytes().last().unwrap_or(b'a');
    name.starts_with('w') && length.parse() == Ok(data.len()) && rest.bytes().all(|byte| byte == fill)
}

#[test]
fn the_check_of_values_sees_what_it_is_for() {
    assert!(is_whole(b"w1.2:10:cc"));
    for torn in ["", "w1.2:10:c", "w1.2:10:cb", "x1.2:10:cc", "w1.2:11:cc", "cc"] {
        assert!(!is_whole(torn.as_bytes()), "{torn} is taken for a value");
    }
}

/// How long the session of a killed daemon lives on.
const SESSION: Duration = Duration::from_secs(1);

struct Killed {
    server: Server,
    connect: String,
    doomed: Mount,
    other: Mount,
    witness: Witness,
    notes: Workdir,
    /// The sessions of the daemons that were killed.
    dead: BTreeSet<i64>,
    longest: Duration,
}

impl Killed {
    fn new() -> Killed {
        let server = Server::options().heap(512).boot();
        let connect = server.chroot("killed");
        let witness = Witness::connect(&connect);
        for (path, data) in [("/d", ""), ("/q", ""), ("/lock", "w0.0:9:a"), ("/v0", "w0.0:9:a"), ("/v1", "w0.0:9:a")] {
            witness.create(path, data.as_bytes(), Mode::Persistent).unwrap();
        }
        for path in ["/v2", "/v3"] {
            witness.create(path, b"w0.0:9:a", Mode::Persistent).unwrap();
        }
        let options = Mount::options(&connect).o(&format!("session_timeout={}s", SESSION.as_secs()));
        let notes = Workdir::new("kill");
        fs::write(notes.path().join("acks"), "").unwrap();
        let (doomed, other) = (options.mount(), Mount::new(&connect));
        Killed { server, connect, doomed, other, witness, notes, dead: BTreeSet::new(), longest: Duration::ZERO }
    }

    fn worker(&self, name: usize) -> Job {
        let script = Shell::Bash.script("exec /usr/bin/python3 -c \"$@\"").arg(WORKER).arg(self.doomed.path());
        script.arg(format!("w{name}")).arg(self.notes.path()).deadline(Duration::from_secs(1800)).start()
    }

    fn rounds(&self) -> usize {
        fs::read_to_string(self.notes.path().join("acks")).unwrap().lines().filter(|line| *line == "round").count()
    }

    fn kill(&mut self, moment: u64) {
        let goal = self.rounds() + 3;
        until_within(Duration::from_secs(60), "the load goes on", || self.rounds() >= goal);
        let session = session_id(&self.doomed);
        // Somewhere in the middle of something.
        std::thread::sleep(Duration::from_micros(moment));
        self.doomed.kill9();
        let killed = Instant::now();
        assert!(fs::read_dir(self.doomed.path()).is_err(), "the mount point of a dead daemon answers");
        self.doomed.restart();
        self.dead.insert(session);
        // Whoever waits on another host has the lock as soon as the dead session has ended.
        self.other.bash("flock -w 25 lock true").success();
        self.longest = self.longest.max(killed.elapsed());
    }

    /// Nothing of the dead is left, and every value that was ever set is whole.
    fn judge(&self, kills: usize) {
        let gone = || self.server.sessions().iter().all(|id| !self.dead.contains(id));
        until("the dead sessions have ended", gone);
        let tree = self.witness.tree("/");
        let mut ephemerals = 0;
        for (path, data) in tree.iter().filter(|(path, _)| !path.contains(".lock")) {
            let Some(stat) = self.witness.stat(path) else { continue };
            assert!(!self.dead.contains(&stat.ephemeral_owner), "{path} outlives its session");
            ephemerals += usize::from(stat.ephemeral_owner != 0);
            let is_dir = data.is_empty() && (stat.version == 0 || stat.num_children > 0);
            // A file is there, empty, before it is written, if it has no number.
            let is_new = data.is_empty() && path.starts_with("/d/");
            assert!(is_dir || is_new || data == b"w0.0:9:a" || is_whole(data), "{path} is torn: {} bytes", data.len());
        }
        assert_eq!(self.witness.children("/.lock.lock").unwrap_or_default().len(), 0, "nobody waits any more");
        let mut sets = 0;
        for change in self.server.history_below(chroot(&self.connect)).iter().flat_map(|one| &one.changes) {
            if let Change::SetData { path, data, .. } = change
                && !data.is_empty()
            {
                sets += 1;
                // The new length of the value under the lock comes after it.
                assert!(is_whole(data) || path.ends_with("/lock"), "a torn value was set at {path}");
            }
        }
        println!(
            "{kills} kills, {} rounds, {sets} sets, {} znodes, {ephemerals} ephemerals; \
             at most {:?} from a kill until the mount is back and another host has the lock",
            self.rounds(),
            tree.len(),
            self.longest,
        );
    }
}

#[test]
fn a_daemon_that_is_killed_under_load_damages_nothing_and_comes_back() {
    let mut killed = Killed::new();
    let workers: Vec<Job> = (1..=3).map(|name| killed.worker(name)).collect();
    let kills = number("FAULT_KILLS", 6);
    for round in 0..kills {
        killed.kill(137 * (round as u64 * 7919 % 100));
    }
    let goal = killed.rounds() + 3;
    until("the load goes on after the last kill", || killed.rounds() >= goal);
    fs::write(killed.notes.path().join("stop"), "").unwrap();
    workers.iter().for_each(|worker| drop(worker.wait().success()));
    killed.judge(kills);
}
