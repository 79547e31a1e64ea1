//! Replies: what the core answers, in the words of the kernel.

use bytes::Bytes;
use fuser::{
    FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, ReplyXattr,
};

use crate::error::Errno;
use crate::fs::attributes::{Attributes, BLOCK_SIZE, FileKind};
use crate::fs::core::{Attr, Entry, Opened, Result, Written};

pub(super) fn reply_errno(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.0)
}

pub(super) fn reply_empty(reply: ReplyEmpty) -> impl FnOnce(Result<()>) + Send {
    move |result| match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

pub(super) fn reply_entry(reply: ReplyEntry) -> impl FnOnce(Result<Entry>) + Send {
    move |result| match result {
        Ok(entry) => reply.entry(&entry.ttl, &file_attr(&entry.attributes), Generation(0)),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

pub(super) fn reply_attr(reply: ReplyAttr) -> impl FnOnce(Result<Attr>) + Send {
    move |result| match result {
        Ok(attr) => reply.attr(&attr.ttl, &file_attr(&attr.attributes)),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

pub(super) fn reply_data(reply: ReplyData) -> impl FnOnce(Result<Bytes>) + Send {
    move |result| match result {
        Ok(data) => reply.data(&data),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

pub(super) fn reply_open(reply: ReplyOpen) -> impl FnOnce(Result<Opened>) + Send {
    move |result| match result {
        Ok(opened) => reply.opened(FileHandle(opened.fh.0), open_flags(opened)),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

pub(super) fn reply_written(reply: ReplyWrite) -> impl FnOnce(Result<Written>) + Send {
    move |result| match result {
        Ok(Written { length, .. }) => reply.written(u32::try_from(length).unwrap_or(u32::MAX)),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

pub(super) fn reply_xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>>) {
    match result {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(fuser::Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(errno) => reply.error(reply_errno(errno)),
    }
}

/// The kernel's page cache is not used: sizes and contents are those of the znode at the moment of the call.
pub(super) fn open_flags(opened: Opened) -> FopenFlags {
    let direct = FopenFlags::FOPEN_DIRECT_IO;
    if opened.stream { direct | FopenFlags::FOPEN_STREAM | FopenFlags::FOPEN_NONSEEKABLE } else { direct }
}

/// The file that is opened to tell of a change needs nothing at its close.
pub(super) const REPLAY_FLAGS: FopenFlags = FopenFlags::FOPEN_DIRECT_IO.union(FopenFlags::FOPEN_NOFLUSH);

pub(super) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Link => FileType::Symlink,
    }
}

pub(super) fn file_attr(attributes: &Attributes) -> fuser::FileAttr {
    let Attributes { ino, kind, size, mode, nlink, mtime, ctime, uid, gid } = *attributes;
    fuser::FileAttr {
        ino: INodeNo(ino.0),
        size,
        blocks: size.div_ceil(512),
        atime: mtime,
        mtime,
        ctime,
        crtime: ctime,
        kind: file_type(kind),
        perm: mode,
        nlink,
        uid,
        gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}
