//! What is a file and what is a directory, the same on every host.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rig::{Change, Mode, Mount};

use crate::world::{World, hears, names, put, remount};

/// `ls -F` of a mount's root.
#[track_caller]
fn listing(mount: &Mount) -> Vec<String> {
    hears(mount);
    mount.bash("ls -F").success().lines().into_iter().map(str::to_owned).collect()
}

// > A znode with children is a directory.
// > A znode that another client made without data is a directory.
// > A znode with data that never had a child is a file.
// > An ephemeral is always a file.
#[test]
fn what_another_client_made() {
    let world = World::new("kinds");
    let witness = &world.witness;
    witness.ensure("/parent/child");
    witness.create("/parent-with-data", b"data", Mode::Persistent).unwrap();
    witness.create("/parent-with-data/child", b"data", Mode::Persistent).unwrap();
    witness.create("/bare", b"", Mode::Persistent).unwrap();
    witness.create("/data", b"data", Mode::Persistent).unwrap();
    witness.create("/container", b"", Mode::Container).unwrap();
    witness.create("/ephemeral", b"", Mode::Ephemeral).unwrap();
    witness.create("/ephemeral-data", b"data", Mode::Ephemeral).unwrap();
    let queued = witness.create("/queued-", b"job", Mode::PersistentSequential).unwrap().path;
    let expected =
        ["bare/", "container/", "data", "ephemeral", "ephemeral-data", "parent/", "parent-with-data/", &queued[1..]];
    for mount in [&world.one, &world.two] {
        assert_eq!(listing(mount), expected);
        let kinds: Vec<bool> =
            expected.iter().map(|name| mount.join(name.trim_end_matches('/')).metadata().unwrap().is_dir()).collect();
        assert_eq!(kinds, expected.map(|name| name.ends_with('/')), "the types of a listing are those of stat");
    }
}

// > A znode that has ever had a child stays a directory when the last one goes.
#[test]
fn a_directory_that_was_emptied_is_one() {
    let world = World::new("emptied");
    world.witness.create("/d", b"data", Mode::Persistent).unwrap();
    world.run("mkdir d@dir/child && ls -d d/ && rmdir d/child && ls -d d/");
    world.run2("ls -d d/");
    remount(&world.one);
    assert_eq!(listing(&world.one), ["d/"]);
}

// > An empty file is made by one transaction, create and setData, and is a file on every host.
#[test]
fn an_empty_file_is_one_transaction() {
    let world = World::new("empty");
    for script in ["touch a", ": > b", "cp /dev/null c", "/usr/bin/python3 -c 'import os; os.mknod(\"d\")'", ": >> e"] {
        let made = world.transactions(|| drop(world.run(script)));
        assert_eq!(made.len(), 1, "{script}: {made:?}");
        assert!(matches!(&made[0].changes[..], [Change::Create { .. }, Change::SetData { .. }]), "{script}: {made:?}");
    }
    assert_eq!(listing(&world.two), ["a", "b", "c", "d", "e"]);
}

// > A file becomes a directory when it gets its first child.
// > `NAME@dir` is the znode as a directory, so that `mkdir leaf@dir/child` gives a file its first child.
#[test]
fn a_file_gets_a_child() {
    let world = World::new("child");
    put(world.one.join("leaf"), "data");
    world.run2("cat leaf >/dev/null; ls leaf@dir");
    world.run("mkdir leaf@dir/child");
    for mount in [&world.one, &world.two] {
        rig::until("it is a directory", || mount.join("leaf").metadata().is_ok_and(|facts| facts.is_dir()));
        assert_eq!(names(mount.join("leaf")), ["child"]);
        assert_eq!(fs::read_to_string(mount.join("leaf/@data")).unwrap(), "data");
    }
    assert_eq!(world.run2("cd leaf && touch more && ls"), "child\nmore");
}

#[test]
fn a_child_that_another_client_makes_is_seen_below_an_open_file() {
    let world = World::new("child-open");
    put(world.one.join("leaf"), "data");
    let file = fs::File::open(world.one.join("leaf")).unwrap();
    world.witness.create("/leaf/child", b"", Mode::Persistent).unwrap();
    assert_eq!(world.run("ls leaf@dir"), "child");
    rig::until("it is a directory", || world.one.join("leaf").metadata().unwrap().is_dir());
    assert_eq!(std::io::read_to_string(file).unwrap(), "data", "what is open goes on");
}

// > Data set on a directory that never had a child leaves it a directory.
#[test]
fn data_of_a_bare_directory() {
    let world = World::new("bare");
    world.run("mkdir d");
    let set = world.transactions(|| drop(world.run("echo data > d/@data")));
    assert_eq!(set.len(), 1, "{set:?}");
    assert_eq!(world.witness.text("/d"), "data\n");
    assert_eq!(world.witness.children("/d").unwrap(), [""; 0]);
    for mount in [&world.one, &world.two] {
        assert_eq!(listing(mount), ["d/"]);
        assert_eq!(mount.bash("cat d/@data d@data").success().stdout, "data\ndata\n");
    }
    assert_eq!(world.transactions(|| drop(world.run2("echo more >> d@data"))).len(), 1);
    assert_eq!(world.witness.text("/d"), "data\nmore\n");
    world.run("touch d/file; echo again > d/@data; rm d/file; ls -d d/");
    assert_eq!(world.witness.text("/d"), "again\n");
}

// > The inode number is the same after a remount and on another host.
// > A znode that was deleted and made anew has another inode number.
#[test]
fn inode_numbers() {
    let world = World::new("inodes");
    world.run("mkdir -p d/e; echo x > f; touch d/e/g");
    let numbers = |mount: &Mount| {
        hears(mount);
        mount.bash("stat -c '%n %i' d d/e f d/e/g").success().stdout
    };
    let first = numbers(&world.one);
    assert_eq!(first, numbers(&world.two));
    remount(&world.one);
    assert_eq!(first, numbers(&world.one));
    world.run2("rm f d/e/g; echo x > f; touch d/e/g");
    rig::until("the new ones are seen", || numbers(&world.one) != first);
    rig::until("both agree", || numbers(&world.one) == numbers(&world.two));
    let changed = |line: &str| first.contains(line);
    assert_eq!(numbers(&world.one).lines().map(changed).collect::<Vec<_>>(), [true, true, false, false]);
    let number = |name: &str| world.one.join(name).metadata().unwrap().ino();
    let listed: Vec<u64> = fs::read_dir(world.one.path())
        .unwrap()
        .map(|entry| std::os::unix::fs::DirEntryExt::ino(&entry.unwrap()))
        .collect();
    assert_eq!(listed, [number("d"), number("f")], "a listing has the numbers of stat");
}
