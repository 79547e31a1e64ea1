//! The checker is checked: a history that is right is accepted, and each way of being wrong is found.

use std::time::Duration;

use rig::{Change, Op, Transaction};

use crate::ascribed::Ascribed;
use crate::checker::{Rules, check};
use crate::operation::{Kind, Mark, Operation, Outcome, Seen, data};
use crate::register::check_registers;
use crate::tree::Tree;

/// A history by hand. Times are whole seconds, so that what is done late is.
#[derive(Clone, Default)]
struct History {
    operations: Vec<Operation>,
    transactions: Vec<Transaction>,
}

const SECOND: u64 = 1_000_000_000;
const RULES: Rules = Rules { mounts: 2, late: Duration::from_secs(10), setup: 1 };

/// The sessions of the hosts.
const SESSIONS: [i64; 3] = [100, 200, 300];

impl History {
    fn asked(&mut self, host: usize, kind: Kind, path: &str, mark: Option<Mark>, time: [u64; 2], outcome: Outcome) {
        let [begin, end] = time.map(|time| time * SECOND);
        self.operations.push(Operation { host, kind, path: path.to_owned(), mark, begin, end, outcome });
    }

    /// An operation with a mark.
    fn wrote(&mut self, host: usize, kind: Kind, path: &str, mark: Mark, time: [u64; 2]) {
        self.asked(host, kind, path, Some(mark), time, Outcome::Done);
    }

    /// An operation without one.
    fn did(&mut self, host: usize, kind: Kind, path: &str, time: [u64; 2]) {
        self.asked(host, kind, path, None, time, Outcome::Done);
    }

    fn saw(&mut self, host: usize, kind: Kind, path: &str, seen: Seen, time: [u64; 2]) {
        self.asked(host, kind, path, None, time, Outcome::Saw(seen));
    }

    fn read(&mut self, host: usize, content: &[Mark], time: [u64; 2]) {
        self.saw(host, Kind::Read, "/f", Seen::Content(content.to_vec()), time);
    }

    fn log(&mut self, zxid: i64, host: usize, changes: Vec<Change>) {
        self.transactions.push(Transaction { zxid, session: SESSIONS[host], changes, op: Op::Multi });
    }

    fn wrong(&self) -> Vec<String> {
        let tree = match Tree::replay(&self.transactions, "/root") {
            Ok(tree) => tree,
            Err(why) => return vec![why],
        };
        check(&self.operations, &tree, RULES).wrong
    }

    /// A copy with something changed.
    fn but(&self, edit: impl FnOnce(&mut History)) -> History {
        let mut copy = self.clone();
        edit(&mut copy);
        copy.operations.sort_by_key(|operation| operation.begin);
        copy.transactions.sort_by_key(|transaction| transaction.zxid);
        copy
    }

    fn of(&mut self, mark: Mark) -> &mut Operation {
        self.operations.iter_mut().find(|operation| operation.mark == Some(mark)).expect("such a mark")
    }

    fn drop_log(&mut self, zxid: i64) {
        self.transactions.retain(|transaction| transaction.zxid != zxid);
    }
}

fn at(path: &str) -> String {
    format!("/root{path}")
}

fn create(path: &str, content: &[Mark]) -> Change {
    Change::Create { path: at(path), data: data(content), ephemeral: false }
}

fn ephemeral(path: &str) -> Change {
    Change::Create { path: at(path), data: Vec::new(), ephemeral: true }
}

fn set(path: &str, content: &[Mark], version: i32) -> Change {
    Change::SetData { path: at(path), data: data(content), version }
}

fn delete(path: &str) -> Change {
    Change::Delete { path: at(path) }
}

/// All that programs do, done right.
fn right() -> History {
    let mut all = History::default();
    // A file is made, written, appended to, changed at its start and at a version.
    all.did(0, Kind::Create, "/f", [10, 12]);
    all.log(10, 0, vec![create("/f", &[]), set("/f", &[], 1)]);
    all.wrote(0, Kind::Replace, "/f", 1, [13, 15]);
    all.log(13, 0, vec![set("/f", &[1], 2)]);
    all.wrote(1, Kind::Append, "/f", 2, [16, 18]);
    all.log(16, 1, vec![set("/f", &[1, 2], 3)]);
    all.wrote(0, Kind::First, "/f", 3, [19, 21]);
    all.log(19, 0, vec![set("/f", &[3, 2], 4)]);
    all.wrote(1, Kind::Guarded(4), "/f", 4, [22, 24]);
    all.log(22, 1, vec![set("/f", &[4], 5)]);
    // The other host is a little behind, and then not.
    all.read(0, &[3, 2], [25, 26]);
    all.read(0, &[4], [27, 28]);
    all.read(1, &[4], [27, 28]);
    let stat = Seen::Stat { czxid: 10, mzxid: 22, version: 5, owner: 0, length: 12 };
    all.saw(0, Kind::Stat, "/f", stat, [29, 30]);
    all.saw(0, Kind::Size, "/f", Seen::Size { size: 12, directory: false }, [31, 32]);
    // What a failure says was not done is not there; what may have been done may be.
    all.asked(0, Kind::Guarded(3), "/f", Some(5), [33, 34], Outcome::Failed(libc::ESTALE));
    all.asked(0, Kind::Replace, "/f", Some(6), [35, 36], Outcome::Unknown);
    all.asked(1, Kind::Replace, "/f", Some(7), [35, 36], Outcome::Unknown);
    all.log(35, 1, vec![set("/f", &[7], 6)]);
    // A source of one's own is renamed, another one linked.
    for (mark, zxid) in [(8, 40), (9, 44)] {
        let path = format!("/t{mark}");
        all.wrote(0, Kind::Source, &path, mark, [zxid as u64, zxid as u64 + 1]);
        all.log(zxid, 0, vec![create(&path, &[]), set(&path, &[], 1)]);
        all.log(zxid + 1, 0, vec![set(&path, &[mark], 2)]);
    }
    all.wrote(0, Kind::Move { from: "/t8".to_owned() }, "/f", 8, [42, 43]);
    all.log(42, 0, vec![set("/f", &[8], 7), delete("/t8")]);
    all.wrote(0, Kind::Link { from: "/t9".to_owned() }, "/g", 9, [46, 47]);
    all.log(46, 0, vec![create("/g", &[9])]);
    // The shared file is moved to a name of somebody's own, and another one made.
    all.did(1, Kind::Away { to: "/out".to_owned() }, "/f", [48, 49]);
    all.log(48, 1, vec![create("/out", &[8]), delete("/f")]);
    all.saw(0, Kind::Read, "/f", Seen::Nothing, [50, 51]);
    all.wrote(2, Kind::Put, "/f", 10, [52, 53]);
    all.log(52, 2, vec![create("/f", &[10])]);
    // A directory is a lock.
    for (host, time) in [(0, 60), (1, 70)] {
        all.did(host, Kind::Mkdir, "/m", [time, time + 2]);
        all.log(time as i64, host, vec![create("/m", &[])]);
        all.did(host, Kind::Rmdir, "/m", [time + 3, time + 5]);
        all.log(time as i64 + 3, host, vec![delete("/m")]);
    }
    // Numbers, and an ephemeral that goes with its session.
    for (mark, zxid) in [(11, 80), (12, 83)] {
        all.wrote(0, Kind::Sequential, "/q/i-", mark, [zxid as u64, zxid as u64 + 1]);
        all.log(zxid, 0, vec![create(&format!("/q/i-{mark:010}"), &[mark])]);
    }
    let names = ["i-0000000011", "i-0000000012"].map(str::to_owned).to_vec();
    all.saw(1, Kind::List, "/q", Seen::Names(names), [85, 86]);
    all.did(0, Kind::Unlink, "/q/i-0000000011", [87, 88]);
    all.log(87, 0, vec![delete("/q/i-0000000011")]);
    all.did(0, Kind::Create, "/e", [90, 91]);
    all.log(90, 0, vec![ephemeral("/e")]);
    all.transactions.push(Transaction { zxid: 95, session: 100, changes: vec![delete("/e")], op: Op::CloseSession });
    all.saw(1, Kind::Read, "/e", Seen::Nothing, [96, 97]);
    // The new session of the host.
    all.transactions.push(Transaction { zxid: 99, session: 101, changes: vec![set("/f", &[13], 1)], op: Op::SetData });
    all.wrote(0, Kind::Replace, "/f", 13, [98, 99]);
    all
}

#[test]
fn what_is_right_is_accepted() {
    assert_eq!(right().but(|_| {}).wrong(), Vec::<String>::new());
}

#[test]
fn what_is_taken_back_and_what_was_killed_is_accepted() {
    let history = right().but(|all| {
        // A create whose caller was told that nobody knows is deleted; so is a rename taken back.
        all.asked(1, Kind::Create, "/x", None, [110, 112], Outcome::Unknown);
        all.log(110, 1, vec![ephemeral("/x")]);
        all.log(115, 1, vec![delete("/x")]);
        // A program that was killed between open(2) and write(2) leaves its truncation.
        all.asked(1, Kind::Replace, "/f", Some(20), [120, 121], Outcome::Unknown);
        all.of(20).end = u64::MAX;
        all.log(121, 1, vec![set("/f", &[], 2)]);
        // An append of the same host is the first write after it.
        all.wrote(1, Kind::Append, "/f", 21, [122, 123]);
        all.log(122, 1, vec![set("/f", &[21], 3)]);
    });
    assert_eq!(history.wrong(), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_found() {
    let history = right();
    let missed: Vec<&str> = violations()
        .into_iter()
        .filter(|(_, edit)| history.but(edit).wrong().is_empty())
        .map(|(what, _)| what)
        .collect();
    assert_eq!(missed, Vec::<&str>::new(), "not found");
}

#[test]
fn what_is_wrong_is_found_without_the_log() {
    let wrong = |history: &History| {
        let tree = Tree::replay(&history.transactions, "/root").expect("a log that can be read");
        check_registers(&Ascribed::new(&history.operations, &tree))
    };
    let history = right().but(|_| {});
    assert_eq!(wrong(&history), Vec::<String>::new());
    for version in [0, 2, 4, 6] {
        // All is in the log, and at no time was the file of this version.
        let planted = history.but(|all| {
            all.wrote(1, Kind::Guarded(version), "/f", 30, [110, 113]);
            all.log(110, 1, vec![set("/f", &[30], 2)]);
        });
        assert_eq!(wrong(&planted).len(), 1, "a write at version {version}");
    }
    let planted = history.but(|all| all.did(1, Kind::Create, "/f", [11, 13]));
    assert_eq!(wrong(&planted).len(), 1, "two that created the same file");
    let planted = history.but(|all| all.did(1, Kind::Unlink, "/f", [54, 55]));
    assert_eq!(wrong(&planted).len(), 1, "a deletion that was not done");
}

#[test]
fn a_write_over_a_file_that_was_made_anew_must_be_told() {
    for (outcome, count) in [(Outcome::Unknown, 0), (Outcome::Done, 2)] {
        let history = right().but(|all| {
            // Version 1 is read, and then the file is another one that has come to version 1 as well.
            all.asked(1, Kind::Append, "/f", Some(30), [110, 120], outcome);
            all.did(2, Kind::Unlink, "/f", [111, 112]);
            all.log(111, 2, vec![delete("/f")]);
            all.wrote(2, Kind::Put, "/f", 31, [113, 114]);
            all.log(113, 2, vec![create("/f", &[31])]);
            all.wrote(2, Kind::Replace, "/f", 32, [115, 116]);
            all.log(115, 2, vec![set("/f", &[32], 1)]);
            all.log(119, 1, vec![set("/f", &[13, 30], 2)]);
        });
        assert_eq!(history.wrong().len(), count, "{:?}", history.wrong());
    }
}

type Edit = fn(&mut History);

/// Each way of being wrong.
fn violations() -> Vec<(&'static str, Edit)> {
    vec![
        ("a lost write", |all| {
            all.drop_log(13);
            all.transactions[1].changes = vec![set("/f", &[2], 2)];
            all.drop_log(19);
            all.drop_log(22);
        }),
        ("an acknowledged write that is not there", |all| {
            all.wrote(0, Kind::Replace, "/f", 30, [110, 111]);
        }),
        ("an append done twice", |all| {
            all.wrote(1, Kind::Append, "/f", 30, [110, 113]);
            all.log(110, 1, vec![set("/f", &[13, 30], 2)]);
            all.log(111, 1, vec![set("/f", &[13, 30, 30], 3)]);
        }),
        ("a write done twice", |all| {
            all.wrote(1, Kind::Replace, "/f", 30, [110, 113]);
            all.log(110, 1, vec![set("/f", &[30], 2)]);
            all.wrote(1, Kind::Replace, "/f", 31, [114, 115]);
            all.log(114, 1, vec![set("/f", &[31], 3)]);
            all.log(116, 1, vec![set("/f", &[30], 4)]);
        }),
        ("an append over another one", |all| {
            all.wrote(1, Kind::Append, "/f", 30, [110, 113]);
            all.log(110, 1, vec![set("/f", &[30], 2)]);
        }),
        ("a write that failed and was done", |all| {
            all.asked(0, Kind::Replace, "/f", Some(30), [110, 111], Outcome::Failed(libc::ENOENT));
            all.log(110, 1, vec![set("/f", &[30], 2)]);
        }),
        ("a write that came late", |all| {
            all.asked(1, Kind::Replace, "/f", Some(30), [110, 111], Outcome::Unknown);
            all.wrote(1, Kind::Replace, "/f", 31, [130, 131]);
            all.log(130, 1, vec![set("/f", &[31], 2)]);
            all.log(131, 1, vec![set("/f", &[30], 3)]);
        }),
        ("a write by nobody", |all| all.log(110, 1, vec![set("/f", &[30], 2)])),
        ("a write of bytes that nobody wrote", |all| {
            let data = b"half a mark".to_vec();
            all.log(110, 1, vec![Change::SetData { path: at("/f"), data, version: 2 }]);
        }),
        ("a write in another file", |all| {
            all.wrote(1, Kind::Replace, "/f", 30, [110, 111]);
            all.log(110, 1, vec![set("/g", &[30], 1)]);
        }),
        ("a write by the session of another host", |all| {
            all.wrote(1, Kind::Replace, "/f", 30, [110, 111]);
            all.log(110, 2, vec![set("/f", &[30], 2)]);
        }),
        ("a write over another version", |all| {
            all.wrote(1, Kind::Guarded(0), "/f", 30, [110, 111]);
            all.log(110, 1, vec![set("/f", &[30], 2)]);
        }),
        ("two writes at the same version", |all| {
            // The log is left as if the second one had been asked for without a version.
            all.wrote(1, Kind::Guarded(1), "/f", 30, [110, 111]);
            all.wrote(1, Kind::Guarded(1), "/f", 31, [112, 113]);
            all.log(110, 1, vec![set("/f", &[30], 2)]);
            all.log(112, 1, vec![set("/f", &[31], 3)]);
        }),
        ("writes in another order than that of the clock", |all| {
            all.wrote(1, Kind::Replace, "/f", 30, [110, 111]);
            all.wrote(0, Kind::Replace, "/f", 31, [112, 113]);
            all.transactions.push(Transaction {
                zxid: 110,
                session: 101,
                changes: vec![set("/f", &[31], 2)],
                op: Op::SetData,
            });
            all.log(112, 1, vec![set("/f", &[30], 3)]);
        }),
        ("a file that is emptied by nobody", |all| all.log(110, 1, vec![set("/f", &[], 2)])),
        ("a file that is deleted by nobody", |all| all.log(110, 1, vec![delete("/f")])),
        ("a directory that is made by nobody", |all| all.log(110, 1, vec![create("/m", &[])])),
        ("two directories by one mkdir", |all| {
            all.did(1, Kind::Mkdir, "/m", [110, 115]);
            all.log(110, 1, vec![create("/m", &[])]);
            all.asked(1, Kind::Rmdir, "/m", None, [110, 115], Outcome::Done);
            all.log(111, 1, vec![delete("/m")]);
            all.log(112, 1, vec![create("/m", &[])]);
        }),
        ("two that made the same directory", |all| all.did(1, Kind::Mkdir, "/m", [61, 63])),
        ("two that created the same file", |all| all.did(1, Kind::Create, "/f", [11, 13])),
        ("two that deleted the same file", |all| all.did(1, Kind::Unlink, "/q/i-0000000011", [87, 89])),
        ("a deletion that was acknowledged and not done", |all| all.did(1, Kind::Unlink, "/g", [110, 111])),
        ("a deletion after its acknowledgement", |all| {
            all.did(1, Kind::Unlink, "/g", [110, 111]);
            all.wrote(1, Kind::Replace, "/f", 30, [112, 113]);
            all.log(112, 1, vec![set("/f", &[30], 2)]);
            all.log(113, 1, vec![delete("/g")]);
        }),
        ("a rename that leaves its source", |all| {
            let at = all.transactions.iter().position(|transaction| transaction.zxid == 42).expect("it is there");
            all.transactions[at].changes.pop();
        }),
        ("a rename that leaves neither name", |all| {
            let at = all.transactions.iter().position(|transaction| transaction.zxid == 48).expect("it is there");
            all.transactions[at].changes.remove(0);
        }),
        ("a link over what was there", |all| {
            let at = all.transactions.iter().position(|transaction| transaction.zxid == 46).expect("it is there");
            all.transactions[at].changes = vec![set("/f", &[9], 8)];
            all.of(9).path = "/t9".to_owned();
            for operation in all.operations.iter_mut().filter(|o| matches!(o.kind, Kind::Link { .. })) {
                operation.path = "/f".to_owned();
            }
        }),
        ("a number that nobody has", |all| all.log(110, 1, vec![create("/q/i-0000000020", &[30])])),
        ("two numbers for one write", |all| all.log(110, 0, vec![create("/q/i-0000000020", &[12])])),
        ("an acknowledged number that is not there", |all| all.wrote(1, Kind::Sequential, "/q/i-", 30, [110, 111])),
        ("an ephemeral that is gone before its session", |all| all.log(92, 0, vec![delete("/e"), ephemeral("/e")])),
        ("an ephemeral that is deleted by nobody", |all| all.log(92, 0, vec![delete("/e")])),
        ("an ephemeral that outlives its session", |all| {
            all.transactions.iter_mut().filter(|t| t.zxid == 95).for_each(|t| t.changes.clear());
        }),
        ("a read that goes backwards", |all| all.read(0, &[3, 2], [33, 34])),
        ("a read that misses the mount's own write", |all| all.read(1, &[3, 2], [25, 26])),
        ("a read of what is in another file already over", |all| {
            // Host 0 has seen transaction 46, by its own link, so /t8 has been moved.
            all.saw(0, Kind::Read, "/t8", Seen::Content(vec![8]), [50, 51]);
        }),
        ("a read from the future", |all| all.read(1, &[13], [55, 56])),
        ("a read of what never was", |all| all.read(1, &[4, 2], [27, 28])),
        ("a read of half a write", |all| all.read(1, &[Mark::MAX], [27, 28])),
        ("a read of nothing where something is", |all| all.saw(0, Kind::Read, "/f", Seen::Nothing, [29, 30])),
        ("an empty file that nobody empties", |all| all.read(0, &[], [29, 30])),
        ("an old Stat", |all| {
            let stat = Seen::Stat { czxid: 10, mzxid: 19, version: 4, owner: 0, length: 24 };
            all.saw(0, Kind::Stat, "/f", stat, [33, 34]);
        }),
        ("a Stat of two versions", |all| {
            let stat = Seen::Stat { czxid: 10, mzxid: 22, version: 4, owner: 0, length: 12 };
            all.saw(1, Kind::Stat, "/f", stat, [33, 34]);
        }),
        ("a wrong size", |all| {
            all.saw(1, Kind::Size, "/f", Seen::Size { size: 36, directory: false }, [33, 34]);
        }),
        ("a file as a directory", |all| {
            all.saw(1, Kind::Size, "/f", Seen::Size { size: 0, directory: true }, [33, 34]);
        }),
        ("a listing without a name", |all| {
            all.saw(0, Kind::List, "/q", Seen::Names(vec!["i-0000000011".to_owned()]), [85, 86]);
        }),
        ("a listing with the name of one that is gone", |all| {
            let names = ["i-0000000011", "i-0000000012"].map(str::to_owned).to_vec();
            all.saw(0, Kind::List, "/q", Seen::Names(names), [89, 90]);
        }),
    ]
}
