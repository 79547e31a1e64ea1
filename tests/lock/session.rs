//! What becomes of locks when the connection, the daemon or the session fails.

use std::fs;

use rig::{Direction, Mount, Proxy, Shell, Workdir, shared_server, until};

use crate::place::{Place, hold, start, until_says};

/// Holds the lock of `f` through descriptor 9; when the file `$1/go` is there, writes to it, and says what comes of it.
const HOLDER: &str = "exec 9<>f; flock 9; echo held; until [ -e \"$1/go\" ]; do sleep 0.02; done
    echo mine >&9 && echo written || echo \"refused $?\"; cat <&9 >/dev/null && echo read; flock -n 9 && echo locked
    exec sleep 600";

struct Holder {
    job: rig::Job,
    notes: Workdir,
}

impl Holder {
    fn start(mount: &Mount) -> Holder {
        let notes = Workdir::new("holder");
        let job = mount.script(Shell::Bash, HOLDER).arg(notes.path()).start();
        until_says(&job, "held");
        Holder { job, notes }
    }

    fn go(&self) -> String {
        fs::write(self.notes.path().join("go"), "").unwrap();
        until("the holder has tried", || {
            let said = self.job.stdout();
            said.contains("written") && said.contains("locked") || said.contains("refused")
        });
        self.job.stdout()
    }
}

fn direct_and_proxied(name: &str) -> (Proxy, String, String) {
    let connect = shared_server().chroot(name);
    let proxy = Proxy::to(shared_server());
    let through = proxy.instead_of(&connect);
    (proxy, through, connect)
}

#[test]
fn a_lock_outlives_an_interruption() {
    // > A lock is kept over an interruption that is shorter than the session, and waits go on.
    let (proxy, through, connect) = direct_and_proxied("short");
    let place = Place::on(&through, &connect, &connect);
    let holder = Holder::start(&place.a);
    let waiter = place.a.script(Shell::Bash, "exec flock f echo next").start();
    place.until_queue("/.f.lock", 2);
    proxy.cut();
    place.b.bash("flock -n f true").exits(1);
    assert_eq!(holder.go(), "held\nwritten\nread\nlocked\n");
    holder.job.kill9();
    assert_eq!(waiter.wait().success().text(), "next");
    place.until_queue("/.f.lock", 0);
}

#[test]
fn a_lost_session_poisons_the_descriptor() {
    // > When the session is lost, so are its locks: a descriptor that was locked answers EIO, for good, and who waits gets ENOLCK.
    let (proxy, through, connect) = direct_and_proxied("lost");
    let place = Place::on(&through, &connect, &connect);
    let holder = Holder::start(&place.a);
    let waiter = place.a.script(Shell::Bash, "exec flock f echo never").start();
    place.until_queue("/.f.lock", 2);
    let next = place.b.script(Shell::Bash, "exec flock f sh -c 'echo mine; exec sleep 600'").start();
    place.until_queue("/.f.lock", 3);
    proxy.expire_sessions();
    until_says(&next, "mine");
    let waiter = waiter.wait();
    assert!(waiter.code() != 0 && waiter.stderr.contains("No locks available"), "{waiter:?}");
    assert!(holder.go().starts_with("held\nrefused 1\n"), "{}", holder.job.stdout());
    assert!(holder.job.stderr().contains("Input/output error"));
    until("the holder is refused all", || holder.job.stderr().matches("Input/output error").count() >= 3);
    assert_eq!(place.witness.text("/f"), "");
    // > A file that is opened anew after a loss is not bound to the lock that was lost.
    until("there is a new session", || place.a.bash("echo anew > f").code() == 0);
    place.a.bash("flock -n f true").exits(1);
    next.kill9();
    place.a.bash("flock -w 20 f echo again").success();
}

#[test]
fn a_frozen_daemon_loses_its_locks_and_writes_nothing_afterwards() {
    // > A daemon that was stopped for longer than its session takes no write to a file that it had locked, whoever has the lock by now.
    let connect = shared_server().chroot("frozen");
    let doomed = Mount::options(&connect).args(&["--session-timeout", "4s"]).mount();
    let place = Place::of(doomed, Mount::new(&connect), &connect);
    let holder = Holder::start(&place.a);
    let before = token(&place.b);
    let frozen = place.a.freeze();
    let next = start(&place.b, "exec flock -w 25 f sh -c 'echo mine; exec sleep 600'", "mine");
    assert!(token(&place.b) > before);
    fs::write(holder.notes.path().join("go"), "").unwrap();
    frozen.thaw();
    assert!(holder.go().starts_with("held\nrefused 1\n"), "{}", holder.job.stdout());
    assert_eq!(place.witness.text("/f"), "");
    drop(next);
}

#[test]
fn a_partition_in_one_direction_ends_like_one_in_both() {
    let (proxy, through, connect) = direct_and_proxied("oneway");
    let doomed = Mount::options(&through).args(&["--session-timeout", "4s"]).mount();
    let place = Place::of(doomed, Mount::new(&connect), &connect);
    let holder = Holder::start(&place.a);
    // The server hears nothing; what it says arrives.
    proxy.stall(Direction::ToServer);
    let next = start(&place.b, "exec flock -w 25 f sh -c 'echo mine; exec sleep 600'", "mine");
    assert!(holder.go().starts_with("held\nrefused 1\n"), "{}", holder.job.stdout());
    proxy.flow();
    until("the mount is back", || place.a.bash("cat f").code() == 0);
    assert_eq!(place.witness.text("/f"), "");
    drop(next);
}

#[test]
fn a_refused_lock_leaves_nothing_when_its_reply_is_lost() {
    // > A request whose reply was lost leaves nothing in the queue.
    let (proxy, through, connect) = direct_and_proxied("replies");
    let place = Place::on(&through, &connect, &connect);
    place.a.bash("flock -n f true").success();
    for round in 0..4 {
        let trap = proxy.trap().creates().path(".f.lock").lose_reply();
        place.a.bash("flock -w 20 f echo mine").success();
        assert!(trap.sprung());
        place.until_queue("/.f.lock", 0);
        let holder = hold(&place.b, "f");
        let trap = proxy.trap().creates().path(".f.lock").lose_reply();
        place.a.bash(&format!("flock -w 1 -E 9 f echo never {round}")).exits(9);
        drop(trap);
        place.until_queue("/.f.lock", 1);
        holder.kill9();
        place.until_queue("/.f.lock", 0);
        // The reply to the release, and to the look at the queue.
        for op in [rig::Op::Delete, rig::Op::GetChildren2] {
            let trap = proxy.trap().op(op).path(".f.lock").lose_reply();
            place.a.bash("flock -w 20 f echo mine").success();
            drop(trap);
            place.until_queue("/.f.lock", 0);
        }
    }
}

fn token(mount: &Mount) -> i64 {
    let view = mount.bash("cat f@lock").success();
    let token = view.lines()[0].split(' ').find_map(|field| field.strip_prefix("token=0x").map(str::to_owned));
    i64::from_str_radix(&token.unwrap(), 16).unwrap()
}
