//! Two hosts, an independent client, and what there is to count.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rig::{Mode, Mount, Proxy, Server, Witness, shared_server};

/// Two mounts of one fresh tree, the second through a proxy that counts its requests, and a witness.
pub struct World {
    pub writer: Mount,
    pub reader: Mount,
    pub proxy: Proxy,
    pub witness: Witness,
    pub server: &'static Server,
    pub connect: String,
}

impl World {
    /// With a directory `d` that has been looked at.
    pub fn new(name: &str) -> World {
        let server = shared_server();
        let connect = server.chroot(name);
        let witness = Witness::connect(&connect);
        witness.create("/d", b"", Mode::Persistent).unwrap();
        let proxy = Proxy::to(server);
        let writer = Mount::new(&connect);
        let reader = Mount::new(&proxy.instead_of(&connect));
        World { writer, reader, proxy, witness, server, connect }
    }

    /// The path that is this world's root for the server.
    pub fn chroot(&self) -> &str {
        &self.connect[self.connect.find('/').expect("a chroot")..]
    }
}

/// So many, or ten times as many in the long form.
pub fn long(short: usize) -> usize {
    match std::env::var("COHERENCE") {
        Err(_) => short,
        Ok(form) if form == "full" => 10 * short,
        Ok(form) => panic!("COHERENCE is {form}, and can only be full"),
    }
}

/// The samples of `@metrics`, by name.
pub fn metrics(mount: &Mount) -> BTreeMap<String, f64> {
    let text = fs::read_to_string(mount.join("@metrics")).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(name, n)| (name.to_owned(), n.parse().unwrap())).collect()
}

/// A program's own watch of inotify(7) on a path.
pub struct Inotify(fs::File);

impl Inotify {
    /// For these events.
    #[track_caller]
    pub fn on(path: &Path, events: u32) -> Inotify {
        use std::os::fd::FromRawFd;
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
        unsafe {
            let descriptor = libc::inotify_init1(libc::IN_CLOEXEC);
            assert_ne!(descriptor, -1, "{}", io::Error::last_os_error());
            let watch = libc::inotify_add_watch(descriptor, name.as_ptr(), events);
            assert_ne!(watch, -1, "watching {}: {}", path.display(), io::Error::last_os_error());
            Inotify(fs::File::from_raw_fd(descriptor))
        }
    }

    /// Waits for events and takes all that there are.
    #[track_caller]
    pub fn wait(&mut self) {
        use std::io::Read;
        readable(&self.0);
        let count = self.0.read(&mut [0; 65536]).unwrap();
        assert!(count > 0);
    }
}

/// Waits until a descriptor can be read.
#[track_caller]
pub fn readable(file: &fs::File) {
    let mut poll = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let ready = unsafe { libc::poll(&mut poll, 1, 30_000) };
    assert_eq!(ready, 1, "nothing to read within 30 s");
}
