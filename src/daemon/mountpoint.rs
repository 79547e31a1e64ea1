//! The mount point, before there is a mount: what is there, and whether a mount may go on top.
//!
//! Whatever is there may be a mount whose daemon hangs, so each look at it has a limit.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{Access, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::bounded::{bounded, leave_descriptors};
use super::failure::Failure;
use super::mounts::{self, Mount};
use crate::config::Config;

/// Longer than any healthy file system takes to look at one directory.
const PATIENCE: Duration = Duration::from_secs(5);

/// More dead mounts than ever lie on top of each other.
const DEAD_MOUNTS: usize = 64;

/// A mount point that is ready, locked against a second mount at the same time until it is dropped.
#[derive(Debug)]
pub(super) struct Mountpoint {
    /// Its path, without symbolic links.
    pub path: PathBuf,
    _lock: File,
}

/// Prepares the mount point, which takes away dead mounts of ours.
pub(super) fn prepare(config: &Config) -> Result<Mountpoint, Failure> {
    device()?;
    if (config.allow_other || config.allow_root) && !rustix::process::geteuid().is_root() {
        user_allow_other()?;
    }
    let (path, nonempty) = (config.mountpoint.clone(), config.nonempty);
    match bounded(PATIENCE, move || look(&path, nonempty)) {
        Some(result) => result,
        None => Err(Failure::mount(format!(
            "{} does not answer: what is mounted there hangs; end its daemon, then fusermount3 -uz {0}",
            config.mountpoint.display()
        ))),
    }
}

fn look(path: &Path, nonempty: bool) -> Result<Mountpoint, Failure> {
    let path = resolve(path)?;
    clear(&path, nonempty)?;
    let lock = open(&path)?;
    if let Err(Errno::WOULDBLOCK) = rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        return Err(Failure::mount(format!("{} is being mounted by another zkmount right now", path.display())));
    }
    // Another zkmount may have mounted between the look and the lock.
    clear(&path, nonempty)?;
    if !nonempty && !is_empty(&path).map_err(|error| cannot(&path, &error))? {
        return Err(Failure::mount(format!(
            "{} is not empty; take an empty directory, or -o nonempty to mount over what is there",
            path.display()
        )));
    }
    Ok(Mountpoint { path, _lock: lock })
}

/// Takes dead mounts of ours away, and refuses any other FUSE mount.
fn clear(path: &Path, nonempty: bool) -> Result<(), Failure> {
    let at = path.display();
    for _ in 0..DEAD_MOUNTS {
        let mount = mounts::on(path).map_err(|error| Failure::system(error.to_string()))?;
        let Some(Mount { fstype, source, .. }) = mount.filter(Mount::is_fuse) else { return Ok(()) };
        if !is_dead(path) {
            if nonempty {
                return Ok(());
            }
            return Err(Failure::mount(format!(
                "{at} is mounted already, with {source} ({fstype}); fusermount3 -u {at} unmounts it"
            )));
        }
        if fstype != mounts::FSTYPE {
            return Err(Failure::mount(format!(
                "{at} is a dead mount of {source} ({fstype}); fusermount3 -uz {at} takes it away"
            )));
        }
        detach(path).map_err(|error| {
            Failure::mount(format!("{at} is a dead mount of zkmount that cannot be taken away: {error}"))
        })?;
        tracing::warn!(mountpoint = %at, source, "took away a dead mount");
    }
    Err(Failure::mount(format!("{at}: too many dead mounts on top of each other; fusermount3 -uz {at} takes one away")))
}

/// The path without symbolic links. The mount point itself is not asked, since it may be a dead mount.
fn resolve(path: &Path) -> Result<PathBuf, Failure> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::mount(format!("{} does not exist; mkdir -p {0} makes it", path.display())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => not_a_directory(path),
        result => result.map_err(|error| cannot(path, &error)),
    }
}

/// Opens the directory, as fuser will.
fn open(path: &Path) -> Result<File, Failure> {
    match rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOTDIR) => not_a_directory(path),
        Err(error) => Err(cannot(path, &error.into())),
        // The kernel lets users mount on what they may write to.
        Ok(_) if rustix::fs::access(path, Access::WRITE_OK) == Err(Errno::ACCESS) => Err(Failure::forbidden(format!(
            "not permitted to mount on {}: it must be writable for you; take a directory of your own",
            path.display()
        ))),
        Ok(file) => Ok(File::from(file)),
    }
}

fn is_empty(path: &Path) -> io::Result<bool> {
    Ok(path.read_dir()?.next().transpose()?.is_none())
}

fn not_a_directory<T>(path: &Path) -> Result<T, Failure> {
    Err(Failure::mount(format!("{} is not a directory; take an empty directory as mount point", path.display())))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let line = format!("the mount point {}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied { Failure::forbidden(line) } else { Failure::mount(line) }
}

/// Tells whether the daemon behind a mount is gone. The kernel may still know the attributes; statfs is always asked for.
fn is_dead(path: &Path) -> bool {
    matches!(rustix::fs::statfs(path), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

/// Takes our mount away if it is there and dead, and tells whether it was: aborted, rather than unmounted.
pub(super) fn take_away_dead(path: &Path) -> bool {
    let at = path.to_owned();
    let ours = |mount: Mount| mount.fstype == mounts::FSTYPE;
    let dead = bounded(PATIENCE, move || is_dead(&at) && mounts::on(&at).ok().flatten().is_some_and(ours));
    if dead != Some(true) {
        return false;
    }
    if let Err(error) = detach(path) {
        tracing::warn!(mountpoint = %path.display(), %error, "cannot take the dead mount away");
    }
    true
}

/// Takes a mount away from the tree at once, whoever still uses it.
pub(super) fn detach(path: &Path) -> io::Result<()> {
    match detach_at_once(path) {
        Err(Errno::PERM) => {
            let mut command = Command::new("fusermount3");
            let output = command.arg("-uz").arg("--").arg(path).stdin(Stdio::null()).output()?;
            if output.status.success() {
                return Ok(());
            }
            Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
        result => Ok(result?),
    }
}

/// The same with one system call, which is root's only.
pub(super) fn detach_at_once(path: &Path) -> Result<(), Errno> {
    rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// Checks that the kernel has FUSE for us.
fn device() -> Result<(), Failure> {
    let result = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let hint = match result {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            "modprobe fuse loads it; a container needs --device /dev/fuse --cap-add SYS_ADMIN"
        }
        Err(Errno::ACCESS | Errno::PERM) => {
            return Err(Failure::forbidden("not permitted to open /dev/fuse; its mode should be 0666"));
        }
        Err(_) => "the kernel's FUSE does not work",
    };
    let error = result.err().map(io::Error::from).map(|error| error.to_string()).unwrap_or_default();
    Err(Failure::system(format!("no /dev/fuse ({error}): {hint}")))
}

/// Where root permits `allow_other` to others.
const FUSE_CONF: &str = "/etc/fuse.conf";

fn user_allow_other() -> Result<(), Failure> {
    let text = std::fs::read_to_string(FUSE_CONF).unwrap_or_default();
    if text.lines().any(|line| line.trim() == "user_allow_other") {
        return Ok(());
    }
    Err(Failure::forbidden(format!(
        "allow_other and allow_root are not permitted to users; root permits them by the line user_allow_other in {FUSE_CONF}"
    )))
}

/// Says why the kernel or fusermount3 refused to mount.
pub(super) fn refused(path: &Path, error: &io::Error) -> Failure {
    let text = error.to_string();
    let on = path.display();
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::system("there is no fusermount3, which lets users mount; apt-get install fuse3");
    }
    let forbidden = ["EPERM", "Operation not permitted", "EACCES", "Permission denied", "no write access", "not owned"];
    if forbidden.iter().any(|word| text.contains(word)) {
        return Failure::forbidden(format!(
            "not permitted to mount on {on}: {text}; be its owner, or root (in a container with --cap-add SYS_ADMIN)"
        ));
    }
    Failure::mount(format!("cannot mount on {on}: {text}"))
}

/// Tells which mount is on the mount point, once it answers. Statfs and the root's attributes never need the ensemble.
pub(super) fn answers(path: &Path, limit: Duration) -> Result<Mount, Failure> {
    let at = path.to_owned();
    let asked = bounded(limit, move || -> io::Result<Option<Mount>> {
        leave_descriptors();
        rustix::fs::stat(&at)?;
        rustix::fs::statfs(&at)?;
        mounts::on(&at)
    });
    let failed = |why: &dyn std::fmt::Display| Err(Failure::mount(format!("{}: {why}", path.display())));
    match asked {
        Some(Ok(Some(mount))) if mount.fstype == mounts::FSTYPE => Ok(mount),
        Some(Ok(Some(mount))) => failed(&format_args!("something else was mounted over it at once: {}", mount.source)),
        Some(Ok(None)) => failed(&"it was unmounted at once, by somebody else"),
        Some(Err(error)) => failed(&format_args!("the mount does not work: {error}")),
        None => failed(&"the mount does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_mount_point_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "").unwrap();
        fs::create_dir_all(at("full/child")).unwrap();
        for (name, said) in [
            ("missing", "mkdir -p"),
            ("missing/below", "does not exist"),
            ("file", "not a directory"),
            ("file/below", "not a directory"),
            ("full", "not empty"),
        ] {
            let failure = look(&at(name), false).unwrap_err();
            assert!(failure.to_string().contains(said), "{name}: {failure}");
            assert_eq!(failure.status, super::super::Status::Mount, "{name}");
        }
        assert!(look(&at("full"), true).is_ok());
    }

    #[test]
    fn one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = look(directory.path(), false).unwrap();
        let second = look(directory.path(), false).unwrap_err();
        assert!(second.to_string().contains("right now"), "{second}");
        drop(first);
        assert!(look(directory.path(), false).is_ok());
    }

    #[test]
    fn links_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        assert_eq!(look(&directory.path().join("link"), false).unwrap().path, real);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let path = Path::new("/mnt/zk");
        let denied = refused(path, &io::Error::other("fusermount3: mount failed: Operation not permitted\n"));
        assert_eq!(denied.status, super::super::Status::Usage);
        assert!(denied.to_string().contains("SYS_ADMIN"), "{denied}");
        let missing = refused(path, &io::ErrorKind::NotFound.into());
        assert!(missing.to_string().contains("apt-get install fuse3"), "{missing}");
    }
}
