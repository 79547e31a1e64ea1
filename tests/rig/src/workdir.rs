use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};

use crate::process::kill_descendants;

const PREFIX: &str = "zkmount-rig.";

/// Free space that /dev/shm must have to be used: containers often give it 64 MiB only.
const ROOM: u64 = 1 << 30;

static LIVE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A directory of this process's own, in memory where there is room, removed on drop, at exit, or by the next test process.
#[derive(Debug)]
pub struct Workdir {
    path: PathBuf,
}

impl Workdir {
    /// Makes a directory; `what` shows in its name.
    pub fn new(what: &str) -> Workdir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        prepare();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = base().join(format!("{PREFIX}{}.{number}.{what}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        LIVE.lock().unwrap().insert(path.clone());
        Workdir { path }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        LIVE.lock().unwrap().remove(&self.path);
        remove(&self.path);
    }
}

/// Cleans up after test processes that were killed, and sees to it that this one leaves nothing. Done once.
pub(crate) fn prepare() {
    static PREPARE: Once = Once::new();
    PREPARE.call_once(|| {
        sweep();
        // Statics are not dropped at exit, and the shared server's directory belongs to one.
        unsafe { libc::atexit(remove_all) };
    });
}

extern "C" fn remove_all() {
    kill_descendants(|owner| owner == std::process::id());
    // Not `unwrap`: a test that panicked while holding the lock must not abort the exit.
    let live = LIVE.lock().map(|set| set.clone()).unwrap_or_default();
    live.iter().for_each(|path| remove(path));
}

/// Removes a tree after detaching everything that is mounted in it.
///
/// Never deletes through a mount: what it would delete there is the ZooKeeper tree.
fn remove(path: &Path) {
    for _ in 0..100 {
        let mounted = mounts_below(path);
        if mounted.is_empty() {
            let _ = fs::remove_dir_all(path);
            return;
        }
        mounted.iter().for_each(|point| detach(point));
    }
}

/// Detaches a mount at once, however its daemon fares.
pub(crate) fn detach(point: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let Ok(name) = std::ffi::CString::new(point.as_os_str().as_bytes()) else { return };
    if unsafe { libc::umount2(name.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) } == -1 {
        // Without root it is fusermount3's to do.
        let _ = std::process::Command::new("fusermount3").args(["-u", "-z", "-q", "--"]).arg(point).status();
    }
}

/// Ends the kernel's connection to the daemon of a FUSE mount, which frees what waits for it. Root only.
pub(crate) fn abort(point: &Path) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let fields = table.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    for fields in fields.filter(|fields| fields.len() > 4 && Path::new(&unescape(fields[4])) == point) {
        let minor = fields[2].rsplit(':').next().unwrap_or_default();
        let _ = fs::write(format!("/sys/fs/fuse/connections/{minor}/abort"), "1");
    }
}

/// The mount points at or below a directory, the innermost first.
pub(crate) fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field)));
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(path)).collect();
    below.reverse();
    below
}

/// Undoes mountinfo's octal escapes of blanks and backslashes.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn base() -> PathBuf {
    let shm = Path::new("/dev/shm");
    if free(shm) >= ROOM { shm.to_owned() } else { std::env::temp_dir() }
}

fn free(path: &Path) -> u64 {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path");
    let mut facts: libc::statvfs = unsafe { std::mem::zeroed() };
    let outcome = unsafe { libc::statvfs(name.as_ptr(), &mut facts) };
    if outcome == 0 && fs::metadata(path).is_ok_and(|m| m.is_dir()) { facts.f_bavail * facts.f_frsize } else { 0 }
}

/// Ends and removes what test processes that were killed have left.
fn sweep() {
    kill_descendants(|owner| !Path::new("/proc").join(owner.to_string()).exists());
    for folder in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let owner = rest.split('.').next().unwrap_or_default();
            if owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists() {
                remove(&entry.path());
            }
        }
    }
}
