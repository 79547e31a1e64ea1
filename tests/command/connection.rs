//! Ensembles that cannot be reached, or have not what is wanted.

use std::fs;
use std::net::TcpListener;

use rig::{Op, Port, Proxy, Witness, shared_server};

use crate::place::{Place, refuses};

#[test]
fn an_unknown_host_is_named() {
    let place = Place::new();
    let output = place.zkmount(&["-o", "timeout=2s", "no-such-host.invalid:2181"]);
    refuses(output, 32, &["no-such-host.invalid", "unknown host"]);
    assert!(place.mounted().is_empty());
}

#[test]
fn a_port_where_nothing_listens_is_named() {
    let place = Place::new();
    let port = Port::claim();
    let server = format!("127.0.0.1:{}", port.number());
    refuses(place.zkmount(&["-o", "timeout=2s", &server]), 32, &[&server, "nothing listens"]);
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    refuses(place.zkmount(&["-o", "timeout=1s", &server]), 32, &[&server, "does not serve"]);
}

#[test]
fn one_server_of_several_is_enough() {
    let place = Place::new();
    let dead = Port::claim();
    let ensemble = shared_server().chroot("several");
    let ensemble = format!("127.0.0.1:{},{ensemble}", dead.number());
    place.zkmount(&[&ensemble]).success();
    assert_eq!(place.mounted(), [("fuse.zkmount".to_owned(), ensemble)]);
}

#[test]
fn a_chroot_is_made_only_on_request() {
    let place = Place::new();
    let ensemble = format!("{}/deep/er", shared_server().chroot("chroot"));
    let chroot = &ensemble[ensemble.find('/').unwrap()..];
    let witness = Witness::connect(&shared_server().address());
    refuses(place.zkmount(&[&ensemble]), 32, &["/deep/er does not exist", "--create-chroot"]);
    refuses(place.zkmount(&["-o", "ro", &ensemble]), 32, &["/deep/er does not exist"]);
    assert!(!witness.exists(chroot));
    place.zkmount(&["--create-chroot", &ensemble]).success();
    assert!(witness.exists(chroot));
    fs::create_dir(place.path().join("dir")).unwrap();
    assert!(witness.exists(&format!("{chroot}/dir")));
}

#[test]
fn looking_around_creates_nothing() {
    let place = Place::new();
    let ensemble = shared_server().chroot("ro");
    let proxy = Proxy::to(shared_server());
    place.zkmount(&["-o", "ro", &proxy.instead_of(&ensemble)]).success();
    assert_eq!(fs::create_dir(place.path().join("dir")).unwrap_err().raw_os_error(), Some(libc::EROFS));
    let chroot = &ensemble[ensemble.find('/').unwrap()..];
    assert!(Witness::connect(&shared_server().address()).children(chroot).unwrap().is_empty());
}

#[test]
fn a_secret_shows_nowhere() {
    let place = Place::new();
    let (secret, log) = (place.beside("secret"), place.beside("log"));
    fs::write(&secret, "app:Sesame7\n").unwrap();
    let (credentials, log_file) = (format!("credentials={}", secret.display()), log.display().to_string());
    let ensemble = shared_server().chroot("secret");
    let arguments = ["-vv", "--log-file", &log_file, "-o", &credentials, "-o", "acl=creator", &ensemble];
    refuses(place.zkmount(&arguments), 1, &["chmod 600"]);
    place.script("chmod 600 secret").run().success();
    place.zkmount(&arguments).success();
    fs::create_dir(place.path().join("dir")).unwrap();
    let chroot = &ensemble[ensemble.find('/').unwrap()..];
    let path = format!("{chroot}/dir");
    let stranger = Witness::connect(&shared_server().address());
    assert!(stranger.get(&path).is_err(), "a stranger reads what only its creator may read");
    let friend = Witness::options(&shared_server().address()).auth("digest", "app:Sesame7").connect();
    assert!(friend.get(&path).is_ok());
    let daemon = place.daemon().unwrap();
    for file in [format!("/proc/{daemon}/cmdline"), format!("/proc/{daemon}/environ"), log_file.clone()] {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains("Sesame7"), "{file} has the secret");
    }
    assert!(!fs::read_to_string(&log).unwrap().is_empty());
}

#[test]
fn a_connection_that_fails_at_once_is_not_the_last() {
    let place = Place::new();
    let ensemble = shared_server().chroot("again");
    let proxy = Proxy::to(shared_server());
    for op in [Op::Sync, Op::Exists, Op::AddWatch] {
        let trap = proxy.trap().op(op).lose_reply();
        place.zkmount(&[&proxy.instead_of(&ensemble)]).success();
        assert!(trap.sprung(), "{op:?} was not asked for");
        place.script("fusermount3 -u \"$1\"").run().success();
        place.until_no_daemon();
    }
}
