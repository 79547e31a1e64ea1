use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use zookeeper_client::{AddWatchMode, Client, EventType, PersistentWatcher, SessionState, WatchedEvent};

use crate::until;
use crate::witness::{block, runtime};

/// What happened to a znode, as a client that watches sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was created.
    Created,
    /// Its data were set.
    Changed,
    /// It was deleted.
    Deleted,
    /// The connection was lost and is back: something may have been missed.
    Gap,
    /// The recording has ended with the session of its witness.
    End,
}

/// One event of a recording.
#[derive(Clone, Debug)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// To which znode; empty for a gap and the end.
    pub path: String,
    /// When the rig saw it.
    pub at: Instant,
    /// What a read that was sent right after the event found: data and version. `None` when the znode was gone by then.
    pub found: Option<(Vec<u8>, i32)>,
}

/// Records every change below a path through a recursive watch.
///
/// Watches may skip values that were replaced at once; for the exact history ask [`Server::history`](crate::Server::history).
#[derive(Debug)]
pub struct Recorder {
    log: Arc<Mutex<Log>>,
    barriers: mpsc::UnboundedSender<oneshot::Sender<()>>,
    client: Client,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<Event>,
    /// How many events were cleared away, so that an answer that comes late does not find another event in its place.
    cleared: usize,
    /// Reads that have not been answered yet.
    reading: usize,
}

impl Log {
    /// Adds an event that is no znode's.
    fn mark(&mut self, kind: Kind) {
        self.events.push(Event { kind, path: String::new(), at: Instant::now(), found: None });
    }
}

impl Recorder {
    #[track_caller]
    pub(crate) fn start(client: Client, path: String) -> Recorder {
        let watcher = block("watch", client.watch(&path, AddWatchMode::PersistentRecursive))
            .unwrap_or_else(|e| panic!("watching {path}: {e}"));
        let (barriers, inbox) = mpsc::unbounded_channel();
        let log = Arc::new(Mutex::new(Log::default()));
        runtime().spawn(record(client.clone(), path, watcher, inbox, Arc::clone(&log)));
        Recorder { log, barriers, client }
    }

    /// Waits until everything that was committed before this call has been recorded, and returns all events so far.
    ///
    /// With this a test can say that something did *not* happen.
    #[track_caller]
    pub fn settle(&self) -> Vec<Event> {
        // The server queues an event before any later reply, so events older than this reply have arrived with it.
        block("sync", self.client.sync("/")).expect("sync");
        let (done, wait) = oneshot::channel();
        self.barriers.send(done).expect("the recorder runs");
        block("the recorder", wait).expect("the recorder runs");
        until("the recorder has read what changed", || self.log.lock().unwrap().reading == 0);
        self.log.lock().unwrap().events.clone()
    }

    /// [`settle`](Recorder::settle), and only the events of one znode.
    #[track_caller]
    pub fn of(&self, path: &str) -> Vec<Event> {
        self.settle().into_iter().filter(|event| event.path == path).collect()
    }

    /// [`settle`](Recorder::settle), and the kinds of the events of one znode.
    #[track_caller]
    pub fn kinds(&self, path: &str) -> Vec<Kind> {
        self.of(path).iter().map(|event| event.kind).collect()
    }

    /// Waits for an event.
    #[track_caller]
    pub fn wait_for(&self, what: &str, mut is_it: impl FnMut(&Event) -> bool) {
        until(what, || {
            let log = self.log.lock().unwrap();
            assert!(!log.events.iter().any(|event| event.kind == Kind::End), "the witness has lost its session");
            log.events.iter().any(&mut is_it)
        });
    }

    /// Forgets what was recorded so far.
    #[track_caller]
    pub fn clear(&self) {
        self.settle();
        let mut log = self.log.lock().unwrap();
        log.cleared += log.events.len();
        log.events.clear();
    }
}

async fn record(
    client: Client,
    path: String,
    mut watcher: PersistentWatcher,
    mut barriers: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    log: Arc<Mutex<Log>>,
) {
    loop {
        tokio::select! {
            // Events first: a barrier is passed only when none is queued any more.
            biased;
            event = watcher.changed() => {
                if event.event_type != EventType::Session {
                    note(&client, event, &log);
                } else if event.session_state.is_terminated() {
                    log.lock().unwrap().mark(Kind::End);
                    return;
                } else if event.session_state == SessionState::SyncConnected {
                    // The client library does not watch on after a reconnect.
                    if let Ok(fresh) = client.watch(&path, AddWatchMode::PersistentRecursive).await {
                        watcher = fresh;
                    }
                    log.lock().unwrap().mark(Kind::Gap);
                }
            }
            barrier = barriers.recv() => match barrier {
                Some(done) => { let _ = done.send(()); }
                None => return,
            },
        }
    }
}

/// Notes an event and sends a read of what is there now.
fn note(client: &Client, event: WatchedEvent, log: &Arc<Mutex<Log>>) {
    let kind = match event.event_type {
        EventType::NodeCreated => Kind::Created,
        EventType::NodeDeleted => Kind::Deleted,
        EventType::NodeDataChanged => Kind::Changed,
        _ => return,
    };
    // Sent by the call itself, so in the order of the events.
    let read = (kind != Kind::Deleted).then(|| client.get_data(&event.path));
    let mut noted = log.lock().unwrap();
    let number = noted.cleared + noted.events.len();
    noted.events.push(Event { kind, path: event.path, at: Instant::now(), found: None });
    let Some(read) = read else { return };
    noted.reading += 1;
    let log = Arc::clone(log);
    tokio::spawn(async move {
        let found = read.await.ok().map(|(data, stat)| (data, stat.version));
        let mut noted = log.lock().unwrap();
        noted.reading -= 1;
        let index = number.checked_sub(noted.cleared);
        if let Some(event) = index.and_then(|index| noted.events.get_mut(index)) {
            event.found = found;
        }
    });
}
