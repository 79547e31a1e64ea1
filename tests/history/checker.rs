//! Judges a history: what the workers were told, against the servers' own log of transactions.
//!
//! The log is one order of all writes. It is accepted as the explanation of what the workers saw only if it agrees with
//! their clocks, if each success is in it exactly once and no failure is, and if each look at the tree is of a moment in
//! it that is no older than what the same mount has shown before, and no newer than the answer.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::Duration;

use crate::ascribed::Ascribed;
use crate::operation::{Kind, Operation, Outcome, Seen};
use crate::register::check_registers;
use crate::tree::{Deed, State, Tree, What};

/// What is not judged by the log alone.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Hosts that are mounts; the others are clients that promise nothing about what they read.
    pub mounts: usize,
    /// How late a request that was told to have failed may still be applied.
    pub late: Duration,
    /// The session of who prepared the tree.
    pub setup: i64,
}

/// What is said of a history.
#[derive(Debug, Default)]
pub struct Verdict {
    /// All that is wrong with it.
    pub wrong: Vec<String>,
    /// Writes that met another file of the same name at the same version, and were told to have failed.
    pub reborn: usize,
}

pub fn check(operations: &[Operation], tree: &Tree, rules: Rules) -> Verdict {
    let mut ascribed = Ascribed::new(operations, tree);
    let mut wrong = std::mem::take(&mut ascribed.wrong);
    wrong.extend(check_fates(&ascribed, rules));
    wrong.extend(check_order(&ascribed));
    wrong.extend(check_unmarked(&ascribed, rules));
    wrong.extend(check_ephemerals(&ascribed));
    wrong.extend(check_looks(&ascribed, rules));
    wrong.extend(check_registers(&ascribed));
    Verdict { wrong, reborn: ascribed.reborn }
}

/// Every success is there, no failure is, and what may be there is not there late.
fn check_fates(ascribed: &Ascribed<'_>, rules: Rules) -> Vec<String> {
    let mut wrong = Vec::new();
    for (operation, fate) in ascribed.operations.iter().zip(&ascribed.fate) {
        let leaves_mark = operation.mark.is_some() || matches!(operation.kind, Kind::Away { .. });
        match (fate, &operation.outcome) {
            (None, Outcome::Done | Outcome::Saw(_)) if leaves_mark => wrong.push(format!("lost: {operation:?}")),
            (Some(zxid), Outcome::Failed(_)) if was_taken_over(ascribed, operation, *zxid) => {}
            (Some(zxid), Outcome::Failed(_)) => {
                wrong.push(format!("told to have failed, done by {zxid:#x}: {operation:?}"))
            }
            (Some(zxid), Outcome::Unknown) => {
                let late = ascribed.early(*zxid).saturating_sub(operation.end);
                if Duration::from_nanos(late) > rules.late {
                    wrong.push(format!("done {late} ns late, by {zxid:#x}: {operation:?}"));
                }
            }
            _ => {}
        }
    }
    wrong
}

/// Who was done before another began comes before it in the log.
fn check_order(ascribed: &Ascribed<'_>) -> Vec<String> {
    let fates = ascribed.operations.iter().zip(&ascribed.fate);
    let mut wrong = Vec::new();
    for (operation, fate) in fates.filter(|(operation, _)| operation.is_done()) {
        let Some(zxid) = *fate else { continue };
        if ascribed.early(zxid) > operation.end {
            wrong.push(format!("in the log after what began after its end, as {zxid:#x}: {operation:?}"));
        }
    }
    wrong
}

/// What leaves no mark: each success has a transaction of its own, and each transaction somebody who asked for it.
fn check_unmarked(ascribed: &Ascribed<'_>, rules: Rules) -> Vec<String> {
    let mut deeds: HashMap<(&str, bool), Vec<&Deed>> = HashMap::new();
    let mut wrong = Vec::new();
    for &deed in ascribed.unmarked.iter().filter(|deed| deed.session != rules.setup) {
        match deed.what {
            What::Create | What::Delete => {
                deeds.entry((&deed.path, deed.what == What::Create)).or_default().push(deed);
            }
            _ if is_truncation(ascribed, deed) => {}
            _ => wrong.push(format!("emptied by nobody: {deed:?}")),
        }
    }
    let mut asked: HashMap<(&str, bool), Vec<&Operation>> = HashMap::new();
    for operation in ascribed.operations {
        if let Some(create) = operation.asks() {
            asked.entry((&operation.path, create)).or_default().push(operation);
        }
    }
    for (key, operations) in &asked {
        let deeds = deeds.get(key).map_or(&[][..], Vec::as_slice);
        let hosts: BTreeSet<usize> = operations.iter().map(|operation| operation.host).collect();
        for host in hosts {
            let must: Vec<&Operation> =
                of_host(operations, host).filter(|o| o.is_done() && o.kind != Kind::Open).collect();
            wrong.extend(check_each_is_done(ascribed, host, &must, deeds));
        }
    }
    for ((path, create), deeds) in &deeds {
        let operations = asked.get(&(*path, *create)).map_or(&[][..], Vec::as_slice);
        wrong.extend(check_each_was_asked_for(ascribed, *create, operations, deeds));
    }
    wrong
}

fn of_host<'a>(operations: &'a [&'a Operation], host: usize) -> impl Iterator<Item = &'a Operation> {
    operations.iter().copied().filter(move |operation| operation.host == host)
}

fn check_each_is_done(ascribed: &Ascribed<'_>, host: usize, must: &[&Operation], deeds: &[&Deed]) -> Vec<String> {
    // The marks of a file of one's own are written by the second of its two transactions.
    let mut left: Vec<&Operation> = must.iter().copied().filter(|operation| operation.kind != Kind::Source).collect();
    for deed in deeds.iter().filter(|deed| ascribed.hosts.get(&deed.session).is_none_or(|other| *other == host)) {
        // The one that has to be done the soonest.
        let fitting = left.iter().enumerate().filter(|(_, operation)| ascribed.is_in_time(operation, deed));
        if let Some((at, _)) = fitting.min_by_key(|(_, operation)| operation.end) {
            left.swap_remove(at);
        }
    }
    left.iter().map(|operation| format!("no transaction for it: {operation:?}")).collect()
}

fn check_each_was_asked_for(
    ascribed: &Ascribed<'_>,
    create: bool,
    operations: &[&Operation],
    deeds: &[&Deed],
) -> Vec<String> {
    let mut left = operations.to_vec();
    let mut wrong = Vec::new();
    for deed in deeds {
        let host = ascribed.hosts.get(&deed.session);
        let fitting = left.iter().enumerate().filter(|(_, operation)| {
            host.is_none_or(|host| *host == operation.host) && ascribed.is_in_time(operation, deed)
        });
        let last = |operation: &Operation| if operation.is_unknown() { u64::MAX } else { operation.end };
        match fitting.min_by_key(|(_, operation)| last(operation)) {
            Some((at, _)) => drop(left.swap_remove(at)),
            None if !create && is_taken_back(ascribed, deed) => {}
            None if create
                && ascribed.operations.iter().any(|other| {
                    other.kind == Kind::Create
                        && other.path == deed.path
                        && host.is_none_or(|host| *host == other.host)
                        && ascribed.is_in_time(other, deed)
                        && was_taken_over(ascribed, other, deed.zxid)
                }) => {}
            None => wrong.push(format!("asked for by nobody: {deed:?}")),
        }
    }
    wrong
}

/// Whether what is deleted was made for somebody who was told that it failed.
fn is_taken_back(ascribed: &Ascribed<'_>, deed: &Deed) -> bool {
    let makes = |operation: &&Operation| match operation.kind {
        Kind::Create | Kind::Mkdir | Kind::Open | Kind::Put | Kind::Link { .. } | Kind::Move { .. } | Kind::Source => {
            operation.path == deed.path
        }
        Kind::Sequential => deed.path.starts_with(&operation.path),
        _ => false,
    };
    let made = deed.before.as_ref().map_or(0, |before| before.czxid);
    let unknown = ascribed.operations.iter().filter(|operation| operation.is_unknown()).filter(makes);
    let mut unknown = unknown
        .filter(|operation| ascribed.late(made) >= operation.begin && ascribed.early(made) <= operation.latest());
    let host = ascribed.hosts.get(&deed.session);
    unknown.any(|operation| host.is_none_or(|host| *host == operation.host))
}

/// Whether an ephemeral was made whose reply was lost, and deleted by somebody else: then its name may be taken again by the
/// time its maker is answered.
fn was_taken_over(ascribed: &Ascribed<'_>, operation: &Operation, zxid: i64) -> bool {
    let line = ascribed.tree.line(&operation.path);
    let at = line.partition_point(|(other, _)| *other < zxid);
    let made = line.get(at).and_then(|(_, state)| state.as_ref()).is_some_and(|state| state.owner != 0);
    let gone = line[at..].iter().skip(1).find(|(_, state)| state.is_none());
    operation.outcome == Outcome::Failed(libc::EEXIST)
        && made
        && gone.is_some_and(|(zxid, _)| ascribed.early(*zxid) <= operation.end)
}

/// Whether somebody had opened the file to replace it, and never wrote.
fn is_truncation(ascribed: &Ascribed<'_>, deed: &Deed) -> bool {
    let host = ascribed.hosts.get(&deed.session);
    ascribed.operations.iter().any(|operation| {
        (operation.truncates() || matches!(operation.kind, Kind::Guarded(_)))
            && operation.path == ascribed.origin(&deed.path)
            && (operation.is_unknown() || operation.kind == Kind::Open || is_moved_meanwhile(ascribed, operation))
            && host.is_none_or(|host| *host == operation.host)
            && ascribed.early(deed.zxid) <= operation.latest()
            && ascribed.late(deed.zxid) >= operation.begin
    })
}

/// Whether the file was renamed through the same mount after it had been opened to be replaced: what is renamed is empty then.
fn is_moved_meanwhile(ascribed: &Ascribed<'_>, operation: &Operation) -> bool {
    ascribed.around(operation).any(|other| matches!(other.kind, Kind::Away { .. }) && other.meets(operation))
}

/// An ephemeral is there as long as its session.
fn check_ephemerals(ascribed: &Ascribed<'_>) -> Vec<String> {
    let there = ascribed.tree.there().filter(|(_, state)| ascribed.tree.ended.contains_key(&state.owner));
    there.map(|(path, state)| format!("an ephemeral without a session: {path} {state:?}")).collect()
}

/// A look shows a moment that is no older than what was shown before, and no newer than now.
fn check_looks(ascribed: &Ascribed<'_>, rules: Rules) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut floors = vec![0; rules.mounts];
    let mut pending: Vec<BinaryHeap<Reverse<(u64, i64)>>> = vec![BinaryHeap::new(); rules.mounts];
    let mut order: Vec<usize> = (0..ascribed.operations.len()).collect();
    order.sort_by_key(|&number| ascribed.operations[number].begin);
    for number in order {
        let operation = &ascribed.operations[number];
        let Some(floor) = floors.get_mut(operation.host) else { continue };
        let pending = &mut pending[operation.host];
        while let Some(&Reverse((end, seen))) = pending.peek().filter(|Reverse((end, _))| *end < operation.begin) {
            *floor = (*floor).max(seen);
            debug_assert!(end < operation.begin);
            pending.pop();
        }
        let seen = match &operation.outcome {
            Outcome::Saw(seen) => match find(ascribed, operation, seen, *floor) {
                Ok(seen) => seen,
                Err(what) => {
                    wrong.push(format!("{what}, at {:#x} or later: {operation:?}", *floor));
                    continue;
                }
            },
            Outcome::Done => ascribed.fate[number].or_else(|| ascribed.least(operation)),
            _ => None,
        };
        pending.extend(seen.map(|seen| Reverse((operation.end, seen))));
    }
    wrong
}

/// The first transaction at which what was seen was so; none when it says nothing.
fn find(ascribed: &Ascribed<'_>, operation: &Operation, seen: &Seen, floor: i64) -> Result<Option<i64>, &'static str> {
    // A mount shows a file empty while one of its own programs replaces it: it may be that, or a moment at which it was so.
    let empty = is_empty(seen) && is_being_replaced(ascribed, operation);
    let ceiling = ascribed.ceiling(operation.end);
    let line = ascribed.tree.line(&operation.path);
    let is_so = |state: &Option<State>| match (seen, state) {
        (Seen::Nothing, state) => state.is_none(),
        (Seen::Content(content), Some(state)) => state.content() == *content,
        (Seen::Size { size, directory }, Some(state)) => {
            *directory == state.is_directory() && (*directory || *size == state.data.len())
        }
        (Seen::Stat { czxid, mzxid, version, owner, length }, Some(state)) => {
            (*czxid, *mzxid, *version, *owner, *length)
                == (state.czxid, state.mzxid, state.version, state.owner, state.data.len())
        }
        _ => false,
    };
    let found = match seen {
        Seen::Names(names) => {
            let listed = listing(ascribed.tree.names(&operation.path), floor, ceiling, names);
            return if listed {
                Ok(None)
            } else {
                Err("a listing without what was there all the time, or with what was not")
            };
        }
        _ => moment(line, floor, ceiling, is_so, *seen == Seen::Nothing),
    };
    if empty { Ok(None) } else { found.map(Some) }
}

fn is_empty(seen: &Seen) -> bool {
    match seen {
        Seen::Content(content) => content.is_empty(),
        Seen::Size { size, .. } => *size == 0,
        _ => false,
    }
}

fn is_being_replaced(ascribed: &Ascribed<'_>, look: &Operation) -> bool {
    let look = Operation { path: ascribed.origin(&look.path).to_owned(), ..look.clone() };
    ascribed.around(&look).any(|other| other.truncates() && other.meets(&look))
}

/// Whether a listing has every name that was there all the time, and none that never was. What comes or goes while a directory is
/// listed may be in it or not.
fn listing(line: &[(i64, BTreeSet<String>)], floor: i64, ceiling: i64, names: &[String]) -> bool {
    let first = line.partition_point(|(zxid, _)| *zxid <= floor).saturating_sub(1);
    let mut there: Vec<&BTreeSet<String>> =
        line[first..].iter().take_while(|(zxid, _)| *zxid <= ceiling).map(|(_, names)| names).collect();
    let empty = BTreeSet::new();
    if line.first().is_none_or(|(zxid, _)| *zxid > floor) {
        there.push(&empty);
    }
    let listed: BTreeSet<&String> = names.iter().collect();
    let always = there[0].iter().filter(|name| there.iter().all(|names| names.contains(*name)));
    always.into_iter().all(|name| listed.contains(name))
        && listed.iter().all(|name| there.iter().any(|n| n.contains(*name)))
}

/// The first transaction from `floor` to `ceiling` at which something was so, or what is wrong. `at_first` is whether it was
/// so before the first one.
fn moment<T>(
    line: &[(i64, T)],
    floor: i64,
    ceiling: i64,
    is_so: impl Fn(&T) -> bool,
    at_first: bool,
) -> Result<i64, &'static str> {
    if at_first && line.first().is_none_or(|(zxid, _)| *zxid > floor) {
        return Ok(0);
    }
    let first = line.partition_point(|(zxid, _)| *zxid <= floor).saturating_sub(1);
    let fitting = line[first.min(line.len())..].iter().take_while(|(zxid, _)| *zxid <= ceiling);
    if let Some((zxid, _)) = fitting.into_iter().find(|(_, state)| is_so(state)) {
        return Ok(*zxid);
    }
    let first = line.iter().find(|(_, state)| is_so(state));
    match first {
        _ if at_first => Err("seen although it was over"),
        None => Err("seen and never was"),
        Some((zxid, _)) if *zxid <= ceiling => Err("seen although it was over"),
        Some(_) => Err("seen before it was"),
    }
}
