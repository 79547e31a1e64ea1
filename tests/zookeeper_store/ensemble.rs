//! Three servers, one of which is killed under load.

use std::sync::Arc;
use std::time::Duration;

use rig::{Ensemble, Witness, until};
use tokio::runtime::Runtime;
use zkmount::session::zookeeper::{ConnectString, Settings, ZooKeeper};
use zkmount::session::{CreateMode, Creation, Store, StoreError};

use crate::world::{bytes, creation, path};

#[test]
fn a_killed_leader_loses_nothing() {
    let ensemble = Ensemble::boot();
    let place = ConnectString::parse(&ensemble.chroot("killed")).unwrap();
    let runtime = Runtime::new().unwrap();
    let settings = Settings {
        chroot: place.chroot.clone(),
        operation_timeout: Duration::from_secs(30),
        session_timeout: Duration::from_secs(30),
        ..Settings::new(place.servers())
    };
    let store = Arc::new(runtime.block_on(ZooKeeper::connect(settings, Arc::new(()))).unwrap());
    let id = store.session().id;
    let (_, lock) = runtime.block_on(store.create(&creation("/lock", CreateMode::Ephemeral))).unwrap();
    runtime.block_on(store.create(&creation("/q", CreateMode::Persistent))).unwrap();

    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let workers: Vec<_> = (0..4).map(|worker| runtime.spawn(work(store.clone(), worker, stop.clone()))).collect();
    let queue = format!("{}/q", place.chroot.as_ref().unwrap());
    let witness = Witness::connect(&ensemble.address());
    // The witness may ask a server that lags behind, or the one that is killed: then it looks again.
    let made = || witness.children(&queue).map_or(0, |children| children.len());
    until("there is some load", || made() > 50);
    let leader = ensemble.leader();
    leader.kill9();
    let mut before = 0;
    until("the queue can be listed", || {
        before = made();
        before > 50
    });
    until("the load goes on", || made() > before + 100);
    leader.restart();
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let reports: Vec<_> = workers.into_iter().flat_map(|worker| runtime.block_on(worker).unwrap()).collect();

    assert_eq!((store.session().id, store.session().incarnation), (id, 1), "the session lives on");
    assert_eq!(runtime.block_on(store.exists(&path("/lock"))).unwrap(), lock);
    until("the witness has caught up", || witness.block_on(witness.client().sync("/")).is_ok());
    let tree = witness.tree(&queue);
    for (mark, result) in reports {
        let made: Vec<&String> =
            tree.iter().filter(|(_, data)| **data == mark.as_bytes()).map(|(name, _)| name).collect();
        match result {
            Ok(name) => {
                assert_eq!(made.len(), 1, "{mark}: {made:?}");
                assert!(made[0].ends_with(name.rsplit('/').next().unwrap()), "{mark}: {name} {made:?}");
            }
            Err(StoreError::Unknown) => assert!(made.len() <= 1, "{mark}: {made:?}"),
            Err(error) => panic!("{mark}: {error}"),
        }
    }
    runtime.block_on(store.close());
}

async fn work(
    store: Arc<ZooKeeper>,
    worker: usize,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> Vec<(String, Result<String, StoreError>)> {
    let mut reports = Vec::new();
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let mark = format!("{worker}.{}", reports.len());
        let modes = [CreateMode::PersistentSequential, CreateMode::EphemeralSequential];
        let mode = modes[reports.len() % 2];
        let creation = Creation { path: path("/q/n-"), data: bytes(&mark), mode, acl: None };
        let result = store.create(&creation).await.map(|(path, _)| path.to_string());
        reports.push((mark, result));
    }
    reports
}
