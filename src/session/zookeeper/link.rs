//! One connection of one session.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use zookeeper_client as zk;

use super::clock::{Boot, Validity};
use super::spawner::Tasks;
use super::wire::{Failure, failure};
use crate::mapping::SessionId;
use crate::session::StoreError;

/// A request that the client library has taken, or will with the first poll.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, zk::Error>> + Send>>;

/// What became of a request on one connection.
#[derive(Debug)]
pub enum Reply<T> {
    /// The server did it.
    Done(T),
    /// The server or the library refused it; nothing was changed.
    Refused(StoreError),
    /// The connection could not take it; nothing was sent.
    NotSent,
    /// The connection failed under it.
    Lost,
    /// It was sent, and there was no answer before the deadline.
    Late,
}

/// Whether the answer to a request proves that the leader knows the session, and who can answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The server that we are connected to answers by itself.
    Server,
    /// The same, if it is of release 3.6 or newer. An older one is not asked: it closes the connection on which it is asked
    /// for what it does not know.
    NewServer,
    /// The answer goes through the leader.
    Leader,
}

/// One connection of one session. Once ended it is of no further use.
pub struct Link {
    client: zk::Client,
    /// Counts the connections of the store.
    pub number: u64,
    pub session: SessionId,
    /// The timeout that the server granted.
    pub timeout: Duration,
    pub validity: Arc<Validity>,
    /// The server is known to be older than release 3.6.
    pub is_old: bool,
    tasks: Tasks,
    ended: watch::Sender<bool>,
}

impl Link {
    pub fn new(client: zk::Client, tasks: Tasks, number: u64, validity: Arc<Validity>, is_old: bool) -> Link {
        Link {
            session: SessionId(client.session_id().0),
            timeout: client.session_timeout(),
            client,
            number,
            validity,
            is_old,
            tasks,
            ended: watch::Sender::new(false),
        }
    }

    /// Tells whether a request may be sent.
    pub fn is_usable(&self) -> bool {
        !self.has_ended() && self.client.state() == zk::SessionState::SyncConnected && !self.validity.left().is_zero()
    }

    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Marks the connection as of no further use. Who waits for an answer stops waiting.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Waits until the connection is of no further use.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // It cannot fail: the sender is ours.
        let _ = ended.wait_for(|ended| *ended).await.is_ok();
    }

    /// Follows what the client library thinks of the connection.
    pub fn states(&self) -> zk::StateWatcher {
        self.client.state_watcher()
    }

    /// Sends one request and waits for what becomes of it.
    pub async fn request<T>(
        &self,
        deadline: Option<Instant>,
        asks: Asks,
        send: impl FnOnce(zk::Client) -> Answer<T>,
    ) -> Reply<T> {
        if !self.is_usable() {
            return Reply::NotSent;
        }
        if self.is_old && asks == Asks::NewServer {
            return Reply::Refused(StoreError::Unsupported("the server is older than 3.6"));
        }
        let sent = Boot::now();
        let mut answer = send(self.client.clone());
        let result = tokio::select! {
            // An answer that is there is worth more than the news that no more will come.
            biased;
            result = &mut answer => result,
            () = self.ended() => return Reply::Lost,
            () = until(deadline) => return Reply::Late,
        };
        let reply = match result {
            Ok(value) => Reply::Done(value),
            Err(error) => match failure(&error) {
                Failure::Refused(error) => Reply::Refused(error),
                Failure::NotSent(error) => return Reply::Refused(error),
                Failure::Lost => {
                    tracing::debug!(session = %self.session, %error, "the connection failed under a request");
                    self.end();
                    return Reply::Lost;
                }
            },
        };
        if asks == Asks::Leader {
            self.validity.confirm(sent);
        }
        reply
    }

    /// Ends the connection and leaves the session to live on; nothing is sent any more once this returns.
    pub async fn cut(&self) {
        self.end();
        self.tasks.end().await;
    }

    /// Closes the session, and waits for that so long.
    pub async fn close(self: Arc<Self>, limit: Duration) {
        self.end();
        let mut states = self.states();
        // The library closes a session when its last client is dropped; requests that are still being given up have
        // clones of it, and end by themselves.
        let deadline = Instant::now() + limit;
        let mut link = self;
        let link = loop {
            match Arc::try_unwrap(link) {
                Ok(link) => break link,
                Err(shared) if Instant::now() < deadline => {
                    link = shared;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(shared) => {
                    tracing::warn!(session = %shared.session, "the session could not be closed; it will expire");
                    shared.cut().await;
                    return;
                }
            }
        };
        let Link { client, tasks, session, .. } = link;
        drop(client);
        close(&mut states, session, deadline).await;
        tasks.end().await;
    }
}

/// Waits until the library has closed a session whose clients have been dropped.
pub async fn close(states: &mut zk::StateWatcher, session: SessionId, deadline: Instant) {
    let closed = async { while !states.state().is_terminated() && !states.changed().await.is_terminated() {} };
    if tokio::time::timeout_at(deadline, closed).await.is_err() {
        tracing::warn!(%session, "no answer to the closing of the session; it will expire");
    }
}

/// Waits until the deadline, if there is one.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
