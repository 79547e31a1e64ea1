//! The teller and the programs of its own mount at work on the same names, in every order. The kernel is a list of what it
//! was told, and holds still for a moment where the programs of the mount are to come first.

use std::ffi::OsStr;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::act::{Act, Deed};
use super::teller::Now;
use super::*;
use crate::error::Errno;
use crate::fs::changes::Changes;
use crate::fs::core::tests::{CALLER, NEW, path};
use crate::fs::inode::Ino;
use crate::fs::options::Options;
use crate::mapping::Zxid;
use crate::session::memory::{Memory, MemoryTree};
use crate::session::{Change, CreateMode, Creation};

type Program = Box<dyn FnOnce(&Mount) + Send>;

/// A mount whose kernel is a list.
struct Mount {
    runtime: Runtime,
    core: Arc<Core<Memory>>,
    changes: Arc<Changes>,
    /// Everybody else.
    others: Memory,
    stage: Arc<Stage>,
    told: Mutex<Vec<String>>,
    /// What a program of this mount does just before the kernel is told something.
    first: Mutex<Option<Program>>,
}

impl Mount {
    fn new() -> (Arc<Mount>, Teller<Memory>) {
        let runtime = Runtime::new().unwrap();
        let tree = MemoryTree::new();
        let changes = Changes::new(1 << 20);
        let core = Arc::new(Core::new(Arc::new(tree.session(changes.clone())), changes.clone(), Options::default()));
        let stage = Arc::new(Stage::default());
        let teller = Teller::new(core.clone(), stage.clone(), runtime.handle().clone());
        let others = tree.session(Changes::new(1 << 20));
        let (told, first) = (Mutex::default(), Mutex::default());
        let mount = Arc::new(Mount { runtime, core, changes, others, stage, told, first });
        mount.changes.tidings.open();
        let kernel = mount.clone();
        thread::spawn(move || {
            while let Some(act) = kernel.stage.next() {
                let program = kernel.first.lock().unwrap().take();
                program.into_iter().for_each(|program| program(&kernel));
                let performed = kernel.perform(&act);
                kernel.stage.done(performed.map_err(|errno| io::Error::other(errno.to_string())));
            }
        });
        (mount, teller)
    }

    fn wait<T>(&self, operation: impl Future<Output = T>) -> T {
        self.runtime.block_on(operation)
    }

    /// The calls that a kernel makes.
    fn perform(&self, act: &Act) -> Result<(), Errno> {
        let (stage, inodes) = (&self.stage, &self.changes.inodes);
        let last = act.last().expect("the root is not acted on");
        let name = last.name.to_str().unwrap();
        let found = stage.lookup(inodes, last.dir, &last.name);
        match act.deed {
            Deed::Create { .. } | Deed::MakeDir => {
                assert_eq!(found.unwrap_err(), Errno::ENOENT);
                stage.make(&self.changes, last.dir, &last.name)?;
                self.tell("CREATE", name);
            }
            Deed::Unlink | Deed::RemoveDir => {
                let ino = found?.attributes.ino;
                stage.remove(&self.changes, last.dir, &last.name)?;
                self.tell("DELETE", name);
                let is_there = self.wait(self.core.getattr(ino)).is_ok();
                assert!(!is_there, "{name} was removed by the number of what is there");
            }
            Deed::Modify | Deed::Touch => self.tell("MODIFY", name),
        }
        inodes.forget(last.ino, 1);
        Ok(())
    }

    fn tell(&self, event: &str, name: &str) {
        self.told.lock().unwrap().push(format!("{event} {name}"));
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    /// A program of this mount does this before the kernel is told anything more.
    fn first(&self, program: impl FnOnce(&Mount) + Send + 'static) {
        *self.first.lock().unwrap() = Some(Box::new(program));
    }

    /// Another client makes a znode.
    fn other_makes(&self, at: &str, data: &'static str) {
        let data = Bytes::from_static(data.as_bytes());
        let creation = Creation { path: path(at), data, mode: CreateMode::Persistent, acl: None };
        self.wait(self.others.create(&creation)).unwrap();
    }

    /// Another client deletes a znode.
    fn other_deletes(&self, at: &str) {
        self.wait(self.others.delete(&path(at), None)).unwrap();
    }

    /// A program of this mount looks at a name in the root.
    fn looks(&self, name: &str) -> Ino {
        self.wait(self.core.lookup(Ino::ROOT, OsStr::new(name), CALLER)).unwrap().attributes.ino
    }

    fn makes_dir(&self, name: &str) {
        self.wait(self.core.mkdir(Ino::ROOT, OsStr::new(name))).unwrap();
        self.tell("CREATE", name);
    }

    fn removes_dir(&self, name: &str) {
        self.wait(self.core.rmdir(Ino::ROOT, OsStr::new(name))).unwrap();
        self.tell("DELETE", name);
    }

    fn makes_file(&self, name: &str) {
        let opened = self.wait(self.core.create(Ino::ROOT, OsStr::new(name), NEW, CALLER)).unwrap().opened;
        self.wait(self.core.release(opened.fh));
        self.tell("CREATE", name);
    }

    fn removes_file(&self, name: &str) {
        self.looks(name);
        self.wait(self.core.unlink(Ino::ROOT, OsStr::new(name))).unwrap();
        self.tell("DELETE", name);
    }
}

impl Teller<Memory> {
    fn tell_all(&mut self) {
        loop {
            let items = self.changes.tidings.try_take();
            if items.is_empty() {
                return;
            }
            self.tell(items).unwrap();
        }
    }
}

#[test]
fn what_is_made_anew_before_its_end_is_told_lives() {
    let (mount, mut teller) = Mount::new();
    mount.makes_dir("d");
    mount.other_deletes("/d");
    mount.first(|mount| mount.makes_dir("d"));
    teller.tell_all();
    assert_eq!(mount.told(), ["CREATE d", "CREATE d", "DELETE d", "CREATE d"]);
    mount.other_deletes("/d");
    teller.tell_all();
    assert_eq!(mount.told(), ["DELETE d"]);
}

#[test]
fn what_is_removed_before_its_creation_is_told_is_not_told_to_be_there() {
    let (mount, mut teller) = Mount::new();
    mount.other_makes("/f", "x");
    mount.first(|mount| mount.removes_file("f"));
    teller.tell_all();
    assert_eq!(mount.told(), ["DELETE f"]);
    // The next one is told as ever.
    mount.other_makes("/f", "x");
    mount.other_deletes("/f");
    teller.tell_all();
    assert_eq!(mount.told(), ["CREATE f", "DELETE f"]);
}

#[test]
fn what_another_one_made_meanwhile_is_told() {
    let (mount, mut teller) = Mount::new();
    mount.other_makes("/f", "x");
    mount.first(|mount| {
        mount.removes_file("f");
        mount.other_makes("/f", "y");
    });
    teller.tell_all();
    assert_eq!(mount.told(), ["DELETE f", "CREATE f"]);
}

#[test]
fn what_is_made_and_removed_before_an_end_is_told() {
    let (mount, mut teller) = Mount::new();
    mount.other_makes("/d", "");
    teller.tell_all();
    let ino = mount.looks("d");
    mount.other_deletes("/d");
    mount.first(|mount| {
        mount.makes_dir("d");
        mount.removes_dir("d");
    });
    teller.tell_all();
    // Those who watch the first one itself wait for its end.
    assert_eq!(mount.told(), ["CREATE d", "CREATE d", "DELETE d", "DELETE d"]);
    assert!(mount.changes.inodes.known(&path("/d")).iter().all(|known| known.gone), "{ino:?}");
    // Nobody knew of this one, so its end is that of the name.
    mount.other_makes("/e", "");
    teller.tell_all();
    mount.other_deletes("/e");
    mount.makes_dir("e");
    mount.removes_dir("e");
    teller.tell_all();
    assert_eq!(mount.told(), ["CREATE e", "CREATE e", "DELETE e"]);
}

#[test]
fn what_was_removed_in_the_place_of_another_is_told_in_pairs() {
    let (mount, mut teller) = Mount::new();
    mount.other_makes("/f", "1");
    teller.tell_all();
    mount.looks("f");
    // It is removed by another one and made anew while a program of this mount is about to remove it.
    let own = mount.changes.own(vec![(path("/f"), Change::Deleted)]);
    mount.other_deletes("/f");
    mount.other_makes("/f", "2");
    mount.other_deletes("/f");
    own.applied();
    mount.tell("DELETE", "f");
    teller.tell_all();
    assert_eq!(mount.told(), ["CREATE f", "DELETE f", "CREATE f", "DELETE f"]);
}

#[test]
fn what_is_made_during_a_comparison_is_not_told_to_be_gone() {
    let (mount, mut teller) = Mount::new();
    mount.other_makes("/a", "x");
    mount.other_makes("/b", "");
    teller.tell_all();
    mount.looks("a");
    mount.looks("b");
    mount.told();
    mount.changes.tidings.close();
    mount.other_deletes("/a");
    mount.other_deletes("/b");
    mount.changes.tidings.open();
    mount.first(|mount| {
        mount.makes_file("a");
        mount.makes_dir("b");
        mount.makes_dir("c");
    });
    teller.resync(Zxid(1 << 40), None).unwrap();
    let mut told = mount.told();
    told.sort();
    let expected = ["CREATE a", "CREATE a", "CREATE b", "CREATE b", "CREATE c", "DELETE a", "DELETE b"];
    assert_eq!(told, expected);
    assert_eq!(mount.changes.inodes.believed(Ino::ROOT).0, ["a", "b", "c"]);
    assert!(!mount.changes.inodes.known(&path("/b")).iter().all(|known| known.gone));
}

#[test]
fn what_was_not_in_an_older_listing_is_not_told_to_be_gone() {
    let (mount, mut teller) = Mount::new();
    let found = teller.look([path("/d")].into()).unwrap().remove(&path("/d")).unwrap();
    assert_eq!(found.now, Now::Absent);
    mount.makes_dir("d");
    teller.vanished(&path("/d"), &found).unwrap();
    assert_eq!(mount.told(), ["CREATE d"]);
    // Renamed away and back again, the inode is the same.
    let ino = mount.looks("d");
    let found = teller.look([path("/d")].into()).unwrap().remove(&path("/d")).unwrap();
    for (from, to) in [("d", "e"), ("e", "d")] {
        let mode = crate::fs::core::RenameMode::Replace;
        let rename = || mount.core.rename(Ino::ROOT, OsStr::new(from), Ino::ROOT, OsStr::new(to), mode, CALLER);
        if mount.wait(rename()).is_err() {
            mount.looks(from);
            mount.wait(rename()).unwrap();
        }
    }
    assert!(mount.changes.inodes.known(&path("/d")).iter().any(|known| known.ino == ino && !known.gone));
    let absent = super::teller::Found { now: Now::Absent, ..found };
    teller.vanished(&path("/d"), &absent).unwrap();
    assert_eq!(mount.told(), [""; 0]);
}
