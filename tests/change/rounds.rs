//! Interruptions of every kind, round after round, with changes meanwhile: after each the view is the tree, the watchers know of
//! every difference, and watching goes on.

use std::collections::BTreeMap;
use std::fs;

use rig::{Ensemble, Mount, Proxy, Random, Server, Witness, number, until};

use crate::belief::{Belief, of, shown, told, truth};
use crate::gap::until_live;
use crate::helper::{Watch, directory, file, set};
use crate::storm::{Quota, by_client};

/// Directories that are watched.
const DIRS: [&str; 3] = ["/a", "/b", "/c"];

/// Changes in each round.
const CHANGES: usize = 40;

/// The session outlives every interruption here.
const SESSION: [&str; 2] = ["--session-timeout", "20s"];

/// What interrupts.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// All connections are cut.
    Cut,
    /// Nothing passes, for less than the session lives.
    Stall,
    /// The leader is killed, and started again.
    Leader,
    /// The server that the mount is connected to is killed, and started again.
    Server,
}

/// A mount and those who watch in it.
struct World {
    mount: Mount,
    /// A client that goes through no proxy.
    connect: String,
    watches: Vec<Watch>,
    beliefs: Vec<Belief>,
    /// Lines that each watcher has told in earlier rounds.
    read: Vec<usize>,
    random: Random,
}

/// What a client can tell of a znode: which incarnation, and which transaction set it last.
type Versions = BTreeMap<String, (i64, i64)>;

fn versions(witness: &Witness, dir: &str) -> Versions {
    let names = witness.children(dir).unwrap().into_iter();
    names.map(|name| witness.stat(&format!("{dir}/{name}")).map(|s| (name, (s.czxid, s.mzxid))).unwrap()).collect()
}

impl World {
    fn new(connect: String, through: &str) -> World {
        let witness = Witness::connect(&connect);
        for dir in DIRS {
            directory(&witness, dir);
            (0..15).for_each(|n| file(&witness, &format!("{dir}/n{n}"), "the first value"));
        }
        let mount = Mount::options(through).args(&SESSION).mount();
        let watches = DIRS.iter().map(|dir| Watch::on(&[&mount.join(&dir[1..])])).collect();
        let beliefs = DIRS.iter().map(|dir| shown(&mount, dir)).collect();
        let random = Random::new(number("CHANGE_SEED", 1));
        World { mount, connect, watches, beliefs, read: vec![0; DIRS.len()], random }
    }

    /// One interruption, from its begin to its end with changes in between.
    #[track_caller]
    fn round(&mut self, round: u64, begin: impl FnOnce(), end: impl FnOnce()) {
        let witness = Witness::connect(&self.connect);
        let before = DIRS.map(|dir| versions(&witness, dir));
        begin();
        // Servers come and go: a new client finds one that serves.
        let witness = Witness::connect(&self.connect);
        let dirs = DIRS.map(str::to_owned);
        by_client(&witness, &dirs, self.random.below(1 << 40) as u64, &Quota::of(CHANGES));
        end();
        until_live(&self.mount);
        // All servers have applied what the mount is to see.
        let witness = Witness::connect(&self.connect);
        witness.sync();
        for (n, dir) in DIRS.iter().enumerate() {
            let end = format!("zz-{round}");
            file(&witness, &format!("{dir}/{end}"), "the end of the round");
            self.watches[n].wait_for(&format!("CLOSE_WRITE,CLOSE {end}"));
            let lines = self.watches[n].lines().split_off(self.read[n]);
            self.read[n] += lines.len();
            let belief = told(std::mem::take(&mut self.beliefs[n]), &lines);
            assert_eq!(belief, truth(&witness, dir), "{dir} in round {round}");
            assert_eq!(belief, shown(&self.mount, dir), "{dir} in round {round}");
            for (name, _) in belief.iter().filter(|(_, is_dir)| !**is_dir) {
                let path = format!("{dir}/{name}");
                assert_eq!(fs::read_to_string(self.mount.join(&path[1..])).unwrap(), witness.text(&path), "{path}");
            }
            self.beliefs[n] = belief;
            for (name, (czxid, mzxid)) in versions(&witness, dir) {
                let events = of(&name, &lines);
                match before[n].get(&name) {
                    Some(old) if *old == (czxid, mzxid) => {}
                    Some((old, _)) if *old == czxid => {
                        let is_told = events.contains("MODIFY") || events.contains("CREATE");
                        // Data of a directory is told as that of another name.
                        let is_dir = self.beliefs[n].get(&name) == Some(&true);
                        assert!(is_told || is_dir, "{name} was set, and they were told {events:?} in round {round}");
                    }
                    Some(_) => {
                        let is_told = events.contains("DELETE") && events.contains("CREATE");
                        assert!(is_told, "{name} was replaced, and they were told {events:?} in round {round}");
                    }
                    None => assert!(events.contains("CREATE"), "{name}: {events:?} in round {round}"),
                }
            }
            // Watching goes on.
            let lasting = format!("{dir}/{end}");
            let line = format!("MODIFY {end}");
            set(&witness, &lasting, "one more value");
            self.watches[n].wait_for(&line);
            self.watches[n].wait_for(&format!("CLOSE_WRITE,CLOSE {end}"));
            witness.delete(&lasting, None).unwrap();
            self.watches[n].wait_for(&format!("DELETE {end}"));
            let lines = self.watches[n].lines().split_off(self.read[n]);
            let (last, _) = lines.iter().enumerate().find(|(_, line)| **line == format!("DELETE {end}")).unwrap();
            self.read[n] += last + 1;
            self.beliefs[n].remove(&end);
        }
    }
}

#[test]
fn an_ensemble_that_is_interrupted_in_every_way_leaves_a_true_picture() {
    let ensemble = Ensemble::boot();
    let connect = ensemble.chroot("rounds");
    let chroot = &connect[connect.find('/').unwrap()..];
    let proxies: Vec<Proxy> = ensemble.servers.iter().map(Proxy::to).collect();
    let through = proxies.iter().map(Proxy::address).collect::<Vec<_>>().join(",");
    let mut world = World::new(connect.clone(), &format!("{through}{chroot}"));
    let rounds = number("CHANGE_ROUNDS", 5) * 4 / 5;
    for round in 0..rounds {
        let kind = [Kind::Cut, Kind::Stall, Kind::Leader, Kind::Server][(round % 4) as usize];
        ensemble.wait_serving();
        let server = match kind {
            Kind::Leader => Some(ensemble.leader()),
            Kind::Server => {
                let at = || proxies.iter().position(|proxy| proxy.open() > 0);
                until("the mount is connected", || at().is_some());
                at().map(|at| &ensemble.servers[at])
            }
            Kind::Cut | Kind::Stall => None,
        };
        let begin = || {
            match (kind, server) {
                // Nobody can come back before the changes are made.
                (Kind::Cut, _) => proxies.iter().for_each(Proxy::down),
                (Kind::Stall, _) => proxies.iter().for_each(Proxy::stall_both),
                (_, Some(server)) => server.kill9(),
                _ => {}
            }
            ensemble.leader();
        };
        let end = || match (kind, server) {
            (Kind::Cut, _) => proxies.iter().for_each(Proxy::accept),
            (Kind::Stall, _) => proxies.iter().for_each(Proxy::flow),
            (_, Some(server)) => server.restart(),
            _ => {}
        };
        world.round(round, begin, end);
    }
}

#[test]
fn a_server_that_is_started_again_leaves_a_true_picture() {
    let server = Server::boot();
    let connect = server.chroot("restarts");
    let proxy = Proxy::to(&server);
    let mut world = World::new(connect.clone(), &proxy.instead_of(&connect));
    for round in 0..number("CHANGE_ROUNDS", 5) / 5 {
        let begin = || {
            proxy.refuse();
            server.kill9();
            server.restart();
        };
        world.round(round, begin, || proxy.accept());
    }
}
