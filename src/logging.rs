//! The log: where its lines go, and in which form.
//!
//! In front the log is standard error. In the background there is none, so that what an operator must know (a lost session,
//! above all) goes to syslog, unless a file was named. The socket of syslog is the journal's too where that runs.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat, LogTarget};

/// Where syslog listens.
const SYSLOG: &str = "/dev/log";

/// The facility "daemon" of syslog, in its place in a priority.
const DAEMON: u8 = 3 << 3;

/// Starts the log of this process.
///
/// # Errors
/// When the file cannot be opened or the filter is wrong.
pub fn init(log: &Log) -> io::Result<()> {
    let target = Target::open(&log.target)?;
    let filter = EnvFilter::try_new(&log.filter).map_err(io::Error::other)?;
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer();
    let result = match log.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_writer(target)).try_init(),
        LogFormat::Text if target.has_own_time() => {
            registry.with(layer.with_ansi(false).with_level(false).without_time().with_writer(target)).try_init()
        }
        LogFormat::Text => {
            let ansi = matches!(target, Target::Stderr) && io::stderr().is_terminal();
            registry.with(layer.with_ansi(ansi).with_writer(target)).try_init()
        }
    };
    result.map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Where lines go.
enum Target {
    Stderr,
    Journal,
    File(File),
    Syslog(UnixDatagram, PathBuf),
}

impl Target {
    fn open(target: &LogTarget) -> io::Result<Target> {
        Ok(match target {
            LogTarget::Stderr => Target::Stderr,
            LogTarget::Journal => Target::Journal,
            LogTarget::File(path) => {
                // Paths and values of a private tree may stand in it.
                let mut options = OpenOptions::new();
                Target::File(options.append(true).create(true).mode(0o640).open(path)?)
            }
            LogTarget::Syslog => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                Target::Syslog(socket, PathBuf::from(SYSLOG))
            }
        })
    }

    /// Whether whoever takes the lines adds time and level.
    fn has_own_time(&self) -> bool {
        matches!(self, Target::Journal | Target::Syslog(..))
    }

    fn line(&self, level: Level) -> Line<'_> {
        Line { target: self, level }
    }
}

/// The priority of a level, as in syslog.h.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

impl<'a> MakeWriter<'a> for Target {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(Level::INFO)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        self.line(*event.level())
    }
}

/// Takes one line.
struct Line<'a> {
    target: &'a Target,
    level: Level,
}

impl Write for Line<'_> {
    /// Takes the whole line at once, as the formatting layer hands it over, so that lines of two threads never mix.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let priority = priority(self.level);
        match self.target {
            Target::Stderr => io::stderr().write_all(line)?,
            Target::Journal => io::stderr().write_all(&[format!("<{priority}>").as_bytes(), line].concat())?,
            Target::File(file) => { file }.write_all(line)?,
            Target::Syslog(socket, path) => {
                let head = format!("<{}>zkmount[{}]: ", DAEMON | priority, std::process::id());
                // Nobody may be there, or too busy: a log is not worth waiting for.
                let _ = socket.send_to(&[head.as_bytes(), line.trim_ascii_end()].concat(), path);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_gets_one_datagram_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        Target::Syslog(socket, path).line(Level::WARN).write_all(b"session lost\n").unwrap();
        let mut buffer = [0; 100];
        let length = server.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert_eq!(text, format!("<28>zkmount[{}]: session lost", std::process::id()));
    }

    #[test]
    fn levels_are_those_of_syslog() {
        let priorities = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(priority);
        assert_eq!(priorities, [3, 4, 6, 7, 7]);
    }
}
