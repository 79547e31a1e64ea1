//! The daemon: wiring, and life from the first look at the mount point to the last word to the ensemble.
//!
//! The main thread lives in a small runtime of its own, with the signals and the clock, so that it can end the mount whatever
//! happens to the threads that serve it. At the end the order is: no more requests (unmount), then the session, whose
//! ephemerals go with it; each step has a limit, and a second signal ends the process at once.

mod background;
mod bounded;
mod failure;
mod herald;
mod life;
mod mountpoint;
mod mounts;
mod service;
mod signals;
mod wiring;

use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle};

pub use failure::{Failure, Status};

use self::background::{Report, Side};
use self::herald::Herald;
use self::life::Life;
use self::mountpoint::Mountpoint;
use self::signals::Signals;
use crate::config::{Config, Ensemble, LogTarget};
use crate::fs::Changes;
use crate::logging;
use crate::session::memory::MemoryTree;
use crate::session::zookeeper::ZooKeeper;

/// Mounts, and serves the mount until it ends; in the background, if the settings say so, from when it answers.
///
/// # Errors
/// When there is no mount, or the mount was lost.
pub fn run(config: Config) -> Result<(), Failure> {
    if config.foreground {
        return serve(&config, Report::in_front());
    }
    match background::fork().map_err(|error| Failure::system(format!("cannot fork: {error}")))? {
        Side::Command(waiter) => waiter.outcome(),
        Side::Daemon(report) => {
            let status = serve(&config, report).map_or_else(|failure| failure.status as i32, |()| 0);
            std::process::exit(status)
        }
    }
}

fn serve(config: &Config, mut report: Report) -> Result<(), Failure> {
    let result = start(config, &mut report);
    if let Err(failure) = &result {
        service::status(failure);
        report.failed(failure);
        // On standard error the command says it itself.
        if !matches!(config.log.target, LogTarget::Stderr | LogTarget::Journal) {
            tracing::error!("{failure}");
        }
    }
    result
}

fn start(config: &Config, report: &mut Report) -> Result<(), Failure> {
    logging::init(&config.log).map_err(|error| match &config.log.target {
        LogTarget::File(path) => Failure::system(format!("log_file={}: {error}", path.display())),
        _ => Failure::system(format!("the log: {error}")),
    })?;
    let mountpoint = mountpoint::prepare(config)?;
    let system = |error: io::Error| Failure::system(format!("cannot start: {error}"));
    let workers = Builder::new_multi_thread().enable_all().thread_name("worker").build().map_err(system)?;
    let own = Builder::new_current_thread().enable_all().build().map_err(system)?;
    let result = own.block_on(live(config, mountpoint, workers.handle(), report));
    // Whatever still waits for the ensemble is waited for no more.
    workers.shutdown_background();
    own.shutdown_background();
    result
}

async fn live(config: &Config, mountpoint: Mountpoint, workers: &Handle, report: &mut Report) -> Result<(), Failure> {
    let signals = Signals::new().map_err(|error| Failure::system(format!("cannot take signals: {error}")))?;
    let changes = Changes::new(config.cache);
    let (herald, seen) = Herald::new();
    changes.listen(Arc::new(herald));
    let mut life = Life::new(config, workers, signals, seen);
    match &config.ensemble {
        Ensemble::Memory => {
            let store = MemoryTree::new().session_with(changes.clone(), wiring::memory(config));
            life.serve(store, changes, mountpoint, report).await
        }
        Ensemble::ZooKeeper(connect) => {
            let (settings, sink) = (wiring::zookeeper(config, connect), changes.clone());
            let connecting = workers.spawn(async move { ZooKeeper::connect(settings, sink).await });
            let store = tokio::select! {
                store = connecting => store.map_err(|error| Failure::system(error.to_string()))?,
                signal = life.signal() => return Err(life::interrupted(signal)),
            };
            let store = store.map_err(|error| wiring::not_connected(config, &error))?;
            life.serve(store, changes, mountpoint, report).await
        }
    }
}
