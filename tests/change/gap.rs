//! Interruptions: what changed while nobody announced it is told afterwards, and the watch goes on.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rig::{Ensemble, Mount, Proxy, Witness, kazoo, shared_server, until};

use crate::helper::{END, Watch, believed, directory, file, set};

/// A mount whose wire can be cut, and a witness whose wire is another one.
fn wired(name: &str) -> (Mount, Proxy, Witness, String) {
    let server = shared_server();
    let connect = server.chroot(name);
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    let proxy = Proxy::to(server);
    let mount = Mount::options(&proxy.instead_of(&connect)).args(&["--session-timeout", "20s"]).mount();
    (mount, proxy, witness, connect)
}

pub fn until_suspended(mount: &Mount) {
    until("the mount knows that it has no connection", || {
        fs::read_to_string(mount.join("@session")).is_ok_and(|text| text.contains("live=false"))
    });
}

pub fn until_live(mount: &Mount) {
    until("changes are announced", || {
        fs::read_to_string(mount.join("@session")).is_ok_and(|text| text.contains("live=true"))
    });
}

// > What changed while there was no connection is told after it, as the difference.
#[test]
fn what_changed_during_an_interruption_is_told_after_it() {
    let (mount, proxy, witness, _) = wired("interruption");
    for name in ["listed", "seen", "set-listed", "set-seen", "replaced", "untouched"] {
        file(&witness, &format!("/d/{name}"), "1");
    }
    directory(&witness, "/d/sub");
    // Some are only known by a listing, others were looked at.
    mount.bash("cat d/seen d/set-seen d/replaced d/untouched; printf '%s\\n' d/* >/dev/null").success();
    let watch = Watch::on(&[&mount.join("d")]);
    let itself = Watch::on(&[&mount.join("d/seen")]);
    proxy.down();
    until_suspended(&mount);
    file(&witness, "/d/new", "1");
    directory(&witness, "/d/newdir");
    file(&witness, "/d/newdir/inside", "1");
    file(&witness, "/d/came-and-went", "1");
    witness.delete("/d/came-and-went", None).unwrap();
    witness.delete("/d/listed", None).unwrap();
    witness.delete("/d/seen", None).unwrap();
    witness.delete("/d/sub", None).unwrap();
    set(&witness, "/d/set-listed", "2");
    set(&witness, "/d/set-seen", "2");
    witness.delete("/d/replaced", None).unwrap();
    file(&witness, "/d/replaced", "2");
    proxy.accept();
    until_live(&mount);
    itself.wait_for("DELETE_SELF");
    // In the comparison of a directory the last name is the last to be told.
    let mut told: Vec<String> = watch.until_end(&witness, "/d");
    told.retain(|line| !line.starts_with("CLOSE"));
    told.sort();
    let expected = [
        "CREATE new",
        "CREATE replaced",
        "CREATE,ISDIR newdir",
        "DELETE listed",
        "DELETE replaced",
        "DELETE seen",
        "DELETE,ISDIR sub",
        "MODIFY set-listed",
        "MODIFY set-seen",
    ];
    assert_eq!(told, expected);
    assert_eq!(fs::read_to_string(mount.join("d/replaced")).unwrap(), "2");
    // Watching goes on.
    set(&witness, "/d/untouched", "2");
    watch.wait_for("MODIFY untouched");
}

#[test]
fn nothing_is_told_when_nothing_changed() {
    let (mount, proxy, witness, _) = wired("nothing");
    file(&witness, "/d/f", "1");
    directory(&witness, "/d/sub");
    mount
        .bash("ls -lR; cat d/f; echo own > d/own; mkdir d/owndir; echo x > d/gone; rm d/gone; mv d/own d/moved")
        .success();
    let watch = Watch::on(&[&mount.path(), &mount.join("d"), &mount.join("d/f"), &mount.join("d/sub")]);
    for _ in 0..3 {
        proxy.down();
        until_suspended(&mount);
        proxy.accept();
        until_live(&mount);
    }
    assert_eq!(watch.until_end(&witness, "/d"), Vec::<String>::new());
}

#[test]
fn cuts_never_leave_a_false_picture() {
    let (mount, proxy, witness, connect) = wired("cuts");
    for n in 0..20 {
        file(&witness, &format!("/d/n{n}"), "1");
    }
    let watch = Watch::for_events("create,delete", &[&mount.join("d")]);
    let before: BTreeSet<String> =
        fs::read_dir(mount.join("d")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let script = "
import random
from kazoo.exceptions import KazooException
random.seed(int(sys.argv[1]))
for n in range(1500):
    name = '/d/n%d' % random.randrange(40)
    try:
        if random.random() < .5: zk.create(name, b'x')
        else: zk.delete(name)
    except KazooException: pass
";
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| kazoo(&connect, script, &["5"]));
        let mut cuts = 0;
        while !writer.is_finished() {
            cuts += proxy.cut();
            until_live(&mount);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(cuts > 5, "{cuts} cuts are too few to show anything");
    });
    until_live(&mount);
    let told = watch.until_end(&witness, "/d");
    let tree: BTreeSet<String> = witness.children("/d").unwrap().into_iter().filter(|name| name != END).collect();
    assert_eq!(believed(before, &told), tree, "{told:?}");
}

// > A lost session's ephemerals are told to be gone.
#[test]
fn a_lost_session_takes_its_ephemerals_from_those_who_watch() {
    let (mount, proxy, witness, _) = wired("lost");
    mount.bash("echo me > d/lock@e").success();
    let watch = Watch::on(&[&mount.join("d")]);
    let itself = Watch::on(&[&mount.join("d/lock")]);
    proxy.expire_sessions();
    watch.wait_for("DELETE lock");
    itself.wait_for("DELETE_SELF");
    file(&witness, "/d/after", "1");
    watch.wait_for("CREATE after");
    assert!(!mount.join("d/lock").exists());
}

#[test]
fn the_watch_outlives_the_leader() {
    let ensemble = Ensemble::boot();
    let connect = ensemble.chroot("leader");
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    let mount = Mount::options(&connect).args(&["--session-timeout", "20s"]).mount();
    let watch = Watch::on(&[&mount.join("d")]);
    file(&witness, "/d/before", "1");
    watch.wait_for("CREATE before");
    ensemble.leader().kill9();
    ensemble.leader();
    let other = Witness::connect(&connect);
    file(&other, "/d/after", "1");
    watch.wait_for("CREATE after");
    until_live(&mount);
    set(&other, "/d/after", "2");
    watch.wait_for("MODIFY after");
    assert_eq!(fs::read_to_string(mount.join("d/after")).unwrap(), "2");
}
