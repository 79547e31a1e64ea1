//! Who may do what: ACLs read and written as files, and what they deny.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rig::{Acl, AuthId, Mode, Mount, Permission, Server, Witness, Workdir, shared_server};

use crate::errno::errno;

/// An ACL as text, one entry a line, from somebody independent.
fn acl(witness: &Witness, path: &str) -> String {
    let letters = [
        (Permission::CREATE, 'c'),
        (Permission::DELETE, 'd'),
        (Permission::READ, 'r'),
        (Permission::WRITE, 'w'),
        (Permission::ADMIN, 'a'),
    ];
    let entry = |acl: &Acl| {
        let may: String = letters.iter().filter(|(one, _)| acl.permission().has(*one)).map(|(_, c)| c).collect();
        format!("{}:{}:{may}\n", acl.scheme(), acl.id())
    };
    witness.acl(path).unwrap().iter().map(entry).collect()
}

/// An ACL for one user of the digest scheme.
fn only(user: &str, permission: Permission) -> Acl {
    Acl::new(permission, AuthId::new("digest", &digest(user)))
}

/// The identity of a user whose password is the name: base64(sha1("user:password")), as zkCli's addauth makes it.
fn digest(user: &str) -> String {
    let script = "printf %s \"$1:$1\" | openssl dgst -sha1 -binary | openssl base64";
    let hash = rig::Shell::Bash.script(script).arg(user).run().success();
    format!("{user}:{}", hash.text())
}

#[test]
fn acls_are_written_as_files_are() {
    let connect = shared_server().chroot("acl");
    let (mount, witness) = (Mount::new(&connect), Witness::connect(&connect));
    mount.bash("echo x > f && echo y > g && mkdir d").success();
    assert_eq!(mount.bash("cat f@acl").success().stdout, "world:anyone:cdrwa\n");
    for (script, path, wanted) in [
        ("echo world:anyone:cra > f@acl", "/f", "world:anyone:cra\n"),
        ("printf 'world:anyone:ra\\nip:127.0.0.1:cdrwa\\n' > f@acl", "/f", "world:anyone:ra\nip:127.0.0.1:cdrwa\n"),
        ("{ echo world:anyone:ra; echo ip:127.0.0.1:w; } > f@acl", "/f", "world:anyone:ra\nip:127.0.0.1:w\n"),
        ("echo 'ip:10.0.0.0/8:r' >> f@acl", "/f", "world:anyone:ra\nip:127.0.0.1:w\nip:10.0.0.0/8:r\n"),
        ("cat f@acl > g@acl", "/g", "world:anyone:ra\nip:127.0.0.1:w\nip:10.0.0.0/8:r\n"),
        ("cat <<< ' world:anyone:cdrwa , ip:10.1.2.3:r ' > f@acl", "/f", "world:anyone:cdrwa\nip:10.1.2.3:r\n"),
        ("echo world:anyone:cdrwa | tee d/@acl >/dev/null", "/d", "world:anyone:cdrwa\n"),
        (
            "setfattr -n user.zk.acl -v world:anyone:ra,ip:127.0.0.1:cdrwa d",
            "/d",
            "world:anyone:ra\nip:127.0.0.1:cdrwa\n",
        ),
    ] {
        mount.bash(script).success();
        assert_eq!(acl(&witness, path), wanted, "{script}");
        let shown = mount.bash(&format!("cat .{path}@acl; getfattr --only-values -n user.zk.acl .{path}")).success();
        assert_eq!(shown.stdout, wanted.repeat(2), "{script}");
    }
    // The data of the file is no business of its ACL's.
    assert_eq!(witness.text("/f"), "x\n");
}

#[test]
fn what_is_no_acl_changes_nothing() {
    // > What is no ACL is EINVAL and changes nothing; a truncation alone changes nothing either.
    let connect = shared_server().chroot("no-acl");
    let (mount, witness) = (Mount::new(&connect), Witness::connect(&connect));
    mount.bash("echo x > f").success();
    let path = mount.join("f@acl");
    let write = |text: &[u8]| OpenOptions::new().write(true).truncate(true).open(&path).unwrap().write(text);
    for text in
        ["\n", "world", "world:anyone:rx", "world:anyone:r\nrubbish\n", "world:all:r", "digest:bob:r", "\u{0}", "a:b"]
    {
        assert_eq!(errno(write(text.as_bytes())), libc::EINVAL, "{text:?}");
    }
    assert_eq!(errno(write(b"world:anyone:r\xff")), libc::EINVAL);
    mount.bash(": > f@acl && true > f@acl").success();
    assert_eq!((acl(&witness, "/f").as_str(), witness.stat("/f").unwrap().aversion), ("world:anyone:cdrwa\n", 0));
}

/// Servers up to 3.8 tell the Stat of what may not be read, and so whether it is a directory.
pub fn shows_kinds(server: &Server) -> bool {
    let answer = server.ask("srvr").expect("the server answers srvr");
    let version = answer.split("version: 3.").nth(1).expect("its version");
    version.split('.').next().and_then(|minor| minor.parse::<u32>().ok()).expect("a number") <= 8
}

/// Whether a message says that something was denied, at or below what may not be read.
pub fn is_denied(server: &Server, message: &str) -> bool {
    message.contains("Permission denied") || !shows_kinds(server) && message.contains("Not a directory")
}

#[test]
fn three_users_and_three_credentials() {
    // > Nobody reads or changes through a mount what the ACL denies to its credentials.
    let connect = shared_server().chroot("users");
    let secrets = Workdir::new("secrets");
    let mount = |user: &str| {
        let file = secrets.path().join(user);
        fs::write(&file, format!("{user}:{user}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        Mount::options(&connect).o(&format!("credentials={}", file.display())).o("acl=creator").mount()
    };
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(mount);
    // > `-o acl=creator` gives what is created through the mount to its credentials alone.
    ann.bash("mkdir mine && echo secret > mine/file && mkdir mine/sub && echo e > mine/lock@e").success();
    let root = Witness::options(&connect).auth("digest", "ann:ann").connect();
    assert_eq!(acl(&root, "/mine"), format!("digest:{}:cdrwa\n", digest("ann")));
    assert_eq!(acl(&root, "/mine/lock"), format!("digest:{}:cdrwa\n", digest("ann")));
    let tree = || root.tree("/mine");
    let (before, stat) = (tree(), root.stat("/mine/file").unwrap());
    for other in [&bob, &cid] {
        for script in [
            "ls mine",
            "cat mine/file",
            "cat mine/file@data",
            "cat mine/file@acl",
            "echo x > mine/file",
            "echo x >> mine/file",
            "echo x > mine/new",
            "set -o noclobber; echo x > mine/new@e",
            "truncate -s 1 mine/file",
            "mkdir mine/dir",
            "rm mine/file",
            "rmdir mine/sub",
            "mv mine/file mine/other",
            "mv mine/file other",
            "ln mine/file copy",
            "touch mine/file",
            "echo world:anyone:cdrwa > mine/@acl",
            "setfattr -n user.zk.acl -v world:anyone:cdrwa mine/file",
        ] {
            // What may be a directory and is shown as a file can be named, not looked into.
            if script == "ls mine" && !shows_kinds(shared_server()) {
                assert_eq!(other.bash(script).success().text(), "mine");
                continue;
            }
            let output = other.bash(script);
            assert_ne!(output.code(), 0, "{script} succeeds");
            assert!(is_denied(shared_server(), &output.stderr), "{script}: {}", output.stderr);
        }
    }
    assert_eq!((tree(), root.stat("/mine/file").unwrap()), (before, stat));
    // What is given is given, and no more.
    let grant = format!("digest:{}:cdrwa\ndigest:{}:r\ndigest:{}:w\n", digest("ann"), digest("bob"), digest("cid"));
    ann.script(rig::Shell::Bash, "printf %s \"$1\" > mine/file@acl && printf %s \"$1\" > mine/@acl")
        .arg(&grant)
        .run()
        .success();
    assert_eq!(bob.bash("cat mine/file; ls mine").success().lines(), ["secret", "file", "lock", "sub"]);
    assert_eq!(errno(fs::write(bob.join("mine/file"), "x")), libc::EACCES);
    // Whoever may write what is below and not read what is above needs a server that tells that it is a directory.
    if shows_kinds(shared_server()) {
        cid.bash("echo new > mine/file").success();
        assert_eq!(errno(fs::remove_file(cid.join("mine/file"))), libc::EACCES);
    } else {
        assert_eq!(errno(fs::write(cid.join("mine/file"), "x")), libc::ENOTDIR);
        ann.bash("echo new > mine/file").success();
    }
    assert_eq!(ann.bash("cat mine/file").success().text(), "new");
    // Only who may administer a znode sees the digests.
    let seen = bob.bash("cat mine/file@acl").success();
    assert!(seen.stdout.contains("digest:ann:x:cdrwa") && !seen.stdout.contains(&digest("ann")), "{}", seen.stdout);
}

#[test]
fn what_is_denied_is_there() {
    // > What the ACL denies is EACCES, and is never taken for absence.
    let connect = shared_server().chroot("denied");
    let (mount, witness) = (Mount::new(&connect), Witness::options(&connect).auth("digest", "ann:ann").connect());
    let (all, ann) = (Permission::ALL, [only("ann", Permission::ALL)]);
    for path in ["/d", "/d/closed", "/d/closed/child"] {
        witness.create(path, b"x", Mode::Persistent).unwrap();
    }
    witness.create("/d/file", b"content", Mode::Persistent).unwrap();
    witness.set_acl("/d/closed", &ann).unwrap();
    witness.set_acl("/d/file", &ann).unwrap();
    for _ in 0..2 {
        assert_eq!(mount.bash("ls d").success().lines(), ["closed", "file"]);
        mount.bash("ls -l d && [ -e d/file ] && [ -e d/closed ] && find d -maxdepth 1").success();
        assert_eq!(errno(fs::read(mount.join("d/file"))), libc::EACCES);
        let entry = fs::read_dir(mount.join("d/closed")).and_then(|mut entries| entries.next().transpose());
        let below = if shows_kinds(shared_server()) { libc::EACCES } else { libc::ENOTDIR };
        assert_eq!(errno(entry), below);
        assert_eq!(errno(fs::write(mount.join("d/file"), "y")), libc::EACCES);
        assert_eq!(errno(fs::write(mount.join("d/closed/new"), "y")), below);
        assert_eq!(errno(fs::create_dir(mount.join("d/closed/new"))), below);
        assert_eq!(errno(fs::remove_file(mount.join("d/closed/child"))), below);
        let taken = mount.bash("set -o noclobber; echo x > d/closed/lock@e");
        assert!(is_denied(shared_server(), &taken.stderr), "{}", taken.stderr);
    }
    // Servers up to 3.8 tell the size of what may not be read, later ones nothing.
    let size = fs::metadata(mount.join("d/file")).unwrap().size();
    assert!([0, 7].contains(&size), "{size}");
    assert_eq!(witness.text("/d/file"), "content");
    // There is no event of a change of an ACL: what was denied must not have been remembered.
    let everybody = [Acl::new(all, AuthId::new("world", "anyone"))];
    witness.set_acl("/d/closed", &everybody).unwrap();
    witness.set_acl("/d/file", &everybody).unwrap();
    assert_eq!(mount.bash("cat d/file && ls d/closed").success().lines(), ["contentchild"]);
}

#[test]
fn a_creator_has_a_name() {
    // > It is refused without any.
    let output = Mount::command(&["-o", "acl=creator", "127.0.0.1:1", "/nowhere"]).exits(1);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("the creator is nobody"), "{}", output.stderr);
    // > `-o acl=LIST` is the ACL of everything that is created through the mount.
    let connect = shared_server().chroot("list");
    let mount = Mount::options(&connect).o("acl=world:anyone:cdra\\,ip:127.0.0.1:cdrwa").mount();
    mount.bash("echo x > f && mkdir d && echo y > e@e && echo z > d/s-@s && cp f g && mv g h && ln f l").success();
    let witness = Witness::connect(&connect);
    let sequential = format!("/d/{}", witness.children("/d").unwrap()[0]);
    for path in ["/f", "/d", "/e", &sequential, "/h", "/l"] {
        assert_eq!(acl(&witness, path), "world:anyone:cdra\nip:127.0.0.1:cdrwa\n", "{path}");
    }
}
