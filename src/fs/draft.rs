//! Sequential znodes: drafts, which are made by their first write, and tags, by which their names are found.
//!
//! `echo job > item-@s` opens, then writes. The znode is made by the write, with the data in it, so that no consumer
//! ever sees an empty one; until then the open file is a draft.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inode::Ino;
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
    /// A znode.
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
    fn a_draft_that_is_never_made_leaves_no_tag() {
        let drafts = Drafts::default();
        let base = ZnodePath::parse("/n-").unwrap();
        drafts
            .insert(Ino(5), Draft { path: base.clone(), mode: CreateMode::EphemeralSequential, tag: Some("t".into()) });
        drafts.end(Ino(5), None);
        assert_eq!(drafts.tagged(&base, "t"), None);
    }
}
