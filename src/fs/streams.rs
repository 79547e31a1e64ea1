//! Streams of changes, for scripts: one line a change.
//!
//! A stream begins with its open, so who opens it, looks, and then reads has missed nothing. What a reader does not take is
//! kept up to a bound, and is then one line that says to look again.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::notify::Bell;
use crate::mapping::{Names, ZnodePath};
use crate::session::{Change, Event, StateChange};

/// Bytes that are kept for a reader that does not take them.
const LIMIT: usize = 1 << 20;

/// Something may have been missed.
const RESYNC: &str = "resync\n";

/// The streams that are open.
#[derive(Debug, Default)]
pub struct Streams {
    list: RwLock<Vec<Weak<Stream>>>,
}

impl Streams {
    /// Opens a stream of the changes of a znode and all that is below it.
    pub fn open(&self, path: &ZnodePath, names: Names) -> Arc<Stream> {
        let stream = Stream { path: path.clone(), names, state: Mutex::default(), bell: Notify::new() };
        let stream = Arc::new(stream);
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.retain(|stream| stream.strong_count() > 0);
        list.push(Arc::downgrade(&stream));
        stream
    }

    /// Adds what the store tells to the streams that it concerns; who polls them is to be told by these bells.
    pub fn event(&self, event: &Event) -> Vec<Bell> {
        let list = self.list.read().unwrap_or_else(PoisonError::into_inner);
        list.iter().filter_map(Weak::upgrade).flat_map(|stream| stream.event(event)).collect()
    }
}

/// A stream of changes.
pub struct Stream {
    path: ZnodePath,
    names: Names,
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    /// What is left of a line that was longer than the buffer of a read: shells read byte by byte.
    rest: Bytes,
    ended: bool,
    pollers: HashMap<u64, Bell>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn event(&self, event: &Event) -> Vec<Bell> {
        let line = match event {
            Event::Node { path, change, .. } => match self.shown(path) {
                Some(path) => format!("{} {path}\n", word(*change)),
                None => return Vec::new(),
            },
            Event::Gap => RESYNC.to_owned(),
            Event::Blind => return Vec::new(),
            Event::Session(StateChange::Connected(_)) => "session connected\n".to_owned(),
            Event::Session(StateChange::Suspended(_)) => "session suspended\n".to_owned(),
            Event::Session(StateChange::Lost(_)) => "session lost\n".to_owned(),
            Event::Session(StateChange::Closed) => String::new(),
        };
        let mut state = self.state();
        if line.is_empty() {
            state.ended = true;
        } else {
            state.push(line);
        }
        let bells = std::mem::take(&mut state.pollers);
        drop(state);
        self.bell.notify_waiters();
        bells.into_values().collect()
    }

    /// A path as it is listed, relative to the stream's; a dot for that one itself.
    fn shown(&self, path: &ZnodePath) -> Option<String> {
        if !path.is_within(&self.path) {
            return None;
        }
        let above = if self.path.is_root() { 0 } else { self.path.as_str().len() };
        let rest = path.as_str()[above..].trim_start_matches('/');
        let shown: Vec<String> = rest.split('/').map(|name| self.names.show(name)).collect();
        Some(if rest.is_empty() { ".".to_owned() } else { shown.join("/") })
    }

    /// Reads whole lines, or the part of one that fits; waits for the first one. Nothing at the end, which is that of the
    /// mount's session.
    pub async fn read(&self, size: usize) -> Bytes {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            bell.as_mut().enable();
            if let Some(bytes) = self.try_read(size) {
                return bytes;
            }
            bell.await;
        }
    }

    /// The same without waiting; none when there is nothing yet.
    pub fn try_read(&self, size: usize) -> Option<Bytes> {
        let mut state = self.state();
        if !state.is_readable() {
            return None;
        }
        if state.rest.is_empty() {
            state.rest = state.take(size).into();
        }
        let end = size.min(state.rest.len());
        Some(state.rest.split_to(end))
    }

    /// Tells whether a read would not wait; if it would, the bell is rung when that changes. `poller` is who polls: only its
    /// last bell counts.
    pub fn poll(&self, poller: Option<(u64, Bell)>) -> bool {
        let mut state = self.state();
        let readable = state.is_readable();
        if let Some((poller, bell)) = poller.filter(|_| !readable) {
            state.pollers.insert(poller, bell);
        }
        readable
    }
}

impl State {
    fn is_readable(&self) -> bool {
        self.ended || !self.rest.is_empty() || !self.lines.is_empty()
    }

    fn push(&mut self, line: String) {
        if line == RESYNC && self.lines.back().is_some_and(|last| last == RESYNC) {
            return;
        }
        if self.bytes + line.len() > LIMIT {
            self.lines.clear();
            self.lines.push_back(RESYNC.to_owned());
            self.bytes = RESYNC.len();
        }
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    /// As many lines as fit, and at least one.
    fn take(&mut self, size: usize) -> String {
        let mut taken = String::new();
        while let Some(line) = self.lines.front().filter(|line| taken.is_empty() || taken.len() + line.len() <= size) {
            taken.push_str(line);
            self.bytes -= line.len();
            self.lines.pop_front();
        }
        taken
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Created => "create",
        Change::Modified => "modify",
        Change::Deleted => "delete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn tell(streams: &Streams, text: &str, change: Change) {
        streams.event(&Event::Node { path: path(text), change, zxid: None });
    }

    fn read(stream: &Stream, size: usize) -> Option<String> {
        stream.try_read(size).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn paths_are_relative_and_as_they_are_listed() {
        let streams = Streams::default();
        let [all, dir] = ["/", "/d"].map(|at| streams.open(&path(at), Names::default()));
        tell(&streams, "/d/a@e/x", Change::Created);
        tell(&streams, "/d", Change::Modified);
        tell(&streams, "/dd", Change::Deleted);
        assert_eq!(read(&all, 100).unwrap(), "create d/a@@e/x\nmodify d\ndelete dd\n");
        assert_eq!(read(&dir, 100).unwrap(), "create a@@e/x\nmodify .\n");
        assert_eq!(read(&dir, 100), None);
    }

    #[test]
    fn a_read_gives_whole_lines_or_a_part_of_one() {
        let streams = Streams::default();
        let stream = streams.open(&ZnodePath::root(), Names::default());
        tell(&streams, "/a", Change::Created);
        tell(&streams, "/b", Change::Created);
        assert_eq!(read(&stream, 12).unwrap(), "create a\n");
        assert_eq!(read(&stream, 3).unwrap(), "cre");
        tell(&streams, "/c", Change::Deleted);
        assert_eq!(read(&stream, 100).unwrap(), "ate b\n");
        assert_eq!(read(&stream, 100).unwrap(), "delete c\n");
        streams.event(&Event::Session(StateChange::Closed));
        assert_eq!(read(&stream, 100).unwrap(), "");
    }

    #[test]
    fn what_is_not_taken_ends_in_a_line_to_look_again() {
        let streams = Streams::default();
        let stream = streams.open(&ZnodePath::root(), Names::default());
        (0..100_000).for_each(|n| tell(&streams, &format!("/n{n:06}"), Change::Created));
        assert!(stream.state().bytes <= LIMIT);
        let first = read(&stream, 20).unwrap();
        assert_eq!(first.lines().next(), Some("resync"));
        let mut last = first;
        while let Some(next) = read(&stream, 4096) {
            last = next;
        }
        assert!(last.ends_with("create n099999\n"), "{last}");
        assert_eq!(stream.state().bytes, 0);
        streams.event(&Event::Gap);
        streams.event(&Event::Gap);
        assert_eq!(read(&stream, 100).unwrap(), "resync\n");
    }

    #[tokio::test]
    async fn a_read_waits_and_pollers_are_told() {
        let streams = Arc::new(Streams::default());
        let stream = streams.open(&ZnodePath::root(), Names::default());
        let reader = tokio::spawn({
            let stream = stream.clone();
            async move { stream.read(100).await }
        });
        let rung = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let bell = |rung: &Arc<std::sync::atomic::AtomicU32>| -> Bell {
            let rung = rung.clone();
            Box::new(move || {
                let _ = rung.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            })
        };
        assert!(!stream.poll(Some((1, bell(&rung)))));
        assert!(!stream.poll(Some((1, bell(&rung)))));
        tokio::task::yield_now().await;
        let bells = streams.event(&Event::Node { path: path("/a"), change: Change::Created, zxid: None });
        bells.into_iter().for_each(|bell| bell());
        assert_eq!(reader.await.unwrap(), "create a\n");
        assert_eq!(rung.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}
