//! From a name to an inode, and the attributes of inodes.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use super::{Attr, Caller, Core, Entry, Result, Target};
use crate::error::Errno;
use crate::fs::attributes::Attributes;
use crate::fs::inode::{ANY, Face, Ino, Node};
use crate::fs::scratch::Scratch;
use crate::mapping::{Stat, View, ZnodePath, Zxid};
use crate::session::Store;

/// Scratch files show another mode than files, on which vim overwrites a file in place rather than replacing it.
const SCRATCH_MODE: u16 = 0o600;

/// The incarnation of a znode whose Stat may not be read.
pub(in crate::fs) const HIDDEN: Zxid = Zxid(0);

impl<S: Store> Core<S> {
    /// Looks a name up.
    ///
    /// # Errors
    /// `ENOENT` when there is no such znode; `EINVAL` for a name that ZooKeeper refuses; `ESTALE` for `NAME@v=` at
    /// another version.
    pub async fn lookup(&self, parent: Ino, name: &OsStr, caller: Caller) -> Result<Entry> {
        match self.target(parent, name).await? {
            Target::Znode(path) => {
                let entry = self.look_up_znode(&path).await?;
                let leaving = self.departures.is_leaving(caller, &path);
                Ok(if leaving { Entry { ttl: Duration::ZERO, ..entry } } else { entry })
            }
            Target::View(path, view) => self.look_up_view(&path, view).await,
            Target::Create { path, flags } if flags.looks_up() => self.look_up_znode(&path).await,
            Target::Create { path, flags } => {
                let (path, stat) = self.tagged(&path, &flags).await?;
                Ok(self.tag_entry(&path, &stat, name))
            }
        }
    }

    /// Looks a znode up by its path, or the scratch file of that name.
    pub(super) async fn look_up_znode(&self, path: &ZnodePath) -> Result<Entry> {
        self.retired(path).await?;
        match self.stat(path).await {
            Ok(stat) => Ok(self.znode_entry(path, &stat)),
            Err(Errno::ENOENT) => match self.scratch.get(path) {
                Some(scratch) => Ok(self.scratch_entry(path, &scratch)),
                None => Err(Errno::ENOENT),
            },
            Err(Errno::EACCES) => Ok(self.hidden_entry(path)),
            Err(error) => Err(error),
        }
    }

    async fn look_up_view(&self, path: &ZnodePath, view: View) -> Result<Entry> {
        match view {
            View::Session | View::Ephemerals | View::Metrics => Ok(self.view_entry(path, view, &Stat::default())),
            View::Data | View::Dir | View::Stat | View::Acl | View::Lock | View::Events => {
                let stat = self.stat(path).await?;
                Ok(self.view_entry(path, view, &stat))
            }
            View::Version(version) => {
                let stat = self.stat(path).await?;
                if stat.version != version {
                    return Err(Errno::ESTALE);
                }
                Ok(self.view_entry(path, view, &stat))
            }
            View::Txn => Err(Errno::ENOENT),
        }
    }

    /// Counts a look-up of a znode.
    ///
    /// What the kernel does not know yet it is to ask for once more: a change that is announced while this answer is on its way
    /// makes nothing old there. From then on the kernel itself sorts its answers and notices.
    pub(super) fn znode_entry(&self, path: &ZnodePath, stat: &Stat) -> Entry {
        let (entry, known) = self.count_look_up(path, stat);
        if known { entry } else { Entry { ttl: Duration::ZERO, ..entry } }
    }

    /// Counts a look-up of a znode, and tells whether the kernel knew its inode.
    pub(super) fn count_look_up(&self, path: &ZnodePath, stat: &Stat) -> (Entry, bool) {
        let node = Node::of(path, stat);
        let face = node.face.clone();
        let (ino, known) = self.changes.inodes.look_up_znode(node, stat);
        (Entry { attributes: self.paint_now(ino, &face, stat), ttl: self.ttl_of(stat) }, known)
    }

    /// The attributes of an inode with this Stat, and what this mount has done to it since.
    fn paint_now(&self, ino: Ino, face: &Face, stat: &Stat) -> Attributes {
        let inodes = &self.changes.inodes;
        let attributes = self.painter.znode(ino, face, stat, inodes.touched(ino));
        if inodes.is_truncated(ino) { Attributes { size: 0, ..attributes } } else { attributes }
    }

    /// How long the kernel may use what it is told of a znode. Scripts look at the locks that they take and give back,
    /// right after it, so the kernel is always to ask for an ephemeral of ours.
    fn ttl_of(&self, stat: &Stat) -> Duration {
        let ours = stat.is_ephemeral() && stat.ephemeral_owner == self.store.session().id;
        if ours { Duration::ZERO } else { self.ttl() }
    }

    fn view_entry(&self, path: &ZnodePath, view: View, stat: &Stat) -> Entry {
        let face = Face::View(view);
        let ino = self.changes.inodes.look_up(Node { path: path.clone(), czxid: stat.czxid, face: face.clone() });
        let mut attributes = self.painter.znode(ino, &face, stat, self.changes.inodes.touched(ino));
        if view.is_of_mount() {
            attributes.mtime = SystemTime::now();
            attributes.size = self.mount_view_size(view);
        }
        // What a view shows can change without an event of its znode.
        Entry { attributes, ttl: Duration::ZERO }
    }

    /// Counts a look-up of a scratch file.
    pub(super) fn scratch_entry(&self, path: &ZnodePath, scratch: &Scratch) -> Entry {
        let node = Node { path: path.clone(), czxid: Zxid(0), face: Face::Scratch(scratch.id) };
        let ino = self.changes.inodes.look_up(node);
        Entry { attributes: self.scratch_attributes(ino, scratch), ttl: Duration::ZERO }
    }

    pub(super) fn scratch_attributes(&self, ino: Ino, scratch: &Scratch) -> Attributes {
        let attributes = self.painter.local(ino, scratch.data.len() as u64, scratch.mtime);
        Attributes { mode: attributes.mode & SCRATCH_MODE, ..attributes }
    }

    /// Counts a look-up of a znode whose Stat may not be read.
    pub(super) fn hidden_entry(&self, path: &ZnodePath) -> Entry {
        let ino = self.changes.inodes.look_up(Node { path: path.clone(), czxid: HIDDEN, face: Face::File });
        Entry { attributes: self.painter.hidden(ino), ttl: Duration::ZERO }
    }

    /// The attributes of an inode whose node has this Stat.
    pub(in crate::fs) fn paint(&self, ino: Ino, node: &Node, stat: &Stat) -> Attributes {
        if node.czxid == HIDDEN { self.painter.hidden(ino) } else { self.painter.znode(ino, &node.face, stat, None) }
    }

    /// The attributes that an inode has by now, if they are known, else these. The kernel shows whatever it is told to everybody
    /// for a moment, and may have shown newer ones.
    pub(in crate::fs) fn repaint(&self, attributes: Attributes) -> Attributes {
        let ino = attributes.ino;
        let Some(node) = self.changes.inodes.node(ino).filter(|node| !node.path.is_root()) else { return attributes };
        let Some(stat) = self.changes.cache.known(&node.path) else { return attributes };
        let is_current = is_same(&node, &stat) && node.face == stat.kind().into();
        if is_current { self.paint_now(ino, &node.face, &stat) } else { attributes }
    }

    /// The attributes of the root.
    pub(in crate::fs) fn paint_root(&self) -> Attributes {
        self.painter.root(self.changes.inodes.touched(Ino::ROOT).unwrap_or(self.mounted))
    }

    /// The name under which a znode is shown.
    pub(in crate::fs) fn shown(&self, name: &str) -> String {
        self.options.names.show(name)
    }

    /// The name of a view of the directory that it is in.
    pub(in crate::fs) fn shown_view(&self, keyword: &str) -> String {
        format!("{}{keyword}", self.options.names.at())
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// `ESTALE` when that incarnation of the znode is gone, on which the kernel looks the name up again.
    pub async fn getattr(&self, ino: Ino) -> Result<Attr> {
        let inodes = &self.changes.inodes;
        let node = inodes.node(ino).ok_or(Errno::ESTALE)?;
        if ino == Ino::ROOT {
            let mtime = inodes.touched(ino).unwrap_or(self.mounted);
            return Ok(Attr { attributes: self.painter.root(mtime), ttl: self.ttl() });
        }
        match &node.face {
            Face::Scratch(id) => {
                let scratch = self.scratch.get(&node.path).filter(|scratch| scratch.id == *id).ok_or(Errno::ESTALE)?;
                return Ok(Attr { attributes: self.scratch_attributes(ino, &scratch), ttl: Duration::ZERO });
            }
            // An open stream of changes goes on when its znode goes, and tells that the server is away.
            Face::View(View::Events) if inodes.is_open(ino) => {
                let stat = Stat::default();
                let attributes = self.painter.znode(ino, &node.face, &stat, Some(SystemTime::now()));
                return Ok(Attr { attributes, ttl: Duration::ZERO });
            }
            Face::Draft(_) => {
                let attributes = self.painter.local(ino, 0, SystemTime::now());
                return Ok(Attr { attributes, ttl: Duration::ZERO });
            }
            Face::View(view) if view.is_of_mount() => {
                let mut attributes = self.painter.znode(ino, &node.face, &Stat::default(), Some(SystemTime::now()));
                attributes.size = self.mount_view_size(*view);
                return Ok(Attr { attributes, ttl: Duration::ZERO });
            }
            _ => {}
        }
        self.check_inode(ino)?;
        self.retired(&node.path).await?;
        let stat = match self.stat(&node.path).await {
            Err(Errno::EACCES) => return Ok(Attr { attributes: self.painter.hidden(ino), ttl: Duration::ZERO }),
            Err(Errno::ENOENT) => return self.gone(ino, &node),
            result => result?,
        };
        if !is_same(&node, &stat) {
            return self.gone(ino, &node);
        }
        if node.face != stat.kind().into() && matches!(node.face, Face::File | Face::Directory) && !inodes.is_open(ino)
        {
            return Err(Errno::ESTALE);
        }
        let mut attributes = self.paint_now(ino, &node.face, &stat);
        if let Face::Tag(_) = node.face {
            attributes.size = self.options.names.show(node.path.name()).len() as u64;
        }
        let ttl = if matches!(node.face, Face::View(_)) { Duration::ZERO } else { self.ttl_of(&stat) };
        Ok(Attr { attributes, ttl })
    }

    /// What is left of an inode whose incarnation is gone: while it is open, a file without a name.
    fn gone(&self, ino: Ino, node: &Node) -> Result<Attr> {
        let readable = matches!(node.face, Face::File | Face::View(_)) && node.face != Face::View(View::Dir);
        if !self.changes.inodes.is_open(ino) || !readable {
            return Err(Errno::ESTALE);
        }
        let attributes = self.painter.local(ino, 0, self.mounted);
        Ok(Attr { attributes: Attributes { nlink: 0, ..attributes }, ttl: Duration::ZERO })
    }
}

/// Tells whether a Stat is that of the node's incarnation.
pub(super) fn is_same(node: &Node, stat: &Stat) -> bool {
    node.czxid == ANY || node.czxid == stat.czxid
}
