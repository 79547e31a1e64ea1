//! The end of a daemon that is telling of changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rig::{Mount, Witness, number, shared_server};

use crate::helper::{Watch, directory};

/// Changes without an end, as fast as one client makes them.
fn storm(connect: &str, body: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let witness = Witness::connect(connect);
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let path = format!("/d/n{}", n % 20);
                let _ = witness.create(&path, b"x", rig::Mode::Persistent);
                let _ = witness.set(&path, b"y", None);
                let _ = witness.delete(&path, None);
            }
        });
        // Also when the body fails, or the thread would never end.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        body();
    });
}

// > A daemon that is killed while it tells of changes ends at once.
#[test]
fn kill_9_in_the_middle_of_telling_ends_the_daemon_at_once() {
    let connect = shared_server().chroot("kill-9");
    directory(&Witness::connect(&connect), "/d");
    storm(&connect, || {
        let mount = Mount::new(&connect);
        for round in 0..number("CHANGE_KILLS", 8) {
            let watch = Watch::on(&[&mount.join("d")]);
            rig::until("changes are told", || watch.lines().len() > 3);
            // Somewhere in the middle.
            std::thread::sleep(Duration::from_micros(700 * (round % 12)));
            mount.kill9();
            drop(watch);
            mount.restart();
            assert!(std::fs::read_dir(mount.join("d")).is_ok(), "the mount point can be used again");
        }
    });
}

// > Telling of changes does not keep the mount busy for `umount`.
#[test]
fn an_unmount_in_the_middle_of_telling_is_not_refused() {
    let connect = shared_server().chroot("unmount");
    directory(&Witness::connect(&connect), "/d");
    storm(&connect, || {
        let mount = Mount::new(&connect);
        for _ in 0..8 {
            let watch = Watch::on(&[&mount.join("d")]);
            rig::until("changes are told", || watch.lines().len() > 3);
            // A watch does not keep a file system busy, but inotifywait may be about to look at it.
            drop(watch);
            assert!(mount.bash("ls d").status.success());
            assert!(mount.unmount().success());
            mount.restart();
        }
    });
}
