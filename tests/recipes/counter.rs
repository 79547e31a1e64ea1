//! `incr`: exact.

use std::collections::BTreeSet;

use rig::{Job, Mount, Proxy, Shell, Witness, Workdir, shared_server, until};

use crate::world::{SHELLS, World, rounds};

#[test]
fn numbers_go_up_and_down() {
    let world = World::new("numbers");
    for shell in SHELLS {
        let run = |arguments: &str| world.recipe(&world.a, shell, "h", "incr", arguments).run();
        let file = format!("n-{}", shell.name());
        for (step, sum) in [("", "1"), ("9", "10"), ("-5", "5"), ("-6", "-1"), ("100", "99"), ("0", "99"), ("-99", "0")]
        {
            assert_eq!(run(&format!("{file} {step}")).success().text(), sum);
            assert_eq!(world.a.bash(&format!("cat {file}")).success().stdout.trim_end_matches('\n'), sum);
        }
        run(&format!("{file} x")).exits(64);
        run(&format!("{file} 08")).exits(64);
        world.a.bash("echo many > words").success();
        run("words").exits(65);
        run("no/such/dir/n").exits(66);
    }
    assert_eq!(world.witness.text("/words"), "many\n");
}

#[test]
fn eight_adders_on_two_mounts_some_of_them_killed() {
    let world = World::new("adders");
    let each = 6 * rounds(1);
    let script = format!("for i in $(seq {each}); do incr n >>\"$L/printed\" || echo $? >>\"$L/failed\"; done");
    let start = |number: usize| world.script(world.mount(number), SHELLS[number / 2 % 2], "h", &script).start();
    let jobs: Vec<Job> = (0..8).map(start).collect();
    world.until_lines("printed", 10);
    jobs[0].kill9();
    jobs[1].kill9();
    jobs[2..].iter().for_each(|job| drop(job.wait().success()));
    assert_eq!(world.lines("failed"), Vec::<String>::new());
    let printed = world.lines("printed");
    let distinct: BTreeSet<&String> = printed.iter().collect();
    assert_eq!(distinct.len(), printed.len(), "no value was given to two");
    let sum: usize = world.witness.text("/n").trim().parse().expect("a number");
    // One who is killed may have added what it did not live to print.
    assert!((printed.len()..=printed.len() + 2).contains(&sum), "{sum} after {}", printed.len());
}

#[test]
fn a_counter_is_exact_while_connections_are_cut() {
    let connect = shared_server().chroot("cutcount");
    let proxy = Proxy::to(shared_server());
    let mounts = [Mount::new(&proxy.instead_of(&connect)), Mount::new(&connect)];
    let world = World {
        a: Mount::new(&connect),
        b: Mount::new(&connect),
        witness: Witness::connect(&connect),
        local: Workdir::new("count"),
    };
    let each = 10 * rounds(1);
    let script = format!("for i in $(seq {each}); do incr n >>\"$L/printed\" || echo $? >>\"$L/failed\"; done");
    proxy.storm(7, 12);
    let jobs: Vec<Job> =
        (0..4).map(|number| world.script(&mounts[number % 2], SHELLS[number / 2], "h", &script).start()).collect();
    jobs.iter().for_each(|job| drop(job.wait().success()));
    proxy.calm();
    assert!(proxy.counts().cuts > 0, "nothing was cut");
    let printed = world.lines("printed");
    let unknown = world.lines("failed");
    assert!(unknown.iter().all(|code| code == "74" || code == "69"), "{unknown:?}");
    let unknown = unknown.iter().filter(|code| *code == "74").count();
    let distinct: BTreeSet<&String> = printed.iter().collect();
    assert_eq!(distinct.len(), printed.len(), "no value was given to two");
    until("the last is seen", || !world.witness.text("/n").trim().is_empty());
    let sum: usize = world.witness.text("/n").trim().parse().expect("a number");
    assert!(
        (printed.len()..=printed.len() + unknown).contains(&sum),
        "{sum} after {} and {unknown} unknown",
        printed.len()
    );
    world.recipe(&world.a, Shell::Dash, "h", "incr", "n 0").run().success();
}
