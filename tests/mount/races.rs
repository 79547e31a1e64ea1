//! Of many that try at the same time, through any mounts, one succeeds.

use std::collections::{BTreeMap, BTreeSet};

use rig::Shell::{self, Bash, Dash};

use crate::host::Hosts;
use crate::world::World;

const HOSTS: usize = 6;
const SLOTS: usize = 3;

/// A host that takes the first free slot when it is told to, and frees what it has when it is told to.
fn script(take: &str, free: &str) -> String {
    format!(
        "host=$1 mine=
         set -o noclobber
         while read -r word <&3; do
             case $word in
             take)
                 mine=
                 for slot in lock1 lock2 lock3; do
                     if {{ {take}; }} 2>/dev/null; then mine=$slot; break; fi
                 done
                 echo \"$host ${{mine:-none}}\" >&4 ;;
             free) if {free}; then echo \"$host freed\" >&4; else echo \"$host cannot free $mine\" >&4; fi ;;
             esac
         done"
    )
}

/// Six hosts on two mounts race for three slots: three get one each. They free them, and the other three get them.
fn race(world: &World, take: &str, free: &str, rounds: usize, check: impl Fn(&str, &str)) {
    world.run("mkdir slots");
    let shells: [Shell; HOSTS] = [Bash, Dash, Bash, Dash, Bash, Dash];
    let places: Vec<_> =
        shells.iter().enumerate().map(|(n, shell)| (if n < 3 { &world.one } else { &world.two }, *shell)).collect();
    let mut hosts = Hosts::start(&places, &script(take, free));
    for round in 0..rounds {
        let mut waiting: BTreeSet<usize> = (0..HOSTS).collect();
        while !waiting.is_empty() {
            let owners = fill(&mut hosts, &waiting, round);
            for (slot, host) in &owners {
                check(slot, &format!("host{host}"));
            }
            let freed = hosts.say(owners.values().copied(), "free");
            assert!(freed.iter().all(|answer| answer.ends_with(" freed")), "round {round}: {freed:?}");
            owners.values().for_each(|host| assert!(waiting.remove(host)));
        }
    }
    assert_eq!(world.witness.children("/slots").unwrap(), [""; 0]);
}

/// Has hosts race until all slots are taken: which host has which.
///
/// A mount may take a slot that another one has freed for taken, until it hears of that, and so may all at once. But nobody
/// ever gets a slot that somebody has.
fn fill(hosts: &mut Hosts, waiting: &BTreeSet<usize>, round: usize) -> BTreeMap<String, usize> {
    let mut owners: BTreeMap<String, usize> = BTreeMap::new();
    rig::until("all slots are taken", || {
        let without = waiting.iter().copied().filter(|host| !owners.values().any(|owner| owner == host));
        for answer in hosts.say(without.collect::<Vec<_>>(), "take") {
            let (host, slot) = answer.split_once(' ').expect("a host and a slot");
            if slot != "none" {
                let host = host["host".len()..].parse().expect("a number");
                let other = owners.insert(slot.to_owned(), host);
                assert_eq!(other, None, "round {round}: {slot} was taken twice, the second time by {host}");
            }
        }
        owners.len() == SLOTS
    });
    owners
}

// > Of several creates with `O_EXCL` at the same time, through any mounts, exactly one succeeds.
#[test]
fn noclobber_has_one_winner() {
    let world = World::new("noclobber");
    race(&world, "echo \"$host\" >slots/$slot", "rm slots/$mine", 200, |slot, host| {
        assert_eq!(world.witness.text(&format!("/slots/{slot}")), format!("{host}\n"));
    });
}

// > Of several `mkdir` at the same time, through any mounts, exactly one succeeds.
#[test]
fn mkdir_has_one_winner() {
    let world = World::new("mkdir");
    race(&world, "mkdir slots/$slot", "rmdir slots/$mine", 100, |slot, _| {
        assert!(world.witness.exists(&format!("/slots/{slot}")));
    });
}

#[test]
fn ln_has_one_winner() {
    let world = World::new("ln");
    world.run("for n in 0 1 2 3 4 5; do echo host$n > my.host$n; done");
    race(&world, "ln my.$host slots/$slot", "rm slots/$mine", 30, |slot, host| {
        assert_eq!(world.witness.text(&format!("/slots/{slot}")), format!("{host}\n"));
    });
}

#[test]
fn mv_without_clobber_has_one_winner() {
    let world = World::new("mv-n");
    // mv -n exits with 0 either way; whether its source is gone tells.
    let take = "echo \"$host\" >|my.$host && mv -n my.$host slots/$slot && [ ! -e my.$host ]";
    race(&world, take, "rm slots/$mine", 30, |slot, host| {
        assert_eq!(world.witness.text(&format!("/slots/{slot}")), format!("{host}\n"));
    });
}

#[test]
fn a_rename_takes_a_ticket_once() {
    let world = World::new("tickets");
    world.run("mkdir todo done; for n in 1 2 3; do echo $n > todo/lock$n; done");
    let places = [(&world.one, Bash), (&world.two, Dash), (&world.one, Dash), (&world.two, Bash)];
    let script = "while read -r n <&3; do
            if mv todo/$n done/$n.$1 2>/dev/null; then echo \"$1 won\" >&4; else echo \"$1 lost\" >&4; fi
        done";
    let mut hosts = Hosts::start(&places, script);
    for n in 0..60 {
        world.witness.create(&format!("/todo/{n}"), b"job", rig::Mode::Persistent).unwrap();
        let won = hosts.say(0..4, &n.to_string()).into_iter().filter(|answer| answer.ends_with("won")).count();
        assert_eq!(won, 1, "ticket {n}");
    }
    assert_eq!(world.witness.children("/done").unwrap().len(), 60);
}
