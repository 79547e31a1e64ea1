//! Attributes, extended attributes, and the numbers of the file system.

use std::fs::{self, FileTimes, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::time::{Duration, SystemTime};

use rig::{Mode, Mount, Server, until};

use crate::world::{World, errno, put, xattr};

// > The size of a file is the exact length of its data.
// > The block size is 1 MiB, so that `cp` hands a value over in one write.
#[test]
fn sizes() {
    let world = World::new("sizes");
    for size in [0_usize, 1, 511, 512, 4096, 4097, 600_000, 1_000_000] {
        let path = world.one.join(format!("f{size}"));
        fs::write(&path, vec![7; size]).unwrap();
        let facts = |mount: &Mount| {
            let facts = mount.join(format!("f{size}")).metadata().unwrap();
            (facts.len(), facts.blksize(), facts.nlink())
        };
        let expected = (size as u64, 1 << 20, 1);
        assert_eq!(facts(&world.one), expected, "one's own write is seen at once");
        until("the size on the other mount", || facts(&world.two) == expected);
        assert_eq!(world.run(&format!("wc -c < f{size}; ls -l f{size} | cut -d' ' -f5")), format!("{size}\n{size}"));
    }
    world.run("mkdir d");
    assert_eq!(world.one.join("d").metadata().unwrap().len(), 0);
    world.witness.set("/f1", b"longer", None).unwrap();
    until("the new size is seen", || world.one.join("f1").metadata().unwrap().len() == 6);
}

// > Ephemerals have the sticky bit: `ls -l` shows `T`, and `find -perm -1000` finds them.
#[test]
fn ephemerals_are_marked() {
    let world = World::new("sticky");
    world.witness.create("/foreign", b"x", Mode::Ephemeral).unwrap();
    world.run("echo x > mine@e; echo x > plain; mkdir dir");
    assert_eq!(world.run("find . -perm -1000 | sort"), "./foreign\n./mine");
    assert_eq!(world.run("ls -l | tail -n +2 | cut -c1-10"), "drwxr-xr-x\n-rw-r--r-T\n-rw-r--r-T\n-rw-r--r--");
    assert_eq!(world.run2("ls -l mine | cut -c1-10"), "-rw-r--r-T");
}

// > `chmod`, `chown` and explicit times succeed without effect, and with `-o strict` are EPERM.
#[test]
fn modes_owners_and_times() {
    let world = World::new("chmod");
    put(world.one.join("f"), "x");
    let before = world.one.join("f").metadata().unwrap();
    let past = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    let changes = world.transactions(|| {
        fs::set_permissions(world.one.join("f"), Permissions::from_mode(0o600)).unwrap();
        chown(world.one.join("f"), Some(12), Some(34)).unwrap();
        OpenOptions::new().write(true).open(world.one.join("f")).unwrap().set_times(past).unwrap();
        world.run("touch -d 2001-01-01 f; cp -p f g; install -m 600 f h; chmod 000 f");
    });
    assert_eq!(changes.iter().filter(|transaction| transaction.changes[0].path() == "/f").count(), 0, "{changes:?}");
    let after = world.one.join("f").metadata().unwrap();
    let facts = |facts: &fs::Metadata| (facts.mode(), facts.uid(), facts.gid(), facts.mtime_nsec(), facts.mtime());
    assert_eq!(facts(&before), facts(&after));

    let strict = World::with("strict", &["strict"]);
    put(strict.one.join("f"), "x");
    assert_eq!(errno(fs::set_permissions(strict.one.join("f"), Permissions::from_mode(0o600))), libc::EPERM);
    assert_eq!(errno(chown(strict.one.join("f"), Some(12), None)), libc::EPERM);
    strict.refuses("touch -d 2001-01-01 f", "Operation not permitted");
    strict.run("touch f; truncate -s 3 f; echo y > f");
}

// > `touch` on an existing file sets the same data again, conditional on its version.
#[test]
fn touch_is_a_heartbeat() {
    let world = World::new("touch");
    put(world.one.join("f"), "same");
    let before = world.witness.stat("/f").unwrap();
    let touched = world.transactions(|| drop(world.run("touch f")));
    assert_eq!(touched.len(), 1, "{touched:?}");
    let (data, after) = world.witness.get("/f").unwrap();
    assert_eq!((data, after.version), (b"same".to_vec(), before.version + 1));
    assert!(after.mtime >= before.mtime);
    world.run("touch empty");
    assert_eq!(world.transactions(|| drop(world.run("touch empty"))).len(), 1);
    // Many hosts at once: nobody's data is taken back by a heartbeat.
    let jobs = [&world.one, &world.two]
        .map(|mount| mount.script(rig::Shell::Bash, "for i in $(seq 50); do touch f; done").start());
    for n in 0..50 {
        let text = n.to_string();
        world.witness.set("/f", text.as_bytes(), None).unwrap();
        assert_eq!(world.witness.text("/f"), text);
    }
    jobs.iter().for_each(|job| drop(job.wait().success()));
    assert_eq!(world.witness.text("/f"), "49");
    world.run("mkdir d; touch d");
}

// > `df` and `stat -f` answer locally, with fixed numbers.
#[test]
fn df_needs_no_server() {
    let server = Server::boot();
    let mount = rig::Mount::new(&server.chroot("df"));
    let df =
        "df --output=size,used,avail . | tail -1 && stat -f -c '%l %s %b %f' . && df -i --output=itotal . | tail -1";
    let before = mount.bash(df).success().stdout;
    assert!(before.split_whitespace().all(|number| number.parse::<u64>().is_ok()), "{before}");
    let frozen = server.freeze();
    let during = mount.bash(df).success();
    assert_eq!(during.stdout, before);
    drop(frozen);
    assert_eq!(mount.bash(df).success().stdout, before);
}

// > `user.zk.path`, `czxid`, `mzxid`, `pzxid`, `version`, `cversion`, `aversion` and `ephemeralOwner` are extended attributes, and unknown ones are ENODATA.
// > `user.zk.acl` is the ACL, and can be written.
#[test]
fn extended_attributes() {
    let world = World::new("xattrs");
    world.run("mkdir d; echo x > d/f; echo x > lock@e");
    let stat = world.witness.stat("/d/f").unwrap();
    let number = |path: &str, name: &str| {
        let text = xattr(&world.one.join(path), &format!("user.zk.{name}")).unwrap();
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap() as i64,
            None => text.parse().unwrap(),
        }
    };
    for (name, expected) in [
        ("czxid", stat.czxid),
        ("mzxid", stat.mzxid),
        ("pzxid", stat.pzxid),
        ("version", stat.version.into()),
        ("cversion", stat.cversion.into()),
        ("aversion", stat.aversion.into()),
        ("ephemeralOwner", 0),
    ] {
        assert_eq!(number("d/f", name), expected, "{name}");
    }
    let owner = world.witness.stat("/lock").unwrap().ephemeral_owner;
    assert_eq!(number("lock", "ephemeralOwner"), owner);
    assert_eq!(xattr(&world.one.join("d/f"), "user.zk.path").unwrap(), "/d/f");
    assert_eq!(xattr(&world.one.join("d"), "user.zk.path").unwrap(), "/d");
    for name in ["user.zk.nothing", "user.other", "security.capability", "system.posix_acl_access", "trusted.x"] {
        let code = errno(xattr(&world.one.join("d/f"), name));
        assert!(code == libc::ENODATA || name.starts_with("system.") && code == libc::EOPNOTSUPP, "{name}: {code}");
    }
    let listed = world.run("getfattr -m - d/f | grep zk | sort | tr '\\n' ' '");
    assert_eq!(
        listed,
        "user.zk.aversion user.zk.cversion user.zk.czxid user.zk.ephemeralOwner user.zk.mzxid user.zk.path \
         user.zk.pzxid user.zk.version "
    );
    assert_eq!(world.run("getfattr --only-values -n user.zk.acl d/f"), "world:anyone:cdrwa");
    world.run("setfattr -n user.zk.acl -v world:anyone:ra d/f");
    assert_eq!(world.run2("cat d/f@acl"), "world:anyone:ra");
    world.refuses("setfattr -n user.zk.acl -v nonsense d/f", "Invalid argument");
    world.refuses("setfattr -n user.mine -v x d/f", "Operation not supported");
    world.refuses("setfattr -x user.zk.version d/f", "Operation not permitted");
}

#[test]
fn masks_and_owners_are_options() {
    let world = World::with("masks", &["fmask=077,dmask=027,uid=12,gid=34"]);
    world.run("mkdir d; touch f");
    assert_eq!(world.run("stat -c '%a %u %g' d f ."), "750 12 34\n600 12 34\n750 12 34");
}

#[test]
fn a_directory_moves_on_when_its_children_do() {
    let world = World::new("mtime");
    world.run("mkdir d; stat d");
    let mtime = || world.one.join("d").metadata().unwrap().modified().unwrap();
    let mut last = mtime();
    for (what, step) in [("a child comes", "touch d/f"), ("it goes", "rm d/f"), ("a remote one comes", "")] {
        if step.is_empty() {
            world.run2("mkdir d/x");
        } else {
            world.run(step);
        }
        until(what, || mtime() > last);
        last = mtime();
    }
    world.run("test d -nt f; find . -newermt 2001-01-01 >/dev/null");
}
