//! Errors: what the server says, at the moment of the operation, and never a guess.

use std::fs;

use rig::{Acl, AuthId, Mode, Mount, Permission, Proxy, Shell, Witness, shared_server, until};

use crate::world::{World, errno, put};

// > Whether a create or a removal succeeds is decided by the server, at the moment of the operation; EEXIST and ENOENT may also come of a change by another host that this mount is just being told of.
#[test]
fn the_server_decides() {
    let world = World::new("decides");
    let at = |name: &str| world.one.join(name);
    for n in 0..30 {
        let name = format!("n{n}");
        assert_eq!(errno(fs::metadata(at(&name))), libc::ENOENT);
        world.witness.create(&format!("/{name}"), b"theirs", Mode::Persistent).unwrap();
        assert_eq!(errno(fs::create_dir(at(&name))), libc::EEXIST);
        assert_eq!(errno(fs::File::create_new(at(&name))), libc::EEXIST);
        until("it is seen", || fs::metadata(at(&name)).is_ok());
        world.witness.delete(&format!("/{name}"), None).unwrap();
        assert_eq!(errno(fs::remove_file(at(&name))), libc::ENOENT);
        fs::create_dir(at(&name)).unwrap();
        world.witness.create(&format!("/{name}/child"), b"", Mode::Persistent).unwrap();
        assert_eq!(errno(fs::remove_dir(at(&name))), libc::ENOTEMPTY);
        world.witness.delete(&format!("/{name}/child"), None).unwrap();
        fs::remove_dir(at(&name)).unwrap();
    }
}

// > What the ACL denies is EACCES, and is never taken for absence.
#[test]
fn denied() {
    let world = World::new("denied");
    put(world.one.join("f"), "secret");
    world.run("mkdir d; touch d/x");
    let only = |permission| [Acl::new(permission, AuthId::anyone())];
    world.witness.set_acl("/f", &only(Permission::ADMIN)).unwrap();
    world.witness.set_acl("/d", &only(Permission::ADMIN | Permission::READ)).unwrap();
    for mount in [&world.one, &world.two] {
        // ZooKeeper tells nobody that an ACL was changed, so a host that has the value must be told to look again.
        mount.bash("sync .").success();
        assert_eq!(errno(fs::read(mount.join("f"))), libc::EACCES);
        assert_eq!(errno(fs::write(mount.join("f"), "x")), libc::EACCES);
        assert_eq!(errno(fs::File::create_new(mount.join("f"))), libc::EEXIST);
        assert_eq!(errno(fs::write(mount.join("d/y"), "x")), libc::EACCES);
        assert_eq!(errno(fs::create_dir(mount.join("d/y"))), libc::EACCES);
        assert_eq!(errno(fs::remove_file(mount.join("d/x"))), libc::EACCES);
        assert_eq!(mount.bash("ls; ls d").success().stdout, "d\nf\nx\n");
    }
}

// > A create, write or removal whose reply was lost, and whose outcome cannot be told, is EIO, with a line in the log.
#[test]
fn a_lost_reply_is_no_success_and_no_failure() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    let connect = server.chroot("lost-reply");
    let (mount, witness) = (Mount::new(&proxy.instead_of(&connect)), Witness::connect(&connect));
    let trap = proxy.trap().creates().path("/d").lose_reply();
    let made = fs::create_dir(mount.join("d"));
    assert!(trap.sprung() && witness.exists("/d"), "the server had it");
    assert_eq!(errno(made), libc::EIO);
    assert!(mount.log().contains("may or may not have been applied"), "{}", mount.log());
}

// > A write while there is no connection waits for it until the deadline, then fails with ETIMEDOUT, and is not applied later.
#[test]
fn a_write_without_a_connection() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    let connect = server.chroot("no-connection");
    let mount = Mount::options(&proxy.instead_of(&connect)).o("timeout=2s").mount();
    let witness = Witness::connect(&connect);
    let path = put(mount.join("f"), "old");
    proxy.down();
    let started = mount.script(Shell::Bash, "echo late > f").start().wait();
    assert!(started.code() != 0 && started.stderr.contains("timed out"), "{started:?}");
    assert_eq!(errno(fs::write(&path, "late")), libc::ETIMEDOUT);
    proxy.accept();
    until("the mount writes again", || fs::write(mount.join("g"), "new").is_ok());
    assert_eq!(witness.text("/f"), "old", "and nothing of it was kept for later");
}
