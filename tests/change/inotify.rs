//! Unmodified inotifywait on one mount, changes by other clients and other mounts.

use std::fs;

use zookeeper_client::{Acls, CreateMode};

use rig::{Mode, Mount, Witness, kazoo, shared_server, until};

use crate::helper::{Watch, directory, file, set};

fn mounted(name: &str) -> (Mount, Witness, String) {
    let connect = shared_server().chroot(name);
    let witness = Witness::connect(&connect);
    (Mount::new(&connect), witness, connect)
}

// > A new file is told with CREATE and CLOSE_WRITE, and with MODIFY in between when it was set since.
#[test]
fn a_directory_watch_is_told_each_change_once_and_in_order() {
    let (mount, witness, connect) = mounted("directory-watch");
    directory(&witness, "/d");
    let watch = Watch::on(&[&mount.join("d")]);
    // Each step waits for the one before to be told, so that nothing may be one with it.
    file(&witness, "/d/f", "1");
    watch.wait_for("CREATE f");
    set(&witness, "/d/f", "2");
    watch.wait_for("MODIFY f");
    kazoo(&connect, "zk.create('/d/sub')", &[]);
    watch.wait_for("CREATE,ISDIR sub");
    witness.delete("/d/f", None).unwrap();
    watch.wait_for("DELETE f");
    kazoo(&connect, "zk.delete('/d/sub')", &[]);
    watch.wait_for("DELETE,ISDIR sub");
    let told = watch.until_end(&witness, "/d");
    let expected = [
        "CREATE f",
        "CLOSE_WRITE,CLOSE f",
        "MODIFY f",
        "CLOSE_WRITE,CLOSE f",
        "CREATE,ISDIR sub",
        "DELETE f",
        "DELETE,ISDIR sub",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_another_mount_does_is_told_as_it_is_here() {
    let connect = shared_server().chroot("other-mount");
    let witness = Witness::connect(&connect);
    let (mount, other) = Mount::pair(&connect);
    directory(&witness, "/d");
    let watch = Watch::on(&[&mount.join("d")]);
    let step = |script: &str, last: &str| {
        other.bash(script).success();
        watch.wait_for(last);
    };
    step("touch d/empty", "CREATE empty");
    step("echo 1 > d/f", "MODIFY f");
    step("mkdir d/sub", "CREATE,ISDIR sub");
    step("echo 2 > d/.new.tmp", "MODIFY .new.tmp");
    // Atomic replacement: the target is set and the source deleted, in one transaction.
    step("mv d/.new.tmp d/f", "DELETE .new.tmp");
    step("mv d/f d/g", "DELETE f");
    step("rm d/empty", "DELETE empty");
    step("rmdir d/sub", "DELETE,ISDIR sub");
    let told = watch.until_end(&witness, "/d");
    let of = |name: &str| -> Vec<&str> {
        let name = format!(" {name}");
        told.iter()
            .filter_map(|line| line.strip_suffix(name.as_str()))
            .filter(|event| !event.starts_with("CLOSE"))
            .collect()
    };
    assert_eq!(of("empty"), ["CREATE", "DELETE"], "{told:?}");
    assert_eq!(of("f"), ["CREATE", "MODIFY", "MODIFY", "DELETE"], "{told:?}");
    assert_eq!(of(".new.tmp"), ["CREATE", "MODIFY", "DELETE"], "{told:?}");
    assert_eq!(of("g"), ["CREATE"], "{told:?}");
    assert_eq!(of("sub"), ["CREATE,ISDIR", "DELETE,ISDIR"], "{told:?}");
}

// > What another client changes is told to programs that watch with inotify as if it had been changed here: CREATE, MODIFY with CLOSE_WRITE, DELETE with DELETE_SELF.
#[test]
fn a_file_watch_is_told_of_its_file_until_that_is_gone() {
    let connect = shared_server().chroot("file-watch");
    let witness = Witness::connect(&connect);
    file(&witness, "/f", "1");
    let mount = Mount::new(&connect);
    let watch = Watch::on(&[&mount.join("f")]);
    set(&witness, "/f", "2");
    watch.wait_for("CLOSE_WRITE,CLOSE");
    assert_eq!(fs::read_to_string(mount.join("f")).unwrap(), "2");
    witness.delete("/f", None).unwrap();
    watch.wait_for("DELETE_SELF");
    let told: Vec<String> = watch.lines().into_iter().filter(|line| line != "ATTRIB").collect();
    assert_eq!(told, ["MODIFY", "CLOSE_WRITE,CLOSE", "DELETE_SELF"]);
}

// > Each change is told once, in its order, whatever the kernel knew of the name before.
#[test]
fn it_does_not_matter_what_the_kernel_knew_of_the_name() {
    let (mount, witness, _) = mounted("known-before");
    directory(&witness, "/d");
    let watch = Watch::on(&[&mount.join("d")]);
    // Not there, and asked for again and again.
    assert!((0..3).all(|_| !mount.join("d/missing").exists()));
    file(&witness, "/d/missing", "1");
    watch.wait_for("CREATE missing");
    // Looked up, read, listed and open.
    assert_eq!(fs::read_to_string(mount.join("d/missing")).unwrap(), "1");
    assert_eq!(fs::read_dir(mount.join("d")).unwrap().count(), 1);
    let open = fs::File::open(mount.join("d/missing")).unwrap();
    witness.delete("/d/missing", None).unwrap();
    watch.wait_for("DELETE missing");
    assert!(!mount.join("d/missing").exists());
    // Made anew: another incarnation, for which the old one was open all the time.
    file(&witness, "/d/missing", "2");
    until("the new one is there", || fs::read_to_string(mount.join("d/missing")).is_ok_and(|text| text == "2"));
    drop(open);
    let told = watch.until_end(&witness, "/d");
    let told: Vec<&str> = told.iter().map(String::as_str).filter(|line| !line.starts_with("CLOSE")).collect();
    assert_eq!(told, ["CREATE missing", "DELETE missing", "CREATE missing"]);
}

// > A znode that is deleted and made anew in one transaction is told as DELETE and CREATE.
#[test]
fn a_replacement_in_one_transaction_is_a_delete_and_a_create() {
    let (mount, witness, _) = mounted("replaced");
    directory(&witness, "/d");
    file(&witness, "/d/f", "old");
    let directory = Watch::on(&[&mount.join("d")]);
    let itself = Watch::on(&[&mount.join("d/f")]);
    let before = fs::metadata(mount.join("d/f")).unwrap();
    witness
        .multi(|multi| {
            multi.add_delete("/d/f", None)?;
            multi.add_create("/d/f", b"new", &CreateMode::Persistent.with_acls(Acls::anyone_all()))
        })
        .unwrap();
    directory.wait_for("CREATE f");
    itself.wait_for("DELETE_SELF");
    assert_eq!(fs::read_to_string(mount.join("d/f")).unwrap(), "new");
    use std::os::unix::fs::MetadataExt;
    assert_ne!(fs::metadata(mount.join("d/f")).unwrap().ino(), before.ino());
    let told = directory.until_end(&witness, "/d");
    assert_eq!(told.iter().filter(|line| *line == "DELETE f").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|line| *line == "CREATE f").count(), 1, "{told:?}");
}

// > A file that becomes a directory is told as DELETE and CREATE.
#[test]
fn a_file_that_becomes_a_directory_is_told_to_be_replaced() {
    let (mount, witness, _) = mounted("turned");
    directory(&witness, "/d");
    file(&witness, "/d/x", "data");
    let watch = Watch::on(&[&mount.join("d")]);
    assert!(mount.join("d/x").is_file());
    file(&witness, "/d/x/child", "1");
    watch.wait_for("CREATE,ISDIR x");
    assert!(mount.join("d/x").is_dir());
    // Whether the kernel was asked for it or not.
    file(&witness, "/d/y", "data");
    watch.wait_for("CREATE y");
    file(&witness, "/d/y/child", "1");
    watch.wait_for("CREATE,ISDIR y");
    let told = watch.until_end(&witness, "/d");
    let expected = ["DELETE x", "CREATE,ISDIR x", "CREATE y", "CLOSE_WRITE,CLOSE y", "DELETE y", "CREATE,ISDIR y"];
    assert_eq!(told, expected);
}

// > What this mount changes is told by the kernel, and not once more.
#[test]
fn own_changes_are_told_by_the_kernel_and_not_once_more() {
    let (mount, witness, _) = mounted("own");
    directory(&witness, "/d");
    let watch = Watch::on(&[&mount.join("d")]);
    mount
        .bash("cd d; echo 1 > f; echo 2 >> f; touch e; mkdir s; mv f g; ln g h; rm e; rmdir s; echo 3 > h; : > g; echo 4 > n; mv n h")
        .success();
    let told = watch.until_end(&witness, "/d");
    let count = |line: &str| told.iter().filter(|other| *other == line).count();
    for line in ["CREATE f", "CREATE e", "CREATE,ISDIR s", "CREATE h", "DELETE e", "DELETE,ISDIR s", "CREATE n"] {
        assert_eq!(count(line), 1, "{line} in {told:?}");
    }
    for line in ["DELETE f", "CREATE g", "DELETE n", "CREATE,ISDIR e"] {
        assert_eq!(count(line), 0, "{line} in {told:?}");
    }
    assert_eq!(count("MODIFY f"), 2, "{told:?}");
    assert_eq!(count("MODIFY h"), 1, "{told:?}");
    assert_eq!(witness.text("/d/h"), "4\n");
}

// > A read-only mount tells changes as well.
#[test]
fn a_read_only_mount_tells_as_well() {
    let connect = shared_server().chroot("read-only");
    let witness = Witness::connect(&connect);
    let mount = Mount::options(&connect).o("ro").mount();
    directory(&witness, "/d");
    let watch = Watch::on(&[&mount.join("d")]);
    file(&witness, "/d/f", "1");
    watch.wait_for("CREATE f");
    set(&witness, "/d/f", "2");
    watch.wait_for("MODIFY f");
    witness.delete("/d/f", None).unwrap();
    watch.wait_for("DELETE f");
    mount.bash("! touch d/own").success();
    assert!(!witness.exists("/d/own"));
}

// > Data set on a directory is told as MODIFY of `@data` in it.
#[test]
fn the_data_of_a_directory_is_a_file_in_it() {
    let (mount, witness, _) = mounted("directory-data");
    directory(&witness, "/d");
    file(&witness, "/d/child", "1");
    let inside = Watch::on(&[&mount.join("d")]);
    let itself = Watch::on(&[&mount.join("d/@data")]);
    set(&witness, "/d", "new");
    inside.wait_for("MODIFY @data");
    itself.wait_for("CLOSE_WRITE,CLOSE");
    assert_eq!(fs::read_to_string(mount.join("d/@data")).unwrap(), "new");
}

#[test]
fn names_are_told_as_they_are_listed() {
    let (mount, witness, _) = mounted("names");
    let watch = Watch::on(&[&mount.path()]);
    for name in ["a@e", "with space", "ünï", "x@stat", "user@host"] {
        file(&witness, &format!("/{name}"), "1");
    }
    watch.wait_for("CREATE user@host");
    for line in ["CREATE a@@e", "CREATE with space", "CREATE ünï", "CREATE x@@stat"] {
        assert!(watch.lines().iter().any(|other| other == line), "{line} in {:?}", watch.lines());
    }
    let listed = mount.bash("ls -A1").success();
    assert!(listed.lines().contains(&"a@@e"));
}

#[test]
fn ephemerals_that_end_with_their_session_are_told_to_be_gone() {
    let (mount, witness, connect) = mounted("ephemerals");
    directory(&witness, "/locks");
    let watch = Watch::on(&[&mount.join("locks")]);
    let holder = Witness::connect(&connect);
    holder.create("/locks/held", b"me", Mode::Ephemeral).unwrap();
    watch.wait_for("CREATE held");
    holder.close();
    watch.wait_for("DELETE held");
}

#[test]
fn a_storm_of_changes_ends_in_a_true_picture() {
    let (mount, witness, connect) = mounted("storm");
    directory(&witness, "/d");
    let watches: Vec<Watch> = (0..8).map(|_| Watch::for_events("create,delete", &[&mount.join("d")])).collect();
    // 3,000 changes as fast as one client makes them, with names that come and go and change their kind.
    kazoo(
        &connect,
        "
import random
from kazoo.exceptions import KazooException
random.seed(7)
pending = []
for n in range(3000):
    name = '/d/n%d' % random.randrange(60)
    what = random.randrange(5)
    if what < 2: pending.append(zk.create_async(name, b'' if random.random() < .3 else b'x'))
    elif what < 3: pending.append(zk.set_async(name, b'y%d' % n))
    else: pending.append(zk.delete_async(name))
for p in pending:
    try: p.get(timeout=30)
    except KazooException: pass
",
        &[],
    );
    let tree: Vec<String> = witness.children("/d").unwrap();
    for watch in &watches[1..] {
        // One end mark is for all of them.
        assert!(!watch.lines().contains(&"CREATE zz-end".to_owned()));
    }
    let first = watches[0].until_end(&witness, "/d");
    for watch in &watches {
        watch.wait_for("CREATE zz-end");
        let told: Vec<String> = watch.lines().into_iter().take_while(|line| line != "CREATE zz-end").collect();
        assert_eq!(told, first);
    }
    let mut believed = std::collections::BTreeMap::new();
    for line in &first {
        let (event, name) = line.split_once(' ').unwrap();
        if event.starts_with("CREATE") {
            believed.insert(name.to_owned(), event.contains("ISDIR"));
        } else {
            assert!(
                believed.remove(name).is_some(),
                "{name} was told to be gone and was not there: {told}",
                told = first.join(", ")
            );
        }
    }
    assert_eq!(believed.keys().cloned().collect::<Vec<_>>(), tree);
    for (name, is_dir) in believed {
        assert_eq!(mount.join("d").join(&name).is_dir(), is_dir, "{name}");
    }
}
