//! The table of mounts: when the file system is mounted nowhere any more, the copy that is nowhere in the table lets go of it.

use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::stage::Stage;
use crate::fs::changes::Changes;

/// The kernel wakes whoever polls the table; this is for a table whose changes were missed.
const PERIOD: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Starts the thread that watches the table for the end of the file system with this number.
pub(super) fn start(device: u64, stage: Arc<Stage>, changes: Arc<Changes>) {
    let name = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let body = move || {
        if let Err(error) = wait(&name, &changes) {
            tracing::warn!(%error, "the table of mounts cannot be watched");
        }
        super::stop(&stage, &changes.tidings);
    };
    if let Err(error) = thread::Builder::new().name("zkmount-table".to_owned()).spawn(body) {
        tracing::warn!(%error, "the table of mounts cannot be watched");
    }
}

/// Waits until the file system is mounted nowhere, or nobody is to be told anything.
fn wait(device: &str, changes: &Changes) -> std::io::Result<()> {
    let mut table = File::open("/proc/self/mountinfo")?;
    while changes.tidings.is_open() {
        let mut text = String::new();
        table.rewind()?;
        table.read_to_string(&mut text)?;
        // The number is the third field.
        if !text.lines().any(|line| line.split(' ').nth(2) == Some(device)) {
            return Ok(());
        }
        // Changes are an exceptional condition of the file that was read before.
        let mut polled = [PollFd::from_borrowed_fd(table.as_fd(), PollFlags::PRI)];
        match poll(&mut polled, Some(&PERIOD)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
