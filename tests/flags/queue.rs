//! A work queue: whatever the number of hosts, each item is done once, whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rig::{Mount, Random, Shell, number, until_within};

use crate::place::Place;

/// Claims by mv, as scripts do it.
const MOVER: &str = r#"
    while [ ! -e "$1" ]; do
        for item in queue/item-*; do
            [ -e "$item" ] || continue
            mine=claimed/$2.${item##*/}
            mv "$item" "$mine" 2>/dev/null || continue
            job=$(<"$mine") || job=UNREADABLE
            echo "${item##*/} $job"
        done
    done"#;

/// Claims by rm: who removes it has it.
const REMOVER: &str = r#"
    while [ ! -e "$1" ]; do
        for item in queue/item-*; do
            job=$(cat "$item" 2>/dev/null) || continue
            rm "$item" 2>/dev/null || continue
            echo "${item##*/} $job"
        done
    done"#;

const PRODUCER: &str = r#"
    for ((n = 0; n < $2; n++)); do
        echo "$1.$n" > queue/item-@s || exit 1
    done"#;

/// A consumer that is quicker than a script: what it took, and what it read.
fn consume(mount: &Path, name: &str, by_rename: bool, seed: u64, stop: &AtomicBool) -> Vec<(String, String)> {
    let mut random = Random::new(seed);
    let mut taken = Vec::new();
    let names = |dir: PathBuf| -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect()
    };
    while !stop.load(Ordering::Relaxed) {
        let items = names(mount.join("queue"));
        if items.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        // Some begin elsewhere, so that they meet at times and not always.
        let start = random.below(items.len());
        for item in items.iter().skip(start).take(20) {
            let path = mount.join("queue").join(item);
            if by_rename {
                let mine = mount.join("claimed").join(format!("{name}.{item}"));
                match fs::rename(&path, &mine) {
                    Ok(()) => {}
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
                    Err(error) => panic!("claiming {item}: {error}"),
                }
                let read = fs::read_to_string(&mine).unwrap_or_else(|error| format!("UNREADABLE {error}"));
                taken.push((item.clone(), read.trim_end_matches('\n').to_owned()));
                if random.below(2) == 0 {
                    fs::remove_file(&mine).unwrap_or_else(|error| panic!("removing {}: {error}", mine.display()));
                }
            } else {
                let Ok(read) = fs::read_to_string(&path) else { continue };
                match fs::remove_file(&path) {
                    Ok(()) => taken.push((item.clone(), read.trim_end_matches('\n').to_owned())),
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                    Err(error) => panic!("claiming {item}: {error}"),
                }
            }
        }
    }
    taken
}

/// One queue, from its first item to its last.
fn round(place: &Place, mounts: &[Mount; 2], items: u64, seed: u64) {
    for dir in ["queue", "claimed"] {
        fs::create_dir(mounts[0].join(dir)).unwrap();
    }
    let stop_file = place.beside(&format!("stop-{seed}"));
    let stop = AtomicBool::new(false);
    let scripts = [(MOVER, 0), (REMOVER, 1), (MOVER, 1)].map(|(script, host)| {
        let script = mounts[host].script(Shell::Bash, script).arg(&stop_file).arg(format!("s{host}"));
        script.deadline(Duration::from_secs(300)).start()
    });
    let producers: Vec<_> = (0..4)
        .map(|number| {
            let script = mounts[number % 2].script(Shell::Bash, PRODUCER).arg(number.to_string());
            script.arg((items / 4).to_string()).deadline(Duration::from_secs(300)).start()
        })
        .collect();
    let mut taken: Vec<(String, String)> = std::thread::scope(|scope| {
        let consumers: Vec<_> = (0..4_u64)
            .map(|number| {
                let (mount, stop) = (mounts[number as usize % 2].path(), &stop);
                scope.spawn(move || consume(&mount, &format!("t{number}"), number < 2, seed * 10 + number, stop))
            })
            .collect();
        producers.iter().for_each(|producer| drop(producer.wait().success()));
        until_within(Duration::from_secs(120), "the queue is empty", || place.names("/queue").is_empty());
        stop.store(true, Ordering::Relaxed);
        fs::write(&stop_file, "").unwrap();
        consumers.into_iter().flat_map(|consumer| consumer.join().unwrap()).collect()
    });
    for script in &scripts {
        let output = script.wait().success();
        let lines = output.stdout.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
        taken.extend(lines.map(|(item, job)| (item.to_owned(), job.to_owned())));
    }
    let by_item: BTreeMap<&str, &str> = taken.iter().map(|(item, job)| (item.as_str(), job.as_str())).collect();
    assert_eq!(by_item.len(), taken.len(), "an item was taken twice");
    let wrong: Vec<_> = taken.iter().filter(|(_, job)| job.is_empty() || job.starts_with("UNREADABLE")).collect();
    assert!(wrong.is_empty(), "read wrongly: {wrong:?}");
    let mut jobs: Vec<&str> = by_item.values().copied().collect();
    jobs.sort_unstable();
    let mut all: Vec<String> = (0..4).flat_map(|who| (0..items / 4).map(move |n| format!("{who}.{n}"))).collect();
    all.sort_unstable();
    assert!(jobs == all, "{} jobs of {} were done", jobs.len(), all.len());
    let numbers: Vec<String> = (0..all.len()).map(|number| format!("item-{number:010}")).collect();
    assert!(by_item.keys().eq(numbers.iter()), "the numbers are not one sequence");
    for dir in ["queue", "claimed"] {
        place.witness.delete_tree(&format!("/{dir}"));
    }
}

#[test]
fn no_item_is_lost_or_taken_twice_or_read_empty() {
    let (rounds, seed) = (number("FLAGS_ROUNDS", 1), number("FLAGS_SEED", 1));
    let items = number("FLAGS_ITEMS", 2000);
    let place = Place::new("queue");
    let mounts = place.pair();
    for round_number in 0..rounds {
        round(&place, &mounts, items, seed + round_number);
    }
}
