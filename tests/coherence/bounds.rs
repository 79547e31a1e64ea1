//! What a mount keeps has bounds, whatever is walked and whatever changes.

use std::fs::{self, File};
use std::io::Read;

use rig::{Mode, Mount, Witness, shared_server, until};
use zookeeper_client::{Acls, CreateMode};

use crate::world::{long, metrics, readable};

/// Files in each directory.
const FILES: usize = 1_000;
/// The bound of the cache, in bytes: far less than what is walked would take.
const CACHE: f64 = (1 << 20) as f64;

fn path(n: usize) -> String {
    format!("/tree/{:03}/n{n:06}", n / FILES)
}

fn tree(witness: &Witness, znodes: usize) {
    witness.ensure("/tree");
    witness.fill((0..znodes / FILES).map(|n| (format!("/tree/{n:03}"), Vec::new())));
    witness.fill((0..znodes).map(|n| (path(n), vec![b'x'; 40])));
}

#[test]
fn a_walk_keeps_to_the_bound_of_the_cache() {
    let connect = shared_server().chroot("walk");
    let witness = Witness::connect(&connect);
    let znodes = long(20_000);
    tree(&witness, znodes);
    let mount = Mount::options(&connect).o("cache=1M").mount();
    let mut most = 0.0_f64;
    for folder in 0..znodes / FILES {
        let script = format!("cd tree/{folder:03}; find . -type f -size +0 | wc -l; cat ./*00 | wc -c");
        let output = mount.bash(&script).success();
        assert_eq!(output.lines()[0], FILES.to_string());
        let now = metrics(&mount);
        most = most.max(now["zkmount_cache_bytes"]);
        assert!(now["zkmount_cache_bytes"] <= CACHE, "{now:?}");
        assert!(now["zkmount_cache_entries"] >= 1.0);
    }
    assert!(most > CACHE / 2.0, "the cache is used: {most}");
    // What is gone is forgotten: the kernel is told, and tells back.
    let known = metrics(&mount)["zkmount_inodes"];
    assert!(known >= (znodes / 2) as f64, "{known} inodes of {znodes} files");
    if fs::write("/proc/sys/vm/drop_caches", "2").is_ok() {
        until("the kernel forgets", || metrics(&mount)["zkmount_inodes"] < known / 2.0);
        mount.bash("find tree -type f -size +0 | wc -l").success();
    }
    for some in (0..znodes).collect::<Vec<_>>().chunks(500) {
        witness.multi(|multi| some.iter().try_for_each(|n| multi.add_delete(&path(*n), None))).unwrap();
    }
    witness.delete_tree("/tree");
    until("what was deleted is forgotten", || {
        let _ = fs::metadata(mount.join("tree"));
        metrics(&mount)["zkmount_inodes"] < 100.0
    });
}

#[test]
fn changes_elsewhere_are_not_kept() {
    let connect = shared_server().chroot("elsewhere");
    let witness = Witness::connect(&connect);
    witness.ensure("/here");
    witness.ensure("/elsewhere");
    witness.fill((0..1000).map(|n| (format!("/elsewhere/n{n}"), b"0".to_vec())));
    let mount = Mount::new(&connect);
    mount.bash("ls here").success();
    let mut stream = File::open(mount.join("here/@events")).unwrap();
    let changes = long(30_000);
    let run = |from: usize, count: usize| {
        for first in (from..from + count).step_by(300) {
            let done = witness.multi(|multi| {
                for n in first..first + 100 {
                    multi.add_set_data(&format!("/elsewhere/n{}", n % 1000), b"1", None)?;
                    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
                    multi.add_create(&format!("/elsewhere/new{n}"), b"x", &options)?;
                    multi.add_delete(&format!("/elsewhere/new{n}"), None)?;
                }
                Ok(())
            });
            done.unwrap();
        }
    };
    let announced = |mount: &Mount| {
        let now = metrics(mount);
        ["created", "modified", "deleted"]
            .map(|change| now[&format!("zkmount_watch_events_total{{change=\"{change}\"}}")])
    };
    run(0, 3_000);
    until("the first are announced", || announced(&mount) == [1000.0; 3]);
    let (before, memory) = (metrics(&mount), mount.resident());
    run(3_000, changes);
    witness.create("/here/end", b"", Mode::Persistent).unwrap();
    readable(&stream);
    let mut line = [0; 100];
    let count = stream.read(&mut line).unwrap();
    assert_eq!(&line[..count], b"create end\n", "nothing else, and no line to look again");
    let expected = 1000.0 + (changes / 3) as f64;
    assert_eq!(announced(&mount), [expected + 1.0, expected, expected], "all that came before is known by then");
    let after = metrics(&mount);
    for gauge in ["zkmount_inodes", "zkmount_cache_entries", "zkmount_handles"] {
        assert!(after[gauge] <= before[gauge] + 3.0, "{gauge}: {} before, {} after", before[gauge], after[gauge]);
    }
    let grown = mount.resident().saturating_sub(memory);
    assert!(grown < 16 << 20, "grown by {grown} bytes in {changes} changes");
}
