//! What fails, at random.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rig::{Direction, Ensemble, Proxy, Random};

/// The wires of one host, one to each server.
pub type Wires = [Proxy; 3];

/// Counts what has failed.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<&'static str, usize>>);

impl Tally {
    pub fn count(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    pub fn total(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} faults: {:?}", self.total(), self.0.lock().unwrap())
    }
}

/// Sleeps as long as it takes, unless it is over.
pub fn pause(over: &AtomicBool, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time && !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn millis(random: &mut Random, least: usize, below: usize) -> Duration {
    Duration::from_millis((least + random.below(below)) as u64)
}

/// Disturbs the wires of one host until it is over.
pub fn disturb_wires(wires: &Wires, random: &mut Random, over: &AtomicBool, tally: &Tally) {
    while !over.load(Ordering::Relaxed) {
        pause(over, millis(random, 800, 2000));
        match random.below(40) {
            0..8 => {
                tally.count("connection cut");
                for wire in wires {
                    wire.cut();
                }
            }
            8..11 => {
                tally.count("servers unreachable");
                wires.iter().for_each(Proxy::down);
                pause(over, millis(random, 200, 1500));
                wires.iter().for_each(Proxy::accept);
            }
            11..14 => {
                tally.count("stall");
                wires.iter().for_each(Proxy::stall_both);
                pause(over, millis(random, 200, 2000));
                wires.iter().for_each(Proxy::flow);
            }
            14..18 => {
                tally.count("stall of one direction");
                let direction = Direction::BOTH[random.below(2)];
                wires.iter().for_each(|wire| wire.stall(direction));
                pause(over, millis(random, 200, 2500));
                wires.iter().for_each(Proxy::flow);
            }
            18..36 => {
                let (lose_reply, nth) = (random.below(3) > 0, 1 + random.below(3));
                let trap = |wire: &Proxy| {
                    let trap = wire.trap().writes().nth(nth);
                    if lose_reply { trap.lose_reply() } else { trap.lose_request() }
                };
                let traps = wires.each_ref().map(trap);
                let began = Instant::now();
                while began.elapsed() < Duration::from_secs(1) && !traps.iter().any(rig::Trap::sprung) {
                    pause(over, Duration::from_millis(10));
                }
                if traps.iter().any(rig::Trap::sprung) {
                    tally.count(if lose_reply { "reply lost" } else { "request lost" });
                }
            }
            36..39 => expire(wires, tally),
            _ => {
                tally.count("partition longer than the session");
                wires.iter().for_each(Proxy::stall_both);
                pause(over, crate::battle::SESSION_TIMEOUT + Duration::from_millis(1500));
                wires.iter().for_each(Proxy::down);
                wires.iter().for_each(Proxy::flow);
                wires.iter().for_each(Proxy::accept);
            }
        }
    }
}

/// Ends the session that goes through these wires.
fn expire(wires: &Wires, tally: &Tally) {
    let Some(wire) = wires.iter().find(|wire| !wire.sessions().is_empty()) else { return };
    // The session may end by itself at the same moment, or the server be away.
    if catch_unwind(AssertUnwindSafe(|| wire.expire_sessions())).is_ok() {
        tally.count("session ended");
    }
    wire.accept();
}

/// Disturbs the servers, one at a time, until it is over.
pub fn disturb_servers(ensemble: &Ensemble, random: &mut Random, over: &AtomicBool, tally: &Tally) {
    while !over.load(Ordering::Relaxed) {
        pause(over, millis(random, 1500, 3000));
        if over.load(Ordering::Relaxed) {
            return;
        }
        let is_leader = |server: &&rig::Server| server.mode().as_deref() == Some("leader");
        let leader = ensemble.servers.iter().find(is_leader);
        let some = &ensemble.servers[random.below(3)];
        match (random.below(10), leader) {
            (0..4, Some(leader)) => {
                tally.count("leader killed");
                leader.kill9();
                pause(over, millis(random, 0, 1500));
                leader.start();
            }
            (4..7, _) => {
                tally.count("server killed");
                some.kill9();
                pause(over, millis(random, 0, 1500));
                some.start();
            }
            _ => {
                tally.count("server stopped and continued");
                let frozen = some.freeze();
                pause(over, millis(random, 300, 3000));
                frozen.thaw();
            }
        }
        // One at a time: two of three have to be there.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30)
            && !ensemble.servers.iter().all(|server| server.mode().is_some())
        {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
