//! A tree of a test's own on the shared server, and who looks at it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rig::{Change, Mount, MountOptions, Server, Transaction, Witness, Workdir, shared_server};

/// A tree that no other test uses.
pub struct Place {
    ensemble: String,
    chroot: String,
    /// A client that sees the same paths as the mounts.
    pub witness: Witness,
    workdir: Workdir,
}

impl Place {
    /// An empty tree.
    pub fn new(name: &str) -> Place {
        Place::on(shared_server(), name)
    }

    /// An empty tree on a server of the test's own.
    pub fn on(server: &Server, name: &str) -> Place {
        let ensemble = server.chroot(name);
        let chroot = ensemble[ensemble.find('/').unwrap()..].to_owned();
        let witness = Witness::connect(&ensemble);
        Place { ensemble, chroot, witness, workdir: Workdir::new("flags") }
    }

    /// The connect string.
    pub fn ensemble(&self) -> &str {
        &self.ensemble
    }

    /// A mount whose session does not end by itself in a test.
    pub fn mount(&self) -> Mount {
        self.options(&self.ensemble).mount()
    }

    /// Two hosts.
    pub fn pair(&self) -> [Mount; 2] {
        [self.mount(), self.mount()]
    }

    /// Options of a mount with a long session, through a proxy say.
    pub fn options(&self, ensemble: &str) -> MountOptions {
        Mount::options(ensemble).o("session_timeout=40s")
    }

    /// A file that is in no mount.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.workdir.path().join(name)
    }

    /// The names in a directory, as the raw client sees them.
    pub fn names(&self, dir: &str) -> Vec<String> {
        self.witness.children(dir).unwrap()
    }

    /// What the server applied to this tree, with the paths as the mounts see them.
    pub fn history(&self) -> Vec<Transaction> {
        self.history_of(shared_server())
    }

    /// The same on a server of the test's own.
    pub fn history_of(&self, server: &Server) -> Vec<Transaction> {
        let mut history = server.history_below(&self.chroot);
        for transaction in &mut history {
            transaction.changes.iter_mut().for_each(|change| strip(change, &self.chroot));
        }
        history
    }

    /// The data with which each znode below a path was created, in order.
    pub fn creations(&self, below: &str) -> Vec<(String, String)> {
        creations(&self.history(), below)
    }
}

/// The data with which each znode below a path was created, in order.
pub fn creations(history: &[Transaction], below: &str) -> Vec<(String, String)> {
    let changes = history.iter().flat_map(|transaction| &transaction.changes);
    let created = changes.filter_map(|change| match change {
        Change::Create { path, data, .. } if path.starts_with(below) => {
            Some((path.clone(), String::from_utf8_lossy(data).into_owned()))
        }
        _ => None,
    });
    created.collect()
}

fn strip(change: &mut Change, chroot: &str) {
    let (Change::Create { path, .. }
    | Change::SetData { path, .. }
    | Change::SetAcl { path }
    | Change::Delete { path }
    | Change::Check { path }) = change;
    let rest = path.strip_prefix(chroot).unwrap_or(path);
    *path = if rest.is_empty() { "/".to_owned() } else { rest.to_owned() };
}

/// The quickest of some rounds: a bound on a time holds on a busy machine too, if it holds at all.
#[track_caller]
pub fn quickest(bound: Duration, mut round: impl FnMut() -> Duration) {
    let mut best = Duration::MAX;
    for _ in 0..20 {
        best = best.min(round());
        if best <= bound {
            return;
        }
    }
    panic!("{best:?} at best, not within {bound:?}");
}

/// The error number of a failure.
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_else(|| panic!("{error} is none of the system's"))
}

/// Asserts that something fails with this error number.
#[track_caller]
pub fn fails<T: std::fmt::Debug>(result: io::Result<T>, number: i32) {
    match result {
        Ok(value) => panic!("it succeeded: {value:?}"),
        Err(error) => assert_eq!(errno(&error), number, "{error}"),
    }
}

/// `echo -n TEXT > PATH`.
#[track_caller]
pub fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::write(path, text).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
}
