//! From the background to the end.

use std::fs;
use std::time::Duration;

use rig::{Direction, Mount, Op, Proxy, Shell, Witness, shared_server, until};

use crate::place::{Place, refuses, signal};

/// A mount in front through a proxy, which records the requests. So long a session does not end by itself in a test.
fn mount_through_proxy(name: &str) -> (Proxy, Mount) {
    let proxy = Proxy::to(shared_server());
    let ensemble = proxy.instead_of(&shared_server().chroot(name));
    let mount = Mount::options(&ensemble).o("session_timeout=40s").mount();
    (proxy, mount)
}

/// Asserts that the session was closed, rather than left to its timeout.
#[track_caller]
fn closed(proxy: &Proxy) {
    let closed = proxy.requests().iter().any(|request| request.op == Op::CloseSession);
    assert!(closed, "the daemon ended without closing its session");
}

fn is_mounted(mount: &Mount) -> bool {
    let point = mount.path().display().to_string();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == Some(&point))
}

#[test]
fn it_returns_once_the_tree_can_be_listed() {
    let ensemble = shared_server().chroot("background");
    let chroot = &ensemble[ensemble.find('/').unwrap()..];
    Witness::connect(&shared_server().address()).ensure(&format!("{chroot}/app"));
    for _ in 0..5 {
        let place = Place::new();
        place.script("zkmount \"$2\" \"$1\" && ls \"$1\" && df \"$1\"").arg(&ensemble).run().success().text();
        let output = place.script("ls \"$1\"").run().success();
        assert_eq!(output.text(), "app");
    }
}

#[test]
fn the_background_holds_nothing_of_the_caller() {
    let place = Place::new();
    // The command substitution ends when nobody has its pipe open any more.
    let output = place.script("said=$(zkmount memory: \"$1\" 2>&1); echo \"<$said>\"").run().success();
    assert_eq!(output.text(), "<>");
    let daemon = place.daemon().unwrap();
    let link = |name: &str| fs::read_link(format!("/proc/{daemon}/{name}")).unwrap();
    assert_eq!(link("cwd"), std::path::Path::new("/"));
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(stream), std::path::Path::new("/dev/null"));
    }
    let stat = fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap();
    let session: i32 = stat.rsplit(')').next().unwrap().split(' ').nth(4).unwrap().parse().unwrap();
    assert_eq!(session, daemon, "it leads a session of its own, which no terminal ends");
}

#[test]
fn signals_unmount_and_close_the_session() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let (proxy, mount) = mount_through_proxy("signal");
        fs::create_dir(mount.join("dir")).unwrap();
        assert_eq!(mount.end(signal).code(), Some(0));
        assert!(!is_mounted(&mount));
        closed(&proxy);
    }
}

#[test]
fn nohup_is_respected() {
    let place = Place::new();
    let script = "trap '' HUP; exec \"$2\" -f memory: \"$1\"";
    let job = place.script(script).arg(Mount::binary()).start();
    until("it is mounted", || job.stderr().contains("mounted"));
    job.signal(libc::SIGHUP);
    job.signal(libc::SIGTERM);
    let output = job.wait().success();
    assert!(output.stderr.contains("SIGTERM") && !output.stderr.contains("SIGHUP"), "{}", output.stderr);
}

#[test]
fn unmounting_from_outside_closes_the_session() {
    let (proxy, mount) = mount_through_proxy("umount");
    assert_eq!(mount.unmount().code(), Some(0));
    closed(&proxy);

    let (proxy, mount) = mount_through_proxy("fusermount");
    mount.expect_end();
    mount.script(Shell::Bash, "cd / && fusermount3 -u \"$1\"").arg(mount.path()).run().success();
    assert_eq!(mount.wait_end().code(), Some(0));
    closed(&proxy);
}

#[test]
fn ephemerals_go_with_the_mount() {
    let ensemble = shared_server().chroot("ephemeral");
    let chroot = &ensemble[ensemble.find('/').unwrap()..];
    let path = format!("{chroot}/lock");
    let witness = Witness::connect(&shared_server().address());
    let mount = Mount::options(&ensemble).o("session_timeout=40s").mount();
    fs::write(mount.join("lock@e"), "here").unwrap();
    assert_ne!(witness.stat(&path).unwrap().ephemeral_owner, 0);
    assert_eq!(mount.end(libc::SIGTERM).code(), Some(0));
    assert!(!witness.exists(&path), "the ephemeral outlives the mount");
}

#[test]
fn a_busy_mount_point_is_detached() {
    let (proxy, mount) = mount_through_proxy("busy");
    let job = mount.script(Shell::Bash, "echo in; exec sleep 100").start();
    until("the script is in the mount", || job.stdout().contains("in"));
    assert_eq!(mount.end(libc::SIGTERM).code(), Some(0));
    assert!(!is_mounted(&mount));
    closed(&proxy);
}

#[test]
fn requests_in_flight_end_with_the_mount() {
    let (proxy, mount) = mount_through_proxy("flight");
    let before = proxy.requests().len();
    proxy.stall(Direction::ToClient);
    let job = mount.script(Shell::Bash, "mkdir dir").start();
    until("the request is on its way", || proxy.requests().len() > before);
    assert_eq!(mount.end(libc::SIGTERM).code(), Some(0));
    assert!(!is_mounted(&mount));
    until("the caller is free", || !job.is_running());
    assert_ne!(job.wait().code(), 0);
}

#[test]
fn an_ensemble_that_is_away_does_not_hold_the_end_up() {
    let (proxy, mount) = mount_through_proxy("away");
    proxy.down();
    assert_eq!(mount.end(libc::SIGTERM).code(), Some(0));
    assert!(!is_mounted(&mount));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (proxy, mount) = mount_through_proxy("second");
    // The session cannot be closed now, so that the end takes a while.
    proxy.stall_both();
    mount.expect_end();
    signal(mount.pid(), libc::SIGTERM);
    until("it is unmounted", || !is_mounted(&mount));
    signal(mount.pid(), libc::SIGTERM);
    let status = mount.wait_end();
    // On a very slow machine the first signal's time may be over before the second comes.
    let late = mount.log().contains("could not be closed in time");
    assert!(late || status.code() == Some(128 + libc::SIGTERM), "{status}\n{}", mount.log());
}

#[test]
fn interrupted_before_it_is_mounted() {
    for flags in ["-f", "-v"] {
        let proxy = Proxy::to(shared_server());
        proxy.stall_both();
        let place = Place::new();
        let script = "exec \"$3\" \"$4\" -o timeout=25s \"$2\" \"$1\"";
        let job = place.script(script).arg(proxy.address()).arg(Mount::binary()).arg(flags).start();
        until("it has connected", || proxy.open() > 0);
        job.signal(libc::SIGINT);
        match flags {
            "-f" => refuses(job.wait(), 8, &["SIGINT"]),
            // Nobody but the command in front is seen by the shell; it dies as Ctrl-C wants it, and the daemon with it.
            _ => drop(job.wait().exits(128 + libc::SIGINT)),
        }
        place.until_no_daemon();
    }
}

#[test]
fn nobody_waits_for_a_mount_that_nobody_waits_for() {
    let proxy = Proxy::to(shared_server());
    let ensemble = proxy.instead_of(&shared_server().chroot("unwanted"));
    proxy.stall_both();
    let place = Place::new();
    let job = place.script("exec \"$3\" -o timeout=25s \"$2\" \"$1\"").arg(&ensemble).arg(Mount::binary()).start();
    until("it has connected", || proxy.open() > 0);
    job.signal_shell(libc::SIGKILL);
    until("the command is gone", || !job.is_running());
    proxy.flow();
    place.until_no_daemon();
    assert!(place.mounted().is_empty());
}

#[test]
fn a_lost_session_ends_the_mount_if_told_to() {
    // > With `-o on_lost=exit` the daemon ends when its session is lost, with exit code 75 and a line that says so.
    let proxy = Proxy::to(shared_server());
    let ensemble = proxy.instead_of(&shared_server().chroot("lost"));
    let mount = Mount::options(&ensemble).o("on_lost=exit").mount();
    mount.expect_end();
    proxy.expire_sessions();
    assert_eq!(mount.wait_end().code(), Some(75), "{}", mount.log());
    assert!(mount.log().contains("the session was lost"), "{}", mount.log());
    assert!(!is_mounted(&mount));
}

#[test]
fn a_killed_daemon_is_replaced() {
    let ensemble = shared_server().chroot("killed");
    let mount = Mount::new(&ensemble);
    fs::create_dir(mount.join("dir")).unwrap();
    mount.kill9();
    assert!(fs::read_dir(mount.path()).is_err());
    mount.restart();
    assert!(mount.join("dir").is_dir());
}

#[test]
fn an_aborted_connection_ends_the_daemon() {
    let (proxy, mount) = mount_through_proxy("abort");
    let device = fs::metadata(mount.path()).map(|m| std::os::unix::fs::MetadataExt::dev(&m)).unwrap();
    let place = Place::new();
    mount.expect_end();
    // The minor number names the connection in fusectl.
    let minor = libc::minor(device);
    let script = format!(
        "dir=/sys/fs/fuse/connections; [ -e $dir/{minor} ] || mount -t fusectl none $dir; echo 1 > $dir/{minor}/abort"
    );
    place.as_root(&script).run().success();
    assert_eq!(mount.wait_end().code(), Some(32), "{}", mount.log());
    assert!(!is_mounted(&mount));
    closed(&proxy);
}

#[test]
fn the_log_of_the_background() {
    let place = Place::new();
    let log = place.beside("log");
    let arguments = ["--log-file", log.to_str().unwrap(), "--log-format", "json", "memory:"];
    place.zkmount(&arguments).success();
    signal(place.daemon().unwrap(), libc::SIGTERM);
    place.until_no_daemon();
    let script = "import json, sys\nfor line in open(sys.argv[1]): print(json.loads(line)['message'])";
    let lines = place.script(&format!("/usr/bin/python3 -c \"{script}\" log")).deadline(Duration::from_secs(20)).run();
    let messages = lines.success().stdout;
    for message in ["mounted", "unmounted, and the session is closed"] {
        assert!(messages.lines().any(|line| line == message), "{message:?} is missing in:\n{messages}");
    }
    refuses(place.zkmount(&["--log-file", "/no/such/dir/log", "memory:"]), 2, &["/no/such/dir/log"]);
}

#[test]
fn each_operation_is_a_line_of_the_log() {
    let mount = Mount::options(&shared_server().chroot("operations")).args(&["-v"]).mount();
    let script = "echo x >f; getfattr -n user.zk.mzxid --only-values f; echo; mkdir f/d 2>/dev/null; cat @session";
    let told = mount.bash(script).success();
    let zxid = format!("zxid={}", told.lines()[0]);
    let session = told.lines().into_iter().find_map(|line| line.strip_prefix("id=")).expect("a session").to_owned();
    let log = mount.log();
    let line = |what: &[&str]| log.lines().any(|line| what.iter().all(|part| line.contains(part)));
    let session = format!("session={session}");
    assert!(
        line(&["op=\"write\"", "path=/f", "errno=\"0\"", "micros=", "pid=", &zxid, &session]),
        "{zxid} {session}\n{log}"
    );
    assert!(line(&["op=\"lookup\"", "path=/f", "errno=\"ENOENT\"", &session]), "{log}");
}
