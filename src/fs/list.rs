//! The state of an open directory.

use std::sync::Arc;

use super::cache::Ticket;
use super::scratch::Scratch;
use crate::mapping::{Stat, ZnodePath};

/// What is known of an entry.
#[derive(Debug, Clone)]
pub enum Item {
    /// A znode.
    Znode(Stat),
    /// A znode whose Stat may not be read.
    Hidden,
    /// A scratch file.
    Scratch(Scratch),
    /// It is gone since the directory was listed, or is not to be shown.
    Gone,
}

/// A listing under way: the names of one moment, and what was found out about a stretch of them.
#[derive(Debug)]
pub struct Listing {
    /// The directory.
    pub path: ZnodePath,
    /// The names; none before the first read.
    pub names: Option<Arc<Vec<String>>>,
    /// The scratch files, which come after the names.
    pub scratch: Vec<(String, Scratch)>,
    /// Where the stretch begins.
    pub start: usize,
    /// The entries of the stretch.
    pub items: Vec<(ZnodePath, Item)>,
    /// When they were asked for; none for those that are kept here.
    pub asked: Option<Ticket>,
}

impl Listing {
    /// Of a directory, before anything is read.
    pub fn new(path: ZnodePath) -> Listing {
        Listing { path, names: None, scratch: Vec::new(), start: 0, items: Vec::new(), asked: None }
    }

    /// The entry at a place, if it is in the stretch that is known.
    pub fn get(&self, index: usize) -> Option<&(ZnodePath, Item)> {
        self.items.get(index.checked_sub(self.start)?)
    }
}
