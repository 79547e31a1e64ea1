//! Two hosts, one ensemble, and somebody independent: what most tests here begin with.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rig::{Change, Mount, Output, Server, Transaction, Witness, shared_server};

/// Two mounts of one fresh tree, and a witness in it.
pub struct World {
    pub one: Mount,
    pub two: Mount,
    pub witness: Witness,
    connect: String,
    chroot: String,
    server: &'static Server,
}

impl World {
    /// With the usual options.
    pub fn new(name: &str) -> World {
        World::with(name, &[])
    }

    /// With mount options of both mounts.
    pub fn with(name: &str, options: &[&str]) -> World {
        let server = shared_server();
        let connect = server.chroot(name);
        let mount = || options.iter().fold(Mount::options(&connect), |mount, option| mount.o(option)).mount();
        let (one, two) = (mount(), mount());
        let chroot = connect[connect.find('/').expect("a chroot")..].to_owned();
        World { one, two, witness: Witness::connect(&connect), connect, chroot, server }
    }

    /// Its connect string.
    pub fn connect(&self) -> &str {
        &self.connect
    }

    /// What was done to this world's tree, in order, with paths as the mounts show them.
    pub fn history(&self) -> Vec<Transaction> {
        let mut all = self.server.history_below(&self.chroot);
        for transaction in &mut all {
            transaction.changes = transaction.changes.iter().map(|change| below(change, &self.chroot)).collect();
        }
        all
    }

    /// The transactions of an action, by whomever.
    pub fn transactions(&self, action: impl FnOnce()) -> Vec<Transaction> {
        let before = self.history().len();
        action();
        self.history().split_off(before)
    }

    /// The changes of an action.
    pub fn changes(&self, action: impl FnOnce()) -> Vec<Change> {
        self.transactions(action).into_iter().flat_map(|transaction| transaction.changes).collect()
    }

    /// Runs a bash script on the first mount, which must succeed, and gives its output without the last newline.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        self.one.bash(script).success().text().to_owned()
    }

    /// The same on the second mount, once that has heard of what was done before.
    #[track_caller]
    pub fn run2(&self, script: &str) -> String {
        hears(&self.two);
        self.two.bash(script).success().text().to_owned()
    }

    /// Runs a bash script on the first mount, which must fail with a message that ends in `reason`.
    #[track_caller]
    pub fn refuses(&self, script: &str, reason: &str) -> Output {
        let output = self.one.bash(script);
        assert_ne!(output.code(), 0, "{script} succeeded");
        assert!(output.stderr.contains(reason), "{script} says {:?}, not {reason}", output.stderr);
        output
    }
}

fn below(change: &Change, chroot: &str) -> Change {
    let cut = |path: &String| match path.strip_prefix(chroot).unwrap_or(path) {
        "" => "/".to_owned(),
        rest => rest.to_owned(),
    };
    let mut change = change.clone();
    match &mut change {
        Change::Create { path, .. }
        | Change::SetData { path, .. }
        | Change::SetAcl { path }
        | Change::Delete { path }
        | Change::Check { path } => *path = cut(path),
    }
    change
}

/// The errno of a failed call, by the name of the constant in libc.
#[track_caller]
pub fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.expect_err("it succeeded").raw_os_error().expect("an errno")
}

/// A path for libc.
pub fn c_path(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).expect("no zero byte in a path")
}

/// The outcome of a libc call that returns -1 for failure.
pub fn check(outcome: i32) -> io::Result<()> {
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// renameat2(2).
pub fn rename_with(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (c_path(from), c_path(to));
    check(unsafe { libc::renameat2(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), flags) })
}

/// An extended attribute as text.
pub fn xattr(path: &Path, name: &str) -> io::Result<String> {
    let (path, name) = (c_path(path), CString::new(name).expect("no zero byte"));
    let mut value = vec![0_u8; 4096];
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    if length == -1 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(length as usize);
    Ok(String::from_utf8(value).expect("text"))
}

/// Has a mount catch up with what others did: it may be some milliseconds behind.
#[track_caller]
pub fn hears(mount: &Mount) {
    fs::File::open(mount.path()).and_then(|root| root.sync_all()).expect("the mount's root can be synced");
}

/// The names in a directory, sorted, as they are on the server by now.
#[track_caller]
pub fn names(dir: impl AsRef<Path>) -> Vec<String> {
    fs::File::open(&dir).and_then(|dir| dir.sync_all()).expect("a directory");
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// A file's path with text in it, made with one write(2).
#[track_caller]
pub fn put(path: PathBuf, text: &str) -> PathBuf {
    fs::write(&path, text).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
    path
}

/// Unmounts and mounts again: a mount that knows nothing.
#[track_caller]
pub fn remount(mount: &Mount) {
    assert!(mount.unmount().success());
    mount.restart();
}
