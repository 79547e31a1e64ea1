//! Why there is no mount, in one line, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

/// Exit codes, those of mount(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The options are wrong, or the user may not mount.
    Usage = 1,
    /// The system does not do what it is there for.
    System = 2,
    /// A signal came before the mount was up.
    Interrupted = 8,
    /// The mount failed.
    Mount = 32,
    /// The session was lost, and the mount was to end then: sysexits' EX_TEMPFAIL, since starting again will do.
    Lost = 75,
}

impl Status {
    const ALL: [Status; 5] = [Status::Usage, Status::System, Status::Interrupted, Status::Mount, Status::Lost];

    /// The status of an exit code.
    pub fn of_code(code: u8) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as u8 == code)
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Why there is no mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub status: Status,
    line: String,
}

impl Failure {
    /// A failure. Whatever `line` is, it is said in one line.
    pub fn new(status: Status, line: impl AsRef<str>) -> Failure {
        let words: Vec<&str> =
            line.as_ref().split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect();
        Failure { status, line: words.join("; ") }
    }

    /// A failure of the system.
    pub fn system(line: impl AsRef<str>) -> Failure {
        Failure::new(Status::System, line)
    }

    /// A failure to mount.
    pub fn mount(line: impl AsRef<str>) -> Failure {
        Failure::new(Status::Mount, line)
    }

    /// A user who may not.
    pub fn forbidden(line: impl AsRef<str>) -> Failure {
        Failure::new(Status::Usage, line)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_its_code() {
        let failure = Failure::mount("fusermount3: no\n  more words\n\n");
        assert_eq!(failure.to_string(), "fusermount3: no; more words");
        assert_eq!(Status::of_code(failure.status as u8), Some(Status::Mount));
        assert_eq!(Status::of_code(0), None);
    }
}
