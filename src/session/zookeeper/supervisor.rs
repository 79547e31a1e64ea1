//! The life of the session: who connects, notices, waits and gives up.
//!
//! A connection that fails is not left to the client library, which would connect again with a back-off that has no cap
//! and send what was queued meanwhile. Its task is ended, and the same session is taken up on a new one. That is also
//! what makes lost requests settle: once a server has granted the session to the new connection, nothing that was sent
//! on the old one can be applied any more. For the same reason a new session begins only when the old one is known to
//! be dead: expired, or closed by us when its validity ran out first.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use zookeeper_client as zk;

use super::clock::Validity;
use super::connect::{Backoff, ConnectError, OpenError, Opened, check_chroot, open, probe};
use super::ephemerals::Stray;
use super::link::{Asks, Link, Reply};
use super::settings::{ConnectString, OnLost, Settings};
use super::{Shared, peek, wire};
use crate::mapping::ZnodePath;
use crate::session::StoreError;

/// How long the closing of a session may take.
const CLOSING: Duration = Duration::from_secs(2);
/// How often the validity is looked at beside its end, since timers stop while the machine sleeps.
const LOOK: Duration = Duration::from_secs(1);

/// The first connection: its session and how to take it up again.
pub struct First {
    link: Arc<Link>,
    session: zk::SessionInfo,
}

/// Connects for the first time.
///
/// # Errors
/// When there is no store by the deadline of an operation.
pub async fn connect(shared: &Arc<Shared>) -> Result<First, ConnectError> {
    let settings = &shared.settings;
    let deadline = Instant::now() + settings.operation_timeout;
    let servers = ConnectString::parse(&settings.servers)?;
    let mut reached = false;
    let mut backoff = Backoff::new();
    let attempts = async {
        loop {
            let server = probe(&servers, settings.operation_timeout).await?;
            reached = true;
            match open(settings, &server.endpoint(settings.tls.is_some()), None).await {
                Ok(opened) => match begin(shared, opened).await? {
                    Some(first) => return Ok(first),
                    None => tracing::debug!(address = %server.address, "the connection failed at once"),
                },
                Err(OpenError::AuthFailed) => return Err(ConnectError::AuthFailed),
                Err(OpenError::Expired) => {}
                Err(OpenError::Failed(error)) => tracing::debug!(address = %server.address, error, "no session yet"),
            }
            sleep(backoff.pause()).await;
        }
    };
    match tokio::time::timeout_at(deadline, attempts).await {
        Ok(first) => first,
        Err(_) if reached => Err(ConnectError::NotServing { servers: servers.servers() }),
        Err(_) => Err(no_answer(settings, &servers)),
    }
}

/// Makes the first connection ready; none when it failed under that, which another one may not.
async fn begin(shared: &Arc<Shared>, opened: Opened) -> Result<Option<First>, ConnectError> {
    match check_chroot(&opened.client, &shared.settings).await {
        Ok(true) => {}
        Ok(false) => {
            opened.tasks.end().await;
            return Ok(None);
        }
        Err(error) => {
            opened.close(CLOSING).await;
            return Err(error);
        }
    }
    let session = opened.client.session().clone();
    match shared.set_up(opened, None).await {
        Ok(link) => Ok(Some(First { link, session })),
        Err(error) => {
            tracing::debug!(%error, "the first connection could not be set up");
            Ok(None)
        }
    }
}

fn no_answer(settings: &Settings, servers: &ConnectString) -> ConnectError {
    ConnectError::NoAnswer { servers: servers.servers(), within: settings.operation_timeout }
}

/// Looks after the session until the store is closed.
pub async fn run(shared: Arc<Shared>, first: First) {
    let First { mut link, mut session } = first;
    loop {
        tokio::select! {
            () = shared.tend(&link) => {}
            () = shared.closing() => {
                shared.board.close();
                link.close(CLOSING).await;
                break;
            }
        }
        shared.board.interrupt(&link);
        link.cut().await;
        shared.ephemerals.settled().await;
        match shared.reconnect(&link, session).await {
            Some(next) => (link, session) = (next.link, next.session),
            None => break,
        }
    }
    shared.board.close();
    shared.closed.send_replace(true);
}

impl Shared {
    /// Looks after a connection until it is of no further use.
    async fn tend(&self, link: &Link) {
        let mut states = link.states();
        if !link.is_usable() {
            return;
        }
        tokio::select! {
            // Any change will do: the library may have reconnected by itself meanwhile.
            state = states.changed() => tracing::debug!(session = %link.session, %state, "the connection changed"),
            () = link.ended() => {}
            () = self.heartbeat(link) => {}
            () = over(&link.validity) => {}
        }
    }

    /// Keeps the leader confirming the session.
    async fn heartbeat(&self, link: &Link) {
        loop {
            let due = (link.timeout / 3).saturating_sub(link.validity.age());
            if !due.is_zero() {
                sleep(due).await;
                continue;
            }
            let sync = |client: zk::Client| -> super::Answer<()> { Box::pin(async move { client.sync("/").await }) };
            match link.request(None, Asks::Leader, sync).await {
                // It did not move the validity, or this would not be due; no need to ask in a tight loop.
                Reply::Refused(error) => {
                    tracing::debug!(%error, "the heartbeat was refused");
                    sleep(link.timeout / 10).await;
                }
                Reply::Done(()) | Reply::Late => {}
                Reply::NotSent | Reply::Lost => return,
            }
        }
    }

    /// Takes the session up again, or begins a new one when it is gone. None when the store is closed.
    async fn reconnect(self: &Arc<Shared>, last: &Link, session: zk::SessionInfo) -> Option<First> {
        let servers = ConnectString::parse(&self.settings.servers).ok()?;
        let mut session = Some(session);
        let mut lost = false;
        let mut backoff = Backoff::new();
        loop {
            if !lost && last.validity.left().is_zero() {
                self.lose(last);
                lost = true;
            }
            if lost && self.settings.on_lost == OnLost::Exit {
                return None;
            }
            // A session that we believe to be over is not taken up to see whether a server answers: each time it is asked
            // for, it begins its timeout anew, and where answers do not reach us it would never end, nor would its locks.
            let attempt = self.attempt(&servers, session.as_ref().filter(|_| !lost));
            let opened = tokio::select! {
                opened = attempt => opened,
                () = over(&last.validity), if !lost => continue,
                () = self.closing() => {
                    self.close_from_afar(&servers, session.as_ref()).await;
                    return None;
                }
            };
            match opened {
                Ok(opened) => {
                    let lives_on = match session.as_ref().filter(|_| lost) {
                        Some(old) => tokio::select! {
                            buried = self.bury(&servers, old) => !buried,
                            () = self.closing() => true,
                        },
                        None => false,
                    };
                    if lives_on {
                        opened.close(CLOSING).await;
                    } else {
                        session = session.filter(|_| !lost);
                        let info = opened.client.session().clone();
                        let validity = session.is_some().then(|| Arc::clone(&last.validity));
                        match self.set_up(opened, validity).await {
                            Ok(link) => return Some(First { link, session: info }),
                            Err(error) => tracing::debug!(%error, "the connection failed at once"),
                        }
                    }
                }
                Err(OpenError::Expired) => {
                    if !lost {
                        self.lose(last);
                        lost = true;
                    }
                    session = None;
                    continue;
                }
                Err(OpenError::AuthFailed) => tracing::error!("the server refuses the credentials"),
                Err(OpenError::Failed(error)) => tracing::debug!(error, "no connection yet"),
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = over(&last.validity), if !lost => {}
                () = self.closing() => {}
            }
        }
    }

    /// Closes a session whose validity is over, now that servers answer; whether it is known to be dead.
    async fn bury(&self, servers: &ConnectString, session: &zk::SessionInfo) -> bool {
        match self.attempt(servers, Some(session)).await {
            Ok(opened) => {
                tracing::info!(session = %session.id(), "closing the session whose validity is over");
                opened.close(CLOSING).await;
                // The library calls it closed also when the connection failed meanwhile.
                matches!(self.attempt(servers, Some(session)).await, Err(OpenError::Expired))
            }
            Err(error) => matches!(error, OpenError::Expired),
        }
    }

    async fn attempt(&self, servers: &ConnectString, session: Option<&zk::SessionInfo>) -> Result<Opened, OpenError> {
        // With one server there is no choice to make, and no reason to knock first.
        if servers.servers.len() == 1 {
            return open(&self.settings, &servers.servers(), session).await;
        }
        let patience = self.settings.connection_timeout();
        let server = probe(servers, patience).await.map_err(|error| OpenError::Failed(error.to_string()))?;
        open(&self.settings, &server.endpoint(self.settings.tls.is_some()), session).await
    }

    fn lose(&self, last: &Link) {
        tracing::warn!(session = %last.session, "the session is lost, with its ephemerals");
        self.board.lose();
    }

    /// Closes a session that is not connected, if a server can be had at once.
    async fn close_from_afar(&self, servers: &ConnectString, session: Option<&zk::SessionInfo>) {
        let Some(session) = session else { return };
        self.board.close();
        let close = async {
            if let Ok(opened) = self.attempt(servers, Some(session)).await {
                opened.close(CLOSING).await;
            }
        };
        if timeout(CLOSING, close).await.is_err() {
            tracing::warn!(session = %session.id(), "no server to close the session; it will expire");
        }
    }

    /// Makes a connection ready for requests: nothing older than what was seen before, the watch, the census.
    async fn set_up(
        self: &Arc<Shared>,
        opened: Opened,
        validity: Option<Arc<Validity>>,
    ) -> Result<Arc<Link>, StoreError> {
        let Opened { client, tasks, sent } = opened;
        let timeout = client.session_timeout();
        let validity = match validity {
            Some(validity) => {
                validity.confirm(sent);
                validity
            }
            None => Arc::new(Validity::new(timeout, sent)),
        };
        let link =
            Arc::new(Link::new(client, tasks, self.board.next_number(), validity, self.old.load(Ordering::Relaxed)));
        match self.prepare(&link).await {
            Ok(()) => Ok(link),
            Err(error) => {
                link.cut().await;
                Err(error)
            }
        }
    }

    async fn prepare(self: &Arc<Shared>, link: &Arc<Link>) -> Result<(), StoreError> {
        let deadline = Some(Instant::now() + self.settings.operation_timeout);
        let sync = |client: zk::Client| -> super::Answer<()> { Box::pin(async move { client.sync("/").await }) };
        let watch = |client: zk::Client| -> super::Answer<zk::PersistentWatcher> {
            Box::pin(async move { client.watch("/", zk::AddWatchMode::PersistentRecursive).await })
        };
        // Both leave at once, and in this order.
        let (synced, watched) =
            tokio::join!(link.request(deadline, Asks::Leader, sync), link.request(deadline, Asks::NewServer, watch),);
        answer(synced)?;
        let watcher = match watched {
            Reply::Refused(_) if link.is_old => None,
            Reply::Refused(error) => {
                tracing::warn!(%error, "the server has no recursive watches (3.6 has): changes are seen late");
                if let StoreError::Unsupported(_) = error {
                    self.old.store(true, Ordering::Relaxed);
                    // This connection is about to be closed.
                    return Err(error);
                }
                None
            }
            reply => Some(answer(reply)?),
        };
        self.take_census(link, deadline).await?;
        if self.board.connect(link, watcher) { Ok(()) } else { Err(StoreError::Unexpected("it failed".to_owned())) }
    }

    /// Looks for what requests have made whose replies were lost, and for what was deleted while nothing was announced.
    async fn take_census(&self, link: &Arc<Link>, deadline: Option<Instant>) -> Result<(), StoreError> {
        let lost = self.ephemerals.lost();
        if lost.is_empty() && self.ephemerals.known().is_empty() {
            self.ephemerals.census([]);
            return Ok(());
        }
        let list = |client: zk::Client| -> super::Answer<Vec<String>> {
            Box::pin(async move { client.list_ephemerals("/").await })
        };
        let all = match link.request(deadline, Asks::NewServer, list).await {
            Reply::Refused(StoreError::Unsupported(_)) => {
                let mut all = HashSet::new();
                for parent in lost.iter().filter_map(|wanted| wanted.path.parent()) {
                    all.extend(children(link, deadline, &parent).await?);
                }
                all
            }
            reply => {
                let all = answer(reply)?.iter().filter_map(|path| ZnodePath::parse(path).ok()).collect();
                self.ephemerals.remain(&all);
                all
            }
        };
        let suspects = self.ephemerals.suspects(all);
        let found = look(link, deadline, &suspects).await?;
        self.ephemerals.census(found.into_iter().filter(|(_, stray)| stray.stat.ephemeral_owner == link.session));
        Ok(())
    }
}

async fn children(link: &Link, deadline: Option<Instant>, parent: &ZnodePath) -> Result<Vec<ZnodePath>, StoreError> {
    let path = parent.clone();
    let list = |client: zk::Client| -> super::Answer<Vec<String>> {
        Box::pin(async move { client.list_children(path.as_str()).await })
    };
    match link.request(deadline, Asks::Server, list).await {
        Reply::Refused(StoreError::NoNode) => Ok(Vec::new()),
        reply => Ok(answer(reply)?.iter().map(|name| parent.join_raw(name)).collect()),
    }
}

/// What is at these paths, read in one request: a connection that has just been made may be lost at any of them.
async fn look(
    link: &Link,
    deadline: Option<Instant>,
    paths: &[ZnodePath],
) -> Result<Vec<(ZnodePath, Stray)>, StoreError> {
    let mut found = Vec::with_capacity(paths.len());
    if paths.is_empty() {
        return Ok(found);
    }
    let read = |client: zk::Client| peek::multi_read(client, paths.to_vec());
    let results = match link.request(deadline, Asks::NewServer, read).await {
        // Whoever has no multi-reads is asked for one after the other.
        Reply::Refused(StoreError::Unsupported(_)) => paths.iter().map(|_| Err(StoreError::NoAuth)).collect(),
        reply => answer(reply)?,
    };
    for (path, result) in paths.iter().zip(results) {
        match result {
            Ok(peek) => found.push((path.clone(), Stray { stat: peek.stat, data: peek.data })),
            Err(StoreError::NoAuth) => {
                let exists = |client: zk::Client| -> super::Answer<Option<zk::Stat>> {
                    Box::pin(client.check_stat(path.as_str()))
                };
                match link.request(deadline, Asks::Server, exists).await {
                    Reply::Refused(_) => {}
                    reply => found.extend(
                        answer(reply)?.map(|stat| (path.clone(), Stray { stat: wire::stat(&stat), data: None })),
                    ),
                }
            }
            Err(_) => {}
        }
    }
    Ok(found)
}

/// The answer to a request without which the connection is of no use.
fn answer<T>(reply: Reply<T>) -> Result<T, StoreError> {
    match reply {
        Reply::Done(value) => Ok(value),
        Reply::Refused(error) => Err(error),
        Reply::NotSent | Reply::Lost => Err(StoreError::Unexpected("the connection failed".to_owned())),
        Reply::Late => Err(StoreError::TimedOut),
    }
}

/// Waits until a validity is over.
async fn over(validity: &Validity) {
    loop {
        let left = validity.left();
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK)).await;
    }
}
