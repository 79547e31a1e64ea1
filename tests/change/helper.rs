use std::collections::BTreeSet;
use std::path::Path;

use rig::{Job, Shell, Witness, until};

/// The events that the tests look at: not those of the opening and closing that come with them.
pub const EVENTS: &str = "create,delete,delete_self,modify,close_write,attrib,moved_from,moved_to";

/// The name whose creation ends a recording.
pub const END: &str = "zz-end";

/// `inotifywait -m` on files or directories.
pub struct Watch {
    job: Job,
}

impl Watch {
    /// Starts to watch. The events are lines such as `CREATE name`.
    #[track_caller]
    pub fn on(paths: &[&Path]) -> Watch {
        Watch::for_events(EVENTS, paths)
    }

    /// Starts to watch for some events.
    #[track_caller]
    pub fn for_events(events: &str, paths: &[&Path]) -> Watch {
        let mut script =
            Shell::Bash.script("events=$1; shift; exec inotifywait -m -e \"$events\" --format '%e %f' \"$@\"");
        script = script.arg(events);
        for path in paths {
            script = script.arg(path);
        }
        let job = script.deadline(std::time::Duration::from_secs(600)).start();
        until("inotifywait watches", || job.stderr().contains("Watches established"));
        Watch { job }
    }

    /// The events so far.
    pub fn lines(&self) -> Vec<String> {
        self.job.stdout().lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Waits for an event.
    #[track_caller]
    pub fn wait_for(&self, line: &str) {
        until(&format!("{line:?} among {:?}", self.lines()), || self.lines().iter().any(|other| other == line));
    }

    /// All events up to the creation of [`END`], which `witness` makes in the directory `dir`.
    #[track_caller]
    pub fn until_end(&self, witness: &Witness, dir: &str) -> Vec<String> {
        self.until_end_of(witness, dir, END)
    }

    /// The same, with an end mark that others may wait for as well.
    #[track_caller]
    pub fn until_end_of(&self, witness: &Witness, dir: &str, name: &str) -> Vec<String> {
        let path = format!("{}/{name}", dir.trim_end_matches('/'));
        match witness.create(&path, b"end", rig::Mode::Persistent) {
            Ok(_) | Err(rig::Error::NodeExists) => {}
            Err(error) => panic!("the end mark {path}: {error}"),
        }
        let last = format!("CREATE {name}");
        self.wait_for(&last);
        let lines = self.lines();
        lines.into_iter().take_while(|line| *line != last).collect()
    }
}

/// A znode's data is set, as a client does that knows nothing of versions.
#[track_caller]
pub fn set(witness: &Witness, path: &str, data: &str) {
    witness.set(path, data.as_bytes(), None).unwrap();
}

/// A znode that is a file, as its data is not empty.
#[track_caller]
pub fn file(witness: &Witness, path: &str, data: &str) {
    witness.create(path, data.as_bytes(), rig::Mode::Persistent).unwrap();
}

/// A znode that is a directory, as it is empty and was never set.
#[track_caller]
pub fn directory(witness: &Witness, path: &str) {
    witness.create(path, b"", rig::Mode::Persistent).unwrap();
}

/// The names that a watcher believes in who knew some before and was told the rest. Fails on what cannot be.
#[track_caller]
pub fn believed(before: BTreeSet<String>, told: &[String]) -> BTreeSet<String> {
    let mut names = before;
    for line in told {
        let Some((event, name)) = line.split_once(' ') else { continue };
        match event.split(',').next() {
            Some("CREATE") => assert!(names.insert(name.to_owned()), "{name} was told twice to be there: {told:?}"),
            Some("DELETE") => assert!(names.remove(name), "{name} was told to be gone and was not there: {told:?}"),
            _ => {}
        }
    }
    names
}
