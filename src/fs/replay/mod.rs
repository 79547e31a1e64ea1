//! inotify for what others change.
//!
//! FUSE has no notification that makes inotify events. So for each change of others a thread of this process performs the
//! system call that would have made it, on its own mount: the kernel tells all who watch, and asks this very file system,
//! which recognises the thread and answers without ZooKeeper.
//!
//! * [`Tidings`] is the queue of changes, in the order of their announcements.
//! * [`Teller`] looks at what the znodes are by now, and decides what those who watch are to be told, so that what they
//!   believe in is true in the end.
//! * [`Stage`] is where the teller, the thread that performs, and the requests that this causes meet.
//! * [`actor`] is that thread. A daemon that is killed while one of its threads waits for its own mount would never end, as
//!   the thread keeps the connection open that it waits for: so this one has a table of descriptors of its own, without
//!   the connection in it.
//!
//! Entries of the kernel are not invalidated for this: what the thread is told about a name is never kept, and a name that
//! stands for another incarnation than the kernel has cached is forced to be looked up, by ESTALE.

mod act;
pub mod actor;
mod answer;
mod recent;
mod resync;
mod stage;
mod table;
mod teller;
#[cfg(test)]
mod tests;
mod tidings;
mod way;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;

pub use self::answer::FH as REPLAY;
pub use self::stage::Stage;
pub use self::teller::Teller;
pub use self::tidings::{Item, Tiding, Tidings};
use super::core::Core;
use crate::session::Store;

/// Starts to tell those who watch, on a file system that is mounted.
///
/// # Errors
/// When no thread can be made.
pub fn start<S: Store>(core: Arc<Core<S>>, stage: Arc<Stage>, runtime: Handle, mountpoint: PathBuf) -> io::Result<()> {
    core.changes().tidings.open();
    actor::start(stage.clone(), mountpoint)?;
    thread::Builder::new().name("zkmount-tell".to_owned()).spawn(move || {
        let changes = core.changes().clone();
        match stage.opened() {
            Ok(device) => {
                if let Some(device) = device {
                    table::start(device, stage.clone(), changes.clone());
                }
                Teller::new(core, stage, runtime).run();
            }
            Err(error) => {
                tracing::warn!(%error, "programs that watch files are not told of the changes of others");
                changes.tidings.close();
            }
        }
    })?;
    Ok(())
}

/// Ends it: the mount is gone.
pub fn stop(stage: &Stage, tidings: &Tidings) {
    tidings.close();
    stage.close();
}
