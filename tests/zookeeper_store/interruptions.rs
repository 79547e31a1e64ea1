//! The connection goes, the session lives on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use rig::{Direction, Mode, until};
use zkmount::session::{Change, CreateMode, Event, Op, SessionState, StateChange, Store, StoreError};

use crate::world::{World, bytes, creation, path};

#[test]
fn the_watch_is_made_again() {
    let world = World::new();
    let id = world.session();
    assert_eq!(world.seen.take(), [Event::Session(StateChange::Connected(id)), Event::Gap]);
    for round in 1..=5 {
        let before = world.store.session();
        assert_eq!((before.connections, before.incarnation, before.live), (round, 1, true));
        assert_eq!(world.proxy.cut(), 1);
        world.until_connected(before.connections);
        let story = [
            Event::Blind,
            Event::Session(StateChange::Suspended(id)),
            Event::Session(StateChange::Connected(id)),
            Event::Gap,
        ];
        assert_eq!(world.seen.states(), story);
        let name = format!("/n{round}");
        world.witness.create(&world.real(&name), b"", Mode::Persistent).unwrap();
        until("the change is announced", || world.seen.has(&name, Change::Created));
        world.seen.take();
    }
}

#[test]
fn what_happened_meanwhile_is_seen_by_the_first_read() {
    let world = World::new();
    world.create("/a", CreateMode::Persistent).unwrap();
    for version in 1..=5 {
        world.proxy.down();
        world.witness.set(&world.real("/a"), b"x", None).unwrap();
        world.proxy.accept();
        assert_eq!(world.exists("/a").unwrap().version, version);
        let told = world.seen.take();
        let blind = told.iter().position(|event| *event == Event::Blind).expect("it was told that it is blind");
        assert!(told[blind..].contains(&Event::Gap), "and that it no longer is, before the result: {told:?}");
    }
}

#[test]
fn nothing_is_sent_late() {
    let world = World::with(|settings| zkmount::session::zookeeper::Settings {
        operation_timeout: Duration::from_millis(300),
        ..settings
    });
    let before = world.store.session();
    world.proxy.down();
    until("the store notices", || world.store.session().state == SessionState::Suspended);
    assert_eq!(world.create("/a", CreateMode::Persistent).unwrap_err(), StoreError::TimedOut);
    assert_eq!(world.create("/e", CreateMode::Ephemeral).unwrap_err(), StoreError::TimedOut);
    assert_eq!(world.exists("/a").unwrap_err(), StoreError::TimedOut);
    let view = world.store.session();
    assert_eq!((view.state, view.id, view.live), (SessionState::Suspended, before.id, false));
    assert!(view.validity < view.timeout);
    world.proxy.accept();
    world.until_connected(before.connections);
    until("it can be used again", || world.wait(world.store.sync(&path("/"))).is_ok());
    let names = [world.real("/a"), world.real("/e")];
    let late =
        world.proxy.requests().into_iter().filter(|request| request.paths.iter().any(|path| names.contains(path)));
    assert_eq!(late.count(), 0);
    assert_eq!(world.applied(), []);
    assert_eq!(world.store.session().incarnation, 1);
}

/// Tells when an operation has begun.
async fn told<T>(begun: mpsc::Sender<()>, operation: impl Future<Output = T>) -> T {
    let mut operation = pin!(operation);
    let first = poll_fn(|context| Poll::Ready(operation.as_mut().poll(context))).await;
    begun.send(()).expect("somebody waits for it");
    match first {
        Poll::Ready(result) => result,
        Poll::Pending => operation.await,
    }
}

#[test]
fn a_write_that_waited_does_not_reach_a_znode_that_was_made_anew() {
    let world = World::new();
    let names = ["/set", "/delete", "/multi", "/e"];
    names.iter().for_each(|name| drop(world.create(name, CreateMode::Persistent).unwrap()));
    // What nobody has touched meanwhile is written all the same.
    world.create("/same", CreateMode::Persistent).unwrap();
    world.proxy.down();
    until("the store notices", || world.store.session().state == SessionState::Suspended);
    let (begun, waiting) = mpsc::channel();
    let (first, second, third, fourth, fifth) = (begun.clone(), begun.clone(), begun.clone(), begun.clone(), begun);
    let same =
        world.spawn(async |store| told(first, store.set(&path("/same"), bytes("mine"), Some(0))).await.map(|_| ()));
    let writes = [
        world.spawn(async |store| told(second, store.set(&path("/set"), bytes("mine"), Some(0))).await.map(|_| ())),
        world.spawn(async |store| told(third, store.delete(&path("/delete"), Some(0))).await),
        world.spawn(async |store| {
            let check = Op::Check { path: path("/multi"), version: Some(0) };
            let ops = [check, Op::Create(creation("/copy", CreateMode::Persistent))];
            told(fourth, store.multi(&ops)).await.map(|_| ()).map_err(|error| error.error)
        }),
        world.spawn(async |store| {
            let check = Op::Check { path: path("/e"), version: Some(0) };
            let ops = [check, Op::Create(creation("/lock", CreateMode::Ephemeral))];
            told(fifth, store.multi(&ops)).await.map(|_| ()).map_err(|error| error.error)
        }),
    ];
    (0..5).for_each(|_| waiting.recv_timeout(Duration::from_secs(30)).expect("it has begun"));
    for name in names {
        world.witness.delete(&world.real(name), None).unwrap();
        world.witness.create(&world.real(name), b"theirs", Mode::Persistent).unwrap();
    }
    world.proxy.accept();
    for write in writes {
        assert_eq!(world.wait(write).unwrap().unwrap_err(), StoreError::BadVersion);
    }
    world.wait(same).unwrap().unwrap();
    names.iter().for_each(|name| assert_eq!(world.witness.text(&world.real(name)), "theirs"));
    assert_eq!(world.witness.text(&world.real("/same")), "mine");
    assert!(!world.witness.exists(&world.real("/copy")) && !world.witness.exists(&world.real("/lock")));
}

#[test]
fn operations_wait_for_the_connection() {
    let world = World::new();
    world.proxy.down();
    until("the store notices", || world.store.session().state == SessionState::Suspended);
    let creating = world.spawn(async |store| store.create(&creation("/a", CreateMode::Persistent)).await);
    let reading = world.spawn(async |store| store.children(&path("/")).await);
    assert!(!creating.is_finished() && !reading.is_finished());
    world.proxy.accept();
    world.wait(creating).unwrap().unwrap();
    world.wait(reading).unwrap().unwrap();
    assert_eq!(world.counts("/a"), [1, 0, 0]);
}

#[test]
fn a_silent_connection_is_given_up() {
    // Both directions, then each alone: replies that do not come, and requests that do not arrive.
    for directions in [&Direction::BOTH[..], &[Direction::ToClient], &[Direction::ToServer]] {
        let world = World::with(|settings| zkmount::session::zookeeper::Settings {
            session_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(20),
            ..settings
        });
        world.create("/e", CreateMode::Ephemeral).unwrap();
        let before = world.store.session();
        directions.iter().for_each(|direction| world.proxy.stall(*direction));
        let reading = world.spawn(async |store| store.exists(&path("/e")).await);
        world.proxy.flow();
        let stat = world.wait(reading).unwrap().unwrap();
        assert_eq!(stat.ephemeral_owner, before.id, "the session has lived on");
    }
}

#[test]
fn a_restarted_server_is_found_again() {
    let server = rig::Server::boot();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = zkmount::session::zookeeper::Settings {
        operation_timeout: Duration::from_secs(30),
        session_timeout: Duration::from_secs(30),
        ..zkmount::session::zookeeper::Settings::new(server.address())
    };
    let store = runtime.block_on(zkmount::session::ZooKeeper::connect(settings, std::sync::Arc::new(()))).unwrap();
    let (_, stat) = runtime.block_on(store.create(&creation("/e", CreateMode::Ephemeral))).unwrap();
    let id = store.session().id;
    server.kill9();
    until("the store notices", || store.session().state == SessionState::Suspended);
    server.restart();
    assert_eq!(runtime.block_on(store.exists(&path("/e"))).unwrap(), stat);
    assert_eq!((store.session().id, store.session().incarnation), (id, 1));
    runtime.block_on(store.close());
}
