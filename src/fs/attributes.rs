//! File attributes of znodes.

use std::time::{Duration, SystemTime};

use super::inode::{Face, Ino};
use super::options::Options;
use crate::mapping::{Stat, View};

/// The unit in which programs should read and write: a whole value at once, so that `cp` is one transaction.
pub const BLOCK_SIZE: u32 = 1 << 20;

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// The attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Its number.
    pub ino: Ino,
    /// Its type.
    pub kind: FileKind,
    /// Its length in bytes.
    pub size: u64,
    /// Permissions and the sticky bit.
    pub mode: u16,
    /// Names of it; 0 when it is gone and only open yet.
    pub nlink: u32,
    /// Last change of the data, for a directory also of the set of children as far as this mount saw it.
    pub mtime: SystemTime,
    /// Last change; also that of the data, as ZooKeeper tells no other.
    pub ctime: SystemTime,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Makes attributes.
#[derive(Debug, Clone, Copy)]
pub struct Painter {
    fmask: u16,
    dmask: u16,
    uid: u32,
    gid: u32,
    read_only: bool,
}

impl Painter {
    /// With the mount's settings.
    pub fn new(options: &Options) -> Painter {
        let Options { fmask, dmask, uid, gid, read_only, .. } = *options;
        Painter { fmask, dmask, uid, gid, read_only }
    }

    fn base(&self, ino: Ino, kind: FileKind, mtime: SystemTime) -> Attributes {
        let mode = match kind {
            FileKind::File => 0o644 & !self.fmask,
            FileKind::Directory => 0o755 & !self.dmask,
            FileKind::Link => 0o777,
        };
        let mode = if self.read_only && kind != FileKind::Link { mode & !0o222 } else { mode };
        Attributes { ino, kind, size: 0, mode, nlink: 1, mtime, ctime: mtime, uid: self.uid, gid: self.gid }
    }

    /// Of a znode with this Stat, shown with this face.
    pub fn znode(&self, ino: Ino, face: &Face, stat: &Stat, touched: Option<SystemTime>) -> Attributes {
        let kind = match face {
            Face::Directory | Face::View(View::Dir) => FileKind::Directory,
            Face::Tag(_) => FileKind::Link,
            _ => FileKind::File,
        };
        let mut attributes = self.base(ino, kind, time(stat.mtime));
        match face {
            Face::Directory | Face::View(View::Dir) => {
                attributes.mtime = touched.map_or(attributes.mtime, |touched| touched.max(attributes.mtime));
                attributes.ctime = attributes.mtime;
            }
            Face::View(View::Stat) => attributes.size = stat.to_string().len() as u64,
            Face::File | Face::View(View::Data | View::Version(_)) => attributes.size = length(stat),
            _ => {}
        }
        if stat.is_ephemeral() && kind == FileKind::File {
            attributes.mode |= libc::S_ISVTX as u16;
        }
        if matches!(face, Face::View(View::Stat | View::Session | View::Ephemerals | View::Metrics | View::Events)) {
            attributes.mode &= !0o222;
        }
        attributes
    }

    /// Of a file that is not a znode: a scratch file, or a view of the whole mount.
    pub fn local(&self, ino: Ino, size: u64, mtime: SystemTime) -> Attributes {
        Attributes { size, ..self.base(ino, FileKind::File, mtime) }
    }

    /// Of the root, which must not need the server: `df` asks for it.
    pub fn root(&self, mtime: SystemTime) -> Attributes {
        self.base(Ino::ROOT, FileKind::Directory, mtime)
    }

    /// Of a znode whose Stat may not be read.
    pub fn hidden(&self, ino: Ino) -> Attributes {
        Attributes { mode: 0, ..self.base(ino, FileKind::File, SystemTime::UNIX_EPOCH) }
    }
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.data_length).unwrap_or_default()
}

fn time(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::SessionId;

    #[test]
    fn modes_follow_kind_owner_and_masks() {
        let painter = Painter::new(&Options { fmask: 0o077, dmask: 0o027, uid: 5, ..Options::default() });
        let stat = Stat { data_length: 3, mtime: 1500, ..Stat::default() };
        let file = painter.znode(Ino(7), &Face::File, &stat, None);
        assert_eq!((file.mode, file.size, file.uid), (0o600, 3, 5));
        assert_eq!(file.mtime, SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        let dir = painter.znode(Ino(7), &Face::Directory, &stat, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
        assert_eq!((dir.mode, dir.size), (0o750, 0));
        assert_eq!(dir.mtime, SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        let owned = Stat { ephemeral_owner: SessionId(1), ..stat };
        assert_eq!(painter.znode(Ino(7), &Face::File, &owned, None).mode, 0o1600);
    }
}
