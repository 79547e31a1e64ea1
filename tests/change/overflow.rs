//! More changes than are kept until they are told: who missed some is told so, and then the difference.

use std::path::PathBuf;

use rig::{Mount, Witness, shared_server, until};
use zookeeper_client::{Acls, CreateMode};

use crate::belief::{Belief, of, shown, told, truth};
use crate::helper::{END, Watch, directory, file, set};

/// Pairs of a create and a delete in one transaction.
const PAIRS: usize = 400;

/// So many transactions are more changes than are kept.
const TRANSACTIONS: usize = 24;

/// The thread that decides what is told.
const TELLER: &str = "zkmount-tell";

/// Has the kernel know these directories, as only what it knows can be watched, and not forget them.
fn watch_all(mount: &Mount, dirs: &[String]) -> Watch {
    let paths: Vec<_> = dirs.iter().map(|dir| mount.join(&dir[1..])).collect();
    Watch::for_events("delete_self", &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>())
}

fn mounted(name: &str) -> (Mount, Witness) {
    let connect = shared_server().chroot(name);
    let witness = Witness::connect(&connect);
    (Mount::new(&connect), witness)
}

/// What comes and goes at once in these directories, in one transaction.
fn burst(witness: &Witness, number: usize, dirs: &[String]) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let pairs = witness.multi(|multi| {
        for n in 0..PAIRS {
            let path = format!("{}/gone{number}-{n}", dirs[(number + n) % dirs.len()]);
            multi.add_create(&path, b"x", &options)?;
            multi.add_delete(&path, None)?;
        }
        Ok(())
    });
    pairs.unwrap();
}

/// Some old names, of which the programs that watch know.
fn prepare(witness: &Witness, dir: &str) {
    directory(witness, dir);
    for name in ["deleted", "set", "replaced", "turned", "same"] {
        file(witness, &format!("{dir}/{name}"), "old");
    }
}

fn change(witness: &Witness, dir: &str) {
    let path = |name: &str| format!("{dir}/{name}");
    file(witness, &path("new"), "1");
    directory(witness, &path("newdir"));
    witness.delete(&path("deleted"), None).unwrap();
    set(witness, &path("set"), "new");
    witness.delete(&path("replaced"), None).unwrap();
    file(witness, &path("replaced"), "new");
    file(witness, &path("turned/child"), "1");
}

fn untold(mount: &Mount) -> u64 {
    let metrics = std::fs::read_to_string(mount.join("@metrics")).unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix("zkmount_changes_untold_total "));
    value.unwrap().parse().unwrap()
}

/// The changes came to those who watch, among others that came and went.
#[track_caller]
fn check_changes(lines: &[String]) {
    for (name, events) in [
        ("new", "CREATE"),
        ("newdir", "CREATE,ISDIR"),
        ("deleted", "DELETE"),
        ("set", "MODIFY"),
        ("replaced", "DELETE CREATE"),
        ("turned", "DELETE CREATE,ISDIR"),
        ("same", ""),
    ] {
        let all = of(name, lines);
        let all: Vec<&str> = all.split(' ').filter(|event| !event.starts_with("CLOSE") && *event != "ATTRIB").collect();
        assert_eq!(all.join(" "), events, "{name}");
    }
}

/// Those who watched a directory, and knew what was there before, were told how it became what it is.
#[track_caller]
fn check_told(witness: &Witness, dir: &str, before: Belief, lines: &[String]) {
    let mut tree = truth(witness, dir);
    tree.remove(END);
    assert_eq!(told(before, lines), tree, "{dir}; turned: {}", of("turned", lines));
    check_changes(lines);
}

// > When more changes wait than are kept, each directory that missed some gets ATTRIB, and its watchers are told the difference.
#[test]
fn directories_that_missed_changes_are_told_so_and_then_the_difference() {
    let (mount, witness) = mounted("overflow");
    let dirs = ["/a", "/b"].map(str::to_owned);
    dirs.iter().for_each(|dir| prepare(&witness, dir));
    prepare(&witness, "/quiet");
    let watch = |dir: &str| Watch::on(&[&mount.join(&dir[1..])]);
    let watches: Vec<Watch> = dirs.iter().map(|dir| watch(dir)).collect();
    let quiet = watch("/quiet");
    let [before, _] = [&dirs[0], &dirs[1]].map(|dir| shown(&mount, dir));
    let itself = Watch::on(&[&mount.join("a/deleted")]);
    let held = mount.hold(TELLER);
    for number in 0..TRANSACTIONS {
        if number == TRANSACTIONS / 2 {
            dirs.iter().for_each(|dir| change(&witness, dir));
        }
        burst(&witness, number, &dirs);
    }
    until("changes were missed", || untold(&mount) != 0);
    drop(held);
    for (dir, watch) in dirs.iter().zip(&watches) {
        let lines = watch.until_end(&witness, dir);
        assert!(lines.iter().any(|line| line == "ATTRIB,ISDIR"), "{dir} was told that it missed something");
        check_told(&witness, dir, before.clone(), &lines);
    }
    itself.wait_for("DELETE_SELF");
    assert_eq!(quiet.until_end(&witness, "/quiet"), Vec::<String>::new());
}

#[test]
fn changes_in_too_many_directories_are_a_comparison_of_all() {
    let (mount, witness) = mounted("overflow-of-all");
    let dirs: Vec<String> = (0..1100).map(|n| format!("/d{n}")).collect();
    prepare(&witness, "/d0");
    witness.fill(dirs[1..].iter().map(|dir| (dir.clone(), Vec::new())));
    let watch = Watch::on(&[&mount.join("d0")]);
    let before = shown(&mount, "/d0");
    let _all = watch_all(&mount, &dirs);
    let held = mount.hold(TELLER);
    for number in 0..TRANSACTIONS {
        if number == TRANSACTIONS / 2 {
            change(&witness, "/d0");
        }
        burst(&witness, number, &dirs);
    }
    until("changes were missed", || untold(&mount) != 0);
    drop(held);
    check_told(&witness, "/d0", before, &watch.until_end(&witness, "/d0"));
}

#[test]
fn what_was_there_before_anybody_watched_is_no_news() {
    let (mount, witness) = mounted("overflow-of-old");
    // Changes wait from before the directories that are watched are looked at: in the root, which always is.
    let held = mount.hold(TELLER);
    let dirs: Vec<String> = (0..1100).map(|n| format!("/d{n}")).collect();
    prepare(&witness, "/d0");
    witness.fill(dirs[1..].iter().map(|dir| (dir.clone(), Vec::new())));
    let watch = Watch::on(&[&mount.join("d0")]);
    let before = shown(&mount, "/d0");
    let _all = watch_all(&mount, &dirs);
    for number in 0..TRANSACTIONS {
        burst(&witness, number, &dirs);
    }
    until("changes were missed", || untold(&mount) != 0);
    change(&witness, "/d0");
    drop(held);
    check_told(&witness, "/d0", before, &watch.until_end(&witness, "/d0"));
}
