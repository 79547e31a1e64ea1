//! What is locked: files that are removed, renamed, ephemeral, on a read-only mount, or not in ZooKeeper at all.

use rig::{Mount, Server, shared_server};

use crate::place::{Place, hold, start};

#[test]
fn a_lock_is_on_the_name_that_the_file_had() {
    // > A lock is on a name: it outlives the removal of the file, and excludes those who lock a new file of that name.
    let place = Place::new("removed");
    let _holder = start(&place.a, "exec 9<f; flock 9; rm f; echo gone; sleep 600", "gone");
    place.b.bash("until ! [ -e f ]; do :; done; flock -n f true").exits(1);
    // > A lock stays on the name under which it was taken when the file is renamed.
    place.a.bash("echo x > old").success();
    let renamed = start(&place.a, "exec 9<old; flock 9; mv old new; echo moved; sleep 600", "moved");
    place.b.bash("flock -n new true").success();
    place.b.bash("flock -n old true").exits(1);
    renamed.kill9();
    place.b.bash("flock -w 20 old true").success();
}

#[test]
fn the_lock_of_a_file_is_in_a_container_beside_it() {
    // > The lock of a file is in a container `.NAME.lock` beside it, which ZooKeeper removes some time after its last use.
    let server = Server::options().java("-Dznode.container.checkIntervalMs=300").boot();
    let connect = server.chroot("container");
    let place = Place::on(&connect, &connect, &connect);
    place.a.bash("echo x > e@e").success();
    let holder = hold(&place.b, "e");
    place.a.bash("flock -n e true").exits(1);
    assert_eq!(place.queue("/.e.lock"), 1);
    holder.kill9();
    place.witness.until_gone("/.e.lock");
    place.a.bash("flock -n e true").success();
    place.witness.until_gone("/.e.lock");
}

#[test]
fn a_read_only_mount_takes_no_lock_but_shows_them() {
    // > On a read-only mount a lock is EROFS, and `NAME@lock` can be read.
    let connect = shared_server().chroot("readonly");
    let place = Place::of(Mount::new(&connect), Mount::options(&connect).o("ro").mount(), &connect);
    let refused = place.b.bash("flock -n f true");
    assert!(refused.code() != 0 && refused.stderr.contains("Read-only file system"), "{refused:?}");
    assert!(!place.witness.exists("/.f.lock"));
    let _holder = hold(&place.a, "f");
    assert!(place.b.bash("cat f@lock").success().stdout.starts_with("holder "));
    assert!(place.b.bash("flock -n d/@lock true").stderr.contains("Read-only file system"));
}

#[test]
fn what_is_not_in_zookeeper_cannot_be_locked() {
    // > A scratch file, a view of the whole mount and what is below `/zookeeper` cannot be locked.
    let place = Place::new("unlockable");
    for name in [".f.swp", "@session"] {
        let refused = place.a.bash(&format!("flock -n {name} true"));
        assert!(refused.code() != 0 && refused.stderr.contains("not supported"), "{refused:?}");
    }
    assert_eq!(place.witness.children("/").unwrap(), ["d", "f"]);
    let root = Mount::new(&shared_server().address());
    let refused = root.bash("flock -n zookeeper/@lock true");
    assert!(refused.code() != 0 && refused.stderr.contains("Read-only"), "{refused:?}");
}
