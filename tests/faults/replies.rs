//! Requests and replies that are lost, one at a time: what the script is told agrees with what ZooKeeper holds.

use rig::{Change, Mode, Output, Shell, number, until};

use crate::place::{Cut, Place, told};

/// A way to make something that somebody else may have made: a script, the znode, and whether that is ephemeral.
struct Way {
    script: &'static str,
    ephemeral: bool,
    /// It is gone when the script has ended.
    held: bool,
}

const WAYS: [Way; 8] = [
    Way { script: "set -o noclobber; echo mine > NAME", ephemeral: false, held: false },
    Way { script: "mkdir NAME", ephemeral: false, held: false },
    Way { script: "set -o noclobber; echo mine > NAME@e", ephemeral: true, held: false },
    Way { script: "set -o noclobber; exec 9> NAME@h && echo mine >&9", ephemeral: true, held: true },
    Way { script: "ln source NAME", ephemeral: false, held: false },
    Way { script: "ln source NAME@e", ephemeral: true, held: false },
    Way { script: "mv -T source NAME@e", ephemeral: true, held: false },
    Way { script: "mv -n -T source NAME && [ ! -e source ]", ephemeral: false, held: false },
];

/// Who else wants the name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rival {
    Nobody,
    /// Has it already.
    Before,
    /// Takes it while the connection is away.
    Meanwhile,
}

fn taken(output: &Output) -> bool {
    told(output, "File exists") || told(output, "cannot overwrite existing file") || told(output, "are the same file")
}

impl Place {
    fn attempt(&self, way: &Way, cut: Cut, rival: Rival, name: &str) {
        self.witness.create("/source", b"mine\n", Mode::Persistent).unwrap();
        let path = format!("/{name}");
        let theirs = || {
            let _ = self.witness.delete(&path, None);
            self.witness.create(&path, b"theirs", Mode::Ephemeral).unwrap();
        };
        if rival == Rival::Before {
            theirs();
        }
        until("the mount has heard", || self.mount.join("source").exists());
        let script = way.script.replace("NAME", name);
        let what = format!("{script}, {cut:?} lost, rival {rival:?}");
        let trap = self.lose(cut, &path, rival == Rival::Meanwhile);
        let job = self.mount.script(Shell::Bash, &script).start();
        if rival == Rival::Meanwhile {
            until("the connection is cut", || trap.sprung());
            theirs();
            self.proxy.accept();
        }
        let output = job.wait();
        // What the kernel knows to be taken is not asked for.
        assert!(trap.sprung() || rival == Rival::Before, "{what}: nothing was cut");
        drop(trap);
        self.judge(way, rival, &path, &output, &what);
        for path in [&path[..], "/source"] {
            let _ = self.witness.delete(path, None);
        }
    }

    fn judge(&self, way: &Way, rival: Rival, path: &str, output: &Output, what: &str) {
        let history = self.history(path);
        let session = self.session();
        let ours = |change: &&(i64, Change)| matches!(change.1, Change::Create { .. }) && change.0 == session;
        let made = history.iter().filter(ours).count();
        let there = self.witness.get(path).ok();
        assert!(made <= 1, "{what}: made more than once: {history:?}");
        // mv looks at its source again before it reports, and that has moved.
        let moved = way.script.starts_with("mv") && told(output, "cannot stat 'source': No such file");
        let unknown = told(output, "Input/output error") || moved;
        if rival == Rival::Nobody {
            assert!(!taken(output), "{what}: taken, and nobody else was there: {output:?}");
        } else {
            // Whoever came first or last: it is theirs, and never touched.
            assert_ne!(output.code(), 0, "{what}: a success, and it is somebody else's");
            let (data, stat) = there.clone().expect("theirs");
            assert_eq!((&data[..], stat.version), (&b"theirs"[..], 0), "{what}");
            return;
        }
        if output.code() != 0 {
            if way.ephemeral {
                until(&format!("{what}: what was reported as failed is gone"), || !self.witness.exists(path));
            } else {
                assert!(unknown, "{what}: {output:?}");
            }
            return;
        }
        assert_eq!(made, 1, "{what}: a success, and not made: {history:?}");
        if way.held {
            until(&format!("{what}: nobody holds it"), || !self.witness.exists(path));
            return;
        }
        let (data, stat) = there.unwrap_or_else(|| panic!("{what}: a success, and not there"));
        assert_eq!(stat.ephemeral_owner == session, way.ephemeral, "{what}");
        assert!(data == b"mine\n" || way.script.starts_with("mkdir"), "{what}: {data:?}");
    }
}

fn attempts(name: &str, rival: Rival) {
    let place = Place::new(name);
    let mut count = 0;
    for _ in 0..number("FAULT_ROUNDS", 1) {
        for way in &WAYS {
            for cut in Cut::BOTH {
                count += 1;
                place.attempt(way, cut, rival, &format!("n{count}"));
            }
        }
    }
}

#[test]
fn a_create_that_is_cut_is_ours_or_an_error_and_never_taken() {
    attempts("alone", Rival::Nobody);
}

#[test]
fn a_name_that_is_taken_is_never_ours_when_the_answer_is_lost() {
    attempts("before", Rival::Before);
}

#[test]
fn a_name_that_is_taken_while_we_are_away_is_theirs() {
    attempts("meanwhile", Rival::Meanwhile);
}
