//! Many changes and many watchers: what each believes in the end is true.

use std::fs;

use rig::{Mount, Witness, number, shared_server, until};

use crate::belief::{Belief, shown, told, truth};
use crate::helper::{END, Watch, directory, file, set};
use crate::storm::{Quota, by_client, by_mount};

/// Directories in which changes are made.
const DIRS: usize = 8;

/// A program that watches one file.
struct FileWatch {
    path: String,
    /// The incarnation that it watches.
    czxid: i64,
    watch: Watch,
}

impl FileWatch {
    fn on(mount: &Mount, witness: &Witness, path: &str) -> FileWatch {
        let czxid = witness.stat(path).unwrap().czxid;
        let events = "modify,close_write,attrib,delete_self";
        let watch = Watch::for_events(events, &[&mount.join(path.trim_start_matches('/'))]);
        FileWatch { path: path.to_owned(), czxid, watch }
    }

    fn is_gone(&self) -> bool {
        self.watch.lines().iter().any(|line| line.starts_with("DELETE_SELF"))
    }

    /// What it believes of its file is true: that is there until it was told otherwise, and its changes are told.
    #[track_caller]
    fn check(&self, witness: &Witness) {
        let stat = witness.stat(&self.path).filter(|stat| stat.czxid == self.czxid);
        // A file that became a directory is another inode.
        if stat.is_none_or(|stat| stat.num_children > 0 || stat.cversion > 0) {
            until(&format!("{} was told to be gone", self.path), || self.is_gone());
            return;
        }
        assert!(!self.is_gone(), "{} is there", self.path);
        let before = self.watch.lines().len();
        set(witness, &self.path, "the last value");
        until(&format!("{} was told to be changed", self.path), || {
            self.watch.lines().iter().skip(before).any(|line| line == "MODIFY")
        });
        assert!(!self.is_gone(), "{} is there", self.path);
    }
}

#[test]
fn what_many_watchers_believe_after_many_changes_is_true() {
    let connect = shared_server().chroot("scale");
    let witness = Witness::connect(&connect);
    let dirs: Vec<String> = (0..DIRS).map(|n| format!("/d{n}")).collect();
    for dir in &dirs {
        directory(&witness, dir);
        (0..10).for_each(|n| file(&witness, &format!("{dir}/n{n}"), "the first value"));
        file(&witness, &format!("{dir}/lasts"), "the first value");
    }
    let (mount, other) = Mount::pair(&connect);
    let watchers: usize = number("CHANGE_WATCHERS", 16);
    // One of each directory first, so that all that is believed in is checked.
    let directories: Vec<(&String, Watch)> = (0..watchers.div_ceil(2))
        .map(|n| (&dirs[n % DIRS], Watch::on(&[&mount.join(dirs[n % DIRS].trim_start_matches('/'))])))
        .collect();
    let files: Vec<FileWatch> = (0..watchers / 2)
        .map(|n| {
            let name = if n % 8 == 7 { "lasts".to_owned() } else { format!("n{}", n % 8) };
            FileWatch::on(&mount, &witness, &format!("{}/{name}", dirs[(n + n / 8) % DIRS]))
        })
        .collect();
    let before: Vec<Belief> = directories.iter().map(|(dir, _)| shown(&mount, dir)).collect();

    let quota = Quota::of(number("CHANGE_COUNT", 2000));
    let seed = number("CHANGE_SEED", 1);
    std::thread::scope(|scope| {
        scope.spawn(|| by_client(&Witness::connect(&connect), &dirs, seed, &quota));
        scope.spawn(|| by_client(&witness, &dirs, seed + 1, &quota));
        scope.spawn(|| by_mount(&other, &dirs, seed + 2, &quota));
    });

    for ((dir, watch), before) in directories.iter().zip(before) {
        let lines = watch.until_end_of(&witness, dir, END);
        let belief = told(before, &lines);
        let mut tree = truth(&witness, dir);
        tree.remove(END);
        assert_eq!(belief, tree, "{dir}");
    }
    for dir in &dirs {
        let tree = truth(&witness, dir);
        assert_eq!(shown(&mount, dir), tree, "{dir}");
        assert_eq!(shown(&other, dir), tree, "{dir}");
        for (name, _) in tree.into_iter().filter(|(_, is_dir)| !is_dir) {
            let path = format!("{dir}/{name}");
            let seen = fs::read_to_string(mount.join(path.trim_start_matches('/'))).unwrap();
            assert_eq!(seen, witness.text(&path), "{path}");
        }
    }
    files.iter().for_each(|file| file.check(&witness));
}
