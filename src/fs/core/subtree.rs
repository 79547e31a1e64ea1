//! A znode with all that is below it, to be made elsewhere in one transaction.

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, try_join_all};

use super::create::file_ops;
use super::{Core, Result};
use crate::error::Errno;
use crate::fs::changes::MARK;
use crate::mapping::{Acl, Kind, SessionId, Stat, ZnodePath};
use crate::session::{CreateMode, Creation, Op, Store};

/// A znode as it was read.
#[derive(Debug)]
pub(super) struct Twig {
    pub path: ZnodePath,
    pub data: Bytes,
    pub stat: Stat,
    pub acl: Vec<Acl>,
}

/// A znode and all that is below it, parents first.
#[derive(Debug)]
pub(super) struct Subtree {
    pub twigs: Vec<Twig>,
    root: ZnodePath,
}

impl Subtree {
    /// The znode itself.
    pub fn top(&self) -> Option<&Twig> {
        self.twigs.first()
    }

    /// The operations that make the same at another path.
    ///
    /// # Errors
    /// `EPERM` when an ephemeral of another session is among them: nobody else can make it anew.
    pub fn make(&self, to: &ZnodePath, session: SessionId) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        for twig in &self.twigs {
            let path = twig.path.rebase(&self.root, to).ok_or(Errno::EIO)?;
            let mode = mode_of(&twig.stat, session)?;
            let creation = Creation { path: path.clone(), data: twig.data.clone(), mode, acl: Some(twig.acl.clone()) };
            match twig.stat.kind() {
                Kind::File => ops.extend(file_ops(creation)),
                Kind::Directory => {
                    let marked = twig.stat.num_children == 0 && !twig.data.is_empty();
                    ops.push(Op::Create(creation));
                    if marked {
                        let mark = path.join_raw(MARK);
                        let (data, mode, acl) = (Bytes::new(), CreateMode::Persistent, Some(Acl::open()));
                        ops.push(Op::Create(Creation { path: mark.clone(), data, mode, acl }));
                        ops.push(Op::Delete { path: mark, version: None });
                    }
                }
            }
        }
        Ok(ops)
    }

    /// The operations that delete it, if it is still as it was read.
    pub fn delete(&self) -> Vec<Op> {
        let last_first = self.twigs.iter().rev();
        last_first.map(|twig| Op::Delete { path: twig.path.clone(), version: Some(twig.stat.version) }).collect()
    }
}

/// How a znode like this one is made anew.
fn mode_of(stat: &Stat, session: SessionId) -> Result<CreateMode> {
    match stat.is_ephemeral() {
        false => Ok(CreateMode::Persistent),
        true if stat.ephemeral_owner == session => Ok(CreateMode::Ephemeral),
        true => Err(Errno::EPERM),
    }
}

/// What operations cost in a request, in bytes.
pub(super) fn cost(ops: &[Op]) -> usize {
    ops.iter().map(|op| crate::session::store::OP_OVERHEAD + content(op)).sum()
}

fn content(op: &Op) -> usize {
    match op {
        Op::Check { path, .. } | Op::Delete { path, .. } => path.as_str().len(),
        Op::Set { path, data, .. } => path.as_str().len() + data.len(),
        Op::Create(Creation { path, data, acl, .. }) => {
            let acl: usize = acl.iter().flatten().map(|entry| 16 + entry.scheme.len() + entry.id.len()).sum();
            path.as_str().len() + data.len() + acl
        }
    }
}

impl<S: Store> Core<S> {
    /// Reads a znode and all that is below it, from the store.
    ///
    /// # Errors
    /// `EXDEV` as soon as it is clear that one transaction cannot hold it.
    pub(super) async fn read_subtree(&self, root: &ZnodePath) -> Result<Subtree> {
        let limit = self.remote(root).multi_limit();
        let mut subtree = Subtree { twigs: Vec::new(), root: root.clone() };
        let mut level = vec![root.clone()];
        let mut bytes = 0;
        while !level.is_empty() {
            let read = try_join_all(level.iter().map(|path| self.read_twig(path))).await?;
            let mut next = Vec::new();
            for (twig, names) in read {
                bytes += twig.data.len() + crate::session::store::OP_OVERHEAD;
                next.extend(names.iter().map(|name| twig.path.join_raw(name)));
                subtree.twigs.push(twig);
            }
            if bytes + next.len() * crate::session::store::OP_OVERHEAD > limit {
                return Err(Errno::EXDEV);
            }
            level = next;
        }
        Ok(subtree)
    }

    fn read_twig<'a>(&'a self, path: &'a ZnodePath) -> BoxFuture<'a, Result<(Twig, Vec<String>)>> {
        async move {
            let store = self.remote(path);
            let (data, stat) = store.get(path).await?;
            let (acl, _) = store.get_acl(path).await?;
            let names = if stat.num_children > 0 { store.children(path).await?.0 } else { Vec::new() };
            Ok((Twig { path: path.clone(), data, stat, acl }, names))
        }
        .boxed()
    }
}
