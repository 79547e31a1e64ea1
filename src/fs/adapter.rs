//! The kernel's requests: decode, call the core, reply. Nothing is decided here.
//!
//! What needs no waiting is answered by the thread that took the request. All else goes on in a task that owns the reply, and a
//! signal for the caller ends its wait: the operation then goes on to its end, and what it made for nobody is taken back.

mod label;
mod reply;
mod run;

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLock, ReplyOpen, ReplyPoll,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use tokio::runtime::Handle;

use self::label::Label;
use self::reply::{
    REPLAY_FLAGS, file_attr, file_type, open_flags, reply_attr, reply_data, reply_empty, reply_entry, reply_errno,
    reply_open, reply_written, reply_xattr,
};
use self::run::{
    Undoing, close, forget_entry, nothing, take_back_created, take_back_made, take_back_renamed, take_back_written,
};
use super::core::{Attr, Caller, Core, Created, Entry, Lock, Range, RenameMode, Result, Wanted, Written};
use super::handle::Fh;
use super::inode::Ino;
use super::lock::{Cancel, Mode, patience};
use super::notify::Bell;
use super::replay::{REPLAY, Stage};
use super::streams::Stream;
use crate::error::Errno;
use crate::session::Store;

/// The longest request, in bytes. The kernel's requests have no more pages by default (`fs.fuse.max_pages_limit`).
const MAX_WRITE: u32 = 1 << 20;

/// A file system for fuser.
#[derive(Debug)]
pub struct Adapter<S> {
    core: Arc<Core<S>>,
    runtime: Handle,
    stage: Arc<Stage>,
}

impl<S> Clone for Adapter<S> {
    fn clone(&self) -> Adapter<S> {
        Adapter { core: self.core.clone(), runtime: self.runtime.clone(), stage: self.stage.clone() }
    }
}

impl<S: Store> Adapter<S> {
    /// Over a core, with the runtime in which long operations go on, and the stage of those who tell what others change.
    pub fn new(core: Arc<Core<S>>, runtime: Handle, stage: Arc<Stage>) -> Adapter<S> {
        Adapter { core, runtime, stage }
    }

    /// Tells whether a request comes from the thread that makes the kernel tell what others change.
    fn is_replay(&self, request: &Request) -> bool {
        self.stage.is_actor(request.pid())
    }

    /// Answers the thread that makes the kernel tell what others change, with the attributes of now.
    fn reply_to_replay(&self, reply: ReplyEntry, result: Result<Entry>) {
        reply_entry(reply)(result.map(|entry| Entry { attributes: self.core.repaint(entry.attributes), ..entry }));
    }

    /// Reads a stream. A read that a signal ends is dropped, so that it takes no lines. Lines are given out when what the kernel
    /// keeps is no older than they are.
    fn read_stream(&self, request: &Request, stream: Arc<Stream>, size: usize, flags: OpenFlags, reply: ReplyData) {
        let changes = self.core.changes().clone();
        match stream.try_read(size) {
            Some(data) if changes.notices.are_delivered() => reply.data(&data),
            Some(data) => drop(self.runtime.spawn(async move {
                changes.notices.delivered().await;
                reply.data(&data);
            })),
            None if flags.0 & libc::O_NONBLOCK != 0 => reply.error(fuser::Errno::EAGAIN),
            None => {
                let caller = caller(request);
                self.runtime.spawn(async move {
                    let data = tokio::select! {
                        biased;
                        errno = patience::exhausted(caller) => return reply.error(reply_errno(errno)),
                        data = stream.read(size) => data,
                    };
                    changes.notices.delivered().await;
                    reply.data(&data);
                });
            }
        }
    }
}

fn lock(owner: LockOwner, start: u64, end: u64, typ: i32, pid: u32) -> Result<Lock> {
    let mode = match typ {
        libc::F_RDLCK => Some(Mode::Shared),
        libc::F_WRLCK => Some(Mode::Exclusive),
        libc::F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    Ok(Lock { owner: owner.0, mode, range: Range { start, end }, pid })
}

fn lock_type(mode: Mode) -> i32 {
    match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    }
}

fn caller(request: &Request) -> Caller {
    Caller { pid: request.pid() }
}

impl<S: Store> fuser::Filesystem for Adapter<S> {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for flag in [
            // Opening with O_TRUNC is one request, which only marks the file.
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            // Locks are the cluster's or they are refused: a local one would be a lie.
            InitFlags::FUSE_FLOCK_LOCKS,
            InitFlags::FUSE_POSIX_LOCKS,
            // sendfile(2) and private mmap(2) go by the kernel's pages all the same: they are dropped with old attributes.
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            // There are no set-uid files, so that the kernel need not look for them at each write.
            InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        ] {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!(?flag, "the kernel does not know");
            }
        }
        if let Err(nearest) = config.set_max_write(MAX_WRITE) {
            tracing::debug!(nearest, "the kernel's requests are of another length");
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if self.is_replay(request) {
            let found = self.stage.lookup(&self.core.changes().inodes, Ino(parent.0), name);
            return self.reply_to_replay(reply, found);
        }
        let label = Label::named("lookup", request, parent, name);
        let (name, caller) = (name.to_owned(), caller(request));
        let operation = move |core: Arc<Core<S>>| async move { core.lookup(Ino(parent.0), &name, caller).await };
        self.run(label, operation, reply_entry(reply), forget_entry);
    }

    fn forget(&self, _request: &Request, ino: INodeNo, lookups: u64) {
        self.core.forget(Ino(ino.0), lookups);
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if self.is_replay(request) {
            let found = self.stage.attributes(Ino(ino.0), self.core.paint_root());
            let now = found.map(|attr| Attr { attributes: self.core.repaint(attr.attributes), ..attr });
            return reply_attr(reply)(now);
        }
        let operation = |core: Arc<Core<S>>| async move { core.getattr(Ino(ino.0)).await };
        self.run(Label::new("getattr", request, ino), operation, reply_attr(reply), nothing);
    }

    fn readlink(&self, _request: &Request, ino: INodeNo, reply: ReplyData) {
        reply_data(reply)(self.core.readlink(Ino(ino.0)));
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        if self.is_replay(request) {
            let found = self.stage.attributes(Ino(ino.0), self.core.paint_root());
            let now = found.map(|attr| Attr { attributes: self.core.repaint(attr.attributes), ..attr });
            return reply_attr(reply)(now);
        }
        let times = [atime, mtime];
        let wanted = Wanted {
            size,
            mode_or_owner: mode.is_some() || uid.is_some() || gid.is_some(),
            explicit_time: times.iter().any(|time| matches!(time, Some(TimeOrNow::SpecificTime(_)))),
            touch: matches!(mtime, Some(TimeOrNow::Now)),
        };
        let fh = fh.map(|fh| Fh(fh.0));
        let operation = move |core: Arc<Core<S>>| async move { core.setattr(Ino(ino.0), fh, wanted).await };
        self.run(Label::new("setattr", request, ino), operation, reply_attr(reply), nothing);
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        let label = Label::named("mknod", request, parent, name);
        let (name, caller) = (name.to_owned(), caller(request));
        let operation = move |core: Arc<Core<S>>| async move { core.mknod(Ino(parent.0), &name, mode, caller).await };
        self.run(label, operation, reply_entry(reply), take_back_made);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        if self.is_replay(request) {
            return self.reply_to_replay(reply, self.stage.make(self.core.changes(), Ino(parent.0), name));
        }
        let label = Label::named("mkdir", request, parent, name);
        let name = name.to_owned();
        let operation = |core: Arc<Core<S>>| async move { core.mkdir(Ino(parent.0), &name).await };
        self.run(label, operation, reply_entry(reply), take_back_made);
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if self.is_replay(request) {
            return reply_empty(reply)(self.stage.remove(self.core.changes(), Ino(parent.0), name));
        }
        let label = Label::named("unlink", request, parent, name);
        let name = name.to_owned();
        let operation = |core: Arc<Core<S>>| async move { core.unlink(Ino(parent.0), &name).await };
        self.run(label, operation, reply_empty(reply), nothing);
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if self.is_replay(request) {
            return reply_empty(reply)(self.stage.remove(self.core.changes(), Ino(parent.0), name));
        }
        let label = Label::named("rmdir", request, parent, name);
        let name = name.to_owned();
        let operation = |core: Arc<Core<S>>| async move { core.rmdir(Ino(parent.0), &name).await };
        self.run(label, operation, reply_empty(reply), nothing);
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return reply.error(fuser::Errno::EINVAL);
        };
        let label = Label::named("rename", request, parent, name);
        let (name, newname, caller) = (name.to_owned(), newname.to_owned(), caller(request));
        let operation = move |core: Arc<Core<S>>| async move {
            core.rename(Ino(parent.0), &name, Ino(newparent.0), &newname, mode, caller).await
        };
        self.run(label, operation, move |result| reply_empty(reply)(result.map(drop)), take_back_renamed);
    }

    fn link(&self, request: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let label = Label::named("link", request, newparent, newname);
        let (name, caller) = (newname.to_owned(), caller(request));
        let operation =
            move |core: Arc<Core<S>>| async move { core.link(Ino(ino.0), Ino(newparent.0), &name, caller).await };
        self.run(label, operation, reply_entry(reply), take_back_made);
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.is_replay(request) {
            return match self.stage.open_file(Ino(ino.0)) {
                Ok(fh) => reply.opened(FileHandle(fh.0), REPLAY_FLAGS),
                Err(errno) => reply.error(reply_errno(errno)),
            };
        }
        let caller = caller(request);
        let operation = move |core: Arc<Core<S>>| async move { core.open(Ino(ino.0), flags.0, caller).await };
        self.run(Label::new("open", request, ino), operation, reply_open(reply), close);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        if self.is_replay(request) {
            return match self.stage.make(self.core.changes(), Ino(parent.0), name) {
                Ok(entry) => {
                    let attr = file_attr(&self.core.repaint(entry.attributes));
                    reply.created(&entry.ttl, &attr, Generation(0), FileHandle(REPLAY.0), REPLAY_FLAGS);
                }
                Err(errno) => reply.error(reply_errno(errno)),
            };
        }
        let label = Label::named("create", request, parent, name);
        let (name, caller) = (name.to_owned(), caller(request));
        let operation = move |core: Arc<Core<S>>| async move { core.create(Ino(parent.0), &name, flags, caller).await };
        let answer = move |result: Result<Created>| match result {
            Ok(Created { entry, opened, .. }) => {
                let attr = file_attr(&entry.attributes);
                reply.created(&entry.ttl, &attr, Generation(0), FileHandle(opened.fh.0), open_flags(opened));
            }
            Err(errno) => reply.error(reply_errno(errno)),
        };
        self.run(label, operation, answer, take_back_created);
    }

    fn read(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(stream) = self.core.stream(Fh(fh.0)) {
            return self.read_stream(request, stream, size as usize, flags, reply);
        }
        let operation = move |core: Arc<Core<S>>| async move { core.read(Fh(fh.0), offset, size as usize).await };
        self.run(Label::new("read", request, ino), operation, reply_data(reply), nothing);
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if Fh(fh.0) == REPLAY {
            return reply_written(reply)(Ok(Written { length: data.len(), made: None }));
        }
        let data = Bytes::copy_from_slice(data);
        let operation = move |core: Arc<Core<S>>| async move { core.write(Fh(fh.0), offset, data).await };
        let label = Label::new("write", request, ino);
        self.run(label, operation, reply_written(reply), take_back_written);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let length = usize::try_from(len).unwrap_or(usize::MAX);
        let operation = move |core: Arc<Core<S>>| async move {
            let data = core.read(Fh(fh_in.0), offset_in, length).await?;
            if data.is_empty() { Ok(Written::default()) } else { core.write(Fh(fh_out.0), offset_out, data).await }
        };
        let label = Label::new("copy_file_range", request, ino_out);
        self.run(label, operation, reply_written(reply), take_back_written);
    }

    fn flush(&self, request: &Request, ino: INodeNo, fh: FileHandle, owner: LockOwner, reply: ReplyEmpty) {
        if Fh(fh.0) == REPLAY {
            return reply.ok();
        }
        let caller = caller(request);
        let operation = move |core: Arc<Core<S>>| async move {
            let flushed = core.flush(Fh(fh.0), caller).await;
            core.unlock_owner(Ino(ino.0), owner.0).await;
            flushed
        };
        self.run(Label::new("flush", request, ino), operation, reply_empty(reply), nothing);
    }

    fn release(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if Fh(fh.0) == REPLAY {
            return reply.ok();
        }
        let operation = move |core: Arc<Core<S>>| async move {
            core.release(Fh(fh.0)).await;
            Ok(())
        };
        self.run(Label::new("release", request, ino), operation, reply_empty(reply), nothing);
    }

    fn poll(
        &self,
        _request: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        notifier: PollNotifier,
        _events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        let wanted = flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY);
        let poller = wanted.then(|| -> (u64, Bell) {
            let number = notifier.handle().0;
            (number, Box::new(move || drop(notifier.notify())))
        });
        let input = PollEvents::POLLIN | PollEvents::POLLRDNORM;
        let output = PollEvents::POLLOUT | PollEvents::POLLWRNORM;
        let is_stream = self.core.stream(Fh(fh.0)).is_some();
        let readable = self.core.poll(Fh(fh.0), poller);
        reply.poll(match (is_stream, readable) {
            (true, true) => input,
            (true, false) => PollEvents::empty(),
            (false, _) => input | output,
        });
    }

    fn fsync(&self, request: &Request, ino: INodeNo, fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let operation = move |core: Arc<Core<S>>| async move { core.fsync(Ino(ino.0), Some(Fh(fh.0))).await };
        self.run(Label::new("fsync", request, ino), operation, reply_empty(reply), nothing);
    }

    fn fsyncdir(&self, request: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        let operation = |core: Arc<Core<S>>| async move { core.fsync(Ino(ino.0), None).await };
        self.run(Label::new("fsyncdir", request, ino), operation, reply_empty(reply), nothing);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let label = Label::new("opendir", request, ino);
        let opened = self.core.opendir(Ino(ino.0));
        label.end(&self.core, opened.err());
        match opened {
            Ok(fh) => reply.opened(FileHandle(fh.0), FopenFlags::empty()),
            Err(errno) => reply.error(reply_errno(errno)),
        }
    }

    fn readdir(&self, request: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let operation = move |core: Arc<Core<S>>| async move { core.readdir(Ino(ino.0), Fh(fh.0), offset).await };
        let answer = move |result: Result<Vec<super::core::DirItem>>| match result {
            Ok(items) => {
                for item in &items {
                    if reply.add(INodeNo(item.ino.0), item.next, file_type(item.kind), &item.name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(reply_errno(errno)),
        };
        self.run(Label::new("readdir", request, ino), operation, answer, nothing);
    }

    fn readdirplus(&self, request: &Request, ino: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let core = self.core.clone();
        let operation = move |core: Arc<Core<S>>| async move { core.readdir(Ino(ino.0), Fh(fh.0), offset).await };
        let answer = move |result: Result<Vec<super::core::DirItem>>| match result {
            Ok(items) => {
                for item in &items {
                    let entry = core.entry_of(item);
                    let (attributes, ttl) = match &entry {
                        Some(entry) => (entry.attributes, entry.ttl),
                        None => (core.dot_attributes(item), Duration::ZERO),
                    };
                    let number = INodeNo(attributes.ino.0);
                    if reply.add(number, item.next, &item.name, &ttl, &file_attr(&attributes), Generation(0)) {
                        if let Some(entry) = entry {
                            core.take_back(&entry);
                        }
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(reply_errno(errno)),
        };
        self.run(Label::new("readdirplus", request, ino), operation, answer, nothing);
    }

    fn releasedir(&self, _request: &Request, _ino: INodeNo, fh: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        self.core.releasedir(Fh(fh.0));
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        // Fixed numbers, so that monitoring has something to divide by and never waits for a server.
        const BLOCKS: u64 = 1 << 20;
        const FILES: u64 = 1 << 30;
        reply.statfs(BLOCKS, BLOCKS, BLOCKS, FILES, FILES, 4096, crate::mapping::path::NAME_MAX as u32, 4096);
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let label = Label::new("setxattr", request, ino);
        let (name, value) = (name.to_string_lossy().into_owned(), value.to_vec());
        let operation = move |core: Arc<Core<S>>| async move { core.setxattr(Ino(ino.0), &name, &value).await };
        self.run(label, operation, reply_empty(reply), nothing);
    }

    fn getxattr(&self, request: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let label = Label::new("getxattr", request, ino);
        let name = name.to_string_lossy().into_owned();
        let operation = move |core: Arc<Core<S>>| async move { core.getxattr(Ino(ino.0), &name).await };
        self.run(label, operation, move |result| reply_xattr(reply, size, result), nothing);
    }

    fn listxattr(&self, _request: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        reply_xattr(reply, size, self.core.listxattr(Ino(ino.0)));
    }

    fn removexattr(&self, _request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply)(self.core.removexattr(Ino(ino.0), &name.to_string_lossy()));
    }

    fn access(&self, _request: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        // The server decides by its ACLs when something is done.
        reply.ok();
    }

    fn getlk(
        &self,
        request: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let Ok(lock) = lock(owner, start, end, typ, pid) else { return reply.error(fuser::Errno::EINVAL) };
        let operation = move |core: Arc<Core<S>>| async move { core.getlk(Ino(ino.0), lock).await };
        let answer = move |found: Result<Option<(Mode, u32)>>| match found {
            Ok(Some((mode, pid))) => reply.locked(0, i64::MAX as u64, lock_type(mode), pid),
            Ok(None) => reply.locked(start, end, libc::F_UNLCK, 0),
            Err(errno) => reply.error(reply_errno(errno)),
        };
        self.run(Label::new("getlk", request, ino), operation, answer, nothing);
    }

    fn setlk(
        &self,
        request: &Request,
        ino: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let Ok(lock) = lock(owner, start, end, typ, pid) else { return reply.error(fuser::Errno::EINVAL) };
        let cancel = Arc::new(Cancel::default());
        let caller = caller(request);
        let operation = {
            let cancel = cancel.clone();
            move |core: Arc<Core<S>>| async move { core.setlk(Ino(ino.0), Fh(fh.0), lock, sleep, &cancel).await }
        };
        let give_up = async move {
            let errno = patience::exhausted(caller).await;
            cancel.cancel();
            errno
        };
        let take_back = move |core: Arc<Core<S>>, ()| -> Option<Undoing> {
            Some(Box::pin(async move { core.take_back_lock(Ino(ino.0), lock.owner).await }))
        };
        let label = Label::new("setlk", request, ino);
        // An unlock is not taken back.
        if lock.mode.is_some() {
            self.run_until(label, operation, reply_empty(reply), give_up, take_back);
        } else {
            self.run(label, operation, reply_empty(reply), nothing);
        }
    }
}
