//! Files that live as long as they are open: `lock@h`.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use rig::{Job, Mount, Proxy, Shell, shared_server, until};

use crate::place::{Place, fails, quickest, write};

/// A shell that holds `lock` and waits, without a child that would have its descriptors.
const HOLD: &str = "exec 9> lock@h && echo $$ >&9 && echo holds && kill -STOP $$";

fn kill_shell(job: &Job) {
    job.signal_shell(libc::SIGKILL);
    until("the shell is gone", || !job.is_running());
}

#[test]
fn killing_the_holder_frees_the_lock_at_once() {
    // > `NAME@h` is deleted when the open file that made it is closed for the last time, by whatever.
    let place = Place::new("holder");
    let [mount, other] = place.pair();
    quickest(Duration::from_millis(100), || {
        let job = mount.start(HOLD, "holds");
        let holder = job.pid().to_string();
        until("the other host sees the holder", || {
            fs::read_to_string(other.join("lock")).is_ok_and(|text| text.trim() == holder)
        });
        fails(File::create_new(other.join("lock@h")), libc::EEXIST);
        let began = Instant::now();
        kill_shell(&job);
        place.witness.until_gone("/lock");
        began.elapsed()
    });
    write(mount.join("alive"), "the mount lives on");
}

#[test]
fn every_way_to_close_frees_the_lock() {
    let place = Place::new("ways");
    let mount = place.mount();
    for (way, code) in [
        ("exec 9>&-; [ ! -e lock ] || exit 1", 0),
        ("exit 3", 3),
        ("kill -TERM $$", 128 + libc::SIGTERM),
        ("kill -9 $$", 128 + libc::SIGKILL),
        ("exec true", 0),
    ] {
        let script = format!("exec 9> lock@h && echo x >&9 || exit 9\n{way}");
        mount.bash(&script).exits(code);
        until(&format!("the lock is free after {way}"), || !place.witness.exists("/lock"));
    }
    // In every shell, with the redirection of a group as well.
    for shell in Shell::ALL {
        let script = "{ echo x; [ -e lock ] && echo held >&2; } > lock@h";
        let output = mount.script(shell, script).run().success();
        assert_eq!(output.stderr, "held\n", "{shell:?}");
        place.witness.until_gone("/lock");
    }
}

#[test]
fn a_child_that_inherited_the_descriptor_keeps_the_lock() {
    let place = Place::new("child");
    let mount = place.mount();
    let script = "exec 9> lock@h; sleep 1000 & echo $!; echo holds; kill -STOP $$";
    let job = mount.start(script, "holds");
    let child: i32 = job.stdout().lines().next().unwrap().parse().unwrap();
    kill_shell(&job);
    // What its end made the kernel ask for has been answered: a process is not gone before its files are closed.
    write(mount.join("later"), "x");
    assert!(place.witness.exists("/lock"), "the child still has it");
    unsafe { libc::kill(child, libc::SIGKILL) };
    place.witness.until_gone("/lock");
}

#[test]
fn only_the_open_that_made_it_holds_it() {
    let place = Place::new("others");
    let [mount, other] = place.pair();
    let job = mount.start(HOLD, "holds");
    for mount in [&mount, &other] {
        mount.bash("exec 8< lock; exec 7>> lock; read -r x <&8; exec 8<&- 7>&-; echo more >> lock@h").success();
        assert!(place.witness.exists("/lock"));
    }
    // The holder goes while another one has it open.
    let reader = mount.start("exec 8< lock; echo open; kill -STOP $$; cat <&8", "open");
    kill_shell(&job);
    place.witness.until_gone("/lock");
    drop(reader);
    // A file that exists is opened as any other, and stays.
    write(mount.join("plain"), "old");
    write(mount.join("plain@h"), "new");
    write(mount.join("later"), "x");
    assert_eq!(place.witness.text("/plain"), "new");
    assert_eq!(place.witness.stat("/plain").unwrap().ephemeral_owner, 0);
}

#[test]
fn a_held_file_that_somebody_else_made_anew_is_not_touched() {
    let place = Place::new("anew");
    let [mount, other] = place.pair();
    let job = mount.start(HOLD, "holds");
    fs::remove_file(other.join("lock")).unwrap();
    write(other.join("lock@e"), "theirs");
    kill_shell(&job);
    // Each file's release is answered before the next one of the same mount is known to be gone.
    let next = mount.start(&HOLD.replace("lock", "next"), "holds");
    kill_shell(&next);
    place.witness.until_gone("/next");
    assert_eq!(place.witness.text("/lock"), "theirs");
}

#[test]
fn a_held_file_follows_its_rename() {
    let place = Place::new("renamed");
    let mount = place.mount();
    let job = mount.start(HOLD, "holds");
    fs::rename(mount.join("lock"), mount.join("renamed")).unwrap();
    assert!(place.witness.exists("/renamed"));
    kill_shell(&job);
    place.witness.until_gone("/renamed");
}

#[test]
fn a_lock_that_is_closed_while_the_server_is_away_goes_later() {
    let place = Place::new("away");
    let proxy = Proxy::to(shared_server());
    let mount = place.options(&proxy.instead_of(place.ensemble())).o("timeout=1s").mount();
    for lock in ["lock@h", "lock-@hs:t"] {
        let mut file = File::create(mount.join(lock)).unwrap();
        file.write_all(b"held").unwrap();
        let name = place.names("/").pop().unwrap();
        proxy.down();
        drop(file);
        // Longer than an operation may take: what cannot be done by then is not given up.
        fails(fs::metadata(mount.join("other")), libc::ETIMEDOUT);
        fails(fs::metadata(mount.join("other")), libc::ETIMEDOUT);
        assert!(place.witness.exists(&format!("/{name}")));
        proxy.accept();
        place.witness.until_gone(&format!("/{name}"));
    }
}

#[test]
fn a_lock_of_a_lost_session_is_not_the_next_holders() {
    let place = Place::new("lost");
    let proxy = Proxy::to(shared_server());
    let mount = place.options(&proxy.instead_of(place.ensemble())).mount();
    let mut file = File::create(mount.join("lock@h")).unwrap();
    file.write_all(b"first").unwrap();
    proxy.expire_sessions();
    until("the mount has a new session", || File::create_new(mount.join("lock@h")).map(drop).is_ok());
    until("that one is gone", || !place.witness.exists("/lock"));
    write(mount.join("lock@e"), "second");
    fails(file.write_all(b"more"), libc::EIO);
    drop(file);
    flush(&mount);
    assert_eq!(place.witness.text("/lock"), "second");
}

/// Waits until what was closed before has been released: releases of one process are served in order, and one that
/// deletes shows.
fn flush(mount: &Mount) {
    for n in 0..3 {
        drop(File::create(mount.join(format!("flush-{n}@h"))).unwrap());
        until("it is released", || !mount.join(format!("flush-{n}")).exists());
    }
}
