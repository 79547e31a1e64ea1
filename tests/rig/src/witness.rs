use std::collections::BTreeMap;
use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use zookeeper_client::{Acl, Acls, Client, CreateMode, Error, MultiWriteError, SessionState, Stat};

use crate::until::PATIENCE;
use crate::{Recorder, until};

/// The session timeout of witnesses, long enough for a busy machine.
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Parts of a transaction that [`Witness::fill`] sends together.
const BATCH: usize = 500;

/// How a znode is to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Persistent,
    PersistentSequential,
    Ephemeral,
    EphemeralSequential,
    Container,
    Ttl(Duration),
}

/// What a creation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The path, with the number that the server appended to a sequential one.
    pub path: String,
    /// Its Stat.
    pub stat: Stat,
}

/// A ZooKeeper client that owes nothing to the code under test, with calls that block.
///
/// Every call gives up after half a minute, with a panic that names it.
#[derive(Debug)]
pub struct Witness {
    client: Client,
}

/// How a [`Witness`] connects.
#[derive(Clone, Debug)]
pub struct WitnessOptions {
    servers: String,
    session_timeout: Duration,
    auth: Vec<(String, String)>,
    detached: bool,
}

impl WitnessOptions {
    /// Asks for this session timeout.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// Authenticates, as `digest` and `user:password` say.
    pub fn auth(mut self, scheme: &str, id: &str) -> Self {
        self.auth.push((scheme.to_owned(), id.to_owned()));
        self
    }

    /// Leaves the session to time out when the witness goes, as a client that crashed does.
    pub fn detached(mut self) -> Self {
        self.detached = true;
        self
    }

    /// Connects; panics when it cannot.
    #[track_caller]
    pub fn connect(self) -> Witness {
        let mut connector = Client::connector().with_session_timeout(self.session_timeout);
        for (scheme, id) in &self.auth {
            connector = connector.with_auth(scheme, id.as_bytes());
        }
        if self.detached {
            connector = connector.with_detached();
        }
        let client = block("connect", connector.connect(&self.servers));
        Witness { client: client.unwrap_or_else(|e| panic!("cannot connect to {}: {e}", self.servers)) }
    }
}

impl Witness {
    /// Connects to a connect string, with or without a chroot.
    #[track_caller]
    pub fn connect(servers: &str) -> Witness {
        Witness::options(servers).connect()
    }

    /// Prepares a connection that is not the usual.
    pub fn options(servers: &str) -> WitnessOptions {
        let servers = servers.to_owned();
        WitnessOptions { servers, session_timeout: SESSION_TIMEOUT, auth: Vec::new(), detached: false }
    }

    /// The session's id.
    pub fn session_id(&self) -> i64 {
        self.client.session_id().0
    }

    /// The client library's own client, for what is not here. Use it within [`Witness::block_on`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a future of the client library.
    #[track_caller]
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        block("block_on", future)
    }

    /// Closes the session and waits until that is done: its ephemerals are gone then.
    #[track_caller]
    pub fn close(self) {
        let mut states = self.client.state_watcher();
        drop(self);
        block("close", async {
            while !states.state().is_terminated() {
                if states.changed().await == SessionState::Closed {
                    break;
                }
            }
        });
    }

    /// Creates a znode that anybody may use.
    #[track_caller]
    pub fn create(&self, path: &str, data: &[u8], mode: Mode) -> Result<Created, Error> {
        self.create_with_acl(path, data, mode, Acls::anyone_all())
    }

    /// Creates a znode with an ACL, `Acls::new(&[Acl])` say.
    #[track_caller]
    pub fn create_with_acl(&self, path: &str, data: &[u8], mode: Mode, acl: Acls<'_>) -> Result<Created, Error> {
        let options = match mode {
            Mode::Persistent => CreateMode::Persistent.with_acls(acl),
            Mode::PersistentSequential => CreateMode::PersistentSequential.with_acls(acl),
            Mode::Ephemeral => CreateMode::Ephemeral.with_acls(acl),
            Mode::EphemeralSequential => CreateMode::EphemeralSequential.with_acls(acl),
            Mode::Container => CreateMode::Container.with_acls(acl),
            Mode::Ttl(ttl) => CreateMode::Persistent.with_acls(acl).with_ttl(ttl),
        };
        let sequential = matches!(mode, Mode::PersistentSequential | Mode::EphemeralSequential);
        let (stat, number) = block("create", self.client.create(path, data, &options))?;
        Ok(Created { path: if sequential { format!("{path}{number}") } else { path.to_owned() }, stat })
    }

    /// Creates a znode and what is missing above it, empty, as kazoo's `ensure_path` does.
    #[track_caller]
    pub fn ensure(&self, path: &str) {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        block("mkdir", self.client.mkdir(path, &options)).unwrap_or_else(|e| panic!("making {path}: {e}"));
    }

    /// Creates many znodes quickly.
    #[track_caller]
    pub fn fill(&self, znodes: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let mut znodes = znodes.into_iter().peekable();
        while znodes.peek().is_some() {
            let mut multi = self.client.new_multi_writer();
            let mut bytes = 0;
            for (path, data) in znodes.by_ref().take(BATCH) {
                bytes += data.len() + path.len();
                multi.add_create(&path, &data, &options).expect("a valid path");
                // Far below the server's limit of a megabyte, whatever the last one adds.
                if bytes > 300_000 {
                    break;
                }
            }
            block("fill", multi.commit()).expect("creating many znodes");
        }
    }

    /// The data and the Stat.
    #[track_caller]
    pub fn get(&self, path: &str) -> Result<(Vec<u8>, Stat), Error> {
        block("get", self.client.get_data(path))
    }

    /// The data as text; panics when there is none.
    #[track_caller]
    pub fn text(&self, path: &str) -> String {
        let (data, _) = self.get(path).unwrap_or_else(|e| panic!("reading {path}: {e}"));
        String::from_utf8(data).expect("text")
    }

    /// Sets the data, at a version or at any.
    #[track_caller]
    pub fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<Stat, Error> {
        block("set", self.client.set_data(path, data, version))
    }

    /// Deletes a znode, at a version or at any.
    #[track_caller]
    pub fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Error> {
        block("delete", self.client.delete(path, version))
    }

    /// The names of the children, sorted.
    #[track_caller]
    pub fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let mut names = block("children", self.client.list_children(path))?;
        names.sort();
        Ok(names)
    }

    /// The Stat, `None` when there is no such znode; panics on any other error.
    #[track_caller]
    pub fn stat(&self, path: &str) -> Option<Stat> {
        block("stat", self.client.check_stat(path)).unwrap_or_else(|e| panic!("stat of {path}: {e}"))
    }

    /// Whether there is such a znode.
    #[track_caller]
    pub fn exists(&self, path: &str) -> bool {
        self.stat(path).is_some()
    }

    /// The ACL.
    #[track_caller]
    pub fn acl(&self, path: &str) -> Result<Vec<Acl>, Error> {
        Ok(block("acl", self.client.get_acl(path))?.0)
    }

    /// Sets the ACL.
    #[track_caller]
    pub fn set_acl(&self, path: &str, acl: &[Acl]) -> Result<Stat, Error> {
        block("set_acl", self.client.set_acl(path, acl, None))
    }

    /// Waits until the server this client is connected to has applied everything that was committed before.
    #[track_caller]
    pub fn sync(&self) {
        block("sync", self.client.sync("/")).expect("sync");
    }

    /// Runs a transaction: `witness.multi(|m| { m.add_set_data(...)?; m.add_delete(...) })`.
    #[track_caller]
    pub fn multi<F>(&self, build: F) -> Result<(), MultiWriteError>
    where
        F: FnOnce(&mut zookeeper_client::MultiWriter<'_>) -> Result<(), Error>,
    {
        let mut multi = self.client.new_multi_writer();
        build(&mut multi)?;
        block("multi", multi.commit()).map(|_| ())
    }

    /// Everything at and below a path, with the data.
    #[track_caller]
    pub fn tree(&self, path: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            // What goes while we look was there and is gone: not part of the tree.
            let Ok((data, _)) = self.get(&path) else { continue };
            let base = if path == "/" { "" } else { &path };
            waiting.extend(self.children(&path).unwrap_or_default().iter().map(|name| format!("{base}/{name}")));
            found.insert(path, data);
        }
        found
    }

    /// Deletes everything below a path, and the path itself unless it is the root.
    #[track_caller]
    pub fn delete_tree(&self, path: &str) {
        for path in self.tree(path).into_keys().rev().filter(|path| path != "/" && !path.starts_with("/zookeeper")) {
            // Somebody else may be deleting too.
            let _ = self.delete(&path, None);
        }
    }

    /// Records every change at and below a path from now on.
    #[track_caller]
    pub fn record(&self, path: &str) -> Recorder {
        Recorder::start(self.client.clone(), path.to_owned())
    }

    /// Waits until a znode exists.
    #[track_caller]
    pub fn until_exists(&self, path: &str) {
        until(&format!("{path} exists"), || self.exists(path));
    }

    /// Waits until a znode is gone.
    #[track_caller]
    pub fn until_gone(&self, path: &str) {
        until(&format!("{path} is gone"), || !self.exists(path));
    }
}

/// The runtime of all witnesses. It lives as long as the process, hence longer than every client.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("witness")
            .enable_all()
            .build()
            .expect("a tokio runtime")
    })
}

/// Waits for a future, no longer than the rig is patient.
#[track_caller]
pub(crate) fn block<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = runtime().block_on(async { tokio::time::timeout(PATIENCE, future).await });
    match outcome {
        Ok(value) => value,
        Err(_) => panic!("the witness got no answer to {what} in {PATIENCE:?}"),
    }
}
