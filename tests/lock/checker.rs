//! Judges a history of writes under a lock, from the server's own log of transactions.
//!
//! A worker reads a counter and writes it back one higher, together with its fencing token. The history is accepted only
//! if each write came from the contender that stood first in the queue at that very transaction, made the next value, and
//! was tried by a worker, and if everything that a worker was told was written is there.

use std::collections::{BTreeMap, BTreeSet};

use rig::{Change, Transaction};

/// What the workers say.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// Value and token of writes that were begun.
    pub tried: BTreeSet<(i64, i64)>,
    /// Those that succeeded.
    pub acknowledged: BTreeSet<(i64, i64)>,
}

/// Where the lock and the counter are, as absolute paths.
#[derive(Clone, Debug)]
pub struct Layout {
    pub lock: String,
    pub counter: String,
}

/// Accepts a history and counts its writes, or says what is wrong.
pub fn check(history: &[Transaction], layout: &Layout, claims: &Claims) -> Result<usize, String> {
    let mut queue = BTreeMap::new();
    let (mut value, mut last) = (0, 0);
    let mut written = BTreeSet::new();
    for Transaction { zxid, session, changes, .. } in history {
        for change in changes {
            match change {
                Change::Create { path, .. } => {
                    if let Some(number) = number(path, &layout.lock) {
                        queue.insert(number, (*zxid, *session));
                    }
                }
                Change::Delete { path } => {
                    number(path, &layout.lock).map(|number| queue.remove(&number));
                }
                Change::SetData { path, data, .. } if *path == layout.counter => {
                    let (new, token) = parse(data).ok_or_else(|| format!("{zxid:#x} writes {data:?}"))?;
                    let first = queue.first_key_value().map(|(_, first)| *first);
                    if first != Some((token, *session)) {
                        return Err(format!("{zxid:#x} is by {token:#x} of {session:#x}, but {first:x?} has the lock"));
                    }
                    if new != value + 1 {
                        return Err(format!("{zxid:#x} makes {new} of {value}"));
                    }
                    if token < last {
                        return Err(format!("{zxid:#x} is by {token:#x}, after {last:#x}"));
                    }
                    if !claims.tried.contains(&(new, token)) {
                        return Err(format!("{zxid:#x} was tried by nobody"));
                    }
                    (value, last) = (new, token);
                    written.insert((new, token));
                }
                _ => {}
            }
        }
    }
    match claims.acknowledged.difference(&written).next() {
        Some((value, token)) => Err(format!("{value} by {token:#x} was acknowledged, and is not there")),
        None => Ok(written.len()),
    }
}

/// The number of a contender in the lock's directory.
fn number(path: &str, lock: &str) -> Option<i64> {
    let name = path.strip_prefix(lock)?.strip_prefix('/')?;
    name.get(name.len().checked_sub(10)?..)?.parse().ok()
}

/// What the counter holds: a value and the token of who wrote it.
pub fn parse(data: &[u8]) -> Option<(i64, i64)> {
    let mut words = std::str::from_utf8(data).ok()?.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let token = i64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    Some((value, token))
}

/// Copies of an accepted history, each with one violation planted: none of them may be accepted.
pub fn planted(
    history: &[Transaction],
    layout: &Layout,
    claims: &Claims,
) -> Vec<(&'static str, Vec<Transaction>, Claims)> {
    let is_write = |change: &Change| matches!(change, Change::SetData { path, .. } if *path == layout.counter);
    let writes: Vec<usize> = (0..history.len()).filter(|at| history[*at].changes.iter().any(is_write)).collect();
    let middle = writes[writes.len() / 2];
    let mut plants = Vec::new();
    let mut plant = |what, edit: &dyn Fn(&mut Vec<Transaction>, &mut Claims)| {
        let (mut history, mut claims) = (history.to_vec(), claims.clone());
        edit(&mut history, &mut claims);
        plants.push((what, history, claims));
    };
    plant("a lost update", &|history, _| {
        let mut again = history[middle].clone();
        again.zxid += 1;
        history.insert(middle + 1, again);
    });
    plant("a lost write", &|history, _| {
        history.remove(middle);
    });
    plant("a write by another session", &|history, _| history[middle].session += 1);
    plant("a write by somebody who came later", &|history, claims| {
        for change in &mut history[middle].changes {
            if let Change::SetData { data, .. } = change {
                let (value, token) = parse(data).unwrap();
                claims.tried.insert((value, token + 1));
                *data = format!("{value} {:#x}", token + 1).into_bytes();
            }
        }
    });
    plant("a holder that has not gone", &|history, _| {
        // The deletion of the contender that wrote, so that the next one writes beside it.
        let path = (0..middle).rev().find_map(|at| match &history[at].changes[..] {
            [Change::Create { path, .. }] if number(path, &layout.lock).is_some() => {
                let (_, token) = token_of(&history[middle])?;
                (history[at].zxid == token).then(|| path.clone())
            }
            _ => None,
        });
        let path = path.expect("who wrote has come before");
        history.iter_mut().for_each(|transaction| {
            transaction.changes.retain(|change| !matches!(change, Change::Delete { path: gone } if *gone == path));
        });
    });
    plant("a write that nobody tried", &|history, claims| {
        claims.tried.remove(&token_of(&history[middle]).unwrap());
    });
    plant("an acknowledgement of nothing", &|_, claims| {
        claims.acknowledged.insert((i64::MAX, 1));
    });
    plants
}

/// Value and token of a transaction that writes.
fn token_of(transaction: &Transaction) -> Option<(i64, i64)> {
    transaction.changes.iter().find_map(|change| match change {
        Change::SetData { data, .. } => parse(data),
        _ => None,
    })
}

/// Every planted violation is rejected.
pub fn reject_planted(history: &[Transaction], layout: &Layout, claims: &Claims) {
    for (what, history, claims) in planted(history, layout, claims) {
        assert!(check(&history, layout, &claims).is_err(), "{what} is accepted");
    }
}

#[test]
fn the_checker_accepts_what_is_right_and_rejects_what_is_not() {
    let layout = Layout { lock: "/.c.lock".to_owned(), counter: "/c".to_owned() };
    let mut history = Vec::new();
    let mut claims = Claims::default();
    let mut add = |zxid, session, change| {
        history.push(Transaction { zxid, session, changes: vec![change], op: rig::Op::Multi });
    };
    let contender = |n: i64| format!("/.c.lock/_c_x-lock-{n:010}");
    let create = |n| Change::Create { path: contender(n), data: Vec::new(), ephemeral: true };
    // Each comes while the one before it is there.
    add(1, 101, create(1));
    for n in 1..=5_i64 {
        add(10 * n + 1, 100 + n + 1, create(n + 1));
        let token = if n == 1 { 1 } else { 10 * (n - 1) + 1 };
        let data = format!("{n} {token:#x}").into_bytes();
        add(10 * n + 2, 100 + n, Change::SetData { path: layout.counter.clone(), data, version: 0 });
        claims.tried.insert((n, token));
        claims.acknowledged.insert((n, token));
        add(10 * n + 3, 100 + n, Change::Delete { path: contender(n) });
    }
    claims.tried.insert((9, 9));
    assert_eq!(check(&history, &layout, &claims), Ok(5));
    reject_planted(&history, &layout, &claims);
}
