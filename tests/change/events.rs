//! `@events`: streams of changes for scripts.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rig::{Mode, Mount, Shell, Witness, kazoo, number, shared_server, until};

use crate::helper::{directory, file, set};
use crate::storm::{Quota, by_client};

fn mounted(name: &str) -> (Mount, Witness, String) {
    let connect = shared_server().chroot(name);
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    (Mount::new(&connect), witness, connect)
}

// > `DIR/@events` and `NAME@events` give one line a change: `create`, `modify` or `delete` with a path relative to it, `session connected`, `session suspended` or `session lost`, and `resync`.
#[test]
fn a_shell_reads_one_line_a_change() {
    let (mount, witness, connect) = mounted("lines");
    let script = "exec < d/@events; echo opened; while read -r event path; do echo \"$event $path\"; [ \"$path\" = end ] && break; done";
    for shell in Shell::ALL {
        let job = mount.script(shell, script).start();
        until("the stream is open", || job.stdout().starts_with("opened\n"));
        file(&witness, "/d/f", "1");
        set(&witness, "/d/f", "2");
        kazoo(
            &connect,
            "zk.create('/d/sub'); zk.create('/d/sub/a@e', b'1'); zk.delete('/d/sub/a@e'); zk.delete('/d/sub')",
            &[],
        );
        set(&witness, "/d", "own");
        witness.delete("/d/f", None).unwrap();
        file(&witness, "/other", "elsewhere");
        file(&witness, "/d/end", "");
        let output = job.wait().success();
        let expected = [
            "opened",
            "create f",
            "modify f",
            "create sub",
            "create sub/a@@e",
            "delete sub/a@@e",
            "delete sub",
            "modify .",
            "delete f",
            "create end",
        ];
        assert_eq!(output.lines(), expected, "{shell:?}");
        witness.delete("/d/end", None).unwrap();
        witness.delete("/other", None).unwrap();
    }
}

#[test]
fn the_changes_of_this_mount_are_in_its_streams_too() {
    let (mount, _, _) = mounted("own-events");
    let job = mount.script(Shell::Bash, "exec < d/f@events; echo opened; exec cat");
    mount.bash("echo 1 > d/f").success();
    let job = job.start();
    until("the stream is open", || job.stdout().starts_with("opened\n"));
    mount.bash("echo 2 > d/f; rm d/f").success();
    until("its lines", || job.stdout() == "opened\nmodify .\ndelete .\n");
}

// > A stream begins with its open, so who opens it, looks, and then reads misses nothing.
#[test]
fn opened_then_looked_then_read_misses_nothing() {
    let (mount, witness, connect) = mounted("nothing-missed");
    // Writers that are faster than the shell, all the time, on few names: what was seen when it looked, and the last line of
    // each name since, are what is there.
    let reader = r#"
        exec < d/@events
        echo opened
        ls -1 d | sed 's/^/seen /'
        while read -r event path; do
            echo "$event $path"
            [ "$path" = end ] && break
        done
    "#;
    let job = mount.script(Shell::Bash, reader).deadline(Duration::from_secs(300)).start();
    let quota = Quota::of(number("CHANGE_COUNT", 2000));
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (connect, quota) = (&connect, &quota);
            scope.spawn(move || by_client(&Witness::connect(connect), &["/d".to_owned()], seed, quota));
        }
    });
    file(&witness, "/d/end", "");
    let output = job.wait().success();
    let lines = output.lines();
    assert_eq!(lines[0], "opened");
    let mut names = BTreeSet::new();
    for line in &lines[1..] {
        match line.split_once(' ').unwrap() {
            // What is below a name is another one's.
            (_, name) if name.contains('/') => {}
            ("seen" | "create", name) => drop(names.insert(name)),
            ("delete", name) => drop(names.remove(name)),
            ("modify", _) => {}
            _ => panic!("{line}"),
        }
    }
    assert_eq!(names.into_iter().collect::<Vec<_>>(), witness.children("/d").unwrap());
}

// > A reader of a stream that does not keep up gets `resync`: look again.
#[test]
fn a_reader_that_stops_is_told_to_look_again() {
    let (mount, _, connect) = mounted("slow-reader");
    let mut stream = std::fs::File::open(mount.join("d/@events")).unwrap();
    // More than is kept for a reader: each line is of some 250 bytes.
    let name = "n".repeat(240);
    let script = format!(
        "for n in range(2500): a = zk.create_async('/d/{name}%04d' % n, b'x'); b = zk.delete_async('/d/{name}%04d' % n)\nb.get()"
    );
    kazoo(&connect, &script, &[]);
    mount.bash("touch d/end").success();
    let mut told = String::new();
    let mut buffer = [0; 65536];
    until("the last line", || {
        let count = stream.read(&mut buffer).unwrap();
        let part = std::str::from_utf8(&buffer[..count]).unwrap();
        assert!(part.ends_with('\n'), "a read gives whole lines: {part:?}");
        told.push_str(part);
        told.contains("create end\n")
    });
    assert!(told.starts_with("resync\n"), "{}", &told[..100]);
}

// > A signal ends a read of a stream at once, and takes no line with it.
#[test]
fn signals_end_a_reader_at_once() {
    let (mount, _, _) = mounted("signals");
    mount.script(Shell::Bash, "timeout 0.2 cat d/@events").run().exits(124);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        let job = mount.script(Shell::Bash, "exec cat d/@events").start();
        until("cat waits for a line", || {
            std::fs::read_to_string(format!("/proc/{}/wchan", job.pid())).is_ok_and(|place| place.contains("request"))
                || std::fs::read_to_string(format!("/proc/{}/comm", job.pid())).is_ok_and(|name| name.trim() == "cat")
        });
        job.signal(signal);
        assert_eq!(job.wait().code(), 128 + signal);
    }
}

#[test]
fn a_signal_takes_no_line_from_the_next_read() {
    let (mount, witness, _) = mounted("interrupted");
    // The shell reads again after each signal; the line that comes then is whole.
    let script = "trap 'echo trapped' USR1; exec < d/@events; echo opened; until read -r event path; do :; done; echo \"$event $path\"";
    let job = mount.script(Shell::Bash, script).start();
    until("the stream is open", || job.stdout().starts_with("opened\n"));
    for count in 1..=3 {
        // A signal that comes just before the shell reads is noted by it, and looked at after the read: another one ends that.
        until("the trap ran", || {
            job.signal_shell(libc::SIGUSR1);
            job.stdout().matches("trapped").count() >= count
        });
    }
    file(&witness, "/d/after", "1");
    assert!(job.wait().success().stdout.ends_with("create after\n"));
}

// > Streams can be read without blocking, and with poll and select.
#[test]
fn poll_and_non_blocking_reads() {
    let (mount, witness, _) = mounted("poll");
    let script = r"
import os, select, sys
fd = os.open('d/@events', os.O_RDONLY | os.O_NONBLOCK)
try:
    os.read(fd, 100); print('no EAGAIN')
except BlockingIOError:
    print('EAGAIN')
poll = select.poll(); poll.register(fd, select.POLLIN)
print('ready' if poll.poll(0) else 'nothing')
print('opened', flush=True)
ready = poll.poll(20000)
print('POLLIN' if ready and ready[0][1] & select.POLLIN else ready)
print(os.read(fd, 100).decode(), end='')
print('ready' if select.select([fd], [], [], 0)[0] else 'nothing')
sys.stdout.flush()
print('select' if select.select([fd], [], [], 20)[0] else 'late')
print(os.read(fd, 100).decode(), end='')
print('file' if select.select([os.open('d', os.O_RDONLY)], [], [], 0)[0] else 'not')
";
    let job = mount.script(Shell::Bash, "exec /usr/bin/python3 -c \"$1\"").arg(script).start();
    until("it polls", || job.stdout().contains("opened\n"));
    file(&witness, "/d/a", "1");
    until("it selects", || job.stdout().contains("create a\nnothing\n"));
    set(&witness, "/d/a", "2");
    let output = job.wait().success();
    let lines = ["EAGAIN", "nothing", "opened", "POLLIN", "create a", "nothing", "select", "modify a", "file"];
    assert_eq!(output.lines(), lines);
}

#[test]
fn a_stream_ends_with_the_session_and_cannot_be_written() {
    let (mount, _, _) = mounted("ends");
    mount.bash("! echo x > d/@events").success();
    mount.bash("! cat d/none@events; ! ls d | grep -q events").success();
    let stream = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(mount.join("d/@events"));
    drop(stream.unwrap());
    assert!(mount.unmount().success());
}

#[test]
fn the_life_of_the_session_is_in_the_stream() {
    let server = rig::Server::boot();
    let connect = server.chroot("session-lines");
    let witness = Witness::connect(&connect);
    witness.create("/d", b"", Mode::Persistent).unwrap();
    let mount = Mount::options(&connect).args(&["--session-timeout", "20s"]).mount();
    let job = mount.script(Shell::Bash, "exec < d/@events; echo opened; exec cat").start();
    until("the stream is open", || job.stdout().starts_with("opened\n"));
    server.kill9();
    until("the interruption", || job.stdout().contains("session suspended\n"));
    server.restart();
    until("a line to look again", || job.stdout().contains("session connected\nresync\n"));
    until("changes are announced again", || {
        let _ = Witness::options(&connect).session_timeout(Duration::from_secs(10)).connect().create(
            "/d/after",
            b"",
            Mode::Persistent,
        );
        job.stdout().contains("create after\n")
    });
}
