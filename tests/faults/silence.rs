//! The server stops in its tracks under every kind of command: each ends by its deadline, and by a signal at once.

use std::fs;
use std::time::Duration;

use rig::{Job, Mount, Server, Shell, Witness, until, until_within};

use crate::place::{session, until_state};

/// What waits for ZooKeeper until the deadline, and is then told so. Each in a directory of its own, `$1`: the kernel serves
/// those that create in one directory one after the other.
const PATIENT: [&str; 11] = [
    "ls $1/sub",
    "cat $1/f",
    "stat $1/f",
    "echo x > $1/f",
    "echo x >> $1/f",
    "mkdir $1/new",
    "rm $1/f",
    "mv $1/f $1/moved",
    "find $1/sub",
    "set -o noclobber; echo x > $1/lock@e",
    "flock -n $1/f true",
];

/// What has no deadline, and ends on a signal only.
const ENDLESS: [&str; 2] = ["exec flock busy echo never", "exec cat w0/@events"];

/// What needs no server.
const LOCAL: &str = "df . && cat @session && stat -f . && ls -d .";

struct Place {
    server: Server,
    witness: Witness,
    mount: Mount,
}

impl Place {
    /// A mount that knows nothing of the tree that it is asked for, on a server of its own.
    fn new(timeout: &str) -> Place {
        let server = Server::boot();
        let connect = server.chroot("silence");
        let witness = Witness::options(&connect).session_timeout(Duration::from_secs(100)).connect();
        witness.create("/busy", b"b", rig::Mode::Persistent).unwrap();
        for n in 0..PATIENT.len() {
            for (name, data) in [("", ""), ("/sub", ""), ("/sub/x", "x"), ("/f", "f")] {
                witness.create(&format!("/w{n}{name}"), data.as_bytes(), rig::Mode::Persistent).unwrap();
            }
        }
        let mount = Mount::options(&connect).o("session_timeout=60s").o(&format!("timeout={timeout}")).mount();
        // The way to the files is known, so that it is the command itself that waits.
        mount.bash("stat w* @session @metrics busy").success();
        Place { server, witness, mount }
    }

    /// Starts commands, each in a shell and a directory of its own.
    fn start(&self, scripts: &[&str]) -> Vec<Job> {
        let dirs = (0..).map(|n| format!("w{n}"));
        scripts.iter().zip(dirs).map(|(script, dir)| self.mount.script(Shell::Bash, script).arg(dir).start()).collect()
    }

    /// Starts all that wait when the server does not answer, some of them before it fell silent.
    fn silence(&self) -> (rig::Frozen, Vec<Job>, Vec<Job>) {
        let held = self.start(&["exec flock busy sh -c 'echo held; exec sleep 600'"]);
        until("the lock is held", || held[0].stdout() == "held\n");
        let mut endless = self.start(&ENDLESS);
        until("a waiter is in the queue", || {
            fs::read_to_string(self.mount.join("busy@lock")).unwrap().lines().count() == 2
        });
        endless.extend(held);
        let frozen = self.server.freeze();
        (frozen, self.start(&PATIENT), endless)
    }
}

/// Waits until everybody waits for an answer: a signal that comes before shows nothing.
fn until_waiting(mount: &Mount, count: usize) {
    let waiting = || {
        let text = fs::read_to_string(mount.join("@metrics")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("zkmount_operations_waiting "));
        line.expect("the metric").parse::<usize>().unwrap()
    };
    until(&format!("{count} operations wait"), || waiting() >= count);
}

#[test]
fn each_command_ends_by_its_deadline() {
    let place = Place::new("2s");
    let (frozen, patient, endless) = place.silence();
    // Nothing of this may wait for the others, which take seconds.
    place.mount.script(Shell::Bash, LOCAL).deadline(Duration::from_secs(20)).run().success();
    for (job, script) in patient.iter().zip(PATIENT) {
        let output = job.wait();
        assert_ne!(output.code(), 0, "{script} succeeds");
        assert!(output.stderr.contains("Connection timed out"), "{script}: {output:?}");
    }
    assert!(endless.iter().all(Job::is_running), "what has no deadline waits on");
    frozen.thaw();
    // The session lives on, and so does all that waited.
    until_state(&place.mount, "connected");
    assert_eq!(session(&place.mount)["incarnation"], "1");
    assert!(endless.iter().all(Job::is_running));
    // What was removed or moved when nobody could know may be gone.
    for (script, dir) in PATIENT.iter().zip(["w0"; PATIENT.len()]) {
        let output = place.mount.script(Shell::Bash, script).arg(dir).run();
        assert!(!output.stderr.contains("timed out"), "{script}: {output:?}");
    }
    for script in ["ls w0/sub", "cat w1/f", "echo y > w2/f", "mkdir w0/after", "rm w2/f", "find w4", "echo x > w5/e@e"]
    {
        place.mount.script(Shell::Bash, script).run().success();
    }
    until("the stream goes on", || endless[1].stdout().contains("create after\n"));
    place.mount.script(Shell::Bash, "flock -n busy true").run().exits(1);
    endless[2].kill9();
    assert_eq!(endless[0].wait().success().text(), "never");
}

#[test]
fn each_command_ends_on_a_signal() {
    for signal in [libc::SIGINT, libc::SIGKILL] {
        let place = Place::new("300s");
        let (frozen, patient, endless) = place.silence();
        until_waiting(&place.mount, patient.len());
        for (job, script) in patient.iter().chain(&endless).zip(PATIENT.iter().chain(&ENDLESS).chain(&["the holder"])) {
            assert!(job.is_running(), "{script} has ended before");
            job.signal(signal);
            // A second would do; a busy machine has more.
            until_within(Duration::from_secs(15), &format!("{script} ends"), || !job.is_running());
        }
        drop(frozen);
        place.mount.bash("ls w0/sub").success();
        until("nobody is left in the queue", || place.witness.children("/.busy.lock").unwrap().is_empty());
    }
}
