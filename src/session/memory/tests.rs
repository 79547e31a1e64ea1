//! Sessions in memory: events, losses and shared trees. What every store does is in the contract suite.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{Fault, Memory, MemorySettings, MemoryTree};
use crate::mapping::{Acl, ZnodePath};
use crate::session::{Change, CreateMode, Creation, Event, SessionState, Sink, StateChange, Store, StoreError, pinned};

#[derive(Default)]
struct Seen(Mutex<Vec<Event>>);

impl Sink for Seen {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Seen {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn path(text: &str) -> ZnodePath {
    ZnodePath::parse(text).unwrap()
}

fn creation(text: &str, mode: CreateMode) -> Creation {
    Creation { path: path(text), data: Bytes::new(), mode, acl: None }
}

fn changes(events: &[Event]) -> Vec<(&str, Change)> {
    let change = |event| match event {
        &Event::Node { ref path, change, .. } => Some((path.as_str(), change)),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

#[tokio::test]
async fn everybody_is_told_before_the_result() {
    let (mine, theirs) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let tree = MemoryTree::new();
    let (me, them) = (tree.session(mine.clone()), tree.session(theirs.clone()));
    let id = me.session().id;
    assert_eq!(mine.take(), [Event::Session(StateChange::Connected(id)), Event::Gap]);
    theirs.take();
    me.create(&creation("/a", CreateMode::Persistent)).await.unwrap();
    them.set(&path("/a"), Bytes::from_static(b"x"), Some(0)).await.unwrap();
    me.delete(&path("/a"), Some(1)).await.unwrap();
    let all = [("/a", Change::Created), ("/a", Change::Modified), ("/a", Change::Deleted)];
    assert_eq!(changes(&mine.take()), all);
    assert_eq!(changes(&theirs.take()), all);
}

#[tokio::test]
async fn an_expired_session_leaves_no_ephemeral() {
    let (mine, theirs) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
    let tree = MemoryTree::new();
    let (me, them) = (tree.session(mine.clone()), tree.session(theirs.clone()));
    let (_, stat) = me.create(&creation("/e", CreateMode::Ephemeral)).await.unwrap();
    let id = me.session().id;
    assert_eq!(stat.ephemeral_owner, id);
    let owned: Vec<ZnodePath> = me.ephemerals().into_iter().map(|(path, _)| path).collect();
    assert_eq!(owned, [path("/e")]);
    mine.take();
    theirs.take();
    me.expire();
    let view = me.session();
    assert_eq!((view.state, view.incarnation, view.connections), (SessionState::Connected, 2, 2));
    assert_ne!(view.id, id);
    let told = [
        Event::Blind,
        Event::Session(StateChange::Suspended(id)),
        Event::Session(StateChange::Lost(id)),
        Event::Session(StateChange::Connected(view.id)),
        Event::Gap,
    ];
    assert_eq!(mine.take()[..5], told);
    assert_eq!(changes(&theirs.take()), [("/e", Change::Deleted)]);
    assert_eq!(them.exists(&path("/e")).await, Err(StoreError::NoNode));
}

#[tokio::test]
async fn a_suspended_session_waits_until_the_deadline() {
    let seen = Arc::new(Seen::default());
    let settings = MemorySettings { operation_timeout: Duration::from_millis(20), ..MemorySettings::default() };
    let memory = MemoryTree::new().session_with(seen.clone(), settings);
    let id = memory.session().id;
    let other = memory.tree().session(Arc::new(()));
    memory.suspend();
    assert_eq!(memory.exists(&path("/a")).await, Err(StoreError::TimedOut));
    assert!(!memory.session().live);
    other.create(&creation("/a", CreateMode::Persistent)).await.unwrap();
    seen.take();
    memory.resume();
    assert_eq!(seen.take(), [Event::Session(StateChange::Connected(id)), Event::Gap], "what happened is not told");
    assert!(memory.exists(&path("/a")).await.is_ok());
    memory.suspend();
    memory.expire();
    assert_eq!(memory.session().state, SessionState::Lost);
    memory.resume();
    assert_ne!(memory.session().id, id);
    memory.close().await;
    assert_eq!(memory.exists(&path("/a")).await, Err(StoreError::Closed));
    assert_eq!(seen.take().last(), Some(&Event::Session(StateChange::Closed)));
}

#[tokio::test]
async fn an_operation_goes_on_when_the_connection_is_back() {
    let memory = Arc::new(Memory::new(Arc::new(())));
    memory.suspend();
    let waiting = tokio::spawn({
        let memory = memory.clone();
        async move { memory.create(&creation("/a", CreateMode::Persistent)).await }
    });
    tokio::task::yield_now().await;
    memory.resume();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_pinned_operation_does_not_outlive_its_session() {
    let memory = Arc::new(Memory::new(Arc::new(())));
    let id = memory.session().id;
    pinned(id, memory.create(&creation("/a", CreateMode::Persistent))).await.unwrap();
    memory.suspend();
    let waiting = tokio::spawn({
        let memory = memory.clone();
        async move { pinned(id, memory.create(&creation("/b", CreateMode::Persistent))).await }
    });
    tokio::task::yield_now().await;
    memory.expire();
    memory.resume();
    assert_eq!(waiting.await.unwrap(), Err(StoreError::SessionLost));
    assert_eq!(pinned(id, memory.exists(&path("/a"))).await, Err(StoreError::SessionLost));
    assert_eq!(memory.exists(&path("/b")).await, Err(StoreError::NoNode));
}

#[tokio::test]
async fn access_is_enforced() {
    let tree = MemoryTree::new();
    let bob = super::Identity { scheme: "digest".to_owned(), id: "bob:x=".to_owned() };
    let settings = MemorySettings { identities: vec![bob], acl: Acl::creator(), ..MemorySettings::default() };
    let (bob, anyone) = (tree.session_with(Arc::new(()), settings), tree.session(Arc::new(())));
    bob.create(&creation("/d", CreateMode::Persistent)).await.unwrap();
    assert_eq!(anyone.get(&path("/d")).await, Err(StoreError::NoAuth));
    assert_eq!(anyone.set(&path("/d"), Bytes::new(), None).await, Err(StoreError::NoAuth));
    assert_eq!(anyone.create(&creation("/d/x", CreateMode::Persistent)).await, Err(StoreError::NoAuth));
    assert_eq!(anyone.get_acl(&path("/d")).await, Err(StoreError::NoAuth));
    let peeked = anyone.peek(&[path("/d"), path("/no")]).await.unwrap();
    assert_eq!(peeked[0].as_ref().unwrap().data, None);
    assert_eq!(peeked[1], Err(StoreError::NoNode));
    let open = Acl::parse_list("world:anyone:r").unwrap();
    let stat = bob.set_acl(&path("/d"), &open, Some(0)).await.unwrap();
    assert_eq!((stat.aversion, stat.version), (1, 0));
    assert!(anyone.get(&path("/d")).await.is_ok());
    assert!(anyone.delete(&path("/d"), None).await.is_ok(), "deleting needs a permission on the parent only");
}

#[tokio::test]
async fn a_reply_can_be_lost() {
    let memory = Memory::new(Arc::new(()));
    memory.lose_next_reply(Fault::NotApplied);
    assert_eq!(memory.create(&creation("/a", CreateMode::Persistent)).await, Err(StoreError::Unknown));
    assert_eq!(memory.exists(&path("/a")).await, Err(StoreError::NoNode));
    memory.lose_next_reply(Fault::Applied);
    assert_eq!(memory.create(&creation("/a", CreateMode::Persistent)).await, Err(StoreError::Unknown));
    assert!(memory.exists(&path("/a")).await.is_ok());
}

#[tokio::test]
async fn the_server_removes_empty_containers() {
    let gone = Arc::new(tokio::sync::Notify::new());
    struct Watch(Arc<tokio::sync::Notify>);
    impl Sink for Watch {
        fn event(&self, event: Event) {
            if matches!(&event, Event::Node { path, change: Change::Deleted, .. } if path.as_str() == "/c") {
                self.0.notify_one();
            }
        }
    }
    let memory = MemoryTree::with_reaper(Duration::from_millis(2)).session(Arc::new(Watch(gone.clone())));
    memory.create(&creation("/c", CreateMode::Container)).await.unwrap();
    memory.create(&creation("/c/x", CreateMode::Persistent)).await.unwrap();
    memory.delete(&path("/c/x"), None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), gone.notified()).await.unwrap();
}
