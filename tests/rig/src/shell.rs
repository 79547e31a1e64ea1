use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Process, mount, until};

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
        Script {
            shell: self,
            text: script.to_owned(),
            dir: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            input: None,
            user: None,
            deadline: DEADLINE,
        }
    }
}

/// A script ready to run.
#[derive(Debug)]
pub struct Script {
    shell: Shell,
    text: String,
    dir: Option<PathBuf>,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    input: Option<File>,
    user: Option<u32>,
    deadline: Duration,
}

impl Script {
    /// Runs it in this directory.
    pub fn dir(mut self, path: impl AsRef<Path>) -> Script {
        self.dir = Some(path.as_ref().to_owned());
        self
    }

    /// Appends an argument: `$1`, `$2` and so on.
    pub fn arg(mut self, value: impl AsRef<OsStr>) -> Script {
        self.arguments.push(value.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Script {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives it this to read. Otherwise its standard input is /dev/null.
    pub fn input(mut self, text: impl AsRef<[u8]>) -> Script {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(text.as_ref()).and_then(|()| file.rewind()).expect("a writable temporary file");
        self.input = Some(file);
        self
    }

    /// Runs it as another user, which only root can.
    pub fn user(mut self, id: u32) -> Script {
        self.user = Some(id);
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
    #[track_caller]
    pub fn start(self) -> Job {
        let mut command = match &self.dir {
            None => Command::new(self.shell.name()),
            // Not `Command::current_dir`: the directory of a mount that hangs would hang the test in its fork, before the
            // job is there that has a deadline.
            Some(dir) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", "cd -- \"$0\" && exec \"$@\""]).arg(dir).arg(self.shell.name());
                command
            }
        };
        // Nobody's start-up files, and messages that can be compared.
        if self.shell == Shell::Zsh {
            command.arg("-f");
        }
        command.env_remove("ENV").env_remove("BASH_ENV").env("LC_ALL", "C.UTF-8").envs(self.environment);
        command.arg("-c").arg(&self.text).arg(self.shell.name()).args(self.arguments);
        command.stdin(self.input.map_or_else(Stdio::null, Stdio::from));
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        Job::start(command, self.deadline, format!("{}: {}", self.shell.name(), self.text))
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
    #[track_caller]
    fn start(mut command: Command, deadline: Duration, what: String) -> Job {
        // Files, not pipes: a descendant that lives on would keep a pipe open, and its reader waiting.
        let stdout = tempfile::tempfile().expect("a temporary file");
        let stderr = tempfile::tempfile().expect("a temporary file");
        command
            .process_group(0)
            .stdout(stdout.try_clone().expect("a second descriptor"))
            .stderr(stderr.try_clone().expect("a second descriptor"));
        let began = Instant::now();
        let process = Process::spawn(command)
            .unwrap_or_else(|e| panic!("cannot run {what}: {e}; see scripts/setup{}", mount::obituaries()));
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

    /// Waits until it has printed this line.
    #[track_caller]
    pub fn until_line(&self, line: &str) {
        until(&format!("a script says {line}"), || {
            // In this order: it may print the line and end.
            let may_say = self.is_running();
            let said = self.stdout().lines().any(|said| said == line);
            assert!(said || may_say, "{} ended without {line}: {}{}", self.what, self.stdout(), self.stderr());
            said
        });
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
