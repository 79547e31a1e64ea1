//! The connect string.

use std::fmt;
use std::path::Path;

use crate::mapping::ZnodePath;

/// The port of a server that is given without one.
const PORT: u16 = 2181;

/// Whose tree is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ensemble {
    /// A tree in this process's memory.
    Memory,
    /// A ZooKeeper ensemble.
    ZooKeeper {
        /// Its servers, each `host:port`, an IPv6 address in brackets.
        servers: Vec<String>,
        /// The znode that is mounted as the root.
        chroot: ZnodePath,
    },
}

impl Ensemble {
    /// Parses a connect string, or `memory:`. mount(8) makes an absolute path of a source that exists as a file
    /// in the working directory; that is undone.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn parse(text: &str, directory: &Path) -> Result<Ensemble, String> {
        let text = if text.starts_with('/') { as_it_was(text, directory) } else { text };
        if text == "memory:" || text == "memory" {
            return Ok(Ensemble::Memory);
        }
        let (hosts, chroot) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, "/"),
        };
        if text.starts_with('/') {
            return Err(format!(
                "{text:?} is a path, not an ensemble: the ensemble comes first, as host[:port],...[/chroot]"
            ));
        }
        let servers = hosts.split(',').map(server).collect::<Result<Vec<_>, String>>()?;
        let chroot = chroot.trim_end_matches('/');
        let chroot = ZnodePath::parse(if chroot.is_empty() { "/" } else { chroot })
            .map_err(|error| format!("the chroot {chroot:?}: {error}"))?;
        Ok(Ensemble::ZooKeeper { servers, chroot })
    }
}

/// The source before mount(8) made an absolute path of it.
fn as_it_was<'a>(text: &'a str, directory: &Path) -> &'a str {
    if let Some(below) = directory.to_str().and_then(|directory| text.strip_prefix(directory)) {
        let below = below.trim_start_matches('/');
        if !below.is_empty() {
            return below;
        }
    }
    // The working directory may be another one by now; the first name with a colon is where a connect string starts.
    let starts = text.match_indices('/').map(|(slash, _)| slash + 1);
    let names = starts.map(|start| &text[start..]);
    names.filter(|rest| rest.split('/').next().is_some_and(|name| name.contains(':'))).next().unwrap_or(text)
}

/// Checks one server, and adds the port if it has none.
fn server(text: &str) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("server {text:?}: {what}; servers are host[:port], by commas"));
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return wrong("a bracket is not closed"),
        Some(Some((_, port))) => match port.strip_prefix(':') {
            Some(digits) => (&text[..text.len() - port.len()], Some(digits)),
            None if port.is_empty() => (text, None),
            None => return wrong("behind the bracket comes :port"),
        },
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return wrong("an IPv6 address stands in [brackets]"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return wrong("no host name");
    }
    if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong("a space in the host name");
    }
    match port.map_or(Ok(PORT), str::parse) {
        Ok(port) if port != 0 => Ok(format!("{host}:{port}")),
        _ => wrong("a port is a number from 1 to 65535"),
    }
}

impl fmt::Display for Ensemble {
    /// The source of the mount. It has a colon, by which `df -l` knows a remote file system.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ensemble::Memory => f.write_str("memory:"),
            Ensemble::ZooKeeper { servers, chroot } => {
                let chroot = if chroot.is_root() { "" } else { chroot.as_str() };
                write!(f, "{}{chroot}", servers.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Ensemble::parse(text, Path::new("/home/me")).map_or_else(|wrong| wrong, |ensemble| ensemble.to_string())
    }

    #[test]
    fn connect_strings() {
        for (text, is) in [
            ("memory:", "memory:"),
            ("zk1", "zk1:2181"),
            ("zk1:2181,zk2/app/", "zk1:2181,zk2:2181/app"),
            ("[::1]:2182,[fe80::1]/a/b", "[::1]:2182,[fe80::1]:2181/a/b"),
            ("127.0.0.1:1/", "127.0.0.1:1"),
        ] {
            assert_eq!(shown(text), is);
        }
    }

    #[test]
    fn what_mount_made_a_path_of() {
        for (text, is) in [
            ("/home/me/memory:", "memory:"),
            ("/home/me/zk1:2181/app", "zk1:2181/app"),
            ("/home/me/zk1", "zk1:2181"),
            ("/elsewhere/zk1:2181,zk2:2181/app", "zk1:2181,zk2:2181/app"),
        ] {
            assert_eq!(shown(text), is);
        }
    }

    #[test]
    fn wrong_ones_are_named() {
        for (text, said) in [
            ("", "no host name"),
            ("/mnt", "not an ensemble"),
            ("zk1:0", "1 to 65535"),
            ("zk1:port", "1 to 65535"),
            ("zk1,,zk2", "no host name"),
            ("::1:2181", "[brackets]"),
            ("[::1", "not closed"),
            ("[::1]2181", "comes :port"),
            ("zk 1", "a space"),
            ("zk1//app", "a name is empty"),
            ("zk1/./app", "a name is . or .."),
        ] {
            let error = Ensemble::parse(text, Path::new("/home/me")).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
