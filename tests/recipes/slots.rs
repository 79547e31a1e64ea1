//! `slots`: at most N at once.

use std::time::Duration;

use rig::{Job, Mount, Server, Shell, shared_server, until};

use crate::world::{SHELLS, World, kill_group, permit, rounds};

#[test]
fn a_slot_has_its_owner_in_it_and_goes_with_the_command() {
    let world = World::new("slot");
    for shell in SHELLS {
        let body = "'cat pool/slot-1; echo \"$ZK_SLOT $ZK_NODE\"; read -r line; echo \"$line\"; exit 7'";
        let output = world.recipe(&world.a, shell, "web1", "slots", &format!("pool 2 -- sh -c {body}"));
        assert_eq!(output.input("input\n").run().exits(7).lines(), ["web1", "1 pool/slot-1", "input"]);
        world.until_names("/pool", 0);
    }
}

#[test]
fn when_all_are_taken_one_waits_or_is_refused() {
    let world = World::new("full");
    let hold = |host| world.recipe(&world.a, Shell::Dash, host, "slots", "pool 2 sleep 600").start();
    let holders: Vec<Job> = vec![hold("web1"), hold("web2")];
    world.until_names("/pool", 2);
    for shell in SHELLS {
        let run = |arguments: &str| world.recipe(&world.b, shell, "web3", "slots", arguments).run();
        run("-n pool 2 echo never").exits(1);
        run("-n -E 9 pool 2 echo never").exits(9);
        let late = run("-w 1 pool 2 echo never").exits(1);
        assert!(late.took.as_secs_f64() >= 0.9, "{late:?}");
        // A larger N is another size of the same pool.
        assert_eq!(run("-n pool 3 sh -c 'echo $ZK_SLOT'").success().text(), "3");
    }
    let waiter = world.recipe(&world.b, Shell::Dash, "web3", "slots", "pool 2 echo mine").start();
    until("it waits in line", || world.witness.children("/pool/.line").is_ok_and(|line| line.len() == 1));
    // The command as well, which has a session of its own.
    let token = holders[1].pid();
    assert!(token > 0);
    holders[1].signal_shell(libc::SIGTERM);
    holders[1].wait().exits(143);
    assert_eq!(waiter.wait().success().text(), "mine");
    until("the line is empty", || world.witness.children("/pool/.line").is_ok_and(|line| line.is_empty()));
}

#[test]
fn thirty_hosts_and_three_slots_with_kills() {
    let world = World::new("fleet");
    let hosts = 30;
    // Every fifth is killed at work, command and all; what a host did not finish it does again, as its cron job would.
    let body = permit(3)
        + "; echo $$ >>\"$L/pids\"; echo $ZKMOUNT_HOST >>\"$L/began\"; \
         if [ $((ZK_HOST_NUMBER % 5)) = 0 ] && [ ! -e \"$L/killed-$ZKMOUNT_HOST\" ]; \
         then : >\"$L/killed-$ZKMOUNT_HOST\"; kill -9 0; fi; sleep 0.0$((ZK_HOST_NUMBER % 9)); echo $ZKMOUNT_HOST >>\"$L/done\"";
    let script = "until slots pool 3 -- sh -c \"$BODY\"; do :; done";
    let jobs: Vec<Job> = (0..hosts * rounds(1))
        .map(|number| {
            let shell = SHELLS[number / 2 % 2];
            world
                .script(world.mount(number), shell, &format!("host{number}"), script)
                .env("BODY", &body)
                .env("ZK_HOST_NUMBER", number.to_string())
                .start()
        })
        .collect();
    jobs.iter().for_each(|job| drop(job.wait().success()));
    world.assert_safe();
    let mut done = world.lines("done");
    done.sort();
    done.dedup();
    assert_eq!(done.len(), jobs.len(), "all get their turn");
    assert!(world.lines("began").len() > jobs.len(), "some were killed");
    world.until_names("/pool", 0);
}

#[test]
fn a_slot_stays_taken_when_only_its_script_is_killed() {
    let world = World::new("orphan");
    let holder =
        world.recipe(&world.a, Shell::Bash, "web1", "slots", "pool 1 sh -c 'echo $$ >\"$L/pid\"; exec sleep 600'");
    let holder = holder.start();
    let pid = world.until_lines("pid", 1).remove(0);
    holder.kill9();
    world.recipe(&world.b, Shell::Dash, "web2", "slots", "-n pool 1 echo never").run().exits(1);
    kill_group(&pid);
    world.recipe(&world.b, Shell::Dash, "web2", "slots", "-w 30 pool 1 echo mine").run().success();
}

#[test]
fn a_slot_is_kept_for_longer_than_the_silence_after_which_it_would_be_lost() {
    let connect = shared_server().chroot("kept");
    let world = World::new("unused");
    let mount = Mount::options(&connect).args(&["--session-timeout", "15s"]).mount();
    let start =
        |number: usize, shell| world.recipe(&mount, shell, "h", "slots", &format!("pool{number} 1 sleep 6")).start();
    let jobs: Vec<Job> = SHELLS.iter().enumerate().map(|(number, &shell)| start(number, shell)).collect();
    jobs.iter().for_each(|job| drop(job.wait().success()));
}

#[test]
fn a_slot_is_free_as_soon_as_the_command_has_ended() {
    // What looks after the command wakes each ten seconds with this session, and must not hold the slot for so long.
    let (world, _proxy) = World::fragile("prompt", "300s");
    for shell in SHELLS {
        world.recipe(&world.a, shell, "web1", "slots", "pool 1 true").run().success();
        let next = world.recipe(&world.b, shell, "web2", "slots", "pool 1 true").run().success();
        assert!(next.took < Duration::from_secs(9), "{next:?}");
    }
}

#[test]
fn a_restart_of_the_server_neither_frees_nor_loses_a_slot() {
    let server = Server::boot();
    let world = World::on(&server, "restart");
    let body = permit(1)
        + "; echo $ZKMOUNT_HOST >>\"$L/began\"; until [ -e \"$L/go\" ]; do sleep 0.05; done; echo done >>\"$L/done\"";
    let start = |number| {
        let script = world.recipe(
            world.mount(number),
            SHELLS[number % 2],
            &format!("web{number}"),
            "slots",
            "pool 1 sh -c \"$B\"",
        );
        script.env("B", &body).start()
    };
    let jobs: Vec<Job> = (0..4).map(start).collect();
    world.until_lines("began", 1);
    server.kill9();
    server.restart();
    until("the mounts are back", || world.a.bash("ls pool").code() == 0 && world.b.bash("ls pool").code() == 0);
    assert_eq!(world.lines("began").len(), 1);
    world.touch("go");
    jobs.iter().for_each(|job| drop(job.wait().success()));
    assert_eq!(world.lines("done").len(), 4);
    world.assert_safe();
}

#[test]
fn a_lost_session_ends_the_command_before_another_has_the_slot() {
    let (world, proxy) = World::fragile("lostslot", "9s");
    // Deaf to TERM: it has to be killed.
    let body = permit(1) + "; echo $ZKMOUNT_HOST >>\"$L/began\"; trap '' TERM; while :; do sleep 0.05; done";
    let first = world.recipe(&world.a, Shell::Dash, "web1", "slots", "pool 1 sh -c \"$B\"").env("B", &body).start();
    world.until_lines("began", 1);
    let second = world.recipe(&world.b, Shell::Bash, "web2", "slots", "pool 1 sh -c \"$B\"").env("B", &body).start();
    until("the second waits", || world.witness.children("/pool/.line").is_ok_and(|line| line.len() == 1));
    proxy.down();
    assert_eq!(world.until_lines("began", 2)[1], "web2");
    first.wait().exits(75);
    world.assert_safe();
    drop(second);
}
