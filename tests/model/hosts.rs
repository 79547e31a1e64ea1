//! Those who do what the reference says: the core alone, and a real mount.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use zkmount::error::Errno;
use zkmount::fs::attributes::FileKind;
use zkmount::fs::changes::Changes;
use zkmount::fs::core::{Caller, Core, RenameMode, Wanted};
use zkmount::fs::handle::Fh;
use zkmount::fs::inode::Ino;
use zkmount::fs::options::Options;
use zkmount::mapping::ZnodePath;
use zkmount::session::{CreateMode, Creation, Memory, MemoryTree, Store};

use crate::operation::{Mode, Operation};
use crate::reference::Shown;

const CALLER: Caller = Caller { pid: 4711 };
const WRITE: i32 = libc::O_WRONLY | libc::O_CREAT;

/// What no operation here may ever fail with.
const NEVER: [i32; 4] = [libc::EIO, libc::ESTALE, libc::ETIMEDOUT, libc::EBUSY];

/// A mount without a kernel, and another client of its tree.
pub struct Bare {
    core: Core<Memory>,
    foreign: Arc<Memory>,
}

impl Bare {
    /// Two hosts on one tree.
    pub fn pair() -> [Bare; 2] {
        let tree = MemoryTree::new();
        let foreign = Arc::new(tree.session(Changes::new(1 << 20)));
        [(); 2].map(|()| {
            let changes = Changes::new(1 << 20);
            let store = Arc::new(tree.session(changes.clone()));
            Bare { core: Core::new(store, changes, Options::default()), foreign: foreign.clone() }
        })
    }

    pub async fn apply(&self, operation: &Operation) -> Result<(), i32> {
        let outcome = self.perform(operation).await.map_err(|errno| errno.0);
        assert!(!outcome.is_err_and(|errno| NEVER.contains(&errno)), "{operation:?}: {outcome:?}");
        outcome
    }

    async fn perform(&self, operation: &Operation) -> Result<(), Errno> {
        let zk = |at: &str| ZnodePath::parse(&format!("/{at}")).expect("a valid path");
        match operation {
            Operation::Write(at, text) => self.save(at, WRITE | libc::O_TRUNC, text).await,
            Operation::Append(at, text) => self.save(at, WRITE | libc::O_APPEND, text).await,
            Operation::Create(at) => self.save(at, WRITE | libc::O_EXCL, "").await,
            Operation::Resize(at, size) => {
                let (parent, name) = self.parent(at).await?;
                let entry = self.core.lookup(parent, OsStr::new(name), CALLER).await?;
                let wanted = Wanted { size: Some(*size as u64), ..Wanted::default() };
                self.core.setattr(entry.attributes.ino, None, wanted).await.map(drop)
            }
            Operation::Mkdir(at) => {
                let (parent, name) = self.parent(at).await?;
                self.core.mkdir(parent, OsStr::new(name)).await.map(drop)
            }
            Operation::Rmdir(at) => {
                let (parent, name) = self.parent(at).await?;
                self.core.rmdir(parent, OsStr::new(name)).await
            }
            Operation::Unlink(at) => {
                let (parent, name) = self.parent(at).await?;
                self.core.unlink(parent, OsStr::new(name)).await
            }
            Operation::Rename(from, to, mode) => {
                let ((old, from), (new, to)) = (self.parent(from).await?, self.parent(to).await?);
                // The kernel looks both up first, and decides by itself what it can.
                self.core.lookup(old, OsStr::new(from), CALLER).await?;
                let exists = self.core.lookup(new, OsStr::new(to), CALLER).await.is_ok();
                if exists && *mode == Mode::NoReplace {
                    return Err(Errno::EEXIST);
                }
                let mode = match mode {
                    Mode::Replace => RenameMode::Replace,
                    Mode::NoReplace => RenameMode::NoReplace,
                    Mode::Exchange => RenameMode::Exchange,
                };
                self.core.rename(old, OsStr::new(from), new, OsStr::new(to), mode, CALLER).await.map(drop)
            }
            Operation::Link(from, to) => {
                let (old, from) = self.parent(from).await?;
                let entry = self.core.lookup(old, OsStr::new(from), CALLER).await?;
                let (new, to) = self.parent(to).await?;
                self.core.link(entry.attributes.ino, new, OsStr::new(to), CALLER).await.map(drop)
            }
            Operation::ForeignCreate(at, text) => {
                let data = Bytes::copy_from_slice(text.as_bytes());
                let creation = Creation { path: zk(at), data, mode: CreateMode::Persistent, acl: None };
                self.foreign.create(&creation).await.map(drop).map_err(Errno::from)
            }
            Operation::ForeignSet(at, text) => {
                let data = Bytes::copy_from_slice(text.as_bytes());
                self.foreign.set(&zk(at), data, None).await.map(drop).map_err(Errno::from)
            }
            Operation::ForeignDelete(at) => self.foreign.delete(&zk(at), None).await.map_err(Errno::from),
        }
    }

    /// What this host shows.
    pub async fn tree(&self) -> Shown {
        let mut shown = Shown::new();
        let mut waiting = vec![(Ino::ROOT, String::new())];
        while let Some((ino, at)) = waiting.pop() {
            let dir = self.core.opendir(ino).expect("a directory");
            let mut offset = 0;
            loop {
                let items = self.core.readdir(ino, dir, offset).await.expect("a listing");
                let Some(last) = items.last() else { break };
                offset = last.next;
                for item in items.iter().filter(|item| !item.name.starts_with('.')) {
                    let entry = self.core.lookup(ino, OsStr::new(&item.name), CALLER).await.expect("it is listed");
                    let path = if at.is_empty() { item.name.clone() } else { format!("{at}/{}", item.name) };
                    assert_eq!(item.kind, entry.attributes.kind, "{path}: a listing has the types of a look-up");
                    if entry.attributes.kind == FileKind::Directory {
                        shown.insert(path.clone(), None);
                        waiting.push((entry.attributes.ino, path));
                    } else {
                        let text = self.read(entry.attributes.ino).await;
                        assert_eq!(text.len() as u64, entry.attributes.size, "{path}");
                        shown.insert(path, Some(text));
                    }
                }
            }
            self.core.releasedir(dir);
        }
        shown
    }

    async fn parent<'a>(&self, at: &'a str) -> Result<(Ino, &'a str), Errno> {
        let (dir, name) = at.rsplit_once('/').unwrap_or(("", at));
        let mut ino = Ino::ROOT;
        for part in dir.split('/').filter(|part| !part.is_empty()) {
            ino = self.core.lookup(ino, OsStr::new(part), CALLER).await?.attributes.ino;
        }
        Ok((ino, name))
    }

    /// What the kernel does for an open, a write and a close.
    async fn save(&self, at: &str, flags: i32, text: &str) -> Result<(), Errno> {
        let (parent, name) = self.parent(at).await?;
        let fh: Fh = match self.core.lookup(parent, OsStr::new(name), CALLER).await {
            Ok(_) if flags & libc::O_EXCL != 0 => return Err(Errno::EEXIST),
            Ok(entry) if entry.attributes.kind == FileKind::Directory => return Err(Errno::EISDIR),
            Ok(entry) => self.core.open(entry.attributes.ino, flags, CALLER).await?.fh,
            Err(Errno::ENOENT) => self.core.create(parent, OsStr::new(name), flags, CALLER).await?.opened.fh,
            Err(error) => return Err(error),
        };
        let written = match text {
            "" => Ok(()),
            text => self.core.write(fh, 0, Bytes::copy_from_slice(text.as_bytes())).await.map(drop),
        };
        self.core.release(fh).await;
        written
    }

    async fn read(&self, ino: Ino) -> String {
        let fh = self.core.open(ino, libc::O_RDONLY, CALLER).await.expect("a file").fh;
        let data = self.core.read(fh, 0, 1 << 20).await.expect("it can be read");
        self.core.release(fh).await;
        String::from_utf8(data.to_vec()).expect("text")
    }
}

/// A real mount of a tree in memory.
pub struct Kernel(rig::Mount);

impl Kernel {
    pub fn mount() -> Kernel {
        Kernel(rig::Mount::new("memory:"))
    }

    pub fn apply(&self, operation: &Operation) -> Result<(), i32> {
        let outcome = self.perform(operation).map_err(|error| error.raw_os_error().expect("an errno"));
        assert!(!outcome.is_err_and(|errno| NEVER.contains(&errno)), "{operation:?}: {outcome:?}");
        outcome
    }

    fn perform(&self, operation: &Operation) -> io::Result<()> {
        let at = |path: &str| self.0.join(path);
        match operation {
            Operation::Write(path, text) => fs::write(at(path), text),
            Operation::Append(path, text) => {
                fs::OpenOptions::new().append(true).create(true).open(at(path))?.write_all(text.as_bytes())
            }
            Operation::Create(path) => fs::File::create_new(at(path)).map(drop),
            Operation::Resize(path, size) => {
                let path = c_path(&at(path));
                check(unsafe { libc::truncate(path.as_ptr(), *size as i64) })
            }
            Operation::Mkdir(path) => fs::create_dir(at(path)),
            Operation::Rmdir(path) => fs::remove_dir(at(path)),
            Operation::Unlink(path) => fs::remove_file(at(path)),
            Operation::Rename(from, to, mode) => {
                let flags = match mode {
                    Mode::Replace => 0,
                    Mode::NoReplace => libc::RENAME_NOREPLACE,
                    Mode::Exchange => libc::RENAME_EXCHANGE,
                };
                let (from, to) = (c_path(&at(from)), c_path(&at(to)));
                let here = libc::AT_FDCWD;
                check(unsafe { libc::renameat2(here, from.as_ptr(), here, to.as_ptr(), flags) })
            }
            Operation::Link(from, to) => fs::hard_link(at(from), at(to)),
            Operation::ForeignCreate(..) | Operation::ForeignSet(..) | Operation::ForeignDelete(..) => {
                unreachable!("a tree in memory has no other client")
            }
        }
    }

    /// What the mount shows.
    pub fn tree(&self) -> Shown {
        let mut shown = Shown::new();
        let mut waiting = vec![String::new()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(self.0.join(&dir)).expect("a directory") {
                let entry = entry.expect("an entry");
                let name = entry.file_name().into_string().expect("UTF-8");
                let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                if entry.file_type().expect("a type").is_dir() {
                    shown.insert(path.clone(), None);
                    waiting.push(path);
                } else {
                    let text = fs::read_to_string(entry.path()).expect("it can be read");
                    shown.insert(path, Some(text));
                }
            }
        }
        shown
    }
}

fn c_path(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no zero byte in a path")
}

fn check(outcome: i32) -> io::Result<()> {
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
