//! One tree in memory and the sessions on it.
//!
//! Lock order: the hub's state, a session's life, a session's queue. A sink is called under none of them but the turn
//! of its session, which is taken while no other lock is held.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::MemorySettings;
use super::tree::{Caller, Told, Tree};
use crate::mapping::{SessionId, ZnodePath, Zxid};
use crate::session::chronicle::Chronicle;
use crate::session::pin::pin;
use crate::session::{Event, History, SessionState, SessionView, Sink, StateChange, StoreError};

/// The tree and its sessions.
#[derive(Debug)]
pub struct Hub {
    state: Mutex<State>,
    /// How often the server looks for containers and znodes with a time to live to remove.
    reap_every: Duration,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    sessions: Vec<Weak<Session>>,
    last_session: SessionId,
    reaper: bool,
}

/// One session.
pub struct Session {
    hub: Arc<Hub>,
    sink: Arc<dyn Sink>,
    settings: MemorySettings,
    life: Mutex<Life>,
    /// Told whenever the life changes.
    changed: Notify,
    queue: Mutex<VecDeque<Event>>,
    /// Ephemerals to be deleted once connected again.
    retractions: Mutex<Vec<(ZnodePath, Zxid)>>,
    chronicle: Chronicle,
    /// Held while the sink is called, so that events come one at a time and in order.
    turn: Mutex<()>,
}

#[derive(Debug, Clone, Copy)]
struct Life {
    state: SessionState,
    id: SessionId,
    incarnation: u64,
    connections: u64,
    suspended: Option<Instant>,
}

impl Hub {
    pub fn new(reap_every: Duration) -> Arc<Hub> {
        let state = State {
            tree: Tree::new(now()),
            sessions: Vec::new(),
            last_session: SessionId(0x100_0000_0000_0000),
            reaper: false,
        };
        Arc::new(Hub { state: Mutex::new(state), reap_every })
    }

    /// Starts a session.
    pub fn session(self: &Arc<Hub>, sink: Arc<dyn Sink>, settings: MemorySettings) -> Arc<Session> {
        let mut state = lock(&self.state);
        let id = state.new_session();
        let life = Life { state: SessionState::Connected, id, incarnation: 1, connections: 1, suspended: None };
        let session = Arc::new(Session {
            hub: Arc::clone(self),
            sink,
            settings,
            life: Mutex::new(life),
            changed: Notify::new(),
            queue: Mutex::new(VecDeque::from([Event::Session(StateChange::Connected(id)), Event::Gap])),
            retractions: Mutex::default(),
            chronicle: Chronicle::default(),
            turn: Mutex::new(()),
        });
        state.sessions.push(Arc::downgrade(&session));
        drop(state);
        session.pump();
        session
    }

    /// Does to the tree what the server does by itself, and tells everybody.
    fn reap(&self) {
        let mut state = lock(&self.state);
        let told = state.tree.reap(now());
        let listeners = state.tell(&told);
        drop(state);
        pump(&listeners);
    }

    fn start_reaper(self: &Arc<Hub>, state: &mut State) {
        if std::mem::replace(&mut state.reaper, true) {
            return;
        }
        let (hub, every) = (Arc::downgrade(self), self.reap_every);
        let reap = move || {
            while let Some(hub) = hub.upgrade() {
                hub.reap();
                drop(hub);
                std::thread::sleep(every);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("memory-reaper".to_owned()).spawn(reap) {
            tracing::warn!(%error, "containers and znodes with a time to live will stay");
            state.reaper = false;
        }
    }
}

impl State {
    fn new_session(&mut self) -> SessionId {
        self.tree.tick();
        self.last_session = SessionId(self.last_session.0 + 1);
        self.last_session
    }

    /// Queues changes for every session that sees them: who is to be pumped once the locks are dropped.
    fn tell(&mut self, told: &[Told]) -> Vec<Arc<Session>> {
        if told.is_empty() {
            return Vec::new();
        }
        self.sessions.retain(|session| session.strong_count() > 0);
        let sessions: Vec<Arc<Session>> = self.sessions.iter().filter_map(Weak::upgrade).collect();
        for session in &sessions {
            if lock(&session.life).state == SessionState::Connected {
                let events = told.iter().map(|(path, change, zxid)| Event::Node {
                    path: path.clone(),
                    change: *change,
                    zxid: Some(*zxid),
                });
                lock(&session.queue).extend(events);
            }
        }
        sessions
    }
}

impl Session {
    pub fn settings(&self) -> &MemorySettings {
        &self.settings
    }

    /// Waits until connected, then lets one request change the tree.
    pub async fn write<T, E: From<StoreError>>(
        &self,
        apply: impl FnOnce(&mut Tree, Caller<'_>) -> Result<(T, Vec<Told>), E>,
    ) -> Result<T, E> {
        let mut apply = Some(apply);
        let (result, listeners) = self
            .connected(|state, id| {
                let Some(apply) = apply.take() else {
                    return (Err(E::from(StoreError::Unexpected("a request ran twice".to_owned()))), Vec::new());
                };
                let caller = Caller { session: id, identities: &self.settings.identities, now: now() };
                match apply(&mut state.tree, caller) {
                    Ok((result, told)) => (Ok(result), state.tell(&told)),
                    Err(error) => (Err(error), Vec::new()),
                }
            })
            .await?;
        pump(&listeners);
        self.pump();
        result
    }

    /// Waits until connected, then lets one request look at the tree.
    pub async fn read<T>(&self, look: impl Fn(&Tree, Caller<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let result = self
            .connected(|state, id| {
                look(&state.tree, Caller { session: id, identities: &self.settings.identities, now: now() })
            })
            .await?;
        self.pump();
        result
    }

    async fn connected<T>(&self, mut run: impl FnMut(&mut State, SessionId) -> T) -> Result<T, StoreError> {
        let deadline = tokio::time::Instant::now() + self.settings.operation_timeout;
        let pin = pin();
        loop {
            let changed = self.changed.notified();
            {
                let mut state = lock(&self.hub.state);
                let life = *lock(&self.life);
                let lost = life.state == SessionState::Lost;
                match life.state {
                    SessionState::Closed => return Err(StoreError::Closed),
                    _ if pin.is_some_and(|pin| lost || life.id != pin) => return Err(StoreError::SessionLost),
                    SessionState::Connected => return Ok(run(&mut state, life.id)),
                    SessionState::Suspended | SessionState::Lost => {}
                }
            }
            tokio::time::timeout_at(deadline, changed).await.map_err(|_| StoreError::TimedOut)?;
        }
    }

    /// Starts what removes containers and znodes with a time to live.
    pub fn start_reaper(&self) {
        let mut state = lock(&self.hub.state);
        self.hub.start_reaper(&mut state);
    }

    /// Loses the connection.
    pub fn suspend(&self) {
        self.live(|_, life, queue| {
            if life.state == SessionState::Connected {
                life.state = SessionState::Suspended;
                life.suspended = Some(Instant::now());
                queue.extend([Event::Blind, Event::Session(StateChange::Suspended(life.id))]);
            }
            Vec::new()
        });
    }

    /// Gets the connection back, with a new session when the old one is gone.
    pub fn resume(&self) {
        self.live(|state, life, queue| {
            match life.state {
                SessionState::Suspended => {}
                SessionState::Lost => life.renew(state),
                SessionState::Connected | SessionState::Closed => return Vec::new(),
            }
            life.connect(queue);
            self.retract_all(&mut state.tree, life.id)
        });
    }

    /// Deletes an ephemeral of the session, now or once it is connected again, if this transaction created it.
    pub fn retract(&self, path: ZnodePath, czxid: Zxid) {
        self.live(|state, life, _| {
            lock(&self.retractions).push((path, czxid));
            if life.state == SessionState::Connected {
                return self.retract_all(&mut state.tree, life.id);
            }
            Vec::new()
        });
    }

    /// What belonged to an earlier session is gone already.
    fn retract_all(&self, tree: &mut Tree, session: SessionId) -> Vec<Told> {
        let retractions = std::mem::take(&mut *lock(&self.retractions));
        retractions.iter().flat_map(|(path, czxid)| tree.retract(path, *czxid, session)).collect()
    }

    /// Loses the session, and gets a new one at once unless it is suspended.
    pub fn expire(&self) {
        self.live(|state, life, queue| {
            let connected = match life.state {
                SessionState::Connected => true,
                SessionState::Suspended => false,
                SessionState::Lost | SessionState::Closed => return Vec::new(),
            };
            if connected {
                queue.extend([Event::Blind, Event::Session(StateChange::Suspended(life.id))]);
            }
            queue.push_back(Event::Session(StateChange::Lost(life.id)));
            self.chronicle.lose(life.id, state.tree.ephemerals(life.id).into_iter().map(|(path, _)| path).collect());
            life.state = SessionState::Lost;
            life.suspended = None;
            let told = state.tree.end_session(life.id);
            if connected {
                life.renew(state);
                life.connect(queue);
            }
            told
        });
    }

    /// Ends the session for good.
    pub fn close(&self) {
        self.live(|state, life, queue| {
            if life.state == SessionState::Closed {
                return Vec::new();
            }
            life.state = SessionState::Closed;
            life.suspended = None;
            queue.extend([Event::Blind, Event::Session(StateChange::Closed)]);
            state.tree.end_session(life.id)
        });
    }

    /// Changes the life of the session, and tells everybody what follows from it.
    fn live(&self, change: impl FnOnce(&mut State, &mut Life, &mut VecDeque<Event>) -> Vec<Told>) {
        let mut state = lock(&self.hub.state);
        let told = change(&mut state, &mut lock(&self.life), &mut lock(&self.queue));
        let listeners = state.tell(&told);
        drop(state);
        self.changed.notify_waiters();
        pump(&listeners);
        self.pump();
    }

    pub fn view(&self) -> SessionView {
        let life = *lock(&self.life);
        let timeout = self.settings.session_timeout;
        let validity = match (life.state, life.suspended) {
            (SessionState::Connected, _) => timeout,
            (SessionState::Suspended, Some(since)) => timeout.saturating_sub(since.elapsed()),
            _ => Duration::ZERO,
        };
        SessionView {
            state: life.state,
            id: life.id,
            timeout,
            validity,
            incarnation: life.incarnation,
            connections: life.connections,
            live: life.state == SessionState::Connected,
        }
    }

    /// What became of the sessions so far.
    pub fn history(&self) -> History {
        self.chronicle.tell()
    }

    /// The ephemerals of the session, in no order.
    pub fn ephemerals(&self) -> Vec<(ZnodePath, Zxid)> {
        let state = lock(&self.hub.state);
        let id = lock(&self.life).id;
        state.tree.ephemerals(id)
    }

    /// Hands the queued events to the sink.
    fn pump(&self) {
        let _turn = lock(&self.turn);
        loop {
            let Some(event) = lock(&self.queue).pop_front() else { return };
            if let Event::Session(change) = event {
                self.chronicle.note(change);
            }
            self.sink.event(event);
        }
    }
}

impl Life {
    fn renew(&mut self, state: &mut State) {
        self.id = state.new_session();
        self.incarnation += 1;
    }

    fn connect(&mut self, queue: &mut VecDeque<Event>) {
        self.state = SessionState::Connected;
        self.suspended = None;
        self.connections += 1;
        queue.extend([Event::Session(StateChange::Connected(self.id)), Event::Gap]);
    }
}

fn pump(sessions: &[Arc<Session>]) {
    sessions.iter().for_each(|session| session.pump());
}

/// A panic elsewhere does not spoil what the lock guards: every change under it is complete or undone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
