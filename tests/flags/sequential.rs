//! Sequential files: made by their first write, with the data in them.

use std::fs::{self, File};
use std::io::Write;

use rig::{Change, Mount, Shell, shared_server, until};

use crate::place::{Place, fails, write};

#[test]
fn the_first_write_makes_it_with_the_data() {
    // > `NAME@s`, `@es` and `@hs` get a number from ZooKeeper, and are made by their first write with the data in them.
    let place = Place::new("first");
    let [one, two] = place.pair();
    for (mount, name) in [(&one, "one"), (&two, "two")] {
        fs::create_dir(mount.join(name)).unwrap();
        for shell in Shell::ALL {
            for flags in ["s", "es", "hs"] {
                let script = format!("echo {} > {name}/{flags}-@{flags}", shell.name());
                mount.script(shell, &script).run().success();
            }
        }
        mount.bash(&format!("seq 100 > tmp-{name}; cp tmp-{name} {name}/s-@s")).success();
        let created = place.creations(&format!("/{name}/"));
        let shells: Vec<String> = Shell::ALL.iter().map(|shell| format!("{}\n", shell.name())).collect();
        for flags in ["s", "es", "hs"] {
            let mut data: Vec<String> = created
                .iter()
                .filter(|(path, _)| path.contains(&format!("/{flags}-0")))
                .map(|made| made.1.clone())
                .collect();
            if flags == "s" {
                assert_eq!(data.pop().unwrap(), (1..=100).map(|n| format!("{n}\n")).collect::<String>(), "cp");
            }
            assert_eq!(data, shells, "{flags}");
        }
        // Nothing was set afterwards: no consumer ever saw less.
        let sets = place.history().into_iter().flat_map(|transaction| transaction.changes);
        let sets: Vec<Change> = sets
            .filter(|change| matches!(change, Change::SetData { path, .. } if path.starts_with(&format!("/{name}/"))))
            .collect();
        assert_eq!(sets, [], "{name}");
        until("what was held is gone", || !place.names(&format!("/{name}")).iter().any(|name| name.starts_with("hs-")));
        let owner = |name: &String, at: &str| place.witness.stat(&format!("/{at}/{name}")).unwrap().ephemeral_owner;
        for child in place.names(&format!("/{name}")) {
            assert_eq!(owner(&child, name) != 0, child.starts_with("es-"), "{child}");
        }
    }
    fails(fs::metadata(one.join("one/s-@s")), libc::ENOENT);
}

#[test]
fn what_is_killed_before_its_first_write_makes_nothing() {
    let place = Place::new("unwritten");
    let mount = place.mount();
    for (name, signal) in
        [("a-@s", libc::SIGKILL), ("b-@es", libc::SIGKILL), ("c-@hs", libc::SIGTERM), ("d-@s:t", libc::SIGINT)]
    {
        let job = mount.start(&format!("exec 9> {name}; echo open; exec sleep 1000"), "open");
        assert_eq!(place.names("/"), [""; 0]);
        job.signal(signal);
        until("it is gone", || !job.is_running());
        // A file that comes later is there: what the end of the other one caused has been asked for before.
        fs::create_dir(mount.join("later")).unwrap();
        fs::remove_dir(mount.join("later")).unwrap();
    }
    drop(mount);
    let made: Vec<_> = place.creations("/").into_iter().filter(|(path, _)| path != "/" && path != "/later").collect();
    assert_eq!(made, []);
}

#[test]
fn a_program_that_is_started_meanwhile_neither_hangs_nor_makes_it() {
    // Python's descriptors are closed when another program is started, which the kernel tells as a close(2) by one that
    // cannot be looked at closely just then.
    const SCRIPT: &str = r#"
import os, subprocess
fd = os.open("item-@s:t", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
pid = os.fork()
if pid == 0:
    os.execv("/bin/true", ["true"])
os.waitpid(pid, 0)
print(os.listdir("."), flush=True)
os.write(fd, b"job")
print(os.listdir("."))
"#;
    let place = Place::new("started");
    let mount = place.mount();
    let output = mount.script(Shell::Bash, "exec /usr/bin/python3 -c \"$1\"").arg(SCRIPT).run().success();
    assert_eq!(output.lines(), ["[]", "['item-0000000000']"]);
    assert_eq!(place.creations("/item-"), [("/item-0000000000".to_owned(), "job".to_owned())]);
}

#[test]
fn what_is_closed_without_a_write_is_an_empty_file() {
    let place = Place::new("empty");
    let [one, two] = place.pair();
    for (mount, script) in
        [(&one, "touch t-@s"), (&two, ": > c-@s"), (&one, "exec 9> d-@es; exec 9>&-"), (&two, "cp /dev/null e-@s")]
    {
        mount.bash(script).success();
    }
    for base in ["t-", "c-", "d-", "e-"] {
        until(&format!("{base} is made"), || place.names("/").iter().any(|name| name.starts_with(base)));
        let names = place.names("/");
        let mut names = names.iter().filter(|name| name.starts_with(base));
        let (name, more) = (names.next().unwrap(), names.next());
        assert_eq!(more, None);
        // The second of its two transactions makes it a file.
        until(&format!("{name} is a file on both hosts"), || {
            [&one, &two].iter().all(|mount| fs::metadata(mount.join(name)).unwrap().is_file())
        });
        assert_eq!(place.witness.text(&format!("/{name}")), "");
    }
}

#[test]
fn a_write_that_fails_makes_nothing() {
    let place = Place::new("fails");
    let mount = place.mount();
    let mut file = File::create(mount.join("big-@s")).unwrap();
    fails(file.write_all(&vec![b'x'; 2 << 20]), libc::EFBIG);
    drop(file);
    fails(File::create(mount.join("nowhere/n-@s")), libc::ENOENT);
    write(mount.join("next-@s"), "x");
    drop(mount);
    assert_eq!(place.names("/"), ["next-0000000000"]);
}

#[test]
fn pieces_are_whole_when_commits_wait_for_the_close() {
    let place = Place::new("pieces");
    let mount = place.options(place.ensemble()).o("commit=close").mount();
    mount
        .bash("{ echo a; echo b; } > item-@s; (exec 9> mine-@es:t; echo c >&9; echo d >&9); readlink mine-@es:t")
        .success();
    let created = place.creations("/");
    let items: Vec<_> = created.iter().filter(|(path, _)| path.contains("-0")).map(|(_, data)| data.as_str()).collect();
    // A shell's first descriptor is closed before anything is written; each later close commits what there is by then.
    assert_eq!(items.len(), 2, "{created:?}");
    assert_eq!(items[0], "a\nb\n");
    until("all is there", || place.witness.text("/mine-0000000001") == "c\nd\n");
}

#[test]
fn numbers_are_one_sequence_for_all_hosts() {
    let place = Place::new("numbers");
    let mounts = place.pair();
    let go = place.beside("go");
    let script = "until [ -e \"$1\" ]; do sleep 0.01; done; for n in 1 2 3 4 5; do echo $2-$n > n-@s; done";
    let start = |number: usize| mounts[number % 2].script(Shell::Bash, script).arg(&go).arg(number.to_string()).start();
    let jobs: Vec<_> = (0..6).map(start).collect();
    fs::write(&go, "").unwrap();
    jobs.iter().for_each(|job| drop(job.wait().success()));
    let names: Vec<String> = (0..30).map(|number| format!("n-{number:010}")).collect();
    assert_eq!(place.names("/"), names);
    let read =
        |mount: &Mount| names.iter().map(|name| fs::read_to_string(mount.join(name)).unwrap()).collect::<Vec<_>>();
    let data = read(&mounts[0]);
    assert_eq!(data, read(&mounts[1]));
    // Each writer's own items are in its order.
    for number in 0..6 {
        let own: Vec<_> = data.iter().filter(|text| text.starts_with(&format!("{number}-"))).collect();
        assert_eq!(own, [1, 2, 3, 4, 5].map(|n| format!("{number}-{n}\n")).iter().collect::<Vec<_>>());
    }
    assert!(shared_server().is_running());
}
