//! Into the background, once there is something to report.
//!
//! The command forks while it has one thread. The parent waits on a pipe for the outcome, says it and exits with its code; the
//! child stays in the terminal's process group until then, so that Ctrl-C ends both. When the parent is gone before the
//! outcome is known, nobody would learn of the mount: the child takes that as a failure.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};

use super::failure::{Failure, Status};

/// What is reported when the mount answers.
const READY: u8 = 0;

/// One of the two processes after the fork.
pub(super) enum Side {
    /// The one that the user waits for.
    Command(Waiter),
    /// The one that stays.
    Daemon(Report),
}

/// Splits this process in two. No thread may have been started.
pub(super) fn fork() -> io::Result<Side> {
    let (reader, writer) = io::pipe()?;
    // SAFETY: with a single thread, the child may do all that the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Daemon(Report { writer: Some(writer) })),
        child => Ok(Side::Command(Waiter { reader, child })),
    }
}

/// Waits for the outcome.
pub(super) struct Waiter {
    reader: PipeReader,
    child: libc::pid_t,
}

impl Waiter {
    /// What the daemon reports.
    pub(super) fn outcome(mut self) -> Result<(), Failure> {
        let mut report = Vec::new();
        self.reader.read_to_end(&mut report).map_err(|error| Failure::system(error.to_string()))?;
        match report.split_first() {
            Some((&READY, _)) => Ok(()),
            Some((code, line)) => {
                let status = Status::of_code(*code).unwrap_or(Status::System);
                Err(Failure::new(status, String::from_utf8_lossy(line)))
            }
            None => Err(Failure::system(format!("the daemon (pid {}) died before it could say why", self.child))),
        }
    }
}

/// Tells the outcome to whoever waits for it.
pub(super) struct Report {
    writer: Option<PipeWriter>,
}

impl Report {
    /// The report of a process that stays in front: nobody waits.
    pub(super) fn in_front() -> Report {
        Report { writer: None }
    }

    /// Leaves terminal, working directory and standard streams behind, and reports that the mount answers.
    ///
    /// # Errors
    /// When nobody waits for it any more: a broken pipe. Other errors can still be reported as failures.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // Whoever leads a group already has no terminal to lose.
        let _ = rustix::process::setsid();
        rustix::process::chdir("/")?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        writer.write_all(&[READY])?;
        self.writer = None;
        Ok(())
    }

    /// Reports a failure to whoever still waits.
    pub(super) fn failed(&mut self, failure: &Failure) {
        if let Some(mut writer) = self.writer.take() {
            let mut report = vec![failure.status as u8];
            report.extend(failure.to_string().as_bytes());
            // Nobody waits: then there is nobody to tell.
            let _ = writer.write_all(&report);
        }
    }
}
