//! What the workers asked for and what they were told, read from their notes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// What is in one write and in no other.
pub type Mark = u64;

/// What a znode holds: the marks of those who wrote it, in order.
pub type Content = Vec<Mark>;

/// Bytes of a mark in a znode: `03.00000042` and a newline.
const WIDTH: usize = 12;

/// How long an operation goes on, in nanoseconds, after a program was killed that never saw its end, or was told that it
/// is not known.
pub const FAREWELL: u64 = 20_000_000_000;

/// One operation of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The mount it went through; the last number is the client without one.
    pub host: usize,
    pub kind: Kind,
    pub path: String,
    /// That of the data that is written, or carried to `path`.
    pub mark: Option<Mark>,
    /// CLOCK_MONOTONIC in nanoseconds, at the call and at the return; no return is `u64::MAX`.
    pub begin: u64,
    pub end: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// open(2) with `O_EXCL`, of a file that is persistent or ephemeral.
    Create,
    /// open(2) that creates what is not there.
    Open,
    /// A write that replaces all.
    Replace,
    /// A write over what comes first, conditional on the version that was opened.
    First,
    Append,
    /// A replacement of this version only.
    Guarded(i32),
    /// A create with data.
    Put,
    /// A file of the worker's own, made and written.
    Source,
    /// What comes at a new number.
    Sequential,
    /// rename(2) of a source of one's own to a shared name.
    Move {
        from: String,
    },
    /// link(2), or rename(2) that replaces nothing, of such a source.
    Link {
        from: String,
    },
    /// rename(2) of a shared name to one of one's own.
    Away {
        to: String,
    },
    Unlink,
    Mkdir,
    Rmdir,
    Read,
    Stat,
    Size,
    List,
    /// What is not judged.
    Look,
}

/// What a worker was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Saw(Seen),
    /// It was not done.
    Failed(i32),
    /// It may have been done, and may still be.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Content(Content),
    Stat {
        czxid: i64,
        mzxid: i64,
        version: i32,
        owner: i64,
        length: usize,
    },
    Size {
        size: usize,
        directory: bool,
    },
    Names(Vec<String>),
    /// ENOENT.
    Nothing,
}

impl Operation {
    /// It is known to have been done.
    pub fn is_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done | Outcome::Saw(_))
    }

    /// Nobody can tell whether it was done.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    /// What it asks for that leaves no mark: true is a create, false a delete.
    pub fn asks(&self) -> Option<bool> {
        match self.kind {
            _ if matches!(self.outcome, Outcome::Failed(_)) => None,
            Kind::Create | Kind::Open | Kind::Mkdir | Kind::Source => Some(true),
            Kind::Unlink | Kind::Rmdir => Some(false),
            _ => None,
        }
    }

    /// After this time it is not done any more.
    pub fn latest(&self) -> u64 {
        match self.outcome {
            Outcome::Unknown => self.end.min(self.begin.saturating_add(FAREWELL)).saturating_add(FAREWELL),
            _ => self.end,
        }
    }

    /// While it goes on, the file is empty for all programs of its mount. That of one version is not.
    pub fn truncates(&self) -> bool {
        matches!(self.kind, Kind::Replace | Kind::Open | Kind::Create)
    }

    /// Both went on at the same time through the same mount, at the same file.
    pub fn meets(&self, other: &Operation) -> bool {
        let end = |operation: &Operation| operation.end.min(operation.begin.saturating_add(FAREWELL));
        let together = self.begin < end(other) && other.begin < end(self);
        together && self.host == other.host && self.path == other.path
    }
}

/// The marks in a znode's data, if it has nothing else.
pub fn content(data: &[u8]) -> Option<Content> {
    data.chunks(WIDTH).map(|mark| parse_mark(std::str::from_utf8(mark).ok()?.strip_suffix('\n')?)).collect()
}

fn parse_mark(text: &str) -> Option<Mark> {
    let (worker, number) = text.split_once('.')?;
    Some(worker.parse::<u64>().ok()? * 100_000_000 + number.parse::<u64>().ok()?)
}

/// A mark as it is written.
pub fn show(mark: Mark) -> String {
    format!("{:02}.{:08}", mark / 100_000_000, mark % 100_000_000)
}

/// The data of a znode with these marks.
pub fn data(content: &[Mark]) -> Vec<u8> {
    content.iter().flat_map(|&mark| (show(mark) + "\n").into_bytes()).collect()
}

/// All operations in the notes.
pub fn read(notes: &Path) -> Vec<Operation> {
    let mut all = Vec::new();
    for entry in fs::read_dir(notes).expect("the notes").flatten() {
        let name = entry.file_name().into_string().expect("a name of ours");
        let host = name.split('.').next().and_then(|host| host.parse().ok()).expect("HOST.WORKER.PID");
        all.extend(parse(host, &fs::read_to_string(entry.path()).expect("readable notes")));
    }
    all.sort_by_key(|operation| operation.begin);
    all
}

/// The operations in one worker's notes.
pub fn parse(host: usize, text: &str) -> Vec<Operation> {
    let mut all: Vec<Operation> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["B", begin, kind, path, mark, extra] => all.push(Operation {
                host,
                kind: parse_kind(kind, extra),
                path: path.to_owned(),
                mark: parse_mark(mark),
                begin: begin.parse().expect("a time"),
                end: u64::MAX,
                outcome: Outcome::Unknown,
            }),
            ["E", end, told, result] => {
                let last = all.last_mut().expect("a beginning before each end");
                last.end = end.parse().expect("a time");
                last.outcome = parse_outcome(&last.kind, told.parse().expect("a number"), result);
            }
            // The last line of a worker that was killed.
            _ => {}
        }
    }
    all
}

fn parse_kind(kind: &str, extra: &str) -> Kind {
    match kind {
        "create" => Kind::Create,
        "open" => Kind::Open,
        "replace" => Kind::Replace,
        "first" => Kind::First,
        "append" => Kind::Append,
        "guarded" => Kind::Guarded(extra.parse().expect("a version")),
        "put" => Kind::Put,
        "source" => Kind::Source,
        "sequential" => Kind::Sequential,
        "move" => Kind::Move { from: extra.to_owned() },
        "link" => Kind::Link { from: extra.to_owned() },
        "away" => Kind::Away { to: extra.to_owned() },
        "unlink" => Kind::Unlink,
        "mkdir" => Kind::Mkdir,
        "rmdir" => Kind::Rmdir,
        "read" => Kind::Read,
        "stat" => Kind::Stat,
        "size" => Kind::Size,
        "list" => Kind::List,
        "look" => Kind::Look,
        other => panic!("no kind of operation: {other}"),
    }
}

fn parse_outcome(kind: &Kind, told: i32, result: &str) -> Outcome {
    match told {
        0 => parse_seen(kind, result).map_or(Outcome::Done, Outcome::Saw),
        libc::ENOENT if matches!(kind, Kind::Read | Kind::Stat | Kind::Size) => Outcome::Saw(Seen::Nothing),
        // The daemon was killed, its deadline came, or a reply was lost.
        libc::EIO | libc::ETIMEDOUT | libc::EINTR | libc::ENOTCONN | libc::ECONNABORTED => Outcome::Unknown,
        told => Outcome::Failed(told),
    }
}

fn parse_seen(kind: &Kind, result: &str) -> Option<Seen> {
    let fields = || result.split(',').filter(|field| *field != "-" && !field.is_empty());
    let numbers = || fields().filter_map(|field| field.parse::<i64>().ok()).collect::<Vec<_>>();
    match kind {
        // What is no mark was written by nobody.
        Kind::Read => Some(Seen::Content(fields().map(|mark| parse_mark(mark).unwrap_or(Mark::MAX)).collect())),
        Kind::Stat => match numbers()[..] {
            [czxid, mzxid, version, owner, length] => {
                Some(Seen::Stat { czxid, mzxid, version: version as i32, owner, length: length as usize })
            }
            _ => panic!("no Stat: {result}"),
        },
        Kind::Size => Some(Seen::Size { size: *numbers().first()? as usize, directory: result.ends_with('d') }),
        Kind::List => Some(Seen::Names(fields().map(str::to_owned).collect())),
        _ => None,
    }
}

/// How many operations of each kind there are, and what came of them.
pub fn summary(operations: &[Operation]) -> String {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for operation in operations {
        let what = match operation.outcome {
            Outcome::Done | Outcome::Saw(_) => "done".to_owned(),
            Outcome::Failed(number) => std::io::Error::from_raw_os_error(number).to_string(),
            Outcome::Unknown => "unknown".to_owned(),
        };
        *told.entry(what).or_default() += 1;
    }
    format!("{} operations: {told:?}", operations.len())
}

#[test]
fn notes_are_read() {
    let text = "B 5 append /a/f 03.00000042 -\nE 9 0 -\nB 10 read /a/f - -\nE 12 0 03.00000042,01.00000001\n\
                B 13 unlink /a/f - -\nE 14 2 -\nB 15 guarded /a/f 03.00000043 7\nE 16 5 -\nB 17 mkd";
    let all = parse(1, text);
    assert_eq!(all.len(), 4);
    assert_eq!((all[0].mark, all[0].begin, all[0].end, &all[0].outcome), (Some(300_000_042), 5, 9, &Outcome::Done));
    assert_eq!(all[1].outcome, Outcome::Saw(Seen::Content(vec![300_000_042, 100_000_001])));
    assert_eq!(all[2].outcome, Outcome::Failed(libc::ENOENT));
    assert_eq!((&all[3].kind, &all[3].outcome), (&Kind::Guarded(7), &Outcome::Unknown));
    assert_eq!(content(&data(&[300_000_042, 7])), Some(vec![300_000_042, 7]));
    assert_eq!(content(b"what is this"), None);
}
