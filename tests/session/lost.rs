//! What is left when the session is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use rig::{Mode, Mount, MountOptions, Proxy, Witness, shared_server, until};

use crate::errno::errno;

/// A mount through a proxy, and a witness who sees the same tree.
fn mounted(name: &str, options: impl FnOnce(MountOptions) -> MountOptions) -> (Proxy, Mount, Witness) {
    let proxy = Proxy::to(shared_server());
    let connect = shared_server().chroot(name);
    let mount = options(Mount::options(&proxy.instead_of(&connect))).mount();
    (proxy, mount, Witness::connect(&connect))
}

/// Waits until the mount has this many sessions behind it and another one.
fn until_renewed(mount: &Mount, losses: u32) {
    let wanted = format!("\nincarnation={}\n", losses + 1);
    let renewed = |text: String| text.contains(&wanted) && text.starts_with("state=connected\n");
    until("there is a new session", || renewed(session_text(mount)));
}

fn session_text(mount: &Mount) -> String {
    fs::read_to_string(mount.join("@session")).unwrap()
}

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// The outcome of a system call that gives a number.
fn outcome(result: isize) -> std::io::Result<isize> {
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(result) }
}

/// copy_file_range(2) of some bytes.
fn copy(from: &File, to: &File) -> std::io::Result<isize> {
    let null = std::ptr::null_mut();
    // SAFETY: the descriptors are open, and no offsets are given.
    outcome(unsafe { libc::copy_file_range(from.as_raw_fd(), null, to.as_raw_fd(), null, 4, 0) })
}

#[test]
fn an_open_ephemeral_fails_in_every_way() {
    // > An open file that is an ephemeral of a lost session is dead: reading, writing, truncating, copying to it and fsync are EIO.
    let (proxy, mount, witness) = mounted("dead", |options| options);
    mount.bash("echo mine > lock@e && echo other > file").success();
    let (mut lock, mut file) = (open(&mount.join("lock")), open(&mount.join("file")));
    let mut text = String::new();
    lock.read_to_string(&mut text).unwrap();
    assert_eq!(text, "mine\n");
    proxy.expire_sessions();
    until_renewed(&mount, 1);
    lock.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(errno(lock.read(&mut [0; 10])), libc::EIO);
    assert_eq!(errno(lock.write(b"again\n")), libc::EIO);
    assert_eq!(errno(lock.set_len(0)), libc::EIO);
    assert_eq!(errno(lock.set_len(3)), libc::EIO);
    assert_eq!(errno(lock.sync_all()), libc::EIO);
    assert_eq!(errno(copy(&file, &lock)), libc::EIO);
    // > fstat(2) and fgetxattr(2) on it are ESTALE.
    assert_eq!(errno(lock.metadata()), libc::ESTALE);
    let mut value = [0; 100];
    let name = c"user.zk.path";
    // SAFETY: a descriptor that is open, a C string, and a buffer of the length that is said.
    let got = unsafe { libc::fgetxattr(lock.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    assert_eq!(errno(outcome(got)), libc::ESTALE);
    // > Its name is free for whoever comes, and nothing of it is made again.
    assert!(!witness.exists("/lock"));
    assert_eq!(errno(fs::metadata(mount.join("lock"))), libc::ENOENT);
    // What is persistent goes on.
    file.seek(SeekFrom::Start(0)).unwrap();
    file.write_all(b"goes on").unwrap();
    assert_eq!(witness.text("/file"), "goes on");
}

#[test]
fn a_dead_file_does_not_touch_its_successor() {
    // > A write through it never reaches a znode of the same name that somebody else has made since.
    let (proxy, mount, witness) = mounted("successor", |options| options.o("timeout=25s"));
    let mut made = OpenOptions::new().write(true).create_new(true).open(mount.join("made@e")).unwrap();
    mount.bash("echo mine > old@e").success();
    let mut truncated = OpenOptions::new().write(true).truncate(true).open(mount.join("old")).unwrap();
    // The server has ended the session, and the mount does not know.
    proxy.expire_sessions_unseen();
    until("the mount is suspended", || session_text(&mount).starts_with("state=suspended\n"));
    for name in ["/made", "/old"] {
        witness.create(name, b"theirs", Mode::Persistent).unwrap();
    }
    let lost = std::thread::scope(|scope| {
        let (made, truncated) = (&mut made, &mut truncated);
        let writes = [scope.spawn(|| errno(made.write(b"x"))), scope.spawn(|| errno(truncated.write(b"x")))];
        let waiting =
            || fs::read_to_string(mount.join("@metrics")).unwrap().contains("\nzkmount_operations_waiting 2\n");
        until("both wait for the connection", waiting);
        proxy.accept();
        writes.map(|write| write.join().unwrap())
    });
    assert_eq!(lost, [libc::EIO; 2]);
    until_renewed(&mount, 1);
    for name in ["/made", "/old"] {
        let (data, stat) = witness.get(name).unwrap();
        assert_eq!((data.as_slice(), stat.version), (&b"theirs"[..], 0), "{name}");
    }
    drop((made, truncated));
    assert_eq!(witness.text("/old"), "theirs");
}
