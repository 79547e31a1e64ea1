//! Random operations against a reference tree: the core on a tree in memory with two hosts and another client, and the same
//! through the kernel.
//!
//! Every run is told by its seed: `MODEL_SEED=N cargo test --test model` runs that one alone. A failure that is found becomes a
//! test with a name of its own.

mod hosts;
mod operation;
mod reference;

use hosts::{Bare, Kernel};
use operation::Operation;
use reference::Reference;
use rig::Random;

/// Operations of one run; the tree is then as full as it gets.
const LENGTH: usize = 150;

/// The seeds of a test: a fixed number of them, so that a run here is the run that CI does.
fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("MODEL_SEED") {
        Ok(seed) => vec![seed.parse().expect("MODEL_SEED is a number")],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn the_core_with_two_hosts_and_another_client() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seed in seeds(100) {
        runtime.block_on(async {
            let (mut random, mut reference, hosts) = (Random::new(seed), Reference::default(), Bare::pair());
            let mut done = Vec::new();
            for _ in 0..LENGTH {
                let (host, operation) = (random.below(hosts.len()), Operation::draw(&mut random, true));
                let expected = reference.apply(&operation);
                let outcome = hosts[host].apply(&operation).await;
                done.push((host, operation, outcome));
                assert_eq!(outcome.is_ok(), expected, "seed {seed}, {:#?}", done.last());
                for (number, host) in hosts.iter().enumerate() {
                    assert_eq!(host.tree().await, reference.tree(), "host {number}, seed {seed}, after {done:#?}");
                }
            }
        });
    }
}

#[test]
fn the_same_through_the_kernel() {
    for seed in seeds(8) {
        let (mut random, mut reference, host) = (Random::new(seed), Reference::default(), Kernel::mount());
        let mut done = Vec::new();
        for _ in 0..LENGTH {
            let operation = Operation::draw(&mut random, false);
            let expected = reference.apply(&operation);
            let outcome = host.apply(&operation);
            done.push((operation, outcome));
            assert_eq!(outcome.is_ok(), expected, "seed {seed}, {:#?}", done.last());
            assert_eq!(host.tree(), reference.tree(), "seed {seed}, after {done:#?}");
        }
    }
}
