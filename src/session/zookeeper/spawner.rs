//! Where the client library runs its connection, so that it can be ended.
//!
//! The library reconnects by itself, with a back-off that has no cap and with whatever was queued meanwhile. Ending its
//! task at the first interruption leaves all of that to the supervisor.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use spawns_core::{Spawn, Task};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// The tasks of one connection. Dropping it ends them.
#[derive(Debug)]
pub struct Tasks {
    runtime: Handle,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Spawn for Tasks {
    fn spawn(&self, task: Task) {
        let handle = self.runtime.spawn(Box::into_pin(task.future));
        self.tasks().push(handle);
    }
}

impl Tasks {
    /// Tasks on the current runtime.
    pub fn new() -> Tasks {
        Tasks { runtime: Handle::current(), tasks: Mutex::new(Vec::new()) }
    }

    /// Runs a future whose tasks are to be these.
    pub async fn scope<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let _scope = spawns_core::enter(self);
            future.as_mut().poll(context)
        })
        .await
    }

    /// Ends the tasks, and with them the connection; nothing is sent any more once this returns.
    pub async fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks());
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // It was aborted, or it had ended before: either will do.
            let _ = task.await;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.tasks().iter().for_each(JoinHandle::abort);
    }
}
