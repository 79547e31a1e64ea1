//! What is known of the session, and what the sink is told of it, in one order.
//!
//! The client library gives replies and watch events through different channels, but puts an event into its channel
//! before it gives a reply that shows the new state. So after each reply, and before anybody sees it, the channel is
//! emptied into the sink; that, and every change of the state, happens under one lock, which no one holds while waiting.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use zookeeper_client as zk;

use super::clock::Validity;
use super::ephemerals::Ephemerals;
use super::link::{Link, until};
use crate::mapping::{SessionId, Stat, ZnodePath, Zxid};
use crate::session::chronicle::Chronicle;
use crate::session::pin::pin;
use crate::session::{Change, Event, History, SessionState, SessionView, Sink, StateChange, StoreError};

/// Where the session stands.
#[derive(Clone)]
pub enum Phase {
    /// Requests can be sent.
    Connected(Arc<Link>),
    /// The connection is gone; the session may live on.
    Suspended,
    /// The session is gone.
    Lost,
    /// Closed on purpose.
    Closed,
}

/// What is known of the session.
#[derive(Clone)]
struct Status {
    phase: Phase,
    session: SessionId,
    timeout: Duration,
    validity: Option<Arc<Validity>>,
    incarnation: u64,
    connections: u64,
    live: bool,
}

/// See the module.
pub struct Board {
    status: watch::Sender<Status>,
    told: Mutex<Told>,
    ephemerals: Arc<Ephemerals>,
    chronicle: Chronicle,
    /// The highest transaction that this session has seen. What it sends afterwards comes later than that.
    seen: AtomicI64,
}

struct Told {
    sink: Arc<dyn Sink>,
    watch: Option<Watch>,
    /// Who empties the channel when nobody asks for anything.
    waker: Waker,
}

struct Watch {
    watcher: zk::PersistentWatcher,
    link: Arc<Link>,
}

impl Board {
    pub fn new(sink: Arc<dyn Sink>, ephemerals: Arc<Ephemerals>) -> Board {
        let status = Status {
            phase: Phase::Lost,
            session: SessionId::NONE,
            timeout: Duration::ZERO,
            validity: None,
            incarnation: 0,
            connections: 0,
            live: false,
        };
        let told = Told { sink, watch: None, waker: Waker::noop().clone() };
        Board {
            status: watch::Sender::new(status),
            told: Mutex::new(told),
            ephemerals,
            chronicle: Chronicle::default(),
            seen: AtomicI64::new(0),
        }
    }

    pub fn view(&self) -> SessionView {
        let status = self.status.borrow();
        let (state, validity) = match &status.phase {
            Phase::Connected(link) => {
                let left = link.validity.left();
                let state = if link.is_usable() { SessionState::Connected } else { SessionState::Suspended };
                (state, left)
            }
            Phase::Suspended => {
                (SessionState::Suspended, status.validity.as_ref().map_or(Duration::ZERO, |validity| validity.left()))
            }
            Phase::Lost => (SessionState::Lost, Duration::ZERO),
            Phase::Closed => (SessionState::Closed, Duration::ZERO),
        };
        SessionView {
            state,
            id: status.session,
            timeout: status.timeout,
            validity,
            incarnation: status.incarnation,
            connections: status.connections,
            live: status.live && state == SessionState::Connected,
        }
    }

    /// The number of the connection on which requests can be sent at once.
    pub fn current(&self) -> Option<u64> {
        match &self.status.borrow().phase {
            Phase::Connected(link) if link.is_usable() => Some(link.number),
            _ => None,
        }
    }

    /// The number that the next connection gets.
    pub fn next_number(&self) -> u64 {
        self.status.borrow().connections + 1
    }

    /// Waits until requests can be sent, on a later connection than `after`.
    ///
    /// # Errors
    /// [`StoreError::TimedOut`] at the deadline, [`StoreError::Closed`], and [`StoreError::SessionLost`] when the session
    /// that the operation is pinned to is gone.
    pub async fn connected(&self, deadline: Option<Instant>, after: u64) -> Result<Arc<Link>, StoreError> {
        let pin = pin();
        let mut status = self.status.subscribe();
        loop {
            {
                let now = status.borrow_and_update();
                let lost = matches!(now.phase, Phase::Lost);
                match &now.phase {
                    Phase::Closed => return Err(StoreError::Closed),
                    _ if pin.is_some_and(|pin| lost || now.session != pin) => return Err(StoreError::SessionLost),
                    Phase::Connected(link) if link.number > after => {
                        if link.is_usable() {
                            return Ok(Arc::clone(link));
                        }
                        // The supervisor does the rest.
                        link.end();
                    }
                    Phase::Connected(_) | Phase::Suspended | Phase::Lost => {}
                }
            }
            tokio::select! {
                changed = status.changed() => changed.map_err(|_| StoreError::Closed)?,
                () = until(deadline) => return Err(StoreError::TimedOut),
            }
        }
    }

    /// Waits until the session that a lost connection belonged to is connected again.
    ///
    /// # Errors
    /// [`StoreError::Unanswered`] at the deadline, [`StoreError::SessionLost`], [`StoreError::Closed`].
    pub async fn reconnected(&self, lost: &Link, deadline: Option<Instant>) -> Result<Arc<Link>, StoreError> {
        let mut status = self.status.subscribe();
        loop {
            {
                let now = status.borrow_and_update();
                if now.session != lost.session {
                    return Err(StoreError::SessionLost);
                }
                match &now.phase {
                    Phase::Connected(link) if link.number > lost.number && link.is_usable() => {
                        return Ok(Arc::clone(link));
                    }
                    Phase::Connected(_) | Phase::Suspended => {}
                    Phase::Lost => return Err(StoreError::SessionLost),
                    Phase::Closed => return Err(StoreError::Closed),
                }
            }
            tokio::select! {
                changed = status.changed() => changed.map_err(|_| StoreError::Closed)?,
                () = until(deadline) => return Err(StoreError::Unanswered),
            }
        }
    }

    /// Notes a Stat that a reply showed, and gives it back.
    pub fn note(&self, stat: Stat) -> Stat {
        self.see(stat.czxid.max(stat.mzxid).max(stat.pzxid));
        stat
    }

    /// The highest transaction that this session has seen.
    pub fn seen(&self) -> Zxid {
        Zxid(self.seen.load(Ordering::SeqCst))
    }

    fn see(&self, zxid: Zxid) {
        self.seen.fetch_max(zxid.0, Ordering::SeqCst);
    }

    /// Announces that requests can be sent. False when the connection has failed already.
    pub fn connect(self: &Arc<Board>, link: &Arc<Link>, watcher: Option<zk::PersistentWatcher>) -> bool {
        let mut told = self.told();
        if !link.is_usable() {
            return false;
        }
        let live = watcher.is_some();
        let new = self.status.borrow().session != link.session;
        if new {
            self.seen.store(0, Ordering::SeqCst);
        }
        told.watch = watcher.map(|watcher| Watch { watcher, link: Arc::clone(link) });
        // Good news last: who sees the state finds the sink informed. (Of bad news the state comes first.)
        self.announce(&told, StateChange::Connected(link.session));
        told.sink.event(if live { Event::Gap } else { Event::Blind });
        self.status.send_modify(|status| {
            status.incarnation += u64::from(new);
            status.connections = link.number;
            status.phase = Phase::Connected(Arc::clone(link));
            status.session = link.session;
            status.timeout = link.timeout;
            status.validity = Some(Arc::clone(&link.validity));
            status.live = live;
        });
        drop(told);
        if live {
            let (board, number) = (Arc::clone(self), link.number);
            tokio::spawn(async move { board.pump(number).await });
        }
        true
    }

    /// Announces that a connection has failed, if it is the current one.
    pub fn interrupt(&self, link: &Link) {
        let mut told = self.told();
        self.drain_locked(&mut told);
        self.interrupt_locked(&mut told, link);
    }

    fn interrupt_locked(&self, told: &mut Told, link: &Link) {
        link.end();
        if !matches!(&self.status.borrow().phase, Phase::Connected(current) if current.number == link.number) {
            return;
        }
        told.watch = None;
        self.status.send_modify(|status| {
            status.phase = Phase::Suspended;
            status.live = false;
        });
        told.sink.event(Event::Blind);
        self.announce(told, StateChange::Suspended(link.session));
        told.waker.wake_by_ref();
    }

    /// Announces that the session is gone.
    pub fn lose(&self) {
        let told = self.told();
        let session = self.status.borrow().session;
        self.chronicle.lose(session, self.ephemerals.clear());
        self.status.send_modify(|status| {
            status.phase = Phase::Lost;
            status.live = false;
        });
        self.announce(&told, StateChange::Lost(session));
    }

    fn announce(&self, told: &Told, change: StateChange) {
        self.chronicle.note(change);
        told.sink.event(Event::Session(change));
    }

    /// What became of the sessions so far.
    pub fn history(&self) -> History {
        self.chronicle.tell()
    }

    /// Announces that the store is closed.
    pub fn close(&self) {
        let mut told = self.told();
        self.drain_locked(&mut told);
        if matches!(self.status.borrow().phase, Phase::Closed) {
            return;
        }
        told.watch = None;
        let was_live = self.status.borrow().live;
        self.status.send_modify(|status| {
            status.phase = Phase::Closed;
            status.live = false;
        });
        if was_live {
            told.sink.event(Event::Blind);
        }
        self.announce(&told, StateChange::Closed);
        told.waker.wake_by_ref();
    }

    /// Hands the sink all events that came before the reply that has just been taken.
    pub fn drain(&self) {
        self.drain_locked(&mut self.told());
    }

    fn drain_locked(&self, told: &mut Told) {
        while let Some(watch) = &mut told.watch {
            let mut context = Context::from_waker(&told.waker);
            // After its last event the library's watcher panics instead of saying so.
            let polled = catch_unwind(AssertUnwindSafe(|| pin!(watch.watcher.changed()).poll(&mut context)));
            match polled {
                Ok(Poll::Pending) => return,
                Ok(Poll::Ready(event)) if event.event_type != zk::EventType::Session => self.tell(&told.sink, event),
                Ok(Poll::Ready(_)) | Err(_) => {
                    // The library tells of an interruption before it gives any reply that comes after it.
                    let link = Arc::clone(&watch.link);
                    self.interrupt_locked(told, &link);
                    told.watch = None;
                }
            }
        }
    }

    fn tell(&self, sink: &Arc<dyn Sink>, event: zk::WatchedEvent) {
        let change = match event.event_type {
            zk::EventType::NodeCreated => Change::Created,
            zk::EventType::NodeDataChanged => Change::Modified,
            zk::EventType::NodeDeleted => Change::Deleted,
            zk::EventType::NodeChildrenChanged | zk::EventType::Session => return,
        };
        let Ok(path) = ZnodePath::parse(&event.path) else {
            tracing::debug!(path = event.path, "a change of a znode whose path is none");
            return;
        };
        let zxid = (event.zxid != zk::WatchedEvent::NO_ZXID).then_some(Zxid(event.zxid));
        if let Some(zxid) = zxid {
            self.see(zxid);
        }
        match change {
            Change::Created => self.ephemerals.came(&path),
            Change::Deleted => self.ephemerals.went(&path),
            Change::Modified => {}
        }
        sink.event(Event::Node { path, change, zxid });
    }

    /// Empties the channel when nobody asks for anything, as long as the connection is the current one.
    async fn pump(&self, number: u64) {
        poll_fn(|context| {
            let mut told = self.told();
            if told.watch.as_ref().is_none_or(|watch| watch.link.number != number) {
                return Poll::Ready(());
            }
            told.waker = context.waker().clone();
            self.drain_locked(&mut told);
            if told.watch.is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
