//! `barrier`: nobody goes before all are there, and nobody returns before all are through.

use rig::{Job, Shell, until};

use crate::world::{SHELLS, World, kill_group};

#[test]
fn a_closed_barrier_holds_all_and_opens_for_all() {
    let world = World::new("gate");
    world.recipe(&world.a, Shell::Dash, "h", "barrier", "close gate").run().success();
    let waiters: Vec<Job> = (0..4)
        .map(|number| world.recipe(world.mount(number), SHELLS[number / 2], "h", "barrier", "wait gate").start())
        .collect();
    let late = world.recipe(&world.b, Shell::Bash, "h", "barrier", "wait -w 1 -E 5 gate").run().exits(5);
    assert!(late.took.as_secs_f64() >= 0.9);
    assert!(waiters.iter().all(Job::is_running));
    world.recipe(&world.b, Shell::Bash, "h", "barrier", "open gate").run().success();
    waiters.iter().for_each(|job| drop(job.wait().success()));
    world.recipe(&world.b, Shell::Dash, "h", "barrier", "wait gate").run().success();
}

/// Notes who begins and who ends, in one order; one that is to die waits for that.
const BODY: &str = "echo begin >>\"$L/log\"; echo \"$$ $ZKMOUNT_HOST\" >>\"$L/pids\"; \
                    if [ $ZKMOUNT_HOST = h0 ]; then exec sleep 600; fi; sleep 0.1; echo end >>\"$L/log\"";

#[test]
fn all_begin_together_and_leave_together_though_one_dies() {
    let world = World::new("double");
    let enter = |number: usize| {
        let script = "barrier enter round 5 -- sh -c \"$BODY\"; echo left $? >>\"$L/log\"";
        let host = format!("h{number}");
        world.script(world.mount(number), SHELLS[number / 2 % 2], &host, script).env("BODY", BODY).start()
    };
    // One that dies before all are there does not count.
    let early = enter(9);
    world.until_names("/round", 1);
    early.kill9();
    world.until_names("/round", 0);
    let jobs: Vec<Job> = (0..4).map(enter).collect();
    world.until_names("/round", 4);
    assert!(world.lines("log").is_empty(), "nobody begins before all are there");
    let last = enter(4);
    world.until_lines("pids", 5);
    until("all but one have ended", || world.lines("log").iter().filter(|line| *line == "end").count() == 4);
    assert!(!world.lines("log").iter().any(|line| line.starts_with("left")), "{:?}", world.lines("log"));
    // The one that is still inside dies with its host, and the others may go.
    let pids = world.lines("pids");
    let victim = pids.iter().find_map(|line| line.strip_suffix(" h0")).expect("h0 has begun");
    jobs[0].kill9();
    kill_group(victim);
    jobs[1..].iter().chain([&last]).for_each(|job| drop(job.wait()));
    let log = world.lines("log");
    assert_eq!(log.iter().filter(|line| *line == "left 0").count(), 4, "{log:?}");
    let last_begin = log.iter().rposition(|line| line == "begin");
    let first_end = log.iter().position(|line| line == "end");
    assert!(last_begin < first_end || log.len() == 13, "{log:?}");
    world.until_names("/round", 1);
}

#[test]
fn a_participant_that_is_cut_off_is_stopped_before_the_others_go() {
    let (world, proxy) = World::fragile("cutbarrier", "9s");
    let body =
        "exec 5>>\"$L/$ZKMOUNT_HOST\"; flock 5; echo begin >>\"$L/log\"; [ $ZKMOUNT_HOST = h1 ] || exec sleep 600";
    let cut = world.recipe(&world.a, Shell::Dash, "h0", "barrier", "enter round 2 sh -c \"$B\"").env("B", body).start();
    let script = "barrier enter round 2 sh -c \"$B\"; flock -n \"$L/h0\" true || echo violation >>\"$L/violations\"";
    let other = world.script(&world.b, Shell::Bash, "h1", script).env("B", body).start();
    world.until_lines("log", 2);
    proxy.down();
    other.wait().success();
    cut.wait().exits(75);
    world.assert_safe();
}
