//! Appends from many hosts.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use rig::Shell;

use crate::world::{World, put};

// > `>>` reads, appends and sets conditionally until the deadline: appends from many hosts lose and double nothing.
#[test]
fn eight_processes_on_two_mounts_lose_and_double_nothing() {
    let world = World::new("append");
    world.run("touch log");
    let shells = [Shell::Bash, Shell::Dash];
    let jobs: Vec<_> = (0..8)
        .map(|n| {
            let mount = if n % 2 == 0 { &world.one } else { &world.two };
            let script = "i=0; while [ $i -lt 100 ]; do echo \"$1 $i\" >>log || exit 1; i=$((i + 1)); done";
            mount.script(shells[n / 2 % 2], script).arg(n.to_string()).start()
        })
        .collect();
    jobs.iter().for_each(|job| {
        job.wait().success();
    });
    let text = world.witness.text("/log");
    let mut next: BTreeMap<&str, u32> = BTreeMap::new();
    for line in text.lines() {
        let (process, number) = line.split_once(' ').expect("a whole line");
        let expected = next.entry(process).or_default();
        assert_eq!(number, expected.to_string(), "the lines of process {process} are in order");
        *expected += 1;
    }
    assert!(next.len() == 8 && next.values().all(|count| *count == 100), "{next:?}");
}

#[test]
fn an_append_is_one_set_and_a_new_file_is_made_first() {
    let world = World::new("append-set");
    assert_eq!(world.transactions(|| drop(world.run("echo a >> f"))).len(), 2, "a create and a set");
    assert_eq!(world.transactions(|| drop(world.run("echo b >> f"))).len(), 1);
    assert_eq!(world.transactions(|| drop(world.run2("echo c >> f"))).len(), 1);
    assert_eq!(world.witness.text("/f"), "a\nb\nc\n");
}

#[test]
fn a_descriptor_for_appending_goes_to_the_end_whoever_wrote_last() {
    let world = World::new("append-fd");
    put(world.one.join("f"), "a\n");
    let mut file = OpenOptions::new().append(true).read(true).open(world.one.join("f")).unwrap();
    file.write_all(b"b\n").unwrap();
    world.run2("echo c >> f");
    world.witness.set("/f", b"x\n", None).unwrap();
    file.write_all(b"d\n").unwrap();
    assert_eq!(world.witness.text("/f"), "x\nd\n");
}

#[test]
fn an_append_that_would_be_too_large_leaves_what_is_there() {
    let world = World::new("append-big");
    world.run("touch f; truncate -s 1000000 f");
    world.refuses(
        "head -c 100000 /dev/zero | dd bs=100000 iflag=fullblock oflag=append conv=notrunc of=f",
        "File too large",
    );
    assert_eq!(world.witness.stat("/f").unwrap().data_length, 1_000_000);
    world.run("head -c 40000 /dev/zero | dd bs=40000 iflag=fullblock oflag=append conv=notrunc of=f status=none");
    assert_eq!(world.witness.stat("/f").unwrap().data_length, 1_040_000);
}
