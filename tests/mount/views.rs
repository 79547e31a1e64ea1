//! Views: what is not a file of its own and can be opened all the same.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};

use rig::{Mode, until};

use crate::world::{World, errno, names, put};

// > `NAME@data` and `DIR/@data` are the znode's data, whatever its kind.
#[test]
fn data() {
    let world = World::new("data");
    world.witness.create("/d", b"one", Mode::Persistent).unwrap();
    world.witness.create("/d/child", b"two", Mode::Persistent).unwrap();
    assert_eq!(world.run("cat d/@data d@data d/child@data"), "oneonetwo");
    assert_eq!(world.run("stat -c '%s %F' d/@data d/child@data"), "3 regular file\n3 regular file");
    let set = world.transactions(|| drop(world.run("echo three > d/@data")));
    assert_eq!((set.len(), world.witness.text("/d")), (1, "three\n".to_owned()));
    world.run2("echo four > d/child@data");
    assert_eq!(world.run("cat d/child"), "four");
    world.run("echo root > @data");
    assert_eq!(world.witness.text("/"), "root\n");
}

// > `NAME@stat` and `DIR/@stat` are the Stat as `key=value` lines that a shell can evaluate.
#[test]
fn stat() {
    let world = World::new("stat");
    put(world.one.join("f"), "data");
    world.run("mkdir d; touch d/x d/y");
    for (view, znode) in [("f@stat", "/f"), ("d/@stat", "/d"), ("d@stat", "/d"), ("@stat", "/")] {
        let script = format!(
            "eval \"$(cat {view})\"
             echo $czxid $mzxid $pzxid $ctime $mtime $version $cversion $aversion $ephemeralOwner $dataLength $numChildren"
        );
        let stat = world.witness.stat(znode).unwrap();
        let text = world.run(&script);
        let fields: Vec<&str> = text.split(' ').collect();
        let owner = fields[8].trim_start_matches("0x").trim_start_matches('0');
        assert_eq!((fields.len(), owner), (11, ""), "{text}");
        let expected = [stat.czxid, stat.mzxid, stat.pzxid].map(|zxid| zxid.to_string());
        let shown = |field: &str| match field.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).unwrap().to_string(),
            None => field.to_owned(),
        };
        assert_eq!(fields[..3].iter().map(|field| shown(field)).collect::<Vec<_>>(), expected, "{view}");
        let rest = [stat.version, stat.cversion, stat.aversion].map(|version| version.to_string());
        assert_eq!(fields[5..8], rest, "{view}");
        assert_eq!(fields[9..], [stat.data_length.to_string(), stat.num_children.to_string()], "{view}");
    }
    world.refuses("echo x > f@stat", "Permission denied");
    until("the size is that of the text", || {
        let size = world.one.join("f@stat").metadata().unwrap().len();
        size == fs::read(world.one.join("f@stat")).unwrap().len() as u64
    });
}

// > `NAME@v=7` is the file only at version 7: reading, writing and removing it fail with ESTALE at any other.
#[test]
fn version() {
    let world = World::new("version");
    put(world.one.join("f"), "one");
    let version = |name: &str| world.witness.stat(name).unwrap().version;
    let now = version("/f");
    let at = |version: i32| world.one.join(format!("f@v={version}"));
    assert_eq!(fs::read_to_string(at(now)).unwrap(), "one");
    for other in [now - 1, now + 1] {
        assert_eq!(errno(fs::read(at(other))), libc::ESTALE);
        assert_eq!(errno(fs::write(at(other), "x")), libc::ESTALE);
        assert_eq!(errno(fs::remove_file(at(other))), libc::ESTALE);
    }
    fs::write(at(now), "two").unwrap();
    assert_eq!((world.witness.text("/f"), version("/f")), ("two".to_owned(), now + 1));
    assert_eq!(errno(fs::write(at(now), "x")), libc::ESTALE, "it has moved");
    // What a version holds does not change, whatever somebody is about to do.
    let pending = OpenOptions::new().write(true).truncate(true).open(at(now + 1)).unwrap();
    assert_eq!(fs::read_to_string(at(now + 1)).unwrap(), "two");
    world.run2("touch f");
    drop(pending);
    assert_eq!(world.run(&format!("truncate -s 0 f@v={} 2>/dev/null; cat f@data", now + 1)), "two");
    let now = now + 1;
    // Opened at the version, moved by another host, written: that is the point of it.
    let mut file = OpenOptions::new().write(true).truncate(true).open(at(now + 1)).unwrap();
    world.run2("echo other > f");
    assert_eq!(errno(file.write_all(b"mine")), libc::ESTALE);
    drop(file);
    assert_eq!(world.witness.text("/f"), "other\n");
    assert_eq!(errno(fs::remove_file(at(now + 1))), libc::ESTALE);
    fs::remove_file(at(now + 2)).unwrap();
    assert!(!world.witness.exists("/f"));
    assert_eq!(errno(fs::read(at(0))), libc::ENOENT);
}

#[test]
fn a_counter_guarded_by_versions_loses_nothing() {
    let world = World::new("counter");
    put(world.one.join("n"), "0\n");
    // The version is taken before the value: were it taken after, the value could be older than it.
    let script = "for i in $(seq 25); do
        until v=$(getfattr --only-values -n user.zk.version n) && x=$(cat n@v=$v) && echo $((x + 1)) > n@v=$v
        do :; done
        done 2>/dev/null";
    let jobs =
        [&world.one, &world.two, &world.one, &world.two].map(|mount| mount.script(rig::Shell::Bash, script).start());
    jobs.iter().for_each(|job| drop(job.wait().success()));
    assert_eq!(world.witness.text("/n"), "100\n");
}

// > `NAME@acl` and `DIR/@acl` are the ACL, one `scheme:id:perms` a line, and can be written.
#[test]
fn acl() {
    let world = World::new("acl");
    put(world.one.join("f"), "x");
    world.run("mkdir d");
    assert_eq!(world.run("cat f@acl d/@acl d@acl"), "world:anyone:cdrwa\n".repeat(3).trim_end());
    let set = world.transactions(|| drop(world.run("echo world:anyone:ra > f@acl")));
    assert_eq!(set.len(), 1, "{set:?}");
    assert_eq!(world.run2("cat f@acl"), "world:anyone:ra");
    assert_eq!(world.witness.acl("/f").unwrap().len(), 1);
    world.refuses("echo x > f", "Permission denied");
    world.refuses("echo 'no such thing' > f@acl", "Invalid argument");
    assert_eq!(world.run("cat f@acl"), "world:anyone:ra");
    world.run("printf '%s\\n' world:anyone:cdrwa ip:127.0.0.1:r > d/@acl");
    assert_eq!(world.witness.acl("/d").unwrap().len(), 2);
}

// > Views are never listed.
#[test]
fn views_are_not_listed() {
    let world = World::new("unlisted");
    world.run("mkdir d; echo x > d/f; cat d/@data d/@stat d/f@stat @session @metrics >/dev/null");
    assert_eq!(names(world.one.path()), ["d"]);
    assert_eq!(names(world.one.join("d")), ["f"]);
    world.run("cat d/@stat d/f@acl >/dev/null; rm -r d");
    assert!(!world.witness.exists("/d"));
}

#[test]
fn views_of_what_is_not_there() {
    let world = World::new("no-views");
    for name in ["x@data", "x@stat", "x@acl", "x@dir", "x@v=0", "x/@stat"] {
        assert_eq!(errno(fs::metadata(world.one.join(name))), libc::ENOENT, "{name}");
    }
    world.run("mkdir d");
    for name in ["d/@session", "d/@metrics"] {
        assert_eq!(errno(fs::read(world.one.join(name))), libc::ENOENT, "{name}");
    }
    world.refuses("mkdir d/@stat", "File exists");
    world.refuses("rm d/@stat", "");
    world.refuses("mv d/@stat x", "");
    assert_eq!(errno(fs::create_dir(world.one.join("x@dir"))), libc::EEXIST);
    let mut text = OpenOptions::new().read(true).open(world.one.join("@metrics")).unwrap();
    let mut half = vec![0; 10];
    text.read_exact(&mut half).unwrap();
    text.seek(SeekFrom::Start(0)).unwrap();
    let mut whole = String::new();
    text.read_to_string(&mut whole).unwrap();
    assert!(whole.as_bytes().starts_with(&half) && whole.contains("zkmount_session_connected 1"), "{whole}");
    assert!(world.run("cat @session").contains("state=connected"));
}
