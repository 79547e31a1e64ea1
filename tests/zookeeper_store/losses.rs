//! The session goes.

use std::time::Duration;

use rig::{Mode, until};
use zkmount::session::zookeeper::{OnLost, Settings};
use zkmount::session::{Change, CreateMode, Event, SessionState, StateChange, Store, StoreError, pinned};

use crate::world::{World, bytes, creation, path};

fn short(settings: Settings) -> Settings {
    Settings { session_timeout: Duration::from_secs(2), ..settings }
}

#[test]
fn an_expired_session_is_replaced() {
    let world = World::new();
    world.create("/e", CreateMode::Ephemeral).unwrap();
    world.create("/p", CreateMode::Persistent).unwrap();
    let before = world.store.session();
    world.seen.take();
    world.proxy.expire_sessions();
    world.until_connected(before.connections);
    let after = world.store.session();
    assert_ne!(after.id, before.id);
    assert_eq!((after.state, after.incarnation), (SessionState::Connected, 2));
    let story = [
        Event::Blind,
        Event::Session(StateChange::Suspended(before.id)),
        Event::Session(StateChange::Lost(before.id)),
        Event::Session(StateChange::Connected(after.id)),
        Event::Gap,
    ];
    assert_eq!(world.seen.states(), story);
    assert_eq!(world.exists("/e").unwrap_err(), StoreError::NoNode);
    assert_eq!(world.counts("/e"), [1, 0, 1], "it is not made again by itself");
    let (_, stat) = world.create("/e", CreateMode::Ephemeral).unwrap();
    assert_eq!(stat.ephemeral_owner, after.id);
    world.witness.create(&world.real("/x"), b"", Mode::Persistent).unwrap();
    until("the change is announced", || world.seen.has("/x", Change::Created));
}

#[test]
fn a_session_whose_validity_is_over_is_given_up_though_the_server_keeps_it() {
    let world = World::with(short);
    world.create("/e", CreateMode::Ephemeral).unwrap();
    let before = world.store.session();
    assert_eq!(before.timeout, Duration::from_secs(2));
    // The server is asked to keep the session: its packets still arrive, but no answer comes back.
    world.seen.take();
    world.proxy.refuse();
    world.proxy.stall(rig::Direction::ToClient);
    until("the session is lost", || world.store.session().state == SessionState::Lost);
    let view = world.store.session();
    assert_eq!((view.id, view.validity), (before.id, Duration::ZERO));
    assert!(world.seen.take().contains(&Event::Session(StateChange::Lost(before.id))));
    world.proxy.flow();
    world.proxy.accept();
    world.until_connected(before.connections);
    let after = world.store.session();
    assert!(after.incarnation > before.incarnation);
    assert_ne!(after.id, before.id);
    // The old one was closed, or had expired, before the new one began.
    assert_eq!(world.exists("/e").unwrap_err(), StoreError::NoNode);
}

#[test]
fn an_idle_session_is_kept_valid() {
    let world = World::with(short);
    let confirmations = || world.proxy.requests().iter().filter(|request| request.op == rig::Op::Sync).count();
    // Pings do not count: a follower answers them by itself.
    let mut lowest = world.store.session().validity;
    until("the leader is asked again and again", || {
        lowest = lowest.min(world.store.session().validity);
        confirmations() >= 3
    });
    assert!(lowest < Duration::from_secs(2), "it runs down in between");
}

#[test]
fn a_pinned_operation_does_not_outlive_its_session() {
    let world = World::new();
    let before = world.store.session();
    world.wait(pinned(before.id, world.store.set(&path("/"), bytes("mine"), None))).unwrap();
    world.proxy.expire_sessions();
    let mut waiting = Vec::new();
    for pin in [Some(before.id), None] {
        waiting.push(world.spawn(async move |store| {
            let name = if pin.is_some() { "/pinned" } else { "/free" };
            let creation = creation(name, CreateMode::Ephemeral);
            let create = store.create(&creation);
            match pin {
                Some(pin) => pinned(pin, create).await,
                None => create.await,
            }
        }));
    }
    let results: Vec<_> = waiting.into_iter().map(|waiting| world.wait(waiting).unwrap()).collect();
    assert_eq!(results[0], Err(StoreError::SessionLost));
    assert_eq!(world.wait(pinned(before.id, world.store.exists(&path("/")))), Err(StoreError::SessionLost));
    until("there is a new session", || world.store.session().incarnation == 2);
    assert!(!world.witness.exists(&world.real("/pinned")));
    // Sent in the old session at the very last moment, or in the new one.
    assert!(matches!(results[1], Ok(_) | Err(StoreError::SessionLost)));
}

#[test]
fn a_long_outage_ends_with_a_new_session() {
    let world = World::with(short);
    let before = world.store.session();
    world.proxy.down();
    until("the session is lost", || world.store.session().state == SessionState::Lost);
    let waiting = world.spawn(async |store| store.exists(&path("/")).await);
    world.proxy.accept();
    world.wait(waiting).unwrap().unwrap();
    let after = world.store.session();
    assert!(after.incarnation > before.incarnation);
    assert_ne!(after.id, before.id);
}

#[test]
fn a_store_that_is_to_end_with_its_session_does() {
    let world = World::with(|settings| Settings { on_lost: OnLost::Exit, ..settings });
    let id = world.session();
    world.seen.take();
    world.proxy.expire_sessions();
    until("the store is closed", || world.store.session().state == SessionState::Closed);
    let story = [
        Event::Blind,
        Event::Session(StateChange::Suspended(id)),
        Event::Session(StateChange::Lost(id)),
        Event::Session(StateChange::Closed),
    ];
    assert_eq!(world.seen.states(), story);
    assert_eq!(world.exists("/").unwrap_err(), StoreError::Closed);
}

#[test]
fn a_paused_server_expires_nobody_twice() {
    let server = rig::Server::boot();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = Settings {
        operation_timeout: Duration::from_secs(30),
        session_timeout: Duration::from_secs(2),
        ..Settings::new(server.address())
    };
    let store = runtime.block_on(zkmount::session::ZooKeeper::connect(settings, std::sync::Arc::new(()))).unwrap();
    let frozen = server.freeze();
    until("the session is lost", || store.session().state == SessionState::Lost);
    drop(frozen);
    runtime.block_on(store.sync(&path("/"))).unwrap();
    assert!(store.session().incarnation > 1);
    until("only one session is left", || server.sessions() == [store.session().id.0]);
    runtime.block_on(store.close());
}
