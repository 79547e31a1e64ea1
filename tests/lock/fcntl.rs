//! Locks of fcntl(2) and lockf(3), which belong to a process.

use crate::place::{Place, hold, start};

const PYTHON: &str = "/usr/bin/python3";

#[test]
fn a_lock_of_the_whole_file_excludes_everybody() {
    // > Locks of fcntl(2) on a whole file are locks of the cluster, and exclude those of flock(2).
    let place = Place::new("fcntl");
    let script = format!(
        "exec {PYTHON} -c 'import fcntl, time\nf = open(\"f\", \"r+\")\nfcntl.lockf(f, fcntl.LOCK_EX)\n\
         print(\"held\", flush=True)\ntime.sleep(600)'"
    );
    let holder = start(&place.a, &script, "held");
    place.b.bash("flock -n f true").exits(1);
    let probe = format!(
        "{PYTHON} -c 'import fcntl, struct\nf = open(\"f\", \"r+\")\n\
         try: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError: print(\"busy\")\n\
         whole = struct.pack(\"hhqqi4x\", fcntl.F_RDLCK, 0, 0, 0, 0)\n\
         print(struct.unpack(\"hhqqi4x\", fcntl.fcntl(f, fcntl.F_GETLK, whole))[0] == fcntl.F_WRLCK)'"
    );
    assert_eq!(place.b.bash(&probe).success().text(), "busy\nTrue");
    holder.kill9();
    place.b.bash("flock -w 20 f true").success();
    place.until_queue("/.f.lock", 0);
}

#[test]
fn closing_any_descriptor_of_the_file_ends_the_lock_of_the_process() {
    let place = Place::new("posixclose");
    let script = format!(
        "exec {PYTHON} -c 'import fcntl, time\nf = open(\"f\", \"r+\")\nfcntl.lockf(f, fcntl.LOCK_EX)\n\
         open(\"f\").close()\nprint(\"closed\", flush=True)\ntime.sleep(600)'"
    );
    let _holder = start(&place.a, &script, "closed");
    place.b.bash("flock -n f true").success();
}

#[test]
fn a_part_of_a_file_cannot_be_locked() {
    // > A lock of fcntl(2) on a part of a file is EINVAL.
    let place = Place::new("ranges");
    let script = format!(
        "{PYTHON} -c 'import fcntl\nf = open(\"f\", \"r+\")\n\
         try: fcntl.lockf(f, fcntl.LOCK_EX, 1)\nexcept OSError as e: print(e.errno)'"
    );
    assert_eq!(place.a.bash(&script).success().text(), libc::EINVAL.to_string());
    assert!(!place.witness.exists("/.f.lock"));
    // > flock(2) and fcntl(2) do not know each other's owners: a program that takes both on one file waits for itself.
    let holder = hold(&place.a, "f");
    let script = format!(
        "{PYTHON} -c 'import fcntl\nf = open(\"g\", \"w+\")\nfcntl.flock(f, fcntl.LOCK_EX)\n\
         try: fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError: print(\"busy\")'"
    );
    assert_eq!(place.b.bash(&script).success().text(), "busy");
    drop(holder);
}
