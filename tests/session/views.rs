//! `@session` and `@ephemerals`, and what answers while ZooKeeper is away.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rig::{Direction, Mount, Proxy, Shell, Witness, shared_server, until};

/// The values of `@session`.
fn session(mount: &Mount) -> BTreeMap<String, String> {
    let text = fs::read_to_string(mount.join("@session")).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(key, _)| !key.starts_with('#')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The story that `@session` tells, without times and ids.
fn story(mount: &Mount) -> Vec<String> {
    let text = fs::read_to_string(mount.join("@session")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.starts_with("20"));
    lines.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn what_the_session_is() {
    // > `@session` has the state of the session as `key=value` lines that a shell can evaluate.
    let server = shared_server();
    let mount = Mount::options(&server.chroot("session")).o("session_timeout=20s").mount();
    mount.bash("echo x > a@e && echo y > b@e").success();
    let script = ". ./@session && echo $state $timeout_ms $incarnation $losses $live $ephemerals $locks $id";
    for shell in [Shell::Bash, Shell::Dash] {
        let said = mount.script(shell, script).run().success();
        let (values, id) = said.text().rsplit_once(' ').unwrap();
        assert_eq!(values, "connected 20000 1 0 true 2 0");
        let id = i64::from_str_radix(id.trim_start_matches("0x"), 16).unwrap();
        assert!(server.sessions().contains(&id), "{id:#x} is no session of the server");
    }
    let validity: u64 = session(&mount)["validity_ms"].parse().unwrap();
    assert!((1..=20_000).contains(&validity), "{validity}");
    assert_eq!(story(&mount), ["connected"]);
}

#[test]
fn which_ephemerals_are_ours() {
    // > `@ephemerals` lists the ephemerals of this mount's session, one a line: the transaction that created it, and its path.
    let connect = shared_server().chroot("ephemerals");
    let (one, two) = Mount::pair(&connect);
    let witness = Witness::connect(&connect);
    one.bash("mkdir d && echo x > 'd/a b@e' && echo y > tmp && mv tmp c@e && mkdir q && echo z > q/n-@es && echo p > persistent")
        .success();
    two.bash("echo x > other@e").success();
    let owned = |mount: &Mount| fs::read_to_string(mount.join("@ephemerals")).unwrap();
    let line = |path: &str| format!("{:#x} {path}\n", witness.stat(path).unwrap().czxid);
    assert_eq!(owned(&one), [line("/c"), line("/d/a b"), line("/q/n-0000000000")].concat());
    assert_eq!(owned(&two), line("/other"));
    let read =
        one.bash("while read -r czxid path; do [ -e \".$path\" ] && echo \"$path\"; done < @ephemerals").success();
    assert_eq!(read.lines(), ["/c", "/d/a b", "/q/n-0000000000"]);
    // Whoever deletes it, and however it goes.
    witness.delete("/c", None).unwrap();
    one.bash("rm 'd/a b'").success();
    until("what was deleted is listed no more", || owned(&one) == line("/q/n-0000000000"));
    assert_eq!(owned(&Mount::options(&connect).o("ro").mount()), "");
}

#[test]
fn an_ephemeral_that_was_deleted_while_we_were_away_is_not_listed() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    let connect = server.chroot("away");
    let mount = Mount::new(&proxy.instead_of(&connect));
    mount.bash("echo x > a@e && echo y > b@e").success();
    proxy.down();
    until("the mount has noticed", || session(&mount)["state"] == "suspended");
    Witness::connect(&connect).delete("/a", None).unwrap();
    proxy.accept();
    until("the session is back", || session(&mount)["state"] == "connected");
    let owned = fs::read_to_string(mount.join("@ephemerals")).unwrap();
    assert!(owned.ends_with(" /b\n") && owned.lines().count() == 1, "{owned}");
}

#[test]
fn what_answers_while_zookeeper_is_away() {
    // > `@session`, `@ephemerals`, `@metrics` and `df` answer at once while ZooKeeper is away.
    let proxy = Proxy::to(shared_server());
    let mount = Mount::options(&proxy.instead_of(&shared_server().chroot("answers"))).o("timeout=25s").mount();
    mount.bash("echo x > mine@e").success();
    let look = "cat @session @ephemerals @metrics && df . && stat -f . && stat -c %F .";
    // None of them may wait for the deadline of an operation; what they take is a matter of milliseconds.
    let ask = || mount.script(Shell::Bash, look).deadline(Duration::from_secs(20)).run().success();
    proxy.stall_both();
    let stalled = ask();
    assert!(stalled.stdout.contains(" /mine\n") && stalled.stdout.contains("directory"), "{}", stalled.stdout);
    proxy.down();
    until("the mount has noticed", || session(&mount)["state"] == "suspended");
    let down = ask();
    assert!(down.stdout.contains(" /mine\n") && down.stdout.contains("zkmount_session_connected 0"), "{}", down.stdout);
    proxy.flow();
    proxy.accept();
    until("the session is back", || session(&mount)["state"] == "connected");
}

#[test]
fn the_story_of_a_loss() {
    // > `@session` tells the last changes of its state with their times, and which ephemerals went with each lost session.
    let proxy = Proxy::to(shared_server());
    let mount = Mount::new(&proxy.instead_of(&shared_server().chroot("story")));
    mount.bash("mkdir d && echo x > d/one@e && echo y > two@e").success();
    let before = session(&mount)["id"].clone();
    proxy.expire_sessions();
    until("there is a new session", || {
        session(&mount)["incarnation"] == "2" && session(&mount)["state"] == "connected"
    });
    let (now, text) = (session(&mount), fs::read_to_string(mount.join("@session")).unwrap());
    assert_eq!((now["losses"].as_str(), now["ephemerals"].as_str()), ("1", "0"));
    assert_ne!(now["id"], before);
    assert!(text.contains(&format!("# lost with {before}: 2 ephemerals\n#   /d/one\n#   /two\n")), "{text}");
    let story = story(&mount);
    assert_eq!((story.first().unwrap().as_str(), story.last().unwrap().as_str()), ("connected", "connected"));
    assert_eq!(story.iter().filter(|step| *step == "lost").count(), 1, "{story:?}");
    assert!(story.windows(2).any(|steps| steps == ["lost", "connected"]), "{story:?}");
    // Cutting a connection is seen before the loss.
    assert!(
        story.iter().position(|step| step == "suspended") < story.iter().position(|step| step == "lost"),
        "{story:?}"
    );
    mount.bash(". ./@session && [ $state = connected ]").success();
    // The direction of a proxy is of no matter here, but that it flows.
    proxy.delay(Direction::ToServer, Duration::ZERO);
}
