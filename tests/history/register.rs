//! Judges each file as a register that counts its versions, from what the workers were told alone.
//!
//! Here the servers' log decides nothing: a search looks for any order of the operations that agrees with the clocks and in
//! which each is possible. It only spares the search what the log says was never done, and tells what files are at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ascribed::Ascribed;
use crate::operation::{Kind, Operation};
use crate::search::{Step, Verdict, search};
use crate::tree::What;

/// How long the search may take for one file. What it does not find by then is left to the log.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
enum Does {
    /// Makes it, at this version.
    Create(i32),
    /// Makes it unless it is there.
    Ensure,
    Set,
    /// Sets it at this version only.
    SetAt(i32),
    /// Sets it, or makes it.
    Put,
    Remove,
    /// Finds it like this.
    Is(Option<i32>),
}

/// What becomes of the version of a file; none is a file that is not there. None at all is what is not possible.
fn apply(state: &Option<i32>, does: &Does) -> Option<Option<i32>> {
    match (*does, *state) {
        (Does::Create(version), None) => Some(Some(version)),
        (Does::Ensure, state) => Some(state.or(Some(1))),
        (Does::Set, Some(version)) => Some(Some(version + 1)),
        (Does::SetAt(at), Some(version)) if at == version => Some(Some(version + 1)),
        (Does::Put, state) => Some(Some(state.map_or(0, |version| version + 1))),
        (Does::Remove, Some(_)) => Some(None),
        (Does::Is(wanted), state) if wanted == state => Some(state),
        _ => None,
    }
}

/// What is wrong with the files that are written at a version.
pub fn check_registers(ascribed: &Ascribed<'_>) -> Vec<String> {
    let guarded = ascribed.operations.iter().filter(|operation| matches!(operation.kind, Kind::Guarded(_)));
    let paths: BTreeSet<&str> = guarded.map(|operation| &operation.path[..]).collect();
    let verdict = |path: &&str| search(steps(ascribed, path), None, apply, PATIENCE);
    let wrong = paths.into_iter().filter(|path| verdict(path) == Verdict::Impossible);
    wrong.map(|path| format!("no order of what was done to {path} is possible")).collect()
}

/// The operations on a file, and what it is at the end.
fn steps(ascribed: &Ascribed<'_>, path: &str) -> Vec<Step<Does>> {
    let step = |begin, end, act, perhaps| Step { begin, end, act, perhaps };
    let spare = spare_deeds(ascribed, path);
    let mut steps = Vec::new();
    for (number, (operation, fate)) in ascribed.operations.iter().zip(&ascribed.fate).enumerate() {
        let Some((what, create)) = act(operation, path).filter(|_| !ascribed.elsewhere.contains(&number)) else {
            continue;
        };
        if operation.is_done() {
            steps.push(step(operation.begin, operation.end, what, false));
        } else if let Some(zxid) = fate {
            steps.push(step(operation.begin, ascribed.late(*zxid), what, false));
        } else if operation.is_unknown()
            && operation.mark.is_none()
            && spare.get(&(operation.host, create)).is_some_and(|&count| count > 0)
        {
            steps.push(step(operation.begin, u64::MAX, what, true));
        }
        let is_taken_back =
            create && operation.is_unknown() && spare.get(&(operation.host, false)).is_some_and(|&count| count > 0);
        if is_taken_back {
            steps.push(step(operation.begin, u64::MAX, Does::Remove, true));
        }
    }
    // A program that opened the file to replace it was killed, or the file was renamed, before it was written.
    for deed in ascribed.unmarked.iter().filter(|deed| deed.path == path && deed.what == What::Set) {
        steps.push(step(ascribed.early(deed.zxid), ascribed.late(deed.zxid), Does::Set, false));
    }
    let last =
        ascribed.operations.iter().map(|operation| operation.end).filter(|end| *end < u64::MAX).max().unwrap_or(0);
    let version = ascribed.tree.now(path).map(|state| state.version);
    steps.push(step(last + 1, last + 2, Does::Is(version), false));
    steps
}

/// What an operation does to a file, and whether it may make it.
fn act(operation: &Operation, path: &str) -> Option<(Does, bool)> {
    if operation.path != path {
        return None;
    }
    match operation.kind {
        Kind::Create => Some((Does::Create(1), true)),
        Kind::Put | Kind::Link { .. } => Some((Does::Create(0), true)),
        Kind::Open => Some((Does::Ensure, true)),
        Kind::Replace | Kind::First | Kind::Append => Some((Does::Set, false)),
        Kind::Guarded(version) => Some((Does::SetAt(version), false)),
        Kind::Move { .. } => Some((Does::Put, true)),
        Kind::Unlink | Kind::Away { .. } => Some((Does::Remove, false)),
        _ => None,
    }
}

/// How many creates and deletes of each host the log has beyond those that succeeded for sure.
fn spare_deeds(ascribed: &Ascribed<'_>, path: &str) -> BTreeMap<(usize, bool), i64> {
    let mut spare = BTreeMap::new();
    for deed in ascribed.unmarked.iter().filter(|deed| deed.path == path && deed.what != What::Set) {
        let create = deed.what == What::Create;
        // Of a session that wrote nothing else, the host is not known.
        let hosts = ascribed.hosts.get(&deed.session).map_or(0..8, |&host| host..host + 1);
        hosts.for_each(|host| *spare.entry((host, create)).or_default() += 1);
    }
    for operation in ascribed.operations.iter().filter(|o| o.path == path && o.is_done() && o.mark.is_none()) {
        match operation.kind {
            Kind::Create => *spare.entry((operation.host, true)).or_default() -= 1,
            Kind::Unlink => *spare.entry((operation.host, false)).or_default() -= 1,
            _ => {}
        }
    }
    spare
}
