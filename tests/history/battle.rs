//! Three servers, two mounts and another client, on which programs do everything at random while everything fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rig::{
    Ensemble, Job, Mode, Mount, Proxy, Random, Server, Shell, Transaction, Witness, Workdir, number, until,
    until_within,
};

use crate::checker::{Rules, Verdict, check};
use crate::faults::{Tally, Wires, disturb_servers, disturb_wires, pause};
use crate::operation::{self, Operation};
use crate::tree::Tree;

/// What the mounts ask for: short, so that sessions are lost by the faults and not by their deadlines alone.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an operation may take.
pub const TIMEOUT: Duration = Duration::from_secs(4);

/// Mounts; the other host is the client without one.
pub const MOUNTS: usize = 2;

/// A request that a wire held back can be applied when it flows again. The session it belongs to ends it at last.
const LATE: Duration = Duration::from_secs(10);

const WORKER: &str = include_str!("worker.py");

pub struct Battle {
    pub ensemble: Ensemble,
    pub chroot: String,
    pub wires: Vec<Wires>,
    pub mounts: Vec<Mount>,
    notes: Workdir,
    pub seed: u64,
    /// The session that prepared the tree.
    setup: i64,
    pub tally: Tally,
}

impl Battle {
    /// With sessions that are lost soon.
    pub fn prepare(seed: u64) -> Battle {
        Battle::with(seed, SESSION_TIMEOUT, TIMEOUT, &[])
    }

    /// With other times, and arguments for the mounts.
    pub fn with(seed: u64, session_timeout: Duration, timeout: Duration, arguments: &[&str]) -> Battle {
        // A server that was away gets all it has missed from the log: each log is then whole.
        let options = Server::options().heap(128).java("-Dzookeeper.snapshotSizeFactor=1000000");
        let ensemble = Ensemble::boot_with(&options);
        let connect = ensemble.chroot("history");
        let chroot = connect[connect.find('/').expect("a chroot")..].to_owned();
        let witness = Witness::connect(&connect);
        for dir in ["/a", "/b", "/c", "/d", "/e", "/q", "/t"] {
            witness.create(dir, b"", Mode::Persistent).expect("an empty tree");
        }
        let setup = witness.session_id();
        witness.close();
        let wires: Vec<Wires> =
            (0..=MOUNTS).map(|_| [0, 1, 2].map(|server: usize| Proxy::to(&ensemble.servers[server]))).collect();
        let mut battle = Battle {
            ensemble,
            chroot,
            wires,
            mounts: Vec::new(),
            notes: Workdir::new("history"),
            seed,
            setup,
            tally: Tally::default(),
        };
        battle.mounts = (0..MOUNTS).map(|host| battle.mount(host, session_timeout, timeout, arguments)).collect();
        battle
    }

    fn mount(&self, host: usize, session_timeout: Duration, timeout: Duration, arguments: &[&str]) -> Mount {
        let session_timeout = format!("{}s", session_timeout.as_secs());
        let timeout = format!("timeout={}s", timeout.as_secs());
        let options = Mount::options(&self.address(host)).args(&["--session-timeout", &session_timeout]);
        options.o(&timeout).args(arguments).mount()
    }

    /// The connect string of a host.
    fn address(&self, host: usize) -> String {
        let servers: Vec<String> = self.wires[host].iter().map(Proxy::address).collect();
        servers.join(",") + &self.chroot
    }

    /// A path beside the notes.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.notes.path().join(name)
    }

    /// A client that no fault is meant for.
    pub fn witness(&self) -> Witness {
        Witness::connect(&(self.ensemble.address() + &self.chroot))
    }

    /// Starts a process with some workers on a host.
    pub fn work(&self, host: usize, workers: &[usize]) -> Job {
        let root = self.mounts.get(host).map_or_else(|| self.address(host), |mount| mount.path().display().to_string());
        let notes = self.beside("of");
        std::fs::create_dir_all(&notes).expect("a directory for the notes");
        let mut script =
            Shell::Bash.script("exec /usr/bin/python3 -c \"$@\"").arg(WORKER).arg(notes).arg(self.beside("stop"));
        script = script.arg(self.seed.to_string()).arg(host.to_string()).arg(root);
        for worker in workers {
            script = script.arg(worker.to_string());
        }
        script.deadline(Duration::from_secs(24 * 3600)).start()
    }

    /// Lets the workers work and everything fail for some time.
    pub fn rage(&self, time: Duration) {
        let (seed, over) = (self.seed, AtomicBool::new(false));
        let _ = std::fs::remove_file(self.beside("stop"));
        let (wires, tally, ensemble, over) = (&self.wires, &self.tally, &self.ensemble, &over);
        std::thread::scope(|scope| {
            for (host, wires) in wires.iter().enumerate() {
                scope.spawn(move || disturb_wires(wires, &mut Random::new(seed + host as u64), over, tally));
            }
            scope.spawn(move || disturb_servers(ensemble, &mut Random::new(seed + 100), over, tally));
            let mut random = Random::new(seed + 200);
            let teams: Vec<(usize, Vec<usize>)> =
                vec![(0, vec![1, 2]), (0, vec![3]), (1, vec![4, 5]), (1, vec![6]), (2, vec![7])];
            let mut jobs: Vec<Job> = teams.iter().map(|(host, workers)| self.work(*host, workers)).collect();
            let began = Instant::now();
            while began.elapsed() < time {
                pause(over, Duration::from_millis((2000 + random.below(4000)) as u64).min(time));
                let victim = random.below(jobs.len());
                tally.count("program killed");
                jobs[victim].kill9();
                jobs[victim] = self.work(teams[victim].0, &teams[victim].1);
            }
            over.store(true, Ordering::Relaxed);
            std::fs::write(self.beside("stop"), "").expect("a file in one's own directory");
            for job in &jobs {
                until_within(Duration::from_secs(60), "a worker ends", || !job.is_running());
                job.wait().success();
            }
        });
        self.ensemble.wait_serving();
    }

    /// Judges what was done; tells the figures.
    pub fn judge(&self) -> String {
        let witness = self.witness();
        witness.sync();
        for mount in &self.mounts {
            until("a mount is connected again", || mount.bash("cat @session").stdout.contains("state=connected"));
        }
        let operations = operation::read(&self.beside("of"));
        let rules = Rules { mounts: MOUNTS, late: LATE, setup: self.setup };
        let (mut wrong, mut reborn) = (Vec::new(), 0);
        let mut tree = Tree::default();
        let began = Instant::now();
        // What is taken back late has time for it until the session would be over.
        while began.elapsed() < SESSION_TIMEOUT * 4 {
            match Tree::replay(&self.history(), &self.chroot) {
                Ok(replayed) => {
                    tree = replayed;
                    Verdict { wrong, reborn } = check(&operations, &tree, rules);
                    wrong.extend(self.compare(&tree, &witness));
                }
                Err(why) => wrong = vec![why],
            }
            if wrong.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        if !wrong.is_empty() {
            dump(&operations, &self.history());
        }
        assert!(wrong.is_empty(), "seed {}: {} wrong:\n{}", self.seed, wrong.len(), wrong.join("\n"));
        let transactions = tree.deeds.len();
        format!(
            "{}, {transactions} changes, {}, {reborn} met another file at the same \
             version and were told so, 0 violations",
            operation::summary(&operations),
            self.tally
        )
    }

    /// What the log says is there is what the servers and the mounts show.
    fn compare(&self, tree: &Tree, witness: &Witness) -> Vec<String> {
        let logged: BTreeMap<String, Vec<u8>> =
            tree.there().map(|(path, state)| (path.clone(), state.data.clone())).collect();
        let mut there = witness.tree("/");
        there.remove("/");
        let mut wrong = Vec::new();
        if logged != there {
            wrong.push(format!("the log says {logged:?}, the servers {there:?}"));
        }
        for (host, mount) in self.mounts.iter().enumerate() {
            for (path, state) in tree.there().filter(|(_, state)| !state.is_directory()) {
                let shown = std::fs::read(mount.join(&path[1..]));
                if shown.as_ref().ok() != Some(&state.data) {
                    wrong.push(format!("host {host} shows {path} as {shown:?}, which is {state:?}"));
                }
            }
        }
        wrong
    }

    /// What most servers have in their logs. A leader that is killed may have written what nobody else has heard of, and
    /// what then was never done.
    pub fn history(&self) -> Vec<Transaction> {
        let mut all: BTreeMap<i64, Vec<Transaction>> = BTreeMap::new();
        for server in &self.ensemble.servers {
            let own: BTreeMap<i64, Transaction> = server.history().into_iter().map(|one| (one.zxid, one)).collect();
            own.into_iter().for_each(|(zxid, one)| all.entry(zxid).or_default().push(one));
        }
        let most = |copies: Vec<Transaction>| {
            let agree = |one: &Transaction| copies.iter().filter(|other| *other == one).count() >= 2;
            copies.iter().find(|one| agree(one)).cloned()
        };
        all.into_values().filter_map(most).collect()
    }
}

/// All that anybody was told, whatever failed.
#[test]
fn what_everybody_was_told_is_what_happened() {
    let seed = number("HISTORY_SEED", 20_261_127);
    let battle = Battle::prepare(seed);
    battle.rage(Duration::from_secs(number("HISTORY_SECONDS", 120)));
    println!("seed {seed}: {}", battle.judge());
}

/// Keeps what was asked for and what was done, for whoever looks into a failure, where `HISTORY_DUMP` says.
fn dump(operations: &[Operation], history: &[Transaction]) {
    let Ok(file) = std::env::var("HISTORY_DUMP") else { return };
    let operations = operations.iter().map(|operation| format!("{operation:?}"));
    let transactions = history.iter().map(|transaction| format!("{:#x} {transaction:?}", transaction.zxid));
    let lines: Vec<String> = operations.chain(transactions).collect();
    std::fs::write(file, lines.join("\n")).expect("a file that can be written");
}
