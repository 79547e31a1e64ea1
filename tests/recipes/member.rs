//! `member` and `members`.

use rig::{Shell, until};

use crate::world::{SHELLS, World, until_says};

#[test]
fn who_joins_and_leaves_is_seen_on_the_other_host() {
    let world = World::new("group");
    world.a.bash("mkdir web").success();
    let follower = world.recipe(&world.b, Shell::Dash, "x", "members", "-f web").start();
    for shell in SHELLS {
        let name = shell.name();
        let arguments = format!("-n {name} -t '10.0.0.1:80 up' -i 1 web -- sh -c 'read -r x; exit 3'");
        // Its input stays open until it is killed.
        let member = world.script(
            &world.a,
            Shell::Bash,
            "web1",
            &format!("sleep 600 | {name} \"$(command -v member)\" {arguments}"),
        );
        let member = member.start();
        until_says(&follower, &format!("+ {name} 10.0.0.1:80 up\n"));
        let listed = world.recipe(&world.b, shell, "x", "members", "web").run().success();
        let fields: Vec<&str> = listed.stdout.split_whitespace().collect();
        assert_eq!([fields[0], fields[2], fields[3], fields[4]], [name, "s", "10.0.0.1:80", "up"]);
        let version = world.witness.stat(&format!("/web/{name}")).expect("a member").version;
        until("a heartbeat comes", || world.witness.stat(&format!("/web/{name}")).is_some_and(|s| s.version > version));
        member.kill9();
        until_says(&follower, &format!("- {name}\n"));
    }
    let ended = world.recipe(&world.a, Shell::Dash, "web1", "member", "web sh -c 'exit 3'").run();
    ended.exits(3);
    world.until_names("/web", 0);
}

#[test]
fn the_status_is_what_a_command_says_and_a_sick_one_has_no_heartbeat() {
    let world = World::new("status");
    let arguments = "-n m -i 1 -s 'cat \"$L/status\"' web sleep 600";
    std::fs::write(world.local.path().join("status"), "fine\n").unwrap();
    let _member = world.recipe(&world.a, Shell::Dash, "web1", "member", arguments).start();
    until("it is fine", || world.witness.get("/web/m").is_ok_and(|(data, _)| data == b"fine\n"));
    std::fs::write(world.local.path().join("status"), "busy\n").unwrap();
    until("it is busy", || world.witness.text("/web/m") == "busy\n");
    std::fs::remove_file(world.local.path().join("status")).unwrap();
    until("the check sees it", || {
        world.recipe(&world.b, Shell::Dash, "x", "check", "-c 3 age web/m").run().code() == 2
    });
    assert_eq!(world.witness.text("/web/m"), "busy\n");
}

#[test]
fn a_member_whose_session_is_lost_joins_again_and_never_over_another() {
    let (world, proxy) = World::fragile("rejoin", "20s");
    let member =
        world.recipe(&world.a, Shell::Bash, "web1", "member", "-i 1 web sh -c 'echo up; exec sleep 600'").start();
    until_says(&member, "up");
    until("it is a member", || world.witness.exists("/web/web1"));
    let first = world.witness.stat("/web/web1").expect("a member");
    proxy.expire_sessions();
    until("it is a member again", || world.witness.stat("/web/web1").is_some_and(|stat| stat.czxid != first.czxid));
    assert!(member.is_running());
    assert_eq!(member.stdout(), "up\n", "the command has run on");
    // Another one by the same name waits.
    let other = world.recipe(&world.b, Shell::Dash, "web1", "member", "-t other web sleep 600").start();
    until("it complains", || other.stderr().contains("cannot join"));
    assert_eq!(world.witness.text("/web/web1"), "web1\n");
    member.kill9();
    until("the other one has joined", || world.witness.get("/web/web1").is_ok_and(|(data, _)| data == b"other\n"));
}
