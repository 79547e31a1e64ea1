//! A session that expires: what the script, the log, `@events` and `@session` say, and how soon all works again.

use std::fs;
use std::time::{Duration, Instant};

use rig::{Mode, Server, Shell, Witness, Workdir, until, until_within};

use crate::place::{Place, session, session_id, until_state};

/// What a mount of a session that is lost tells in `@session`, in order.
fn story(text: &str) -> Vec<&str> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| line.starts_with("20"));
    lines.filter_map(|line| line.split(' ').nth(1)).collect()
}

#[test]
fn the_end_of_a_session_is_told_in_order_and_nothing_is_made_again() {
    let place = Place::with("expired", |options| options.o("session_timeout=2s").o("timeout=300s").args(&["-v"]));
    place.mount.bash("touch f g && mkdir d && echo x > d/mine@e && echo x > d/also@e").success();
    let old = session_id(&place.mount);
    let stream = place.mount.start("exec < d/@events; echo opened; exec cat", "opened");
    let notes = Workdir::new("loss");
    let script = "exec 9<>f 8<>d/mine; flock 9; echo held; until [ -e \"$GO\" ]; do sleep 0.05; done
        echo x >&8; echo x >&9; read -r -u 8 || echo \"read: $?\"; flock -n 9; echo tried; exec sleep 600";
    let go = notes.path().join("go");
    let holder = place.mount.script(Shell::Bash, script).env("GO", &go).start();
    holder.until_line("held");
    let held = place.mount.start("exec 7> d/held@h; echo made; exec sleep 600", "made");
    let waiter = place.mount.script(Shell::Bash, "exec flock f echo never").start();
    until("two are in the queue", || place.witness.children("/.f.lock").unwrap().len() == 2);
    // Nothing passes, and the server ends the session by itself.
    place.proxy.stall_both();
    until("the server has ended the session", || !place.server.sessions().contains(&old));
    until_state(&place.mount, "lost");
    // Whoever used what went with it is told at once, and does not wait for the next session.
    fs::write(&go, "").unwrap();
    holder.until_line("tried");
    assert_eq!(holder.stdout(), "held\nread: 1\ntried\n");
    assert_eq!(holder.stderr().matches("Input/output error").count(), 4, "{}", holder.stderr());
    // What only looks at the mount works while there is no session, a lock does not.
    place.mount.bash("cat @session && df .").success();
    let refused = waiter.wait();
    assert!(refused.code() != 0 && refused.stderr.contains("No locks available"), "{refused:?}");
    place.proxy.flow();
    let began = Instant::now();
    until("it works again", || place.mount.bash("echo anew > g && cat g").code() == 0);
    println!("works again after {:?}", began.elapsed());
    until_state(&place.mount, "connected");
    // Whoever held something is still there, with a descriptor that is dead, and nothing is made again.
    assert!(held.is_running());
    assert_eq!(place.witness.children("/d").unwrap(), Vec::<String>::new());
    assert_eq!([place.creations("/d/mine"), place.creations("/d/also"), place.creations("/d/held")], [1, 1, 1]);
    assert_eq!(place.witness.text("/f"), "");
    // The story, by everybody who tells it.
    let text = fs::read_to_string(place.mount.join("@session")).unwrap();
    let steps: Vec<&str> = story(&text).into_iter().filter(|step| *step != "suspended").collect();
    assert_eq!(steps, ["connected", "lost", "connected"], "{text}");
    assert_eq!((&session(&place.mount)["ephemerals"][..], &session(&place.mount)["locks"][..]), ("0", "0"));
    assert!(text.contains(&format!("# lost with {old:#x}: 5 ephemerals\n")), "{text}");
    for path in ["/d/also", "/d/held", "/d/mine"] {
        assert!(text.contains(&format!("#   {path}\n")), "{path} is missing in {text}");
    }
    place.witness.create("/d/after", b"x", Mode::Persistent).unwrap();
    until("the stream goes on", || stream.stdout().ends_with("create after\n"));
    let told = stream.stdout();
    let order = ["session suspended", "session lost", "session connected", "resync", "create after"];
    let at: Vec<_> = order.iter().map(|line| told.find(line)).collect();
    assert!(at.is_sorted() && at.iter().all(Option::is_some), "{told}");
    let log = place.mount.log();
    let lost = log.find("the session is lost").expect("a line in the log");
    assert!(log.find("a lock is lost").is_some_and(|at| at > lost), "{log}");
}

#[test]
fn a_long_outage_is_over_soon_after_the_servers_return() {
    let server = Server::boot();
    let connect = server.chroot("outage");
    let mount = rig::Mount::options(&connect).o("session_timeout=1s").o("timeout=2s").mount();
    mount.bash("echo x > f && echo x > mine@e && mkdir d").success();
    let old = session_id(&mount);
    let watch = mount.start("exec < d/@events; echo opened; exec cat", "opened");
    server.kill9();
    until_state(&mount, "lost");
    // Ten times as long as the session lives, counted by operations that end at their deadline.
    for _ in 0..5 {
        let output = mount.bash("cat f");
        assert!(output.stderr.contains("timed out") || output.stderr.contains("Input/output"), "{output:?}");
        mount.bash("df . && cat @session").success();
    }
    server.restart();
    // A second or so; a busy machine has more.
    until_within(Duration::from_secs(10), "the mount is of use", || mount.bash("cat f").code() == 0);
    assert_ne!(session_id(&mount), old);
    assert_eq!(session(&mount)["losses"], "1", "one loss, however long it was");
    mount.bash("echo y > f && set -o noclobber && echo x > mine@e && flock -n f true").success();
    Witness::connect(&connect).create("/d/new", b"x", Mode::Persistent).unwrap();
    until("changes are announced", || watch.stdout().ends_with("create new\n"));
}
