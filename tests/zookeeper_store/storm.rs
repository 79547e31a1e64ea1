//! Random cuts under load: what was reported is what happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rig::Change as Applied;
use zkmount::session::zookeeper::{Settings, ZooKeeper};
use zkmount::session::{CreateMode, Creation, Op, OpResult, Store, StoreError};

use crate::world::{World, bytes, path};

/// What one request was for, and what was reported.
#[derive(Debug)]
struct Report {
    /// Data that no other request has.
    mark: String,
    mode: CreateMode,
    result: Result<String, StoreError>,
}

const WORKERS: usize = 8;
const ROUNDS: usize = 60;

#[test]
fn creations_are_reported_truly() {
    let world = World::with(|settings| Settings { operation_timeout: Duration::from_secs(20), ..settings });
    world.create("/q", CreateMode::Persistent).unwrap();
    world.proxy.storm(0x5eed, 20);
    let workers: Vec<_> =
        (0..WORKERS).map(|worker| world.spawn(async move |store| work(store, worker).await)).collect();
    let reports: Vec<Report> = workers.into_iter().flat_map(|worker| world.wait(worker).unwrap()).collect();
    world.proxy.calm();
    let cuts = world.proxy.counts().cuts;
    assert!(cuts > 20, "only {cuts} cuts");
    assert_eq!(world.store.session().incarnation, 1);

    world.wait(world.store.sync(&path("/"))).unwrap();
    let mut made: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for change in world.applied() {
        if let Applied::Create { path, data, .. } = change {
            made.entry(String::from_utf8(data).unwrap()).or_default().push(path);
        }
    }
    for Report { mark, mode, result } in &reports {
        let made = made.get(mark).map_or(&[][..], Vec::as_slice);
        match result {
            Ok(name) => assert_eq!(made, [world.real(name)], "{mode:?} {mark}: made once, under the reported name"),
            // An ephemeral that is there is recognised; of one that is not, somebody may have deleted it.
            Err(StoreError::Unknown) => {
                assert!(made.len() <= usize::from(!mode.is_ephemeral()), "{mode:?} {mark}: {made:?}");
            }
            Err(error) => panic!("{mode:?} {mark}: {error}"),
        }
    }
    let unknown = reports.iter().filter(|report| report.result.is_err()).count();
    println!("{} creations, {cuts} cuts, {unknown} unknown", reports.len());
}

async fn work(store: Arc<ZooKeeper>, worker: usize) -> Vec<Report> {
    let mut reports = Vec::new();
    for round in 0..ROUNDS {
        let modes = [
            CreateMode::Persistent,
            CreateMode::PersistentSequential,
            CreateMode::Ephemeral,
            CreateMode::EphemeralSequential,
        ];
        let mode = modes[(worker + round) % modes.len()];
        let mark = format!("{worker}.{round}");
        let name = if mode.is_sequential() { "/q/n-".to_owned() } else { format!("/q/{mark}") };
        let creation = Creation { path: path(&name), data: bytes(&mark), mode, acl: None };
        let result = if round % 3 == 0 {
            let results = store.multi(&[Op::Check { path: path("/q"), version: None }, Op::Create(creation)]).await;
            results.map_err(|error| error.error).map(|results| match &results[1] {
                OpResult::Created(path) => path.to_string(),
                other => panic!("{other:?}"),
            })
        } else {
            store.create(&creation).await.map(|(path, _)| path.to_string())
        };
        reports.push(Report { mark, mode, result });
    }
    reports
}

#[test]
fn a_counter_counts_what_was_acknowledged() {
    let world = World::new();
    world.create("/counter", CreateMode::Persistent).unwrap();
    world.set("/counter", "0", None).unwrap();
    world.proxy.storm(0xc0de, 20);
    let workers: Vec<_> = (0..4).map(|_| world.spawn(async |store| count(store).await)).collect();
    let mut sums = [0, 0];
    for worker in workers {
        let [sure, unsure] = world.wait(worker).unwrap();
        sums = [sums[0] + sure, sums[1] + unsure];
    }
    world.proxy.calm();
    let value: usize = world.witness.text(&world.real("/counter")).parse().unwrap();
    let [sure, unsure] = sums;
    assert!((sure..=sure + unsure).contains(&value), "{value} is not {sure} with {unsure} unknown");
    assert_eq!(world.counts("/counter")[1], value + 1, "each set is one increment");
}

async fn count(store: Arc<ZooKeeper>) -> [usize; 2] {
    let mut sums = [0, 0];
    while sums[0] < 40 {
        let (value, stat) = store.get(&path("/counter")).await.unwrap();
        let value: usize = std::str::from_utf8(&value).unwrap().parse().unwrap();
        match store.set(&path("/counter"), bytes(&(value + 1).to_string()), Some(stat.version)).await {
            Ok(_) => sums[0] += 1,
            Err(StoreError::BadVersion) => {}
            Err(StoreError::Unknown) => sums[1] += 1,
            Err(error) => panic!("{error}"),
        }
    }
    sums
}
