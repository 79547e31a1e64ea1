//! Listing and walking large trees: cold, on a mount that has just been made, beside a raw client that reads the same with
//! bulk reads, and the daemon's memory for a znode.

use std::time::Duration;

use rig::{Mount, Server, Witness};
use zookeeper_client::Client;

use crate::report::{median, ratio, time};

/// Znodes that a raw client reads in one request.
const BULK: usize = 1000;
const ROUNDS: usize = 3;

/// Runs the subject.
pub fn run() {
    let server = Server::options().heap(1024).boot();
    let witness = Witness::connect(&server.address());
    fill(&witness);
    let client = witness.client();

    let raw = median(ROUNDS, || time(|| list(&witness, client, "/flat", false)));
    let ours = cold(&server, "ls flat > /dev/null");
    ratio("ls, 100,000 children, cold", ours, "raw getChildren", raw);
    let looked = median(ROUNDS, || time(|| list(&witness, client, "/flat", true)));
    ratio("ls, 100,000 children, cold", ours, "raw with data and Stat", looked);

    let raw = median(ROUNDS, || time(|| list(&witness, client, "/ten", true)));
    ratio("ls -l, 10,000 children, cold", cold(&server, "ls -l ten > /dev/null"), "raw with data and Stat", raw);
    ratio(
        "find -size -1, 10,000 children, cold",
        cold(&server, "find ten -size -1 > /dev/null"),
        "raw with data and Stat",
        raw,
    );

    let raw = median(ROUNDS, || time(|| walk(&witness, client)));
    ratio("find, 101,020 znodes in three levels, cold", cold(&server, "find tree > /dev/null"), "raw walk", raw);

    memory(&server);
}

fn fill(witness: &Witness) {
    for dir in ["/flat", "/ten", "/tree"] {
        witness.ensure(dir);
    }
    let value = || b"value".to_vec();
    witness.fill((0..100_000).map(|n| (format!("/flat/member-{n:06}"), value())));
    witness.fill((0..10_000).map(|n| (format!("/ten/member-{n:06}"), value())));
    witness.fill((0..20).map(|a| (format!("/tree/{a:02}"), Vec::new())));
    witness.fill((0..20).flat_map(|a| (0..50).map(move |b| (format!("/tree/{a:02}/{b:02}"), Vec::new()))));
    let leaves = (0..20).flat_map(|a| (0..50).flat_map(move |b| (0..100).map(move |c| (a, b, c))));
    witness.fill(leaves.map(|(a, b, c)| (format!("/tree/{a:02}/{b:02}/{c:03}"), value())));
}

/// The median of a command on fresh mounts.
fn cold(server: &Server, command: &str) -> Duration {
    median(ROUNDS, || {
        let mount = Mount::new(&server.address());
        time(|| drop(mount.bash(command).success()))
    })
}

fn list(witness: &Witness, client: &Client, dir: &str, with_stats: bool) {
    let (names, _) = witness.block_on(client.get_children(dir)).expect("a listing");
    if with_stats {
        let paths: Vec<String> = names.iter().map(|name| format!("{dir}/{name}")).collect();
        read(witness, client, &paths);
    }
}

fn read(witness: &Witness, client: &Client, paths: &[String]) {
    let requests: Vec<_> = paths
        .chunks(BULK)
        .map(|chunk| {
            let mut reader = client.new_multi_reader();
            chunk.iter().for_each(|path| reader.add_get_data(path).expect("a path"));
            reader.commit()
        })
        .collect();
    for request in requests {
        witness.block_on(request).expect("a bulk read");
    }
}

/// A whole tree, level by level, with bulk reads.
fn walk(witness: &Witness, client: &Client) {
    let mut level = vec!["/tree".to_owned()];
    while !level.is_empty() {
        let requests: Vec<_> = level
            .chunks(BULK)
            .map(|chunk| {
                let mut reader = client.new_multi_reader();
                for path in chunk {
                    reader.add_get_children(path).expect("a path");
                    reader.add_get_data(path).expect("a path");
                }
                (chunk, reader.commit())
            })
            .collect();
        let mut next = Vec::new();
        for (chunk, request) in requests {
            let results = witness.block_on(request).expect("a bulk read");
            for (path, result) in chunk.iter().zip(results.into_iter().step_by(2)) {
                if let zookeeper_client::MultiReadResult::Children { children } = result {
                    next.extend(children.into_iter().map(|name| format!("{path}/{name}")));
                }
            }
        }
        level = next;
    }
}

/// The daemon's memory for a znode that it has shown: all of the flat directory, held by the kernel and in the cache.
fn memory(server: &Server) {
    let mount = Mount::options(&server.address()).o("cache=256M").mount();
    mount.bash("ls > /dev/null").success();
    let before = mount.resident();
    mount.bash("ls -l flat > /dev/null").success();
    let after = mount.resident();
    println!("memory after ls -l of 100,000: {} bytes a znode", after.saturating_sub(before) / 100_000);
}
