//! Looking for what is not there.

use std::fs;
use std::time::{Duration, Instant};

use rig::{Mode, Shell, until};

use crate::world::{World, long};

/// What is not announced is asked for again after so long.
const BELIEVED: Duration = Duration::from_secs(10);

#[test]
fn looking_for_a_lock_costs_no_round_trip() {
    let world = World::new("absent");
    let looks = long(2_000);
    let look = "! [ -e d/lock ] && ! [ -e d/lock@e ]";
    world.reader.bash(look).success();
    let began = Instant::now();
    let (requests, ()) = world.proxy.requests_of(|| {
        let script = format!("for ((i = 0; i < $1; i++)); do {look} || exit; done");
        world.reader.script(Shell::Bash, &script).arg(looks.to_string()).run().success();
        assert!((0..looks).all(|_| fs::metadata(world.reader.join("d/lock")).is_err()));
    });
    // Nothing is believed for ever: what was looked at is asked for once in ten seconds.
    let again = (began.elapsed().as_secs() / BELIEVED.as_secs()) as usize;
    assert!(requests.len() <= 4 * again, "{} requests for {looks} looks: {requests:?}", requests.len());
}

#[test]
fn looking_for_a_lock_in_a_loop_ends_with_its_creation() {
    let world = World::new("spin");
    let (rounds, began) = (long(6), Instant::now());
    for (round, mode) in [Mode::Ephemeral, Mode::Persistent].into_iter().cycle().take(rounds).enumerate() {
        let wait = world.reader.script(Shell::Bash, "echo looks; until [ -e d/lock ]; do :; done; cat d/lock").start();
        until("the script looks", || wait.stdout().starts_with("looks"));
        assert!(wait.is_running());
        let value = format!("round {round}");
        world.witness.create("/d/lock", value.as_bytes(), mode).unwrap();
        assert_eq!(wait.wait().success().lines(), ["looks", &value]);
        let gone = world.reader.script(Shell::Bash, "while [ -e d/lock ]; do :; done").start();
        world.witness.delete("/d/lock", None).unwrap();
        gone.wait().success();
    }
    assert!(
        began.elapsed() < BELIEVED * rounds as u32,
        "they were asked for again, not announced: {:?}",
        began.elapsed()
    );
}
