//! What may not be changed through a mount.

use std::fs::{self, OpenOptions};

use rig::{Mode, Mount, Server, Witness};

use crate::world::{World, errno, xattr};

// > On a read-only mount nothing can be changed: EROFS.
#[test]
fn a_read_only_mount() {
    let world = World::with("ro", &["ro"]);
    world.witness.create("/f", b"data", Mode::Persistent).unwrap();
    world.witness.create("/d", b"", Mode::Persistent).unwrap();
    let before = world.history().len();
    let at = |name: &str| world.one.join(name);
    assert_eq!(errno(fs::write(at("f"), "x")), libc::EROFS);
    assert_eq!(errno(fs::write(at("new"), "x")), libc::EROFS);
    assert_eq!(errno(OpenOptions::new().append(true).open(at("f"))), libc::EROFS);
    assert_eq!(errno(fs::create_dir(at("new"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(at("f"))), libc::EROFS);
    assert_eq!(errno(fs::remove_dir(at("d"))), libc::EROFS);
    assert_eq!(errno(fs::rename(at("f"), at("g"))), libc::EROFS);
    assert_eq!(errno(fs::hard_link(at("f"), at("g"))), libc::EROFS);
    world.refuses("touch f", "Read-only file system");
    world.refuses("echo x > d/@data", "Read-only file system");
    world.refuses("setfattr -n user.zk.acl -v world:anyone:r f", "Read-only file system");
    world.refuses("truncate -s 0 f", "Read-only file system");
    assert_eq!(world.run("cat f f@data; ls -F; cat f@acl"), "datadatad/\nf\nworld:anyone:cdrwa");
    assert_eq!(xattr(&at("f"), "user.zk.version").unwrap(), "0");
    assert_eq!(world.history().len(), before);
}

// > `/zookeeper` is read-only through a mount of the root.
#[test]
fn zookeepers_own() {
    let server = Server::boot();
    let mount = Mount::new(&server.address());
    let at = |name: &str| mount.join(name);
    let before = server.history().len();
    assert_eq!(errno(fs::create_dir(at("zookeeper/mine"))), libc::EROFS);
    assert_eq!(errno(fs::write(at("zookeeper/mine"), "x")), libc::EROFS);
    assert_eq!(errno(fs::write(at("zookeeper/@data"), "x")), libc::EROFS);
    assert_eq!(errno(fs::remove_dir(at("zookeeper/quota"))), libc::EROFS);
    assert_eq!(errno(fs::rename(at("zookeeper"), at("other"))), libc::EROFS);
    assert_eq!(server.history().len(), before);
    mount.bash("ls zookeeper/quota; mkdir other; rmdir other").success();
    let witness = Witness::connect(&server.address());
    assert!(witness.exists("/zookeeper/quota"));
}
