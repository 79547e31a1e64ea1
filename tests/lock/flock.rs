//! flock(1) on two hosts: refusing, waiting, giving up.

use std::collections::VecDeque;
use std::fs;
use std::time::Duration;

use rig::{Op, Proxy, Shell, Workdir, shared_server, until};

use crate::place::{Place, hold, until_says};

#[test]
fn a_busy_lock_is_refused_or_waited_for_a_while() {
    // > `flock -n` on a lock that is held on another host fails at once, and leaves nothing in the queue.
    let place = Place::new("busy");
    let holder = hold(&place.a, "f");
    place.b.bash("flock -n -E 7 f echo never").exits(7);
    assert_eq!(place.queue("/.f.lock"), 1);
    // > `flock -w SECONDS` ends when its time is over, and leaves nothing in the queue.
    let output = place.b.bash("flock -w 1 -E 8 f echo never").exits(8);
    assert!(output.took >= Duration::from_secs(1) && output.stdout.is_empty());
    place.until_queue("/.f.lock", 1);
    holder.kill9();
    place.b.bash("flock -w 20 f echo mine").success();
}

#[test]
fn those_who_wait_have_it_in_the_order_of_asking() {
    // > Whoever waits for a lock has it in the order of asking, over all hosts.
    let place = Place::new("order");
    let holder = hold(&place.a, "f");
    let notes = Workdir::new("order");
    let order = notes.path().join("order");
    let mut jobs = Vec::new();
    for n in 0..6 {
        let mount = if n % 2 == 0 { &place.b } else { &place.a };
        let script = format!("flock f sh -c 'echo {n} >> \"$1\"' sh \"$1\"");
        jobs.push(mount.script(Shell::Bash, &script).arg(&order).start());
        place.until_queue("/.f.lock", n + 2);
    }
    holder.kill9();
    for job in &jobs {
        job.wait().success();
    }
    assert_eq!(fs::read_to_string(order).unwrap(), "0\n1\n2\n3\n4\n5\n");
    place.until_queue("/.f.lock", 0);
}

#[test]
fn a_signal_ends_a_waiter_at_once() {
    // > Any signal that ends a program ends its wait for a lock, and takes it out of the queue.
    let place = Place::new("signals");
    let _holder = hold(&place.a, "f");
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        let waiter = place.b.script(Shell::Bash, "exec flock f true").start();
        place.until_queue("/.f.lock", 2);
        waiter.signal(signal);
        until("the waiter ends", || !waiter.is_running());
        assert_eq!(waiter.wait().code(), 128 + signal);
        place.until_queue("/.f.lock", 1);
    }
}

#[test]
fn a_waiter_that_goes_lets_those_behind_it_move_up() {
    let place = Place::new("moveup");
    let holder = hold(&place.a, "f");
    let first = place.b.script(Shell::Bash, "exec flock f true").start();
    place.until_queue("/.f.lock", 2);
    let second = place.a.script(Shell::Bash, "exec flock f echo mine").start();
    place.until_queue("/.f.lock", 3);
    first.kill9();
    place.until_queue("/.f.lock", 2);
    assert!(second.is_running());
    holder.kill9();
    assert_eq!(second.wait().success().text(), "mine");
}

#[test]
fn the_lock_of_a_directory_is_taken_through_its_view() {
    // > `flock DIR/@lock` locks a directory for the whole cluster; its contenders are children of DIR.
    let place = Place::new("directory");
    let holder = hold(&place.a, "d/@lock");
    assert_eq!(place.queue("/d"), 1);
    place.b.bash("flock -n d/@lock true").exits(1);
    place.b.bash("flock -n d@lock true").exits(1);
    // > `flock DIR` is granted by the kernel to every host at once: it never reaches zkmount and excludes nobody elsewhere.
    place.b.bash("flock -n d true").success();
    holder.kill9();
    // The idiom of scripts, with a descriptor for writing.
    place.b.bash("( flock -w 20 9 && echo mine ) 9>d/@lock").success();
    place.until_queue("/d", 0);
}

#[test]
fn an_upgrade_lets_others_in_between() {
    // > Changing how a lock is held gives it back first, as flock(2) says: others may have it in between.
    let place = Place::new("upgrade");
    let reader = hold(&place.a, "-s f");
    let script =
        "exec 9<f; flock -s 9; echo shared; flock -n -x 9 || echo refused; flock -n -s 9; echo again; sleep 600";
    let upgrade = crate::place::start(&place.b, script, "again");
    assert_eq!(upgrade.stdout(), "shared\nrefused\nagain\n");
    assert_eq!(place.queue("/.f.lock"), 2);
    reader.kill9();
    let alone = place.a.bash("exec 9<f; flock -w 20 -s 9 && flock -n -x 9 || echo refused").success();
    assert_eq!(alone.text(), "refused", "the other reader is there yet");
    upgrade.kill9();
    place.until_queue("/.f.lock", 0);
    place.a.bash("exec 9<f; flock -s 9 && flock -n -x 9 && flock -n -s 9 && flock -u 9").success();
    place.until_queue("/.f.lock", 0);
}

#[test]
fn a_hand_over_wakes_one_waiter_however_many_there_are() {
    // > A hand-over wakes one waiter and costs the same number of requests, however many there are.
    let connect = shared_server().chroot("herd");
    let proxy = Proxy::to(shared_server());
    let place = Place::on(&proxy.instead_of(&connect), &connect, &connect);
    let mut jobs = VecDeque::from([hold(&place.a, "f")]);
    for length in [3, 20] {
        while jobs.len() < length {
            let script = "exec flock f sh -c 'echo held; exec sleep 600'";
            jobs.push_back(place.a.script(Shell::Bash, script).start());
            place.until_queue("/.f.lock", jobs.len());
        }
        // All of them stand and wait: none of them has yet to look.
        let waiting = format!("zkmount_lock_waiters {}", length - 1);
        until("all wait", || place.a.bash("cat @metrics").lines().contains(&waiting.as_str()));
        let holder = jobs.pop_front().unwrap();
        let (requests, ()) = proxy.requests_of(|| {
            holder.kill9();
            until_says(&jobs[0], "held");
        });
        // Once in a while each waiter looks whether its predecessor is there: not for a hand-over.
        let here = requests.iter().filter(|request| request.paths.iter().any(|path| path.contains("/.f.lock")));
        let ops: Vec<Op> = here.map(|request| request.op).filter(|op| *op != Op::Exists).collect();
        assert_eq!(ops, [Op::Delete, Op::GetChildren2], "{length} in the queue");
    }
}
