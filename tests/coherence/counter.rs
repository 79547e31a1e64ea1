//! A counter that one host sets, and others that look at it in all ways.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rig::until;

use crate::world::{Inotify, World, long, readable};

/// The counter as text. Its length tells the number as well, so that a size has an age too.
fn value(count: u64) -> String {
    format!("{count} {}", "x".repeat((64 + 2 * count) as usize - count.to_string().len() - 1))
}

fn size_of(count: u64) -> u64 {
    64 + 2 * count
}

/// The number in a value, which must be whole.
#[track_caller]
fn count_in(text: &str) -> u64 {
    let count = text.split(' ').next().and_then(|number| number.parse().ok());
    let count = count.unwrap_or_else(|| panic!("no number in {text:?}"));
    assert_eq!(text, value(count), "a torn value");
    count
}

#[track_caller]
fn read(file: &File) -> u64 {
    let mut bytes = vec![0; 65536];
    let count = file.read_at(&mut bytes, 0).unwrap();
    count_in(std::str::from_utf8(&bytes[..count]).unwrap())
}

fn counts() -> u64 {
    long(400) as u64
}

/// Sets the counter to each number in turn, through the first mount, at a version: nobody else may set it.
fn set_all(world: &World, mut after_each: impl FnMut(u64)) {
    let file = File::options().write(true).open(world.writer.join("d/f")).unwrap();
    for count in 1..=counts() {
        file.write_all_at(value(count).as_bytes(), 0).unwrap();
        after_each(count);
    }
}

fn world(name: &str) -> World {
    let world = World::new(name);
    fs::write(world.writer.join("d/f"), value(0)).unwrap();
    until("the second host sees the file", || fs::read(world.reader.join("d/f")).is_ok());
    world
}

/// Looks at a number again and again, until it is the last one: it never goes back.
#[track_caller]
fn follow(how: &str, mut look: impl FnMut() -> u64) {
    let mut last = 0;
    let mut looks = 0_u64;
    until(&format!("{how} shows the last number"), || {
        for _ in 0..50 {
            let seen = look();
            assert!(seen >= last, "{how}: {seen} after {last}");
            last = seen;
            looks += 1;
        }
        last == counts()
    });
    assert!(looks > 50);
}

// > No program is shown a part of a value, or an older value or size after a newer one.
#[test]
fn no_way_of_looking_goes_back() {
    let world = world("forth");
    let path = world.reader.join("d/f");
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::open(&path).unwrap();
            follow("an open file", || read(&file));
        });
        scope.spawn(|| follow("a file that is opened", || count_in(&fs::read_to_string(&path).unwrap())));
        scope.spawn(|| follow("the size", || (fs::metadata(&path).unwrap().len() - 64) / 2));
        scope.spawn(|| {
            // In turns: what one shows is not older than what the other one did.
            let file = File::open(&path).unwrap();
            let mut turn = 0;
            follow("value, size and listing in turns", || {
                turn += 1;
                match turn % 3 {
                    0 => read(&file),
                    1 => (fs::metadata(&path).unwrap().len() - 64) / 2,
                    _ => (file.metadata().unwrap().len() - 64) / 2,
                }
            });
        });
        set_all(&world, |_| {});
    });
}

#[test]
fn each_set_is_seen_before_the_next() {
    let world = world("each");
    let file = File::open(world.reader.join("d/f")).unwrap();
    let began = Instant::now();
    set_all(&world, |count| {
        until(&format!("{count} is seen"), || read(&file) == count);
        // What is announced is not found out by asking again after ten seconds.
        assert!(began.elapsed() < Duration::from_secs(counts() / 4), "{count} numbers took {:?}", began.elapsed());
    });
}

// > When CLOSE_WRITE arrives, reading gives the new bytes.
#[test]
fn who_has_the_event_has_the_value() {
    let world = world("event");
    let path = world.reader.join("d/f");
    let mut events = Inotify::on(&path, libc::IN_CLOSE_WRITE);
    let file = File::open(&path).unwrap();
    set_all(&world, |count| {
        events.wait();
        assert_eq!(fs::metadata(&path).unwrap().len(), size_of(count), "the size after the event of {count}");
        assert_eq!(read(&file), count, "after its event");
        assert_eq!(count_in(&fs::read_to_string(&path).unwrap()), count, "after its event, opened anew");
    });
}

// > When a line of a stream arrives, data, sizes and names are as new as what it tells.
#[test]
fn who_has_the_line_has_the_value() {
    let world = world("line");
    let path = world.reader.join("d/f");
    let stream = File::open(world.reader.join("d/@events")).unwrap();
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::open(&path).unwrap();
            let mut lines = BufReader::new(&stream);
            let mut told = 0;
            while told < counts() {
                if lines.buffer().is_empty() {
                    readable(&stream);
                }
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                assert_eq!(line, "modify f\n");
                told += 1;
                // The size first: nothing has told this program of the new value yet but the line.
                let size = fs::metadata(&path).unwrap().len();
                assert!(size >= size_of(told), "size {size} after line {told}");
                let size = file.metadata().unwrap().len();
                assert!(size >= size_of(told), "size {size} after line {told}");
                let count = read(&file);
                assert!(count >= told, "{count} after line {told}");
                done.store(told, Ordering::SeqCst);
            }
        });
        // Half of the way the writer waits for the reader, then it does not.
        set_all(&world, |count| {
            if count < counts() / 2 {
                until("the reader has looked", || done.load(Ordering::SeqCst) >= count);
            }
        });
    });
    assert_eq!(done.load(Ordering::SeqCst), counts());
}

// > When a line of a stream arrives, data, sizes and names are as new as what it tells.
#[test]
fn who_has_the_line_of_a_name_has_the_name() {
    let world = World::new("names");
    let path = world.reader.join("d/lock");
    let mut stream = File::open(world.reader.join("d/@events")).unwrap();
    let mut line = |expected: &str| {
        readable(&stream);
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        assert_eq!(std::str::from_utf8(&bytes[..count]).unwrap(), expected);
    };
    for round in 0..counts() / 4 {
        assert!(!path.exists(), "before round {round}");
        world.witness.create("/d/lock", b"x", rig::Mode::Persistent).unwrap();
        line("create lock\n");
        assert!(path.exists(), "created, round {round}");
        assert_eq!(fs::metadata(&path).unwrap().len(), 1);
        world.witness.delete("/d/lock", None).unwrap();
        line("delete lock\n");
        assert!(!path.exists(), "deleted, round {round}");
    }
}

#[test]
fn a_file_that_is_set_while_it_is_looked_up_does_not_go_back() {
    let world = World::new("new");
    for round in 0..counts() / 2 {
        let name = format!("d/n{round}");
        let path = world.reader.join(&name);
        let znode = format!("/{name}");
        world.witness.create(&znode, value(0).as_bytes(), rig::Mode::Persistent).unwrap();
        let last = 8;
        thread::scope(|scope| {
            // By one program after the other: the first one's look-up makes the kernel's inode, the others use it.
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut seen = 0;
                    until("the last value is seen", || {
                        let Ok(text) = fs::read_to_string(&path) else { return false };
                        let read = count_in(&text);
                        assert!(read >= seen, "{read} after {seen}, round {round}");
                        seen = (fs::metadata(&path).unwrap().len() - 64) / 2;
                        assert!(seen >= read, "size of {seen} after {read} was read, round {round}");
                        seen == last
                    });
                });
            }
            for count in 1..=last {
                world.witness.set(&znode, value(count).as_bytes(), None).unwrap();
            }
        });
    }
}
