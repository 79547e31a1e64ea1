//! Holders that die, with their process, their daemon or their unmount.

use std::time::Duration;

use rig::{Mount, Shell, shared_server};

use crate::place::{Place, hold, start, until_says};

#[test]
fn a_killed_holder_passes_the_lock_on() {
    // > A lock is given back when the last descriptor of the open file is closed, so also by `kill -9`.
    let place = Place::new("killed");
    let holder = hold(&place.a, "f");
    let waiter = place.b.script(Shell::Bash, "exec flock f echo mine").start();
    place.until_queue("/.f.lock", 2);
    holder.kill9();
    waiter.wait().success();
    place.until_queue("/.f.lock", 0);
}

#[test]
fn a_child_that_inherits_the_descriptor_keeps_the_lock() {
    // > A process that inherits the descriptor keeps the lock, for as long as it lives; `flock -u` gives it back for all.
    let place = Place::new("fork");
    let parent = place.a.script(Shell::Bash, "exec 9<f; flock 9; sleep 600 & echo $!; exit").start();
    let child = parent.wait().success().text().to_owned();
    place.b.bash("flock -n f true").exits(1);
    Shell::Bash.script("kill -9 $1").arg(&child).run().success();
    place.b.bash("flock -w 20 f true").success();
    let parent = start(&place.a, "exec 9<f; flock 9; (sleep 600) & flock -u 9; echo done; wait", "done");
    place.b.bash("flock -n f true").success();
    drop(parent);
}

#[test]
fn a_killed_daemon_passes_the_lock_on_when_its_session_ends() {
    // > When a daemon or its host dies, its locks pass on at the session timeout.
    let connect = shared_server().chroot("daemon");
    let doomed = Mount::options(&connect).args(&["--session-timeout", "4s"]).mount();
    let place = Place::of(doomed, Mount::new(&connect), &connect);
    let holder = start(&place.a, "exec 9<f; flock 9; echo held; sleep 600 & wait", "held");
    let waiter = place.b.script(Shell::Bash, "exec flock -w 25 f echo mine").start();
    place.until_queue("/.f.lock", 2);
    place.a.kill9();
    waiter.wait().success();
    let output = Shell::Bash.script("cat \"$1\"").arg(format!("/proc/{}/fd/9", holder.pid())).run();
    assert_ne!(output.code(), 0, "the dead mount answers");
    place.until_queue("/.f.lock", 0);
}

#[test]
fn an_unmount_passes_the_lock_on_at_once() {
    // > When a daemon is told to end, its locks are given back at once.
    let place = Place::new("sigterm");
    let _holder = hold(&place.a, "f");
    let waiter = place.b.script(Shell::Bash, "exec flock f echo mine").deadline(Duration::from_secs(20)).start();
    place.until_queue("/.f.lock", 2);
    place.a.end(libc::SIGTERM);
    until_says(&waiter, "mine");
    waiter.wait().success();
}

#[test]
fn a_stopped_holder_keeps_the_lock() {
    // > A holder that is stopped, or waits for anything else, keeps its lock.
    let place = Place::new("stopped");
    let holder = hold(&place.a, "f");
    holder.signal(libc::SIGSTOP);
    place.b.bash("flock -n f true").exits(1);
    holder.signal(libc::SIGCONT);
    holder.kill9();
    place.b.bash("flock -w 20 f true").success();
}
