//! Mounting and unmounting.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use tokio::runtime::Handle;

use super::adapter::Adapter;
use super::changes::Changes;
use super::core::Core;
use super::notify;
use super::options::Options;
use super::replay::{self, Stage};
use crate::session::Store;

/// Threads that take requests from the kernel. They never wait for the network, so a few are enough.
const THREADS: usize = 4;

/// How a file system is shown to the kernel and to others.
#[derive(Debug, Clone, Default)]
pub struct MountSettings {
    /// The source in the table of mounts.
    pub source: String,
    /// All users may use the mount.
    pub allow_other: bool,
    /// Root may use the mount.
    pub allow_root: bool,
    /// Further options for the kernel, such as `nosuid`.
    pub kernel: Vec<String>,
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mounted {
    mountpoint: PathBuf,
    session: Mutex<Option<BackgroundSession>>,
    changes: Arc<Changes>,
    stage: Arc<Stage>,
}

/// Mounts a store on a directory. Requests are served from now on.
///
/// # Errors
/// What the kernel or fusermount3 says.
pub fn mount<S: Store>(
    store: Arc<S>,
    changes: Arc<Changes>,
    options: Options,
    runtime: Handle,
    mountpoint: &Path,
    settings: &MountSettings,
) -> io::Result<Mounted> {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(settings.source.clone()),
        // As an option of the kernel's, since fuser drops its own Subtype when it calls mount(2) itself.
        MountOption::CUSTOM("subtype=zkmount".to_owned()),
        MountOption::NoSuid,
        MountOption::NoDev,
    ];
    config.mount_options.extend(settings.kernel.iter().cloned().map(MountOption::CUSTOM));
    config.acl = match (settings.allow_other, settings.allow_root) {
        (true, _) => SessionACL::All,
        (false, true) => SessionACL::RootAndOwner,
        (false, false) => SessionACL::Owner,
    };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    let core = Arc::new(Core::new(store, changes.clone(), options));
    let stage = Arc::new(Stage::default());
    let adapter = Adapter::new(core.clone(), runtime.clone(), stage.clone());
    let session = Session::new(adapter, mountpoint, &config)?.spawn()?;
    notify::start(changes.clone(), session.notifier())?;
    replay::start(core, stage.clone(), runtime, mountpoint.to_owned())?;
    Ok(Mounted { mountpoint: mountpoint.to_owned(), session: Mutex::new(Some(session)), changes, stage })
}

impl Mounted {
    /// Takes the mount off its directory; when it is in use, lazily. [`Mounted::wait`] returns when the last user is gone.
    ///
    /// # Errors
    /// When the kernel and fusermount3 refuse.
    pub fn unmount(&self) -> io::Result<()> {
        unmount(&self.mountpoint)?;
        replay::stop(&self.stage, &self.changes.tidings);
        Ok(())
    }

    /// Waits until the file system is unmounted, by whomever.
    ///
    /// # Errors
    /// What ended the service of requests, if it was not that.
    pub fn wait(&self) -> io::Result<()> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = session.map_or(Ok(()), |mut session| {
            let served = std::mem::replace(&mut session.guard, thread::spawn(|| Ok(())));
            let ended =
                served.join().unwrap_or_else(|_| Err(io::Error::other("a thread that serves requests panicked")));
            // When it is dropped, it unmounts whatever is on its directory, and takes its own mount for still being there
            // when it is not (fuser 0.18, is_mounted): by now that may be the mount of another daemon.
            std::mem::forget(session);
            ended
        });
        self.changes.notices.close();
        replay::stop(&self.stage, &self.changes.tidings);
        ended
    }
}

/// Takes whatever FUSE mount is there off a directory; when it is in use, lazily.
///
/// # Errors
/// When the kernel and fusermount3 refuse.
pub fn unmount(mountpoint: &Path) -> io::Result<()> {
    use rustix::mount::{UnmountFlags, unmount};
    match unmount(mountpoint, UnmountFlags::NOFOLLOW) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::BUSY) => {
            if unmount(mountpoint, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH).is_ok() {
                return Ok(());
            }
        }
        Err(_) => {}
    }
    // Without the right to unmount there is a set-uid helper for one's own FUSE mounts.
    let mut helper = Command::new("fusermount3");
    helper.args(["-u", "-z", "-q", "--"]).arg(mountpoint).stdin(Stdio::null()).stderr(Stdio::null());
    match helper.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("fusermount3 -u: {status}"))),
        Err(error) => Err(error),
    }
}
