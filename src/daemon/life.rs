//! The life of one mount: up, served, down.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::background::Report;
use super::failure::{Failure, Status};
use super::herald::Seen;
use super::mountpoint::{self, Mountpoint};
use super::mounts::{self, Mount};
use super::signals::{self, Signals};
use super::{service, wiring};
use crate::config::Config;
use crate::fs::{self, Changes, Mounted};
use crate::session::zookeeper::OnLost;
use crate::session::{StateChange, Store};

/// Longer than a mount takes to answer, on the busiest machine.
const ANSWER: Duration = Duration::from_secs(10);

/// How long an unmount may take before the mount is detached.
const UNMOUNT: Duration = Duration::from_secs(5);

/// How long the ensemble may take to close the session; it ends by itself later.
const CLOSE: Duration = Duration::from_secs(3);

/// What a shell adds to the number of a signal that ended a process.
const SIGNALLED: i32 = 128;

/// Why a mount ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// A signal came.
    Signal,
    /// Somebody unmounted it, or aborted it.
    Unmounted,
    /// The session was lost, and the settings say that this is the end.
    Lost,
    /// Nobody waits for the mount any more.
    Unwanted,
}

/// The life of one mount.
pub(super) struct Life<'a> {
    config: &'a Config,
    workers: &'a Handle,
    signals: Signals,
    seen: watch::Receiver<Seen>,
}

impl<'a> Life<'a> {
    /// A life that has yet to start.
    pub(super) fn new(
        config: &'a Config,
        workers: &'a Handle,
        signals: Signals,
        seen: watch::Receiver<Seen>,
    ) -> Life<'a> {
        Life { config, workers, signals, seen }
    }

    /// The next signal.
    pub(super) async fn signal(&mut self) -> i32 {
        self.signals.next().await
    }

    /// Mounts a store, and serves it to its end.
    pub(super) async fn serve<S: Store>(
        &mut self,
        store: S,
        changes: Arc<Changes>,
        mountpoint: Mountpoint,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let store = Arc::new(store);
        let path = mountpoint.path.clone();
        let mounting = {
            let (store, path, runtime) = (Arc::clone(&store), path.clone(), self.workers.clone());
            let (options, settings) = (wiring::options(self.config), wiring::mount_settings(self.config));
            on_thread(move || fs::mount(store, changes, options, runtime, &path, &settings))
        };
        let mounted = match mounting.await {
            Ok(mounted) => Arc::new(mounted),
            Err(error) => {
                close(self.workers, store).await;
                return Err(mountpoint::refused(&path, &error));
            }
        };
        let answer = {
            let path = path.clone();
            on_thread(move || Ok(mountpoint::answers(&path, ANSWER))).await
        };
        drop(mountpoint);
        let (ours, end) = match answer {
            Ok(Ok(ours)) => (Some(ours), self.until_end(&mounted, report).await),
            Ok(Err(failure)) => (None, Err(failure)),
            Err(error) => (None, Err(Failure::system(error.to_string()))),
        };
        let unmounted = self.shut_down(&path, &end, ours, mounted, store).await;
        match end? {
            End::Signal | End::Unmounted => unmounted,
            End::Lost => Err(Failure::new(Status::Lost, "the session was lost, and on_lost=exit ends the mount then")),
            End::Unwanted => Err(Failure::new(Status::Interrupted, "nobody waited for the mount any more")),
        }
    }

    /// Reports that the mount answers, and waits for its end.
    async fn until_end(&mut self, mounted: &Arc<Mounted>, report: &mut Report) -> Result<End, Failure> {
        match report.ready() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                tracing::warn!("the command that started the mount is gone");
                return Ok(End::Unwanted);
            }
            Err(error) => return Err(Failure::system(format!("cannot go to the background: {error}"))),
        }
        tracing::info!(source = %self.config.ensemble, mountpoint = %self.config.mountpoint.display(), "mounted");
        service::ready();
        let waiting = Arc::clone(mounted);
        let mut unmounted = Box::pin(on_thread(move || waiting.wait()));
        loop {
            let seen = *self.seen.borrow_and_update();
            if seen.losses > 0 && self.config.on_lost == OnLost::Exit {
                return Ok(End::Lost);
            }
            service::status(describe(self.config, seen));
            tokio::select! {
                signal = self.signals.next() => {
                    tracing::info!(signal = signals::name(signal), "ending");
                    return Ok(End::Signal);
                }
                ended = &mut unmounted => {
                    if let Err(error) = ended {
                        return Err(Failure::mount(format!("the mount cannot be served: {error}")));
                    }
                    return Ok(End::Unmounted);
                }
                Ok(()) = self.seen.changed() => {}
            }
        }
    }

    /// Unmounts, then closes the session. A second signal ends the process at once.
    async fn shut_down<S: Store>(
        &mut self,
        path: &Path,
        end: &Result<End, Failure>,
        ours: Option<Mount>,
        mounted: Arc<Mounted>,
        store: Arc<S>,
    ) -> Result<(), Failure> {
        service::stopping();
        let (workers, id) = (self.workers, ours.map(|mount| mount.id));
        let orderly = async {
            let unmounted = match end {
                Ok(End::Unmounted) => was_unmounted(path).await,
                _ => {
                    unmount(path, id, mounted).await;
                    Ok(())
                }
            };
            close(workers, store).await;
            unmounted
        };
        let unmounted = tokio::select! {
            unmounted = orderly => unmounted,
            signal = self.signals.next() => exit_now(signal, path, id),
        };
        tracing::info!(mountpoint = %path.display(), "unmounted, and the session is closed");
        unmounted
    }
}

/// Unmounts; if that does not work in time, detaches.
async fn unmount(path: &Path, id: Option<u64>, mounted: Arc<Mounted>) {
    if !is_uppermost(path, id) {
        tracing::warn!(mountpoint = %path.display(), "another mount lies on this one, which stays, dead");
        return;
    }
    let reason = match tokio::time::timeout(UNMOUNT, on_thread(move || mounted.unmount())).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it takes too long".to_owned(),
    };
    tracing::warn!(mountpoint = %path.display(), reason, "cannot unmount cleanly, detaching");
    let at = path.to_owned();
    if let Err(error) = on_thread(move || mountpoint::detach(&at)).await {
        tracing::error!(mountpoint = %path.display(), %error, "cannot detach");
    }
}

/// Tells whether what would be unmounted is the mount with this id, if it has one.
fn is_uppermost(path: &Path, id: Option<u64>) -> bool {
    let uppermost = mounts::on(path).ok().flatten();
    id.is_none() || uppermost.map(|mount| mount.id) == id
}

/// Looks whether somebody has unmounted us, or only ended the kernel's connection to us.
async fn was_unmounted(path: &Path) -> Result<(), Failure> {
    let at = path.to_owned();
    match on_thread(move || Ok(mountpoint::take_away_dead(&at))).await {
        Ok(true) => Err(Failure::mount(format!("{}: the kernel's connection was aborted", path.display()))),
        _ => Ok(()),
    }
}

/// Closes the session, on the threads on which it lives, so that the limit holds even when those hang.
async fn close<S: Store>(workers: &Handle, store: Arc<S>) {
    let closing = workers.spawn(async move { store.close().await });
    if tokio::time::timeout(CLOSE, closing).await.is_err() {
        tracing::warn!("the session could not be closed in time; it ends with its timeout");
    }
}

/// Ends the process, with no more than one system call for the mount point.
fn exit_now(signal: i32, path: &Path, id: Option<u64>) -> ! {
    if is_uppermost(path, id) {
        let _ = mountpoint::detach_at_once(path);
    }
    tracing::error!("ended at once by {}; the session ends with its timeout", signals::name(signal));
    std::process::exit(SIGNALLED + signal)
}

/// A failure because of a signal.
pub(super) fn interrupted(signal: i32) -> Failure {
    Failure::new(Status::Interrupted, format!("not mounted: interrupted by {}", signals::name(signal)))
}

/// The state of the session, for `systemctl status`.
fn describe(config: &Config, seen: Seen) -> String {
    let source = &config.ensemble;
    match seen.state {
        None => format!("serving {source}"),
        Some(StateChange::Connected(id)) => format!("serving {source}, session {id}, {} lost before", seen.losses),
        Some(StateChange::Suspended(id)) => format!("no connection to {source}, session {id} may live on"),
        Some(StateChange::Lost(id)) => format!("session {id} with {source} is lost, connecting again"),
        Some(StateChange::Closed) => format!("the session with {source} is closed"),
    }
}

/// The result of a call that blocks, made on a thread of its own, which ends with the process at the latest.
async fn on_thread<T: Send + 'static>(call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    let body = move || {
        let _ = sender.send(call());
    };
    thread::Builder::new().name("daemon".to_owned()).spawn(body)?;
    receiver.await.unwrap_or_else(|_| Err(io::Error::other("a thread of the daemon panicked")))
}
