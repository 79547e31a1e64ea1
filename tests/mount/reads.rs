//! Reading.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rig::{Mode, until};

use crate::world::{World, hears, names, put};

/// The next `count` bytes of a file.
fn next(file: &mut File, count: usize) -> String {
    let mut bytes = vec![0; count];
    let read = file.read(&mut bytes).unwrap();
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}

// > A pass over a file from its start to its end never mixes two versions.
#[test]
fn a_pass_is_one_version() {
    let world = World::new("pass");
    put(world.one.join("f"), "aaaaaaaaaa");
    let mut file = File::open(world.one.join("f")).unwrap();
    assert_eq!(next(&mut file, 3), "aaa");
    world.run2("printf bbbbbbbbbbbb > f");
    world.run("cat f >/dev/null");
    assert_eq!(next(&mut file, 100), "aaaaaaa", "the rest of the version that was begun");
    assert_eq!(next(&mut file, 100), "", "the end of it, also for who was given less than was asked for");
    assert_eq!(next(&mut file, 100), "bb", "the end was told, so this goes on as tail -f does");
    file.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(next(&mut file, 3), "bbb");
    // Here it is empty from now on, and yet the beginning alone was never a value.
    let cut = File::options().write(true).truncate(true).open(world.one.join("f")).unwrap();
    assert_eq!(next(&mut file, 100), "bbbbbbbbb");
    assert_eq!(next(&mut file, 100), "");
    file.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(next(&mut file, 100), "");
    drop(cut);
}

#[test]
fn cat_prints_whole_values_while_others_write() {
    let world = World::new("cat");
    put(world.one.join("f"), "short\n");
    // A longer one comes between the two reads of each cat, the second of which is to tell the end.
    let script = "import os, sys
f = os.open('f', os.O_RDONLY)
first = os.read(f, 131072)
os.write(1, b'read\\n')
while not os.path.exists('go'): pass
rest = os.read(f, 131072)
sys.stdout.write((first + rest).decode())
";
    let cat = world.one.script(rig::Shell::Bash, "exec /usr/bin/python3 -c \"$1\"").arg(script).start();
    until("it has read", || cat.stdout() == "read\n");
    world.run2("echo a longer value > f; touch go");
    assert_eq!(cat.wait().success().stdout, "read\nshort\n");
}

#[test]
fn passes_in_small_pieces_are_whole_while_others_write() {
    let world = World::new("pieces");
    let value = |letter: char| letter.to_string().repeat(4_000);
    put(world.one.join("f"), &value('a'));
    let writer = world.two.script(
        rig::Shell::Bash,
        "for c in b c d; do v=$v\\ $(head -c 4000 /dev/zero | tr '\\0' $c); done
        while [ ! -e stop ]; do for x in $v; do printf %s $x > f; done; done",
    );
    let writer = writer.start();
    let mut seen = std::collections::BTreeSet::new();
    let mut passes = 0;
    until("several values were read", || {
        let mut file = File::open(world.one.join("f")).unwrap();
        let mut text = String::new();
        loop {
            let piece = next(&mut file, 77);
            text += &piece;
            if piece.len() < 77 {
                break;
            }
        }
        let first = text.chars().next().unwrap();
        assert!(text == value(first), "a mixture, or {} bytes of {first}", text.len());
        seen.insert(first);
        passes += 1;
        passes > 100 && seen.len() > 2
    });
    put(world.one.join("stop"), "");
    writer.wait().success();
}

// > A read at the start takes a newer version, and so does one at the end after one that found nothing there, so that `tail -f` works.
#[test]
fn tail_follows() {
    let world = World::new("tail");
    put(world.one.join("log"), "one\n");
    let tail = world.one.script(rig::Shell::Bash, "exec tail -n +1 -f log").start();
    until("the first line is there", || tail.stdout() == "one\n");
    for (n, mount) in [&world.two, &world.one, &world.two].into_iter().enumerate() {
        mount.bash(&format!("echo line{n} >> log")).success();
        until("the next line is there", || tail.stdout().ends_with(&format!("line{n}\n")));
    }
    assert_eq!(tail.stdout(), "one\nline0\nline1\nline2\n");
    let mut file = File::open(world.one.join("log")).unwrap();
    assert!(next(&mut file, 1000).starts_with("one"));
    world.witness.set("/log", b"new", None).unwrap();
    until("a read at the start takes the new value", || {
        file.seek(SeekFrom::Start(0)).unwrap();
        next(&mut file, 1000) == "new"
    });
}

// > An open file can be read after it was removed.
#[test]
fn a_removed_file_can_be_read() {
    let world = World::new("removed");
    let path = world.one.join("f");
    for (how, remove) in [("here", &world.one), ("on another host", &world.two)] {
        for before in [false, true] {
            put(path.clone(), "data");
            let mut file = File::open(&path).unwrap();
            if before {
                assert_eq!(next(&mut file, 10), "data");
            }
            hears(remove);
            remove.bash("rm f").success();
            file.seek(SeekFrom::Start(0)).unwrap();
            assert_eq!(next(&mut file, 10), "data", "removed {how}, read before: {before}");
        }
    }
    assert_eq!(world.run("echo data > f; exec 3<f; rm f; cat <&3"), "data");
    // The next file of that name is another one.
    put(path.clone(), "old");
    let mut file = File::open(&path).unwrap();
    world.run2("rm f; echo new > f");
    assert_eq!(next(&mut file, 10), "old");
    assert_eq!(world.run("cat f"), "new");
}

#[test]
fn all_ways_of_reading_agree() {
    let world = World::new("ways");
    let text: String = (0..3000).map(|n| format!("{n}\n")).collect();
    put(world.one.join("f"), &text);
    let path = world.two.join("f");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let file = File::open(&path).unwrap();
    let mut piece = vec![0; 100];
    file.read_exact_at(&mut piece, 1000).unwrap();
    assert_eq!(piece, text.as_bytes()[1000..1100]);
    assert_eq!(file.read_at(&mut piece, text.len() as u64 - 10).unwrap(), 10);
    assert_eq!(file.read_at(&mut piece, 1 << 40).unwrap(), 0);
    let mapped = unsafe {
        libc::mmap(std::ptr::null_mut(), text.len(), libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    assert_ne!(mapped, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
    let bytes = unsafe { std::slice::from_raw_parts(mapped.cast::<u8>(), text.len()) };
    assert_eq!(bytes, text.as_bytes());
    unsafe { libc::munmap(mapped, text.len()) };
    // io::copy to a pipe or a socket is sendfile(2) or splice(2).
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let sender = std::thread::spawn(move || std::io::copy(&mut File::open(path).unwrap(), &mut &theirs).unwrap());
    let received = std::io::read_to_string(ours).unwrap();
    assert_eq!((sender.join().unwrap(), received), (text.len() as u64, text.clone()));
    let script = "import os,sys
f = os.open(sys.argv[1], os.O_RDONLY)
r, w = os.pipe()
assert os.splice(f, w, 1000, offset_src=0) == 1000
assert os.read(r, 1000) == open(sys.argv[1], 'rb').read(1000)
assert os.sendfile(w, f, 5, 100) == 100 and len(os.read(r, 200)) == 100
d = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
assert os.pread(d, 10, 3) == open(sys.argv[1], 'rb').read()[3:13]
";
    world.two.script(rig::Shell::Bash, "/usr/bin/python3 -c \"$1\" f").arg(script).run().success();
    assert_eq!(
        world.run2("tac f | tac | cmp - f && sort -n f | md5sum | cut -c1-32 && md5sum f | cut -c1-32").lines().count(),
        2
    );
}

#[test]
fn sendfile_sees_a_new_value_once_the_file_was_looked_at() {
    let world = World::new("sendfile");
    put(world.one.join("f"), "old");
    let file = File::open(world.one.join("f")).unwrap();
    let sent = || {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut offset = 0;
        let count = unsafe { libc::sendfile(writer.as_raw_fd(), file.as_raw_fd(), &mut offset, 100) };
        assert!(count >= 0, "{}", std::io::Error::last_os_error());
        drop(writer);
        std::io::read_to_string(reader).unwrap()
    };
    assert_eq!(sent(), "old");
    world.run2("printf newer > f");
    until("the new value is sent", || file.metadata().is_ok() && sent() == "newer");
}

#[test]
fn a_listing_that_is_under_way_is_of_one_moment() {
    let world = World::new("listing");
    let count = 3000;
    world.witness.create("/d", b"", Mode::Persistent).unwrap();
    world.witness.fill((0..count).map(|n| (format!("/d/{n:04}"), Vec::new())));
    let mut seen = std::collections::BTreeSet::new();
    for (n, entry) in fs::read_dir(world.one.join("d")).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if n % 3 == 0 {
            world.witness.create(&format!("/d/new{n}"), b"", Mode::Persistent).unwrap();
        }
        fs::remove_dir(world.one.join("d").join(&name)).unwrap();
        assert!(seen.insert(name), "twice");
    }
    assert!(seen.iter().filter(|name| !name.starts_with("new")).count() == count, "each of them once");
    // A handle on a directory that is rewound lists anew.
    let directory = File::open(world.one.join("d")).unwrap();
    let stream = unsafe { libc::fdopendir(directory.as_raw_fd()) };
    assert!(!stream.is_null());
    std::mem::forget(directory);
    let count = || {
        unsafe { libc::rewinddir(stream) };
        std::iter::from_fn(|| (!unsafe { libc::readdir(stream) }.is_null()).then_some(())).count()
    };
    let first = count();
    world.run("touch d/one-more; mv d e");
    assert_eq!(count(), first + 1);
    unsafe { libc::closedir(stream) };
    assert_eq!(names(world.two.join("e")).len(), first - 2 + 1);
}
