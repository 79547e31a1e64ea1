//! Programs that watch files, each as people use it.

use std::fs;

use rig::{Job, Mount, Shell, Witness, Workdir, shared_server, until};

use crate::helper::{Watch, directory, file, set};

/// A mount with the file `/d/f`, known to the daemon before anybody watches it.
fn mounted(name: &str) -> (Mount, Witness) {
    let connect = shared_server().chroot(name);
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    file(&witness, "/d/f", "1");
    (Mount::new(&connect), witness)
}

/// Some programs wait for changes to end: entr tells of nothing before 50 ms of silence.
const SILENCE: std::time::Duration = std::time::Duration::from_millis(300);

/// Sets a file to new values until a program has said something about it: programs do not say when they have begun.
#[track_caller]
fn until_told(witness: &Witness, path: &str, job: &Job, said: &str) {
    let mut count = 0;
    until(&format!("{said:?} from a program that watches"), || {
        count += 1;
        set(witness, path, &format!("value {count}\n"));
        std::thread::sleep(SILENCE);
        job.stdout().contains(said)
    });
}

// > When CLOSE_WRITE arrives, reading gives the new bytes.
#[test]
fn after_close_write_reading_gives_the_new_bytes() {
    let (mount, witness) = mounted("close-write");
    let script = "inotifywait -q -m -e close_write --format %f d | while read -r name; do cat \"d/$name\"; done";
    let job = mount.script(Shell::Bash, script).start();
    until_told(&witness, "/d/f", &job, "value ");
    for n in 0..200 {
        let value = format!("<{n}>\n");
        set(&witness, "/d/f", &value);
        until("the new bytes", || {
            let seen = job.stdout();
            let last = seen.lines().last().unwrap_or_default().to_owned();
            // Whatever was read after an event, it was never older than the value before.
            assert!(n == 0 || last == format!("<{}>", n - 1) || last == format!("<{n}>"), "{last} after {n}");
            last == format!("<{n}>")
        });
    }
}

#[test]
fn inotifywait_without_m_ends_with_the_first_change() {
    let (mount, witness) = mounted("once");
    let job = mount.script(Shell::Bash, "exec inotifywait -e close_write d/f").start();
    until("inotifywait watches", || job.stderr().contains("Watches established"));
    set(&witness, "/d/f", "2");
    assert_eq!(job.wait().success().stdout, "d/f CLOSE_WRITE,CLOSE \n");
}

#[test]
fn entr_runs_its_command() {
    let (mount, witness) = mounted("entr");
    let job = mount.script(Shell::Bash, "ls d/f | entr -n -p echo ran").start();
    until_told(&witness, "/d/f", &job, "ran\n");
}

#[test]
fn tail_follows_by_name() {
    let (mount, witness) = mounted("tail");
    let job = mount.script(Shell::Bash, "exec tail -n +1 -F d/f").start();
    until("the first value", || job.stdout() == "1");
    set(&witness, "/d/f", "1\ntwo\n");
    until("what was appended", || job.stdout() == "1\ntwo\n");
    witness.delete("/d/f", None).unwrap();
    until("tail sees that it is gone", || job.stderr().contains("inaccessible"));
    file(&witness, "/d/f", "three\n");
    until("the new file", || job.stdout().ends_with("three\n"));
}

#[test]
fn node_watches_a_directory() {
    let (mount, witness) = mounted("node");
    let script = "require('fs').watch('d', (event, name) => console.log(event, name))";
    let job = mount.script(Shell::Bash, "exec node -e \"$1\"").arg(script).start();
    until_told(&witness, "/d/f", &job, "change f\n");
    file(&witness, "/d/new", "1");
    until("the new name", || job.stdout().contains("rename new\n"));
}

#[test]
fn a_watchdog_observer_watches_a_tree() {
    let (mount, witness) = mounted("watchdog");
    directory(&witness, "/d/sub");
    let script = "
import sys, time
from watchdog.observers import Observer
from watchdog.events import FileSystemEventHandler
class Handler(FileSystemEventHandler):
    def on_any_event(self, event): print(event.event_type, event.src_path, flush=True)
observer = Observer()
observer.schedule(Handler(), 'd', recursive=True)
observer.start()
time.sleep(60)
";
    let job = mount.script(Shell::Bash, "exec /usr/bin/python3 -c \"$1\"").arg(script).start();
    until_told(&witness, "/d/f", &job, "modified d/f\n");
    file(&witness, "/d/sub/deep", "1");
    until("the file below", || job.stdout().contains("created d/sub/deep\n"));
    witness.delete("/d/sub/deep", None).unwrap();
    until("its end", || job.stdout().contains("deleted d/sub/deep\n"));
}

#[test]
fn a_process_substitution_and_a_pipe_read_streams_with_a_timeout() {
    let (mount, witness) = mounted("pipe");
    let script =
        "cat d/@events | while read -r -t 20 event path; do echo \"$event $path\"; [ \"$path\" = f ] && kill 0; done";
    let job = mount.script(Shell::Bash, script).start();
    until_told(&witness, "/d/f", &job, "modify f\n");
}

#[test]
fn what_is_read_after_an_event_is_never_older_than_it() {
    let (mount, witness) = mounted("coherent");
    let watch = Watch::for_events("modify", &[&mount.join("d")]);
    let out = Workdir::new("coherent");
    let seen = out.path().join("seen");
    fs::write(&seen, "").unwrap();
    for n in 1..=100 {
        set(&witness, "/d/f", &n.to_string());
        until("one more event", || watch.lines().len() >= n);
        assert_eq!(fs::read_to_string(mount.join("d/f")).unwrap(), n.to_string());
    }
    assert_eq!(watch.lines().len(), 100);
}
