//! A store behind a wire that breaks on demand, and a witness behind none.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rig::{Change as Applied, Proxy, Server, Witness, shared_server, until};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use zkmount::mapping::{SessionId, Stat, ZnodePath};
use zkmount::session::zookeeper::{ConnectString, Settings, ZooKeeper};
use zkmount::session::{Change, CreateMode, Creation, Event, Op, OpResult, Sink, Store, StoreError};

/// A store behind a proxy, in a chroot of its own.
pub struct World {
    pub store: Arc<ZooKeeper>,
    pub proxy: Proxy,
    pub witness: Witness,
    pub seen: Arc<Seen>,
    server: &'static Server,
    root: String,
    runtime: Runtime,
}

impl World {
    pub fn new() -> World {
        World::with(|settings| settings)
    }

    /// A world whose store has other settings.
    pub fn with(change: impl FnOnce(Settings) -> Settings) -> World {
        // RUST_LOG=debug shows what the store does.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let server = shared_server();
        let proxy = Proxy::to(server);
        let connect = ConnectString::parse(&proxy.instead_of(&server.chroot("store"))).unwrap();
        let root = connect.chroot.as_ref().unwrap().to_string();
        let settings = Settings {
            chroot: connect.chroot.clone(),
            operation_timeout: Duration::from_secs(30),
            ..Settings::new(connect.servers())
        };
        let runtime = Runtime::new().unwrap();
        let seen = Arc::new(Seen::default());
        let settings = change(settings);
        let mut connected = None;
        // The time for one operation may be short on purpose, and the machine busy.
        until("there is a store", || {
            let connecting = ZooKeeper::connect(settings.clone(), seen.clone());
            connected = runtime.block_on(connecting).ok();
            connected.is_some()
        });
        let store = connected.unwrap();
        let witness = Witness::connect(&server.address());
        World { store: Arc::new(store), proxy, witness, seen, server, root, runtime }
    }

    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub fn spawn<T, F>(&self, run: impl FnOnce(Arc<ZooKeeper>) -> F) -> JoinHandle<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime.spawn(run(Arc::clone(&self.store)))
    }

    /// The path outside the chroot.
    pub fn real(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    pub fn session(&self) -> SessionId {
        self.store.session().id
    }

    pub fn create(&self, name: &str, mode: CreateMode) -> Result<(ZnodePath, Stat), StoreError> {
        self.wait(self.store.create(&creation(name, mode)))
    }

    pub fn set(&self, name: &str, data: &str, version: Option<i32>) -> Result<Stat, StoreError> {
        self.wait(self.store.set(&path(name), bytes(data), version))
    }

    pub fn delete(&self, name: &str, version: Option<i32>) -> Result<(), StoreError> {
        self.wait(self.store.delete(&path(name), version))
    }

    pub fn exists(&self, name: &str) -> Result<Stat, StoreError> {
        self.wait(self.store.exists(&path(name)))
    }

    pub fn multi(&self, ops: &[Op]) -> Result<Vec<OpResult>, StoreError> {
        self.wait(self.store.multi(ops)).map_err(|error| error.error)
    }

    /// What the server applied below the chroot, in order; without the chroot itself.
    pub fn applied(&self) -> Vec<Applied> {
        self.witness.sync();
        let below = self.server.history_below(&self.root).into_iter().flat_map(|transaction| transaction.changes);
        below.filter(|change| change.path() != self.root).collect()
    }

    /// How often a path was created, set and deleted.
    pub fn counts(&self, name: &str) -> [usize; 3] {
        let real = self.real(name);
        let mut counts = [0; 3];
        for change in self.applied().iter().filter(|change| change.path() == real) {
            match change {
                Applied::Create { .. } => counts[0] += 1,
                Applied::SetData { .. } => counts[1] += 1,
                Applied::Delete { .. } => counts[2] += 1,
                Applied::SetAcl { .. } | Applied::Check { .. } => {}
            }
        }
        counts
    }

    /// Waits until the store is connected again, with a later connection.
    pub fn until_connected(&self, after: u64) {
        until("the store is connected again", || {
            let view = self.store.session();
            view.live && view.connections > after
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.proxy.calm();
        self.proxy.flow();
        self.runtime.block_on(self.store.close());
    }
}

/// Takes down what it is told.
#[derive(Default)]
pub struct Seen(Mutex<Vec<Event>>);

impl Sink for Seen {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Seen {
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Whether it was told of a change; what it was told stays.
    pub fn has(&self, name: &str, change: Change) -> bool {
        let is_it = |event: &Event| matches!(event, Event::Node { path, change: c, .. } if path.as_str() == name && *c == change);
        self.0.lock().unwrap().iter().any(is_it)
    }

    /// What it was told beside changes, taken.
    pub fn states(&self) -> Vec<Event> {
        self.take().into_iter().filter(|event| !matches!(event, Event::Node { .. })).collect()
    }
}

pub fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn creation(name: &str, mode: CreateMode) -> Creation {
    Creation { path: path(name), data: bytes("data"), mode, acl: None }
}
