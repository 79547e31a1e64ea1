//! The state of an open directory.

use std::sync::Arc;

use crate::mapping::{Stat, ZnodePath};

use super::scratch::Scratch;

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

/// A listing under way: the names of one moment, and what was found out about them so far.
#[derive(Debug)]
pub struct Listing {
    /// The directory.
    pub path: ZnodePath,
    /// The names; none before the first read.
    pub names: Option<Arc<Vec<String>>>,
    /// The scratch files, which come after the names.
    pub scratch: Vec<(String, Scratch)>,
    /// What is known of the first names.
    pub items: Vec<Item>,
}

impl Listing {
    /// Of a directory, before anything is read.
    pub fn new(path: ZnodePath) -> Listing {
        Listing { path, names: None, scratch: Vec::new(), items: Vec::new() }
    }
}
