//! Renaming and linking.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use rig::{Change, Mode, Transaction, until};

use crate::world::{World, errno, hears, names, put, rename_with};

/// The paths that exist after each transaction, of those in `watched`, beginning with `existing`.
fn states(history: &[Transaction], watched: &[&str], existing: &[&str]) -> Vec<Vec<String>> {
    let mut now: Vec<String> = existing.iter().map(|path| (*path).to_owned()).collect();
    let mut all = Vec::new();
    for transaction in history {
        for change in &transaction.changes {
            let path = change.path().to_owned();
            match change {
                _ if !watched.contains(&&*path) => {}
                Change::Create { .. } => now.push(path),
                Change::Delete { .. } => now.retain(|other| *other != path),
                _ => {}
            }
        }
        all.push(now.clone());
    }
    all
}

// > `mv a b` is one transaction: there is no moment at which both names exist, or neither.
#[test]
fn a_file_moves_in_one_transaction() {
    let world = World::new("mv");
    put(world.one.join("a"), "data");
    let history = world.transactions(|| {
        for _ in 0..10 {
            world.run("mv a b");
            world.run2("mv b a");
        }
    });
    assert_eq!(history.len(), 20, "{history:?}");
    let states = states(&history, &["/a", "/b"], &["/a"]);
    assert!(states.iter().all(|names| names.len() == 1), "{states:?}");
    assert_eq!(world.witness.text("/a"), "data");
    // The same seen by a client that looks all the time, with both names in one request.
    world.run("touch empty && mv empty moved && [ -f moved ]");
    assert_eq!(world.run2("ls -F"), "a\nmoved");
}

// > A file that is renamed onto another one replaces its value, and the target keeps its znode and its ACL.
#[test]
fn a_replaced_file_keeps_its_znode() {
    let world = World::new("replace");
    put(world.one.join("old"), "old");
    put(world.one.join("new"), "new");
    world.run("echo world:anyone:cdrw > old@acl");
    let before = world.witness.stat("/old").unwrap();
    let recorder = world.witness.record("/old");
    let history = world.transactions(|| drop(world.run("mv new old")));
    assert_eq!(history.len(), 1, "{history:?}");
    let (data, after) = world.witness.get("/old").unwrap();
    assert_eq!((data, after.czxid, after.version), (b"new".to_vec(), before.czxid, before.version + 1));
    assert_eq!(world.run("cat old@acl"), "world:anyone:cdrw");
    assert_eq!(recorder.kinds("/old"), [rig::Kind::Changed], "a watch on it sees one change and no deletion");
    assert!(!world.witness.exists("/new"));
    assert_eq!(world.run2("ls; cat old"), "old\nnew");
}

// > A directory is renamed with all that is in it, in one transaction.
#[test]
fn a_directory_moves_in_one_transaction() {
    let world = World::new("mv-dir");
    world.run("mkdir -p d/sub d/bare; for n in $(seq 50); do echo $n > d/f$n; done; echo x > d/sub/x; : > d/empty; echo data > d/bare/@data");
    let expected = world.run("cd d && find . -type f | sort | xargs md5sum; find . -type d | sort");
    let history = world.transactions(|| drop(world.run("mv d e")));
    assert_eq!(history.len(), 1, "{} transactions", history.len());
    let states = states(&history, &["/d", "/e"], &["/d"]);
    assert_eq!(states, [["/e"]]);
    let after = "find . -type f | sort | xargs md5sum; find . -type d | sort";
    assert_eq!(world.run2(&format!("cd e && {after}")), expected);
    assert_eq!(world.witness.text("/e/bare"), "data\n");
    world.run("mkdir target && mv -T e target && mv target d");
    assert_eq!(world.run2(&format!("cd d && {after}")), expected);
    world.run("mkdir full && touch full/x");
    assert_eq!(errno(fs::rename(world.one.join("d"), world.one.join("full"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::rename(world.one.join("d"), world.one.join("d/sub/d"))), libc::EINVAL);
    assert_eq!(errno(fs::rename(world.one.join("d"), world.one.join("full/x"))), libc::ENOTDIR);
    assert_eq!(errno(fs::rename(world.one.join("full/x"), world.one.join("d"))), libc::EISDIR);
    assert_eq!(errno(fs::rename(world.one.join("none"), world.one.join("d"))), libc::ENOENT);
}

#[test]
fn a_renamed_directory_is_used_at_once() {
    let world = World::new("mv-use");
    world.run("mkdir -p d/sub; echo x > d/f; ls -lR d >/dev/null; cat d/f");
    // The kernel has all of it at hand, by the old names.
    world.run("mv d e; echo new > e/new; echo sub > e/sub/new; cat e/f e/new; mkdir e/more; rm e/f; mv e/new e/newer");
    assert_eq!(world.run2("find . | sort"), ".\n./e\n./e/more\n./e/newer\n./e/sub\n./e/sub/new");
    // A process that works in it goes on with it.
    assert_eq!(
        world.run("cd e/sub; mv ../../e ../../g; cat new; echo x > y; ls; cd .. && ls"),
        "sub\nnew\ny\nmore\nnewer\nsub"
    );
    assert_eq!(world.witness.children("/").unwrap(), ["g"]);
    world.run("mkdir e; touch e/other; ls g; mv e h; mv g e; mv h g; ls e g; touch e/a g/b");
    assert_eq!(world.run2("ls e g"), "e:\na\nmore\nnewer\nsub\n\ng:\nb\nother");
    world.run2("mv e elsewhere");
    world.refuses("echo x > e/x; ls e/", "No such file");
}

// > A directory that does not fit one transaction is EXDEV, so that `mv` copies it.
#[test]
fn a_large_directory_is_copied() {
    let world = World::new("mv-large");
    world.run("mkdir d; for n in 1 2 3; do truncate -s 500000 d/$n; done");
    assert_eq!(errno(fs::rename(world.one.join("d"), world.one.join("e"))), libc::EXDEV);
    assert_eq!(names(world.two.join("d")), ["1", "2", "3"]);
    world.run("mv d e");
    assert_eq!(world.run2("ls; stat -c %s e/*"), "e\n500000\n500000\n500000");
}

// > `RENAME_NOREPLACE` and `RENAME_EXCHANGE` are one transaction as well.
#[test]
fn rename_flags() {
    let world = World::new("renameat2");
    let (a, b, d) = (put(world.one.join("a"), "A"), put(world.one.join("b"), "B"), world.one.join("d"));
    world.run("mkdir d; echo x > d/x");
    assert_eq!(errno(rename_with(&a, &b, libc::RENAME_NOREPLACE)), libc::EEXIST);
    let exchanged = world.transactions(|| rename_with(&a, &b, libc::RENAME_EXCHANGE).unwrap());
    assert_eq!(exchanged.len(), 1, "{exchanged:?}");
    assert_eq!(world.run2("cat a b"), "BA");
    assert_eq!(world.run("cat a b"), "BA");
    let moved = world.transactions(|| rename_with(&a, &world.one.join("c"), libc::RENAME_NOREPLACE).unwrap());
    assert_eq!((moved.len(), world.witness.text("/c")), (1, "B".to_owned()));
    rename_with(&d, &b, libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(world.run("cat b/x d; echo; echo y > b/y; rm b/y"), "x\nA");
    // The other mount may keep the old entries for a second.
    until("the other host sees it", || world.two.bash("cat b/x d").stdout == "x\nA");
    assert_eq!(errno(rename_with(&b, &world.one.join("none"), libc::RENAME_EXCHANGE)), libc::ENOENT);
    assert_eq!(errno(rename_with(&b, &world.one.join("none"), libc::RENAME_WHITEOUT)), libc::EINVAL);
}

// > An ephemeral of another session cannot be renamed: EPERM.
#[test]
fn an_ephemeral_of_another_session_stays() {
    let world = World::new("mv-ephemeral");
    world.run("echo x > lock@e; mkdir d");
    world.witness.create("/d/foreign", b"x", Mode::Ephemeral).unwrap();
    hears(&world.two);
    assert_eq!(errno(fs::rename(world.two.join("lock"), world.two.join("mine"))), libc::EPERM);
    assert_eq!(errno(fs::rename(world.one.join("d"), world.one.join("e"))), libc::EPERM);
    put(world.two.join("plain"), "x");
    assert_eq!(errno(fs::rename(world.two.join("lock"), world.two.join("plain"))), libc::EPERM);
    assert_eq!(
        errno(rename_with(&world.two.join("plain"), &world.two.join("lock"), libc::RENAME_EXCHANGE)),
        libc::EPERM
    );
    world.run("mv lock other");
    assert_ne!(world.witness.stat("/other").unwrap().ephemeral_owner, 0, "one's own stays an ephemeral");
}

// > `ln A B` makes B with A's content, exclusively: it is a copy.
#[test]
fn a_link_is_a_copy() {
    let world = World::new("ln");
    put(world.one.join("a"), "data");
    let history = world.transactions(|| drop(world.run("ln a b")));
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!(world.run2("cat b; stat -c %h a b"), "data1\n1");
    assert_eq!(errno(fs::hard_link(world.two.join("a"), world.two.join("b"))), libc::EEXIST);
    put(world.one.join("a"), "changed");
    assert_eq!(world.witness.text("/b"), "data");
    world.run("mkdir d; : > empty; ln empty d/empty; ln a d/a");
    assert_eq!(world.run2("ls -F d; cat d/a"), "a\nempty\nchanged");
    assert_eq!(errno(fs::hard_link(world.one.join("none"), world.one.join("c"))), libc::ENOENT);
    world.refuses("ln d e", "hard link not allowed for directory");
}

// > An open file follows a rename.
#[test]
fn an_open_file_follows() {
    let world = World::new("follow");
    put(world.one.join("a"), "one");
    let mut file = OpenOptions::new().read(true).write(true).open(world.one.join("a")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    fs::rename(world.one.join("a"), world.one.join("b")).unwrap();
    file.write_all(b" two").unwrap();
    assert_eq!(world.witness.text("/b"), "one two");
    // Never read before the rename, written to in pieces on both sides of it.
    let mut fresh = File::create(world.one.join("c")).unwrap();
    fresh.write_all(b"before").unwrap();
    world.run("mkdir d; mv c d/c; mv d e");
    fresh.write_all(b" after").unwrap();
    assert_eq!(world.witness.text("/e/c"), "before after");
    assert_eq!(fresh.metadata().unwrap().len(), 12);
    let mut log = OpenOptions::new().append(true).open(world.one.join("b")).unwrap();
    fs::rename(world.one.join("b"), world.one.join("b.1")).unwrap();
    log.write_all(b"!").unwrap();
    assert_eq!(world.witness.text("/b.1"), "one two!");
    // A truncation that was pending goes along.
    let mut pending = OpenOptions::new().write(true).truncate(true).open(world.one.join("b.1")).unwrap();
    fs::rename(world.one.join("b.1"), world.one.join("b.2")).unwrap();
    pending.write_all(b"new").unwrap();
    assert_eq!(world.witness.text("/b.2"), "new");
    assert_eq!(world.run("exec 3>g; echo 1 >&3; mv g h; echo 2 >&3; mv h g; echo 3 >&3; cat g"), "1\n2\n3");
}

#[test]
fn a_rename_hides_no_other_write_from_an_open_file() {
    let world = World::new("follow-stale");
    put(world.one.join("a"), "one");
    let file = OpenOptions::new().read(true).write(true).open(world.one.join("a")).unwrap();
    let mut start = [0; 3];
    file.read_exact_at(&mut start, 0).unwrap();
    // As many sets as bring the new znode to the version that the file was read at.
    world.run2("printf two > a");
    world.run2("cat a");
    until("the change is seen", || fs::read(world.one.join("a")).unwrap() == b"two");
    fs::rename(world.one.join("a"), world.one.join("b")).unwrap();
    let version = world.witness.stat("/b").unwrap().version;
    for _ in version..1 {
        world.witness.set("/b", b"two", None).unwrap();
    }
    assert_eq!(errno(file.write_all_at(b"X", 0)), libc::ESTALE);
    assert_eq!(world.witness.text("/b"), "two");
}

#[test]
fn a_file_that_was_replaced_is_read_by_who_has_it_open() {
    let world = World::new("mv-over");
    put(world.one.join("f"), "old");
    put(world.one.join("n"), "new");
    let mut file = File::open(world.one.join("f")).unwrap();
    fs::rename(world.one.join("n"), world.one.join("f")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert!(text == "old" || text == "new", "{text}");
    file.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(world.run("cat f"), "new");
    // Renames under load: who reads finds one of the whole values, always.
    let writer = world.two.script(
        rig::Shell::Bash,
        "n=0; while [ ! -e stop ]; do n=$((n + 1)); echo value $n of this file > tmp; mv tmp f; done",
    );
    put(world.one.join("f"), "value 0 of this file\n");
    let writer = writer.start();
    for _ in 0..200 {
        let text = fs::read_to_string(world.one.join("f")).unwrap();
        assert!(text.starts_with("value ") && text.ends_with(" of this file\n"), "{text:?}");
    }
    put(world.one.join("stop"), "");
    writer.wait().success();
}

#[test]
fn a_tree_that_others_change_moves_whole() {
    let world = World::new("mv-busy");
    world.run("mkdir -p d; for n in $(seq 20); do echo 0 > d/$n; done");
    // A rename wants a moment without a change.
    let script = "i=0; while [ ! -e stop ]; do
            i=$((i + 1))
            for t in d e; do { echo $i > $t/$((i % 20 + 1)); touch $t/new$i; } 2>/dev/null && echo new$i; done
            sleep 0.03
        done";
    let busy = world.two.script(rig::Shell::Bash, script).start();
    let place = || {
        let there = world.witness.children("/").unwrap();
        let mut places = there.into_iter().filter(|name| name == "d" || name == "e");
        (places.next().expect("one of them is there"), places.next())
    };
    for _ in 0..10 {
        let (from, other) = place();
        assert_eq!(other, None);
        let to = if from == "d" { "e" } else { "d" };
        match fs::rename(world.one.join(&from), world.one.join(to)) {
            Ok(()) => assert_eq!(place(), (to.to_owned(), None)),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{error}"),
        }
    }
    put(world.one.join("stop"), "");
    let made = busy.wait().success().stdout;
    let names = world.witness.children(&format!("/{}", place().0)).unwrap();
    for line in made.lines() {
        assert!(names.iter().any(|name| name == line), "{line} was made and is lost");
    }
}

#[test]
fn a_truncation_that_waits_is_not_for_another_file_of_that_name() {
    let world = World::new("stale-truncation");
    put(world.one.join("f"), "one");
    let open = OpenOptions::new().write(true).truncate(true).open(world.one.join("f")).unwrap();
    world.witness.delete("/f", None).unwrap();
    world.witness.create("/f", b"two", Mode::Persistent).unwrap();
    hears(&world.one);
    fs::rename(world.one.join("f"), world.one.join("g")).unwrap();
    assert_eq!(world.witness.text("/g"), "two");
    drop(open);
    hears(&world.one);
    assert_eq!(world.witness.text("/g"), "two");
}
