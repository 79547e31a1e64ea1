//! Two sessions on one tree, and what they were told.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use zkmount::mapping::{Acl, SessionId, ZnodePath};
use zkmount::session::memory::{Identity, Memory, MemorySettings, MemoryTree};
use zkmount::session::zookeeper::{ConnectString, Settings, ZooKeeper};
use zkmount::session::{Change, CreateMode, Creation, Event, Sink, Store};

/// A kind of store.
pub trait Kind {
    type Store: Store;
    /// A place of one's own: a fresh tree.
    type Place: Send + Sync;
    /// Prepares it, outside any runtime.
    fn place() -> Self::Place;
    /// Starts a session.
    fn session(
        place: &Self::Place,
        sink: Arc<dyn Sink>,
        acl: Vec<Acl>,
        user: Option<User>,
    ) -> impl Future<Output = Self::Store>;
}

/// A user who has authenticated with `digest`.
#[derive(Clone, Copy)]
pub struct User {
    /// Name and password.
    pub secret: &'static str,
    /// Name and digest, as ACLs have it.
    pub id: &'static str,
}

/// `echo -n bob:pw | openssl sha1 -binary | base64`.
pub const BOB: User = User { secret: "bob:pw", id: "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=" };

pub struct InMemory;

impl Kind for InMemory {
    type Store = Memory;
    type Place = MemoryTree;

    fn place() -> MemoryTree {
        MemoryTree::with_reaper(Duration::from_millis(20))
    }

    async fn session(tree: &MemoryTree, sink: Arc<dyn Sink>, acl: Vec<Acl>, user: Option<User>) -> Memory {
        let identities = user.map(|user| Identity { scheme: "digest".to_owned(), id: user.id.to_owned() });
        let settings =
            MemorySettings { acl, identities: identities.into_iter().collect(), ..MemorySettings::default() };
        tree.session_with(sink, settings)
    }
}

pub struct OnServer;

impl Kind for OnServer {
    type Store = ZooKeeper;
    type Place = ConnectString;

    fn place() -> ConnectString {
        ConnectString::parse(&rig::shared_server().chroot("contract")).unwrap()
    }

    async fn session(place: &ConnectString, sink: Arc<dyn Sink>, acl: Vec<Acl>, user: Option<User>) -> ZooKeeper {
        let auth = user.map(|user| ("digest".to_owned(), user.secret.as_bytes().to_vec()));
        let settings = Settings {
            chroot: place.chroot.clone(),
            acl,
            auth: auth.into_iter().collect(),
            operation_timeout: Duration::from_secs(30),
            ..Settings::new(place.servers())
        };
        ZooKeeper::connect(settings, sink).await.unwrap()
    }
}

/// Two sessions on one tree.
pub struct World<K: Kind> {
    pub place: K::Place,
    pub me: K::Store,
    pub other: K::Store,
    /// What I was told.
    pub mine: Arc<Seen>,
    /// What the other was told.
    pub theirs: Arc<Seen>,
}

/// Runs a case in a world of its own.
pub fn run<K: Kind, F: Future<Output = ()>>(case: impl FnOnce(World<K>) -> F) {
    let place = K::place();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { case(start::<K>(place).await).await });
}

/// Starts two sessions.
pub async fn start<K: Kind>(place: K::Place) -> World<K> {
    let (mine, theirs) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let me = K::session(&place, mine.clone(), Acl::open(), None).await;
    let other = K::session(&place, theirs.clone(), Acl::open(), None).await;
    mine.take();
    theirs.take();
    World { place, me, other, mine, theirs }
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

    /// The changes among what it was told, taken.
    pub fn changes(&self) -> Vec<(String, Change)> {
        let change = |event| match event {
            Event::Node { path, change, .. } => Some((path.to_string(), change)),
            _ => None,
        };
        self.take().into_iter().filter_map(change).collect()
    }

    /// Waits until it was told so many changes.
    pub async fn until_changes(&self, count: usize) -> Vec<(String, Change)> {
        let mut all = Vec::new();
        for _ in 0..3000 {
            all.extend(self.changes());
            if all.len() >= count {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} changes were to come, and these came: {all:?}");
    }
}

pub fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn creation(text: &str, data: &str, mode: CreateMode) -> Creation {
    Creation { path: path(text), data: bytes(data), mode, acl: None }
}

pub const NOBODY: SessionId = SessionId::NONE;
