//! Reading many files for the first time, beside a raw client that reads the same znodes one after the other, and all at once.

use std::fs;
use std::time::Duration;

use rig::{Mount, Server, Witness};

use crate::report::{median, ratio, time};

const FILES: usize = 5_000;
/// Programs, or requests, at the same time.
const TOGETHER: usize = 16;
const ROUNDS: usize = 3;

/// Runs the subject.
pub fn run() {
    let server = Server::boot();
    let witness = Witness::connect(&server.address());
    witness.ensure("/d");
    witness.fill((0..FILES).map(|n| (path(n), format!("value {n}").into_bytes())));

    let one_by_one = median(ROUNDS, || time(|| (0..FILES).for_each(|n| drop(witness.get(&path(n)).expect("a znode")))));
    let pipelined = median(ROUNDS, || time(|| pipelined(&witness)));
    let ours = median(ROUNDS, || cold(&server, |mount| (0..FILES).for_each(|n| read(mount, n))));
    let each = |all: Duration| all / FILES as u32;
    ratio("read a file, cold, one by one", each(ours), "raw get", each(one_by_one));
    let threads = median(ROUNDS, || cold(&server, together));
    ratio(&format!("the same by {TOGETHER} threads"), each(threads), "raw get, pipelined", each(pipelined));
    let cat = median(ROUNDS, || cold(&server, |mount| drop(mount.bash("cat d/* > /dev/null").success())));
    ratio("cat d/*, cold, a file", each(cat), "raw get, pipelined", each(pipelined));
    ratio("", each(cat), "raw get", each(one_by_one));
}

fn path(number: usize) -> String {
    format!("/d/n{number:05}")
}

fn read(mount: &Mount, number: usize) {
    assert!(!fs::read(mount.join(&path(number)[1..])).expect("a file").is_empty());
}

fn together(mount: &Mount) {
    std::thread::scope(|scope| {
        for first in 0..TOGETHER {
            scope.spawn(move || (first..FILES).step_by(TOGETHER).for_each(|n| read(mount, n)));
        }
    });
}

fn pipelined(witness: &Witness) {
    let requests: Vec<_> = (0..FILES).map(|n| witness.client().get_data(&path(n))).collect();
    requests.into_iter().for_each(|request| drop(witness.block_on(request).expect("a znode")));
}

/// How long something takes on a mount that knows nothing yet.
fn cold(server: &Server, run: impl Fn(&Mount)) -> Duration {
    let mount = Mount::new(&server.address());
    time(|| run(&mount))
}
