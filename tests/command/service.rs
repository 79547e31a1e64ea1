//! What systemd hears.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rig::{Mount, Proxy, Workdir, shared_server};

use crate::place::Place;

/// What is told until some text comes, with that text.
#[track_caller]
fn hear_until(socket: &UnixDatagram, text: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {text:?}: {error}; only {heard:?}"));
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        heard.extend(message.lines().map(str::to_owned));
        if message.contains(text) {
            return heard;
        }
    }
}

#[test]
fn readiness_status_and_end() {
    let workdir = Workdir::new("notify");
    let path = workdir.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let proxy = Proxy::to(shared_server());
    let ensemble = proxy.instead_of(&shared_server().chroot("notify"));
    // Not one of the rig's mounts, which listens for the readiness itself.
    let place = Place::new();
    let script = place.script("exec \"$3\" -f \"$2\" \"$1\"").arg(&ensemble).arg(Mount::binary());
    let daemon = script.env("NOTIFY_SOCKET", &path).start();
    let heard = hear_until(&socket, "STATUS=serving");
    assert_eq!(heard[0], "READY=1", "{heard:?}");
    proxy.down();
    hear_until(&socket, "STATUS=no connection");
    proxy.accept();
    hear_until(&socket, "STATUS=serving");
    daemon.signal_shell(libc::SIGTERM);
    daemon.wait().success();
    hear_until(&socket, "STOPPING=1");
}

#[test]
fn a_failure_is_the_status() {
    let workdir = Workdir::new("notify");
    let path = workdir.path().join("socket");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let script = rig::Shell::Bash.script("exec \"$1\" -f memory: /no/such/dir").arg(Mount::binary());
    script.env("NOTIFY_SOCKET", &path).run().exits(32);
    let heard = hear_until(&socket, "STATUS=");
    assert!(heard[0].contains("/no/such/dir does not exist"), "{heard:?}");
}
