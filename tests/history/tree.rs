//! What each znode was at each transaction, replayed from the servers' own log.

use std::collections::{BTreeMap, BTreeSet};

use rig::{Change, Op, Transaction};

use crate::operation::{Content, Mark, content};

/// A znode at a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub czxid: i64,
    pub mzxid: i64,
    pub version: i32,
    /// The session of an ephemeral, otherwise 0.
    pub owner: i64,
    pub data: Vec<u8>,
    /// It has had a child, or is as mkdir makes it.
    pub parent: bool,
}

impl State {
    /// The marks in it; what is no mark is one that nobody has.
    pub fn content(&self) -> Content {
        content(&self.data).unwrap_or_else(|| vec![Mark::MAX])
    }

    pub fn is_directory(&self) -> bool {
        self.parent || self.owner == 0 && self.data.is_empty() && self.version == 0
    }
}

/// One thing that a transaction did, to be ascribed to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    pub zxid: i64,
    pub session: i64,
    pub path: String,
    pub what: What,
    /// The znode before.
    pub before: Option<State>,
    /// The znode after.
    pub after: Option<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Create,
    Set,
    Delete,
    /// A rename from there.
    MoveFrom(String),
    /// The end of an ephemeral with its session.
    End,
}

/// The states of a znode, each with the transaction that made it.
pub type Line = Vec<(i64, Option<State>)>;

/// All that ever was.
#[derive(Debug, Default)]
pub struct Tree {
    lines: BTreeMap<String, Line>,
    /// The names in a directory, each set with the transaction that made it.
    names: BTreeMap<String, Vec<(i64, BTreeSet<String>)>>,
    pub deeds: Vec<Deed>,
    /// The sessions that were closed or have expired.
    pub ended: BTreeMap<i64, i64>,
}

impl Tree {
    /// Replays a log. `chroot` is left out of the paths, and what is not below it.
    pub fn replay(history: &[Transaction], chroot: &str) -> Result<Tree, String> {
        let mut tree = Tree::default();
        for transaction in history {
            tree.apply(transaction, chroot)?;
        }
        Ok(tree)
    }

    /// A znode at the end.
    pub fn now(&self, path: &str) -> Option<&State> {
        self.lines.get(path)?.last()?.1.as_ref()
    }

    /// The states of a znode, the oldest first. Before the first one it was not there.
    pub fn line(&self, path: &str) -> &[(i64, Option<State>)] {
        self.lines.get(path).map_or(&[], Vec::as_slice)
    }

    /// The names in a directory, the oldest set first.
    pub fn names(&self, path: &str) -> &[(i64, BTreeSet<String>)] {
        self.names.get(path).map_or(&[], Vec::as_slice)
    }

    /// All paths that there are at the end.
    pub fn there(&self) -> impl Iterator<Item = (&String, &State)> {
        self.lines.iter().filter_map(|(path, line)| Some((path, line.last()?.1.as_ref()?)))
    }

    fn apply(&mut self, transaction: &Transaction, chroot: &str) -> Result<(), String> {
        let &Transaction { zxid, session, ref changes, op } = transaction;
        if op == Op::CloseSession {
            self.ended.insert(session, zxid);
        }
        let inside = |change: &Change| {
            change.path().strip_prefix(chroot).filter(|path| path.starts_with('/')).map(str::to_owned)
        };
        let mut deeds: Vec<Deed> = Vec::new();
        for change in changes {
            let Some(path) = inside(change) else { continue };
            let before = self.now(&path).cloned();
            let wrong = |what: &str| Err(format!("{zxid:#x}: {path} is {what}: the log cannot be read"));
            let (what, after) = match (change, &before) {
                (Change::Check { .. } | Change::SetAcl { .. }, _) => continue,
                (Change::Create { .. }, Some(_)) => return wrong("made while it is there"),
                (Change::Create { data, ephemeral, .. }, None) => {
                    let owner = if *ephemeral { session } else { 0 };
                    let state =
                        State { czxid: zxid, mzxid: zxid, version: 0, owner, data: data.clone(), parent: false };
                    (What::Create, Some(state))
                }
                (_, None) => return wrong("changed while it is not there"),
                (Change::SetData { data, version, .. }, Some(old)) => {
                    if *version != old.version + 1 {
                        return wrong("set to another version than the next");
                    }
                    (What::Set, Some(State { mzxid: zxid, version: *version, data: data.clone(), ..old.clone() }))
                }
                (Change::Delete { .. }, Some(old)) => {
                    if op == Op::CloseSession && old.owner != session {
                        return wrong("closed by another session");
                    }
                    (if op == Op::CloseSession { What::End } else { What::Delete }, None)
                }
            };
            self.put(zxid, &path, after.clone());
            deeds.push(Deed { zxid, session, path, what, before, after });
        }
        self.deeds.extend(merged(deeds));
        Ok(())
    }

    fn put(&mut self, zxid: i64, path: &str, state: Option<State>) {
        let (parent, name) = path.rsplit_once('/').expect("an absolute path");
        let names = self.names.entry(parent.to_owned()).or_default();
        let mut now = names.last().map(|(_, now)| now.clone()).unwrap_or_default();
        let changed = if state.is_some() { now.insert(name.to_owned()) } else { now.remove(name) };
        if changed {
            push(names, zxid, now);
            let line = self.lines.entry(parent.to_owned()).or_default();
            if let Some(old) = line.last().and_then(|(_, old)| old.clone()).filter(|old| !old.parent) {
                push(line, zxid, Some(State { parent: true, ..old }));
            }
        }
        push(self.lines.entry(path.to_owned()).or_default(), zxid, state);
    }
}

/// Adds what came of a transaction. Nobody can see what is between two changes of one transaction.
fn push<T>(line: &mut Vec<(i64, T)>, zxid: i64, now: T) {
    if line.last().is_some_and(|(last, _)| *last == zxid) {
        line.pop();
    }
    line.push((zxid, now));
}

/// The deeds of one transaction: a file that is made and set at once is made, and one whose data goes elsewhere is moved.
fn merged(deeds: Vec<Deed>) -> Vec<Deed> {
    let mut merged: Vec<Deed> = Vec::new();
    for deed in deeds {
        match merged.iter_mut().find(|other| other.path == deed.path && deed.what == What::Set) {
            Some(made) => made.after = deed.after,
            None => merged.push(deed),
        }
    }
    let gone: Vec<(String, Vec<u8>)> = merged
        .iter()
        .filter(|deed| deed.what == What::Delete)
        .filter_map(|deed| Some((deed.path.clone(), deed.before.as_ref()?.data.clone())))
        .collect();
    for (from, data) in gone {
        let is_target = |deed: &Deed| deed.path != from && deed.after.as_ref().is_some_and(|after| after.data == data);
        // A rename that was on its way while its source was made anew and came to the same version carries what it had read.
        let is_pair = merged.len() == 2 && merged[0].what == What::Create && merged[0].path != from;
        let target = merged.iter().position(is_target).or(is_pair.then_some(0));
        if let Some(target) = target.map(|at| &mut merged[at]) {
            target.what = What::MoveFrom(from.clone());
            merged.retain(|deed| deed.path != from);
        }
    }
    merged
}
