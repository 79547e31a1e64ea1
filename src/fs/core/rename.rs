//! Renaming: one transaction, so that there is no moment at which both names exist, or neither.

use std::ffi::OsStr;
use std::time::Duration;

use tokio::time::Instant;

use super::create::{file_mode, file_ops};
use super::subtree::{Subtree, cost};
use super::write::jitter;
use super::{Caller, Core, Result, Target};
use crate::error::Errno;
use crate::fs::inode::Ino;
use crate::fs::own::changes_of;
use crate::mapping::{Flags, Kind, Lifetime, Stat, View, ZnodePath};
use crate::session::{Change, CreateMode, Creation, Op, OpResult, Store, StoreError, store};

/// What happens to a target that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// It is replaced.
    Replace,
    /// The rename fails.
    NoReplace,
    /// It gets the source's name.
    Exchange,
}

/// A rename that was done; what is needed to take it back when it was to create something.
#[derive(Debug, Default)]
pub struct Renamed(pub(super) Option<Done>);

/// How a rename is taken back.
#[derive(Debug)]
pub(super) struct Done {
    pub from: ZnodePath,
    pub to: ZnodePath,
    pub undo: Vec<Op>,
}

/// The transaction of a rename, and what makes the source again.
struct Relocation {
    ops: Vec<Op>,
    restore: Vec<Op>,
}

/// The first pause after others changed what was to be renamed.
const BACKOFF: Duration = Duration::from_millis(2);

impl<S: Store> Core<S> {
    /// Renames a file, or a directory with all that is in it.
    ///
    /// # Errors
    /// `EXDEV` when one transaction cannot hold it, on which mv(1) copies; `EPERM` for an ephemeral of another session;
    /// `EBUSY` when others changed it again and again until the deadline; those of rename(2).
    pub async fn rename(
        &self,
        parent: Ino,
        name: &OsStr,
        new_parent: Ino,
        new_name: &OsStr,
        mode: RenameMode,
        caller: Caller,
    ) -> Result<Renamed> {
        let from = self.existing(self.target(parent, name).await?).await?;
        let (to, wish) = match self.target(new_parent, new_name).await? {
            Target::Znode(path) => (path, None),
            Target::Create { path, flags } => (path, Some(flags)),
            Target::View(path, View::Dir | View::Data) => (path, None),
            Target::View(..) => return Err(Errno::EPERM),
        };
        self.check_writable(&from)?;
        self.check_writable(&to)?;
        if let Some(flags) = wish.as_ref().filter(|flags| flags.sequential) {
            if mode == RenameMode::Exchange {
                return Err(Errno::EINVAL);
            }
            self.check_tag_free(&to, flags).await?;
            if !self.departures.is_ready(caller, &from) {
                return Err(Errno::ESTALE);
            }
        }
        if to.is_within(&from) || from.is_within(&to) {
            let other_way = if to.is_within(&from) { Errno::EINVAL } else { Errno::ENOTEMPTY };
            return if from == to && wish.is_none() { Ok(Renamed::default()) } else { Err(other_way) };
        }
        self.commit_truncation(&from).await?;
        let source_exists = match self.stat(&from).await {
            Ok(_) => true,
            Err(Errno::ENOENT) => false,
            Err(error) => return Err(error),
        };
        if !source_exists {
            return self.promote(&from, &to, wish.as_ref(), mode).await;
        }
        if wish.is_none() && self.options.scratch.matches(to.name()) && self.stat(&to).await == Err(Errno::ENOENT) {
            // To keep it in memory only would delete it for all others: let the program copy it.
            return Err(Errno::EXDEV);
        }
        let renamed = self.relocate(&from, &to, wish.as_ref(), mode).await?;
        self.scratch.remove(&to);
        Ok(renamed)
    }

    /// Renames a scratch file: onto another scratch name in memory, onto a real one by one transaction.
    async fn promote(
        &self,
        from: &ZnodePath,
        to: &ZnodePath,
        wish: Option<&Flags>,
        mode: RenameMode,
    ) -> Result<Renamed> {
        let scratch = self.scratch.get(from).ok_or(Errno::ENOENT)?;
        if mode == RenameMode::Exchange {
            return Err(Errno::EINVAL);
        }
        let exists = match self.stat(to).await {
            Ok(_) => true,
            Err(Errno::ENOENT) => false,
            Err(error) => return Err(error),
        };
        if wish.is_none() && !exists && self.options.scratch.matches(to.name()) {
            if mode == RenameMode::NoReplace && self.scratch.get(to).is_some() {
                return Err(Errno::EEXIST);
            }
            self.scratch.rename(from, to);
            self.changes.inodes.renamed(from, to);
            return Ok(Renamed::default());
        }
        self.check_size(to, 0, scratch.data.len())?;
        let exclusive = mode == RenameMode::NoReplace || wish.is_some();
        let lifetime = moved_mode(wish)?;
        if let Some(flags) = wish.filter(|flags| flags.sequential) {
            let (made, stat) = self.make_sequential(to, scratch.data.clone(), lifetime).await?;
            self.tag(to, flags, &made, stat.czxid);
            self.scratch.remove(from);
            self.changes.inodes.renamed(from, &made);
            return Ok(promoted(from, &made, stat.version));
        }
        let deadline = Instant::now() + self.options.timeout;
        let stat = loop {
            let target = if exclusive { Err(Errno::ENOENT) } else { self.fresh_stat(to).await };
            let done = match target {
                Ok(stat) if stat.kind() == Kind::Directory => return Err(Errno::EISDIR),
                Ok(_) => {
                    self.forget_truncation(to);
                    let own = self.changes.own(vec![(to.clone(), Change::Modified)]);
                    self.remote(to).set(to, scratch.data.clone(), None).await.inspect(|_| own.applied())
                }
                Err(Errno::ENOENT) => self.make_file(to, scratch.data.clone(), lifetime, wish.is_none()).await,
                Err(error) => return Err(error),
            };
            match done {
                Ok(stat) => break stat,
                Err(StoreError::NodeExists | StoreError::NoNode) if !exclusive && Instant::now() < deadline => {}
                Err(error) => return Err(self.lost(to, error)),
            }
        };
        self.scratch.remove(from);
        self.changes.inodes.renamed(from, to);
        Ok(if wish.is_some() { promoted(from, to, stat.version) } else { Renamed::default() })
    }

    async fn relocate(
        &self,
        from: &ZnodePath,
        to: &ZnodePath,
        wish: Option<&Flags>,
        mode: RenameMode,
    ) -> Result<Renamed> {
        let deadline = Instant::now() + self.options.timeout;
        let mut pause = BACKOFF;
        let exchange = mode == RenameMode::Exchange;
        let moving = self.moving(&[from, if exchange { to } else { from }]);
        // Nobody may write to what is being renamed, or its version would be lost from sight.
        let mut turns = Vec::new();
        for file in moving.states() {
            turns.push(tokio::time::timeout_at(deadline, file.write.lock()).await.map_err(|_| Errno::ETIMEDOUT)?);
        }
        let (ops, done, restore) = loop {
            let Relocation { ops, restore } = self.relocation(from, to, wish, mode).await?;
            if cost(&ops) > self.remote(from).multi_limit() {
                return Err(Errno::EXDEV);
            }
            let mut own = changes_of(&ops);
            // The kernel tells of the name that was asked for, which with flags is not the file's.
            own.retain(|(path, _)| wish.is_none() || path != to);
            let own = self.changes.own(own);
            let error = match self.remote(from).multi_or_undo(&ops, &restore).await {
                Ok(done) => {
                    own.applied();
                    break (ops, done, restore);
                }
                Err(error) => error.error,
            };
            let moved = matches!(
                error,
                StoreError::BadVersion | StoreError::NotEmpty | StoreError::NoNode | StoreError::NodeExists
            );
            if !moved {
                self.lost(to, error.clone());
                return Err(self.lost(from, error));
            }
            // Somebody changed something since it was read. What that means is seen by reading again.
            if Instant::now() >= deadline {
                return Err(Errno::EBUSY);
            }
            tokio::time::sleep(jitter(pause)).await;
            pause *= 2;
        };
        let assigned = match (done.first(), wish) {
            (Some(OpResult::Created(path)), Some(flags)) if flags.sequential => {
                self.settle_sequential(to, flags, path).await;
                Some(path.clone())
            }
            _ => None,
        };
        let to = assigned.as_ref().unwrap_or(to);
        let place = |old: &ZnodePath| match old.rebase(from, to) {
            None if exchange => old.rebase(to, from),
            new => new,
        };
        self.base_anew(&moving, &ops, &done, place).await;
        self.forget_truncation(to);
        if exchange {
            let aside = ZnodePath::root().join_raw("zkmount exchange");
            self.moved(to, &aside);
            self.moved(from, to);
            self.moved(&aside, from);
        } else {
            self.moved(from, to);
            self.pin(to).await;
        }
        self.came_or_went(from);
        self.came_or_went(to);
        let undo = |_| Done { from: from.clone(), to: to.clone(), undo: store::undo(&ops, &done, &restore) };
        Ok(Renamed(wish.map(undo)))
    }

    /// The handles of a file that was renamed are of this incarnation, and of no later one of the same name.
    async fn pin(&self, path: &ZnodePath) {
        let inodes = &self.changes.inodes;
        if inodes.at(path).into_iter().any(|ino| inodes.is_open(ino))
            && let Ok(stat) = self.fresh_stat(path).await
        {
            inodes.pin(path, stat.czxid);
        }
    }

    /// What is open or tagged at or below `from` is at the same place of `to` now.
    fn moved(&self, from: &ZnodePath, to: &ZnodePath) {
        self.changes.inodes.renamed(from, to);
        self.drafts.renamed(from, to);
    }

    /// Remembers the tag of a file that was renamed to a sequential name, and makes a file of it when it is empty.
    async fn settle_sequential(&self, base: &ZnodePath, flags: &Flags, path: &ZnodePath) {
        // The rename has happened: what fails from here on is only logged.
        let stat = match self.fresh_stat(path).await {
            Ok(stat) if stat.kind() == Kind::Directory && stat.num_children == 0 => self.finish_empty(path, stat).await,
            result => result,
        };
        match stat {
            Ok(stat) => self.tag(base, flags, path, stat.czxid),
            Err(error) => tracing::warn!(%path, %error, "renamed, but its tag is lost"),
        }
    }

    /// The transaction that renames, by what is there now.
    async fn relocation(
        &self,
        from: &ZnodePath,
        to: &ZnodePath,
        wish: Option<&Flags>,
        mode: RenameMode,
    ) -> Result<Relocation> {
        let session = self.store.session().id;
        let source = self.read_subtree(from).await?;
        let top = source.top().ok_or(Errno::ENOENT)?;
        let kind = top.stat.kind();
        let target = match self.fresh_stat(to).await {
            Ok(stat) => Some(stat),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        if let Some(flags) = wish {
            let ops = wished(&source, to, flags, target.is_some())?;
            return Ok(Relocation { ops, restore: source.make(from, session)? });
        }
        let mut restore = source.make(from, session)?;
        let ops = match (target, mode) {
            (Some(_), RenameMode::NoReplace) => Err(Errno::EEXIST),
            (None, RenameMode::Exchange) => Err(Errno::ENOENT),
            (Some(_), RenameMode::Exchange) => {
                // Both are made anew: the kernel swaps its entries by itself, and must not find the old incarnations.
                let other = self.read_subtree(to).await?;
                restore.extend(other.make(to, session)?);
                let mut ops = source.delete();
                ops.extend(other.delete());
                ops.extend(source.make(to, session)?);
                ops.extend(other.make(from, session)?);
                Ok(ops)
            }
            (Some(target), RenameMode::Replace) => {
                let mut ops = match (kind, target.kind()) {
                    (Kind::File, Kind::Directory) => return Err(Errno::EISDIR),
                    (Kind::Directory, Kind::File) => return Err(Errno::ENOTDIR),
                    (Kind::Directory, Kind::Directory) if target.num_children > 0 => return Err(Errno::ENOTEMPTY),
                    (Kind::Directory, Kind::Directory) => {
                        let mut ops = vec![Op::Delete { path: to.clone(), version: Some(target.version) }];
                        ops.extend(source.make(to, session)?);
                        ops
                    }
                    (Kind::File, Kind::File) => {
                        may_move(&top.stat, session)?;
                        vec![Op::Set { path: to.clone(), data: top.data.clone(), version: None }]
                    }
                };
                ops.extend(source.delete());
                Ok(ops)
            }
            (None, RenameMode::Replace | RenameMode::NoReplace) => {
                let mut ops = source.make(to, session)?;
                ops.extend(source.delete());
                Ok(ops)
            }
        };
        Ok(Relocation { ops: ops?, restore })
    }

    /// A truncation of a file that is being replaced is not to be committed any more.
    fn forget_truncation(&self, path: &ZnodePath) {
        for ino in self.changes.inodes.truncated_at(path) {
            self.changes.inodes.file(ino).settle();
        }
    }
}

/// A scratch file that was renamed to a name with creation flags. What it was is gone with the program that made it.
fn promoted(from: &ZnodePath, to: &ZnodePath, version: i32) -> Renamed {
    let undo = vec![Op::Delete { path: to.clone(), version: Some(version) }];
    Renamed(Some(Done { from: from.clone(), to: to.clone(), undo }))
}

/// An ephemeral belongs to its session, and only that may take it away from where others look for it.
fn may_move(stat: &Stat, session: crate::mapping::SessionId) -> Result<()> {
    if stat.is_ephemeral() && stat.ephemeral_owner != session { Err(Errno::EPERM) } else { Ok(()) }
}

/// The transaction that renames a file to a name with creation flags; never onto one that exists.
fn wished(source: &Subtree, to: &ZnodePath, flags: &Flags, exists: bool) -> Result<Vec<Op>> {
    let top = source.top().ok_or(Errno::ENOENT)?;
    let mode = moved_mode(Some(flags))?;
    if exists && !flags.sequential {
        return Err(Errno::EEXIST);
    }
    if top.stat.kind() == Kind::Directory {
        return Err(Errno::EPERM);
    }
    let creation = Creation { path: to.clone(), data: top.data.clone(), mode, acl: Some(top.acl.clone()) };
    let mut ops = if flags.sequential { vec![Op::Create(creation)] } else { file_ops(creation) };
    ops.extend(source.delete());
    Ok(ops)
}

/// How a file that is moved to a name with these flags is made. Nothing is open that could hold a held one.
fn moved_mode(flags: Option<&Flags>) -> Result<CreateMode> {
    match flags {
        Some(flags) if flags.lifetime == Lifetime::Held => Err(Errno::EPERM),
        flags => file_mode(flags),
    }
}
