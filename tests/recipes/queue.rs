//! `queue`: nothing lost, nothing taken twice.

use std::collections::BTreeSet;

use rig::{Job, Server, Shell, until};

use crate::world::{SHELLS, World, kill_group, rounds};

/// Notes an item while the command has it, or a violation when somebody else does: the kernel's lock on a local file by its name.
/// What is noted as done is done under that lock.
const WORK: &str = "exec 5>>\"$L/busy-$ZK_ITEM\"; flock -n 5 || echo \"$ZK_ITEM twice\" >>\"$L/violations\"; \
                    item=$(cat); echo $$ >>\"$L/pids\"; sleep 0.02; ";

#[test]
fn first_in_first_out_with_the_data_it_was_given() {
    let world = World::new("fifo");
    for shell in SHELLS {
        let put = |input: &str| world.recipe(&world.a, shell, "h", "queue", "put q").input(input).run().success();
        let names: Vec<String> =
            ["one\n", "two\nlines\n", "", "no newline"].iter().map(|data| put(data).stdout).collect();
        assert!(names.is_sorted(), "{names:?}");
        let take = |script: &str| world.recipe(&world.b, shell, "h", "queue", &format!("take q -- {script}")).run();
        // A command that fails leaves the item where it was.
        take("false").exits(1);
        take("sh -c 'kill -9 $$'").exits(137);
        for data in ["one\n", "two\nlines\n", "", "no newline"] {
            assert_eq!(take("cat").success().stdout, data);
        }
        world.recipe(&world.b, shell, "h", "queue", "take -n q echo never").run().exits(1);
        world.recipe(&world.b, shell, "h", "queue", "take -w 1 -E 7 q echo never").run().exits(7);
    }
    let big = "x".repeat(600_000);
    world.recipe(&world.a, Shell::Dash, "h", "queue", "put q").input(&big).run().success();
    let took = world.recipe(&world.b, Shell::Dash, "h", "queue", "take q -- wc -c").run().success();
    assert_eq!(took.text(), "600000");
    let refused =
        world.recipe(&world.a, Shell::Dash, "h", "queue", "put q").input("x".repeat(2_000_000)).run().exits(69);
    assert!(refused.stderr.contains("File too large"), "{refused:?}");
    assert_eq!(world.names("/q").len(), 0);
}

/// Starts workers that take items until there is a file `enough`.
fn workers(world: &World, count: usize, work: &str) -> Vec<Job> {
    let script = "until [ -e \"$L/enough\" ]; do queue take -w 1 q -- sh -c \"$WORK\"; done";
    let start = |number| {
        let script = world.script(world.mount(number), SHELLS[number / 2 % 2], &format!("worker{number}"), script);
        script.env("WORK", format!("{WORK}{work}")).start()
    };
    (0..count).map(start).collect()
}

#[track_caller]
fn all_done(world: &World, items: usize) {
    until("all items are done", || {
        let done: BTreeSet<String> = world.lines("done").into_iter().collect();
        done.len() >= items
    });
    until("the queue is empty", || world.names("/q").is_empty());
    world.touch("enough");
}

#[test]
fn workers_that_are_killed_lose_nothing_and_nothing_is_taken_twice() {
    let world = World::new("killed");
    let items = 20 * rounds(1);
    world.a.bash("mkdir q").success();
    let jobs = workers(&world, 6, "echo $item >>\"$L/done\"");
    let script = format!("for i in $(seq {items}); do echo item$i | queue put q >/dev/null || exit; done");
    let producer = world.script(&world.b, Shell::Dash, "producer", &script).start();
    // A worker's whole host dies while it works.
    for (kill, job) in jobs.iter().take(3).enumerate() {
        let pids = world.until_lines("pids", 2 + 4 * kill);
        kill_group(&pids[pids.len() - 1]);
        job.kill9();
    }
    producer.wait().success();
    all_done(&world, items);
    jobs[3..].iter().for_each(|job| drop(job.wait()));
    world.assert_safe();
    // Twice only what its worker was killed over, between its last act and the end.
    assert!(world.lines("done").len() <= items + 3, "{:?}", world.lines("done"));
}

#[test]
fn a_restart_of_the_server_loses_nothing() {
    let server = Server::boot();
    let world = World::on(&server, "restart");
    world.a.bash("mkdir q").success();
    let jobs = workers(&world, 4, "echo $item >>\"$L/done\"");
    // What was put, was put: one that cannot tell tries the next.
    let script = "i=0; until [ -e \"$L/stop\" ]; do i=$((i + 1)); echo item$i | queue put q >/dev/null && echo item$i >>\"$L/put\"; done";
    let producer = world.script(&world.b, Shell::Dash, "producer", script).start();
    world.until_lines("done", 3);
    server.kill9();
    server.restart();
    let before = world.lines("done").len();
    until("work goes on", || world.lines("done").len() > before + 3);
    world.touch("stop");
    producer.wait();
    let put: BTreeSet<String> = world.lines("put").into_iter().collect();
    until("all that was put is done", || put.is_subset(&world.lines("done").into_iter().collect()));
    until("the queue is empty", || world.names("/q").is_empty());
    world.touch("enough");
    jobs.iter().for_each(|job| drop(job.wait()));
    world.assert_safe();
}

#[test]
fn an_item_whose_worker_is_cut_off_is_never_worked_on_by_two() {
    let (world, proxy) = World::fragile("cutoff", "9s");
    let put = world.recipe(&world.b, Shell::Dash, "h", "queue", "put q").input("precious").run().success();
    assert_eq!(put.text(), "item-0000000000");
    let work = format!(
        "{WORK}echo $ZKMOUNT_HOST >>\"$L/began\"; if [ $ZKMOUNT_HOST = cut ]; then exec sleep 600; fi; echo $item >>\"$L/done\""
    );
    let cut = world.recipe(&world.a, Shell::Bash, "cut", "queue", "take q -- sh -c \"$W\"").env("W", &work).start();
    world.until_lines("began", 1);
    let next = world.recipe(&world.b, Shell::Dash, "next", "queue", "take q -- sh -c \"$W\"").env("W", &work).start();
    proxy.down();
    next.wait().success();
    cut.wait().exits(75);
    assert_eq!(world.lines("done"), ["precious"]);
    world.assert_safe();
    assert!(world.names("/q").is_empty());
}
