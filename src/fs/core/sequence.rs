//! Sequential files: made with their data, found by their tags.

use std::ffi::OsStr;

use bytes::Bytes;

use super::create::file_mode;
use super::open::OpenAs;
use super::{Caller, Core, Created, Entry, Result, Target};
use crate::error::Errno;
use crate::fs::cache::Fresh;
use crate::fs::draft::{Draft, Tagged};
use crate::fs::handle::Access;
use crate::fs::inode::{ANY, Face, Ino, Node};
use crate::mapping::{Flags, Lifetime, SessionId, Stat, ZnodePath, Zxid};
use crate::session::{CreateMode, Creation, Store, StoreError};

impl<S: Store> Core<S> {
    /// Opens a draft.
    pub(super) async fn create_draft(&self, path: &ZnodePath, flags: &Flags, access: Access) -> Result<Created> {
        let mode = file_mode(Some(flags))?;
        // The parent must be there, or the error would come with the first write, which shells do not expect.
        if let Some(parent) = path.parent()
            && self.stat(&parent).await?.is_ephemeral()
        {
            return Err(Errno::EPERM);
        }
        let face = Face::Draft(self.drafts.number());
        let ino = self.changes.inodes.look_up(Node { path: path.clone(), czxid: Zxid(0), face });
        self.drafts.insert(ino, Draft { path: path.clone(), mode, tag: flags.tag.clone() });
        let attributes = self.painter.local(ino, 0, std::time::SystemTime::now());
        let session = self.store.session().id;
        let owner = (mode.is_ephemeral() && session != SessionId::NONE).then_some(session);
        let how = OpenAs { held: flags.lifetime == Lifetime::Held, made: true, owner, ..OpenAs::default() };
        let opened = self.open_as(ino, access, how, None);
        Ok(Created { entry: Entry { attributes, ttl: std::time::Duration::ZERO }, opened, made: true })
    }

    /// Makes the znode of a draft, with its data. The file's write lock is held.
    ///
    /// # Errors
    /// Those of a create. A draft whose outcome is not known is ended: a second try could make a second znode.
    pub(super) async fn make_draft(&self, ino: Ino, data: Bytes) -> Result<Stat> {
        let draft = self.drafts.get(ino).ok_or(Errno::EIO)?;
        match self.make_sequential(&draft.path, data, draft.mode).await {
            Ok((path, stat)) => {
                self.changes.inodes.become_znode(ino, &path, stat.czxid);
                self.drafts.end(ino, Some((&path, stat.czxid)));
                Ok(stat)
            }
            Err(error) => {
                self.drafts.end(ino, None);
                Err(error)
            }
        }
    }

    /// Makes a sequential znode that is a file: its path and Stat.
    pub(super) async fn make_sequential(
        &self,
        base: &ZnodePath,
        data: Bytes,
        mode: CreateMode,
    ) -> Result<(ZnodePath, Stat)> {
        let ticket = self.changes.cache.ticket();
        let creation = Creation { path: base.clone(), data: data.clone(), mode, acl: None };
        let made = self.remote(base).create(&creation).await;
        let (path, mut stat) = made.map_err(|error| self.lost(base, error))?;
        if data.is_empty() && !mode.is_ephemeral() {
            stat = self.finish_empty(&path, stat).await?;
        } else {
            self.changes.cache.put(ticket, &path, 1, Fresh::Data(data, stat));
        }
        self.came_or_went(&path);
        Ok((path, stat))
    }

    /// Makes a file of an empty sequential znode. Its name was not known before, so this is a second transaction. Whoever
    /// was quick enough to take it or to set it in between has had it, so that it was made all the same.
    pub(super) async fn finish_empty(&self, path: &ZnodePath, made: Stat) -> Result<Stat> {
        match self.remote(path).set(path, Bytes::new(), Some(0)).await {
            Err(StoreError::NoNode | StoreError::BadVersion) => Ok(made),
            result => result.map_err(|error| self.lost(path, error)),
        }
    }

    /// The znode that a tagged name stands for; a draft is made for it, empty, as its name is asked for.
    pub(super) async fn tagged(&self, base: &ZnodePath, flags: &Flags) -> Result<(ZnodePath, Stat)> {
        let tag = flags.tag.as_deref().ok_or(Errno::ENOENT)?;
        if let Some(Tagged::Draft(ino)) = self.drafts.tagged(base, tag) {
            self.finish_draft(ino).await?;
        }
        let Some(tagged @ Tagged::Made(..)) = self.drafts.tagged(base, tag) else { return Err(Errno::ENOENT) };
        let Tagged::Made(path, czxid) = &tagged else { return Err(Errno::ENOENT) };
        match self.stat(path).await {
            Ok(stat) if stat.czxid == *czxid => Ok((path.clone(), stat)),
            Ok(stat) if *czxid == ANY => {
                self.drafts.name(base, tag, Tagged::Made(path.clone(), stat.czxid));
                Ok((path.clone(), stat))
            }
            Ok(_) | Err(Errno::ENOENT) => {
                self.drafts.forget(base, tag, &tagged);
                Err(Errno::ENOENT)
            }
            Err(error) => Err(error),
        }
    }

    /// Fails when a tag names a znode.
    pub(super) async fn check_tag_free(&self, base: &ZnodePath, flags: &Flags) -> Result<()> {
        match self.tagged(base, flags).await {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the znode of a draft whose name is asked for, if it is one yet.
    pub(super) async fn finish_draft(&self, ino: Ino) -> Result<()> {
        let file = self.changes.inodes.file(ino);
        let _turn = self.turn(&file.write).await?;
        if self.drafts.get(ino).is_some() {
            self.make_draft(ino, Bytes::new()).await?;
        }
        Ok(())
    }

    /// Counts a look-up of a tagged name: a symbolic link to the assigned one.
    pub(super) fn tag_entry(&self, path: &ZnodePath, stat: &Stat, name: &OsStr) -> Entry {
        let face = Face::Tag(name.to_string_lossy().into_owned());
        let ino = self.changes.inodes.look_up(Node { path: path.clone(), czxid: stat.czxid, face: face.clone() });
        let mut attributes = self.painter.znode(ino, &face, stat, None);
        attributes.size = self.options.names.show(path.name()).len() as u64;
        Entry { attributes, ttl: std::time::Duration::ZERO }
    }

    /// The target of a tagged name: the assigned name, in the same directory.
    pub fn readlink(&self, ino: Ino) -> Result<Bytes> {
        let node = self.changes.inodes.node(ino).ok_or(Errno::ESTALE)?;
        match node.face {
            Face::Tag(_) => Ok(Bytes::from(self.options.names.show(node.path.name()))),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The path that a name stands for, where that is to be renamed or removed.
    pub(super) async fn existing(&self, target: Target) -> Result<ZnodePath> {
        match target {
            Target::Znode(path) => Ok(path),
            Target::Create { path, flags } if flags.looks_up() => Ok(path),
            Target::Create { path, flags } => Ok(self.tagged(&path, &flags).await?.0),
            Target::View(..) => Err(Errno::EPERM),
        }
    }

    /// What rename(2), link(2) and mkdir(2) to a sequential name made: its tag is remembered.
    pub(super) fn tag(&self, base: &ZnodePath, flags: &Flags, path: &ZnodePath, czxid: Zxid) {
        if let Some(tag) = &flags.tag {
            self.drafts.name(base, tag, Tagged::Made(path.clone(), czxid));
        }
    }

    /// Whether a close(2) by this caller ends a draft: it was killed before it wrote anything.
    pub(super) fn abandons(&self, ino: Ino, caller: Caller) -> bool {
        self.drafts.get(ino).is_some() && caller.is_killed()
    }
}
