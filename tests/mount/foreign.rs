//! Trees that another client made, and what it reads of what was written here.

use std::fs;

use rig::{Mount, Server, Witness, kazoo};

use crate::world::{World, names};

#[test]
fn a_tree_that_kazoo_made() {
    let world = World::new("kazoo");
    let script = "
zk.ensure_path('/app/config')
zk.create('/app/binary', bytes(range(256)) * 4)
zk.create('/app/ünïcödé-漢字', 'wért'.encode())
zk.create('/app/user@host', b'plain')
zk.create('/app/lock@e', b'escaped')
for n in range(3): zk.create('/app/job-', b'%d' % n, sequence=True)
zk.create('/app/ephemeral', b'x', ephemeral=True)
import subprocess
print(subprocess.run(['ls', '-F', sys.argv[1] + '/app'], capture_output=True, text=True, check=True).stdout)
";
    let root = world.one.path().display().to_string();
    let listed = kazoo(world.connect(), script, &[&root]);
    let mut listed: Vec<&str> = listed.lines().filter(|line| !line.is_empty()).collect();
    listed.sort_unstable();
    let mut expected = vec![
        "binary",
        "config/",
        "ephemeral",
        "job-0000000000",
        "job-0000000001",
        "job-0000000002",
        "lock@@e",
        "user@host",
        "ünïcödé-漢字",
    ];
    // The numbers count the children of the parent that came before.
    let jobs: Vec<&str> = listed.iter().copied().filter(|name| name.starts_with("job-")).collect();
    assert_eq!(jobs.len(), 3);
    expected.retain(|name| !name.starts_with("job-"));
    listed.retain(|name| !name.starts_with("job-"));
    assert_eq!(listed, expected);
    let at = |name: &str| world.one.join("app").join(name);
    assert_eq!(fs::read(at("binary")).unwrap(), (0..=255).cycle().take(1024).collect::<Vec<u8>>());
    assert_eq!(fs::read_to_string(at("ünïcödé-漢字")).unwrap(), "wért");
    assert_eq!(fs::read_to_string(at("lock@@e")).unwrap(), "escaped");
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(fs::read_to_string(at(job)).unwrap(), n.to_string());
    }
}

#[test]
fn kazoo_reads_what_was_written_byte_for_byte() {
    let world = World::new("kazoo-reads");
    let bytes: Vec<u8> = (0..70_000_u32).map(|n| (n * 31 % 256) as u8).collect();
    fs::write(world.one.join("binary"), &bytes).unwrap();
    world.run("mkdir -p a/b; printf 'no newline' > a/b/c; : > a/empty; echo 'ü 漢' > 'a/ü 漢'; echo x > a/lock@@e");
    let script = "
import hashlib
def walk(path):
    data, stat = zk.get(path)
    print(path, len(data), hashlib.sha256(data).hexdigest()[:8], sep='|')
    for child in sorted(zk.get_children(path)): walk((path + '/' + child).replace('//', '/'))
walk('/a')
import sys
assert zk.get('/binary')[0] == open(sys.argv[1], 'rb').read()
";
    let local = rig::Workdir::new("kazoo");
    let copy = local.path().join("copy");
    fs::write(&copy, &bytes).unwrap();
    let walked = kazoo(world.connect(), script, &[&copy.display().to_string()]);
    let sizes: Vec<String> = walked.lines().map(|line| line.rsplit_once('|').unwrap().0.to_owned()).collect();
    assert_eq!(sizes, ["/a|0", "/a/b|0", "/a/b/c|10", "/a/empty|0", "/a/lock@e|2", "/a/ü 漢|7"]);
}

#[test]
fn a_hundred_thousand_children() {
    // A server of its own: the others' histories should not have to read all this.
    let server = Server::boot();
    let connect = server.chroot("wide");
    let witness = Witness::connect(&connect);
    const COUNT: usize = 100_000;
    let name = |n: usize| format!("child-with-a-name-of-forty-bytes-{n:07}");
    witness.ensure("/d");
    witness.fill((0..COUNT).map(|n| (format!("/d/{}", name(n)), b"x".to_vec())));
    let mount = Mount::new(&connect);
    let listed = names(mount.join("d"));
    assert_eq!(listed.len(), COUNT);
    assert!(listed.iter().enumerate().all(|(n, listed)| *listed == name(n)));
    assert_eq!(mount.bash("find d -type f | wc -l").success().text(), COUNT.to_string());
}
