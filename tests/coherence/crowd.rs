//! Many writers and readers of one file, through two mounts and a raw client. The server's own log says in which order the
//! values were set; no reader sees them in another.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rig::{Change, Witness};

use crate::world::{World, long};

const WRITERS: usize = 16;
const READERS: usize = 16;

/// A value that nobody else writes, and that shows when a part of it is missing or another's.
fn value(writer: usize, number: usize) -> String {
    let word = format!("w{writer:02}-{number:05} ");
    // Of many lengths, and up to several pages long.
    word.repeat(1 + (writer * 131 + number * 37) % 700)
}

#[track_caller]
fn check_whole(text: &str) {
    let word = &text[..text.find(' ').unwrap_or_else(|| panic!("a torn value {text:?}")) + 1];
    let (writer, number) = word[1..].trim_end().split_once('-').unwrap();
    let whole = value(writer.parse().unwrap(), number.parse().unwrap());
    let same = whole.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
    assert!(text == whole, "torn at {same}: {} bytes of {}, begins with {word}", text.len(), whole.len());
}

/// How somebody gets at the file.
#[derive(Clone)]
enum Way<'a> {
    /// By a path on a mount: a file that is replaced.
    Replace(PathBuf),
    /// By a path on a mount: a new file is renamed onto it.
    Rename(PathBuf),
    Raw(&'a Witness),
}

impl Way<'_> {
    fn write(&self, text: &str) {
        match self {
            Way::Replace(path) => fs::write(path, text).unwrap(),
            Way::Rename(path) => {
                let new = path.with_file_name(&text[..9]);
                fs::write(&new, text).and_then(|()| fs::rename(new, path)).unwrap();
            }
            Way::Raw(witness) => drop(witness.set("/d/f", text.as_bytes(), None).unwrap()),
        }
    }

    /// The value; none while it is cut for a program of the same mount.
    fn read(&self) -> Option<String> {
        let text = match self {
            Way::Replace(path) | Way::Rename(path) => fs::read_to_string(path).unwrap(),
            Way::Raw(witness) => witness.text("/d/f"),
        };
        (!text.is_empty()).then_some(text)
    }
}

// > No program is shown a part of a value, or an older value or size after a newer one.
#[test]
fn nobody_sees_an_older_value_after_a_newer_one() {
    let world = World::new("crowd");
    world.witness.create("/d/f", value(99, 0).as_bytes(), rig::Mode::Persistent).unwrap();
    let second = Witness::connect(&world.connect);
    let (here, there) = (world.writer.join("d/f"), world.reader.join("d/f"));
    let ways = [
        Way::Replace(here.clone()),
        Way::Rename(there.clone()),
        Way::Raw(&second),
        Way::Rename(here),
        Way::Replace(there),
    ];
    let each = long(25);
    let (begin, writing) = (Barrier::new(WRITERS + READERS), AtomicUsize::new(WRITERS));
    let mut sights: Vec<(String, Vec<String>)> = Vec::new();
    thread::scope(|scope| {
        let mut jobs = Vec::new();
        for writer in 0..WRITERS {
            let (way, begin, writing) = (ways[writer % ways.len()].clone(), &begin, &writing);
            jobs.push(scope.spawn(move || {
                let mut seen = Vec::new();
                begin.wait();
                for number in 1..=each {
                    let text = value(writer, number);
                    way.write(&text);
                    seen.push(text);
                    // Own or newer, never older.
                    seen.extend(way.read());
                }
                writing.fetch_sub(1, Ordering::SeqCst);
                (format!("writer {writer}"), seen)
            }));
        }
        for reader in 0..READERS {
            let (way, begin, writing) = (ways[reader % ways.len()].clone(), &begin, &writing);
            jobs.push(scope.spawn(move || {
                let mut seen: Vec<String> = Vec::new();
                begin.wait();
                while writing.load(Ordering::SeqCst) > 0 {
                    let text = way.read();
                    seen.extend(text.filter(|text| seen.last() != Some(text)));
                }
                (format!("reader {reader}"), seen)
            }));
        }
        sights.extend(jobs.into_iter().map(|job| job.join().unwrap()));
    });
    let mut order: HashMap<String, usize> = HashMap::from([(value(99, 0), 0)]);
    for transaction in world.server.history_below(world.chroot()) {
        for change in transaction.changes {
            let Change::SetData { path, data, .. } = change else { continue };
            if path != format!("{}/d/f", world.chroot()) {
                continue;
            }
            let place = order.len();
            order.insert(String::from_utf8(data).unwrap(), place);
        }
    }
    assert_eq!(order.len(), 1 + WRITERS * each, "each value was set once, whole");
    let looks = sights.iter().map(|(_, seen)| seen.len()).sum::<usize>();
    for (who, seen) in &sights {
        check_order(who, seen, &order).unwrap_or_else(|error| panic!("{error}"));
    }
    println!("{} sets, {looks} looks", WRITERS * each);
}

/// Whether what somebody saw is in the order in which it was set.
fn check_order(who: &str, seen: &[String], order: &HashMap<String, usize>) -> Result<(), String> {
    let mut last = 0;
    for text in seen {
        check_whole(text);
        let place = *order.get(text).ok_or_else(|| format!("{who} saw what nobody set"))?;
        if place < last {
            return Err(format!("{who} saw value {place} after {last}: {}", &text[..10]));
        }
        last = place;
    }
    Ok(())
}

#[test]
fn the_order_is_checked() {
    let order: HashMap<String, usize> = (0..3).map(|n| (value(1, n), n)).collect();
    let seen = |numbers: &[usize]| numbers.iter().map(|n| value(1, *n)).collect::<Vec<_>>();
    assert!(check_order("one", &seen(&[0, 0, 2]), &order).is_ok());
    assert!(check_order("one", &seen(&[0, 2, 1]), &order).is_err());
    assert!(check_order("one", &seen(&[3]), &order).is_err());
    let torn = |text: String| std::panic::catch_unwind(|| check_whole(&text)).is_err();
    let longest = value(1, 2);
    assert!(longest.len() > 100);
    assert!(!torn(longest.clone()));
    assert!(torn(longest[..longest.len() - 1].to_owned()));
    assert!(torn(longest[10..].to_owned()));
    assert!(torn(longest[..50].to_owned() + &value(1, 1)[50..]));
}
