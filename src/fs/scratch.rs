//! Scratch files: the temporary files of editors and safe-save tools, kept in the daemon's memory.
//!
//! They show in local listings, never reach ZooKeeper, and become one transaction when they are renamed or linked onto a
//! real name. A script that meant to coordinate through such a name would be deceived, so the default patterns hold only names that
//! nobody chooses by hand, and a znode of such a name that exists is always the real one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::mapping::ZnodePath;

/// What vim, Emacs, GLib and LibreOffice name their temporary files. [`Patterns::matches`] adds those that need a look at the
/// characters.
const DEFAULT: [&str; 7] = [".*.sw?", ".*.swpx", "4913", "*~", ".#*", "#*#", ".goutputstream-*"];

/// Names of scratch files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    globs: Vec<String>,
    mktemp: bool,
}

impl Default for Patterns {
    fn default() -> Patterns {
        Patterns { globs: DEFAULT.map(str::to_owned).to_vec(), mktemp: true }
    }
}

impl Patterns {
    /// No scratch files.
    pub fn none() -> Patterns {
        Patterns { globs: Vec::new(), mktemp: false }
    }

    /// Reads an option's value: `none`; patterns by colons, which replace the default; or, with a `+` before, add to it.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Patterns, String> {
        if text == "none" {
            return Ok(Patterns::none());
        }
        let (mut patterns, list) = match text.strip_prefix('+') {
            Some(more) => (Patterns::default(), more),
            None => (Patterns::none(), text),
        };
        for glob in list.split(':') {
            if glob.is_empty() || glob.contains('/') || glob.chars().all(|c| c == '*') {
                return Err(format!(
                    "scratch pattern {glob:?}: name patterns such as *.tmp, by colons, + before to add"
                ));
            }
            patterns.globs.push(glob.to_owned());
        }
        Ok(patterns)
    }

    /// Tells whether a name is that of a scratch file.
    pub fn matches(&self, name: &str) -> bool {
        self.globs.iter().any(|glob| glob_matches(glob.as_bytes(), name.as_bytes())) || self.mktemp && is_mktemp(name)
    }
}

/// `sed??????` of sed -i, and `.NAME.??????` of rsync and others, with six random letters as mktemp(3) makes them. A word of
/// six small letters may be somebody's choice, so one of them is a digit or a capital.
fn is_mktemp(name: &str) -> bool {
    let Some((front, random)) = name.len().checked_sub(6).and_then(|at| name.split_at_checked(at)) else {
        return false;
    };
    let shaped = front == "sed" || front.len() > 2 && front.starts_with('.') && front.ends_with('.');
    let drawn = random.bytes().all(|b| b.is_ascii_alphanumeric())
        && random.bytes().any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    shaped && drawn
}

/// Matches `*` and `?` by bytes, without recursion: on a mismatch the last star takes one more.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if glob.get(g) == Some(&b'*') {
            star = Some((g, n));
            g += 1;
        } else if glob.get(g).is_some_and(|b| *b == b'?' || *b == name[n]) {
            g += 1;
            n += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            g = at + 1;
            n = taken + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

/// One scratch file.
#[derive(Debug, Clone)]
pub struct Scratch {
    /// Number of the file; a new file of the same name has another one.
    pub id: u64,
    /// Its content.
    pub data: Bytes,
    /// Last change.
    pub mtime: SystemTime,
    /// The process that made it; 0 when that is not known.
    pub pid: u32,
}

/// The scratch files of a mount.
#[derive(Debug, Default)]
pub struct ScratchFiles {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    files: HashMap<ZnodePath, Scratch>,
    made: u64,
}

/// All scratch files together hold no more than this, so that a runaway program cannot exhaust the daemon's memory.
const TOTAL_LIMIT: usize = 256 << 20;

impl ScratchFiles {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file at a path.
    pub fn get(&self, path: &ZnodePath) -> Option<Scratch> {
        self.inner().files.get(path).cloned()
    }

    /// Makes an empty file; none when there is one.
    pub fn create(&self, path: &ZnodePath, pid: u32) -> Option<Scratch> {
        let mut inner = self.inner();
        if inner.files.contains_key(path) {
            return None;
        }
        inner.made += 1;
        let scratch = Scratch { id: inner.made, data: Bytes::new(), mtime: SystemTime::now(), pid };
        inner.files.insert(path.clone(), scratch.clone());
        Some(scratch)
    }

    /// Replaces the content by what `edit` makes of it, if the file is still there; false when all files together
    /// would be too large.
    pub fn edit(&self, path: &ZnodePath, id: u64, edit: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
        let mut inner = self.inner();
        let others: usize =
            inner.files.iter().filter(|(other, _)| *other != path).map(|(_, file)| file.data.len()).sum();
        let Some(file) = inner.files.get_mut(path).filter(|file| file.id == id) else { return true };
        let data = edit(&file.data);
        if others + data.len() > TOTAL_LIMIT {
            return false;
        }
        file.data = data.into();
        file.mtime = SystemTime::now();
        true
    }

    /// Removes and gives the file.
    pub fn remove(&self, path: &ZnodePath) -> Option<Scratch> {
        self.inner().files.remove(path)
    }

    /// Renames a file, onto another one if there is one.
    pub fn rename(&self, from: &ZnodePath, to: &ZnodePath) -> bool {
        let mut inner = self.inner();
        let Some(file) = inner.files.remove(from) else { return false };
        inner.files.insert(to.clone(), file);
        true
    }

    /// The names of the scratch files in a directory.
    pub fn list(&self, dir: &ZnodePath) -> Vec<(String, Scratch)> {
        let inner = self.inner();
        let here = inner.files.iter().filter(|(path, _)| path.parent().as_ref() == Some(dir));
        here.map(|(path, file)| (path.name().to_owned(), file.clone())).collect()
    }

    /// Tells whether the process has just made a backup of this file: vim writes `NAME~`, then NAME piece by piece.
    pub fn has_backup_by(&self, path: &ZnodePath, pid: u32) -> bool {
        let Some(dir) = path.parent() else { return false };
        let backup = dir.join_raw(&format!("{}~", path.name()));
        pid != 0 && self.inner().files.get(&backup).is_some_and(|file| file.pid == pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_knows_the_tools_and_spares_people() {
        let patterns = Patterns::default();
        for name in [
            ".f.swp",
            ".f.swo",
            ".f.swpx",
            "4913",
            "f~",
            ".#f",
            "#f#",
            ".goutputstream-AB12CD",
            "sedAbC123",
            ".f.txt.x1Y2z3",
        ] {
            assert!(patterns.matches(name), "{name}");
        }
        for name in
            ["f", "f.tmp", ".f", "sedation", "sedatings", ".a.backup", ".lock.foobar", "49130", "", "sed", ".f.x1Y2z34"]
        {
            assert!(!patterns.matches(name), "{name}");
        }
    }

    #[test]
    fn patterns_are_added_replaced_and_ended() {
        let more = Patterns::parse("+*.tmp:x?z").unwrap();
        assert!(more.matches("a.tmp") && more.matches("xyz") && more.matches("4913"));
        let other = Patterns::parse("*.tmp").unwrap();
        assert!(other.matches("a.tmp") && !other.matches("4913") && !other.matches("sedAbC123"));
        assert!(!Patterns::parse("none").unwrap().matches("4913"));
        for bad in ["", "+", "*", "a/b", "+*.tmp:"] {
            assert!(Patterns::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn globs() {
        for (glob, name, expected) in [
            ("*a*b", "xaybzb", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*.tmp", ".tmp", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(glob_matches(glob.as_bytes(), name.as_bytes()), expected, "{glob} {name}");
        }
    }

    #[test]
    fn files_are_made_edited_and_moved() {
        let files = ScratchFiles::default();
        let [one, two] = ["/d/4913", "/d/f~"].map(|text| ZnodePath::parse(text).unwrap());
        let made = files.create(&one, 7).unwrap();
        assert!(files.create(&one, 7).is_none());
        assert!(files.edit(&one, made.id, |old| [old, b"x"].concat()));
        assert!(files.edit(&one, made.id + 1, |_| b"another's".to_vec()));
        assert_eq!(&*files.get(&one).unwrap().data, b"x");
        assert!(files.rename(&one, &two));
        assert!(files.has_backup_by(&ZnodePath::parse("/d/f").unwrap(), 7));
        assert!(!files.has_backup_by(&ZnodePath::parse("/d/f").unwrap(), 8));
        assert_eq!(files.list(&ZnodePath::parse("/d").unwrap())[0].0, "f~");
        assert!(files.remove(&two).is_some() && files.get(&two).is_none());
    }
}
