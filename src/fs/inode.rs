//! Inodes: what the kernel refers to by number.
//!
//! An inode is one incarnation and face of a znode: its number is a hash of path, czxid and face, so that it is the same
//! after a remount and on another host, and another one when the znode was deleted and made anew, or has become a directory.

mod believed;
mod file;
mod told;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use self::believed::Believed;
pub use self::file::FileState;
pub use self::told::Known;
use crate::mapping::{Kind, Stat, View, ZnodePath, Zxid};

/// The number of an inode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

impl Ino {
    /// The mount's root.
    pub const ROOT: Ino = Ino(1);
}

impl fmt::Debug for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// As what a znode is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Face {
    /// A regular file with its data.
    File,
    /// A directory with its children.
    Directory,
    /// One of its views.
    View(View),
    /// Not a znode: the scratch file of this number.
    Scratch(u64),
    /// A symbolic link to the znode that was made with this tagged name.
    Tag(String),
    /// Not a znode yet: the sequential file of this number, before its first write.
    Draft(u64),
}

impl From<Kind> for Face {
    fn from(kind: Kind) -> Face {
        match kind {
            Kind::File => Face::File,
            Kind::Directory => Face::Directory,
        }
    }
}

/// What an inode stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The path now; it follows a rename while the inode is open.
    pub path: ZnodePath,
    /// The incarnation; [`ANY`] after a rename.
    pub czxid: Zxid,
    /// As what it is shown.
    pub face: Face,
}

/// Any incarnation: of a renamed znode that is still open.
pub const ANY: Zxid = Zxid(-1);

impl Node {
    /// The mount's root.
    pub fn root() -> Node {
        Node { path: ZnodePath::root(), czxid: ANY, face: Face::Directory }
    }

    /// What a znode with this Stat is for the kernel.
    pub fn of(path: &ZnodePath, stat: &Stat) -> Node {
        if path.is_root() {
            return Node::root();
        }
        Node { path: path.clone(), czxid: stat.czxid, face: stat.kind().into() }
    }

    /// The inode's number: FNV-1a, then a finalizer, so that neighbours differ in all bits.
    pub fn ino(&self) -> Ino {
        if self.path.is_root() && self.face == Face::Directory {
            return Ino::ROOT;
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add =
            |bytes: &[u8]| bytes.iter().for_each(|b| hash = (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        add(self.path.as_str().as_bytes());
        add(&self.czxid.0.to_le_bytes());
        match &self.face {
            Face::File => add(b"f"),
            Face::Directory => add(b"d"),
            Face::View(view) => add(format!("v{view:?}").as_bytes()),
            Face::Scratch(id) => add(format!("s{id}").as_bytes()),
            Face::Tag(name) => add(format!("t{name}").as_bytes()),
            Face::Draft(id) => add(format!("n{id}").as_bytes()),
        }
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        // 0 is no inode, 1 the root.
        Ino(hash.max(2))
    }
}

/// Whether the incarnation of an inode is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// As long as changes are announced: its end would have been.
    Sure,
    /// Changes may have been missed.
    Doubtful,
    /// It was deleted.
    Gone,
}

#[derive(Debug)]
struct Inode {
    node: Node,
    /// Look-ups that the kernel has not forgotten.
    lookups: u64,
    /// Open handles.
    opens: u32,
    standing: Standing,
    /// When this mount last saw a child come or go.
    touched: Option<Box<SystemTime>>,
    file: Option<Arc<FileState>>,
    /// Somebody else than the replay of changes refers to it, so that somebody may watch it.
    asked: bool,
    /// Those who watch were told that it is gone.
    gone: bool,
    /// The last change of a directory's names when it was looked up first: nobody can have watched it before.
    since: Zxid,
    /// The version of the ACL that was seen last.
    aversion: Option<i32>,
    /// The names in a directory that those who watch believe in.
    believed: Option<Box<Believed>>,
}

impl Inode {
    fn new(node: Node) -> Inode {
        let standing = Standing::Sure;
        Inode {
            node,
            lookups: 0,
            opens: 0,
            standing,
            touched: None,
            file: None,
            asked: false,
            gone: false,
            since: Zxid::default(),
            aversion: None,
            believed: None,
        }
    }

    fn is_truncated(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.is_truncated())
    }

    /// Counts a look-up; tells whether the kernel knew it before.
    fn look_up(&mut self) -> bool {
        let known = self.lookups > 0;
        self.lookups += 1;
        self.asked = true;
        self.gone = false;
        known
    }
}

/// The inodes that the kernel refers to.
#[derive(Debug)]
pub struct Inodes {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    inodes: HashMap<Ino, Inode>,
    paths: HashMap<ZnodePath, Few>,
    /// Bytes of the names that are believed in.
    believed: usize,
}

/// The inodes at one path: nearly always one.
#[derive(Debug)]
enum Few {
    One(Ino),
    Many(Vec<Ino>),
}

impl Few {
    fn as_slice(&self) -> &[Ino] {
        match self {
            Few::One(ino) => std::slice::from_ref(ino),
            Few::Many(inos) => inos,
        }
    }
}

impl Table {
    fn insert(&mut self, ino: Ino, node: Node) -> &mut Inode {
        let Table { inodes, paths, .. } = self;
        inodes.entry(ino).or_insert_with(|| {
            add_path(paths, &node.path, ino);
            Inode::new(node)
        })
    }

    fn unlink_path(&mut self, ino: Ino, path: &ZnodePath) {
        let Some(list) = self.paths.get_mut(path) else { return };
        match list {
            Few::One(only) if *only != ino => {}
            Few::Many(inos) if inos.len() > 1 => inos.retain(|other| *other != ino),
            _ => drop(self.paths.remove(path)),
        }
    }

    fn reap(&mut self, ino: Ino) {
        let unused = self.inodes.get(&ino).is_some_and(|inode| inode.lookups == 0 && inode.opens == 0);
        if unused
            && ino != Ino::ROOT
            && let Some(inode) = self.inodes.remove(&ino)
        {
            self.believed -= inode.believed.as_ref().map_or(0, |believed| believed.bytes());
            self.unlink_path(ino, &inode.node.path);
        }
    }
}

fn add_path(paths: &mut HashMap<ZnodePath, Few>, path: &ZnodePath, ino: Ino) {
    match paths.get_mut(path) {
        None => drop(paths.insert(path.clone(), Few::One(ino))),
        Some(Few::Many(inos)) => inos.push(ino),
        Some(one) => *one = Few::Many(vec![one.as_slice()[0], ino]),
    }
}

impl Default for Inodes {
    fn default() -> Inodes {
        let mut table = Table::default();
        let root = table.insert(Ino::ROOT, Node::root());
        root.lookups = 1;
        root.asked = true;
        Inodes { table: Mutex::new(table) }
    }
}

impl Inodes {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a look-up of a node, before it is told to the kernel.
    pub fn look_up(&self, node: Node) -> Ino {
        let ino = node.ino();
        self.table().insert(ino, node).look_up();
        ino
    }

    /// Counts a look-up of a file or directory that has this Stat, and can be watched from now on. Tells whether the kernel knew
    /// its inode.
    pub fn look_up_znode(&self, node: Node, stat: &Stat) -> (Ino, bool) {
        let ino = node.ino();
        let mut table = self.table();
        let inode = table.insert(ino, node);
        if inode.aversion.is_none() {
            inode.since = stat.pzxid;
            inode.aversion = Some(stat.aversion);
        }
        (ino, inode.look_up())
    }

    /// The kernel forgets look-ups.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        let mut table = self.table();
        if let Some(inode) = table.inodes.get_mut(&ino) {
            debug_assert!(inode.lookups >= lookups, "the kernel forgets what it never looked up");
            inode.lookups = inode.lookups.saturating_sub(lookups);
        }
        table.reap(ino);
    }

    /// What an inode stands for; none when the kernel should not know it.
    pub fn node(&self, ino: Ino) -> Option<Node> {
        self.table().inodes.get(&ino).map(|inode| inode.node.clone())
    }

    /// Counts a handle. The inode is kept for it.
    pub fn open(&self, ino: Ino) {
        if let Some(inode) = self.table().inodes.get_mut(&ino) {
            inode.opens += 1;
        }
    }

    /// A handle is gone.
    pub fn close(&self, ino: Ino) {
        let mut table = self.table();
        if let Some(inode) = table.inodes.get_mut(&ino) {
            inode.opens = inode.opens.saturating_sub(1);
            if inode.opens == 0 && !inode.is_truncated() {
                inode.file = None;
            }
        }
        table.reap(ino);
    }

    /// Tells whether the inode is open.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.table().inodes.get(&ino).is_some_and(|inode| inode.opens > 0)
    }

    /// What the handles of a file have in common.
    pub fn file(&self, ino: Ino) -> Arc<FileState> {
        match self.table().inodes.get_mut(&ino) {
            Some(inode) => inode.file.get_or_insert_default().clone(),
            None => Arc::default(),
        }
    }

    /// Tells whether a file has a truncation that is not committed yet.
    pub fn is_truncated(&self, ino: Ino) -> bool {
        self.table().inodes.get(&ino).is_some_and(Inode::is_truncated)
    }

    /// The inodes at a path with a truncation that is not committed yet.
    pub fn truncated_at(&self, path: &ZnodePath) -> Vec<Ino> {
        let table = self.table();
        let here = table.paths.get(path).map(Few::as_slice).unwrap_or_default().iter();
        here.filter(|ino| table.inodes.get(ino).is_some_and(Inode::is_truncated)).copied().collect()
    }

    /// The inodes at a path.
    pub fn at(&self, path: &ZnodePath) -> Vec<Ino> {
        self.table().paths.get(path).map(|few| few.as_slice().to_vec()).unwrap_or_default()
    }

    /// All inodes and what they stand for.
    pub fn all(&self) -> Vec<(Ino, Node)> {
        self.table().inodes.iter().map(|(ino, inode)| (*ino, inode.node.clone())).collect()
    }

    /// Number of inodes, the root included.
    pub fn count(&self) -> usize {
        self.table().inodes.len()
    }

    /// A child of the directory at this path came or went now.
    pub fn touch(&self, path: &ZnodePath) {
        let mut table = self.table();
        let now = SystemTime::now();
        for ino in table.paths.get(path).map(|few| few.as_slice().to_vec()).unwrap_or_default() {
            if let Some(inode) = table.inodes.get_mut(&ino) {
                inode.touched = Some(Box::new(now));
            }
        }
    }

    /// When this mount last saw a child come or go.
    pub fn touched(&self, ino: Ino) -> Option<SystemTime> {
        self.table().inodes.get(&ino).and_then(|inode| inode.touched.as_deref().copied())
    }

    /// A draft was made: its inode is that of the file from now on.
    pub fn become_znode(&self, ino: Ino, path: &ZnodePath, czxid: Zxid) {
        let mut table = self.table();
        let Some(inode) = table.inodes.get_mut(&ino) else { return };
        let old = std::mem::replace(&mut inode.node, Node { path: path.clone(), czxid, face: Face::File });
        table.unlink_path(ino, &old.path);
        add_path(&mut table.paths, path, ino);
    }

    /// The open inodes at or below these paths, and where they are.
    pub fn open_below(&self, roots: &[&ZnodePath]) -> Vec<(Ino, ZnodePath)> {
        let table = self.table();
        let inside = |path: &ZnodePath| roots.iter().any(|root| path.is_within(root));
        let open = table.inodes.iter().filter(|(_, inode)| inode.opens > 0 && inside(&inode.node.path));
        open.map(|(ino, inode)| (*ino, inode.node.path.clone())).collect()
    }

    /// The renamed inodes at a path are those of this incarnation.
    pub fn pin(&self, path: &ZnodePath, czxid: Zxid) {
        let mut table = self.table();
        for ino in table.paths.get(path).map(|few| few.as_slice().to_vec()).unwrap_or_default() {
            if let Some(inode) = table.inodes.get_mut(&ino).filter(|inode| inode.node.czxid == ANY) {
                inode.node.czxid = czxid;
            }
        }
    }

    /// What is at a path was deleted.
    pub fn end(&self, path: &ZnodePath) {
        let mut table = self.table();
        let Table { inodes, paths, .. } = &mut *table;
        for ino in paths.get(path).map(Few::as_slice).unwrap_or_default() {
            if let Some(inode) = inodes.get_mut(ino) {
                inode.standing = Standing::Gone;
            }
        }
    }

    /// Changes may have been missed.
    pub fn doubt(&self) {
        for inode in self.table().inodes.values_mut().filter(|inode| inode.standing == Standing::Sure) {
            inode.standing = Standing::Doubtful;
        }
    }

    /// The incarnation was seen.
    pub fn assure(&self, ino: Ino) {
        if let Some(inode) = self.table().inodes.get_mut(&ino)
            && inode.standing == Standing::Doubtful
        {
            inode.standing = Standing::Sure;
        }
    }

    /// Tells whether the incarnation is there, provided that changes are being announced.
    pub fn is_sure(&self, ino: Ino) -> bool {
        self.table().inodes.get(&ino).is_some_and(|inode| inode.standing == Standing::Sure || ino == Ino::ROOT)
    }

    /// Tells whether the incarnation was deleted.
    pub fn is_gone(&self, ino: Ino) -> bool {
        self.table().inodes.get(&ino).is_some_and(|inode| inode.standing == Standing::Gone && ino != Ino::ROOT)
    }

    /// The directories and the open files at or below `from` are now at the same place of `to`: the kernel and the handles go
    /// on with them. Other files keep their path, where their incarnation is gone, so that the kernel looks the new name up.
    pub fn renamed(&self, from: &ZnodePath, to: &ZnodePath) {
        let mut table = self.table();
        let moving = |inode: &Inode| {
            let follows = match inode.node.face {
                // The kernel goes on using a directory's inode below its new name, and as a working directory.
                Face::Directory | Face::View(View::Dir) => true,
                Face::View(_) | Face::Draft(_) => false,
                _ => inode.opens > 0,
            };
            follows && inode.node.path.is_within(from)
        };
        let inos: Vec<Ino> = table.inodes.iter().filter(|(_, inode)| moving(inode)).map(|(ino, _)| *ino).collect();
        for ino in inos {
            let Some(inode) = table.inodes.get_mut(&ino) else { continue };
            let Some(path) = inode.node.path.rebase(from, to) else { continue };
            let old = std::mem::replace(&mut inode.node.path, path.clone());
            inode.node.czxid = ANY;
            inode.gone = false;
            // Its end under the old name was announced.
            inode.standing = Standing::Sure;
            table.unlink_path(ino, &old);
            add_path(&mut table.paths, &path, ino);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, czxid: i64, face: Face) -> Node {
        Node { path: ZnodePath::parse(path).unwrap(), czxid: Zxid(czxid), face }
    }

    #[test]
    fn a_number_is_that_of_one_incarnation_and_face() {
        let file = node("/a", 1, Face::File);
        assert_eq!(file.ino(), node("/a", 1, Face::File).ino());
        for other in [
            node("/b", 1, Face::File),
            node("/a", 2, Face::File),
            node("/a", 1, Face::Directory),
            node("/a", 1, Face::View(View::Data)),
        ] {
            assert_ne!(file.ino(), other.ino());
        }
        assert_eq!(Node::root().ino(), Ino::ROOT);
    }

    #[test]
    fn inodes_live_while_the_kernel_or_a_handle_refers_to_them() {
        let inodes = Inodes::default();
        let file = node("/a", 1, Face::File);
        let ino = inodes.look_up(file.clone());
        assert_eq!(inodes.look_up(file.clone()), ino);
        inodes.open(ino);
        inodes.forget(ino, 2);
        assert_eq!(inodes.node(ino), Some(file));
        inodes.close(ino);
        assert_eq!((inodes.node(ino), inodes.count()), (None, 1));
        inodes.forget(Ino::ROOT, 1);
        assert!(inodes.node(Ino::ROOT).is_some());
    }

    #[test]
    fn what_is_open_and_directories_follow_a_rename() {
        let inodes = Inodes::default();
        let open = inodes.look_up(node("/d/open", 1, Face::File));
        let shut = inodes.look_up(node("/d/shut", 2, Face::File));
        let dir = inodes.look_up(node("/d", 3, Face::Directory));
        inodes.end(&ZnodePath::parse("/d").unwrap());
        assert!(inodes.is_gone(dir));
        inodes.open(open);
        inodes.renamed(&ZnodePath::parse("/d").unwrap(), &ZnodePath::parse("/e").unwrap());
        assert_eq!(inodes.node(open).unwrap().path.as_str(), "/e/open");
        assert!(inodes.is_sure(dir));
        inodes.doubt();
        assert!(!inodes.is_sure(dir) && !inodes.is_gone(dir));
        inodes.assure(dir);
        assert!(inodes.is_sure(dir));
        assert_eq!(inodes.node(shut).unwrap().path.as_str(), "/d/shut");
        assert_eq!(inodes.node(dir).unwrap().path.as_str(), "/e");
        assert_eq!(inodes.at(&ZnodePath::parse("/e/open").unwrap()), [open]);
        assert_eq!(inodes.node(open).unwrap().czxid, ANY);
        inodes.pin(&ZnodePath::parse("/e/open").unwrap(), Zxid(7));
        inodes.pin(&ZnodePath::parse("/e/open").unwrap(), Zxid(8));
        assert_eq!(inodes.node(open).unwrap().czxid, Zxid(7));
        assert!(inodes.at(&ZnodePath::parse("/d/open").unwrap()).is_empty());
    }
}
