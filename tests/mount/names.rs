//! Names, conventions and their escape.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rig::{Mode, Mount, shared_server};

use crate::world::{World, errno, hears, names, put};

// > A znode whose name reads as a convention is listed with its last run of `@` one longer, and is used by that name.
// > `user@host` and every other name is untouched.
#[test]
fn the_escape() {
    let world = World::new("escape");
    let shown = [
        ("a@e", "a@@e"),
        ("a@@e", "a@@@e"),
        ("lock@h", "lock@@h"),
        ("n-@es:tag", "n-@@es:tag"),
        ("x@stat", "x@@stat"),
        ("@data", "@@data"),
        ("x@v=7", "x@@v=7"),
        ("x@t=30s", "x@@t=30s"),
        ("user@host", "user@host"),
        ("user@@host", "user@@host"),
        ("a@e.txt", "a@e.txt"),
        ("a@", "a@"),
        ("@", "@"),
        ("a@b@e", "a@b@@e"),
    ];
    for (znode, _) in shown {
        world.witness.create(&format!("/{znode}"), znode.as_bytes(), Mode::Persistent).unwrap();
    }
    let mut expected: Vec<String> = shown.iter().map(|(_, name)| (*name).to_owned()).collect();
    expected.sort();
    assert_eq!(names(world.one.path()), expected);
    for (znode, name) in shown {
        assert_eq!(fs::read_to_string(world.one.join(name)).unwrap(), znode);
        fs::write(world.two.join(name), format!("{znode} set")).unwrap();
        assert_eq!(world.witness.text(&format!("/{znode}")), format!("{znode} set"));
        fs::rename(world.one.join(name), world.one.join("moved")).unwrap();
        assert!(!world.witness.exists(&format!("/{znode}")));
        fs::rename(world.one.join("moved"), world.one.join(name)).unwrap();
        hears(&world.two);
        fs::remove_file(world.two.join(name)).unwrap();
        assert!(!world.witness.exists(&format!("/{znode}")));
        put(world.two.join(name), znode);
        assert_eq!(world.witness.text(&format!("/{znode}")), znode, "made by that name");
    }
    // Whole trees of such names are copied, listed and removed by tools that know nothing of it.
    world.run("mkdir d && cp -r ./*@* d && diff -r --exclude=d . d && tar cf - d | tar tf - >/dev/null && rm -r d");
    assert!(!world.witness.exists("/d"));
}

// > `-o at=CHAR` takes another character for the conventions.
#[test]
fn another_character() {
    let world = World::with("at", &["at=%"]);
    world.run("echo x > f; cat f%stat >/dev/null; touch 'plain@e' g%e");
    let stat = world.witness.stat("/g").unwrap();
    assert_ne!(stat.ephemeral_owner, 0);
    assert!(world.witness.exists("/plain@e"));
    world.witness.create("/h%e", b"", Mode::Persistent).unwrap();
    assert_eq!(world.run("ls"), "f\ng\nh%%e\nplain@e");
}

// > A name that is not UTF-8, has a control character or a character beyond the basic plane is EINVAL, and nothing is sent.
#[test]
fn names_that_zookeeper_refuses() {
    let world = World::new("bad-names");
    world.run("mkdir d; echo x > f");
    let before = world.history().len();
    let bad: [&[u8]; 9] = [
        b"\xff\xfe",
        b"a\x01b",
        b"tab\tname",
        b"new\nline",
        b"del\x7f",
        "c1\u{85}".as_bytes(),
        "emoji\u{1f600}".as_bytes(),
        "private\u{f8ff}".as_bytes(),
        "special\u{fff0}".as_bytes(),
    ];
    for name in bad {
        let path: PathBuf = world.one.join(OsStr::from_bytes(name));
        let shown = String::from_utf8_lossy(name);
        assert_eq!(errno(fs::write(&path, "x")), libc::EINVAL, "write {shown:?}");
        assert_eq!(errno(fs::create_dir(&path)), libc::EINVAL, "mkdir {shown:?}");
        assert_eq!(errno(fs::metadata(&path)), libc::EINVAL, "stat {shown:?}");
        assert_eq!(errno(fs::rename(world.one.join("f"), &path)), libc::EINVAL, "rename {shown:?}");
        assert_eq!(errno(fs::hard_link(world.one.join("f"), &path)), libc::EINVAL, "link {shown:?}");
        assert_eq!(errno(fs::remove_file(&path)), libc::EINVAL, "unlink {shown:?}");
        assert_eq!(errno(fs::remove_dir(&path)), libc::EINVAL, "rmdir {shown:?}");
        assert_eq!(errno(fs::write(world.one.join("d").join(OsStr::from_bytes(name)), "x")), libc::EINVAL);
    }
    assert_eq!(world.history().len(), before);
    assert_eq!(names(world.one.path()), ["d", "f"]);
    for good in ["ünïcödé", "漢字", "a b", "-n", "#x", "*", "\\", "'\"", "~", "%", "...", ".hidden", "..x"] {
        assert_eq!(fs::read_to_string(put(world.one.join(good), good)).unwrap_or_default(), good);
    }
}

// > A name of 255 bytes is taken; one of 256 is ENAMETOOLONG.
#[test]
fn the_longest_name() {
    let world = World::new("long");
    let long = "x".repeat(255);
    assert_eq!(fs::read_to_string(put(world.one.join(&long), "x")).unwrap(), "x");
    assert!(world.witness.exists(&format!("/{long}")));
    for name in ["x".repeat(256), "x".repeat(300), "ü".repeat(128)] {
        assert_eq!(errno(fs::write(world.one.join(&name), "x")), libc::ENAMETOOLONG);
        assert_eq!(errno(fs::create_dir(world.one.join(&name))), libc::ENAMETOOLONG);
        assert_eq!(errno(fs::metadata(world.one.join(&name))), libc::ENAMETOOLONG);
    }
    put(world.one.join("ü".repeat(127)), "x");
    assert_eq!(names(world.two.path()).len(), 2);
}

// > A znode whose name is too long for the kernel is left out of listings with a warning, and counted in `@metrics`.
#[test]
fn a_name_that_the_kernel_cannot_show() {
    let world = World::new("unlistable");
    world.witness.create(&format!("/{}", "x".repeat(300)), b"", Mode::Persistent).unwrap();
    world.witness.create(&format!("/{}@e", "y".repeat(253)), b"", Mode::Persistent).unwrap();
    put(world.one.join("f"), "x");
    assert_eq!(names(world.one.path()), ["f"]);
    assert!(world.one.log().contains("left out of listings"));
    let metrics = world.run("cat @metrics");
    let count = metrics.lines().find_map(|line| line.strip_prefix("zkmount_names_too_long_total ")).unwrap();
    assert!(count.parse::<u32>().unwrap() >= 2, "{metrics}");
}

#[test]
fn a_mount_of_the_root_shows_everything() {
    let server = shared_server();
    let mount = Mount::options(&server.address()).o("ro").mount();
    let listed = mount.bash("ls").success().stdout;
    assert!(listed.lines().any(|name| name == "zookeeper"), "{listed}");
    assert_eq!(mount.bash("ls zookeeper").success().stdout, "config\nquota\n");
}
