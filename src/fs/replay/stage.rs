//! Where the teller, the thread that performs and the requests that this causes meet.
//!
//! The thread that performs has other descriptors than the rest of the process, so it may neither log nor wake anything that
//! is woken by a descriptor; a mutex and a condition are all that it shares.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::act::{Act, Outcome};

/// Where the teller, the thread that performs and the requests that this causes meet.
#[derive(Debug, Default)]
pub struct Stage {
    /// The thread that performs; 0 before there is one.
    tid: AtomicU32,
    scene: Mutex<Scene>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Scene {
    opened: Option<io::Result<Option<u64>>>,
    act: Option<Arc<Act>>,
    /// The last name has been looked up for this act.
    looked_up: bool,
    /// This mount itself has removed what is at the last name.
    outrun: bool,
    /// This mount itself has made a successor of what is removed.
    succeeded: bool,
    outcome: Option<Outcome>,
    closed: bool,
}

impl Stage {
    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(&self, mut fact: impl FnMut(&mut Scene) -> Option<T>) -> T {
        let mut scene = self.scene();
        loop {
            if let Some(value) = fact(&mut scene) {
                return value;
            }
            scene = self.bell.wait(scene).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until the thread has the mount open: the number of its file system, if the thread keeps that alive.
    pub(super) fn opened(&self) -> io::Result<Option<u64>> {
        self.wait(|scene| {
            let closed = || io::Error::from(io::ErrorKind::NotConnected);
            scene.opened.take().or_else(|| scene.closed.then(|| Err(closed())))
        })
    }

    /// Has an act performed; none when the mount is gone.
    pub(super) fn perform(&self, act: Act) -> Option<Outcome> {
        {
            let mut scene = self.scene();
            scene.act = Some(Arc::new(act));
            scene.looked_up = false;
            scene.outrun = false;
            scene.succeeded = false;
            scene.outcome = None;
        }
        self.bell.notify_all();
        self.wait(|scene| match scene.outcome.take() {
            Some(outcome) => Some(Some(outcome)),
            None => scene.closed.then_some(None),
        })
    }

    /// Ends the thread.
    pub fn close(&self) {
        self.scene().closed = true;
        self.bell.notify_all();
    }

    /// The thread that performs says who it is.
    pub(super) fn enter(&self, tid: u32) {
        self.tid.store(tid, Ordering::SeqCst);
    }

    /// The thread has the mount open, or not.
    pub(super) fn open(&self, opened: io::Result<Option<u64>>) {
        let mut scene = self.scene();
        scene.closed |= opened.is_err();
        scene.opened = Some(opened);
        drop(scene);
        self.bell.notify_all();
    }

    /// The next act; none when the mount is gone.
    pub(super) fn next(&self) -> Option<Arc<Act>> {
        self.wait(|scene| match &scene.act {
            _ if scene.closed => Some(None),
            Some(act) => Some(Some(act.clone())),
            None => None,
        })
    }

    /// The act was performed.
    pub(super) fn done(&self, outcome: io::Result<()>) {
        let mut scene = self.scene();
        scene.act = None;
        scene.outcome = Some(match outcome {
            Ok(()) => Outcome::Told { succeeded: scene.succeeded },
            Err(_) if scene.outrun => Outcome::Outrun,
            Err(error) => Outcome::Failed(error),
        });
        drop(scene);
        self.bell.notify_all();
    }

    /// Tells whether a request comes from the thread that performs.
    pub fn is_actor(&self, pid: u32) -> bool {
        pid != 0 && pid == self.tid.load(Ordering::Relaxed)
    }

    /// What is being performed.
    pub(super) fn act(&self) -> Option<Arc<Act>> {
        self.scene().act.clone()
    }

    /// The last name is looked up.
    pub(super) fn look_up(&self) {
        self.scene().looked_up = true;
    }

    /// This mount itself has removed what is at the last name.
    pub(super) fn outrun(&self) {
        self.scene().outrun = true;
    }

    /// This mount itself has made a successor of what is removed.
    pub(super) fn succeed(&self) {
        self.scene().succeeded = true;
    }

    /// Tells whether the last name was looked up for this act.
    pub(super) fn is_looked_up(&self) -> bool {
        self.scene().looked_up
    }
}
