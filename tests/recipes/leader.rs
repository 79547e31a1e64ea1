//! `leader`: never two.

use rig::{Job, Shell, until};

use crate::world::{SHELLS, World, kill_group, permit, rounds, until_says};

/// Leads until it is killed: notes the process group and the host.
fn body() -> String {
    permit(1) + "; echo $$ >>\"$L/pids\"; echo \"$ZKMOUNT_HOST $ZK_TOKEN\" >>\"$L/led\"; exec sleep 600"
}

fn candidate(world: &World, number: usize) -> Job {
    let mount = world.mount(number);
    let script =
        world.recipe(mount, SHELLS[number / 2 % 2], &format!("web{number}"), "leader", "job -- sh -c \"$BODY\"");
    script.env("BODY", body()).start()
}

#[test]
fn leaders_follow_each_other_in_the_order_they_came() {
    let world = World::new("leader");
    let count = 6;
    let mut jobs = Vec::new();
    for number in 0..count {
        jobs.push(candidate(&world, number));
        world.until_names("/job", number + 1);
    }
    let follower = world.recipe(&world.b, Shell::Dash, "x", "leader", "-l job").start();
    until_says(&follower, "web0\n");
    for (number, job) in jobs.iter().enumerate() {
        let led = world.until_lines("led", number + 1);
        assert!(led[number].starts_with(&format!("web{number} ")), "{led:?}");
        let printed = world.recipe(&world.a, SHELLS[number % 2], "x", "leader", "-p job").run().success();
        assert_eq!(printed.text(), format!("web{number}"));
        until_says(&follower, &format!("web{number}\n"));
        // The host dies, with the script and the command.
        job.kill9();
        kill_group(&world.lines("pids")[number]);
    }
    until_says(&follower, "-\n");
    world.recipe(&world.a, Shell::Dash, "x", "leader", "-p job").run().exits(1);
    let tokens: Vec<u64> = world.lines("led").iter().map(|line| token(line)).collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "each has a higher token: {tokens:?}");
    world.assert_safe();
}

fn token(line: &str) -> u64 {
    let (_, hex) = line.split_once(" 0x").expect("a host and a token");
    u64::from_str_radix(hex, 16).expect("a token")
}

#[test]
fn candidates_that_are_killed_at_random_never_make_two_leaders() {
    let world = World::new("storm");
    let mut jobs: Vec<Job> = (0..6).map(|number| candidate(&world, number)).collect();
    for round in 0..rounds(8) {
        world.until_lines("led", round + 1);
        // The leader's command and one of the candidates, whichever that is; another comes.
        kill_group(&world.lines("pids")[round]);
        let victim = (round * 5 + 3) % jobs.len();
        jobs[victim].kill9();
        jobs[victim] = candidate(&world, round + 6);
    }
    world.assert_safe();
}

#[test]
fn a_leader_that_is_cut_off_stops_before_the_next_one_leads() {
    let (world, proxy) = World::fragile("cut", "9s");
    let first = candidate(&world, 0);
    world.until_lines("led", 1);
    let _second = candidate(&world, 1);
    world.until_names("/job", 2);
    proxy.stall_both();
    let led = world.until_lines("led", 2);
    assert!(led[1].starts_with("web1 "), "{led:?}");
    until("the first has noticed", || first.stderr().contains("is lost; stopping the command"));
    world.assert_safe();
    // It is a candidate again as soon as it can.
    proxy.flow();
    world.until_names("/job", 2);
    kill_group(&world.lines("pids")[1]);
    let led = world.until_lines("led", 3);
    assert!(led[2].starts_with("web0 "), "{led:?}");
    world.assert_safe();
}

#[test]
fn a_leader_whose_daemon_stands_still_stops_before_the_next_one_leads() {
    let (world, _proxy) = World::fragile("frozen", "9s");
    // The kernel closes the files of a process that dies in such a mount late. So it is the deeds that count.
    let lead = |mount, host| {
        let body = "while :; do echo $ZKMOUNT_HOST >>\"$L/deeds\"; sleep 0.02; done";
        world.recipe(mount, Shell::Dash, host, "leader", "job sh -c \"$B\"").env("B", body).start()
    };
    let first = lead(&world.a, "web0");
    world.until_lines("deeds", 1);
    let second = lead(&world.b, "web1");
    world.until_names("/job", 2);
    let frozen = world.a.freeze();
    until("the second leads", || world.lines("deeds").iter().filter(|line| *line == "web1").count() > 10);
    frozen.thaw();
    let deeds = world.lines("deeds");
    assert!(deeds.is_sorted(), "two have led at the same time: {deeds:?}");
    until("the first has noticed", || first.stderr().contains("is lost; stopping the command"));
    drop(second);
}

#[test]
fn a_leader_whose_file_is_removed_stops() {
    let world = World::new("deposed");
    let script = "job sh -c 'echo up; trap \"echo down; exit\" TERM; while :; do sleep 0.05; done'";
    let leader = world.recipe(&world.a, Shell::Dash, "web1", "leader", &format!("-x {script}")).start();
    until_says(&leader, "up");
    world.b.bash("rm job/candidate-*").success();
    let output = leader.wait().exits(75);
    assert_eq!(output.lines(), ["up", "down"]);
    // And one that ends by itself resigns.
    let output = world.recipe(&world.b, Shell::Bash, "web2", "leader", "job sh -c 'exit 5'").run();
    output.exits(5);
    world.until_names("/job", 0);
}
