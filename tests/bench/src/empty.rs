//! A FUSE file system of one file that does nothing else than answer: what remains is the kernel's way to a daemon and back.
//!
//! It runs in a process of its own, with the version of fuser, the threads and the options that zkmount has.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use rig::{Process, Workdir, until};

/// The argument that makes the benchmark serve the file system.
pub const ARGUMENT: &str = "--empty";

/// What its file holds.
pub const VALUE: &[u8] = b"value\n";

/// The same as zkmount's.
const TTL: Duration = Duration::from_secs(1);
const FILE: INodeNo = INodeNo(2);

/// The file system, mounted until this is dropped.
pub struct Empty {
    path: PathBuf,
    process: Arc<Process>,
    _workdir: Workdir,
}

impl Empty {
    /// Starts and mounts it.
    pub fn mount() -> Empty {
        let workdir = Workdir::new("empty");
        let path = workdir.path().join("mnt");
        std::fs::create_dir(&path).expect("a mount point");
        let mut command = Command::new(std::env::current_exe().expect("the benchmark's path"));
        command.arg(ARGUMENT).arg(&path).stdin(Stdio::null());
        let process = Process::spawn(command).expect("the benchmark can be run");
        until("the empty file system answers", || path.join("f").exists());
        Empty { path, process, _workdir: workdir }
    }

    /// The process that serves it.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Mounts and serves it until it is unmounted.
pub fn serve(mountpoint: &Path) {
    let mut config = Config::default();
    config.n_threads = Some(4);
    config.clone_fd = true;
    if let Err(error) = fuser::mount(Nothing, mountpoint, &config) {
        eprintln!("bench: the empty file system: {error}");
    }
}

struct Nothing;

fn attributes(ino: INodeNo) -> FileAttr {
    let (kind, perm, size) = match ino {
        FILE => (FileType::RegularFile, 0o644, VALUE.len() as u64),
        _ => (FileType::Directory, 0o755, 0),
    };
    FileAttr {
        ino,
        size,
        blocks: 1,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 1 << 20,
        flags: 0,
    }
}

impl Filesystem for Nothing {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for flag in [
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_FLOCK_LOCKS,
            InitFlags::FUSE_POSIX_LOCKS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            // A kernel that does not know one does not give it to zkmount either.
            let _ = config.add_capabilities(flag);
        }
        let _ = config.set_max_write(1 << 20);
        Ok(())
    }

    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == "f" {
            reply.entry(&TTL, &attributes(FILE), Generation(0));
        } else {
            reply.error(fuser::Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &attributes(ino));
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(1), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        _size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        reply.data(&VALUE[VALUE.len().min(offset as usize)..]);
    }

    fn flush(&self, _request: &Request, _ino: INodeNo, _fh: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }
}
