//! Listing directories.
//!
//! A listing is of one moment: the names are read once a pass. What each of them is, is found out in bulk and ahead of the
//! kernel's small requests, as every entry has its type.

use std::sync::Arc;
use std::time::Duration;

use super::{Core, Entry, Result};
use crate::error::Errno;
use crate::fs::attributes::{Attributes, FileKind};
use crate::fs::cache::{Found, Fresh, Ticket};
use crate::fs::handle::{Fh, Handle};
use crate::fs::inode::{Face, Ino, Node};
use crate::fs::list::{Item, Listing};
use crate::mapping::path::NAME_MAX;
use crate::mapping::{ZnodePath, Zxid};
use crate::session::{Store, StoreError};

/// Znodes that are looked at for the first request, so that a small look is cheap.
const FIRST: usize = 512;
/// Znodes that are looked at at once later.
const BATCH: usize = 4096;
/// Znodes that are read ahead of a walk at once.
const AHEAD: usize = 8192;
/// Directories that are read ahead of a walk at once.
const AHEAD_DIRS: usize = 256;
/// `.` and `..`, which come first.
const DOTS: usize = 2;
/// Entries that are given at once; more than the kernel's largest buffer holds is wasted.
const GIVEN: usize = 1024;

/// An entry of a directory.
#[derive(Debug)]
pub struct DirItem {
    /// The name.
    pub name: String,
    /// Where the listing goes on behind it.
    pub next: u64,
    /// The inode's number.
    pub ino: Ino,
    /// The type.
    pub kind: FileKind,
    path: Option<ZnodePath>,
    item: Item,
    asked: Option<Ticket>,
}

impl<S: Store> Core<S> {
    /// Opens a directory.
    pub fn opendir(&self, ino: Ino) -> Result<Fh> {
        let path = self.dir(ino)?;
        self.changes.inodes.open(ino);
        Ok(self.handles.insert(ino, Handle::Dir(tokio::sync::Mutex::new(Listing::new(path)))))
    }

    /// Closes a directory.
    pub fn releasedir(&self, fh: Fh) {
        if let Some((ino, _)) = self.handles.remove(fh) {
            self.changes.inodes.close(ino);
        }
    }

    /// The entries from an offset on: some, and none at the end.
    pub async fn readdir(&self, ino: Ino, fh: Fh, offset: u64) -> Result<Vec<DirItem>> {
        let handle = self.handle(fh)?;
        let Handle::Dir(listing) = &*handle else { return Err(Errno::ENOTDIR) };
        let mut listing = self.turn(listing).await?;
        if offset == 0 || listing.names.is_none() {
            // It may have been renamed since it was opened.
            let path = self.dir(ino)?;
            self.read_ahead(&path).await;
            let scratch = self.scratch.list(&path);
            let names = self.children(&path).await?;
            self.changes.inodes.listed(&path, &names);
            *listing = Listing { names: Some(names), scratch, ..Listing::new(path) };
        }
        let mut given = Vec::new();
        let mut at = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        while at < DOTS {
            let name = if at == 0 { "." } else { ".." };
            let here = if at == 0 { ino } else { Ino::ROOT };
            at += 1;
            given.push(DirItem {
                name: name.to_owned(),
                next: at as u64,
                ino: here,
                kind: FileKind::Directory,
                path: None,
                item: Item::Gone,
                asked: None,
            });
        }
        while given.len() < GIVEN {
            let index = at - DOTS;
            if listing.get(index).is_none() && !self.look_at(&mut listing, index).await? {
                break;
            }
            at += 1;
            let item = |(path, item): &(_, _)| self.dir_item(path, item, at as u64, listing.asked);
            given.extend(listing.get(index).and_then(item));
        }
        Ok(given)
    }

    /// Finds out what the names from this one on are; false when there are no more.
    async fn look_at(&self, listing: &mut Listing, index: usize) -> Result<bool> {
        let names = listing.names.clone().unwrap_or_default();
        if index >= names.len() {
            let rest = listing.scratch.get(index - names.len()..).unwrap_or_default();
            let items = rest.iter().map(|(name, file)| {
                // A znode of that name is the real one.
                let hidden = names.binary_search(name).is_ok();
                (listing.path.join_raw(name), if hidden { Item::Gone } else { Item::Scratch(file.clone()) })
            });
            listing.items = items.collect();
            listing.start = index;
            return Ok(!listing.items.is_empty());
        }
        let batch = if index == 0 { FIRST } else { BATCH };
        let next = &names[index..names.len().min(index + batch)];
        let paths: Vec<ZnodePath> = next.iter().map(|name| listing.path.join_raw(name)).collect();
        let asked = self.changes.cache.ticket();
        let stats = self.peek(&paths).await?;
        let items = stats.into_iter().map(|stat| match stat {
            Ok(stat) => Item::Znode(stat),
            Err(StoreError::NoAuth) => Item::Hidden,
            Err(_) => Item::Gone,
        });
        listing.items = paths.into_iter().zip(items).collect();
        listing.asked = Some(asked);
        listing.start = index;
        Ok(true)
    }

    fn dir_item(&self, path: &ZnodePath, item: &Item, next: u64, asked: Option<Ticket>) -> Option<DirItem> {
        let (czxid, face) = match item {
            Item::Gone => return None,
            Item::Hidden => (Zxid(0), Face::File),
            Item::Scratch(scratch) => (Zxid(0), Face::Scratch(scratch.id)),
            Item::Znode(stat) => (stat.czxid, stat.kind().into()),
        };
        let shown = self.options.names.show(path.name());
        if shown.len() > NAME_MAX {
            self.unlistable(path);
            return None;
        }
        let kind = if face == Face::Directory { FileKind::Directory } else { FileKind::File };
        let ino = Node { path: path.clone(), czxid, face }.ino();
        Some(DirItem { name: shown, next, ino, kind, path: Some(path.clone()), item: item.clone(), asked })
    }

    /// When a tree is being walked, its directories are listed one after the other. So when one is listed soon after the one
    /// above it, those that come next are read along, in bulk; without that, a walk takes three round trips a directory.
    ///
    /// What goes wrong here is seen when the directory is really listed.
    async fn read_ahead(&self, path: &ZnodePath) {
        let Some(parent) = path.parent() else { return self.walks.note(path) };
        let walking = self.walks.is_recent(&parent);
        self.walks.note(path);
        if !walking || self.changes.cache.children(path) != Found::Miss {
            return;
        }
        let Found::Hit(siblings) = self.changes.cache.children(&parent) else { return };
        let from = siblings.partition_point(|name| name.as_str() < path.name());
        let mut dirs = Vec::new();
        let mut znodes = 0;
        for sibling in siblings[from..].iter().map(|name| parent.join_raw(name)) {
            let children = match self.changes.cache.stat(&sibling) {
                Found::Hit(stat) => usize::try_from(stat.num_children).unwrap_or_default(),
                _ => 0,
            };
            znodes += children;
            if znodes > AHEAD || dirs.len() >= AHEAD_DIRS {
                break;
            }
            if children > 0 && self.changes.cache.children(&sibling) == Found::Miss {
                dirs.push(sibling);
            }
        }
        if dirs.len() < 2 {
            return;
        }
        let ticket = self.changes.cache.ticket();
        let Ok(lists) = self.remote(path).list_many(&dirs).await else { return };
        let mut paths = Vec::new();
        for (dir, names) in dirs.iter().zip(lists) {
            let Ok(mut names) = names else { continue };
            names.sort_unstable();
            paths.extend(names.iter().map(|name| dir.join_raw(name)));
            self.changes.cache.put(ticket, dir, 0, Fresh::Names(Arc::new(names)));
        }
        if self.peek(&paths).await.is_err() {
            tracing::debug!(%path, "nothing read ahead");
        }
    }

    /// A znode whose name is too long for the kernel is left out, but not silently.
    fn unlistable(&self, path: &ZnodePath) {
        if self.unlistable.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            tracing::warn!(%path, "left out of listings: a name of over {NAME_MAX} bytes; @metrics counts them");
        }
    }

    /// Counts a look-up of an entry, for a listing that tells the attributes too; none for `.` and `..`.
    pub fn entry_of(&self, item: &DirItem) -> Option<Entry> {
        let path = item.path.as_ref()?;
        match &item.item {
            Item::Znode(stat) => {
                let (entry, _) = self.count_look_up(path, stat);
                // It was found out for a stretch of the listing, maybe long ago. Asked after the count, from which on the kernel is
                // told of changes.
                let is_current = item.asked.is_some_and(|asked| self.changes.cache.is_current(asked, path));
                if is_current {
                    return Some(entry);
                }
                Some(Entry { attributes: self.repaint(entry.attributes), ttl: Duration::ZERO })
            }
            Item::Hidden => Some(self.hidden_entry(path)),
            Item::Scratch(scratch) => Some(self.scratch_entry(path, scratch)),
            Item::Gone => None,
        }
    }

    /// The attributes of `.` and `..`, of which the kernel takes the number and the type only.
    pub fn dot_attributes(&self, item: &DirItem) -> Attributes {
        Attributes { ino: item.ino, ..self.painter.root(self.mounted) }
    }
}
