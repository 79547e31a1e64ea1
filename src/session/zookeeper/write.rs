//! Writes. One whose reply was lost is settled before it is sent again.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use zookeeper_client as zk;

use super::ephemerals::Wanted;
use super::guard::{self, Job, Made};
use super::judge::{self, Write};
use super::link::{Answer, Asks, Link, Reply};
use super::{Shared, wire};
use crate::mapping::{Acl, SessionId, Stat, ZnodePath, Zxid};
use crate::session::{CreateMode, Creation, MultiError, Op, OpResult, StoreError};

/// Why a server refuses a time to live.
pub const NO_TTL: StoreError =
    StoreError::Unsupported("TTL: the server runs without zookeeper.extendedTypesEnabled=true");

impl Shared {
    fn fits(&self, body: usize) -> Result<(), StoreError> {
        if self.sizes.fits(body) { Ok(()) } else { Err(StoreError::TooLarge) }
    }

    fn acl<'a>(&'a self, acl: Option<&'a [Acl]>) -> &'a [Acl] {
        acl.unwrap_or(&self.settings.acl)
    }

    pub(super) async fn create(self: &Arc<Shared>, creation: &Creation) -> Result<(ZnodePath, Stat), StoreError> {
        self.fits(self.sizes.create(creation, self.acl(creation.acl.as_deref())))?;
        if Wanted::of(creation).is_some() {
            return match guard::run(self, Job::Create(creation.clone())).await {
                Ok(Made::Created(path, stat)) => Ok((path, stat)),
                Ok(Made::Multi(..)) => Err(StoreError::Unexpected("another answer than was asked for".to_owned())),
                Err(error) => Err(error.error),
            };
        }
        let writes = [Write::create(&creation.path, creation.mode)];
        let result = self.write(&creation.path, &writes, &[], |client| self.send_create(client, creation)).await;
        let (path, stat) = result.map_err(|error| unsupported(creation.mode, error))?;
        Ok((path, self.board.note(stat)))
    }

    /// Sends a creation: the path and Stat of what it makes.
    pub(super) fn send_create(&self, client: zk::Client, creation: &Creation) -> Answer<(ZnodePath, Stat)> {
        let acl = wire::acl_to_wire(self.acl(creation.acl.as_deref()));
        let Creation { path, data, mode, .. } = creation.clone();
        Box::pin(async move {
            let options = wire::create_options(mode, &acl);
            let (stat, number) = client.create(path.as_str(), &data, &options).await?;
            let path = if mode.is_sequential() { append(&path, &number.to_string()) } else { path };
            Ok((path, wire::stat(&stat)))
        })
    }

    pub(super) async fn set(&self, path: &ZnodePath, data: Bytes, version: Option<i32>) -> Result<Stat, StoreError> {
        self.fits(self.sizes.set(path, data.len()))?;
        let writes = [Write::Set { path: path.clone() }];
        let send =
            |client: zk::Client| -> Answer<zk::Stat> { Box::pin(client.set_data(path.as_str(), &data, version)) };
        let based = based(path, version);
        self.write(path, &writes, &based, send).await.map(|stat| self.board.note(wire::stat(&stat)))
    }

    pub(super) async fn delete(&self, path: &ZnodePath, version: Option<i32>) -> Result<(), StoreError> {
        let writes = [Write::Delete { path: path.clone() }];
        let send = |client: zk::Client| -> Answer<()> { Box::pin(client.delete(path.as_str(), version)) };
        self.write(path, &writes, &based(path, version), send).await?;
        self.ephemerals.forget(path);
        Ok(())
    }

    pub(super) async fn set_acl(
        &self,
        path: &ZnodePath,
        acl: &[Acl],
        version: Option<i32>,
    ) -> Result<Stat, StoreError> {
        self.fits(self.sizes.set_acl(path, acl))?;
        if acl.is_empty() {
            return Err(StoreError::InvalidAcl);
        }
        let writes = [Write::SetAcl { path: path.clone(), version }];
        let send = |client: zk::Client| -> Answer<zk::Stat> {
            let (path, acl) = (path.clone(), wire::acl_to_wire(acl));
            Box::pin(async move { client.set_acl(path.as_str(), &acl, version).await })
        };
        self.write(path, &writes, &[], send).await.map(|stat| self.board.note(wire::stat(&stat)))
    }

    pub(super) async fn multi(self: &Arc<Shared>, ops: &[Op], restore: &[Op]) -> Result<Vec<OpResult>, MultiError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        self.fits(self.sizes.multi(ops, &self.settings.acl))?;
        if !Wanted::of_multi(ops).is_empty() {
            let job = Job::Multi { ops: ops.to_vec(), restore: restore.to_vec() };
            return match guard::run(self, job).await? {
                Made::Multi(results, _) => Ok(results),
                Made::Created(..) => Err(StoreError::Unexpected("another answer than was asked for".to_owned()).into()),
            };
        }
        let writes = Write::of_multi(ops);
        let first = writes.first().and_then(|write| judge::witnesses(std::slice::from_ref(write)).pop());
        let about = first.unwrap_or_else(ZnodePath::root);
        let based = based_of_multi(ops);
        let outcome = self.write(&about, &writes, &based, |client| self.send_multi(client, ops)).await?;
        outcome.inspect(|results| self.note_multi(results)).map_err(|error| multi_error(ops, error))
    }

    /// Sends a transaction. The inner result is the server's refusal of one of the operations.
    pub(super) fn send_multi(&self, client: zk::Client, ops: &[Op]) -> Answer<Result<Vec<OpResult>, MultiError>> {
        let ops = ops.to_vec();
        let acls: Vec<Vec<zk::Acl>> = ops.iter().map(|op| self.op_acl(op)).collect();
        Box::pin(async move {
            let mut writer = client.new_multi_writer();
            for (index, (op, acl)) in ops.iter().zip(&acls).enumerate() {
                let added = match op {
                    Op::Check { path, version } => writer.add_check_version(path.as_str(), version.unwrap_or(-1)),
                    Op::Create(creation) => {
                        let options = wire::create_options(creation.mode, acl);
                        writer.add_create(creation.path.as_str(), &creation.data, &options)
                    }
                    Op::Set { path, data, version } => writer.add_set_data(path.as_str(), data, *version),
                    Op::Delete { path, version } => writer.add_delete(path.as_str(), *version),
                };
                if let Err(error) = added {
                    return Ok(Err(MultiError { index: Some(index), error: wire::part_error(&error) }));
                }
            }
            match writer.commit().await {
                Ok(results) => Ok(results.into_iter().map(op_result).collect()),
                Err(zk::MultiWriteError::OperationFailed { index, source }) => {
                    Ok(Err(MultiError { index: Some(index), error: wire::part_error(&source) }))
                }
                Err(zk::MultiWriteError::RequestFailed { source }) => Err(source),
            }
        })
    }

    fn op_acl(&self, op: &Op) -> Vec<zk::Acl> {
        match op {
            Op::Create(creation) => wire::acl_to_wire(self.acl(creation.acl.as_deref())),
            Op::Check { .. } | Op::Set { .. } | Op::Delete { .. } => Vec::new(),
        }
    }

    pub(super) fn note_multi(&self, results: &[OpResult]) {
        for result in results {
            if let OpResult::Set(stat) = result {
                self.board.note(*stat);
            }
        }
    }

    /// Sends a write until it is answered or cannot be settled, and not after the deadline. `based` are the znodes whose
    /// versions it depends on.
    async fn write<T>(
        &self,
        about: &ZnodePath,
        writes: &[Write],
        based: &[ZnodePath],
        send: impl Fn(zk::Client) -> Answer<T>,
    ) -> Result<T, StoreError> {
        let deadline = Some(self.deadline());
        let mut after = 0;
        let basis = self.basis();
        loop {
            let link = self.board.connected(deadline, after).await?;
            after = link.number;
            if !self.is_sound(&basis, &link, based, deadline).await? {
                continue;
            }
            let seen = self.board.seen();
            match link.request(deadline, Asks::Leader, &send).await {
                Reply::Done(value) => {
                    self.board.drain();
                    return Ok(value);
                }
                Reply::Refused(error) => {
                    self.board.drain();
                    return Err(error);
                }
                Reply::NotSent => {}
                Reply::Late => return Err(unknown(about, link.session, StoreError::Unanswered)),
                Reply::Lost => match self.settle(&link, writes, seen, deadline).await {
                    // The next attempt may use the connection on which it was settled.
                    Ok(settled) => after = settled.number - 1,
                    Err(error) => return Err(unknown(about, link.session, error)),
                },
            }
        }
    }

    /// What a write that begins now is based on.
    pub(super) fn basis(&self) -> Basis {
        Basis { connection: self.board.current(), seen: self.board.seen() }
    }

    /// Whether a write may be sent on this connection as far as its versions are concerned; false when the connection failed.
    ///
    /// A znode that is made anew counts its versions anew. While a write waited for a connection, others may have made one that
    /// has reached the same version by now, so that the server would take it for the one that was read.
    ///
    /// # Errors
    /// [`StoreError::BadVersion`] when one of the znodes has been set or made since.
    pub(super) async fn is_sound(
        &self,
        basis: &Basis,
        link: &Link,
        based: &[ZnodePath],
        deadline: Option<Instant>,
    ) -> Result<bool, StoreError> {
        if based.is_empty() || basis.connection == Some(link.number) {
            return Ok(true);
        }
        let Some(stats) = self.stats(link, based, deadline).await? else { return Ok(false) };
        if stats.values().any(|stat| stat.mzxid > basis.seen) { Err(StoreError::BadVersion) } else { Ok(true) }
    }

    /// Proves that a write was not applied: the connection on which that was seen.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] when it may have been applied, [`StoreError::Unanswered`] at the deadline.
    pub(super) async fn settle(
        &self,
        lost: &Link,
        writes: &[Write],
        seen: Zxid,
        deadline: Option<Instant>,
    ) -> Result<Arc<Link>, StoreError> {
        let mut last = Arc::clone(&self.board.reconnected(lost, deadline).await.map_err(unsettled)?);
        loop {
            match self.stats(&last, &judge::witnesses(writes), deadline).await? {
                Some(stats) if judge::is_disproved(writes, seen, &stats) => return Ok(last),
                Some(_) => return Err(StoreError::Unknown),
                None => last = self.board.reconnected(&last, deadline).await.map_err(unsettled)?,
            }
        }
    }

    /// The Stats of those znodes that exist and may be looked at; none when the connection failed.
    async fn stats(
        &self,
        link: &Link,
        paths: &[ZnodePath],
        deadline: Option<Instant>,
    ) -> Result<Option<HashMap<ZnodePath, Stat>>, StoreError> {
        let mut stats = HashMap::new();
        for path in paths {
            let send = |client: zk::Client| -> Answer<_> { Box::pin(client.check_stat(path.as_str())) };
            match link.request(deadline, Asks::Server, send).await {
                Reply::Done(Some(stat)) => {
                    stats.insert(path.clone(), wire::stat(&stat));
                }
                Reply::Done(None) | Reply::Refused(_) => {}
                Reply::NotSent | Reply::Lost => return Ok(None),
                Reply::Late => return Err(StoreError::Unanswered),
            }
        }
        Ok(Some(stats))
    }
}

/// The moment at which a write began.
pub(super) struct Basis {
    connection: Option<u64>,
    seen: Zxid,
}

/// The znode whose version a request depends on.
fn based(path: &ZnodePath, version: Option<i32>) -> Vec<ZnodePath> {
    version.map(|_| path.clone()).into_iter().collect()
}

/// The znodes whose versions a transaction depends on, as far as it has not made them itself.
pub(super) fn based_of_multi(ops: &[Op]) -> Vec<ZnodePath> {
    let depends = |op: &Op| match op {
        Op::Check { path, version } | Op::Set { path, version, .. } | Op::Delete { path, version } => {
            version.map(|_| path.clone())
        }
        Op::Create(_) => None,
    };
    let mut paths: Vec<ZnodePath> = ops.iter().filter_map(depends).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Whether it was applied is as unknown when the session is lost as when the store is closed under it.
fn unsettled(error: StoreError) -> StoreError {
    if error == StoreError::Unanswered { error } else { StoreError::Unknown }
}

/// Logs an outcome that nobody can tell.
pub(super) fn unknown(about: &ZnodePath, session: SessionId, error: StoreError) -> StoreError {
    if matches!(error, StoreError::Unknown | StoreError::Unanswered) {
        tracing::warn!(path = %about, %session, %error, "a write may or may not have been applied");
    }
    error
}

/// A server that does not know how to make such a znode says only that it does not know the operation.
pub(super) fn unsupported(mode: CreateMode, error: StoreError) -> StoreError {
    match error {
        StoreError::Unsupported(_) if matches!(mode, CreateMode::Ttl(_)) => NO_TTL,
        error => error,
    }
}

/// The same for a transaction, where the failed operation says which mode it was.
pub(super) fn multi_error(ops: &[Op], error: MultiError) -> MultiError {
    let mode = error.index.and_then(|index| match ops.get(index) {
        Some(Op::Create(creation)) => Some(creation.mode),
        _ => None,
    });
    match mode {
        Some(mode) => MultiError { error: unsupported(mode, error.error), ..error },
        None => error,
    }
}

fn op_result(result: zk::MultiWriteResult) -> Result<OpResult, MultiError> {
    match result {
        zk::MultiWriteResult::Check | zk::MultiWriteResult::Delete => Ok(OpResult::Done),
        zk::MultiWriteResult::Create { path, .. } => match ZnodePath::parse(&path) {
            Ok(path) => Ok(OpResult::Created(path)),
            Err(error) => Err(StoreError::Unexpected(format!("created {path:?}: {error}")).into()),
        },
        zk::MultiWriteResult::SetData { stat } => Ok(OpResult::Set(wire::stat(&stat))),
        _ => Err(StoreError::Unexpected("another answer than was asked for".to_owned()).into()),
    }
}

/// The path with the number that the server appended.
fn append(path: &ZnodePath, number: &str) -> ZnodePath {
    let name = format!("{}{number}", path.name());
    path.parent().map_or_else(|| path.clone(), |parent| parent.join_raw(&name))
}
