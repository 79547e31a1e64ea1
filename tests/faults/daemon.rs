//! What happens to the daemon itself: its clock steps, its requests are too large, it is told to end, aborted, or killed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rig::{Direction, Job, Mode, Mount, Shell, Workdir, until};

use crate::place::{Place, losses, session_id};

/// libfaketime, wherever this release has it.
fn faketime() -> PathBuf {
    let dirs = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let mut found = dirs.map(|dir| dir.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime; run scripts/setup")
}

#[test]
fn a_clock_that_is_set_neither_takes_nor_gives_a_lock() {
    let notes = Workdir::new("clock");
    let clock = notes.path().join("clock");
    // faketime takes the time of a file that is there, or the text in it.
    let set = |text: &str| {
        fs::write(notes.path().join("next"), format!("{text}\n")).unwrap();
        fs::rename(notes.path().join("next"), &clock).unwrap();
    };
    set("+0");
    let faketime = faketime();
    let place = Place::with("clock", |options| {
        options
            .o("session_timeout=6s")
            .env("LD_PRELOAD", faketime.to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    });
    place.mount.bash("touch f && echo x > mine@e").success();
    let other = Mount::new(&place.connect);
    let holder = place.mount.start("exec 9<>f; flock 9; echo held; exec sleep 600", "held");
    let session = session_id(&place.mount);
    for step in ["+1h", "-1h", "+400d", "-400d", "+0"] {
        set(step);
        place.mount.bash("echo x > f && cat f").success();
        // Longer than the session would live without being kept up.
        let confirmed = place.proxy.counts();
        until("the session is kept up", || {
            let now = place.proxy.counts();
            now.requests + now.pings > confirmed.requests + confirmed.pings + 4
        });
        other.bash("flock -n f true").exits(1);
        assert!(holder.is_running() && place.witness.exists("/mine"), "{step}");
        assert_eq!((session_id(&place.mount), losses(&place.mount)), (session, 0), "{step}");
    }
    holder.kill9();
    other.bash("flock -w 20 f true").success();
}

#[test]
fn a_write_that_is_too_large_disturbs_nobody() {
    let place = Place::new("oversized");
    let connections = place.proxy.counts().connections;
    place.mount.bash("mkdir d").success();
    let workers: Vec<Job> = (0..4)
        .map(|n| {
            let script = format!("for i in $(seq 40); do echo $i > d/f{n} && echo $i >> d/log{n} || exit 1; done");
            place.mount.script(Shell::Bash, &script).start()
        })
        .collect();
    let mut refused = 0;
    while refused < 3 || workers.iter().any(Job::is_running) {
        let output = place.mount.bash("head -c 1100000 /dev/zero | dd of=d/big bs=1100000 iflag=fullblock status=none");
        assert!(output.code() != 0 && output.stderr.contains("File too large"), "{output:?}");
        refused += 1;
    }
    let lines: String = (1..=40).map(|n| format!("{n}\n")).collect();
    for (n, worker) in workers.iter().enumerate() {
        worker.wait().success();
        assert_eq!(place.witness.text(&format!("/d/f{n}")), "40\n");
        assert_eq!(place.witness.text(&format!("/d/log{n}")), lines);
    }
    assert_eq!(place.proxy.counts().connections, connections, "nothing was connected anew");
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_nothing() {
    for signals in [1, 2] {
        let place = Place::new("told");
        place.mount.bash("touch f && mkdir d0 d1 d2 && echo x > mine@e").success();
        let scripts = [
            "exec 9<>f; flock 9; echo ready; exec sleep 600",
            "exec 9> held@h; echo ready; exec sleep 600",
            "exec < d0/@events; echo ready; exec cat",
        ];
        let mut jobs: Vec<Job> = scripts.map(|script| place.mount.start(script, "ready")).into();
        // Answers are late, so that there is something under way.
        place.proxy.delay(Direction::ToClient, Duration::from_millis(300));
        let before = place.proxy.counts().requests;
        let scripts = ["exec flock f true", "mkdir d1/new", "echo x > d2/new", "ls d2"];
        jobs.extend(scripts.map(|script| place.mount.script(Shell::Bash, script).start()));
        until("they have asked", || place.proxy.counts().requests >= before + 3);
        let session = session_id(&place.mount);
        if signals == 2 {
            place.mount.expect_end();
            unsafe { libc::kill(place.mount.pid(), libc::SIGTERM) };
        }
        let status = place.mount.end(libc::SIGTERM);
        // A second signal takes the short way, if it comes in time.
        assert!(status.code() == Some(0) || signals == 2 && status.code() == Some(128 + libc::SIGTERM), "{status}");
        if status.code() == Some(0) {
            assert!(!place.server.sessions().contains(&session), "the session is closed");
            assert!(!place.witness.exists("/mine") && !place.witness.exists("/held"), "ephemerals go with it");
            assert!(place.witness.children("/.f.lock").unwrap_or_default().is_empty(), "and locks");
        }
        // Whoever was in the mount gets out of it: nothing is left in state D.
        for job in &jobs {
            job.signal(libc::SIGKILL);
            until("a process that used the mount ends", || !job.is_running());
        }
        place.mount.restart();
        place.mount.bash("ls d0").success();
    }
}

#[test]
fn a_connection_that_is_aborted_ends_the_daemon_and_the_place_is_free() {
    let place = Place::new("aborted");
    place.mount.bash("touch f && echo x > mine@e").success();
    let session = session_id(&place.mount);
    let holder = place.mount.start("exec 9<>f; flock 9; echo held; exec sleep 600", "held");
    let minor = libc::minor(fs::metadata(place.mount.path()).unwrap().dev());
    place.mount.expect_end();
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("NOT TESTED: aborting a connection takes root");
        return;
    }
    let abort = format!(
        "exec unshare -m sh -c 'dir=/sys/fs/fuse/connections; [ -e $dir/{minor} ] || mount -t fusectl none $dir; echo 1 > $dir/{minor}/abort'"
    );
    Shell::Bash.script(&abort).run().success();
    place.mount.wait_end();
    assert!(!place.server.sessions().contains(&session), "the session is closed");
    assert!(!place.witness.exists("/mine"));
    place.mount.restart();
    place.mount.bash("flock -n f echo mine").success();
    drop(holder);
}

#[test]
fn a_script_on_a_dead_mount_is_told_so_until_it_is_back() {
    let place = Place::with("dead", |options| options.o("session_timeout=4s"));
    place.mount.bash("echo x > f && mkdir d").success();
    let holder = place.mount.start("exec 9<>f; flock 9; echo held; exec sleep 600", "held");
    let descriptor = PathBuf::from(format!("/proc/{}/fd/9", holder.pid()));
    let other = Mount::new(&place.connect);
    let next = other.script(Shell::Bash, "exec flock -w 25 f echo mine").start();
    place.mount.kill9();
    let errno = |result: io::Result<Vec<u8>>| result.unwrap_err().raw_os_error();
    for path in [place.mount.join("f"), descriptor.clone()] {
        assert_eq!(errno(fs::read(&path)), Some(libc::ENOTCONN), "{}", path.display());
    }
    assert_eq!(next.wait().success().text(), "mine");
    place.mount.restart();
    assert_eq!(fs::read_to_string(place.mount.join("f")).unwrap(), "x\n");
    // The old descriptor belongs to the mount that is gone.
    assert_eq!(errno(fs::read(&descriptor)), Some(libc::ENOTCONN));
    place.witness.create("/d/seen", b"x", Mode::Persistent).unwrap();
    until("it sees what others do", || place.mount.join("d/seen").exists());
}
