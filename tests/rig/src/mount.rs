use std::fs::{self, File};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::shell::{self, Job, Output, Script};
use crate::until::PATIENCE;
use crate::workdir::{abort, detach, mounts_below};
use crate::{Frozen, HeldThread, Process, Shell, Workdir};

/// How long a daemon may take to end after it was asked to.
const FAREWELL: Duration = Duration::from_secs(10);

/// Lines of a daemon's log that a failure shows.
const TAIL: usize = 40;

/// A zkmount daemon in the foreground, on a mount point of its own. Dropping it unmounts.
///
/// A daemon that died without being told to makes the test fail, with the end of its log.
#[derive(Debug)]
pub struct Mount {
    options: MountOptions,
    daemon: Mutex<Arc<Daemon>>,
    workdir: Workdir,
}

/// How a [`Mount`] is to be started.
#[derive(Clone, Debug)]
pub struct MountOptions {
    ensemble: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl MountOptions {
    /// Adds arguments for the command, before the ensemble.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Adds a mount option: `-o OPTION`.
    pub fn o(self, option: &str) -> Self {
        self.args(&["-o", option])
    }

    /// Sets an environment variable of the daemon. NOTIFY_SOCKET is the rig's own.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Mounts, and waits until the mount answers.
    #[track_caller]
    pub fn mount(self) -> Mount {
        let workdir = Workdir::new("mount");
        let point = workdir.path().join("mnt");
        fs::create_dir(&point).expect("a mount point");
        let daemon = Daemon::start(&self, &point, workdir.path().join("log"));
        let mount = Mount { options: self, daemon: Mutex::new(daemon), workdir };
        mount.wait_mounted();
        mount
    }
}

impl Mount {
    /// Mounts an ensemble, or `memory:`, and waits until the mount answers.
    #[track_caller]
    pub fn new(ensemble: &str) -> Mount {
        Mount::options(ensemble).mount()
    }

    /// Mounts the same ensemble twice: two hosts.
    #[track_caller]
    pub fn pair(ensemble: &str) -> (Mount, Mount) {
        (Mount::new(ensemble), Mount::new(ensemble))
    }

    /// Prepares a mount with options.
    pub fn options(ensemble: &str) -> MountOptions {
        MountOptions { ensemble: ensemble.to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    /// The zkmount command run to its end, for what does not mount: `--help`, errors.
    #[track_caller]
    pub fn command(arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments);
        shell::run(command, PATIENCE, &format!("zkmount {}", arguments.join(" ")))
    }

    /// The zkmount program under test.
    pub fn binary() -> PathBuf {
        binary()
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.workdir.path().join("mnt")
    }

    /// A path below the mount point.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path().join(path)
    }

    /// Runs a bash script in the mount's root directory.
    #[track_caller]
    pub fn bash(&self, script: &str) -> Output {
        self.script(Shell::Bash, script).run()
    }

    /// Starts a bash script in the mount's root directory, and waits until it has printed this line.
    #[track_caller]
    pub fn start(&self, script: &str, line: &str) -> Job {
        let job = self.script(Shell::Bash, script).start();
        job.until_line(line);
        job
    }

    /// Prepares a script in the mount's root directory.
    pub fn script(&self, shell: Shell, script: &str) -> Script {
        shell.script(script).dir(self.path())
    }

    /// The daemon's process id.
    pub fn pid(&self) -> i32 {
        self.daemon().process.pid()
    }

    /// The daemon's resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a running daemon");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.split_whitespace().next().and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("kilobytes") * 1024
    }

    /// Whether the daemon runs.
    pub fn is_running(&self) -> bool {
        self.daemon().process.status().is_none()
    }

    /// The daemon's log so far, of all its incarnations.
    pub fn log(&self) -> String {
        self.daemon().log()
    }

    /// Kills the daemon with SIGKILL: the host crashed. The mount point stays, dead.
    #[track_caller]
    pub fn kill9(&self) {
        let daemon = self.daemon();
        daemon.expected.store(true, Ordering::Relaxed);
        let gone = daemon.process.kill9().is_some();
        assert!(gone, "the daemon survives SIGKILL; its threads:\n{}", threads(daemon.process.pid()));
    }

    /// Stops the daemon in its tracks (SIGSTOP) until the guard is dropped: the host hangs. Do not touch the mount meanwhile
    /// but from a [`Job`]: its answers wait.
    pub fn freeze(&self) -> Frozen {
        self.daemon().process.freeze()
    }

    /// Holds one thread of the daemon still, known by its name, until the guard is dropped.
    #[track_caller]
    pub fn hold(&self, thread: &str) -> HeldThread {
        HeldThread::of(self.pid(), thread)
    }

    /// Unmounts as a user does, and returns how the daemon ended.
    #[track_caller]
    pub fn unmount(&self) -> ExitStatus {
        let point = self.path().display().to_string();
        // Root has umount(8); everybody else fusermount3.
        let root = unsafe { libc::geteuid() } == 0;
        let mut command = Command::new(if root { "umount" } else { "fusermount3" });
        command.args((!root).then_some("-u")).arg(&point);
        self.expect_end();
        shell::run(command, PATIENCE, &format!("umount {point}")).success();
        self.wait_end()
    }

    /// Sends the daemon a signal that ends it, SIGTERM say, and returns how it ended.
    #[track_caller]
    pub fn end(&self, signal: i32) -> ExitStatus {
        self.expect_end();
        self.daemon().process.signal(signal);
        self.wait_end()
    }

    /// Says that the daemon is to end by itself.
    pub fn expect_end(&self) {
        self.daemon().expected.store(true, Ordering::Relaxed);
    }

    /// Waits until the daemon has ended, and returns how.
    #[track_caller]
    pub fn wait_end(&self) -> ExitStatus {
        let status = self.daemon().process.wait(PATIENCE);
        status.unwrap_or_else(|| panic!("the daemon does not end:\n{}", self.daemon().tail()))
    }

    /// Mounts again on the same mount point after the daemon has ended.
    #[track_caller]
    pub fn restart(&self) {
        {
            let mut daemon = self.daemon.lock().unwrap();
            assert!(daemon.process.status().is_some(), "the daemon is running");
            *daemon = Daemon::start(&self.options, &self.path(), daemon.log.clone());
        }
        self.wait_mounted();
    }

    fn daemon(&self) -> Arc<Daemon> {
        Arc::clone(&self.daemon.lock().unwrap())
    }

    #[track_caller]
    fn wait_mounted(&self) {
        let daemon = self.daemon();
        let began = Instant::now();
        while !daemon.is_ready() {
            if let Some(status) = daemon.process.status() {
                daemon.expected.store(true, Ordering::Relaxed);
                panic!("zkmount {} did not mount: {status}\n{}", self.options.ensemble, daemon.tail());
            }
            if began.elapsed() > PATIENCE {
                panic!("zkmount {} has not mounted within {PATIENCE:?}:\n{}", self.options.ensemble, daemon.tail());
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let daemon = self.daemon();
        let died = daemon.obituary();
        daemon.expected.store(true, Ordering::Relaxed);
        daemon.process.signal(libc::SIGCONT);
        daemon.process.signal(libc::SIGTERM);
        let ended = daemon.process.wait(FAREWELL);
        let stuck = ended.is_none().then(|| threads(daemon.process.pid()));
        if ended.is_none() && daemon.process.kill9().is_none() {
            // A thread of it waits on its own mount.
            mounts_below(&self.path()).iter().for_each(|point| abort(point));
        }
        // What is still mounted is dead, and hides the directory that is to be removed.
        mounts_below(&self.path()).iter().for_each(|point| detach(point));
        if std::thread::panicking() {
            // The test has failed for a reason of its own; what the daemon said about it belongs to that.
            eprintln!("{}", died.unwrap_or_else(|| format!("log of {}:\n{}", self.path().display(), daemon.tail())));
        } else if let Some(died) = died {
            panic!("{died}");
        } else if let Some(threads) = stuck {
            panic!("the daemon did not end within {FAREWELL:?} of SIGTERM:\n{}\nthreads:\n{threads}", daemon.tail());
        }
    }
}

/// One incarnation of a daemon.
#[derive(Debug)]
struct Daemon {
    process: Arc<Process>,
    point: PathBuf,
    log: PathBuf,
    /// Whether it has been told to end.
    expected: AtomicBool,
    /// Where it says that the mount answers, as to systemd. Closed then: a socket that nobody reads would fill up.
    news: Mutex<Option<UnixDatagram>>,
}

static DAEMONS: Mutex<Vec<Weak<Daemon>>> = Mutex::new(Vec::new());

impl Daemon {
    #[track_caller]
    fn start(options: &MountOptions, point: &Path, log: PathBuf) -> Arc<Daemon> {
        let output = File::options().append(true).create(true).open(&log).expect("the daemon's log");
        let socket = point.with_file_name("notify");
        let _ = fs::remove_file(&socket);
        let news = UnixDatagram::bind(&socket).expect("a socket in the mount's directory");
        news.set_read_timeout(Some(Duration::from_millis(20))).expect("a time limit");
        let mut command = Command::new(binary());
        command
            .env("NOTIFY_SOCKET", &socket)
            .arg("-f")
            .args(&options.arguments)
            .arg(&options.ensemble)
            .arg(point)
            .envs(options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second descriptor"))
            .stderr(output);
        let process = Process::spawn(command).unwrap_or_else(|e| panic!("cannot run {}: {e}", binary().display()));
        let (point, expected, news) = (point.to_owned(), AtomicBool::new(false), Mutex::new(Some(news)));
        let daemon = Arc::new(Daemon { process, point, log, expected, news });
        let mut daemons = DAEMONS.lock().unwrap();
        daemons.retain(|daemon| daemon.strong_count() > 0);
        daemons.push(Arc::downgrade(&daemon));
        daemon
    }

    /// Waits a little for the word that the mount answers.
    fn is_ready(&self) -> bool {
        let mut news = self.news.lock().unwrap();
        let mut message = [0; 4096];
        let Some(socket) = news.as_ref() else { return true };
        let ready = socket.recv(&mut message).is_ok_and(|n| String::from_utf8_lossy(&message[..n]).contains("READY=1"));
        if ready {
            *news = None;
        }
        ready
    }

    fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// The news of its death, if it ended without being told to.
    fn obituary(&self) -> Option<String> {
        let status = self.process.status()?;
        if self.expected.load(Ordering::Relaxed) {
            return None;
        }
        Some(format!("zkmount on {} died: {status}; its log ends\n{}", self.point.display(), self.tail()))
    }
}

/// What a failure message has to add: the daemons that died without being told to. A test whose daemon is dead must not
/// look like a file system that answers wrongly.
pub(crate) fn obituaries() -> String {
    let daemons = DAEMONS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    daemons
        .iter()
        .filter_map(Weak::upgrade)
        .filter_map(|daemon| daemon.obituary())
        .map(|news| format!("\n{news}"))
        .collect()
}

/// The program under test: cargo builds it beside the test binaries' directory.
fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("the test binary's path");
    let deps = tests.parent().expect("a directory");
    // A test is in target/PROFILE/deps, a program in target/PROFILE.
    let profile = if deps.ends_with("deps") { deps.parent().expect("target/PROFILE/deps") } else { deps };
    let path = profile.join("zkmount");
    assert!(path.exists(), "{} is missing; run cargo build", path.display());
    path
}

/// Where the threads of a process are, for a failure message.
fn threads(pid: i32) -> String {
    let read = |path: PathBuf, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default().trim().to_owned();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|t| format!("{} {}\n", read(t.path(), "comm"), read(t.path(), "wchan"))).collect()
}
