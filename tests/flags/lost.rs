//! Creates whose answer is lost, comes too late, or finds nobody: each way to create, each kind, at exactly that moment.

use std::fs;

use rig::{Job, Mount, Op, Proxy, Shell, TrapBuilder, shared_server, until};

use crate::place::{Place, write};

/// A way to create.
struct Way {
    name: &'static str,
    /// What is run.
    python: &'static str,
    /// The znode that it makes, without the number.
    base: &'static str,
    /// The znode goes with the program.
    held: bool,
}

const fn way(name: &'static str, python: &'static str, base: &'static str) -> Way {
    Way { name, python, base, held: false }
}

const EPHEMERAL: [Way; 8] = [
    way("open @e", "os.open('lock@e', NEW)", "lock"),
    Way { held: true, ..way("open @h", "fd = os.open('lock@h', NEW)", "lock") },
    way("write @es", "os.write(os.open('n-@es:t', NEW), b'content')", "n-"),
    Way { held: true, ..way("write @hs", "fd = os.open('n-@hs:t', NEW); os.write(fd, b'content')", "n-") },
    way("link @e", "os.link('tmp', 'lock@e')", "lock"),
    way("link @es", "os.link('tmp', 'n-@es:t')", "n-"),
    way("rename @e", "os.rename('tmp', 'lock@e')", "lock"),
    way("rename @es", "os.rename('tmp', 'n-@es:t')", "n-"),
];

/// Nobody can tell whether one of these was applied when its reply is lost; when its caller is gone, it is undone as well.
const PERSISTENT: [Way; 6] = [
    way("open", "os.open('plain', NEW)", "plain"),
    way("mkdir", "os.mkdir('plain')", "plain"),
    way("mkdir @s", "os.mkdir('n-@s:t')", "n-"),
    way("write @s", "os.write(os.open('n-@s:t', NEW), b'content')", "n-"),
    way("link", "os.link('tmp', 'plain')", "plain"),
    way("rename @s", "os.rename('tmp', 'n-@s:t')", "n-"),
];

/// Tries, and prints the error number.
const PROGRAM: &str = "
import os, sys
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
try:
    exec(sys.argv[1])
    print('made', flush=True)
except OSError as error:
    print(error.errno, flush=True)
";

/// A mount through a proxy.
struct World {
    place: Place,
    proxy: Proxy,
    mount: Mount,
}

/// One way, tried in a directory of its own, beside a file to rename and link.
struct Attempt<'a> {
    world: &'a World,
    way: &'a Way,
    dir: String,
}

impl World {
    fn new(name: &str, option: &str) -> World {
        let place = Place::new(name);
        let proxy = Proxy::to(shared_server());
        let mount = place.options(&proxy.instead_of(place.ensemble())).o(option).mount();
        World { place, proxy, mount }
    }

    fn attempt<'a>(&'a self, way: &'a Way) -> Attempt<'a> {
        let dir = way.name.replace(" @", "-");
        fs::create_dir(self.mount.join(&dir)).unwrap();
        write(self.mount.join(&dir).join("tmp"), "content");
        Attempt { world: self, way, dir }
    }
}

impl Attempt<'_> {
    fn start(&self) -> Job {
        let script = self.world.mount.script(Shell::Bash, "cd \"$1\" && shift && exec /usr/bin/python3 -c \"$@\"");
        script.arg(&self.dir).arg(PROGRAM).arg(self.way.python).start()
    }

    /// The request that makes it.
    fn trap(&self) -> TrapBuilder {
        self.world.proxy.trap().creates().op(Op::Multi).path(&format!("/{}/{}", self.dir, self.way.base))
    }

    /// What there is of it.
    fn there(&self) -> Vec<String> {
        let names = self.world.place.names(&format!("/{}", self.dir));
        names.into_iter().filter(|name| name.starts_with(self.way.base)).collect()
    }

    /// How often it was made.
    fn made(&self) -> usize {
        self.world.place.creations(&format!("/{}/{}", self.dir, self.way.base)).len()
    }

    /// Waits until it is as if nothing had been tried, and tries again: nothing is left that would be in the way.
    fn until_undone(&self) {
        let tmp = format!("/{}/tmp", self.dir);
        let witness = &self.world.place.witness;
        until(&format!("{} is undone", self.way.name), || self.there().is_empty() && witness.exists(&tmp));
        assert_eq!(witness.text(&tmp), "content", "{}", self.way.name);
        assert_eq!(witness.stat(&tmp).unwrap().ephemeral_owner, 0, "{}", self.way.name);
        self.succeeds();
    }

    #[track_caller]
    fn succeeds(&self) {
        assert_eq!(self.start().wait().success().text(), "made", "{} once more", self.way.name);
    }
}

#[test]
fn a_lost_reply_of_an_ephemeral_is_found_to_be_ours() {
    let world = World::new("reply", "timeout=20s");
    for way in &EPHEMERAL {
        let attempt = world.attempt(way);
        let trap = attempt.trap().lose_reply();
        attempt.succeeds();
        assert!(trap.sprung(), "{}", way.name);
        // A held one has gone with its program.
        until("it is there, or not any more", || attempt.there().len() == usize::from(!way.held));
        assert_eq!(attempt.made(), 1, "{}", way.name);
    }
}

#[test]
fn a_lost_reply_of_what_is_persistent_is_told_and_logged() {
    let world = World::new("untold", "timeout=20s");
    for way in &PERSISTENT {
        let attempt = world.attempt(way);
        let trap = attempt.trap().lose_reply();
        let output = attempt.start().wait().success();
        assert!(trap.sprung(), "{}", way.name);
        assert_eq!(output.text(), libc::EIO.to_string(), "{}", way.name);
        assert_eq!((attempt.there().len(), attempt.made()), (1, 1), "{}", way.name);
        let path = format!("/{}/{}", attempt.dir, way.base);
        assert!(world.mount.log().lines().any(|line| line.contains("WARN") && line.contains(&path)), "{}", way.name);
    }
}

#[test]
fn a_request_that_is_lost_is_sent_again() {
    let world = World::new("request", "timeout=20s");
    for way in EPHEMERAL.iter().chain(&PERSISTENT) {
        let attempt = world.attempt(way);
        let trap = attempt.trap().lose_request();
        attempt.succeeds();
        assert!(trap.sprung(), "{}", way.name);
        assert_eq!(attempt.made(), 1, "{}", way.name);
    }
}

#[test]
fn what_was_told_to_have_failed_is_undone_when_its_outcome_is_known() {
    let late = |way: &Way| {
        let world = World::new("late", "timeout=3s");
        let attempt = world.attempt(way);
        let trap = attempt.trap().hold_reply();
        let job = attempt.start();
        trap.wait();
        assert_eq!(attempt.there().len(), 1, "{}", way.name);
        // A silent connection is given up before the time of an operation is over; the next one would tell the outcome.
        world.proxy.refuse();
        assert_eq!(job.wait().success().text(), libc::ETIMEDOUT.to_string(), "{}", way.name);
        world.proxy.accept();
        trap.release();
        attempt.until_undone();
    };
    // At the same time, since each takes the whole time of an operation; each with a connection of its own.
    std::thread::scope(|scope| {
        for way in &EPHEMERAL {
            scope.spawn(|| late(way));
        }
    });
}

#[test]
fn what_is_made_for_nobody_is_undone() {
    let world = World::new("nobody", "timeout=20s");
    for (number, way) in EPHEMERAL.iter().chain(&PERSISTENT).enumerate() {
        let attempt = world.attempt(way);
        let trap = attempt.trap().hold_reply();
        let job = attempt.start();
        trap.wait();
        assert_eq!(attempt.made(), 1, "{}", way.name);
        job.signal([libc::SIGKILL, libc::SIGTERM, libc::SIGINT][number % 3]);
        until("the caller is gone, whatever the server does", || !job.is_running());
        trap.release();
        attempt.until_undone();
    }
}

#[test]
fn what_was_made_in_a_lost_session_is_not_ours() {
    let world = World::new("session", "timeout=20s");
    for way in &EPHEMERAL[..4] {
        let attempt = world.attempt(way);
        let trap = attempt.trap().hold_reply();
        let job = attempt.start();
        trap.wait();
        assert_eq!(attempt.there().len(), 1, "{}", way.name);
        world.proxy.expire_sessions();
        drop(trap);
        assert_eq!(job.wait().success().text(), libc::EIO.to_string(), "{}", way.name);
        assert_eq!(attempt.there(), [""; 0], "{}", way.name);
        // And what a stranger makes meanwhile under the name is not taken for ours.
        attempt.succeeds();
    }
}
