//! Containers, znodes that end in time, and what ephemerals cannot be.

use std::fs::{self, File};
use std::time::Duration;

use rig::{Mode, Server, until};

use crate::place::{Place, fails, write};

#[test]
fn containers_and_times_to_live() {
    // > `mkdir NAME@c` makes a container, `NAME@t=30s` a znode that ends in time.
    let place = Place::new("ends");
    let [one, two] = place.pair();
    let witness = &place.witness;
    // What ends shows in the owner that the server gives it.
    witness.create("/container", b"", Mode::Container).unwrap();
    witness.create("/ttl", b"", Mode::Ttl(Duration::from_secs(30))).unwrap();
    let owner = |path: &str| witness.stat(path).unwrap_or_else(|| panic!("{path} is missing")).ephemeral_owner;
    fs::create_dir(one.join("pool@c")).unwrap();
    fs::create_dir(one.join("dir@t=30s")).unwrap();
    one.bash("echo x > file@t=30s; touch empty@t=30s; cp file copy@t=30s; echo y > tmp; mv tmp moved@t=30s; ln file linked@t=30s").success();
    assert_eq!(owner("/pool"), owner("/container"));
    for path in ["/dir", "/file", "/empty", "/copy", "/moved", "/linked"] {
        assert_eq!(owner(path), owner("/ttl"), "{path}");
        assert_eq!(fs::metadata(two.join(&path[1..])).unwrap().is_dir(), path == "/dir", "{path}");
    }
    write(two.join("pool/child@e"), "children");
    assert_eq!(owner("/pool"), owner("/container"));
    // A container or a time to live is a directory's; a file has no children to wait for.
    fails(File::create(one.join("f@c")), libc::EPERM);
    write(one.join("g"), "x");
    fails(fs::rename(one.join("g"), one.join("h@c")), libc::EPERM);
    for malformed in ["x@t=", "x@t=0s", "x@t=soon", "x@t=5"] {
        fails(File::create(one.join(malformed)), libc::EINVAL);
    }
}

#[test]
fn a_server_without_extended_types() {
    // > A TTL on a server without extended types is EOPNOTSUPP, with a line in the log.
    let server = Server::options().java("-Dzookeeper.extendedTypesEnabled=false").boot();
    let place = Place::on(&server, "plain");
    let mount = place.mount();
    write(mount.join("tmp"), "x");
    fails(File::create(mount.join("file@t=30s")), libc::EOPNOTSUPP);
    fails(fs::create_dir(mount.join("dir@t=30s")), libc::EOPNOTSUPP);
    fails(fs::hard_link(mount.join("tmp"), mount.join("ln@t=30s")), libc::EOPNOTSUPP);
    fails(fs::rename(mount.join("tmp"), mount.join("mv@t=30s")), libc::EOPNOTSUPP);
    let output = mount.bash("echo x > file@t=30s");
    assert_ne!(output.code(), 0);
    assert!(output.stderr.contains("not supported"), "{}", output.stderr);
    assert_eq!(place.names("/"), ["tmp"]);
    until("the log says why", || mount.log().contains("zookeeper.extendedTypesEnabled"));
    fs::create_dir(mount.join("pool@c")).unwrap();
}

#[test]
fn ephemerals_have_no_children() {
    // > `mkdir NAME@e` is EPERM, and so is a child of an ephemeral.
    let place = Place::new("childless");
    let mount = place.mount();
    for name in ["x@e", "x@h", "x@es", "x@hs:t"] {
        fails(fs::create_dir(mount.join(name)), libc::EPERM);
        assert_ne!(mount.bash(&format!("mkdir {name}")).code(), 0);
    }
    write(mount.join("lock@e"), "x");
    fails(fs::create_dir(mount.join("lock@dir/child")), libc::EPERM);
    for child in ["child", "child@e", "child-@s", "child-@es:t"] {
        fails(File::create(mount.join("lock@dir").join(child)), libc::EPERM);
        fails(File::create(mount.join("lock").join(child)), libc::ENOTDIR);
    }
    write(mount.join("tmp"), "x");
    fails(fs::rename(mount.join("tmp"), mount.join("lock@dir/child")), libc::EPERM);
    assert_eq!(place.names("/"), ["lock", "tmp"]);
}

#[test]
fn the_sticky_bit_tells_ephemerals() {
    let place = Place::new("sticky");
    let [one, two] = place.pair();
    let script =
        "mkdir -p a/b; echo x > plain; echo x > a/plain; echo x > lock@e; echo x > a/b/n-@es; exec 9> a/held@h;
        find . -perm -1000 | sort; ls -l lock plain a/b | cut -c 1-10";
    let ephemerals = "./a/b/n-0000000000\n./a/held\n./lock\n";
    let modes = "-rw-r--r-T\n-rw-r--r--\n\na/b:\ntotal 1\n-rw-r--r-T\n";
    let output = one.bash(script).success();
    assert_eq!(output.stdout, format!("{ephemerals}{modes}"));
    place.witness.until_gone("/a/held");
    let found = two.bash("find . -perm -1000 | sort").success();
    assert_eq!(found.stdout, ephemerals.replace("./a/held\n", ""));
    let by_others = two.bash("find . -type f ! -perm -1000 | sort").success();
    assert_eq!(by_others.lines(), ["./a/plain", "./plain"]);
}

#[test]
fn sequential_directories() {
    let place = Place::new("directories");
    let [one, two] = place.pair();
    one.bash("mkdir run-@s && mkdir run-@s:mine && touch 'run-@s:mine/log'").success();
    two.bash("mkdir run-@s").success();
    assert_eq!(place.names("/"), ["run-0000000000", "run-0000000001", "run-0000000002"]);
    assert_eq!(place.names("/run-0000000001"), ["log"]);
    for mount in [&one, &two] {
        for name in place.names("/") {
            assert!(fs::metadata(mount.join(name)).unwrap().is_dir());
        }
    }
    // Several at the same time get each their own.
    let script = "for n in 1 2 3 4 5; do mkdir run-@s || exit 1; done";
    let jobs = [&one, &two, &one, &two].map(|mount| mount.script(rig::Shell::Bash, script).start());
    jobs.iter().for_each(|job| drop(job.wait().success()));
    assert_eq!(place.names("/").len(), 23);
}
