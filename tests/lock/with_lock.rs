//! `scripts/recipes/with-lock`, in both shells that run as `sh`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rig::{Mount, Proxy, Script, Shell, shared_server, until};

use crate::place::{Place, hold, until_says};

fn with_lock() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recipes/with-lock")
}

/// `with-lock ARGUMENTS`, which may be quoted, run by `shell`.
fn run(mount: &Mount, shell: Shell, arguments: &str) -> Script {
    mount.script(Shell::Bash, &format!("exec {} \"$1\" {arguments}", shell.name())).arg(with_lock())
}

#[test]
fn a_command_runs_under_the_lock_with_its_token_and_status() {
    // > `with-lock LOCK COMMAND` runs a command under a lock, tells it the path and the fencing token, and passes its status on.
    let place = Place::new("withlock");
    for shell in [Shell::Dash, Shell::Bash] {
        let body = "'flock -n f true || echo busy; cat f@lock; echo \"$ZK_LOCK_PATH $ZK_LOCK_TOKEN\"; read -r x; echo \"$x\"; exit 7'";
        let output = run(&place.a, shell, &format!("f sh -c {body}")).input("input\n").run().exits(7);
        let lines = output.lines();
        assert_eq!(lines.len(), 4, "{output:?}");
        assert_eq!((lines[0], lines[3]), ("busy", "input"));
        let token = lines[2].strip_prefix("f 0x").expect("path and token");
        assert!(lines[1].contains(&format!(" token=0x{token} ")), "{output:?}");
        place.until_queue("/.f.lock", 0);
        // A directory, for which flock alone would do nothing; and a file that is made.
        let script = "d sh -c 'flock -n d/@lock true || echo \"$ZK_LOCK_PATH\"'";
        assert_eq!(run(&place.a, shell, script).run().success().text(), "d/@lock");
        run(&place.b, shell, &format!("-s new-{} true", shell.name())).run().success();
    }
}

#[test]
fn a_busy_lock_is_refused_with_the_code_that_was_asked_for() {
    let place = Place::new("withlockbusy");
    let _holder = hold(&place.a, "f");
    for shell in [Shell::Dash, Shell::Bash] {
        run(&place.b, shell, "-n f echo never").run().exits(1);
        run(&place.b, shell, "-n -E 9 f echo never").run().exits(9);
        let output = run(&place.b, shell, "-w 1 f echo never").run().exits(1);
        assert!(output.took >= Duration::from_secs(1));
        place.until_queue("/.f.lock", 1);
        let waiter = run(&place.b, shell, "f echo never").start();
        place.until_queue("/.f.lock", 2);
        waiter.signal_shell(libc::SIGTERM);
        waiter.wait().exits(143);
        place.until_queue("/.f.lock", 1);
        run(&place.b, shell, "f").run().exits(64);
        run(&place.b, shell, "/etc/hostname true").run().exits(66);
        run(&place.b, shell, "no/such/file true").run().exits(66);
    }
}

#[test]
fn readers_get_their_own_tokens() {
    let place = Place::new("withlockshared");
    let command = "-s f sh -c 'echo \"token=$ZK_LOCK_TOKEN \"; exec sleep 60'";
    let jobs = [0, 1].map(|_| {
        let job = run(&place.a, Shell::Dash, command).start();
        until_says(&job, "token=");
        job
    });
    let view = place.b.bash("cat f@lock").success();
    for (job, line) in jobs.iter().zip(view.lines()) {
        assert!(line.contains(job.stdout().trim_end()), "{line} {}", job.stdout());
        // The command has a session of its own, where the end of the job does not reach it.
        job.signal_shell(libc::SIGTERM);
        job.wait().exits(143);
    }
}

#[test]
fn a_signal_goes_to_the_command() {
    let place = Place::new("withlocksignal");
    for shell in [Shell::Dash, Shell::Bash] {
        for (signal, name) in [(libc::SIGINT, "INT"), (libc::SIGTERM, "TERM")] {
            let command =
                format!("f sh -c 'trap \"echo got {name}; exit 9\" {name}; echo ready; while :; do sleep 0.05; done'");
            let job = run(&place.a, shell, &command).start();
            until_says(&job, "ready");
            job.signal_shell(signal);
            assert_eq!(job.wait().exits(9).text(), format!("ready\ngot {name}"));
            place.until_queue("/.f.lock", 0);
        }
    }
}

#[test]
fn when_the_lock_is_lost_the_whole_group_is_stopped() {
    // > When the lock is lost, `with-lock` stops the command and all that it has started, says so, and exits with 75.
    for (shell, body, words) in [
        (Shell::Dash, "sleep 611 & echo $! ready; wait", "is lost; stopping"),
        // Deaf to TERM: it is killed.
        (Shell::Bash, "trap \"\" TERM; sleep 612 & echo $! ready; while :; do sleep 0.1; done", "killing it"),
    ] {
        let connect = shared_server().chroot("withlocklost");
        let proxy = Proxy::to(shared_server());
        let place = Place::on(&proxy.instead_of(&connect), &connect, &connect);
        let job = run(&place.a, shell, &format!("f sh -c '{body}'"))
            .env("WITH_LOCK_PERIOD", "0.1")
            .env("WITH_LOCK_GRACE", "1")
            .start();
        until_says(&job, "ready");
        let child = job.stdout().split(' ').next().unwrap().to_owned();
        proxy.expire_sessions();
        let output = job.wait().exits(75);
        assert!(output.stderr.contains(words), "{output:?}");
        let gone = || !Path::new(&format!("/proc/{child}")).exists() || is_zombie(&child);
        until("what the command started is gone", gone);
        place.b.bash("flock -w 20 f true").success();
    }
}

fn is_zombie(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn the_lock_lives_on_when_with_lock_is_killed_and_the_command_is_not() {
    let place = Place::new("withlockkilled");
    let job = run(&place.a, Shell::Dash, "f sh -c 'echo $$ ready; exec sleep 60'").start();
    until_says(&job, "ready");
    let command = job.stdout().split(' ').next().unwrap().to_owned();
    job.signal_shell(libc::SIGKILL);
    until("with-lock is gone", || !job.is_running());
    place.b.bash("flock -n f true").exits(1);
    Shell::Bash.script("kill -9 $1").arg(command).run().success();
    place.b.bash("flock -w 20 f true").success();
}
