//! Mount points of all kinds.

use std::fs;

use crate::place::{Place, refuses};
use rig::{Mount, shared_server, until};

#[test]
fn what_is_no_empty_directory_is_refused() {
    let place = Place::new();
    fs::write(place.beside("file"), "").unwrap();
    fs::create_dir_all(place.beside("full/child")).unwrap();
    for (name, words) in [
        ("missing", ["does not exist", "mkdir -p"]),
        ("file", ["not a directory", "take an empty directory"]),
        ("full", ["is not empty", "-o nonempty"]),
    ] {
        let path = place.beside(name);
        refuses(Mount::command(&["memory:", path.to_str().unwrap()]), 32, &words);
        refuses(Mount::command(&["-f", "memory:", path.to_str().unwrap()]), 32, &words);
    }
}

#[test]
fn nonempty_mounts_over_what_is_there() {
    let place = Place::new();
    fs::write(place.path().join("under"), "").unwrap();
    refuses(place.zkmount(&["memory:"]), 32, &["not empty"]);
    place.zkmount(&["-o", "nonempty", "memory:"]).success();
    assert!(!place.path().join("under").exists());
    place.script("umount \"$1\" || fusermount3 -u \"$1\"").run().success();
    assert!(place.path().join("under").exists());
    place.until_no_daemon();
}

#[test]
fn a_live_mount_is_left_alone() {
    let place = Place::new();
    place.zkmount(&["memory:"]).success();
    fs::create_dir(place.path().join("dir")).unwrap();
    refuses(place.zkmount(&["memory:"]), 32, &["is mounted already", "memory:", "fuse.zkmount", "fusermount3 -u"]);
    assert!(place.path().join("dir").is_dir());
    assert_eq!(place.mounted().len(), 1);
}

#[test]
fn a_dead_mount_of_ours_is_taken_away() {
    let place = Place::new();
    place.zkmount(&["memory:"]).success();
    place.kill9();
    let error = fs::read_dir(place.path()).unwrap_err();
    // A request that the kernel had on its way may be the one that ends the connection.
    assert!(matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED)), "{error}");
    let log = place.beside("log");
    place.zkmount(&["--log-file", log.to_str().unwrap(), "memory:"]).success();
    assert_eq!(place.mounted().len(), 1);
    fs::create_dir(place.path().join("dir")).unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("took away a dead mount"), "{log}");
}

#[test]
fn dead_mounts_on_top_of_each_other_are_taken_away() {
    let place = Place::new();
    for _ in 0..2 {
        place.zkmount(&["-o", "nonempty", "memory:"]).success();
        place.zkmount(&["-o", "nonempty", "memory:"]).success();
    }
    assert_eq!(place.mounted().len(), 4);
    place.daemons().into_iter().for_each(|pid| {
        crate::place::signal(pid, libc::SIGKILL);
    });
    place.until_no_daemon();
    place.zkmount(&["memory:"]).success();
    assert_eq!(place.mounted().len(), 1);
}

#[test]
fn a_dead_mount_of_another_program_is_left_to_its_owner() {
    let place = Place::new();
    let output = place
        .as_root(
            "exec 5<>/dev/fuse
            mount -i -t fuse.other -o fd=5,rootmode=40000,user_id=0,group_id=0 other: \"$1\" || exit 99
            exec 5>&-
            exec zkmount memory: \"$1\"",
        )
        .run();
    refuses(output, 32, &["is a dead mount of other: (fuse.other)", "fusermount3 -uz"]);
}

#[test]
fn a_mount_that_hangs_does_not_hang_the_command() {
    let place = Place::new();
    place.zkmount(&["memory:"]).success();
    let daemon = place.daemon().unwrap();
    crate::place::signal(daemon, libc::SIGSTOP);
    let output = place.zkmount(&["memory:"]);
    crate::place::signal(daemon, libc::SIGCONT);
    refuses(output, 32, &[&place.text()]);
}

#[test]
fn users_mount_on_what_is_theirs() {
    let place = Place::of_nobody();
    let ensemble = shared_server().chroot("user");
    // The list of options that fusermount3 gets has commas of its own.
    let ensemble = format!("{},{ensemble}", shared_server().address());
    let script = format!(
        "zkmount {ensemble} \"$1\" && mkdir \"$1\"/dir && ls \"$1\" && findmnt -n -o SOURCE,FSTYPE \"$1\" && fusermount3 -u \"$1\""
    );
    let output = place.as_nobody(&script).run().success();
    let words: Vec<&str> = output.text().split_whitespace().collect();
    assert_eq!(words, ["dir", &ensemble, "fuse.zkmount"]);
    place.until_no_daemon();
}

#[test]
fn users_do_not_mount_on_what_is_not_theirs() {
    let place = Place::of_nobody();
    let script = "chmod 555 \"$1\"; zkmount memory: \"$1\"";
    refuses(place.as_nobody(script).run(), 1, &["not permitted to mount", "writable"]);
}

#[test]
fn users_let_others_in_only_if_root_permits_it() {
    let place = Place::of_nobody();
    let script = "mount --bind /dev/null /etc/fuse.conf || exit 97
        setpriv --reuid 65534 --clear-groups true 2>/dev/null && drop='setpriv --reuid 65534 --clear-groups'
        chmod 666 /dev/fuse 2>/dev/null
        exec ${drop:-unshare -U} /usr/local/sbin/zkmount -o allow_other memory: \"$1\"";
    refuses(place.as_root(script).run(), 1, &["allow_other", "user_allow_other", "/etc/fuse.conf"]);
}

#[test]
fn a_kernel_without_fuse_is_named() {
    let place = Place::new();
    let script = "mount -t tmpfs none /dev && mkdir /dev/mnt && exec /usr/local/sbin/zkmount memory: /dev/mnt";
    refuses(place.as_root(script).run(), 2, &["no /dev/fuse", "modprobe fuse", "--device /dev/fuse"]);
}

#[test]
fn two_at_once_do_not_mount_over_each_other() {
    let place = Place::new();
    let output = place.script("for i in 1 2 3 4; do zkmount memory: \"$1\" & done; wait; ls \"$1\"").run().success();
    let refused =
        output.stderr.lines().filter(|line| line.contains("is being mounted") || line.contains("mounted already"));
    assert_eq!(refused.count(), 3, "{}", output.stderr);
    assert_eq!(place.mounted().len(), 1);
    until("one daemon is left", || place.daemons().len() == 1);
}
