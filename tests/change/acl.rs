//! Changes of ACLs, which ZooKeeper announces to nobody.

use rig::{Acl, AuthId, Mount, Permission, Proxy, Witness, shared_server};

use crate::gap::{until_live, until_suspended};
use crate::helper::{Watch, directory, file};

/// Everybody may do this.
fn anyone(permission: Permission) -> [Acl; 1] {
    [Acl::new(permission, AuthId::anyone())]
}

// > A change of an ACL is told as ATTRIB when it is noticed: when the znode is read, and after an interruption.
#[test]
fn a_changed_acl_is_told_when_it_is_noticed() {
    let server = shared_server();
    let connect = server.chroot("acl");
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    file(&witness, "/d/f", "1");
    file(&witness, "/d/other", "1");
    let proxy = Proxy::to(server);
    let mount = Mount::options(&proxy.instead_of(&connect)).args(&["--session-timeout", "20s"]).mount();
    mount.bash("cat d/f d/other").success();
    let inside = Watch::on(&[&mount.join("d")]);
    let itself = Watch::on(&[&mount.join("d/f")]);

    witness.set_acl("/d/f", &anyone(Permission::READ | Permission::WRITE | Permission::ADMIN)).unwrap();
    // What is cached is dropped, so that it is read.
    mount.bash("sync d/f && cat d/f").success();
    inside.wait_for("ATTRIB f");
    itself.wait_for("ATTRIB");

    proxy.down();
    until_suspended(&mount);
    witness.set_acl("/d/other", &anyone(Permission::READ)).unwrap();
    proxy.accept();
    until_live(&mount);
    inside.wait_for("ATTRIB other");

    // What is changed here is told once.
    mount.bash("setfattr -n user.zk.acl -v 'world:anyone:cdrwa' d/f && sync d/f && cat d/f").success();
    let mut told = inside.until_end(&witness, "/d");
    assert_eq!(told.split_off(2), ["ATTRIB f"]);
    assert_eq!(told, ["ATTRIB f", "ATTRIB other"]);
    assert_eq!(itself.lines(), ["ATTRIB", "ATTRIB"]);
}
