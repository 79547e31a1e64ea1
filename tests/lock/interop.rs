//! Together with kazoo's Lock in one directory.

use std::fs;

use rig::{Job, Shell, Workdir};

use crate::place::{Place, hold, until_says};

/// A program with kazoo's Lock on `/d`, which knows Curator's names.
fn kazoo(place: &Place, code: &str) -> Job {
    let program = format!(
        "import sys, time, logging\nfrom kazoo.client import KazooClient\nlogging.basicConfig(level=logging.ERROR)\n\
         zk = KazooClient(hosts=sys.argv[1], timeout=20.0)\nzk.start(timeout=20)\n\
         lock = zk.Lock('/d', 'kazoo', extra_lock_patterns=['-lock-'])\n{code}\nzk.stop()\n"
    );
    Shell::Bash.script("exec /usr/bin/python3 -c \"$1\" \"$2\"").arg(program).arg(&place.connect).start()
}

#[test]
fn kazoo_and_flock_exclude_each_other() {
    // > In a directory `flock DIR/@lock` excludes Curator's `InterProcessMutex` and kazoo's `Lock(..., extra_lock_patterns=["-lock-"])`, and is excluded by them.
    let place = Place::new("kazoo");
    let holder = kazoo(&place, "lock.acquire()\nprint('held', flush=True)\ntime.sleep(600)");
    until_says(&holder, "held");
    place.a.bash("flock -n d/@lock true").exits(1);
    place.b.bash("flock -n -s d/@lock true").exits(1);
    let view = place.a.bash("cat d/@lock").success();
    assert!(view.stdout.starts_with("holder mode=exclusive host=kazoo pid=- "), "{view:?}");
    let waiter = place.b.script(Shell::Bash, "exec flock d/@lock sh -c 'echo mine; exec sleep 600'").start();
    place.until_queue("/d", 2);
    // Its session ends when the server misses it, so it is told to go.
    place.witness.children("/d").unwrap().iter().filter(|name| name.contains("__lock__")).for_each(|name| {
        place.witness.delete(&format!("/d/{name}"), None).unwrap();
    });
    holder.kill9();
    until_says(&waiter, "mine");
    let refused = kazoo(&place, "print(lock.acquire(blocking=False))");
    assert_eq!(refused.wait().success().text(), "False");
    waiter.kill9();
    let granted = kazoo(&place, "print(lock.acquire(timeout=20))\nlock.release()");
    assert_eq!(granted.wait().success().text(), "True");
    let reader = hold(&place.a, "-s d/@lock");
    let refused = kazoo(&place, "print(lock.acquire(blocking=False))");
    assert_eq!(refused.wait().success().text(), "False", "a shared lock excludes it too");
    drop(reader);
}

#[test]
fn kazoo_and_flock_queue_together() {
    // > Contenders of other clients and of `flock` stand in one queue, in the order of asking.
    let place = Place::new("fair");
    let notes = Workdir::new("fair");
    let order = notes.path().join("order");
    let holder = hold(&place.a, "d/@lock");
    let mut jobs = Vec::new();
    for n in 0..4 {
        let job = if n % 2 == 0 {
            let order = order.display();
            kazoo(&place, &format!("with lock:\n    print({n}, file=open('{order}', 'a'))"))
        } else {
            let script = format!("flock d/@lock sh -c 'echo {n} >> \"$1\"' sh \"$1\"");
            place.b.script(Shell::Bash, &script).arg(&order).start()
        };
        jobs.push(job);
        place.until_queue("/d", n + 2);
    }
    holder.kill9();
    for job in &jobs {
        job.wait().success();
    }
    assert_eq!(fs::read_to_string(order).unwrap(), "0\n1\n2\n3\n");
}
