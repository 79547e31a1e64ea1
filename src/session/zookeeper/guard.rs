//! Requests for ephemerals.
//!
//! An ephemeral that nobody knows of blocks everybody for as long as the session lives. So a request for one does not end
//! with its caller: when the caller has been told that it failed, or has gone away, the request is still followed until
//! its outcome is known, and what it made is deleted at once; and what it deleted, such as the source of a rename, is made
//! again by the same transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use zookeeper_client as zk;

use super::ephemerals::{Claim, Lost, Wanted};
use super::judge::Write;
use super::link::{Answer, Asks, Link, Reply};
use super::write::{based_of_multi, multi_error, unknown};
use super::{Shared, wire};
use crate::mapping::{SessionId, Stat, ZnodePath, Zxid};
use crate::session::pin::{pin, with_pin};
use crate::session::{Creation, MultiError, Op, OpResult, StoreError, store};

/// A request that makes ephemerals.
#[derive(Debug, Clone)]
pub enum Job {
    Create(Creation),
    /// A transaction, and what makes again what it deletes.
    Multi {
        ops: Vec<Op>,
        restore: Vec<Op>,
    },
}

/// What it made.
#[derive(Debug, Clone)]
pub enum Made {
    Created(ZnodePath, Stat),
    /// The results, and the ephemerals among them with the transaction that created them, where that is known.
    Multi(Vec<OpResult>, Vec<Ephemeral>),
}

type Ephemeral = (ZnodePath, Option<Zxid>);

/// What a request makes, or why not.
type Outcome = Result<Made, MultiError>;

impl Job {
    /// The ephemerals that it asks for, each with the place of its creation.
    fn wanted(&self) -> Vec<(usize, Wanted)> {
        match self {
            Job::Create(creation) => Wanted::of(creation).into_iter().map(|wanted| (0, wanted)).collect(),
            Job::Multi { ops, .. } => Wanted::of_multi(ops),
        }
    }

    /// What it changes.
    fn writes(&self) -> Vec<Write> {
        match self {
            Job::Create(creation) => vec![Write::create(&creation.path, creation.mode)],
            Job::Multi { ops, .. } => Write::of_multi(ops),
        }
    }

    /// The znodes whose versions it depends on.
    fn based(&self) -> Vec<ZnodePath> {
        match self {
            Job::Create(_) => Vec::new(),
            Job::Multi { ops, .. } => based_of_multi(ops),
        }
    }

    fn about(&self) -> ZnodePath {
        self.wanted().into_iter().next().map_or_else(ZnodePath::root, |(_, wanted)| wanted.path)
    }

    /// The paths of the ephemerals that a transaction made.
    fn paths(&self, results: &[OpResult]) -> Vec<ZnodePath> {
        let path = |(place, _): (usize, Wanted)| match results.get(place) {
            Some(OpResult::Created(path)) => Some(path.clone()),
            _ => None,
        };
        self.wanted().into_iter().filter_map(path).collect()
    }
}

/// Runs a request until the deadline of an operation.
///
/// # Errors
/// As every write, and [`StoreError::SessionLost`] when it was sent and its session is gone: then so is what it made.
pub async fn run(shared: &Arc<Shared>, job: Job) -> Outcome {
    let deadline = shared.deadline();
    let sent = Arc::new(AtomicBool::new(false));
    let (answer, result) = oneshot::channel();
    let about = job.about();
    let session = shared.board.view().id;
    let mut caller = Caller { shared: Arc::clone(shared), job: job.clone(), result };
    let follow = {
        let (shared, sent) = (Arc::clone(shared), Arc::clone(&sent));
        async move {
            let outcome = follow(&shared, &job, deadline, &sent).await;
            if let Err(Ok(made)) = answer.send(outcome) {
                undo(&shared, &job, &made);
            }
        }
    };
    tokio::spawn(with_pin(pin(), follow));
    if let Ok(result) = timeout_at(deadline, &mut caller.result).await {
        return result.unwrap_or_else(|_| Err(StoreError::Unexpected("the request was dropped".to_owned()).into()));
    }
    // It may have come between the deadline and here; from here on it is undone.
    caller.result.close();
    match caller.result.try_recv() {
        Ok(outcome) => outcome,
        Err(_) if sent.load(Ordering::SeqCst) => Err(unknown(&about, session, StoreError::Unanswered).into()),
        Err(_) => Err(StoreError::TimedOut.into()),
    }
}

/// Who waits for the outcome. When it goes away with an outcome that it has not seen, that is undone.
struct Caller {
    shared: Arc<Shared>,
    job: Job,
    result: oneshot::Receiver<Outcome>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.result.close();
        if let Ok(Ok(made)) = self.result.try_recv() {
            undo(&self.shared, &self.job, &made);
        }
    }
}

fn undo(shared: &Arc<Shared>, job: &Job, made: &Made) {
    let log = |path: &ZnodePath| tracing::info!(%path, "deleting an ephemeral whose caller was told that it failed");
    match (job, made) {
        (_, Made::Created(path, stat)) => {
            log(path);
            retract(shared, path.clone(), Some(stat.czxid));
        }
        (Job::Multi { ops, restore }, Made::Multi(results, ephemerals)) if !restore.is_empty() => {
            ephemerals.iter().for_each(|(path, _)| log(path));
            let restore = store::undo(ops, results, restore);
            in_background(take_back(Arc::clone(shared), restore, ephemerals.clone()));
        }
        (_, Made::Multi(_, ephemerals)) => {
            for (path, czxid) in ephemerals {
                log(path);
                retract(shared, path.clone(), *czxid);
            }
        }
    }
}

fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(work)),
        Err(_) => tracing::warn!("no runtime to delete an ephemeral on; it lives as long as the session"),
    }
}

/// Sends a request until its outcome is known, however long that takes.
async fn follow(shared: &Arc<Shared>, job: &Job, deadline: Instant, sent: &AtomicBool) -> Outcome {
    let mut after = 0;
    let (basis, based) = (shared.basis(), job.based());
    loop {
        let link = shared.board.connected(Some(deadline), after).await?;
        after = link.number;
        if !shared.is_sound(&basis, &link, &based, Some(deadline)).await? {
            continue;
        }
        let ticket = shared.ephemerals.send();
        if Instant::now() >= deadline {
            return Err(StoreError::TimedOut.into());
        }
        sent.store(true, Ordering::SeqCst);
        let seen = shared.board.seen();
        match send(shared, &link, job).await {
            Reply::Done(outcome) => {
                shared.board.drain();
                return Ok(match outcome? {
                    Made::Created(path, stat) => {
                        shared.ephemerals.know(path.clone(), Some(stat.czxid));
                        Made::Created(path, stat)
                    }
                    Made::Multi(results, _) => {
                        let ephemerals = learn(shared, &link, job.paths(&results)).await;
                        Made::Multi(results, ephemerals)
                    }
                });
            }
            Reply::Refused(error) => {
                shared.board.drain();
                return Err(error.into());
            }
            Reply::NotSent | Reply::Late => sent.store(false, Ordering::SeqCst),
            Reply::Lost => {
                let lost = job.wanted().into_iter().map(|(_, wanted)| shared.ephemerals.lose(wanted)).collect();
                drop(ticket);
                match settle(shared, &link, job, lost, seen).await? {
                    Some(made) => return Ok(made),
                    None => {
                        sent.store(false, Ordering::SeqCst);
                        after = link.number;
                    }
                }
            }
        }
    }
}

/// Notes the ephemerals that a transaction made. Old servers do not tell which transaction that was, so they are looked
/// at; what is gone by then is nobody's any more.
async fn learn(shared: &Arc<Shared>, link: &Link, paths: Vec<ZnodePath>) -> Vec<Ephemeral> {
    let mut ephemerals = Vec::with_capacity(paths.len());
    for path in paths {
        let exists = |client: zk::Client| -> Answer<_> { Box::pin(client.check_stat(path.as_str())) };
        let czxid = match link.request(None, Asks::Server, exists).await {
            Reply::Done(None) => continue,
            Reply::Done(Some(stat)) if stat.ephemeral_owner != link.session.0 => continue,
            Reply::Done(Some(stat)) => Some(Zxid(stat.czxid)),
            Reply::Refused(_) | Reply::NotSent | Reply::Lost | Reply::Late => None,
        };
        shared.ephemerals.know(path.clone(), czxid);
        ephemerals.push((path, czxid));
    }
    ephemerals
}

async fn send(shared: &Arc<Shared>, link: &Link, job: &Job) -> Reply<Outcome> {
    match job {
        Job::Create(creation) => {
            let request = |client: zk::Client| shared.send_create(client, creation);
            match link.request(None, Asks::Leader, request).await {
                Reply::Done((path, stat)) => Reply::Done(Ok(Made::Created(path, shared.board.note(stat)))),
                Reply::Refused(error) => Reply::Refused(error),
                Reply::NotSent => Reply::NotSent,
                Reply::Lost => Reply::Lost,
                Reply::Late => Reply::Late,
            }
        }
        Job::Multi { ops, .. } => {
            let request = |client: zk::Client| shared.send_multi(client, ops);
            match link.request(None, Asks::Leader, request).await {
                Reply::Done(outcome) => {
                    let outcome = outcome.inspect(|results| shared.note_multi(results));
                    let made = |results| Made::Multi(results, Vec::new());
                    Reply::Done(outcome.map(made).map_err(|error| multi_error(ops, error)))
                }
                Reply::Refused(error) => Reply::Refused(error),
                Reply::NotSent => Reply::NotSent,
                Reply::Lost => Reply::Lost,
                Reply::Late => Reply::Late,
            }
        }
    }
}

/// Settles a request whose reply was lost, once its session is connected again: what it made, or none when it was not
/// applied.
async fn settle(
    shared: &Arc<Shared>,
    link: &Link,
    job: &Job,
    lost: Vec<Lost<'_>>,
    seen: Zxid,
) -> Result<Option<Made>, MultiError> {
    let reconnected = shared.board.reconnected(link, None).await?;
    let claims: Vec<Claim> = lost.into_iter().map(|lost| shared.ephemerals.claim(lost)).collect();
    // All were made, or none.
    let claimed = |claim: &Claim| match claim {
        Claim::Applied(path, stat) => Some((path.clone(), Some(stat.czxid))),
        Claim::NotApplied | Claim::Changed(..) => None,
    };
    let ephemerals: Vec<Ephemeral> = claims.iter().filter_map(claimed).collect();
    let unclear = || MultiError::from(unknown(&job.about(), link.session, StoreError::Unknown));
    match (claims.into_iter().next().unwrap_or(Claim::NotApplied), job) {
        (Claim::NotApplied, _) => disprove(shared, link, job, seen).await.map(|()| None),
        (Claim::Changed(path, stat), _) => {
            retract(shared, path, Some(stat.czxid));
            Err(unclear())
        }
        (Claim::Applied(path, stat), Job::Create(_)) => Ok(Some(Made::Created(path, shared.board.note(stat)))),
        (Claim::Applied(path, _), Job::Multi { ops, .. }) => {
            match results(shared, &reconnected, job, ops, path).await {
                Some(results) => Ok(Some(Made::Multi(results, ephemerals))),
                // It was applied, but what its other parts gave has been overtaken.
                None => Err(unclear()),
            }
        }
    }
}

/// Proves that a request was not applied that has left nothing. Somebody else may have deleted what it made, and it must
/// not be made twice.
async fn disprove(shared: &Arc<Shared>, lost: &Link, job: &Job, seen: Zxid) -> Result<(), MultiError> {
    if job.wanted().iter().all(|(_, wanted)| is_of_a_kind(wanted)) {
        return Ok(());
    }
    let Err(error) = shared.settle(lost, &job.writes(), seen, None).await else { return Ok(()) };
    let link = shared.board.reconnected(lost, None).await?;
    for (place, wanted) in job.wanted().into_iter().filter(|(_, wanted)| !wanted.sequential) {
        let exists = |client: zk::Client| -> Answer<_> { Box::pin(client.check_stat(wanted.path.as_str())) };
        // Whatever became of ours, by now the name is somebody else's.
        if let Reply::Done(Some(_)) = link.request(None, Asks::Server, exists).await {
            return Err(MultiError { index: Some(place), error: StoreError::NodeExists });
        }
    }
    Err(unknown(&job.about(), lost.session, error).into())
}

/// Whether nobody else can mean an ephemeral, as it has an id in its name: a contender for a lock.
fn is_of_a_kind(wanted: &Wanted) -> bool {
    wanted.sequential && wanted.path.name().starts_with("_c_")
}

/// The results of a transaction that is known to have been applied; none when they can no longer be told.
async fn results(
    shared: &Arc<Shared>,
    link: &Link,
    job: &Job,
    ops: &[Op],
    claimed: ZnodePath,
) -> Option<Vec<OpResult>> {
    let wanted = job.wanted();
    let (place, _) = wanted.first()?;
    let mut results = Vec::with_capacity(ops.len());
    for (index, op) in ops.iter().enumerate() {
        results.push(match op {
            Op::Check { .. } | Op::Delete { .. } => OpResult::Done,
            Op::Create(_) if index == *place => OpResult::Created(claimed.clone()),
            Op::Create(creation) if creation.mode.is_sequential() => return None,
            Op::Create(creation) => OpResult::Created(creation.path.clone()),
            Op::Set { path, version, .. } => {
                let sets_before = ops[..index].iter().filter(|op| matches!(op, Op::Set { path: p, .. } if p == path));
                let base = version.or_else(|| {
                    let created = |op: &Op| matches!(op, Op::Create(creation) if creation.path == *path);
                    ops[..index].iter().any(created).then(|| i32::try_from(sets_before.count()).unwrap_or(0))
                });
                let request = |client: zk::Client| -> Answer<_> { Box::pin(client.check_stat(path.as_str())) };
                let Reply::Done(Some(stat)) = link.request(None, Asks::Server, request).await else { return None };
                let stat = shared.board.note(wire::stat(&stat));
                // A later version is somebody else's: whoever based a write on it would overwrite that.
                if Some(stat.version) != base.map(|base| base.wrapping_add(1)) {
                    return None;
                }
                OpResult::Set(stat)
            }
        });
    }
    Some(results)
}

/// Deletes an ephemeral of the current session in the background, across interruptions, if it is the one that this
/// transaction created; any, where that is not known.
pub fn retract(shared: &Arc<Shared>, path: ZnodePath, czxid: Option<Zxid>) {
    let shared = Arc::clone(shared);
    let session = shared.board.view().id;
    in_background(async move {
        let mut after = 0;
        while let Ok(link) = shared.board.connected(None, after).await {
            if link.session != session || retract_on(&shared, &link, session, &path, czxid).await {
                return;
            }
            after = link.number;
        }
    });
}

/// Takes a transaction back that made these ephemerals.
async fn take_back(shared: Arc<Shared>, ops: Vec<Op>, ephemerals: Vec<Ephemeral>) {
    let session = shared.board.view().id;
    let mut after = 0;
    while let Ok(link) = shared.board.connected(None, after).await {
        if link.session != session {
            return;
        }
        after = link.number;
        match are_there(&link, &ephemerals).await {
            // Somebody has taken them, or an earlier try was applied.
            Some(false) => return,
            Some(true) => {}
            None => continue,
        }
        let error = match link.request(None, Asks::Leader, |client| shared.send_multi(client, &ops)).await {
            Reply::Done(Ok(results)) => {
                let restored = Job::Multi { ops, restore: Vec::new() };
                ephemerals.iter().for_each(|(path, _)| shared.ephemerals.forget(path));
                learn(&shared, &link, restored.paths(&results)).await;
                return;
            }
            Reply::Done(Err(error)) => error,
            Reply::Refused(error) => MultiError::from(error),
            Reply::NotSent | Reply::Lost | Reply::Late => continue,
        };
        // Others have been at it since. What must not be there goes all the same.
        tracing::warn!(%session, %error, "a change that failed late cannot be taken back as a whole");
        for (path, czxid) in ephemerals {
            retract(&shared, path, czxid);
        }
        return;
    }
}

/// Whether all of these are still there; none when the connection failed.
async fn are_there(link: &Link, ephemerals: &[Ephemeral]) -> Option<bool> {
    for (path, czxid) in ephemerals {
        let exists = |client: zk::Client| -> Answer<_> { Box::pin(client.check_stat(path.as_str())) };
        let there = match link.request(None, Asks::Server, exists).await {
            Reply::Done(Some(stat)) => {
                stat.ephemeral_owner == link.session.0 && czxid.is_none_or(|czxid| czxid.0 == stat.czxid)
            }
            Reply::Done(None) => false,
            // Without permission to look at it, the transaction decides.
            Reply::Refused(_) => true,
            Reply::NotSent | Reply::Lost | Reply::Late => return None,
        };
        if !there {
            return Some(false);
        }
    }
    Some(true)
}

/// True when it is gone, or not ours to delete.
async fn retract_on(
    shared: &Arc<Shared>,
    link: &Link,
    session: SessionId,
    path: &ZnodePath,
    czxid: Option<Zxid>,
) -> bool {
    let exists = |client: zk::Client| -> Answer<_> { Box::pin(client.check_stat(path.as_str())) };
    let stat = match link.request(None, Asks::Server, exists).await {
        Reply::Done(Some(stat)) => wire::stat(&stat),
        // Without permission to look at it, its owner cannot be told.
        Reply::Done(None) | Reply::Refused(_) => return true,
        Reply::NotSent | Reply::Lost | Reply::Late => return false,
    };
    if stat.ephemeral_owner != session || czxid.is_some_and(|czxid| czxid != stat.czxid) {
        return true;
    }
    let version = Some(stat.version);
    let delete = |client: zk::Client| -> Answer<()> { Box::pin(client.delete(path.as_str(), version)) };
    match link.request(None, Asks::Leader, delete).await {
        Reply::Done(()) => {
            shared.ephemerals.forget(path);
            true
        }
        // Somebody has set it meanwhile, which does not make it wanted; look again.
        Reply::Refused(StoreError::BadVersion) => Box::pin(retract_on(shared, link, session, path, czxid)).await,
        Reply::Refused(StoreError::NoNode) => true,
        Reply::Refused(error) => {
            tracing::warn!(%path, %session, %error, "an ephemeral that nobody knows of cannot be deleted");
            true
        }
        Reply::NotSent | Reply::Lost | Reply::Late => false,
    }
}
