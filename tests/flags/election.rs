//! Leader election as scripts do it: the lowest number leads.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use rig::{Job, Mount, Random, Shell, number, until};

use crate::place::{Place, write};

/// A contender comes, leads when it is its turn or gives up, and comes again. What it does is a line in a file that is in
/// no mount: lines are appended whole, so their order is that in which it was done. Nothing here starts a process but
/// readlink, so that twenty of them do not keep a small machine busy with that.
const CONTENDER: &str = r#"
    log=$1 host=$2 RANDOM=$3
    exec 7<> <(:)
    pause() { read -r -t "0.0$1" -u 7; }
    while :; do
        tag=$$.$((round++))
        exec 9> "election/n-@hs:$tag" || exit 1
        echo "$host" >&9 || exit 2
        me=$(readlink "election/n-@hs:$tag") || exit 3
        patience=$((RANDOM % 100))
        while [ -e "election/$me" ]; do
            set -- election/n-*
            if [ "$1" = "election/$me" ]; then
                echo "lead $$ $me" >> "$log"
                pause $((RANDOM % 3))
                [ "$(<"$1")" = "$host" ] || echo "wrong $$ $me" >> "$log"
                echo "stop $$ $me" >> "$log"
                break
            fi
            ((patience-- > 0)) || break
            pause 2
        done
        exec 9>&-
        pause $((RANDOM % 5))
    done"#;

struct Contenders<'a> {
    place: &'a Place,
    mounts: &'a [Mount; 2],
    started: u64,
    seed: u64,
}

impl Contenders<'_> {
    fn start(&mut self) -> Job {
        self.started += 1;
        let mount = &self.mounts[self.started as usize % 2];
        let script = mount.script(Shell::Bash, CONTENDER).arg(self.place.beside("log"));
        let script = script.arg(format!("host{}", self.started)).arg((self.seed + self.started).to_string());
        script.deadline(Duration::from_secs(600)).start()
    }
}

/// Reads the log: how many led, and for how many of them that ended by SIGKILL.
fn check(log: &str) -> (usize, usize) {
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split(' ').collect()).collect();
    // A contender that is killed may still do things between the line that says so and its end.
    let mut last_of_killed: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines.iter().filter(|line| line[0] == "kill") {
        let last = lines.iter().rposition(|other| other[1] == line[1]).unwrap();
        last_of_killed.insert(line[1], last);
    }
    let mut leader: Option<&Vec<&str>> = None;
    let (mut led, mut killed, mut highest) = (0, 0, "");
    for (at, line) in lines.iter().enumerate() {
        let ends_here = last_of_killed.get(line[1]) == Some(&at);
        match line[0] {
            "lead" => {
                assert!(leader.is_none(), "{line:?} leads beside {leader:?}:\n{log}");
                assert!(line[2] > highest, "{line:?} after {highest}:\n{log}");
                (leader, highest) = (Some(line), line[2]);
                led += 1;
            }
            "stop" => {
                assert!(leader.is_some_and(|leader| leader[1..] == line[1..]), "{line:?} was no leader:\n{log}");
                leader = None;
            }
            "kill" => {}
            other => panic!("{other} {line:?}"),
        }
        if ends_here && leader.is_some_and(|leader| leader[1] == line[1]) {
            leader = None;
            killed += 1;
        }
    }
    (led, killed)
}

#[test]
fn at_most_one_leads_and_the_succession_follows_the_numbers() {
    let (kills, seed) = (number("FLAGS_KILLS", 25), number("FLAGS_SEED", 1));
    let place = Place::new("election");
    let mounts = place.pair();
    fs::create_dir(mounts[0].join("election")).unwrap();
    let log = place.beside("log");
    let mut file = OpenOptions::new().create(true).append(true).open(&log).unwrap();
    let mut contenders = Contenders { place: &place, mounts: &mounts, started: 0, seed };
    let mut jobs: Vec<Job> = (0..20).map(|_| contenders.start()).collect();
    let mut random = Random::new(seed);
    for _ in 0..kills {
        // So many more led; nothing waits for a time.
        let so_far = fs::read_to_string(&log).unwrap().lines().count();
        let more = random.below(6);
        until("somebody leads", || fs::read_to_string(&log).unwrap().lines().count() > so_far + more);
        // Often the leader, who matters most.
        let leader = fs::read_to_string(&log).unwrap().lines().last().unwrap_or_default().to_owned();
        let leader = leader.split(' ').nth(1).unwrap_or_default();
        let is_leader = |job: &Job| job.pid().to_string() == leader;
        let victim = match jobs.iter().position(is_leader) {
            Some(victim) if random.below(2) == 0 => victim,
            _ => random.below(jobs.len()),
        };
        let job = jobs.swap_remove(victim);
        assert!(job.is_running(), "a contender failed: {}", job.wait().stderr);
        file.write_all(format!("kill {} -\n", job.pid()).as_bytes()).unwrap();
        job.kill9();
        jobs.push(contenders.start());
    }
    for job in jobs.drain(..) {
        assert!(job.is_running(), "a contender failed: {}", job.wait().stderr);
        file.write_all(format!("kill {} -\n", job.pid()).as_bytes()).unwrap();
        job.kill9();
    }
    let (led, killed) = check(&fs::read_to_string(&log).unwrap());
    println!("seed {seed}: {led} led, {killed} of them were killed, {} contenders", contenders.started);
    assert!(led as u64 >= kills, "only {led} led");
    until("nobody contends any more", || place.names("/election").is_empty());
}

#[test]
fn the_check_of_elections_sees_what_it_is_for() {
    let fails = |log: &str| std::panic::catch_unwind(|| check(log)).is_err();
    assert_eq!(check("lead 1 n-1\nstop 1 n-1\nlead 2 n-3\nkill 2 -\nlead 3 n-4\n"), (3, 1));
    assert_eq!(check("kill 2 -\nlead 2 n-3\nlead 3 n-4\n"), (2, 1));
    assert!(fails("lead 1 n-1\nlead 2 n-2\nstop 1 n-1\n"), "two at a time");
    assert!(fails("lead 1 n-2\nstop 1 n-2\nlead 2 n-1\nstop 2 n-1\n"), "out of turn");
    assert!(fails("lead 1 n-1\nlead 2 n-2\nkill 1 -\n"), "before the other one was killed");
}

#[test]
fn the_next_one_leads_when_the_leader_leaves_in_any_way() {
    let place = Place::new("succession");
    let [one, two] = place.pair();
    fs::create_dir(one.join("election")).unwrap();
    // As in the introduction: with an ephemeral, for hosts whose mount is the contender.
    let host = |mount: &Mount, name: &str| {
        let script = r#"echo "$1" > "election/n-@es:$$"; readlink "election/n-@es:$$""#;
        mount.script(Shell::Bash, script).arg(name).run().success().text().to_owned()
    };
    let [first, second] = [host(&one, "one"), host(&two, "two")];
    // One that goes while it is looked at leads no more.
    let leader = |mount: &Mount| mount.bash("cd election; set -- *; cat $1").text().to_owned();
    assert!(first < second);
    // Each host hears of the others' changes a moment later.
    let lead = |name: &str, mounts: &[&Mount]| {
        until(&format!("{name} leads"), || mounts.iter().all(|mount| leader(mount) == name));
    };
    lead("one", &[&one, &two]);
    one.unmount();
    lead("two", &[&two]);
    one.restart();
    let third = host(&one, "one again");
    assert!(second < third);
    lead("two", &[&one, &two]);
    // A held one in front goes with its process.
    fs::remove_file(two.join("election").join(&second)).unwrap();
    let held = two.start("exec 9> election/a-@hs; echo held >&9; echo ready; kill -STOP $$", "ready");
    lead("held", &[&one, &two]);
    held.kill9();
    lead("one again", &[&one, &two]);
    write(one.join("done"), "x");
}
