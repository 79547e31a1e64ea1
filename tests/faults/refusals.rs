//! Rights, credentials, quotas, disks and addresses that are taken away.

use std::fs;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::{Acl, AuthId, Mode, Mount, Permission, Proxy, Server, Shell, Witness, Workdir, until, until_within};

use crate::place::{Place, chroot, losses, until_state};

fn only(permission: Permission) -> [Acl; 1] {
    [Acl::new(permission, AuthId::anyone())]
}

#[test]
fn rights_that_are_taken_away_from_a_holder_are_reported() {
    let place = Place::with("rights", |options| options.o("session_timeout=4s").args(&["-v"]));
    place.mount.bash("touch f && mkdir d").success();
    let holder = place.mount.start(
        "exec 9<>f; flock 9; echo held; until [ -e d/go ]; do sleep 0.02; done; echo x >&9; echo tried; exec sleep 600",
        "held",
    );
    let other = Mount::new(&place.connect);
    // The file's: the write is refused, and nothing hangs.
    place.witness.set_acl("/f", &only(Permission::READ | Permission::ADMIN)).unwrap();
    place.witness.create("/d/go", b"x", Mode::Persistent).unwrap();
    until("the holder has tried", || holder.stdout().ends_with("tried\n"));
    assert!(holder.stderr().contains("Permission denied"), "{}", holder.stderr());
    assert_eq!(place.witness.text("/f"), "");
    // The queue's: the lock cannot be given back, which is said, and ends with the session.
    let but_delete = Permission::READ | Permission::WRITE | Permission::CREATE | Permission::ADMIN;
    place.witness.set_acl("/.f.lock", &only(but_delete)).unwrap();
    holder.kill9();
    until("the log says so", || place.mount.log().contains("a contender is left in a lock's queue"));
    other.bash("flock -w 1 -E 9 f true").exits(9);
    until("the log of the other one says so too", || other.log().contains("a contender is left in a lock's queue"));
    // The end of a session takes what nobody may delete. The other one's goes when it may be deleted.
    assert_eq!(place.witness.children("/.f.lock").unwrap().len(), 2);
    place.mount.end(libc::SIGTERM);
    assert_eq!(place.witness.children("/.f.lock").unwrap().len(), 1);
    place.witness.set_acl("/.f.lock", &only(Permission::ALL)).unwrap();
    until("it is gone", || place.witness.children("/.f.lock").unwrap().is_empty());
    other.bash("flock -n f true").success();
}

#[test]
fn credentials_that_are_refused_when_connecting_again_hang_nobody() {
    let files = Workdir::new("credentials");
    let jaas = files.path().join("jaas.conf");
    let users = |password: &str| {
        let text = "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_app=\"PASSWORD\"; };\n";
        fs::write(&jaas, text.replace("PASSWORD", password)).unwrap();
    };
    users("Sesame7");
    let server = Server::options()
        .set("authProvider.sasl", "org.apache.zookeeper.server.auth.SASLAuthenticationProvider")
        .java(&format!("-Djava.security.auth.login.config={}", jaas.display()))
        .boot();
    let secret = files.path().join("secret");
    fs::write(&secret, "app:Sesame7\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let options = Mount::options(&server.chroot("refused")).o(&format!("sasl={}", secret.display()));
    let mount = options.o("timeout=3s").o("session_timeout=100s").mount();
    mount.bash("echo x > f").success();
    server.stop();
    users("Parsley8");
    server.restart();
    until("it is said", || mount.log().contains("the server refuses the credentials"));
    let output = mount.bash("echo y > f");
    assert!(output.code() != 0 && output.stderr.contains("timed out"), "{output:?}");
    mount.bash("df . && cat @session").success();
    // Whoever puts that right need not touch the mount.
    server.stop();
    users("Sesame7");
    server.restart();
    until("it is of use again", || mount.bash("echo z > f").code() == 0);
}

#[test]
fn a_quota_is_an_error_that_is_not_tried_again() {
    let server = Server::options().set("enforceQuota", "true").boot();
    let connect = server.chroot("quota");
    let quota = format!("/zookeeper/quota{}", chroot(&connect));
    let witness = Witness::connect(&server.address());
    witness.ensure(&quota);
    let limits = b"count=-1,bytes=-1=;byteHardLimit=100;countHardLimit=4";
    witness.create(&format!("{quota}/zookeeper_limits"), limits, Mode::Persistent).unwrap();
    witness.create(&format!("{quota}/zookeeper_stats"), b"count=1,bytes=0", Mode::Persistent).unwrap();
    let proxy = Proxy::to(&server);
    let mount = Mount::options(&proxy.instead_of(&connect)).o("session_timeout=40s").mount();
    mount.bash("mkdir d && echo some > f").success();
    for script in ["head -c 200 /dev/zero > f", "mkdir a b c", "for n in 1 2 3 4; do echo x > n$n || exit 1; done"] {
        let (requests, output) = proxy.requests_of(|| mount.bash(script));
        assert!(output.code() != 0 && output.stderr.contains("Disk quota exceeded"), "{script}: {output:?}");
        let writes = requests.iter().filter(|request| request.op.is_write()).count();
        assert!(writes <= 8, "{script}: {writes} writes");
    }
    assert_eq!(Witness::connect(&connect).text("/f"), "some\n");
}

/// A small file system in memory, unmounted when it goes.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    fn mount(&self, options: &str) {
        let script = "exec mount -t tmpfs -o \"$2\" none \"$1\"";
        Shell::Bash.script(script).arg(self.0).arg(options).run().success();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        Shell::Bash.script("exec umount -l \"$1\"").arg(self.0).run();
    }
}

#[test]
fn a_server_whose_disk_is_full_loses_nothing_and_hangs_nobody() {
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("NOT TESTED: a small disk takes root");
        return;
    }
    let place = Workdir::new("disk");
    let disk = Disk(place.path());
    disk.mount("size=3m");
    let server = Server::options().set("dataDir", place.path().to_str().unwrap()).boot();
    let connect = server.chroot("full");
    let proxy = Proxy::to(&server);
    let mount = Mount::options(&proxy.instead_of(&connect)).o("session_timeout=100s").o("timeout=3s").mount();
    let script = "for n in $(seq 100); do head -c 100000 /dev/zero | dd of=f$n bs=100000 iflag=fullblock status=none || exit 1; echo $n; done";
    let output = mount.bash(script);
    assert!(output.code() != 0, "the disk is not full: {output:?}");
    let acknowledged = output.stdout.clone();
    assert!(acknowledged.lines().count() > 5, "{output:?}");
    let message = ["timed out", "Input/output error"].iter().any(|message| output.stderr.contains(message));
    assert!(message, "{output:?}");
    let (before, began) = (proxy.counts().connections, Instant::now());
    let output = mount.bash("echo x > more");
    assert!(output.stderr.contains("timed out"), "{output:?}");
    let rate = (proxy.counts().connections - before) as f64 / began.elapsed().as_secs_f64();
    assert!(rate < 10.0, "{rate} connections a second");
    // More room, and a server that was started again.
    disk.mount("remount,size=64m");
    if server.is_running() {
        server.kill9();
    }
    server.restart();
    until("it is of use again", || mount.bash("echo x > more").code() == 0);
    let witness = Witness::connect(&connect);
    for name in acknowledged.lines() {
        assert_eq!(witness.get(&format!("/f{name}")).unwrap().0.len(), 100_000, "f{name} was acknowledged");
    }
}

#[test]
fn servers_that_are_all_dead_are_asked_again_with_pauses() {
    let place = Place::new("dead");
    place.mount.bash("echo x > f").success();
    let address = place.proxy.address();
    place.proxy.down();
    until_state(&place.mount, "suspended");
    // Whoever answers there now hangs up at once.
    let listener = TcpListener::bind(&address).expect("the proxy has left its port");
    let began = Instant::now();
    for _ in 0..8 {
        drop(listener.accept().expect("it tries again"));
    }
    // Each pause is longer than the one before, up to a second. A busy machine only makes them longer.
    assert!(began.elapsed() > Duration::from_secs(2), "8 attempts in {:?}", began.elapsed());
    // A program that another test is just starting has a copy for a moment, which would keep the port taken.
    unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
    drop(listener);
    place.proxy.accept();
    until_within(Duration::from_secs(15), "it is back", || place.mount.bash("cat f").code() == 0);
    assert_eq!(losses(&place.mount), 0);
}
