//! What to connect to, and how.

use std::fmt;
use std::time::Duration;

use super::tls::Tls;
use crate::mapping::{Acl, PathError, ZnodePath};
use crate::session::size::DEFAULT_PACKET_LIMIT;

/// The port of a server where none is given.
const DEFAULT_PORT: u16 = 2181;

/// What to do when the session is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnLost {
    /// Start a new one.
    #[default]
    Reconnect,
    /// Close the store.
    Exit,
}

/// What to connect to, and how.
#[derive(Clone)]
pub struct Settings {
    /// The servers: `host:port,host2:port`.
    pub servers: String,
    /// The znode that is the root of the store; none for the whole tree.
    pub chroot: Option<ZnodePath>,
    /// The session timeout to ask for; the server decides.
    pub session_timeout: Duration,
    /// How long one operation may take.
    pub operation_timeout: Duration,
    /// The ACL of what is made, where a creation names none.
    pub acl: Vec<Acl>,
    /// Whether to make the chroot when it does not exist.
    pub create_chroot: bool,
    /// The largest request that the servers take, in bytes: `jute.maxbuffer`.
    pub packet_limit: usize,
    /// Credentials: scheme and what goes with it, such as `digest` and `user:password`.
    pub auth: Vec<(String, Vec<u8>)>,
    /// User and password for SASL with DIGEST-MD5; none for no SASL.
    pub sasl: Option<(String, String)>,
    /// TLS; none for plain connections.
    pub tls: Option<Tls>,
    /// What to do when the session is lost.
    pub on_lost: OnLost,
}

impl Settings {
    /// The usual settings for these servers.
    pub fn new(servers: impl Into<String>) -> Settings {
        Settings {
            servers: servers.into(),
            chroot: None,
            session_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(10),
            acl: Acl::open(),
            create_chroot: false,
            packet_limit: DEFAULT_PACKET_LIMIT,
            auth: Vec::new(),
            sasl: None,
            tls: None,
            on_lost: OnLost::Reconnect,
        }
    }

    /// How long a silent connection is believed in: short enough that an operation can be settled on another one
    /// before its deadline, and the session survive two attempts.
    pub(super) fn connection_timeout(&self) -> Duration {
        (self.session_timeout * 2 / 5).min(self.operation_timeout / 2).max(Duration::from_secs(1))
    }

    /// The chroot as the client library takes it.
    pub(super) fn chroot_str(&self) -> &str {
        self.chroot.as_ref().map_or("/", ZnodePath::as_str)
    }

    /// The length of what the chroot puts before each path.
    pub(super) fn chroot_len(&self) -> usize {
        self.chroot.as_ref().filter(|path| !path.is_root()).map_or(0, |path| path.as_str().len())
    }
}

impl fmt::Debug for Settings {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schemes: Vec<&str> = self.auth.iter().map(|(scheme, _)| scheme.as_str()).collect();
        f.debug_struct("Settings")
            .field("servers", &self.servers)
            .field("chroot", &self.chroot)
            .field("session_timeout", &self.session_timeout)
            .field("operation_timeout", &self.operation_timeout)
            .field("acl", &self.acl)
            .field("create_chroot", &self.create_chroot)
            .field("packet_limit", &self.packet_limit)
            .field("auth", &schemes)
            .field("sasl", &self.sasl.is_some())
            .field("tls", &self.tls)
            .field("on_lost", &self.on_lost)
            .finish()
    }
}

/// Why a text is no connect string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectStringError {
    /// No server is named.
    #[error("no server is named; write HOST:PORT,HOST:PORT/CHROOT")]
    Empty,
    /// A server is not `host` or `host:port`.
    #[error("{0:?} is no server; write HOST or HOST:PORT")]
    Server(String),
    /// The chroot is no path.
    #[error("{0:?} is no path of a znode: {1}")]
    Chroot(String, PathError),
}

/// A ZooKeeper connect string: `host:port,host2/chroot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectString {
    /// The servers, in their order; IPv6 addresses without brackets.
    pub servers: Vec<(String, u16)>,
    /// The znode behind the servers.
    pub chroot: Option<ZnodePath>,
}

impl ConnectString {
    /// Reads a connect string; a port that is left out is 2181.
    ///
    /// # Errors
    /// When the text names no server, or something that is none.
    pub fn parse(text: &str) -> Result<ConnectString, ConnectStringError> {
        let (hosts, chroot) = match text.find('/') {
            Some(slash) => (&text[..slash], Some(&text[slash..])),
            None => (text, None),
        };
        let chroot = chroot.map(|path| {
            // A trailing slash is what completion leaves.
            let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
            ZnodePath::parse(path).map_err(|error| ConnectStringError::Chroot(path.to_owned(), error))
        });
        let chroot = chroot.transpose()?.filter(|path| !path.is_root());
        if hosts.trim().is_empty() {
            return Err(ConnectStringError::Empty);
        }
        let servers = hosts.split(',').map(|server| parse_server(server.trim())).collect::<Result<_, _>>()?;
        Ok(ConnectString { servers, chroot })
    }

    /// The servers as [`Settings::servers`] takes them.
    pub fn servers(&self) -> String {
        let one = |(host, port): &(String, u16)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        self.servers.iter().map(one).collect::<Vec<_>>().join(",")
    }
}

fn parse_server(server: &str) -> Result<(String, u16), ConnectStringError> {
    let wrong = || ConnectStringError::Server(server.to_owned());
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) })
    } else {
        match server.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (server, None),
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        }
    };
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| wrong()))?;
    if host.is_empty() || port == 0 || host.contains(char::is_whitespace) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings() {
        let parsed = ConnectString::parse("zk1:2182, zk2,[::1]:2183,fe80::1/app/x").unwrap();
        assert_eq!(parsed.servers(), "zk1:2182,zk2:2181,[::1]:2183,[fe80::1]:2181");
        assert_eq!(parsed.chroot.unwrap().as_str(), "/app/x");
        for text in ["zk", "zk/", "zk:2181/"] {
            assert_eq!(ConnectString::parse(text).unwrap().chroot, None);
        }
        assert_eq!(ConnectString::parse("zk/app/").unwrap().chroot.unwrap().as_str(), "/app");
    }

    #[test]
    fn wrong_connect_strings() {
        for text in ["", "/app", "zk1,,zk2", "zk:0", "zk:port", "zk:99999", "[::1", "[::1]2181", ":2181", "a b"] {
            assert!(ConnectString::parse(text).is_err(), "{text:?}");
        }
        assert!(matches!(ConnectString::parse("zk/a//b"), Err(ConnectStringError::Chroot(..))));
    }

    #[test]
    fn secrets_are_not_shown() {
        let settings = Settings { auth: vec![("digest".to_owned(), b"bob:secret".to_vec())], ..Settings::new("zk") };
        let shown = format!("{settings:?}");
        assert!(shown.contains("digest") && !shown.contains("secret") && !shown.contains("115"), "{shown}");
    }
}
