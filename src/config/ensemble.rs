//! The connect string.

use std::fmt;
use std::path::Path;

use crate::mapping::ZnodePath;
use crate::session::zookeeper::ConnectString;

/// Whose tree is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ensemble {
    /// A tree in this process's memory.
    Memory,
    /// A ZooKeeper ensemble.
    ZooKeeper(ConnectString),
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
        if text.starts_with('/') {
            return Err(format!(
                "{text:?} is a path, not an ensemble: the ensemble comes first, as host[:port],...[/chroot]"
            ));
        }
        ConnectString::parse(text).map(Ensemble::ZooKeeper).map_err(|wrong| format!("ENSEMBLE {text:?}: {wrong}"))
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
    let mut names = starts.map(|start| &text[start..]);
    names.find(|rest| rest.split('/').next().is_some_and(|name| name.contains(':'))).unwrap_or(text)
}

impl fmt::Display for Ensemble {
    /// The source of the mount. It has a colon, by which `df -l` knows a remote file system.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ensemble::Memory => f.write_str("memory:"),
            Ensemble::ZooKeeper(connect) => {
                let chroot = connect.chroot.as_ref().map_or("", ZnodePath::as_str);
                write!(f, "{}{chroot}", connect.servers())
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
            ("", "no server is named"),
            ("/mnt", "not an ensemble"),
            ("zk1:0", "\"zk1:0\" is no server"),
            ("zk1,,zk2", "\"\" is no server"),
            ("zk1/./app", "a name is . or .."),
        ] {
            let error = Ensemble::parse(text, Path::new("/home/me")).unwrap_err();
            assert!(error.contains(said) && !error.contains('\n'), "{text:?}: {error}");
        }
    }
}
