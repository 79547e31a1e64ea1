//! The rig itself: a test that stands on something untested proves nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rig::{
    Change, Direction, Ensemble, Error, Kind, Mode, Moment, Mount, Op, Process, Proxy, Server, Shell, Witness, Workdir,
    kazoo, shared_server, until,
};

#[test]
fn a_server_keeps_its_data_and_its_port_over_a_kill_and_a_restart() {
    let server = Server::boot();
    let connect = server.chroot("kept");
    Witness::connect(&connect).create("/a", b"1", Mode::Persistent).unwrap();
    server.kill9();
    assert!(!server.is_running());
    assert!(server.ask("srvr").is_err());
    server.restart();
    assert_eq!(Witness::connect(&connect).text("/a"), "1");
    server.stop();
    server.restart();
    assert_eq!(Witness::connect(&connect).text("/a"), "1");
    assert_eq!(server.mode().as_deref(), Some("standalone"));
    assert!(server.metric("zk_znode_count") > 1);
}

#[test]
fn a_frozen_server_answers_nothing_until_it_thaws() {
    let server = Server::boot();
    let frozen = server.freeze();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"ruok").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(stream.read(&mut [0; 4]).is_err());
    frozen.thaw();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"imok");
}

#[test]
fn an_ensemble_outlives_its_leader() {
    let ensemble = Ensemble::boot();
    let connect = ensemble.chroot("ensemble");
    let witness = Witness::connect(&connect);
    witness.create("/a", b"1", Mode::Persistent).unwrap();
    assert_eq!(ensemble.followers().len(), 2);
    let leader = ensemble.leader();
    leader.kill9();
    assert_ne!(ensemble.leader().port(), leader.port());
    let other = Witness::connect(&connect);
    assert_eq!(other.text("/a"), "1");
    leader.restart();
    ensemble.wait_serving();
}

#[test]
fn the_history_is_what_was_applied() {
    let server = shared_server();
    let connect = server.chroot("history");
    let chroot = &connect[connect.find('/').unwrap()..];
    let witness = Witness::connect(&connect);
    witness.create("/a", b"one", Mode::Persistent).unwrap();
    witness.set("/a", b"two", Some(0)).unwrap();
    witness
        .multi(|m| {
            m.add_set_data("/a", b"three", None)?;
            m.add_delete("/a", Some(2))
        })
        .unwrap();
    // What failed is not part of history.
    assert_eq!(witness.delete("/a", None), Err(Error::NoNode));
    let failed = witness.multi(|m| {
        m.add_set_data("/", b"never", None)?;
        m.add_delete("/a", None)
    });
    assert!(failed.is_err());
    witness.create("/e", b"", Mode::Ephemeral).unwrap();
    let session = witness.session_id();
    witness.close();

    let history = server.history_below(chroot);
    let path = |name: &str| format!("{chroot}{name}");
    let set = |data: &str, version| Change::SetData { path: path("/a"), data: data.into(), version };
    let created = |name: &str, data: &str, ephemeral| Change::Create { path: path(name), data: data.into(), ephemeral };
    let deleted = |name: &str| Change::Delete { path: path(name) };
    let expected = [
        vec![created("", "", false)],
        vec![created("/a", "one", false)],
        vec![set("two", 1)],
        vec![set("three", 2), deleted("/a")],
        vec![created("/e", "", true)],
        vec![deleted("/e")],
    ];
    assert_eq!(history.iter().map(|t| t.changes.clone()).collect::<Vec<_>>(), expected);
    assert!(history.windows(2).all(|pair| pair[0].zxid < pair[1].zxid));
    assert!(history[1..].iter().all(|transaction| transaction.session == session));
    assert_eq!(history.last().unwrap().op, Op::CloseSession);
}

#[test]
fn a_proxy_loses_exactly_one_reply() {
    let server = shared_server();
    let connect = server.chroot("lost-reply");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    let direct = Witness::connect(&connect);

    let trap = proxy.trap().creates().nth(2).lose_reply();
    through.create("/one", b"", Mode::Persistent).unwrap();
    assert!(!trap.sprung());
    let unknown = through.create("/two", b"", Mode::Persistent);
    assert!(matches!(unknown, Err(Error::ConnectionLoss | Error::Custom(_))), "{unknown:?}");
    assert!(trap.sprung());
    // The server did apply it, and the client is back on another connection.
    assert!(direct.exists("/two"));
    until("the client is back", || through.create("/three", b"", Mode::Persistent).is_ok() || direct.exists("/three"));
    assert_eq!(proxy.counts().cuts, 1);
    assert_eq!(proxy.counts().connections, 2);
}

#[test]
fn a_proxy_loses_exactly_one_request() {
    let server = shared_server();
    let connect = server.chroot("lost-request");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    let trap = proxy.trap().path("/two").lose_request();
    through.create("/one", b"", Mode::Persistent).unwrap();
    assert!(through.create("/two", b"", Mode::Persistent).is_err());
    assert!(trap.sprung());
    assert_eq!(Witness::connect(&connect).children("/").unwrap(), ["one"]);
    assert_eq!(proxy.counts().cuts, 1);
}

#[test]
fn a_cut_after_the_reply_loses_nothing_but_the_connection() {
    let server = shared_server();
    let connect = server.chroot("after-reply");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    let trap = proxy.trap().creates().cut(Moment::AfterReply);
    through.create("/one", b"", Mode::Persistent).unwrap();
    trap.wait();
    until("the connection is cut", || proxy.counts().cuts == 1);
}

#[test]
fn a_held_reply_waits_for_its_release() {
    let server = shared_server();
    let connect = server.chroot("held-reply");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    let direct = Witness::connect(&connect);
    let trap = proxy.trap().creates().hold_reply();
    std::thread::scope(|scope| {
        let create = scope.spawn(|| through.create("/one", b"", Mode::Persistent));
        trap.wait();
        direct.until_exists("/one");
        assert!(!create.is_finished());
        trap.release();
        create.join().unwrap().unwrap();
    });
    assert_eq!(proxy.counts().cuts, 0);
}

#[test]
fn a_proxy_sees_what_a_request_asks_for() {
    let server = shared_server();
    let connect = server.chroot("requests");
    let chroot = &connect[connect.find('/').unwrap()..];
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    let (requests, _) = proxy.requests_of(|| {
        through.create("/a", b"", Mode::Persistent).unwrap();
        through.get("/a").unwrap();
        through.multi(|m| {
            m.add_create(
                "/b",
                b"b",
                &zookeeper_client::CreateMode::Persistent.with_acls(zookeeper_client::Acls::anyone_all()),
            )?;
            m.add_set_data("/a", b"a", None)?;
            m.add_check_version("/a", 1)?;
            m.add_delete("/b", None)
        })
    });
    let seen: Vec<_> = requests.iter().map(|r| (r.op, r.paths.join(" ").replace(chroot, ""))).collect();
    let expected = [(Op::Create2, "/a"), (Op::GetData, "/a"), (Op::Multi, "/b /a /a /b")];
    assert_eq!(seen, expected.map(|(op, paths)| (op, paths.to_owned())));
    assert!(requests.iter().all(|request| request.connection == 1 && request.xid > 0));
    assert_eq!(proxy.requests()[0].op, Op::Connect);
    assert_eq!(proxy.sessions(), [through.session_id()]);
}

#[test]
fn a_stalled_direction_is_late_and_loses_nothing() {
    let server = shared_server();
    let connect = server.chroot("stalled");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    let direct = Witness::connect(&connect);
    for direction in Direction::BOTH {
        let path = format!("/{direction:?}");
        proxy.stall(direction);
        std::thread::scope(|scope| {
            let create = scope.spawn(|| through.create(&path, b"", Mode::Persistent));
            // Replies are stalled: the server has it. Requests are stalled: the proxy has it, and the server does not.
            match direction {
                Direction::ToClient => direct.until_exists(&path),
                Direction::ToServer => {
                    std::thread::sleep(Duration::from_millis(100));
                    assert!(!direct.exists(&path));
                }
            }
            assert!(!create.is_finished());
            proxy.flow();
            create.join().unwrap().unwrap();
        });
    }
    let began = Instant::now();
    proxy.delay(Direction::ToClient, Duration::from_millis(150));
    through.get("/").unwrap();
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[test]
fn a_refusing_proxy_refuses_and_accepts_again() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    for _ in 0..3 {
        proxy.refuse();
        until("connections are refused", || TcpStream::connect(proxy.address()).is_err());
        proxy.accept();
        TcpStream::connect(proxy.address()).unwrap();
    }
}

#[test]
fn a_storm_cuts_often_and_leaves_a_wire_that_works() {
    let server = shared_server();
    let connect = server.chroot("storm");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    proxy.storm(7, 3);
    let mut acknowledged = Vec::new();
    for n in 0..40 {
        let name = format!("{n:02}");
        if through.create(&format!("/{name}"), b"", Mode::Persistent).is_ok() {
            acknowledged.push(name);
        }
    }
    proxy.calm();
    assert!(proxy.counts().cuts >= 3, "{:?}", proxy.counts());
    let there = Witness::connect(&connect).children("/").unwrap();
    assert!(acknowledged.iter().all(|name| there.contains(name)), "{acknowledged:?} {there:?}");
    until("the client is back", || through.get("/").is_ok());
}

#[test]
fn expired_sessions_are_gone_with_their_ephemerals() {
    let server = shared_server();
    let connect = server.chroot("expired");
    let proxy = Proxy::to(server);
    let through = Witness::connect(&proxy.instead_of(&connect));
    through.create("/e", b"", Mode::Ephemeral).unwrap();
    assert!(server.sessions().contains(&through.session_id()));
    proxy.expire_sessions();
    assert!(!Witness::connect(&connect).exists("/e"));
    assert!(!server.sessions().contains(&through.session_id()));
    until("the client knows", || matches!(through.get("/"), Err(Error::SessionExpired)));
}

#[test]
fn a_recorder_sees_each_change_and_can_say_that_there_was_none() {
    let server = shared_server();
    let connect = server.chroot("recorded");
    let (watching, acting) = (Witness::connect(&connect), Witness::connect(&connect));
    let recorder = watching.record("/");
    assert!(recorder.settle().is_empty());
    acting.create("/a", b"1", Mode::Persistent).unwrap();
    acting.set("/a", b"2", None).unwrap();
    assert_eq!(recorder.kinds("/a"), [Kind::Created, Kind::Changed]);
    assert_eq!(recorder.of("/a")[1].found, Some((b"2".to_vec(), 1)));
    recorder.clear();
    acting.create("/a/b", b"", Mode::Persistent).unwrap();
    acting.delete("/a/b", None).unwrap();
    assert_eq!(recorder.kinds("/a/b"), [Kind::Created, Kind::Deleted]);
    recorder.wait_for("/a/b goes", |event| event.kind == Kind::Deleted);
}

#[test]
fn a_recorder_goes_on_after_a_restart_of_the_server() {
    let server = Server::boot();
    let witness = Witness::connect(&server.address());
    let recorder = witness.record("/");
    server.kill9();
    server.restart();
    recorder.wait_for("the recorder is back", |event| event.kind == Kind::Gap);
    Witness::connect(&server.address()).create("/a", b"", Mode::Persistent).unwrap();
    assert_eq!(recorder.kinds("/a"), [Kind::Created]);
}

#[test]
fn a_witness_makes_and_removes_whole_trees() {
    let witness = Witness::connect(&shared_server().chroot("trees"));
    witness.ensure("/a/b");
    witness.fill((0..1200).map(|n| (format!("/a/b/{n:04}"), vec![b'x'; 1000])));
    assert_eq!(witness.children("/a/b").unwrap().len(), 1200);
    assert_eq!(witness.tree("/a").len(), 1202);
    let made = witness.create("/a/s-", b"", Mode::EphemeralSequential).unwrap();
    assert_eq!(made.path, "/a/s-0000000001");
    witness.delete_tree("/");
    assert!(witness.children("/").unwrap().is_empty());
}

#[test]
fn a_detached_witness_leaves_its_session_to_time_out() {
    let server = shared_server();
    let connect = server.chroot("detached");
    let direct = Witness::connect(&connect);
    let crashed = Witness::options(&connect).session_timeout(Duration::from_secs(3)).detached().connect();
    crashed.create("/e", b"", Mode::Ephemeral).unwrap();
    let closed = Witness::connect(&connect);
    closed.create("/f", b"", Mode::Ephemeral).unwrap();
    drop(crashed);
    closed.close();
    assert!(!direct.exists("/f"));
    direct.until_gone("/e");
}

#[test]
fn kazoo_reads_what_a_witness_wrote() {
    let connect = shared_server().chroot("kazoo");
    let witness = Witness::connect(&connect);
    witness.create("/a", b"\0\xff", Mode::Persistent).unwrap();
    let printed = kazoo(&connect, "print(zk.get(sys.argv[1])[0])", &["/a"]);
    assert_eq!(printed, "b'\\x00\\xff'\n");
}

#[test]
fn shells_run_in_their_directory_with_their_arguments() {
    let workdir = Workdir::new("shells");
    for shell in Shell::ALL {
        let script = shell.script("echo \"$1-$X\"; pwd; echo oops >&2; exit 3").arg("one").env("X", "two");
        let output = script.dir(workdir.path()).run().exits(3);
        assert_eq!(output.lines(), ["one-two", workdir.path().to_str().unwrap()], "{shell:?}");
        assert_eq!(output.stderr, "oops\n");
        assert_eq!(shell.script("cat; cat").input("in").run().stdout, "in");
        assert_eq!(shell.run("cat").stdout, "");
    }
}

#[test]
fn a_job_that_hangs_is_ended_with_all_it_started() {
    let workdir = Workdir::new("hangs");
    let started = Instant::now();
    let hangs = Shell::Bash.script("sleep 1000 & echo $! > child; echo begun; wait").dir(workdir.path());
    let failure = std::thread::spawn(move || hangs.deadline(Duration::from_secs(1)).run()).join();
    let message = *failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("no end after 1s") && message.contains("begun"), "{message}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let child = std::fs::read_to_string(workdir.path().join("child")).unwrap();
    until("the child is gone", || is_gone(child.trim()));
}

#[test]
fn a_job_can_be_stopped_and_read_while_it_runs() {
    let job = Shell::Dash.script("echo one; sleep 1000").start();
    until("it says one", || job.stdout() == "one\n");
    assert!(job.is_running());
    job.kill9();
    assert_eq!(job.wait().code(), 128 + 9);
}

/// Not a test of its own: the one below runs it in a test process that ends.
#[test]
fn helper_that_leaves_a_process_behind() {
    if std::env::var_os("RIG_LEAVES").is_some() {
        let job = Shell::Bash.script("setsid sleep 1000 & echo $!").start();
        println!("left {}", job.wait().success().text());
    }
}

#[test]
fn what_left_its_process_group_goes_with_the_test_process() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "helper_that_leaves_a_process_behind"]).env("RIG_LEAVES", "1");
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let left = output.split("left ").nth(1).unwrap_or_else(|| panic!("{output}"));
    let pid = left.lines().next().unwrap();
    until("the process is gone", || is_gone(pid));
}

#[test]
fn children_outlive_the_thread_that_started_them() {
    let mut command = Command::new("sleep");
    command.arg("1000");
    let child = std::thread::spawn(move || Process::spawn(command).unwrap()).join().unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(child.status(), None);
}

#[test]
fn a_directory_goes_with_its_owner() {
    let workdir = Workdir::new("gone");
    let path = workdir.path().to_owned();
    std::fs::write(path.join("file"), "x").unwrap();
    drop(workdir);
    assert!(!path.exists());
}

#[test]
fn waiting_in_vain_fails() {
    let failure = std::panic::catch_unwind(|| rig::until_within(Duration::from_millis(20), "never", || false));
    assert!(failure.unwrap_err().downcast::<String>().unwrap().contains("until never"));
}

fn is_gone(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status")).unwrap_or_default();
    status.is_empty() || status.contains("State:\tZ")
}

#[test]
fn a_mount_goes_with_its_owner() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    let mount = Mount::new(&proxy.instead_of(&server.chroot("mount")));
    let (path, pid, session) = (mount.path(), mount.pid(), proxy.sessions()[0]);
    assert!(server.sessions().contains(&session));
    drop(mount);
    assert!(!path.exists());
    assert!(is_gone(&pid.to_string()));
    assert!(!server.sessions().contains(&session));
}

#[test]
fn a_killed_mount_can_be_started_again() {
    let connect = shared_server().chroot("killed");
    let mount = Mount::new(&connect);
    mount.bash("echo 1 > f").success();
    mount.kill9();
    mount.restart();
    assert_eq!(mount.bash("cat f").success().text(), "1");
    assert_eq!(mount.unmount().code(), Some(0));
    mount.restart();
    assert_eq!(mount.end(libc::SIGTERM).code(), Some(0));
}

#[test]
fn a_mount_notices_that_its_daemon_died() {
    let mount = Mount::new("memory:");
    let path = mount.path();
    unsafe { libc::kill(mount.pid(), libc::SIGKILL) };
    until("the daemon is dead", || !mount.is_running());
    let failure = std::thread::spawn(move || mount.bash("ls").success()).join();
    let message = *failure.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("died"), "{message}");
    assert!(!path.exists());
}

#[test]
fn a_frozen_mount_thaws() {
    let mount = Mount::new("memory:");
    let frozen = mount.freeze();
    let job = mount.script(Shell::Bash, "echo 1 > f; cat f").start();
    std::thread::sleep(Duration::from_millis(100));
    assert!(job.is_running());
    frozen.thaw();
    assert_eq!(job.wait().success().text(), "1");
}
