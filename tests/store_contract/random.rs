//! Random operations from two sessions, on both stores at once: they must not be told apart.

use std::fmt::Debug;
use std::time::Duration;

use zkmount::mapping::{Acl, SessionId, Stat, ZnodePath};
use zkmount::session::{CreateMode, Creation, Op, OpResult, Store, StoreError};

use crate::world::{InMemory, Kind, OnServer, World, bytes, path, start};

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// A name that other operations hit too.
    fn path(&mut self) -> ZnodePath {
        let depth = 1 + self.below(3);
        let names: Vec<&str> = (0..depth).map(|_| self.pick(&["a", "b", "n-", "n-0000000001"])).collect();
        path(&format!("/{}", names.join("/")))
    }

    fn version(&mut self) -> Option<i32> {
        self.pick(&[None, None, Some(0), Some(0), Some(1), Some(2)])
    }

    fn creation(&mut self) -> Creation {
        let modes = [
            CreateMode::Persistent,
            CreateMode::Persistent,
            CreateMode::Ephemeral,
            CreateMode::PersistentSequential,
            CreateMode::EphemeralSequential,
            CreateMode::Ttl(Duration::from_secs(3600)),
        ];
        let data = self.pick(&["", "x", "longer"]);
        Creation { path: self.path(), data: bytes(data), mode: self.pick(&modes), acl: self.acl() }
    }

    /// All can be read, since what goes for the unreadable depends on the server's version.
    fn acl(&mut self) -> Option<Vec<Acl>> {
        let text = self.pick(&["", "", "", "", "world:anyone:r", "world:anyone:rwc", "digest:bob:r"]);
        (!text.is_empty()).then(|| Acl::parse_list(text).unwrap())
    }

    fn op(&mut self) -> Op {
        match self.below(6) {
            0 => Op::Check { path: self.path(), version: self.version() },
            1 | 2 => Op::Create(self.creation()),
            3 | 4 => Op::Set { path: self.path(), data: bytes("multi"), version: self.version() },
            _ => Op::Delete { path: self.path(), version: self.version() },
        }
    }

    fn step(&mut self) -> Step {
        match self.below(12) {
            0..=3 => Step::Create(self.creation()),
            4 => Step::Set(self.path(), self.version()),
            5 => Step::Delete(self.path(), self.version()),
            6 => Step::Get(self.path()),
            7 => Step::Children(self.pick(&[path("/"), path("/a"), path("/b"), path("/a/b")])),
            8 => Step::SetAcl(self.path(), self.acl().unwrap_or_else(Acl::open), self.version()),
            9 => Step::Peek((0..4).map(|_| self.path()).collect()),
            _ => Step::Multi((0..1 + self.below(4)).map(|_| self.op()).collect()),
        }
    }
}

#[derive(Debug)]
enum Step {
    Create(Creation),
    Set(ZnodePath, Option<i32>),
    Delete(ZnodePath, Option<i32>),
    Get(ZnodePath),
    Children(ZnodePath),
    SetAcl(ZnodePath, Vec<Acl>, Option<i32>),
    Peek(Vec<ZnodePath>),
    Multi(Vec<Op>),
}

/// What is the same on both: without zxids, times and session ids, but with what can be told from their order.
fn shown(stat: &Stat, me: SessionId) -> String {
    let Stat { version, cversion, aversion, data_length, num_children, .. } = stat;
    let order = (stat.czxid == stat.mzxid, stat.pzxid == stat.czxid, stat.mzxid.cmp(&stat.pzxid));
    let owner = match stat.ephemeral_owner {
        SessionId::NONE => "nobody's",
        owner if owner == me => "mine",
        _ => "another's",
    };
    format!("v{version} c{cversion} a{aversion} {data_length} bytes {num_children} children {owner} {order:?}")
}

fn outcome<T: Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        // The wording is the server's own affair.
        Err(StoreError::BadArguments(_)) => "bad arguments".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

async fn run<S: Store>(store: &S, step: &Step) -> String {
    let me = store.session().id;
    let shown = |stat: Stat| shown(&stat, me);
    match step {
        Step::Create(creation) => outcome(store.create(creation).await.map(|(path, stat)| (path, shown(stat)))),
        Step::Set(path, version) => outcome(store.set(path, bytes("set"), *version).await.map(shown)),
        Step::Delete(path, version) => outcome(store.delete(path, *version).await),
        Step::Get(path) => outcome(store.get(path).await.map(|(data, stat)| (data, shown(stat)))),
        Step::Children(path) => outcome(store.children(path).await.map(|(mut names, stat)| {
            names.sort();
            names.retain(|name| name != "zookeeper");
            (names, if path.is_root() { String::new() } else { shown(stat) })
        })),
        Step::SetAcl(path, acl, version) => outcome(store.set_acl(path, acl, *version).await.map(shown)),
        Step::Peek(paths) => {
            let peeks = store.peek(paths).await.unwrap().into_iter();
            let peeks = peeks.map(|peek| outcome(peek.map(|peek| (shown(peek.stat), peek.data))));
            peeks.collect::<Vec<_>>().join("; ")
        }
        Step::Multi(ops) => match store.multi(ops).await {
            Ok(results) => {
                let result = |result: OpResult| match result {
                    OpResult::Set(stat) => shown(stat),
                    other => format!("{other:?}"),
                };
                results.into_iter().map(result).collect::<Vec<_>>().join("; ")
            }
            Err(error) => format!("{:?}: {}", error.index, outcome::<()>(Err(error.error))),
        },
    }
}

async fn twin<K: Kind>(world: &World<K>, mine: bool, step: &Step) -> (String, Vec<(String, zkmount::session::Change)>) {
    let (store, seen) = if mine { (&world.me, &world.mine) } else { (&world.other, &world.theirs) };
    let said = run(store, step).await;
    // What the other did before may be told only now; what this step did has been told for certain.
    (said, seen.changes())
}

#[test]
fn the_stores_cannot_be_told_apart() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for seed in [1, 0x5eed, 0xdead_beef, 77] {
        let places = (InMemory::place(), OnServer::place());
        runtime.block_on(async {
            let memory = start::<InMemory>(places.0).await;
            let server = start::<OnServer>(places.1).await;
            let mut random = Random(seed);
            let (mut in_memory, mut on_server) = (Vec::new(), Vec::new());
            for number in 0..400 {
                let (step, mine) = (random.step(), random.below(2) == 0);
                let (said, told) = twin(&memory, mine, &step).await;
                in_memory.extend(told.into_iter().map(|told| (mine, told)));
                let (also_said, told) = twin(&server, mine, &step).await;
                on_server.extend(told.into_iter().map(|told| (mine, told)));
                assert_eq!(said, also_said, "seed {seed:#x}, step {number}: {step:?} in memory and on a server");
            }
            for mine in [true, false] {
                let told = |all: &[(bool, (String, zkmount::session::Change))]| -> Vec<_> {
                    all.iter().filter(|told| told.0 == mine).map(|told| told.1.clone()).collect()
                };
                let (mut expected, mut real) = (told(&in_memory), told(&on_server));
                let (left, seen) = if mine { (&memory.mine, &server.mine) } else { (&memory.theirs, &server.theirs) };
                expected.extend(left.changes());
                if real.len() < expected.len() {
                    real.extend(seen.until_changes(expected.len() - real.len()).await);
                }
                assert_eq!(real, expected, "seed {seed:#x}: the changes that were told");
            }
        });
    }
}
