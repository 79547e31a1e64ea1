//! Programs of two hosts that make and remove the same names, while others watch.

use std::collections::BTreeSet;

use rig::{Job, Mount, Shell, Witness, shared_server};

use crate::helper::{END, Watch, directory};

/// Takes a lock with `mkdir` and works in it, as long as it is told to; nobody else removes what it has made.
const HOLDER: &str = r#"
cd d
held=0
while [ $held -lt "$1" ]; do
    mkdir lock 2>/dev/null || { sleep 0.005; continue; }
    held=$((held + 1))
    echo "$$" > lock/owner || { echo "round $held: nothing can be made in it"; exit 1; }
    [ "$(cat lock/owner)" = "$$" ] || { echo "round $held: it is another's"; exit 1; }
    rm lock/owner && rmdir lock || { echo "round $held: it cannot be given back"; exit 1; }
done
"#;

/// Takes what it finds, as the consumers of a queue do: who removes an item has it.
const CONSUMER: &str = r#"
cd d
taken=0
while [ ! -e stop ]; do
    for item in item*; do
        rm "$item" 2>/dev/null && taken=$((taken + 1))
    done
done
echo $taken
"#;

/// The names that a watcher believes in who knew none. A name may be told to be there when it is believed to be: it was made
/// anew here before the end of the last one was told.
fn believed(told: &[String]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for line in told {
        match line.split_once(' ') {
            Some((event, name)) if event.starts_with("CREATE") => drop(names.insert(name)),
            Some((event, name)) if event.starts_with("DELETE") => drop(names.remove(name)),
            _ => {}
        }
    }
    names
}

#[test]
fn a_directory_that_is_made_anew_at_once_can_be_worked_in() {
    let connect = shared_server().chroot("mkdir-lock");
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    let (here, there) = Mount::pair(&connect);
    let watches = [&here, &there].map(|mount| Watch::for_events("create,delete", &[&mount.join("d")]));
    let jobs: Vec<Job> =
        [&here, &there].map(|mount| mount.script(Shell::Dash, HOLDER).arg("30").start()).into_iter().collect();
    // So many other changes that those who tell of them come late.
    let noise = "
while not zk.exists('/d/stop'):
    for n in range(300): zk.create_async('/d/noise%d' % n, b'x')
    for n in range(300): last = zk.delete_async('/d/noise%d' % n)
    last.get()
";
    std::thread::scope(|scope| {
        scope.spawn(|| rig::kazoo(&connect, noise, &[]));
        let ends: Vec<_> = jobs.iter().map(Job::wait).collect();
        witness.create("/d/stop", b"", rig::Mode::Persistent).unwrap();
        for output in ends {
            assert!(output.status.success(), "{}{}", output.stdout, output.stderr);
        }
    });
    for watch in &watches {
        let told = watch.until_end_of(&witness, "/d", &format!("{END}-of-both"));
        assert_eq!(believed(&told), BTreeSet::from(["stop"]));
    }
}

#[test]
fn what_is_taken_before_it_was_told_is_not_believed_in() {
    let connect = shared_server().chroot("consumers");
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    let (here, there) = Mount::pair(&connect);
    let watches = [&here, &there].map(|mount| Watch::for_events("create,delete", &[&mount.join("d")]));
    let jobs = [&here, &there].map(|mount| mount.script(Shell::Dash, CONSUMER).start());
    let script = "
for n in range(600): zk.create_async('/d/item%d' % (n % 7 if n % 2 else n), b'x')
zk.create('/d/item-last', b'x')
";
    rig::kazoo(&connect, script, &[]);
    let is_empty = || !witness.children("/d").unwrap().iter().any(|name| name.starts_with("item"));
    rig::until("all items are taken", is_empty);
    witness.create("/d/stop", b"", rig::Mode::Persistent).unwrap();
    for job in jobs {
        job.wait().success();
    }
    for watch in &watches {
        let told = watch.until_end_of(&witness, "/d", &format!("{END}-of-both"));
        assert_eq!(believed(&told), BTreeSet::from(["stop"]));
    }
}
