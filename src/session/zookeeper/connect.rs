//! Making a connection: to whom, and why not.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use zookeeper_client as zk;

use super::clock::Boot;
use super::link;
use super::settings::{ConnectString, ConnectStringError, Settings};
use super::spawner::Tasks;
use super::wire::{self, Failure};
use crate::mapping::{SessionId, ZnodePath};

/// How long to wait for one server before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(150);
/// The first pause between two attempts, and the longest. It is short enough to be back within two seconds of a
/// server's return, and jitter spreads the clients of a server that paused.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Why no store could be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The list of servers is wrong.
    #[error(transparent)]
    Servers(#[from] ConnectStringError),
    /// No server has a name that can be resolved; the first of them.
    #[error("unknown host {0:?}")]
    UnknownHost(String),
    /// Every address refuses connections.
    #[error("nothing listens at {}", list(.0))]
    Refused(Vec<SocketAddr>),
    /// No server answered in time; those that were asked.
    #[error("no answer from {} within {}", .servers, seconds(.within))]
    NoAnswer {
        /// The servers.
        servers: String,
        /// How long was waited.
        within: Duration,
    },
    /// A server can be reached but serves nobody, such as one without a quorum.
    #[error(
        "{servers} accepts connections but does not serve, so it may be starting, have no quorum, or be no ZooKeeper"
    )]
    NotServing {
        /// The servers.
        servers: String,
    },
    /// The chroot does not exist.
    #[error("the znode {0} does not exist")]
    NoChroot(ZnodePath),
    /// The chroot could not be made or looked at.
    #[error("the znode {0}: {1}")]
    Chroot(ZnodePath, String),
    /// The credentials were refused.
    #[error("the server refuses the credentials")]
    AuthFailed,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

/// A server that takes connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name, as the user wrote it: what its certificate must be for.
    pub host: String,
    /// Where it answered.
    pub address: SocketAddr,
}

impl Server {
    /// What the client library is to connect to.
    pub fn endpoint(&self, by_name: bool) -> String {
        match &self.host {
            host if by_name && !host.contains(':') => format!("{host}:{}", self.address.port()),
            _ => self.address.to_string(),
        }
    }
}

/// What became of one server.
enum Probe {
    Open(Server),
    Unknown(String),
    Refused(Vec<SocketAddr>),
    Silent,
}

/// Finds a server that takes connections. They are tried in random order, a slow one beside the next.
///
/// # Errors
/// What is wrong with them all.
pub async fn probe(servers: &ConnectString, patience: Duration) -> Result<Server, ConnectError> {
    let mut order: Vec<(u64, (String, u16))> =
        servers.servers.iter().map(|server| (random(), server.clone())).collect();
    order.sort();
    let mut probes = JoinSet::new();
    for (place, (_, (host, port))) in (0_u32..).zip(order) {
        probes.spawn(async move {
            sleep(STAGGER * place).await;
            timeout(patience, probe_one(host, port)).await.unwrap_or(Probe::Silent)
        });
    }
    let (mut unknown, mut refused, mut silent) = (Vec::new(), Vec::new(), false);
    while let Some(probe) = probes.join_next().await {
        match probe {
            Ok(Probe::Open(server)) => return Ok(server),
            Ok(Probe::Unknown(host)) => unknown.push(host),
            Ok(Probe::Refused(addresses)) => refused.extend(addresses),
            Ok(Probe::Silent) => silent = true,
            Err(error) => return Err(ConnectError::Other(error.to_string())),
        }
    }
    if !silent && !refused.is_empty() {
        refused.sort();
        refused.dedup();
        return Err(ConnectError::Refused(refused));
    }
    match unknown.into_iter().next() {
        Some(host) if !silent => Err(ConnectError::UnknownHost(host)),
        _ => Err(ConnectError::NoAnswer { servers: servers.servers(), within: patience }),
    }
}

async fn probe_one(host: String, port: u16) -> Probe {
    let addresses = lookup_host((host.as_str(), port)).await.map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let mut refused = Vec::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(_) => return Probe::Open(Server { host, address }),
            Err(_) => refused.push(address),
        }
    }
    if refused.is_empty() { Probe::Unknown(host) } else { Probe::Refused(refused) }
}

/// A connection that a server has granted.
pub struct Opened {
    pub client: zk::Client,
    pub tasks: Tasks,
    /// When it was asked for.
    pub sent: Boot,
}

impl Opened {
    /// Closes the session.
    pub async fn close(self, limit: Duration) {
        let mut states = self.client.state_watcher();
        let session = SessionId(self.client.session_id().0);
        drop(self.client);
        link::close(&mut states, session, Instant::now() + limit).await;
        self.tasks.end().await;
    }
}

/// Why a server granted no connection.
#[derive(Debug)]
pub enum OpenError {
    /// The session to go on with is gone.
    Expired,
    AuthFailed,
    /// It did not work out this time.
    Failed(String),
}

/// Asks a server for a connection, with a new session or for one to go on with.
///
/// # Errors
/// When it was not granted.
pub async fn open(settings: &Settings, server: &str, session: Option<&zk::SessionInfo>) -> Result<Opened, OpenError> {
    let patience = settings.connection_timeout();
    let mut connector = zk::Client::connector()
        .with_session_timeout(settings.session_timeout)
        .with_connection_timeout(patience)
        .with_fail_eagerly();
    for (scheme, auth) in &settings.auth {
        connector = connector.with_auth(scheme, auth);
    }
    if let Some((user, password)) = &settings.sasl {
        connector = connector.with_sasl(zk::SaslOptions::digest_md5(user.clone(), password.clone()));
    }
    if let Some(tls) = &settings.tls {
        connector = connector.with_tls(tls.options().map_err(|error| OpenError::Failed(error.to_string()))?);
    }
    if let Some(session) = session {
        connector = connector.with_session(session.clone());
    }
    let tasks = Tasks::new();
    let sent = Boot::now();
    let connecting = async {
        match settings.tls {
            Some(_) => connector.secure_connect(server).await,
            None => connector.connect(server).await,
        }
    };
    let connected = timeout(patience, tasks.scope(connecting)).await;
    let client = match connected {
        Ok(Ok(client)) => client,
        Ok(Err(zk::Error::SessionExpired)) => return Err(OpenError::Expired),
        Ok(Err(zk::Error::AuthFailed)) => return Err(OpenError::AuthFailed),
        Ok(Err(error)) => return Err(OpenError::Failed(error.to_string())),
        Err(_) => return Err(OpenError::Failed(format!("no answer from {server}"))),
    };
    match client.chroot(settings.chroot_str().to_owned()) {
        Ok(client) => Ok(Opened { client, tasks, sent }),
        Err(_) => Err(OpenError::Failed("the library refuses the chroot".to_owned())),
    }
}

/// Makes sure that the chroot exists; false when the connection failed under that.
///
/// # Errors
/// When it does not, or cannot be made.
pub async fn check_chroot(client: &zk::Client, settings: &Settings) -> Result<bool, ConnectError> {
    let Some(chroot) = &settings.chroot else { return Ok(true) };
    match look_at_chroot(client, settings, chroot).await {
        Ok(result) => result.map(|()| true),
        Err(zk::Error::AuthFailed) => Err(ConnectError::AuthFailed),
        Err(error) if matches!(wire::failure(&error), Failure::Lost) => Ok(false),
        Err(error) => Err(ConnectError::Chroot(chroot.clone(), error.to_string())),
    }
}

async fn look_at_chroot(
    client: &zk::Client,
    settings: &Settings,
    chroot: &ZnodePath,
) -> Result<Result<(), ConnectError>, zk::Error> {
    // A server that lags behind does not know yet of one that was made a moment ago.
    client.sync("/").await?;
    match client.check_stat("/").await {
        // Who may not look at it is told so, and that it exists.
        Ok(Some(_)) | Err(zk::Error::NoAuth) => return Ok(Ok(())),
        Ok(None) if settings.create_chroot => {}
        Ok(None) => return Ok(Err(ConnectError::NoChroot(chroot.clone()))),
        Err(error) => return Err(error),
    }
    let Ok(root) = client.clone().chroot("/") else {
        return Ok(Err(ConnectError::Other("the library refuses the root".to_owned())));
    };
    let acl = wire::acl_to_wire(&settings.acl);
    let options = zk::CreateMode::Persistent.with_acls(zk::Acls::new(&acl));
    root.mkdir(chroot.as_str(), &options).await.map(Ok)
}

/// The pauses between attempts.
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    pub fn new() -> Backoff {
        Backoff { next: BACKOFF.0 }
    }

    /// The next pause: between half of what is due and all of it.
    pub fn pause(&mut self) -> Duration {
        let due = self.next;
        self.next = (due * 2).min(BACKOFF.1);
        let part = 512 + u32::try_from(random() % 512).unwrap_or(0);
        due * part / 1024
    }
}

/// Random enough to spread clients.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_cap() {
        let mut backoff = Backoff::new();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.pause()).collect();
        assert!(pauses[0] <= BACKOFF.0 && pauses[0] >= BACKOFF.0 / 2);
        assert!(pauses[10..].iter().all(|pause| (BACKOFF.1 / 2..=BACKOFF.1).contains(pause)));
        assert!(pauses[10..].iter().any(|pause| *pause != pauses[10]), "jitter");
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        let probe = |text: &'static str| async move {
            probe(&ConnectString::parse(text).unwrap(), Duration::from_secs(20)).await
        };
        assert_eq!(
            probe("no-such-host.invalid").await,
            Err(ConnectError::UnknownHost("no-such-host.invalid".to_owned()))
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let one_of = format!("no-such-host.invalid,127.0.0.1:{}", address.port());
        let servers = ConnectString::parse(&one_of).unwrap();
        let found = super::probe(&servers, Duration::from_secs(20)).await.unwrap();
        assert_eq!((found.host.as_str(), found.address), ("127.0.0.1", address));
        drop(listener);
        assert_eq!(super::probe(&servers, Duration::from_secs(20)).await, Err(ConnectError::Refused(vec![address])));
    }
}
