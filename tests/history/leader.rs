//! The leader dies under load, on two mounts.

use std::time::Duration;

use rig::{Job, Mount, Shell, until, until_within};

use crate::battle::Battle;

/// How often the leader is killed.
const DEATHS: usize = 2;

/// Appends numbered lines to a file of all until told to stop. What succeeded is printed, and what did not with its error.
const WRITER: &str = r#"
import errno, os, sys, time
path, stop, name = sys.argv[1:4]
number = 0
while not os.path.exists(stop):
    number += 1
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(fd, f"{name}.{number}\n".encode())
        finally:
            os.close(fd)
        print("done", f"{name}.{number}", flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], f"{name}.{number}", flush=True)
    time.sleep(0.02)
"#;

#[test]
fn a_leader_that_dies_loses_nothing_and_doubles_nothing() {
    // Sessions that outlive an election on a busy machine.
    let battle = Battle::with(1, Duration::from_secs(60), Duration::from_secs(20), &[]);
    let stop = battle.beside("stop");
    let mounts = [&battle.mounts[0], &battle.mounts[1]];
    mounts[0].bash("touch log lock; mkdir l").success();
    // What lives as long as its session, and as long as its holder.
    mounts[0].bash("echo a > l/a@e").success();
    mounts[1].bash("echo b > l/b@e").success();
    let holder = mounts[0].script(Shell::Bash, "exec flock lock sh -c 'echo held; exec sleep 600'").start();
    until("the lock is held", || holder.stdout().contains("held"));
    let waiter = mounts[1].script(Shell::Bash, "exec flock lock echo got it").start();
    let writers: Vec<Job> =
        (0..4).map(|number| writer(mounts[number % 2], &stop.display().to_string(), number)).collect();
    for _ in 0..DEATHS {
        let progress = || writers.iter().all(|writer| writer.stdout().matches("done").count() >= 10);
        until_within(Duration::from_secs(60), "all write", progress);
        let before: Vec<usize> = writers.iter().map(|writer| writer.stdout().matches("done").count()).collect();
        let leader = battle.ensemble.leader();
        leader.kill9();
        // Two are enough.
        let goes_on = || writers.iter().zip(&before).all(|(w, before)| w.stdout().matches("done").count() > before + 5);
        until_within(Duration::from_secs(60), "all write again", goes_on);
        leader.start();
        battle.ensemble.wait_serving();
    }
    std::fs::write(&stop, "").expect("a file in one's own directory");
    writers.iter().for_each(|writer| drop(writer.wait().success()));
    assert!(holder.is_running() && waiter.is_running(), "the lock is where it was: {}", waiter.stdout());
    assert_eq!(mounts[1].bash("cat l/a l/b").success().stdout, "a\nb\n", "ephemerals live on");
    holder.kill9();
    assert_eq!(waiter.wait().success().stdout, "got it\n");
    let said: Vec<String> = writers.iter().flat_map(|writer| lines(&writer.stdout())).collect();
    let log = lines(&battle.witness().text("/log"));
    let mut failed = 0;
    for line in &said {
        let (told, line) = line.split_once(' ').expect("what was told, and the line");
        let times = log.iter().filter(|other| *other == line).count();
        match told {
            "done" => assert_eq!(times, 1, "{line} was reported"),
            "EIO" | "ETIMEDOUT" => assert!(times <= 1, "{line} may be there"),
            other => panic!("{line}: {other}"),
        }
        failed += usize::from(told != "done");
    }
    println!("{} lines by four writers, {failed} not known, {DEATHS} leaders killed", said.len());
    for mount in mounts {
        assert!(!mount.log().contains("the session is lost"), "the session lives on");
    }
}

fn writer(mount: &Mount, stop: &str, number: usize) -> Job {
    let script = Shell::Bash.script("exec /usr/bin/python3 -c \"$@\"").arg(WRITER).arg(mount.join("log"));
    script.arg(stop).arg(number.to_string()).deadline(Duration::from_secs(300)).start()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
