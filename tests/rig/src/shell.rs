use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Process, mount};

/// How long a script may take, unless it says otherwise.
const DEADLINE: Duration = Duration::from_secs(60);

/// A shell that people write lock scripts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shell {
    Bash,
    Dash,
    Zsh,
    Ksh,
}

impl Shell {
    /// All of them.
    pub const ALL: [Shell; 4] = [Shell::Bash, Shell::Dash, Shell::Zsh, Shell::Ksh];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Dash => "dash",
            Shell::Zsh => "zsh",
            Shell::Ksh => "ksh",
        }
    }

    /// Runs a script to its end.
    #[track_caller]
    pub fn run(self, script: &str) -> Output {
        self.script(script).run()
    }

    /// Prepares a script that needs a directory, arguments or variables.
    pub fn script(self, script: &str) -> Script {
        let mut command = Command::new(self.name());
        // Nobody's start-up files, and messages that can be compared.
        if self == Shell::Zsh {
            command.arg("-f");
        }
        command
            .env_remove("ENV")
            .env_remove("BASH_ENV")
            .env("LC_ALL", "C.UTF-8")
            .arg("-c")
            .arg(script)
            .arg(self.name());
        Script { command, deadline: DEADLINE, what: format!("{}: {script}", self.name()) }
    }
}

/// A script ready to run.
#[derive(Debug)]
pub struct Script {
    command: Command,
    deadline: Duration,
    what: String,
}

impl Script {
    /// Runs it in this directory.
    pub fn dir(mut self, path: impl AsRef<Path>) -> Script {
        self.command.current_dir(path);
        self
    }

    /// Appends an argument: `$1`, `$2` and so on.
    pub fn arg(mut self, value: impl AsRef<OsStr>) -> Script {
        self.command.arg(value);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Script {
        self.command.env(name, value);
        self
    }

    /// Gives it this to read. Otherwise its standard input is /dev/null.
    pub fn input(mut self, text: impl AsRef<[u8]>) -> Script {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(text.as_ref()).and_then(|()| file.rewind()).expect("a writable temporary file");
        self.command.stdin(file);
        self
    }

    /// Runs it as another user, which only root can.
    pub fn user(mut self, id: u32) -> Script {
        self.command.uid(id).gid(id);
        self
    }

    /// Allows it another time than a minute.
    pub fn deadline(mut self, deadline: Duration) -> Script {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end. Panics when it does not end in time.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts it and lets it run.
    pub fn start(self) -> Job {
        Job::start(self.command, self.deadline, self.what)
    }
}

/// Runs any program to its end with a deadline.
#[track_caller]
pub(crate) fn run(mut command: Command, deadline: Duration, what: &str) -> Output {
    command.stdin(Stdio::null());
    Job::start(command, deadline, what.to_owned()).wait()
}

/// A script that is running, in a process group of its own. Dropping it kills the group.
#[derive(Debug)]
pub struct Job {
    process: Arc<Process>,
    what: String,
    began: Instant,
    deadline: Duration,
    stdout: File,
    stderr: File,
}

impl Job {
    fn start(mut command: Command, deadline: Duration, what: String) -> Job {
        // Files, not pipes: a descendant that lives on would keep a pipe open, and its reader waiting.
        let stdout = tempfile::tempfile().expect("a temporary file");
        let stderr = tempfile::tempfile().expect("a temporary file");
        command
            .process_group(0)
            .stdout(stdout.try_clone().expect("a second descriptor"))
            .stderr(stderr.try_clone().expect("a second descriptor"));
        let began = Instant::now();
        let process = Process::spawn(command).unwrap_or_else(|e| {
            panic!("cannot run {what}: {e} (is the program there, and its directory?){}", mount::obituaries())
        });
        Job { process, what, began, deadline, stdout, stderr }
    }

    /// The shell's process id.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Whether it is still running.
    pub fn is_running(&self) -> bool {
        self.process.status().is_none()
    }

    /// Waits for its end. Panics when it does not end in time.
    #[track_caller]
    pub fn wait(&self) -> Output {
        match self.process.wait(self.deadline.saturating_sub(self.began.elapsed())) {
            Some(status) => self.output(status),
            None => {
                self.process.signal_group(libc::SIGKILL);
                let left = match self.process.wait(Duration::from_secs(5)) {
                    Some(_) => "",
                    None => ", and SIGKILL does not end it",
                };
                let (stdout, stderr) = (self.stdout(), self.stderr());
                panic!(
                    "no end after {:?}{left}: {}\nstdout: {stdout}\nstderr: {stderr}{}",
                    self.deadline,
                    self.what,
                    mount::obituaries()
                );
            }
        }
    }

    /// Sends a signal to the shell and all it started.
    pub fn signal(&self, signal: i32) {
        self.process.signal_group(signal);
    }

    /// Sends a signal to the shell alone.
    pub fn signal_shell(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Kills the shell and all it started, and waits until the shell is gone.
    #[track_caller]
    pub fn kill9(&self) {
        self.signal(libc::SIGKILL);
        assert!(self.process.wait(Duration::from_secs(10)).is_some(), "SIGKILL does not end {}", self.what);
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        contents(&self.stdout)
    }

    /// Its messages so far.
    pub fn stderr(&self) -> String {
        contents(&self.stderr)
    }

    fn output(&self, status: ExitStatus) -> Output {
        Output {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            took: self.began.elapsed(),
            what: self.what.clone(),
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.process.signal_group(libc::SIGKILL);
    }
}

fn contents(file: &File) -> String {
    // By a path of its own, since a dup of the descriptor would share the writer's offset.
    use std::os::fd::AsRawFd;
    let mut own = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("one's own file");
    own.rewind().expect("a regular file");
    let mut bytes = Vec::new();
    own.read_to_end(&mut bytes).expect("reading a regular file");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a script ended and what it printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// Its output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
    /// The time it took.
    pub took: Duration,
    what: String,
}

impl Output {
    /// The exit code; as shells do, 128 and the signal's number for one that a signal ended.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Asserts that it succeeded.
    #[track_caller]
    pub fn success(self) -> Output {
        self.exits(0)
    }

    /// Asserts its exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        if self.code() != code {
            let Output { stdout, stderr, what, .. } = &self;
            let obituaries = mount::obituaries();
            panic!("exit {}, not {code}: {what}\nstdout: {stdout}\nstderr: {stderr}{obituaries}", self.code());
        }
        self
    }

    /// The output without the last newline.
    pub fn text(&self) -> &str {
        self.stdout.strip_suffix('\n').unwrap_or(&self.stdout)
    }

    /// The output's lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}
