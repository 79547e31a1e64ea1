//! Writing.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use rig::{Change, Kind, Mode, Proxy, Shell, shared_server, until};

use crate::world::{World, errno, hears, put};

/// The data that a path was set to, in order.
fn sets(changes: &[Change], at: &str) -> Vec<String> {
    let of = |change: &Change| match change {
        Change::SetData { path, data, .. } if path == at => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    };
    changes.iter().filter_map(of).collect()
}

// > A write that returned is a committed setData.
#[test]
fn a_write_that_returned_is_there() {
    let world = World::new("committed");
    let mut file = File::create(world.one.join("f")).unwrap();
    for n in 0..5 {
        file.write_all(n.to_string().as_bytes()).unwrap();
        let so_far: String = (0..=n).map(|n| n.to_string()).collect();
        assert_eq!(world.witness.text("/f"), so_far);
    }
    world.one.kill9();
    assert_eq!(world.witness.text("/f"), "01234");
}

// > `echo new > existing` is one setData; no other host or client sees an empty value.
#[test]
fn echo_onto_an_existing_file_is_one_set() {
    let world = World::new("echo");
    put(world.one.join("f"), "old\n");
    let recorder = world.witness.record("/f");
    for shell in Shell::ALL {
        let script = format!("echo {} > f", shell.name());
        let changes = world.changes(|| drop(world.one.script(shell, &script).run().success()));
        assert_eq!(sets(&changes, "/f"), [format!("{}\n", shell.name())], "{changes:?}");
        assert_eq!(changes.len(), 1);
    }
    let events = recorder.of("/f");
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [Kind::Changed; 4]);
    assert!(events.iter().all(|event| event.found.as_ref().is_some_and(|(data, _)| !data.is_empty())), "{events:?}");
    for script in [
        "cat f | tr a-z A-Z > g; cp g f",
        "/usr/bin/python3 -c 'open(\"f\", \"w\").write(\"python\")'",
        "perl -e 'open(F, \">\", \"f\"); print F \"perl\"; close F'",
        "printf tee | tee f >/dev/null",
        "dd if=g of=f status=none",
    ] {
        let changes = world.changes(|| drop(world.run(script)));
        assert_eq!(sets(&changes, "/f").len(), 1, "{script}: {changes:?}");
        assert!(!sets(&changes, "/f")[0].is_empty());
    }
    let reader = world.two.script(Shell::Bash, "while [ ! -e stop ]; do [ -s f ] || echo empty; done").start();
    (0..100).for_each(|n| drop(put(world.one.join("f"), &n.to_string())));
    put(world.one.join("stop"), "");
    assert_eq!(reader.wait().success().stdout, "");
}

#[test]
fn a_copy_of_600_kb_is_one_transaction() {
    let world = World::new("cp");
    let local = rig::Workdir::new("cp");
    let source = local.path().join("source");
    let bytes: Vec<u8> = (0..600_000_u32).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(&source, &bytes).unwrap();
    world.run("echo old > f");
    let copy = format!("cp '{}' f", source.display());
    let changes = world.transactions(|| drop(world.run(&copy)));
    assert_eq!(changes.len(), 1, "{} transactions", changes.len());
    assert_eq!(world.witness.get("/f").unwrap().0, bytes);
    assert_eq!(world.transactions(|| drop(world.run("cp f g"))).len(), 2, "a create and a set");
    assert_eq!(world.witness.get("/g").unwrap().0, bytes);
    world.run2("cmp f g");
    // A new name in one transaction, by the tool that is made for it.
    assert_eq!(world.transactions(|| drop(world.run("ln f h"))).len(), 1);
}

// > A file that is only truncated is empty for this mount at once, and for others when it is closed for the last time.
#[test]
fn a_truncation_is_committed_by_the_last_close() {
    let world = World::new("truncate");
    put(world.one.join("f"), "old");
    let file = OpenOptions::new().write(true).truncate(true).open(world.one.join("f")).unwrap();
    let second = file.try_clone().unwrap();
    assert_eq!(
        (world.run("cat f; stat -c %s f"), world.run2("cat f; echo; stat -c %s f")),
        ("0".into(), "old\n3".into())
    );
    drop(file);
    assert_eq!(world.witness.text("/f"), "old", "one descriptor is still open");
    let before = world.history().len();
    drop(second);
    until("the truncation is there", || world.witness.text("/f").is_empty());
    assert_eq!(world.history().len(), before + 1);
    assert_eq!(world.run2("ls -F"), "f", "an empty file is still a file");
    world.run("echo x > f; : > f; test ! -s f; [ -z \"$(cat f)\" ]");
    until("the second one too", || world.witness.text("/f").is_empty());
    world.run("echo x > f; truncate -s 0 f");
    until("that of truncate(1), which opens the file, too", || world.witness.text("/f").is_empty());
    world.run("echo x > f; /usr/bin/python3 -c 'import os; os.truncate(\"f\", 0)'");
    assert_eq!(world.witness.text("/f"), "", "truncate(2) has no close to wait for");
}

// > The first write after a truncation replaces the value whatever its version; every other write is conditional, and ESTALE when somebody else set the file.
#[test]
fn writes_are_conditional() {
    let world = World::new("conditional");
    put(world.one.join("f"), "old");
    let mut file = OpenOptions::new().write(true).truncate(true).open(world.one.join("f")).unwrap();
    world.run2("echo other > f");
    file.write_all(b"mine").unwrap();
    assert_eq!(world.witness.text("/f"), "mine");
    file.write_all(b" more").unwrap();
    assert_eq!(world.witness.text("/f"), "mine more");
    world.run2("echo other > f");
    assert_eq!(errno(file.write_all(b" again")), libc::ESTALE);
    drop(file);
    assert_eq!(world.witness.text("/f"), "other\n", "and the close commits nothing of it");
    let file = OpenOptions::new().read(true).write(true).open(world.one.join("f")).unwrap();
    let mut start = [0; 5];
    file.read_exact_at(&mut start, 0).unwrap();
    world.witness.set("/f", b"changed", None).unwrap();
    assert_eq!(errno(file.write_all_at(b"X", 0)), libc::ESTALE);
    assert_eq!(world.witness.text("/f"), "changed");
    // Who reads again from the start has seen the new value, and may write.
    until("the new value is read", || {
        file.read_exact_at(&mut start, 0).unwrap();
        &start == b"chang"
    });
    file.write_all_at(b"X", 0).unwrap();
    assert_eq!(world.witness.text("/f"), "Xhanged");
}

// > A file that was created is not written over another one of the same name that was made since.
#[test]
fn a_created_file_is_not_written_over_its_successor() {
    let world = World::new("successor");
    let mut file = OpenOptions::new().write(true).create_new(true).open(world.one.join("lock")).unwrap();
    world.run2("rm lock; echo theirs > lock");
    assert_eq!(errno(file.write_all(b"mine")), libc::ESTALE);
    drop(file);
    assert_eq!(world.witness.text("/lock"), "theirs\n");
    let mut file = OpenOptions::new().write(true).truncate(true).open(world.one.join("lock")).unwrap();
    world.run2("rm lock");
    assert_eq!(errno(file.write_all(b"mine")), libc::ESTALE);
    drop(file);
    assert!(!world.witness.exists("/lock"), "nothing is made anew behind one's back");
}

// > What was opened before another host deleted the file and made it anew does not write to the new one, once this mount has heard of it: ESTALE, or nothing for a mere truncation.
#[test]
fn an_opened_file_is_not_written_over_its_successor() {
    let world = World::new("overwrite-successor");
    put(world.one.join("f"), "old");
    let truncated = || OpenOptions::new().write(true).truncate(true).open(world.one.join("f")).unwrap();
    let renew = || {
        world.run2("rm f; echo theirs > f");
        hears(&world.one);
    };
    let mut file = truncated();
    renew();
    assert_eq!(errno(file.write_all(b"mine")), libc::ESTALE);
    drop(file);
    assert_eq!(world.run("cat f"), "theirs");
    let file = truncated();
    renew();
    drop(file);
    hears(&world.one);
    assert_eq!(world.witness.text("/f"), "theirs\n");
    world.run("echo mine > f");
    assert_eq!(world.witness.text("/f"), "mine\n", "who opens it anew means the new one");
}

// > A write beyond 1,044,480 bytes is EFBIG before anything is sent, and the old value stays.
#[test]
fn a_write_that_is_too_large() {
    const LIMIT: usize = 1_044_480;
    let server = shared_server();
    let proxy = Proxy::to(server);
    let chroot = server.chroot("efbig");
    let (mount, witness) = (rig::Mount::new(&proxy.instead_of(&chroot)), rig::Witness::connect(&chroot));
    let path = put(mount.join("f"), "old");
    // Others are at work all the while, and must not notice.
    let others: Vec<_> = (0..3)
        .map(|n| mount.script(Shell::Bash, &format!("for i in $(seq 60); do echo $i > other{n} || exit; done")).start())
        .collect();
    let connections = proxy.counts().connections;
    let local = rig::Workdir::new("efbig");
    for size in [LIMIT + 1, 2_000_000] {
        let mut file = OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        assert_eq!(errno(file.write_all(&vec![1; size])), libc::EFBIG);
        drop(file);
        let source = local.path().join(size.to_string());
        fs::write(&source, vec![1; size]).unwrap();
        let copy = format!("dd bs=4M if='{0}' of=f", source.display());
        let output = mount.bash(&copy);
        assert!(output.code() == 1 && output.stderr.contains("File too large"), "{output:?}");
    }
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for offset in [LIMIT as u64, 1 << 40, i64::MAX as u64 - 1] {
        assert_eq!(errno(file.write_all_at(b"x", offset)), libc::EFBIG);
    }
    for length in [LIMIT as u64 + 1, 1 << 40, i64::MAX as u64] {
        assert_eq!(errno(file.set_len(length)), libc::EFBIG);
    }
    drop(file);
    until("nothing of it was committed", || witness.text("/f") == "old");
    // cp goes by the block size: the first of its writes is a whole value, the second is the one that fails.
    let source = local.path().join("2000000");
    let output = mount.bash(&format!("cp '{}' g", source.display()));
    assert!(output.code() == 1 && output.stderr.contains("File too large"), "{output:?}");
    others.iter().for_each(|job| drop(job.wait().success()));
    assert_eq!(proxy.counts().connections, connections, "the connection survived");
    fs::write(&path, vec![1; LIMIT]).unwrap();
    assert_eq!(witness.stat("/f").unwrap().data_length as usize, LIMIT);
}

// > `-o commit=close` makes one transaction of all writes up to the close.
#[test]
fn commit_at_the_close() {
    let world = World::with("commit-close", &["commit=close"]);
    put(world.one.join("f"), "old");
    let pieces = "exec 3>f; for i in 1 2 3; do echo $i >&3; done; cat f; echo --; exec 3>&-; cat f";
    let mut output = String::new();
    let changes = world.changes(|| output = world.run(pieces));
    assert_eq!(output.split("--\n").nth(1), Some("1\n2\n3"));
    assert_eq!(sets(&changes, "/f").last().map(String::as_str), Some("1\n2\n3\n"));
    let whole = "/usr/bin/python3 -c \"
import os
f = os.open('f', os.O_WRONLY | os.O_TRUNC)
for n in range(10): os.write(f, b'%d ' % n)
os.close(f)\"";
    let changes = world.changes(|| drop(world.run(whole)));
    assert_eq!(sets(&changes, "/f"), ["0 1 2 3 4 5 6 7 8 9 "], "{changes:?}");
    let mut file = File::create(world.one.join("f")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    assert_eq!(world.witness.text("/f"), "synced");
    // The error of a close is for those who look at it.
    let mut file = OpenOptions::new().read(true).write(true).open(world.one.join("f")).unwrap();
    file.write_all(b"X").unwrap();
    world.witness.set("/f", b"other", None).unwrap();
    assert_eq!(errno(file.sync_all()), libc::ESTALE);
    drop(file);
    assert_eq!(world.witness.text("/f"), "other");
}

// > `fsync` and `sync FILE` wait for ZooKeeper's `sync`.
#[test]
fn fsync_is_a_sync() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    let chroot = server.chroot("fsync");
    let mount = rig::Mount::new(&proxy.instead_of(&chroot));
    let path = put(mount.join("f"), "x");
    let syncs = || proxy.requests().iter().filter(|request| request.op == rig::Op::Sync).count();
    let before = syncs();
    mount.bash("sync f").success();
    assert_eq!(syncs(), before + 1);
    File::open(&path).unwrap().sync_data().unwrap();
    assert_eq!(syncs(), before + 2);
    mount.bash("mkdir d; sync d .").success();
    assert_eq!(syncs(), before + 4);
}

// > A gap before a write is filled with zeros.
#[test]
fn gaps_are_zeros() {
    let world = World::new("gaps");
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(world.one.join("f")).unwrap();
    file.write_all_at(b"x", 5).unwrap();
    assert_eq!(world.witness.text("/f"), "\0\0\0\0\0x");
    file.set_len(8).unwrap();
    assert_eq!(world.witness.text("/f"), "\0\0\0\0\0x\0\0");
    file.set_len(2).unwrap();
    file.seek(SeekFrom::Start(3)).unwrap();
    file.write_all(b"y").unwrap();
    assert_eq!(world.witness.text("/f"), "\0\0\0y");
    world.run("printf abc > g; truncate -s 6 g; truncate -s 1 g; truncate -s +1 g; dd if=/dev/zero of=h bs=10 seek=10 count=1 status=none");
    assert_eq!((world.witness.text("/g"), world.witness.text("/h")), ("a\0".to_owned(), "\0".repeat(110)));
    world.run("fallocate -l 10 i; stat -c %s i");
}

#[test]
fn writers_in_one_file_through_one_mount_take_turns() {
    let world = World::new("turns");
    world.run("head -c 400 /dev/zero > f");
    let file = OpenOptions::new().write(true).open(world.one.join("f")).unwrap();
    std::thread::scope(|scope| {
        for n in 0..4_u8 {
            let file = &file;
            scope.spawn(move || (0..100).for_each(|at| file.write_all_at(&[b'a' + n], at * 4 + u64::from(n)).unwrap()));
        }
    });
    assert_eq!(world.witness.text("/f"), "abcd".repeat(100));
}

#[test]
fn other_ways_of_writing() {
    let world = World::new("other-ways");
    world.witness.create("/f", b"0123456789", Mode::Persistent).unwrap();
    let script = "import os, mmap
source = os.open('f', os.O_RDONLY)
target = os.open('copied', os.O_RDWR | os.O_CREAT)
assert os.copy_file_range(source, target, 100) == 10
r, w = os.pipe()
os.write(w, b'spliced')
target = os.open('spliced', os.O_WRONLY | os.O_CREAT)
assert os.splice(r, target, 100) == 7
target = os.open('direct', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
memory = mmap.mmap(-1, 4096)
memory[:6] = b'direct'
assert os.write(target, memory[:6]) == 6
target = os.open('vector', os.O_RDWR | os.O_CREAT)
assert os.writev(target, [b'ab', b'cd', b'ef']) == 6
assert os.pwritev(target, [b'X', b'Y'], 1) == 2
target = os.open('sent', os.O_RDWR | os.O_CREAT)
assert os.sendfile(target, source, 2, 5) == 5
os.posix_fallocate(os.open('reserved', os.O_RDWR | os.O_CREAT), 0, 10)
shared = os.open('f', os.O_RDWR)
try:
    mmap.mmap(shared, 10)
    print('mapped')
except OSError as e:
    print(e.errno)
";
    let output = world.one.script(Shell::Bash, "/usr/bin/python3 -c \"$1\"").arg(script).run().success();
    assert_eq!(output.text(), libc::ENODEV.to_string(), "a shared mapping could not be kept true, so there is none");
    for (name, text) in [
        ("copied", "0123456789"),
        ("spliced", "spliced"),
        ("direct", "direct"),
        ("vector", "aXYdef"),
        ("sent", "23456"),
        ("reserved", &"\0".repeat(10)),
    ] {
        assert_eq!(world.witness.text(&format!("/{name}")), text, "{name}");
        until("the other host reads it", || fs::read_to_string(world.two.join(name)).unwrap() == text);
    }
}

#[test]
fn a_redirection_never_shows_or_mixes_what_another_one_is_about_to_write() {
    let world = World::new("redirections");
    put(world.one.join("f"), "begin\n");
    // The kernel tells of a close late, so that the next truncation comes before it.
    let echo = |mount: &rig::Mount, name: &str| {
        let script = format!("for i in $(seq 100); do echo {name} $i of {name} > f; done");
        mount.script(Shell::Bash, &script).start()
    };
    let history = world.changes(|| {
        let jobs = [echo(&world.one, "a"), echo(&world.one, "long-name"), echo(&world.two, "other")];
        jobs.iter().for_each(|job| drop(job.wait().success()));
    });
    let values = sets(&history, "/f");
    assert_eq!(values.len(), 300);
    for value in values {
        let words: Vec<&str> = value.trim_end().split(' ').collect();
        assert!(words.len() == 4 && words[0] == words[3] && value.ends_with('\n'), "{value:?} is a mixture");
    }
}

#[test]
fn an_append_between_truncation_and_write_is_replaced() {
    let world = World::new("between");
    let file = put(world.one.join("f"), "old");
    let mut pending = OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    let idle = OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    world.run("echo appended >> f");
    assert_eq!(world.witness.text("/f"), "appended\n", "to a file that is empty here");
    drop(idle);
    world.run("cat f");
    assert_eq!(world.witness.text("/f"), "appended\n", "a truncation that was done is not done again");
    pending.write_all(b"new").unwrap();
    pending.write_all(b"er").unwrap();
    assert_eq!(world.witness.text("/f"), "newer", "the first write replaces");
}
