use std::collections::BTreeMap;

use crate::operation::{Mode, Operation};

/// What a tree shows: each path with the text of a file, or nothing for a directory.
pub type Shown = BTreeMap<String, Option<String>>;

/// A znode as far as its kind depends on it.
#[derive(Clone, Debug, Default)]
struct Znode {
    data: String,
    /// It was set since it was made.
    set: bool,
    /// It has had a child.
    parent: bool,
}

/// The tree as it should be.
#[derive(Debug, Default)]
pub struct Reference {
    znodes: BTreeMap<String, Znode>,
}

impl Reference {
    /// Does the operation, and tells whether it is to succeed.
    pub fn apply(&mut self, operation: &Operation) -> bool {
        match operation {
            Operation::Write(at, text) => self.is_file(at) && self.set(at, text) || self.make_file(at, text),
            Operation::Append(at, text) => {
                let old = self.znodes.get(at).map(|znode| znode.data.clone()).unwrap_or_default();
                self.is_file(at) && self.set(at, &(old + text)) || self.make_file(at, text)
            }
            Operation::Create(at) => self.make_file(at, ""),
            Operation::Resize(at, size) => {
                if !self.is_file(at) {
                    return false;
                }
                let mut text = self.znodes[at].data.clone();
                let same = text.len() == *size;
                text.truncate(*size);
                text += &"\0".repeat(size - text.len());
                same || self.set(at, &text)
            }
            Operation::Mkdir(at) => self.make(at, Znode::default()),
            Operation::Rmdir(at) => self.is_dir(at) && self.remove(at),
            Operation::Unlink(at) => self.is_file(at) && self.remove(at),
            Operation::Link(from, to) => {
                self.is_file(from) && {
                    let text = self.znodes[from].data.clone();
                    self.make_file(to, &text)
                }
            }
            Operation::Rename(from, to, mode) => self.rename(from, to, *mode),
            Operation::ForeignCreate(at, text) => {
                self.make_below_any(at, Znode { data: text.clone(), ..Znode::default() })
            }
            Operation::ForeignSet(at, text) => self.set(at, text),
            Operation::ForeignDelete(at) => self.remove(at),
        }
    }

    /// What is to be seen.
    pub fn tree(&self) -> Shown {
        let shown = |(at, znode): (&String, &Znode)| (at.clone(), self.is_file(at).then(|| znode.data.clone()));
        self.znodes.iter().map(shown).collect()
    }

    fn below(&self, at: &str) -> Vec<String> {
        let prefix = format!("{at}/");
        self.znodes.keys().filter(|path| path.starts_with(&prefix)).cloned().collect()
    }

    fn is_dir(&self, at: &str) -> bool {
        self.znodes.get(at).is_some_and(|znode| znode.parent || znode.data.is_empty() && !znode.set)
    }

    fn is_file(&self, at: &str) -> bool {
        self.znodes.contains_key(at) && !self.is_dir(at)
    }

    fn set(&mut self, at: &str, text: &str) -> bool {
        let Some(znode) = self.znodes.get_mut(at) else { return false };
        (znode.data, znode.set) = (text.to_owned(), true);
        true
    }

    /// A file can only be made in a directory; another client may make a child of any znode.
    fn make(&mut self, at: &str, znode: Znode) -> bool {
        let dir = at.rsplit_once('/').map(|(dir, _)| dir.to_owned());
        dir.is_none_or(|dir| self.is_dir(&dir)) && self.make_below_any(at, znode)
    }

    fn make_below_any(&mut self, at: &str, znode: Znode) -> bool {
        if self.znodes.contains_key(at) {
            return false;
        }
        if let Some((dir, _)) = at.rsplit_once('/') {
            let Some(parent) = self.znodes.get_mut(dir) else { return false };
            parent.parent = true;
        }
        self.znodes.insert(at.to_owned(), znode);
        true
    }

    fn make_file(&mut self, at: &str, text: &str) -> bool {
        self.make(at, Znode { data: text.to_owned(), set: true, parent: false })
    }

    fn remove(&mut self, at: &str) -> bool {
        self.below(at).is_empty() && self.znodes.remove(at).is_some()
    }

    fn rename(&mut self, from: &str, to: &str, mode: Mode) -> bool {
        let parent_is_dir = to.rsplit_once('/').is_none_or(|(dir, _)| self.is_dir(dir));
        let source_is_dir = self.is_dir(from);
        let (source, target) = (self.znodes.contains_key(from), self.znodes.contains_key(to));
        let inside = |path: &str, dir: &str| path.starts_with(&format!("{dir}/"));
        if !source || !parent_is_dir || inside(to, from) {
            return false;
        }
        match mode {
            Mode::NoReplace if target => return false,
            Mode::Exchange if !target => return false,
            _ => {}
        }
        if from == to {
            return true;
        }
        if inside(from, to) {
            return false;
        }
        if mode == Mode::Exchange {
            let (one, other) = (self.take(from), self.take(to));
            self.put(to, one);
            self.put(from, other);
            return true;
        }
        match (source_is_dir, target) {
            (_, false) => {}
            (true, true) if !self.is_dir(to) || !self.below(to).is_empty() => return false,
            (false, true) if self.is_dir(to) => return false,
            (true, true) => {
                self.znodes.remove(to);
            }
            (false, true) => {
                let text = self.take(from).remove("").unwrap_or_default().data;
                return self.set(to, &text);
            }
        }
        let moved = self.take(from);
        self.put(to, moved);
        true
    }

    /// Takes a znode and all below it out, by their paths below it.
    fn take(&mut self, at: &str) -> BTreeMap<String, Znode> {
        let mut paths = self.below(at);
        paths.push(at.to_owned());
        let kinds: Vec<bool> = paths.iter().map(|path| self.is_dir(path)).collect();
        let mut taken = BTreeMap::new();
        for (path, is_dir) in paths.into_iter().zip(kinds) {
            // It is made anew, as the same kind.
            let data = self.znodes.remove(&path).unwrap_or_default().data;
            let parent = is_dir && !data.is_empty();
            taken.insert(path[at.len()..].to_owned(), Znode { data, set: !is_dir, parent });
        }
        taken
    }

    fn put(&mut self, at: &str, znodes: BTreeMap<String, Znode>) {
        if let Some((dir, _)) = at.rsplit_once('/')
            && let Some(parent) = self.znodes.get_mut(dir)
        {
            parent.parent = true;
        }
        for (below, znode) in znodes {
            self.znodes.insert(format!("{at}{below}"), znode);
        }
        let paths = self.below(at);
        for path in paths {
            if let Some((dir, _)) = path.rsplit_once('/')
                && let Some(parent) = self.znodes.get_mut(dir)
            {
                parent.parent = true;
            }
        }
    }
}
