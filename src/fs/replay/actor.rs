//! The thread that performs system calls on its own mount.
//!
//! It must not keep the daemon alive when that is killed, so it has its own table of descriptors. It must not keep the mount
//! busy for umount(8) either, so where it may, it works in a copy of the mount that nobody else sees; then it has to let go
//! when the last mount of the file system that others see is gone (see `table`). Otherwise it opens the mount for each
//! act anew.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::act::{Act, Deed};
use super::stage::Stage;

/// Starts the thread.
///
/// # Errors
/// When no thread can be made.
pub(super) fn start(stage: Arc<Stage>, mountpoint: PathBuf) -> io::Result<()> {
    thread::Builder::new().name("zkmount-replay".to_owned()).spawn(move || live(&stage, &mountpoint))?;
    Ok(())
}

fn live(stage: &Stage, mountpoint: &Path) {
    if let Err(error) = leave_descriptors() {
        return stage.open(Err(error));
    }
    stage.enter(rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    let copy = copy_of_mount(mountpoint).and_then(|copy| Ok((device(copy.as_fd())?, copy)));
    let copy = match copy {
        Ok((device, copy)) => {
            stage.open(Ok(Some(device)));
            Some(copy)
        }
        // Without the right to make mounts.
        Err(_) => {
            stage.open(open(mountpoint).map(|_| None));
            None
        }
    };
    while let Some(act) = stage.next() {
        let outcome = match &copy {
            Some(copy) => perform(copy.as_fd(), &act),
            None => open(mountpoint).and_then(|root| perform(root.as_fd(), &act)),
        };
        stage.done(outcome);
    }
}

/// Gives this thread a table of descriptors of its own. Even the standard streams are closed, as somebody may wait for their
/// end; something harmless takes their numbers.
fn leave_descriptors() -> io::Result<()> {
    // SAFETY: no memory is touched. From here on this thread uses no descriptor that was opened before, which is what the
    // functions of this module are about: they neither log nor wake anything through a descriptor.
    unsafe {
        if libc::unshare(libc::CLONE_FILES) != 0 || libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, 0_u32) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for _ in 0..3 {
        std::mem::forget(rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?);
    }
    Ok(())
}

/// A copy of the mount that is mounted nowhere.
fn copy_of_mount(mountpoint: &Path) -> io::Result<OwnedFd> {
    let copy = open_tree(CWD, mountpoint, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    // What is mounted below the original, now or later, is nothing for the copy.
    let attributes = libc::mount_attr { attr_set: 0, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: the path is a terminated string, and the attributes are as long as is said.
    let set = unsafe {
        let size = size_of::<libc::mount_attr>();
        let flags = libc::AT_EMPTY_PATH;
        libc::syscall(libc::SYS_mount_setattr, copy.as_raw_fd(), c"".as_ptr(), flags, &raw const attributes, size)
    };
    if set == 0 { Ok(copy) } else { Err(io::Error::last_os_error()) }
}

fn open(mountpoint: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, mountpoint, flags, Mode::empty())?)
}

/// The number of the file system, without asking it for anything.
fn device(root: BorrowedFd<'_>) -> io::Result<u64> {
    // rustix has no name for this flag.
    let flags = AtFlags::EMPTY_PATH | AtFlags::from_bits_retain(libc::AT_STATX_DONT_SYNC as u32);
    let status = rustix::fs::statx(root, "", flags, StatxFlags::empty())?;
    Ok(rustix::fs::makedev(status.stx_dev_major, status.stx_dev_minor))
}

fn perform(root: BorrowedFd<'_>, act: &Act) -> io::Result<()> {
    let path = act.path();
    let mode = Mode::from_raw_mode(0o755);
    let write = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match act.deed {
        Deed::Create { write: written } => {
            let flags = write | OFlags::CREATE | OFlags::EXCL;
            let file = rustix::fs::openat(root, &path, flags, Mode::from_raw_mode(0o644))?;
            if written { write_byte(file) } else { Ok(()) }
        }
        Deed::Modify => write_byte(rustix::fs::openat(root, &path, write, Mode::empty())?),
        Deed::MakeDir => Ok(rustix::fs::mkdirat(root, &path, mode)?),
        Deed::Unlink => Ok(rustix::fs::unlinkat(root, &path, AtFlags::empty())?),
        Deed::RemoveDir => Ok(rustix::fs::unlinkat(root, &path, AtFlags::REMOVEDIR)?),
        Deed::Touch => {
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ };
            let times = Timestamps { last_access: now, last_modification: now };
            Ok(rustix::fs::utimensat(root, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
        }
    }
}

/// At the start, so that the kernel does not take the file for longer than it is.
fn write_byte(file: OwnedFd) -> io::Result<()> {
    rustix::io::pwrite(&file, b"\n", 0)?;
    Ok(())
}
