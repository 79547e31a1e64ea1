//! The core on trees in memory, as the kernel would call it.

mod access;
mod age;
mod files;
mod flags;
mod locks;
mod moves;
mod names;

use std::ffi::OsStr;
use std::sync::Arc;

use bytes::Bytes;

use super::{Caller, Core, Created, Entry, RenameMode, Result};
use crate::error::Errno;
use crate::fs::changes::Changes;
use crate::fs::handle::Fh;
use crate::fs::inode::Ino;
use crate::fs::options::Options;
use crate::mapping::{Kind, Stat, ZnodePath};
use crate::session::memory::{Memory, MemoryTree};
use crate::session::{CreateMode, Creation, Store};

pub(crate) const CALLER: Caller = Caller { pid: 4711 };
pub(crate) const NEW: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
pub(crate) const OVER: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
pub(crate) const APPEND: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;

/// A mount without a kernel.
pub(crate) struct Host {
    pub core: Core<Memory>,
}

pub(crate) fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

impl Host {
    pub fn on(tree: &MemoryTree, options: Options) -> Host {
        let changes = Changes::new(1 << 20);
        let store = tree.session(changes.clone());
        Host { core: Core::new(Arc::new(store), changes, options) }
    }

    pub fn new() -> Host {
        Host::on(&MemoryTree::new(), Options::default())
    }

    pub fn pair() -> [Host; 2] {
        let tree = MemoryTree::new();
        [(); 2].map(|()| Host::on(&tree, Options::default()))
    }

    pub fn store(&self) -> &Memory {
        &self.core.store
    }

    /// Looks a path up, name by name. The entries are not forgotten.
    pub async fn look_up(&self, at: &str) -> Result<Entry> {
        let (parent, name) = self.parent(at).await?;
        self.core.lookup(parent, OsStr::new(&name), CALLER).await
    }

    pub async fn parent(&self, at: &str) -> Result<(Ino, String)> {
        let mut names: Vec<&str> = at.split('/').collect();
        let last = names.pop().unwrap_or_default();
        let mut ino = Ino::ROOT;
        for name in names {
            ino = self.core.lookup(ino, OsStr::new(name), CALLER).await?.attributes.ino;
        }
        Ok((ino, last.to_owned()))
    }

    /// What the kernel does for open(2) with O_CREAT: it looks up first, and opens what is there.
    pub async fn open(&self, at: &str, flags: i32) -> Result<Fh> {
        let (parent, name) = self.parent(at).await?;
        match self.core.lookup(parent, OsStr::new(&name), CALLER).await {
            Ok(_) if flags & libc::O_EXCL != 0 => Err(Errno::EEXIST),
            Ok(entry) => Ok(self.core.open(entry.attributes.ino, flags, CALLER).await?.fh),
            Err(Errno::ENOENT) if flags & libc::O_CREAT != 0 => Ok(self.create(at, flags).await?.opened.fh),
            Err(error) => Err(error),
        }
    }

    pub async fn create(&self, at: &str, flags: i32) -> Result<Created> {
        let (parent, name) = self.parent(at).await?;
        self.core.create(parent, OsStr::new(&name), flags, CALLER).await
    }

    pub async fn put(&self, fh: Fh, offset: u64, text: &str) -> Result<usize> {
        self.core.write(fh, offset, Bytes::copy_from_slice(text.as_bytes())).await.map(|written| written.length)
    }

    /// `echo -n text > at`.
    pub async fn write(&self, at: &str, text: &str) -> Result<()> {
        self.save(at, OVER, text).await
    }

    pub async fn save(&self, at: &str, flags: i32, text: &str) -> Result<()> {
        let fh = self.open(at, flags).await?;
        self.core.flush(fh, CALLER).await?;
        let written = self.put(fh, 0, text).await;
        self.core.release(fh).await;
        written.map(drop)
    }

    /// `cat at`.
    pub async fn read(&self, at: &str) -> Result<String> {
        let fh = self.open(at, libc::O_RDONLY).await?;
        let data = self.core.read(fh, 0, 1 << 20).await;
        self.core.release(fh).await;
        Ok(String::from_utf8(data?.to_vec()).unwrap())
    }

    pub async fn mkdir(&self, at: &str) -> Result<Entry> {
        let (parent, name) = self.parent(at).await?;
        self.core.mkdir(parent, OsStr::new(&name)).await
    }

    pub async fn unlink(&self, at: &str) -> Result<()> {
        let (parent, name) = self.parent(at).await?;
        self.core.unlink(parent, OsStr::new(&name)).await
    }

    pub async fn rmdir(&self, at: &str) -> Result<()> {
        let (parent, name) = self.parent(at).await?;
        self.core.rmdir(parent, OsStr::new(&name)).await
    }

    pub async fn rename(&self, from: &str, to: &str, mode: RenameMode) -> Result<()> {
        let ((from, old), (to, new)) = (self.parent(from).await?, self.parent(to).await?);
        // The kernel begins again after an ESTALE, with look-ups.
        match self.core.rename(from, OsStr::new(&old), to, OsStr::new(&new), mode, CALLER).await {
            Err(Errno::ESTALE) => {}
            result => return result.map(drop),
        }
        self.core.lookup(from, OsStr::new(&old), CALLER).await?;
        self.core.rename(from, OsStr::new(&old), to, OsStr::new(&new), mode, CALLER).await.map(drop)
    }

    pub async fn list(&self, at: &str) -> Result<Vec<String>> {
        let ino = if at.is_empty() { Ino::ROOT } else { self.look_up(at).await?.attributes.ino };
        let fh = self.core.opendir(ino)?;
        let mut names = Vec::new();
        let mut offset = 0;
        loop {
            let items = self.core.readdir(ino, fh, offset).await?;
            let Some(last) = items.last() else { break };
            offset = last.next;
            names.extend(items.into_iter().map(|item| item.name).filter(|name| name != "." && name != ".."));
        }
        self.core.releasedir(fh);
        Ok(names)
    }

    /// What the store holds.
    pub async fn stat(&self, at: &str) -> Option<Stat> {
        self.store().exists(&path(at)).await.ok()
    }

    pub async fn data(&self, at: &str) -> String {
        let (data, _) = self.store().get(&path(at)).await.unwrap();
        String::from_utf8(data.to_vec()).unwrap()
    }

    /// Another client makes a znode.
    pub async fn foreign(&self, at: &str, data: &str) {
        let data = Bytes::copy_from_slice(data.as_bytes());
        let creation = Creation { path: path(at), data, mode: CreateMode::Persistent, acl: None };
        self.store().create(&creation).await.unwrap();
    }

    pub async fn kind(&self, at: &str) -> Kind {
        self.stat(at).await.unwrap().kind()
    }
}
