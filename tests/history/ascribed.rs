//! Who did what: transactions ascribed to operations by the marks in them.

use std::collections::{HashMap, HashSet};

use crate::operation::{FAREWELL, Kind, Mark, Operation, show};
use crate::tree::{Deed, Tree, What};

/// The operations and what they did to the tree.
pub struct Ascribed<'a> {
    pub operations: &'a [Operation],
    pub tree: &'a Tree,
    /// The transaction of an operation that has a mark.
    pub fate: Vec<Option<i64>>,
    /// The writes through a file that had been moved to a name of somebody's own.
    pub elsewhere: HashSet<usize>,
    /// The deeds that show no mark: what was made empty, and what was deleted.
    pub unmarked: Vec<&'a Deed>,
    places: HashMap<&'a str, Vec<&'a Deed>>,
    /// The host of a session.
    pub hosts: HashMap<i64, usize>,
    /// Transactions with the earliest and the latest time at which they can have been applied, the oldest first.
    times: Vec<(i64, u64, u64)>,
    index: Index<'a>,
    /// Writes over a file that was made anew and had come to the version that the writer had read.
    pub reborn: usize,
    pub wrong: Vec<String>,
}

/// The operations by what they leave in the tree.
struct Index<'a> {
    /// Who wrote a mark first.
    writers: HashMap<Mark, usize>,
    /// Who carried it from there to a shared name.
    carriers: HashMap<Mark, usize>,
    /// Who moved something to a name of its own.
    takers: HashMap<&'a str, usize>,
}

impl<'a> Index<'a> {
    fn of(operations: &'a [Operation]) -> Index<'a> {
        let mut index = Index { writers: HashMap::new(), carriers: HashMap::new(), takers: HashMap::new() };
        for (number, operation) in operations.iter().enumerate() {
            match (&operation.kind, operation.mark) {
                (Kind::Move { .. } | Kind::Link { .. }, Some(mark)) => drop(index.carriers.insert(mark, number)),
                (Kind::Away { to }, _) => drop(index.takers.insert(to, number)),
                (_, Some(mark)) => drop(index.writers.insert(mark, number)),
                (_, None) => {}
            }
        }
        index
    }
}

impl<'a> Ascribed<'a> {
    pub fn new(operations: &'a [Operation], tree: &'a Tree) -> Ascribed<'a> {
        let mut ascribed = Ascribed {
            operations,
            tree,
            fate: vec![None; operations.len()],
            elsewhere: HashSet::new(),
            unmarked: Vec::new(),
            places: HashMap::new(),
            hosts: HashMap::new(),
            times: Vec::new(),
            index: Index::of(operations),
            reborn: 0,
            wrong: Vec::new(),
        };
        for deed in &tree.deeds {
            match ascribed.ascribe(deed) {
                Ok(Some(number)) => ascribed.note(number, deed),
                Ok(None) => {}
                Err(what) => {
                    let text = format!("{what}: {:#x} {:?} {}", deed.zxid, deed.what, deed.path);
                    let marks = |state: &Option<_>| state.as_ref().map(shown);
                    ascribed.wrong.push(format!("{text}, {:?} -> {:?}", marks(&deed.before), marks(&deed.after)));
                }
            }
        }
        for &deed in &ascribed.unmarked {
            ascribed.places.entry(&deed.path).or_default().push(deed);
        }
        ascribed.clock();
        ascribed
    }

    /// The operation of a deed; none when no mark tells.
    fn ascribe(&mut self, deed: &'a Deed) -> Result<Option<usize>, &'static str> {
        let (operations, index) = (self.operations, &self.index);
        let after = deed.after.as_ref().map(|state| state.content()).unwrap_or_default();
        let before = deed.before.as_ref().map(|state| state.content()).unwrap_or_default();
        if deed.what == What::End {
            return Ok(None);
        }
        if let What::MoveFrom(from) = &deed.what {
            if let Some(&taker) = index.takers.get(&deed.path[..]) {
                return if operations[taker].path == *from { Ok(Some(taker)) } else { Err("moved by nobody") };
            }
            // A rename that was told to have failed is taken back.
            let undone = after.first().and_then(|mark| index.carriers.get(mark)).map(|&carrier| &operations[carrier]);
            if undone.is_some_and(|carrier| {
                carrier.path == *from && source(carrier) == Some(&deed.path) && carrier.is_unknown()
            }) {
                return Ok(None);
            }
        }
        if after.is_empty() {
            self.unmarked.push(deed);
            return Ok(None);
        }
        if let Some(writer) = self.writer_of_another(deed, &after) {
            self.reborn += 1;
            return Ok(Some(writer));
        }
        let (operations, index) = (self.operations, &self.index);
        let new: Vec<Mark> = after.iter().copied().filter(|mark| !before.contains(mark)).collect();
        let [mark] = new[..] else { return Err("written by nobody") };
        let &writer = index.writers.get(&mark).ok_or("written by nobody")?;
        let number = if self.wrote_there(&operations[writer], deed) {
            writer
        } else {
            let &carrier = index.carriers.get(&mark).ok_or("written to another place")?;
            if operations[carrier].path != deed.path {
                return Err("written to another place");
            }
            carrier
        };
        let is_new = deed.what != What::Set;
        match &operations[number].kind {
            _ if !self.is_as_asked(&operations[number], mark, &before, &after) => {
                Err("written otherwise than was asked for")
            }
            Kind::Guarded(version) if deed.before.as_ref().map(|state| state.version) != Some(*version) => {
                Err("written over another version")
            }
            Kind::Put | Kind::Link { .. } | Kind::Sequential if !is_new || deed.before.is_some() => {
                Err("created over what was there")
            }
            Kind::First | Kind::Append | Kind::Replace | Kind::Guarded(_) if is_new => {
                Err("written to what was not there")
            }
            Kind::Move { from } if deed.what != What::MoveFrom(from.clone()) => Err("moved, and the source is left"),
            _ => Ok(Some(number)),
        }
    }

    /// Who wrote to a file that had been made anew, and had come to the version that the writer had read of the one before. The
    /// server compares nothing else; so the writer must not have been told that it succeeded.
    fn writer_of_another(&self, deed: &Deed, after: &[Mark]) -> Option<usize> {
        let before = deed.before.as_ref().filter(|_| deed.what == What::Set)?;
        let ends = [after.first()?, after.last()?];
        let writers = ends.into_iter().filter_map(|mark| Some((*mark, *self.index.writers.get(mark)?)));
        let mut unknown = writers.filter(|(_, writer)| {
            let operation = &self.operations[*writer];
            let bases = matches!(operation.kind, Kind::First | Kind::Append);
            bases && operation.is_unknown() && operation.path == deed.path
        });
        let is_of_another = |(mark, writer): &(Mark, usize)| {
            let line = self.tree.line(&deed.path);
            let earlier = line[..line.partition_point(|(zxid, _)| *zxid < before.czxid)].iter().rev().take(1000);
            let others =
                earlier.filter_map(|(_, state)| state.as_ref()).filter(|state| state.version == before.version);
            let operation = &self.operations[*writer];
            let makes = |content: &[Mark]| self.is_as_asked(operation, *mark, content, after);
            !makes(&before.content()) && others.into_iter().any(|other| makes(&other.content()))
        };
        unknown.find(is_of_another).map(|(_, writer)| writer)
    }

    /// Whether a write made of a content what it was to make.
    fn is_as_asked(&self, operation: &Operation, mark: Mark, before: &[Mark], after: &[Mark]) -> bool {
        let whole = after == [mark];
        let first = after.split_first() == Some((&mark, before.get(1..).unwrap_or_default()));
        let last = after.split_last() == Some((&mark, before));
        let meets = |other: &Operation| other != operation && other.meets(operation);
        match operation.kind {
            // A truncation is the file's: whatever is written next through the mount takes it with it.
            Kind::First => first || whole && self.around(operation).any(|other| other.truncates() && meets(other)),
            Kind::Append => last || whole && self.around(operation).any(|other| other.truncates() && meets(other)),
            Kind::Replace => whole || first && self.around(operation).any(meets),
            _ => whole,
        }
    }

    /// The operations that may go on at the same time.
    pub fn around(&self, operation: &Operation) -> impl Iterator<Item = &'a Operation> {
        let first = self.operations.partition_point(|other| other.begin < operation.begin.saturating_sub(2 * FAREWELL));
        let last = self.operations.partition_point(|other| other.begin < operation.end);
        self.operations[first..last].iter()
    }

    /// Whether a write went to the place of a deed: its own, the number it was given, or where an open file was moved to.
    fn wrote_there(&self, writer: &Operation, deed: &Deed) -> bool {
        if writer.kind == Kind::Sequential {
            let digits = deed.path.strip_prefix(&writer.path);
            return digits.is_some_and(|digits| digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        }
        deed.path == writer.path || self.origin(&deed.path) == writer.path
    }

    /// The shared name from which something was moved to a name of somebody's own.
    pub fn origin<'b>(&'b self, path: &'b str) -> &'b str {
        self.index.takers.get(path).map_or(path, |&taker| &self.operations[taker].path)
    }

    fn note(&mut self, number: usize, deed: &Deed) {
        let operation = &self.operations[number];
        if let Some(first) = self.fate[number].replace(deed.zxid) {
            self.wrong.push(format!("done twice, by {first:#x} and {:#x}: {operation:?}", deed.zxid));
        }
        if self.index.takers.contains_key(&deed.path[..]) && deed.path != operation.path && deed.what == What::Set {
            self.elsewhere.insert(number);
        }
        let host = *self.hosts.entry(deed.session).or_insert(operation.host);
        if host != operation.host {
            self.wrong.push(format!("done by the session of host {host}: {operation:?}"));
        }
    }

    /// When transactions can have been applied: not before the call of any earlier one, not after the return of any later.
    fn clock(&mut self) {
        let mut fates: Vec<(i64, usize)> =
            self.fate.iter().enumerate().filter_map(|(number, fate)| Some(((*fate)?, number))).collect();
        fates.sort_unstable();
        let mut early = 0;
        for &(zxid, number) in &fates {
            early = early.max(self.operations[number].begin);
            self.times.push((zxid, early, u64::MAX));
        }
        let mut late = u64::MAX;
        for (&(_, number), time) in fates.iter().zip(&mut self.times).rev() {
            if self.operations[number].is_done() {
                late = late.min(self.operations[number].end);
            }
            time.2 = late;
        }
    }

    /// A transaction was not applied before this.
    pub fn early(&self, zxid: i64) -> u64 {
        let after = self.times.partition_point(|(other, ..)| *other <= zxid);
        after.checked_sub(1).map_or(0, |last| self.times[last].1)
    }

    /// A transaction was applied by this time.
    pub fn late(&self, zxid: i64) -> u64 {
        let at = self.times.partition_point(|(other, ..)| *other < zxid);
        self.times.get(at).map_or(u64::MAX, |time| time.2)
    }

    /// Whether an operation can have been the cause of a deed, by the clock.
    pub fn is_in_time(&self, operation: &Operation, deed: &Deed) -> bool {
        self.early(deed.zxid) <= operation.latest() && self.late(deed.zxid) >= operation.begin
    }

    /// The first transaction that can have been what an operation asked for that leaves no mark.
    pub fn least(&self, operation: &Operation) -> Option<i64> {
        // Who opens a file may find it there.
        let create = operation.asks().filter(|_| operation.kind != Kind::Open)?;
        let what = if create { What::Create } else { What::Delete };
        let deeds = self.places.get(&operation.path[..])?.iter().filter(|deed| deed.what == what);
        let own = deeds.filter(|deed| self.hosts.get(&deed.session).is_none_or(|host| *host == operation.host));
        own.filter(|deed| self.is_in_time(operation, deed)).map(|deed| deed.zxid).min()
    }

    /// The last transaction that can have been applied by this time.
    pub fn ceiling(&self, time: u64) -> i64 {
        let after = self.times.partition_point(|(_, early, _)| *early <= time);
        self.times.get(after).map_or(i64::MAX, |next| next.0 - 1)
    }
}

/// Where a move or link takes its data from.
pub fn source(carrier: &Operation) -> Option<&String> {
    match &carrier.kind {
        Kind::Move { from } | Kind::Link { from } => Some(from),
        _ => None,
    }
}

fn shown(state: &crate::tree::State) -> Vec<String> {
    state.content().into_iter().map(show).collect()
}
