//! Locks that are ephemerals: `lock@e`.

use std::fs;
use std::time::{Duration, Instant};

use rig::{Mode, Shell, until};

use crate::place::{Place, fails, quickest, write};

/// Contenders in each mount.
const CONTENDERS: usize = 3;

#[test]
fn one_winner_in_every_shell() {
    // > `NAME@e`, `@h`, `@c` and `@t=` look up as NAME, so that `noclobber` finds the lock taken.
    let place = Place::new("winner");
    let mounts = place.pair();
    for shell in Shell::ALL {
        for round in 0..3 {
            let lock = format!("lock-{}-{round}", shell.name());
            let go = place.beside(&format!("go-{lock}"));
            let script = format!(
                "until [ -e \"$1\" ]; do sleep 0.01; done
                 ( set -o noclobber; echo \"$HOSTNAME\" > {lock}@e ) || exit 7
                 echo won"
            );
            let contender = |number: usize| {
                let script = mounts[number % 2].script(shell, &script).arg(&go);
                script.env("HOSTNAME", format!("host{number}")).start()
            };
            let jobs: Vec<_> = (0..2 * CONTENDERS).map(contender).collect();
            fs::write(&go, "").unwrap();
            let outputs: Vec<_> = jobs.iter().map(rig::Job::wait).collect();
            let winners: Vec<usize> = (0..outputs.len()).filter(|&number| outputs[number].text() == "won").collect();
            assert_eq!(winners.len(), 1, "{shell:?}, round {round}: {outputs:?}");
            for (number, output) in outputs.into_iter().enumerate().filter(|(number, _)| *number != winners[0]) {
                assert_eq!(output.code(), 7, "host{number} does not see that it has lost");
                assert!(output.stderr.contains(&lock), "the shell is silent: {:?}", output.stderr);
            }
            for mount in &mounts {
                let winner = format!("host{}", winners[0]);
                // The create has been heard of everywhere, or nobody would have lost; the write behind it is later.
                until("the lock names its holder", || mount.bash(&format!("cat {lock}")).success().text() == winner);
            }
            let stat = place.witness.stat(&format!("/{lock}")).unwrap();
            assert_ne!(stat.ephemeral_owner, 0);
        }
    }
}

#[test]
fn a_killed_mount_frees_its_locks_after_the_session_timeout() {
    // > `NAME@e` is ephemeral: it lives as long as the mount's session.
    let place = Place::new("killed");
    let loser = place.mount();
    let winner = rig::Mount::options(place.ensemble()).o("session_timeout=2s").mount();
    write(winner.join("lock@e"), "winner");
    fails(fs::File::create_new(loser.join("lock@e")), libc::EEXIST);
    winner.kill9();
    let killed = Instant::now();
    until("the lock is free", || fs::File::create_new(loser.join("lock@e")).is_ok());
    assert!(killed.elapsed() > Duration::from_millis(500), "it was gone before the session was");
}

#[test]
fn a_clean_unmount_frees_its_locks_at_once() {
    let place = Place::new("unmounted");
    let mount = place.mount();
    quickest(Duration::from_millis(100), || {
        write(mount.join("lock@e"), "mine");
        let began = Instant::now();
        mount.unmount();
        assert!(!place.witness.exists("/lock"), "the lock outlives the mount");
        let took = began.elapsed();
        mount.restart();
        took
    });
}

#[test]
fn a_lock_that_is_taken_shows_by_every_flag() {
    let place = Place::new("taken");
    let mount = place.mount();
    place.witness.create("/lock", b"theirs", Mode::Ephemeral).unwrap();
    place.witness.create("/dir", b"", Mode::Persistent).unwrap();
    for flag in ["e", "h", "t=1h"] {
        let name = mount.join(format!("lock@{flag}"));
        assert_eq!(fs::read_to_string(&name).unwrap(), "theirs");
        fails(fs::File::create_new(&name), libc::EEXIST);
    }
    assert!(fs::metadata(mount.join("dir@c")).unwrap().is_dir());
    fails(fs::create_dir(mount.join("dir@c")), libc::EEXIST);
    fails(fs::create_dir(mount.join("dir@t=1h")), libc::EEXIST);
    for free in ["free@e", "free@h", "free@c", "free@t=1h"] {
        fails(fs::metadata(mount.join(free)), libc::ENOENT);
    }
}

#[test]
fn without_noclobber_a_lock_is_overwritten_as_any_file() {
    let place = Place::new("clobber");
    let [one, two] = place.pair();
    write(one.join("lock@e"), "one");
    let owner = place.witness.stat("/lock").unwrap().ephemeral_owner;
    for flag in ["e", "h"] {
        let script = format!("exec 9> lock@{flag}; echo two-{flag} >&9; exec 9>&-");
        two.bash(&script).success();
        assert_eq!(place.witness.text("/lock"), format!("two-{flag}\n"));
        assert_eq!(place.witness.stat("/lock").unwrap().ephemeral_owner, owner, "still the first one's");
    }
}

#[test]
fn moved_and_linked_into_place_with_content() {
    // > `mv tmp NAME@e`, `mv tmp NAME@s` and `ln tmp NAME@e` create with content, atomically and exclusively.
    let place = Place::new("moved");
    let [one, two] = place.pair();
    let theirs = "echo whole > tmp-$1; $2 tmp-$1 lock-$2@e";
    for tool in ["mv", "ln"] {
        let script = |mount: &rig::Mount, who: &str| mount.script(Shell::Bash, theirs).arg(who).arg(tool).run();
        script(&one, "one").success();
        assert_ne!(script(&two, "two").code(), 0, "{tool} onto a lock that is taken");
        assert_eq!(place.witness.text(&format!("/lock-{tool}")), "whole\n");
        assert_ne!(place.witness.stat(&format!("/lock-{tool}")).unwrap().ephemeral_owner, 0);
        assert_eq!(place.witness.exists("/tmp-one"), tool == "ln", "ln leaves the source");
        assert_eq!(place.witness.text("/tmp-two"), "whole\n", "what was not moved is there");
        assert_eq!(place.creations(&format!("/lock-{tool}")).len(), 1);
        place.witness.delete("/tmp-two", None).unwrap();
        let _ = place.witness.delete("/tmp-one", None);
    }
    for tool in ["mv", "ln", "cp"] {
        one.bash(&format!("echo job-{tool} > tmp; {tool} tmp queue-{tool}-@s")).success();
    }
    let made = place.creations("/queue-");
    let whole: Vec<_> = made.iter().map(|(_, data)| data.as_str()).collect();
    assert_eq!(whole, ["job-mv\n", "job-ln\n", "job-cp\n"], "{made:?}");
    // A target that nobody could hold, or that is no file.
    for target in ["x@h", "x@hs"] {
        fails(fs::rename(one.join("tmp"), one.join(target)), libc::EPERM);
        fails(fs::hard_link(one.join("tmp"), one.join(target)), libc::EPERM);
    }
    fs::create_dir(one.join("dir")).unwrap();
    fails(fs::rename(one.join("dir"), one.join("x@e")), libc::EPERM);
    assert!(one.join("tmp").exists() && one.join("dir").exists());
}
