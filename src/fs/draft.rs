//! Sequential znodes: drafts, which are made by their first write, and tags, by which their names are found.
//!
//! `echo job > item-@s` opens, then writes. The znode is made by the write, with the data in it, so that no consumer
//! ever sees an empty one; until then the open file is a draft.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inode::{ANY, Ino};
use crate::mapping::{ZnodePath, Zxid};
use crate::session::CreateMode;

/// An open sequential file that is not made yet.
#[derive(Debug)]
pub struct Draft {
    /// The path without the number.
    pub path: ZnodePath,
    /// How it is to be made.
    pub mode: CreateMode,
    /// The caller's word for it.
    pub tag: Option<String>,
}

/// What a tag names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tagged {
    /// A file that is not made yet.
    Draft(Ino),
    /// A znode; [`ANY`] after a rename of its directory.
    Made(ZnodePath, Zxid),
}

/// Tags that are remembered; the oldest go first. Each is a name that a script chose, so there are few.
const TAGS: usize = 65_536;

type Key = (ZnodePath, String);

#[derive(Debug, Default)]
struct Inner {
    drafts: HashMap<Ino, Arc<Draft>>,
    tags: HashMap<Key, (u64, Tagged)>,
    made: u64,
}

/// The drafts and tags of a mount.
#[derive(Debug, Default)]
pub struct Drafts {
    inner: Mutex<Inner>,
}

impl Drafts {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for the inode of a new draft.
    pub fn number(&self) -> u64 {
        let mut inner = self.inner();
        inner.made += 1;
        inner.made
    }

    /// Adds a draft.
    pub fn insert(&self, ino: Ino, draft: Draft) {
        if let Some(tag) = &draft.tag {
            self.name(&draft.path, tag, Tagged::Draft(ino));
        }
        self.inner().drafts.insert(ino, Arc::new(draft));
    }

    /// The draft of an inode, while it is one.
    pub fn get(&self, ino: Ino) -> Option<Arc<Draft>> {
        self.inner().drafts.get(&ino).cloned()
    }

    /// Ends a draft that was made, or never will be.
    pub fn end(&self, ino: Ino, made: Option<(&ZnodePath, Zxid)>) {
        let Some(draft) = self.inner().drafts.remove(&ino) else { return };
        let Some(tag) = &draft.tag else { return };
        match made {
            Some((path, czxid)) => self.name(&draft.path, tag, Tagged::Made(path.clone(), czxid)),
            None => self.forget(&draft.path, tag, &Tagged::Draft(ino)),
        }
    }

    /// Gives a tag a meaning. `base` is the path without the number.
    pub fn name(&self, base: &ZnodePath, tag: &str, tagged: Tagged) {
        let mut inner = self.inner();
        inner.made += 1;
        let now = inner.made;
        inner.tags.insert((base.clone(), tag.to_owned()), (now, tagged));
        if inner.tags.len() > TAGS {
            // Rare enough to look through all of them.
            let oldest = inner.tags.iter().min_by_key(|(_, (made, _))| *made).map(|(key, _)| key.clone());
            oldest.and_then(|key| inner.tags.remove(&key));
        }
    }

    /// What a tag names.
    pub fn tagged(&self, base: &ZnodePath, tag: &str) -> Option<Tagged> {
        self.inner().tags.get(&(base.clone(), tag.to_owned())).map(|(_, tagged)| tagged.clone())
    }

    /// Ends the tags of a znode that is about to go.
    pub fn forget_made(&self, path: &ZnodePath) {
        self.inner().tags.retain(|_, (_, tagged)| !matches!(tagged, Tagged::Made(made, _) if made == path));
    }

    /// A directory was renamed: what was made or is to be made in it goes with it, and its tags too.
    pub fn renamed(&self, from: &ZnodePath, to: &ZnodePath) {
        let mut inner = self.inner();
        let moved = |path: &ZnodePath| (path != from).then(|| path.rebase(from, to)).flatten();
        for draft in inner.drafts.values_mut() {
            if let Some(path) = moved(&draft.path) {
                *draft = Arc::new(Draft { path, mode: draft.mode, tag: draft.tag.clone() });
            }
        }
        let tagged: Vec<Key> = inner.tags.keys().filter(|(base, _)| moved(base).is_some()).cloned().collect();
        for key in tagged {
            let (Some((made, tagged)), Some(base)) = (inner.tags.remove(&key), moved(&key.0)) else { continue };
            let tagged = match tagged {
                Tagged::Draft(ino) => Tagged::Draft(ino),
                Tagged::Made(path, _) => Tagged::Made(moved(&path).unwrap_or(path), ANY),
            };
            inner.tags.insert((base, key.1), (made, tagged));
        }
    }

    /// Ends a tag, if it still names this.
    pub fn forget(&self, base: &ZnodePath, tag: &str, tagged: &Tagged) {
        let mut inner = self.inner();
        let key = (base.clone(), tag.to_owned());
        if inner.tags.get(&key).is_some_and(|(_, now)| now == tagged) {
            inner.tags.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_from_draft_to_znode() {
        let drafts = Drafts::default();
        let [base, made] = ["/q/n-", "/q/n-0000000001"].map(|text| ZnodePath::parse(text).unwrap());
        let mode = CreateMode::PersistentSequential;
        drafts.insert(Ino(5), Draft { path: base.clone(), mode, tag: Some("t".to_owned()) });
        assert_eq!(drafts.tagged(&base, "t"), Some(Tagged::Draft(Ino(5))));
        drafts.end(Ino(5), Some((&made, Zxid(9))));
        let tagged = Tagged::Made(made, Zxid(9));
        assert_eq!((drafts.tagged(&base, "t"), drafts.get(Ino(5)).is_none()), (Some(tagged.clone()), true));
        drafts.forget(&base, "t", &Tagged::Draft(Ino(5)));
        assert!(drafts.tagged(&base, "t").is_some(), "it names another one by now");
        drafts.forget(&base, "t", &tagged);
        assert_eq!(drafts.tagged(&base, "t"), None);
    }

    #[test]
    fn tags_follow_their_directory() {
        let drafts = Drafts::default();
        let [base, made, dir, new] =
            ["/d/n-", "/d/n-0000000001", "/d", "/e"].map(|text| ZnodePath::parse(text).unwrap());
        drafts.name(&base, "t", Tagged::Made(made.clone(), Zxid(9)));
        let mode = CreateMode::PersistentSequential;
        drafts.insert(Ino(5), Draft { path: base.clone(), mode, tag: Some("u".to_owned()) });
        drafts.renamed(&base, &new);
        assert!(drafts.tagged(&base, "t").is_some(), "only a directory takes them along");
        drafts.renamed(&dir, &new);
        let [there, made] = [base.clone(), made].map(|path| path.rebase(&dir, &new).unwrap());
        assert_eq!(drafts.tagged(&there, "t"), Some(Tagged::Made(made, ANY)));
        assert_eq!(drafts.tagged(&there, "u"), Some(Tagged::Draft(Ino(5))));
        assert_eq!(drafts.get(Ino(5)).unwrap().path, there);
        assert_eq!(drafts.tagged(&base, "t"), None);
    }

    #[test]
    fn a_draft_that_is_never_made_leaves_no_tag() {
        let drafts = Drafts::default();
        let base = ZnodePath::parse("/n-").unwrap();
        drafts
            .insert(Ino(5), Draft { path: base.clone(), mode: CreateMode::EphemeralSequential, tag: Some("t".into()) });
        drafts.end(Ino(5), None);
        assert_eq!(drafts.tagged(&base, "t"), None);
    }
}
