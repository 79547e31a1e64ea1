//! Scratch files: the temporary files of editors and safe-save tools stay in memory.

use std::fs::{self, File};
use std::io::Write;

use rig::{Change, Mode};

use crate::world::{World, errno, names, put, xattr};

// > A scratch file shows in this mount's listings and nowhere else.
// > `user.zk.scratch` is 1 on a scratch file.
#[test]
fn a_scratch_file_is_local() {
    let world = World::new("scratch");
    world.run("mkdir d");
    let before = world.history().len();
    let all = [".f.swp", "4913", "f~", ".#f", "#f#", ".goutputstream-AB12CD", "sedAbC123", ".f.txt.x1Y2z3"];
    for name in all {
        put(world.one.join("d").join(name), name);
        assert_eq!(fs::read_to_string(world.one.join("d").join(name)).unwrap(), name);
        assert_eq!(xattr(&world.one.join("d").join(name), "user.zk.scratch").unwrap(), "1");
    }
    assert_eq!(names(world.one.join("d")).len(), all.len());
    assert_eq!(names(world.two.join("d")), [""; 0]);
    assert_eq!(errno(fs::remove_dir(world.one.join("d"))), libc::ENOTEMPTY);
    world.run("mv d/4913 d/g~; echo more >> d/f~; rm d/*~ d/.f.swp");
    assert_eq!(world.history().len(), before, "nothing of it reached the server");
    put(world.one.join("real"), "x");
    assert_eq!(errno(xattr(&world.one.join("real"), "user.zk.scratch")), libc::ENODATA);
}

// > A scratch file that is renamed onto a real name becomes exactly one transaction.
#[test]
fn a_scratch_file_becomes_real_in_one_transaction() {
    let world = World::new("promote");
    put(world.one.join("f"), "old");
    let made = world.transactions(|| drop(world.run("echo one > sedAbC123; echo two >> sedAbC123; mv sedAbC123 f")));
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made[0].changes.len(), 1);
    assert_eq!(world.witness.text("/f"), "one\ntwo\n");
    let made = world.transactions(|| drop(world.run("echo new > sedAbC123; mv sedAbC123 g")));
    assert_eq!((made.len(), world.witness.text("/g")), (1, "new\n".to_owned()));
    let made = world.transactions(|| drop(world.run("echo linked > sedAbC123; ln sedAbC123 h; rm sedAbC123")));
    assert_eq!((made.len(), world.witness.text("/h")), (1, "linked\n".to_owned()));
    let made = world.transactions(|| drop(world.run(": > sedAbC123; mv sedAbC123 empty")));
    assert_eq!((made.len(), world.run2("ls -F empty").as_str()), (1, "empty"));
    assert_eq!(names(world.one.path()), ["empty", "f", "g", "h"]);
}

#[test]
fn what_is_written_to_a_scratch_file_after_it_became_real_is_refused() {
    let world = World::new("promoted");
    let mut file = File::create(world.one.join("sedAbC123")).unwrap();
    file.write_all(b"begun").unwrap();
    fs::rename(world.one.join("sedAbC123"), world.one.join("f")).unwrap();
    assert_eq!(errno(file.write_all(b" lost")), libc::ESTALE);
    assert_eq!(world.witness.text("/f"), "begun");
}

// > A znode that has a scratch name is always the real one.
#[test]
fn a_znode_of_a_scratch_name() {
    let world = World::new("real-scratch");
    world.witness.create("/f~", b"real", Mode::Persistent).unwrap();
    assert_eq!(world.run("cat f~; echo more >> f~; cat f~"), "realrealmore");
    assert_eq!(world.witness.text("/f~"), "realmore\n");
    put(world.one.join("g~"), "scratch");
    world.witness.create("/g~", b"znode", Mode::Persistent).unwrap();
    rig::until("the znode is seen", || fs::read_to_string(world.one.join("g~")).unwrap() == "znode");
    assert_eq!(names(world.one.path()), ["f~", "g~"]);
}

// > `-o scratch=+*.tmp` adds a pattern, and `-o scratch=none` ends scratch files.
#[test]
fn patterns_are_an_option() {
    let world = World::with("scratch-more", &["scratch=+*.tmp"]);
    put(world.one.join("f"), "{\"a\": 1}");
    let made = world.transactions(|| drop(world.run("jq '.a = 2' f > f.tmp && mv f.tmp f")));
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(world.run2("jq .a f"), "2");
    world.run("touch f~");
    assert!(!world.witness.exists("/f~"));
    let world = World::with("scratch-none", &["scratch=none"]);
    world.run("touch f~ 4913");
    assert_eq!(world.witness.children("/").unwrap(), ["4913", "f~"]);
}

// > Renaming a real file to a scratch name is EXDEV, so that `mv` copies it.
#[test]
fn a_real_file_is_not_renamed_out_of_sight() {
    let world = World::new("exdev");
    let file = put(world.one.join("f"), "data");
    assert_eq!(errno(fs::rename(&file, world.one.join("f~"))), libc::EXDEV);
    assert!(world.witness.exists("/f"));
    let changes = world.changes(|| drop(world.run("mv f f~; cat f~")));
    assert_eq!(changes, [Change::Delete { path: "/f".into() }]);
}
