//! Removing: one delete each, of what was named.

use std::fs;

use rig::{Change, Mode, until};

use crate::world::{World, errno, put};

// > `rm` and `rmdir` are one delete each, and nothing is ever removed recursively.
#[test]
fn one_delete_each() {
    let world = World::new("rm");
    world.run("echo x > f; mkdir -p d/e; echo y > g");
    let removed = |script: &str| world.changes(|| drop(world.run(script)));
    assert_eq!(removed("rm f"), [Change::Delete { path: "/f".into() }]);
    assert_eq!(removed("rmdir d/e"), [Change::Delete { path: "/d/e".into() }]);
    world.run("touch d/x");
    let before = world.history().len();
    assert_eq!(errno(fs::remove_dir(world.one.join("d"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_file(world.one.join("d"))), libc::EISDIR);
    assert_eq!(errno(fs::remove_dir(world.one.join("g"))), libc::ENOTDIR);
    assert_eq!(errno(fs::remove_file(world.one.join("none"))), libc::ENOENT);
    assert_eq!(errno(fs::remove_dir(world.one.join("none"))), libc::ENOENT);
    assert_eq!(errno(fs::remove_file(world.one.join("d/@data"))), libc::EPERM);
    assert_eq!(world.history().len(), before);
    let deletes = removed("rm -r d g");
    assert_eq!(deletes, ["/d/x", "/d", "/g"].map(|path| Change::Delete { path: path.into() }));
    // A znode that another client gave a child is no file any more.
    put(world.one.join("h"), "data");
    world.run("cat h");
    world.witness.create("/h/child", b"", Mode::Persistent).unwrap();
    assert_eq!(errno(fs::remove_file(world.one.join("h"))), libc::EISDIR);
    assert!(world.witness.exists("/h/child"));
}

// > A child that another client makes between the listing and the removal survives `rm -r`, with ENOTEMPTY.
#[test]
fn a_late_child_survives() {
    let world = World::new("late");
    world.run("mkdir d; for n in $(seq 20); do echo $n > d/$n; done");
    let entries: Vec<_> = fs::read_dir(world.one.join("d")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(entries.len(), 20);
    world.witness.create("/d/late", b"precious", Mode::Persistent).unwrap();
    entries.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(errno(fs::remove_dir(world.one.join("d"))), libc::ENOTEMPTY);
    assert_eq!(world.witness.text("/d/late"), "precious");
}

#[test]
fn what_is_made_while_rm_runs_survives_or_is_reported() {
    let world = World::new("rm-race");
    for round in 0..5 {
        world.run("mkdir -p d/sub; for n in $(seq 40); do echo $n > d/$n; echo $n > d/sub/$n; done");
        let maker = "for n in $(seq 60); do echo x > d/sub/late$n || break; done 2>/dev/null";
        let maker = world.two.script(rig::Shell::Bash, maker).start();
        let output = world.one.bash("rm -r d");
        maker.wait();
        let left = world.witness.exists("/d");
        assert_eq!(left, output.code() != 0, "round {round}: {}", output.stderr);
        assert!(!left || output.stderr.contains("Directory not empty"), "{}", output.stderr);
        // Only what was listed, or is gone with its directory, was removed: the rest is there and can be removed now.
        world.run2("rm -rf d");
        until("it is gone", || !world.witness.exists("/d"));
    }
}

#[test]
fn what_others_removed_is_no_surprise() {
    let world = World::new("rm-both");
    world.run("mkdir d; for n in $(seq 200); do touch d/$n; done");
    let [one, two] = [&world.one, &world.two].map(|mount| mount.script(rig::Shell::Bash, "rm -rf d").start());
    one.wait();
    two.wait();
    world.run("rm -rf d");
    assert!(!world.witness.exists("/d"));
    put(world.one.join("f"), "x");
    world.run("stat f");
    world.run2("rm f");
    assert_eq!(errno(fs::remove_file(world.one.join("f"))), libc::ENOENT);
}

// > Symbolic links, pipes and devices are EPERM.
#[test]
fn what_zookeeper_has_not() {
    let world = World::new("special");
    put(world.one.join("f"), "x");
    world.refuses("ln -s f link", "Operation not permitted");
    world.refuses("mkfifo pipe", "Operation not permitted");
    world.refuses("mknod device c 1 3", "Operation not permitted");
    world.refuses(
        "/usr/bin/python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'",
        "not permitted",
    );
    assert_eq!(world.run("ls"), "f");
}
