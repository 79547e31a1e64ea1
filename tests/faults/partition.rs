//! A host that is stopped, or cut off from all servers, for less or more than its session.

use std::fs;
use std::thread;
use std::time::Duration;

use rig::{Change, Direction, Job, Mode, Mount, Proxy, Shell, Workdir, until};

use crate::place::{Place, chroot, end_of, losses, session_id, told, until_state};

/// Takes the lock of `f` and, when it is told to, writes to `f` through the locked descriptor.
const HOLDER: &str = "exec 9<>f; flock 9; getfattr -n user.zk.lock.token --only-values /dev/fd/9; echo; echo held
    until [ -e \"$1/go\" ]; do sleep 0.02; done; echo mine >&9 && echo written || echo refused; exec sleep 600";

struct Holder {
    job: Job,
    notes: Workdir,
}

impl Holder {
    fn start(mount: &Mount) -> Holder {
        let notes = Workdir::new("holder");
        let job = mount.script(Shell::Bash, HOLDER).arg(notes.path()).start();
        job.until_line("held");
        Holder { job, notes }
    }

    fn token(&self) -> u64 {
        token(self.job.stdout().lines().next().expect("a token"))
    }

    /// Has it write; whether it was told that it has written.
    fn write(&self) -> bool {
        fs::write(self.notes.path().join("go"), "").unwrap();
        until("the holder has tried", || ["written\n", "refused\n"].iter().any(|end| self.job.stdout().ends_with(end)));
        self.job.stdout().ends_with("written\n")
    }
}

fn token(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|_| panic!("{text} is no token"))
}

/// A place whose mount has a session of two seconds, and a file.
fn short(name: &str) -> Place {
    let place = Place::with(name, |options| options.o("session_timeout=2s"));
    place.witness.create("/f", b"f", Mode::Persistent).unwrap();
    until("the mount has heard", || place.mount.join("f").exists());
    place
}

/// The next holder, on another host: waits for the lock and says its token.
fn successor(mount: &Mount) -> Job {
    let script =
        "exec 9<>f; flock -w 25 9 && getfattr -n user.zk.lock.token --only-values /dev/fd/9 && echo && echo mine";
    mount.script(Shell::Bash, &format!("{script}; exec sleep 600")).start()
}

/// Checks that nothing of a holder's was written that had lost its lock, as its session had ended on the server.
fn judge(place: &Place, holder: &Holder, session: i64, written: bool, what: &str) {
    let history = place.server.history();
    let lost = end_of(&history, session).is_some();
    let file = place.absolute("/f");
    let writes = |change: &Change| matches!(change, Change::SetData { path, data, .. } if *path == file && data.starts_with(b"mine"));
    let count = history.iter().flat_map(|one| &one.changes).filter(|change| writes(change)).count();
    assert_eq!(count, usize::from(written), "{what}: {}", holder.job.stderr());
    if written {
        let at = history.iter().find(|one| one.changes.iter().any(writes)).expect("its transaction");
        assert_eq!(at.session, session, "{what}: written by another session than the one that held the lock");
    }
    if !written && !lost {
        // The server may be later than we are, by the time that its last answer took.
        until(&format!("{what}: it was refused, so the session is lost"), || losses(&place.mount) > 0);
    }
}

#[test]
fn a_host_that_stands_still_holds_no_lock_longer_than_its_session() {
    thread::scope(|scope| {
        for (name, millis) in [("half", 1000), ("one", 2000), ("more", 3000), ("three", 6000)] {
            scope.spawn(move || {
                let place = short(name);
                let other = Mount::new(&place.connect);
                let holder = Holder::start(&place.mount);
                let (session, before) = (session_id(&place.mount), holder.token());
                let next = successor(&other);
                until("two stand in the queue", || other.bash("wc -l <f@lock").text().trim() == "2");
                let frozen = place.mount.freeze();
                thread::sleep(Duration::from_millis(millis));
                frozen.thaw();
                let written = holder.write();
                judge(&place, &holder, session, written, name);
                holder.job.kill9();
                next.until_line("mine");
                assert!(token(next.stdout().lines().next().unwrap()) > before, "{name}: tokens go up");
            });
        }
    });
}

#[test]
fn a_host_that_is_cut_off_for_longer_than_its_session_has_lost_its_lock() {
    // Where only answers are lost, the server goes on to hear of a session that we have given up.
    let ways: [(&str, &[Direction]); 3] =
        [("both-ways", &Direction::BOTH), ("requests", &[Direction::ToServer]), ("answers", &[Direction::ToClient])];
    thread::scope(|scope| {
        for (name, directions) in ways {
            scope.spawn(move || {
                let place = short(name);
                let other = Mount::new(&place.connect);
                let holder = Holder::start(&place.mount);
                let session = session_id(&place.mount);
                let next = successor(&other);
                directions.iter().for_each(|&direction| place.proxy.stall(direction));
                next.until_line("mine");
                assert!(token(next.stdout().lines().next().unwrap()) > holder.token(), "{name}: tokens go up");
                assert!(!holder.write(), "{name}: a write without the lock");
                assert!(holder.job.stderr().contains("Input/output error"), "{name}: {}", holder.job.stderr());
                place.proxy.flow();
                until("the mount is back by itself", || place.mount.bash("echo anew > g").code() == 0);
                judge(&place, &holder, session, false, name);
                // The old descriptor stays dead, a new one has to ask for the lock.
                place.mount.bash("flock -n f true").exits(1);
            });
        }
    });
}

#[test]
fn a_host_that_is_cut_off_for_less_keeps_its_lock_and_what_waited_is_done_once() {
    let place = Place::new("shorter");
    for n in 0..4 {
        place.witness.create(&format!("/d{n}"), b"", Mode::Persistent).unwrap();
    }
    place.witness.create("/f", b"f", Mode::Persistent).unwrap();
    place.mount.bash("stat d0 d1 d2 d3 f").success();
    let session_before = session_id(&place.mount);
    let holder = Holder::start(&place.mount);
    let ephemeral = place.mount.start("exec 8> d3/e@h; echo made; exec sleep 600", "made");
    type Act = fn(&Proxy);
    let stalled: (_, Act, Act) = ("stalled", Proxy::stall_both, Proxy::flow);
    let down: (_, Act, Act) = ("down", Proxy::down, Proxy::accept);
    for (name, begin, end) in [stalled, down] {
        begin(&place.proxy);
        let scripts = ["mkdir d0/NAME", "echo line >> d1/log", "echo NAME > d2/NAME"];
        let jobs = scripts.map(|script| place.mount.script(Shell::Bash, &script.replace("NAME", name)).start());
        // As long as it takes the shells to ask, and then some.
        thread::sleep(Duration::from_millis(700));
        assert!(jobs.iter().all(Job::is_running), "{name}: done without a connection");
        end(&place.proxy);
        jobs.iter().for_each(|job| drop(job.wait().success()));
        assert_eq!(place.creations(&format!("/d0/{name}")), 1);
        assert_eq!(place.witness.text(&format!("/d2/{name}")), format!("{name}\n"));
    }
    assert_eq!(place.witness.text("/d1/log"), "line\nline\n");
    assert_eq!((session_id(&place.mount), losses(&place.mount)), (session_before, 0));
    assert!(place.witness.exists("/d3/e") && ephemeral.is_running());
    assert!(holder.write(), "{}", holder.job.stderr());
}

#[test]
fn what_an_earlier_session_left_standing_is_a_strangers() {
    thread::scope(|scope| {
        scope.spawn(|| leave_standing("left", "set -o noclobber; echo mine > d/lock@e"));
        scope.spawn(|| leave_standing("left-numbers", "echo mine > d/n-@es"));
    });
}

/// Has the session be lost with the answer to what a script makes in the directory `d`.
fn leave_standing(name: &str, script: &str) {
    let dir = "/d";
    let place = Place::with(name, |options| options.o("session_timeout=4s").o("timeout=25s"));
    place.mount.bash("mkdir d").success();
    let old = session_id(&place.mount);
    // The answer does not come, nor any after it, and the server hears of us for as long as we believe in the session.
    let trap = place.proxy.trap().creates().path("/d/").hold_reply();
    let job = place.mount.script(Shell::Bash, script).start();
    until("the server has made it", || !place.witness.children(dir).unwrap().is_empty());
    place.proxy.refuse();
    until_state(&place.mount, "lost");
    drop(trap);
    place.proxy.accept();
    let output = job.wait();
    until_state(&place.mount, "connected");
    let now = session_id(&place.mount);
    assert_ne!(now, old, "{script}: the session is another one");
    let owners = || -> Vec<i64> {
        let names = place.witness.children(dir).unwrap();
        names
            .iter()
            .filter_map(|name| place.witness.stat(&format!("{dir}/{name}")))
            .map(|s| s.ephemeral_owner)
            .collect()
    };
    // The old one's goes with it, or is there for as long as the server keeps it; it is never ours.
    until(&format!("{script}: what the old session made is gone"), || owners().iter().all(|&owner| owner == now));
    match output.code() {
        0 => assert_eq!(owners(), [now], "{script}: a success that is not there"),
        _ => {
            assert!(told(&output, "Input/output error") || told(&output, "timed out"), "{script}: {output:?}");
            assert!(owners().is_empty(), "{script}: reported as failed and there");
        }
    }
    let made = place.server.history_below(&format!("{}{dir}", chroot(&place.connect)));
    assert!(made.iter().all(|one| one.session == old || one.session == now));
}
