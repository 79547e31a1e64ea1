//! Locks of hosts that share a tree in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::lock::{Lock, Range};
use super::*;
use crate::fs::lock::{Cancel, Mode};
use crate::session::memory::Fault;
use Mode::{Exclusive, Shared};

const WHOLE: Range = Range { start: 0, end: i64::MAX as u64 };

/// An open file that is to be locked, as by flock(2).
#[derive(Clone)]
struct Descriptor {
    host: Arc<Host>,
    fh: Fh,
    ino: Ino,
    owner: u64,
}

impl Descriptor {
    async fn open(host: &Arc<Host>, at: &str) -> Descriptor {
        static OWNERS: AtomicU64 = AtomicU64::new(1);
        let fh = host.open(at, libc::O_RDWR | libc::O_CREAT).await.unwrap();
        let ino = host.look_up(at).await.unwrap().attributes.ino;
        Descriptor { host: host.clone(), fh, ino, owner: OWNERS.fetch_add(1, Ordering::Relaxed) }
    }

    async fn ask(&self, mode: Option<Mode>, wait: bool, cancel: &Cancel) -> Result<()> {
        let lock = Lock { owner: self.owner, mode, range: WHOLE, pid: 7 };
        self.host.core.setlk(self.ino, self.fh, lock, wait, cancel).await
    }

    async fn try_lock(&self, mode: Mode) -> Result<()> {
        self.ask(Some(mode), false, &Cancel::default()).await
    }

    async fn unlock(&self) -> Result<()> {
        self.ask(None, false, &Cancel::default()).await
    }

    /// Waits for the lock in a task of its own, and returns once it stands in the queue, which then is so long.
    async fn wait(&self, mode: Mode, place: &str, length: usize) -> (JoinHandle<Result<()>>, Arc<Cancel>) {
        let cancel = Arc::new(Cancel::default());
        let task = {
            let (descriptor, cancel) = (self.clone(), cancel.clone());
            tokio::spawn(async move { descriptor.ask(Some(mode), true, &cancel).await })
        };
        until(|| async { self.host.children(place).await.len() == length }).await;
        (task, cancel)
    }

    async fn close(&self) {
        self.host.core.release(self.fh).await;
    }
}

impl Host {
    async fn children(&self, at: &str) -> Vec<String> {
        self.store().children(&path(at)).await.map(|(names, _)| names).unwrap_or_default()
    }
}

async fn until<F: Future<Output = bool>>(fact: impl Fn() -> F) {
    let wait = async {
        while !fact().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("a fact");
}

async fn ends(task: JoinHandle<Result<()>>) -> Result<()> {
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("an end").unwrap()
}

fn hosts<const N: usize>() -> [Arc<Host>; N] {
    let tree = MemoryTree::new();
    [(); N].map(|()| Arc::new(Host::on(&tree, Options::default())))
}

#[tokio::test]
async fn one_holds_and_the_others_have_it_in_the_order_of_asking() {
    let [a, b] = hosts();
    let (first, second, third) =
        (Descriptor::open(&a, "f").await, Descriptor::open(&b, "f").await, Descriptor::open(&a, "f").await);
    first.try_lock(Exclusive).await.unwrap();
    assert_eq!(first.try_lock(Exclusive).await, Ok(()), "it has it already");
    assert_eq!(second.try_lock(Exclusive).await, Err(Errno::EAGAIN));
    assert_eq!(second.try_lock(Shared).await, Err(Errno::EAGAIN));
    assert_eq!(a.children("/.f.lock").await.len(), 1, "who is refused leaves nothing");
    let (two, _) = second.wait(Exclusive, "/.f.lock", 2).await;
    let (three, _) = third.wait(Exclusive, "/.f.lock", 3).await;
    first.unlock().await.unwrap();
    assert_eq!(ends(two).await, Ok(()));
    assert!(!three.is_finished());
    second.close().await;
    assert_eq!(ends(three).await, Ok(()));
    third.close().await;
    assert!(a.children("/.f.lock").await.is_empty());
    assert_eq!((a.core.locks.count(), a.core.locks.bells.count()), (0, 0));
}

#[tokio::test]
async fn readers_share_and_do_not_overtake_a_writer() {
    let [a, b] = hosts();
    a.mkdir("d").await.unwrap();
    let open = || Descriptor::open(&a, "d/@lock");
    let (one, two, late) = (open().await, Descriptor::open(&b, "d/@lock").await, open().await);
    one.try_lock(Shared).await.unwrap();
    two.try_lock(Shared).await.unwrap();
    let writer = Descriptor::open(&b, "d/@lock").await;
    let (write, _) = writer.wait(Exclusive, "/d", 3).await;
    assert_eq!(late.try_lock(Shared).await, Err(Errno::EAGAIN), "a writer is waiting");
    let (read, _) = late.wait(Shared, "/d", 4).await;
    one.unlock().await.unwrap();
    assert!(!write.is_finished());
    two.unlock().await.unwrap();
    assert_eq!(ends(write).await, Ok(()));
    assert!(!read.is_finished());
    // From exclusive to shared: with those that wait for it.
    assert_eq!(writer.ask(Some(Shared), true, &Cancel::default()).await, Ok(()));
    assert_eq!(ends(read).await, Ok(()));
    assert_eq!(one.try_lock(Exclusive).await, Err(Errno::EAGAIN));
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_and_those_behind_it_move_up() {
    let [a] = hosts();
    let (holder, impatient, patient) =
        (Descriptor::open(&a, "f").await, Descriptor::open(&a, "f").await, Descriptor::open(&a, "f").await);
    holder.try_lock(Exclusive).await.unwrap();
    let (waiting, cancel) = impatient.wait(Exclusive, "/.f.lock", 2).await;
    let (behind, _) = patient.wait(Exclusive, "/.f.lock", 3).await;
    cancel.cancel();
    assert_eq!(ends(waiting).await, Err(Errno::EINTR));
    assert_eq!(a.children("/.f.lock").await.len(), 2);
    assert!(!behind.is_finished());
    holder.close().await;
    assert_eq!(ends(behind).await, Ok(()));
}

#[tokio::test]
async fn a_lost_session_poisons_the_descriptor_and_refuses_its_writes() {
    let [a, b] = hosts();
    let (holder, next) = (Descriptor::open(&a, "f").await, Descriptor::open(&b, "f").await);
    a.put(holder.fh, 0, "before").await.unwrap();
    holder.try_lock(Exclusive).await.unwrap();
    a.put(holder.fh, 0, "locked").await.unwrap();
    let waiter = Descriptor::open(&a, "f").await;
    let (waiting, _) = waiter.wait(Exclusive, "/.f.lock", 2).await;
    let (moves_up, _) = next.wait(Exclusive, "/.f.lock", 3).await;
    a.store().expire();
    assert_eq!(ends(waiting).await, Err(Errno::ENOLCK));
    assert_eq!(ends(moves_up).await, Ok(()));
    assert_eq!(a.put(holder.fh, 0, "never").await, Err(Errno::EIO));
    assert_eq!(a.core.read(holder.fh, 0, 9).await, Err(Errno::EIO));
    assert_eq!(a.core.fsync(holder.ino, Some(holder.fh)).await, Err(Errno::EIO));
    assert_eq!(holder.unlock().await, Err(Errno::EIO));
    assert_eq!(holder.try_lock(Exclusive).await, Err(Errno::EIO));
    holder.close().await;
    assert_eq!(b.data("/f").await, "locked");
    a.write("f", "anew").await.unwrap();
    let anew = Descriptor::open(&a, "f").await;
    assert_eq!(anew.try_lock(Exclusive).await, Err(Errno::EAGAIN));
    next.close().await;
    assert_eq!(anew.try_lock(Exclusive).await, Ok(()));
}

#[tokio::test]
async fn a_write_is_refused_by_the_server_when_the_contender_is_gone() {
    // > A write through a locked descriptor is conditional on the lock at the server: when the lock is gone by then, it is EIO and changes nothing.
    let [a, b] = hosts();
    let holder = Descriptor::open(&a, "f").await;
    a.put(holder.fh, 0, "before").await.unwrap();
    holder.try_lock(Exclusive).await.unwrap();
    let name = a.children("/.f.lock").await.remove(0);
    // The mount does not hear of it, so that only the server knows.
    a.store().suspend();
    b.store().delete(&path(&format!("/.f.lock/{name}")), None).await.unwrap();
    let write = async { a.put(holder.fh, 0, "never").await };
    let resume = async { a.store().resume() };
    let (written, ()) = tokio::join!(write, resume);
    assert_eq!(written, Err(Errno::EIO));
    assert_eq!(b.data("/f").await, "before");
}

#[tokio::test]
async fn a_holder_whose_contender_was_deleted_is_told() {
    let [a, b] = hosts();
    let holder = Descriptor::open(&a, "f").await;
    holder.try_lock(Exclusive).await.unwrap();
    let name = a.children("/.f.lock").await.remove(0);
    b.store().delete(&path(&format!("/.f.lock/{name}")), None).await.unwrap();
    assert_eq!(a.core.read(holder.fh, 0, 9).await, Err(Errno::EIO));
}

#[tokio::test]
async fn a_queue_outlives_an_interruption() {
    let [a, b] = hosts();
    let (holder, waiter) = (Descriptor::open(&a, "f").await, Descriptor::open(&b, "f").await);
    holder.try_lock(Exclusive).await.unwrap();
    let (waiting, _) = waiter.wait(Exclusive, "/.f.lock", 2).await;
    b.store().suspend();
    holder.unlock().await.unwrap();
    a.store().suspend();
    assert!(!waiting.is_finished());
    b.store().resume();
    assert_eq!(ends(waiting).await, Ok(()), "what happened meanwhile is looked for");
    a.store().resume();
    assert_eq!(a.core.read(holder.fh, 0, 9).await.map(|data| data.len()), Ok(0));
}

#[tokio::test]
async fn lost_replies_leave_no_contender_behind() {
    let [a, b] = hosts();
    let holder = Descriptor::open(&a, "f").await;
    for fault in [Fault::Applied, Fault::NotApplied] {
        holder.try_lock(Exclusive).await.unwrap();
        a.store().lose_next_reply(fault);
        holder.unlock().await.unwrap();
        until(|| async { b.children("/.f.lock").await.is_empty() }).await;
        a.store().lose_next_reply(fault);
        assert_eq!(holder.try_lock(Exclusive).await, Ok(()));
        assert_eq!(b.children("/.f.lock").await.len(), 1);
        holder.unlock().await.unwrap();
    }
}

#[tokio::test]
async fn no_lock_without_a_session() {
    // > While there is no session, a lock is ENOLCK.
    let [a] = hosts();
    let descriptor = Descriptor::open(&a, "f").await;
    a.store().suspend();
    a.store().expire();
    assert_eq!(descriptor.try_lock(Exclusive).await, Err(Errno::ENOLCK));
    let cancel = Cancel::default();
    assert_eq!(descriptor.ask(Some(Exclusive), true, &cancel).await, Err(Errno::ENOLCK));
    a.store().resume();
    assert_eq!(descriptor.try_lock(Exclusive).await, Ok(()));
}

#[tokio::test]
async fn parts_of_files_and_things_that_cannot_be_locked() {
    let [a] = hosts();
    let file = Descriptor::open(&a, "f").await;
    let part = |mode| Lock { owner: file.owner, mode, range: Range { start: 0, end: 0 }, pid: 7 };
    let cancel = Cancel::default();
    let set = |lock| a.core.setlk(file.ino, file.fh, lock, false, &cancel);
    assert_eq!(set(part(Some(Exclusive))).await, Err(Errno::EINVAL));
    assert_eq!(set(part(None)).await, Ok(()), "there is nothing to give back");
    file.try_lock(Exclusive).await.unwrap();
    assert_eq!(set(part(None)).await, Err(Errno::EINVAL));
    let scratch = Descriptor::open(&a, ".f.swp").await;
    assert_eq!(scratch.try_lock(Exclusive).await, Err(Errno::EOPNOTSUPP));
    let session = a.open("@session", libc::O_RDONLY).await.unwrap();
    let ino = a.look_up("@session").await.unwrap().attributes.ino;
    let whole = Lock { range: WHOLE, ..part(Some(Exclusive)) };
    assert_eq!(a.core.setlk(ino, session, whole, false, &Cancel::default()).await, Err(Errno::EOPNOTSUPP));
}

#[tokio::test]
async fn getlk_tells_who_is_in_the_way() {
    let [a, b] = hosts();
    let (mine, other) = (Descriptor::open(&a, "f").await, Descriptor::open(&b, "f").await);
    let ask = |descriptor: &Descriptor, mode| {
        let (host, ino) = (descriptor.host.clone(), descriptor.ino);
        let lock = Lock { owner: descriptor.owner, mode: Some(mode), range: WHOLE, pid: 7 };
        async move { host.core.getlk(ino, lock).await.unwrap() }
    };
    assert_eq!(ask(&mine, Exclusive).await, None);
    mine.try_lock(Shared).await.unwrap();
    assert_eq!(ask(&mine, Exclusive).await, None, "only one's own");
    assert_eq!(ask(&other, Shared).await, None);
    assert_eq!(ask(&other, Exclusive).await, Some((Shared, 7)));
}

#[tokio::test]
async fn the_view_shows_holder_queue_and_token() {
    let [a, b] = hosts();
    let holder = Descriptor::open(&a, "f").await;
    assert_eq!(a.read("f@lock").await.unwrap(), "");
    holder.try_lock(Exclusive).await.unwrap();
    let waiter = Descriptor::open(&b, "f@lock").await;
    let (waiting, _) = waiter.wait(Shared, "/.f.lock", 2).await;
    let text = a.read("f@lock").await.unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let token = a.core.getxattr(holder.ino, "user.zk.lock.token").await.unwrap();
    let token = format!(" token={} ", String::from_utf8(token).unwrap());
    assert!(lines[0].starts_with("holder mode=exclusive host=") && lines[0].contains(&token), "{text}");
    assert!(lines[0].contains(" pid=7 ") && lines[0].contains(" validity_ms=30000 "), "{text}");
    assert!(lines[1].starts_with("waiter mode=shared host=") && lines[1].contains(" validity_ms=- "), "{text}");
    assert_eq!(a.core.getxattr(waiter.ino, "user.zk.lock.token").await, Err(Errno::ENODATA));
    holder.close().await;
    assert_eq!(ends(waiting).await, Ok(()));
    let text = String::from_utf8(b.core.read(waiter.fh, 0, 4096).await.unwrap().to_vec()).unwrap();
    assert!(text.starts_with("holder mode=shared") && text.lines().count() == 1, "an open view is read anew: {text}");
    waiter.close().await;
}

#[tokio::test]
async fn two_processes_that_share_an_open_file_share_its_lock() {
    let [a, b] = hosts();
    let (holder, parent) = (Descriptor::open(&a, "f").await, Descriptor::open(&b, "f").await);
    let child = parent.clone();
    holder.try_lock(Exclusive).await.unwrap();
    let (one, _) = parent.wait(Exclusive, "/.f.lock", 2).await;
    let (two, _) = child.wait(Exclusive, "/.f.lock", 3).await;
    holder.unlock().await.unwrap();
    assert_eq!((ends(one).await, ends(two).await), (Ok(()), Ok(())));
    until(|| async { b.children("/.f.lock").await.len() == 1 }).await;
    child.unlock().await.unwrap();
    assert_eq!(holder.try_lock(Exclusive).await, Ok(()));
    assert_eq!(parent.unlock().await, Ok(()));
}

#[tokio::test]
async fn fcntl_locks_go_with_the_process_and_flock_locks_do_not() {
    let [a] = hosts();
    let (one, two, probe) =
        (Descriptor::open(&a, "f").await, Descriptor::open(&a, "f").await, Descriptor::open(&a, "f").await);
    one.try_lock(Exclusive).await.unwrap();
    // The process closes another descriptor of the file.
    a.core.unlock_owner(one.ino, two.owner).await;
    assert_eq!(probe.try_lock(Exclusive).await, Err(Errno::EAGAIN));
    a.core.unlock_owner(one.ino, one.owner).await;
    assert_eq!(probe.try_lock(Exclusive).await, Ok(()));
}
