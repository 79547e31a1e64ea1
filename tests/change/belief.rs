//! What a program believes that was told of changes, and nothing else.

use std::collections::BTreeMap;

use rig::{Mount, Witness};

/// The names in a directory that a watcher believes in, and whether each is a directory.
pub type Belief = BTreeMap<String, bool>;

/// What is believed after this was told, lines such as `CREATE,ISDIR name`. Fails on what cannot be.
#[track_caller]
pub fn told(mut belief: Belief, lines: &[String]) -> Belief {
    for line in lines {
        assert!(!line.contains("Q_OVERFLOW"), "the watcher is too slow for the kernel");
        let Some((event, name)) = line.split_once(' ') else { continue };
        let is_dir = event.contains("ISDIR");
        match event.split(',').next() {
            Some("CREATE") => {
                let before = belief.insert(name.to_owned(), is_dir);
                assert_eq!(before, None, "{name} was told twice to be there: {}", of(name, lines));
            }
            Some("DELETE") => {
                let before = belief.remove(name);
                assert_eq!(before, Some(is_dir), "{name} was told to be gone: {}", of(name, lines));
            }
            _ => {}
        }
    }
    belief
}

/// All that was told of a name, in one line.
pub fn of(name: &str, lines: &[String]) -> String {
    let name = format!(" {name}");
    let events: Vec<&str> = lines.iter().filter_map(|line| line.strip_suffix(name.as_str())).collect();
    events.join(" ")
}

/// What is true of a directory: ZooKeeper has the names, and its own rules say what is a directory.
#[track_caller]
pub fn truth(witness: &Witness, dir: &str) -> Belief {
    let names = witness.children(dir).unwrap().into_iter();
    let kinds = names.map(|name| {
        let stat = witness.stat(&format!("{dir}/{name}")).expect("nobody changes anything any more");
        let is_new = stat.data_length == 0 && stat.version == 0 && stat.ephemeral_owner == 0;
        (name, stat.num_children > 0 || stat.cversion > 0 || is_new)
    });
    kinds.collect()
}

/// What a mount shows of a directory, to a program that looks at each name.
#[track_caller]
pub fn shown(mount: &Mount, dir: &str) -> Belief {
    let entries = std::fs::read_dir(mount.join(dir.trim_start_matches('/'))).unwrap().map(Result::unwrap);
    let kinds = entries.map(|entry| {
        let is_dir = std::fs::symlink_metadata(entry.path()).unwrap().is_dir();
        assert_eq!(is_dir, entry.file_type().unwrap().is_dir(), "{}", entry.path().display());
        (entry.file_name().into_string().unwrap(), is_dir)
    });
    kinds.collect()
}
