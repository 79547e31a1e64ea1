//! Servers that are restarted, killed, stopped, or too few, under load.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rig::{
    Change, Ensemble, Job, Mode, Mount, Proxy, Server, Shell, Transaction, Witness, Workdir, until, until_within,
};

use crate::place::{chroot, losses, session, session_id, until_state};

/// Creates, sets and appends until it is told to stop; notes what was acknowledged.
const WORKER: &str = r#"
n=0
until [ -e "$2/stop" ]; do
    n=$((n + 1))
    if echo "$1.$n" > "d/$1.$n"; then echo "$1.$n" >> "$2/acks"; fi
    if echo "$n" > "last.$1"; then echo "$n" > "$2/last.$1"; fi
    if echo "$1.$n" >> log; then echo "$1.$n" >> "$2/lines"; fi
done 2>> "$2/errors"
"#;

/// Scripts that write, and what they were told.
struct Load {
    jobs: Vec<Job>,
    notes: Workdir,
}

impl Load {
    fn start(mounts: &[Mount]) -> Load {
        let notes = Workdir::new("load");
        for name in ["acks", "lines", "errors"] {
            fs::write(notes.path().join(name), "").unwrap();
        }
        mounts[0].bash("mkdir d && echo begin > log").success();
        let jobs = (0..4).map(|worker: usize| {
            let script = mounts[worker % mounts.len()].script(Shell::Bash, WORKER).arg(format!("w{worker}"));
            script.arg(notes.path()).deadline(Duration::from_secs(300)).start()
        });
        let load = Load { jobs: jobs.collect(), notes };
        load.until_more(4, "the load begins");
        load
    }

    fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.notes.path().join(name)).unwrap().lines().map(str::to_owned).collect()
    }

    /// Waits until that many more have been acknowledged: it goes on, with nobody's help.
    #[track_caller]
    fn until_more(&self, count: usize, what: &str) {
        let goal = self.lines("acks").len() + count;
        until_within(Duration::from_secs(120), what, || self.lines("acks").len() >= goal);
    }

    /// Ends it, and checks that what was acknowledged is there. What the servers themselves had and lost again is told from
    /// their logs: under such kills ZooKeeper 3.8.0 drops transactions that a majority has logged.
    fn judge(&self, witness: &Witness, logs: &[Vec<Transaction>]) {
        fs::write(self.notes.path().join("stop"), "").unwrap();
        self.jobs.iter().for_each(|job| drop(job.wait().success()));
        until("the witness has caught up", || witness.block_on(witness.client().sync("/")).is_ok());
        let tree = witness.tree("/");
        let text =
            |path: &str| tree.get(path).map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default();
        let mut dropped = 0;
        let mut check = |there: bool, path: &str, is_it: &dyn Fn(&str) -> bool, what: &str| {
            if !there {
                assert!(
                    logs.iter().filter(|log| has(log, path, is_it)).count() > 1,
                    "{what} was acknowledged and is not there"
                );
                dropped += 1;
            }
        };
        for mark in self.lines("acks") {
            let (path, line) = (format!("/d/{mark}"), format!("{mark}\n"));
            check(text(&path) == line, &path, &|data| data == line, &mark);
        }
        for (path, data) in tree.iter().filter_map(|(path, data)| Some((path.strip_prefix("/d/")?, data))) {
            // What nobody was told of is whole, or still empty: it is made before it is written.
            assert!(data.is_empty() || *data == format!("{path}\n").into_bytes(), "{path}: {data:?}");
        }
        for worker in 0..self.jobs.len() {
            let told = fs::read_to_string(self.notes.path().join(format!("last.w{worker}"))).unwrap();
            let path = format!("/last.w{worker}");
            let number = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
            check(number(&text(&path)) >= number(&told), &path, &|data| data == told, &format!("{told} of w{worker}"));
        }
        let log = text("/log");
        let lines: Vec<&str> = log.lines().collect();
        let set: BTreeSet<&str> = lines.iter().copied().collect();
        assert_eq!(set.len(), lines.len(), "a line was appended twice");
        for line in self.lines("lines") {
            check(set.contains(&line[..]), "/log", &|data| data.lines().any(|other| other == line), &line);
        }
        println!("{} acknowledged, {dropped} of them dropped by the servers", self.lines("acks").len());
    }
}

/// Whether a server's log has a certain set.
fn has(log: &[Transaction], path: &str, is_it: &dyn Fn(&str) -> bool) -> bool {
    log.iter().flat_map(|one| &one.changes).any(|change| match change {
        Change::SetData { path: other, data, .. } => other.ends_with(path) && is_it(&String::from_utf8_lossy(data)),
        _ => false,
    })
}

fn options(connect: &str) -> rig::MountOptions {
    Mount::options(connect).o("session_timeout=200s").o("timeout=4s")
}

#[test]
fn a_server_that_is_killed_and_started_again_has_all_that_was_acknowledged() {
    let server = Server::boot();
    let connect = server.chroot("restart");
    let mounts = [options(&connect).mount(), options(&connect).mount()];
    let ids = mounts.each_ref().map(session_id);
    let load = Load::start(&mounts);
    for _ in 0..3 {
        load.until_more(20, "the load goes on");
        server.kill9();
        server.restart();
    }
    load.until_more(20, "the load goes on after the last restart");
    load.judge(&Witness::connect(&connect), &[]);
    assert_eq!(mounts.each_ref().map(session_id), ids, "the sessions live on");
}

#[test]
fn an_ensemble_is_restarted_loses_its_leader_and_its_quorum() {
    // One server without the others would serve readers that ask for no more.
    let ensemble = Ensemble::boot_with(&Server::options().heap(128).java("-Dreadonlymode.enabled=true"));
    let is_peer = |server: &Server| matches!(server.mode().as_deref(), Some("leader" | "follower"));
    until("all three are an ensemble", || ensemble.servers.iter().all(is_peer));
    let connect = ensemble.chroot("ensemble");
    let mounts = [options(&connect).mount(), options(&connect).mount()];
    let ids = mounts.each_ref().map(session_id);
    mounts[0].bash("echo held > lock@e").success();
    let load = Load::start(&mounts);
    for server in ensemble.followers() {
        server.stop();
        load.until_more(4, "two of three go on");
        server.restart();
    }
    load.until_more(4, "all three go on");
    let leader = ensemble.leader();
    leader.kill9();
    load.until_more(4, "another one leads");
    leader.restart();
    ensemble.wait_serving();
    // One server is no quorum: nothing is read or written, and it is said.
    let gone = ensemble.followers();
    gone.iter().for_each(|server| server.kill9());
    until_state(&mounts[0], "suspended");
    let scripts = ["cat log", "echo x > new", "ls d"];
    let jobs = scripts.map(|script| mounts[0].script(Shell::Bash, script).start());
    for (script, job) in scripts.iter().zip(&jobs) {
        let output = job.wait();
        assert!(output.code() != 0 && output.stderr.contains("timed out"), "{script}: {output:?}");
    }
    gone.iter().for_each(|server| server.start());
    load.until_more(4, "it goes on by itself");
    let witness = Witness::connect(&connect);
    let logs: Vec<Vec<Transaction>> = ensemble.servers.iter().map(Server::history).collect();
    load.judge(&witness, &logs);
    assert_eq!(mounts.each_ref().map(session_id), ids, "the sessions live on");
    assert_eq!(witness.text("/lock"), "held\n");
}

#[test]
fn sessions_that_expire_all_at_once_come_back_without_a_storm() {
    let server = Server::boot();
    let connect = server.chroot("mass");
    Witness::connect(&connect).create("/f", b"f", Mode::Persistent).unwrap();
    let proxy = Proxy::to(&server);
    let through = proxy.instead_of(&connect);
    let mounts: Vec<Mount> = (0..5).map(|_| Mount::options(&through).o("session_timeout=2s").mount()).collect();
    let old: BTreeSet<i64> = mounts.iter().map(session_id).collect();
    for (n, mount) in mounts.iter().enumerate() {
        mount.bash(&format!("echo x > mine{n}@e; touch l{n}")).success();
    }
    let holders: Vec<Job> = mounts
        .iter()
        .enumerate()
        .map(|(n, mount)| mount.start(&format!("exec 9<>l{n}; flock 9; echo held; until cat <&9 >/dev/null; [ $? = 1 ]; do sleep 0.05; done; echo dead"), "held"))
        .collect();
    let (before, began) = (proxy.counts().connections, Instant::now());
    let frozen = server.freeze();
    mounts.iter().for_each(|mount| until("the session is lost", || losses(mount) == 1));
    // It stays away for a while: now everybody tries.
    thread::sleep(Duration::from_secs(3));
    frozen.thaw();
    for (mount, holder) in mounts.iter().zip(&holders) {
        until_state(mount, "connected");
        mount.bash("cat f").success();
        until("the holder is told", || holder.stdout().ends_with("dead\n"));
        assert_eq!(session(mount)["incarnation"], "2");
    }
    // A busy machine makes the time longer and the rate lower.
    let rate = (proxy.counts().connections - before) as f64 / began.elapsed().as_secs_f64() / mounts.len() as f64;
    assert!(rate < 5.0, "{rate:.1} connections a second of each mount");
    let witness = Witness::connect(&connect);
    until("nothing of the old sessions is left", || {
        let known: BTreeSet<i64> = server.sessions().into_iter().collect();
        known.is_disjoint(&old) && (0..mounts.len()).all(|n| !witness.exists(&format!("/mine{n}")))
    });
    println!("{rate:.2} connections a second of each mount");
}

#[test]
fn no_read_is_older_than_one_before_when_servers_lag_behind() {
    let ensemble = Ensemble::boot();
    let connect = ensemble.chroot("lag");
    let followers = ensemble.followers();
    let proxies = [Proxy::to(followers[0]), Proxy::to(followers[1])];
    let path = chroot(&connect);
    let leader = Witness::connect(&format!("{}{path}", ensemble.leader().address()));
    leader.create("/n", b"0", Mode::Persistent).unwrap();
    let both = format!("{},{}{path}", proxies[0].address(), proxies[1].address());
    proxies[1].refuse();
    let mount = Mount::options(&both).o("session_timeout=60s").o("timeout=20s").mount();
    let reader = mount.script(Shell::Bash, "while :; do cat n && echo; done").start();
    let mut number = 0;
    let mut advance = |count: u64| {
        for _ in 0..count {
            number += 1;
            leader.set("/n", number.to_string().as_bytes(), None).unwrap();
        }
        number
    };
    let last = |job: &Job| job.stdout().lines().filter_map(|line| line.parse::<u64>().ok()).next_back().unwrap_or(0);
    for round in 0..4 {
        let (here, there) = (round % 2, 1 - round % 2);
        let seen = advance(20);
        until("the reader has seen it", || last(&reader) >= seen);
        // The other one stands still and misses what is read here; then it is the only one there is.
        let frozen = followers[there].freeze();
        let missed = advance(200);
        until("the reader has seen what the other server has not", || last(&reader) >= missed);
        proxies[here].down();
        proxies[there].accept();
        frozen.thaw();
        until_within(Duration::from_secs(60), "it reads on", || {
            losses(&mount) == 0 && session(&mount)["state"] == "connected"
        });
        let seen = advance(1);
        until("it reads what is new", || last(&reader) >= seen);
    }
    reader.kill9();
    let numbers: Vec<u64> = reader.stdout().lines().filter_map(|line| line.parse().ok()).collect();
    let older: Vec<_> = numbers.windows(2).filter(|pair| pair[0] > pair[1]).collect();
    assert!(older.is_empty(), "reads that were older than the ones before them: {older:?}");
}
