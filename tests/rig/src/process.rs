use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::until::PATIENCE;
use crate::workdir::prepare;

/// In the environment of all that a test process starts, with its pid: descendants are known by it, in whatever process
/// group or session they are.
const MARK: &str = "ZKMOUNT_RIG";

/// A child process that the kernel kills when the test process dies, however it dies.
///
/// It stays a zombie until this value is dropped, so that its pid cannot come to mean somebody else in between.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    child: Mutex<Child>,
}

impl Process {
    /// Starts a command.
    pub fn spawn(mut command: Command) -> io::Result<Arc<Process>> {
        prepare();
        command.env(MARK, std::process::id().to_string());
        let child = spawn_from_lasting_thread(command)?;
        Ok(Arc::new(Process { pid: child.id() as i32, child: Mutex::new(child) }))
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The exit status, if it has ended.
    pub fn status(&self) -> Option<ExitStatus> {
        let mut end: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let outcome = unsafe { libc::waitid(libc::P_PID, self.pid as libc::id_t, &mut end, flags) };
        assert_eq!(outcome, 0, "waiting for one's own child: {}", io::Error::last_os_error());
        let (pid, status) = unsafe { (end.si_pid(), end.si_status()) };
        if pid == 0 {
            return None;
        }
        // Back to the form of wait(2), the one that the standard library takes.
        Some(ExitStatus::from_raw(match end.si_code {
            libc::CLD_EXITED => status << 8,
            libc::CLD_DUMPED => status | 0x80,
            _ => status,
        }))
    }

    /// Waits for the end no longer than `patience`.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            let status = self.status();
            if status.is_some() || began.elapsed() > patience {
                return status;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    /// Sends a signal. False when the process has ended.
    pub fn signal(&self, signal: i32) -> bool {
        self.status().is_none() && unsafe { libc::kill(self.pid, signal) } == 0
    }

    /// Sends a signal to the process group that the process leads or led.
    pub(crate) fn signal_group(&self, signal: i32) {
        unsafe { libc::killpg(self.pid, signal) };
    }

    /// Kills it with SIGKILL and waits until it is gone, for some seconds at most: a process in state D may stay.
    pub fn kill9(&self) -> Option<ExitStatus> {
        self.signal(libc::SIGKILL);
        self.wait(Duration::from_secs(5))
    }

    /// Stops it with SIGSTOP until the guard is dropped.
    pub fn freeze(self: &Arc<Process>) -> Frozen {
        assert!(self.signal(libc::SIGSTOP), "cannot freeze a process that has ended");
        // The signal is acted upon a moment later, by each thread of the process for itself.
        crate::until("a frozen process stands still", || all_threads_stopped(self.pid));
        Frozen { process: Arc::clone(self) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill9().is_some() {
            let _ = self.child.lock().map(|mut child| child.wait());
        }
    }
}

/// A process stopped by SIGSTOP; goes on when this is dropped.
#[derive(Debug)]
pub struct Frozen {
    process: Arc<Process>,
}

impl Frozen {
    /// Lets it go on.
    pub fn thaw(self) {}
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.process.signal(libc::SIGCONT);
    }
}

fn all_threads_stopped(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and may hold anything.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X', 'D']))
    })
}

/// Kills every process that descends from a test process for which `theirs` holds.
///
/// The kernel kills direct children only, and a job's process group does not hold what left it.
pub(crate) fn kill_descendants(theirs: impl Fn(u32) -> bool) {
    let own = std::process::id();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let mark = environment.split(|&byte| byte == 0).find_map(|line| line.strip_prefix(MARK.as_bytes()));
        let owner = mark.and_then(|rest| std::str::from_utf8(rest.strip_prefix(b"=")?).ok()?.parse().ok());
        if pid != own && owner.is_some_and(&theirs) {
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    }
}

type Order = (Command, SyncSender<io::Result<Child>>);

/// Spawns from one thread that lives as long as the process: the kernel's parent-death signal fires when the spawning
/// *thread* ends, and test threads end all the time.
fn spawn_from_lasting_thread(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        let work = move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        };
        std::thread::Builder::new().name("spawner".into()).spawn(work).expect("a thread");
        orders
    });
    let parent = std::process::id() as i32;
    // Only calls that are allowed between fork and exec.
    let die_with_parent = move || unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == -1 {
            return Err(io::Error::last_os_error());
        }
        if libc::getppid() != parent {
            libc::_exit(125);
        }
        // What runs in the background of a script ignores these, and so would all that it starts.
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_DFL);
        }
        Ok(())
    };
    unsafe { command.pre_exec(die_with_parent) };
    let (answer, reply) = mpsc::sync_channel(1);
    spawner.send((command, answer)).expect("the spawner lives as long as the process");
    // A program on a mount that hangs never gets to its exec.
    reply.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("a program has not started within {PATIENCE:?}"))
}
