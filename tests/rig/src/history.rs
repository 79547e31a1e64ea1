//! The server's own transaction log, read back: the exact truth about what was applied, in which order and by whom.

use std::fs;
use std::path::Path;

use crate::jute::{Op, Reader};

/// One transaction that the server applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its number, in the order of application.
    pub zxid: i64,
    /// The session that asked for it.
    pub session: i64,
    /// What it changed, in order. A multi has several; one that failed has none.
    pub changes: Vec<Change>,
    /// What kind of request it was.
    pub op: Op,
}

/// One change of one znode.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change {
    Create { path: String, data: Vec<u8>, ephemeral: bool },
    SetData { path: String, data: Vec<u8>, version: i32 },
    SetAcl { path: String },
    Delete { path: String },
    Check { path: String },
}

impl Change {
    /// The znode's path.
    pub fn path(&self) -> &str {
        match self {
            Change::Create { path, .. }
            | Change::SetData { path, .. }
            | Change::SetAcl { path }
            | Change::Delete { path }
            | Change::Check { path } => path,
        }
    }
}

/// All transactions in the logs of a server's data directory, the oldest first.
pub(crate) fn read(data: &Path) -> Vec<Transaction> {
    let mut files: Vec<_> = fs::read_dir(data.join("version-2"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log.")))
        .collect();
    // The names end in the first zxid, in hex without leading zeros.
    files.sort_by_key(|path| {
        let hex = path.extension().map(|hex| hex.to_string_lossy().into_owned()).unwrap_or_default();
        i64::from_str_radix(&hex, 16).unwrap_or(0)
    });
    let mut transactions = Vec::new();
    for file in files {
        let bytes = fs::read(&file).unwrap_or_default();
        read_log(&bytes, &mut transactions);
    }
    transactions
}

/// Reads one log file up to the zeros that the server allocated ahead.
fn read_log(bytes: &[u8], into: &mut Vec<Transaction>) {
    const MAGIC: &[u8] = b"ZKLG";
    let mut reader = Reader(bytes);
    if reader.take(4) != Some(MAGIC) || reader.take(12).is_none() {
        return;
    }
    while let Some(transaction) = read_entry(&mut reader) {
        into.push(transaction);
    }
}

fn read_entry(reader: &mut Reader<'_>) -> Option<Transaction> {
    let _checksum = reader.long()?;
    let entry = reader.buffer()?;
    // An entry ends in this mark; without it the server is just writing it.
    if entry.is_empty() || reader.take(1)? != b"B" {
        return None;
    }
    let mut body = Reader(entry);
    let session = body.long()?;
    let _cxid = body.int()?;
    let zxid = body.long()?;
    let _time = body.long()?;
    let op = Op::from_code(body.int()?);
    let changes = match op {
        Op::CreateSession | Op::Error => Vec::new(),
        // From 3.6 on with the paths of the session's ephemerals, which go with it.
        Op::CloseSession => read_closed_paths(&mut body),
        Op::Multi => read_parts(&mut body).unwrap_or_default(),
        _ => read_change(op, &mut body).into_iter().collect(),
    };
    Some(Transaction { zxid, session, changes, op })
}

fn read_closed_paths(body: &mut Reader<'_>) -> Vec<Change> {
    let count = body.int().unwrap_or(0);
    (0..count).map_while(|_| body.string()).map(|path| Change::Delete { path }).collect()
}

fn read_parts(body: &mut Reader<'_>) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for _ in 0..body.int()? {
        let op = Op::from_code(body.int()?);
        let part = body.buffer()?;
        // A multi that failed is logged as its parts' errors: it changed nothing.
        changes.push(read_change(op, &mut Reader(part))?);
    }
    Some(changes)
}

fn read_change(op: Op, body: &mut Reader<'_>) -> Option<Change> {
    if op == Op::Error {
        return None;
    }
    let path = body.string()?;
    Some(match op {
        Op::Create | Op::Create2 => {
            let data = body.buffer()?.to_vec();
            body.acl()?;
            Change::Create { path, data, ephemeral: body.boolean()? }
        }
        Op::CreateContainer | Op::CreateTtl => Change::Create { path, data: body.buffer()?.to_vec(), ephemeral: false },
        Op::SetData => Change::SetData { path, data: body.buffer()?.to_vec(), version: body.int()? },
        Op::SetAcl => Change::SetAcl { path },
        Op::Delete | Op::DeleteContainer => Change::Delete { path },
        Op::Check => Change::Check { path },
        _ => return None,
    })
}
