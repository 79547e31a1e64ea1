//! Closing is immediate, whatever is going on.

use std::time::{Duration, Instant};

use zkmount::session::{CreateMode, SessionState, Store, StoreError};

use crate::world::{World, creation, path};

#[test]
fn with_requests_under_way() {
    let world = World::new();
    world.create("/e", CreateMode::Ephemeral).unwrap();
    let trap = world.proxy.trap().op(rig::Op::GetData).hold_request();
    let reading = world.spawn(async |store| store.get(&path("/e")).await);
    let creating = world.spawn(async |store| {
        tokio::task::yield_now().await;
        store.create(&creation("/f", CreateMode::Ephemeral)).await
    });
    trap.wait();
    // What is held holds the closing too, so it takes its two seconds; let go, it is at once.
    trap.release();
    world.wait(world.store.close());
    assert!(!world.witness.exists(&world.real("/e")), "gone when closing returns");
    let answered = world.wait(reading).unwrap();
    assert!(answered.is_ok() || answered == Err(StoreError::Closed));
    world.wait(creating).unwrap().ok();
    assert!(!world.witness.exists(&world.real("/f")));
    assert_eq!(world.store.session().state, SessionState::Closed);
}

#[test]
fn with_a_silent_server() {
    let world = World::new();
    world.create("/e", CreateMode::Ephemeral).unwrap();
    world.proxy.stall_both();
    let waiting = world.spawn(async |store| store.exists(&path("/e")).await);
    let began = Instant::now();
    world.wait(world.store.close());
    assert!(began.elapsed() < Duration::from_secs(10), "bounded");
    assert_eq!(world.wait(waiting).unwrap(), Err(StoreError::Closed));
}

#[test]
fn with_no_connection() {
    let world = World::new();
    world.create("/e", CreateMode::Ephemeral).unwrap();
    world.proxy.down();
    rig::until("the store notices", || world.store.session().state == SessionState::Suspended);
    world.proxy.accept();
    world.wait(world.store.close());
    rig::until("the session is closed from afar", || !world.witness.exists(&world.real("/e")));
}

#[test]
fn by_dropping_it() {
    let server = rig::shared_server();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings = zkmount::session::zookeeper::Settings::new(server.address());
    let store = runtime.block_on(zkmount::session::ZooKeeper::connect(settings, std::sync::Arc::new(()))).unwrap();
    let id = store.session().id.0;
    assert!(server.sessions().contains(&id));
    drop(store);
    rig::until("the session is closed", || !server.sessions().contains(&id));
}
