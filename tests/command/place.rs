//! A mount point for commands that go to the background, and who serves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rig::{Mount, Output, Script, Shell, Workdir, until};

/// A directory to mount on. Dropping it ends whatever still serves it.
pub struct Place {
    workdir: Workdir,
}

impl Place {
    /// An empty directory.
    pub fn new() -> Place {
        let workdir = Workdir::new("command");
        fs::create_dir(workdir.path().join("mnt")).unwrap();
        Place { workdir }
    }

    /// An empty directory of the user nobody's, whom we can be by [`as_nobody`](Place::as_nobody).
    pub fn of_nobody() -> Place {
        let place = Place::new();
        fs::set_permissions(place.workdir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        place
    }

    /// The mount point.
    pub fn path(&self) -> PathBuf {
        self.workdir.path().join("mnt")
    }

    /// The mount point, as an argument.
    pub fn text(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// A path beside the mount point.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.workdir.path().join(name)
    }

    /// Runs zkmount with this mount point as the last argument.
    #[track_caller]
    pub fn zkmount(&self, arguments: &[&str]) -> Output {
        let point = self.text();
        Mount::command(&[arguments, &[&point]].concat())
    }

    /// A bash script with the function `zkmount`, in the directory beside the mount point, which is its first argument.
    pub fn script(&self, script: &str) -> Script {
        let binary = Mount::binary();
        let script = format!("zkmount() {{ {} \"$@\"; }}\n{script}", binary.display());
        Shell::Bash.script(&script).dir(self.workdir.path()).arg(self.text())
    }

    /// The same as root, or in a user namespace where we may call ourselves so. What is mounted belongs to a mount namespace
    /// of the script's own, in which zkmount is installed: mount(8) clears the path.
    pub fn as_root(&self, script: &str) -> Script {
        let unshare = if is_root() { "unshare -m" } else { "unshare -rm" };
        let script = format!(
            "mount -t tmpfs none /usr/local/sbin && cp {} /usr/local/sbin/zkmount && PATH=/usr/local/sbin:$PATH:/usr/sbin:/sbin\n{script}",
            Mount::binary().display()
        );
        let outer = format!("exec {unshare} bash -c \"$2\" bash \"$1\" \"$3\"");
        Shell::Bash.script(&outer).dir(self.workdir.path()).arg(self.text()).arg(script)
    }

    /// The same as somebody who is not root.
    pub fn as_nobody(&self, script: &str) -> Script {
        if !is_root() {
            return self.script(script);
        }
        // A machine without udev has a device that is root's only.
        let device = "case $(stat -c %a /dev/fuse) in *[67]) ;; *) \
            mount -t tmpfs none \"$1\" && mknod -m 666 \"$1\"/fuse c 10 229 && mount --bind \"$1\"/fuse /dev/fuse && umount -l \"$1\" ;; \
            esac || exit 98";
        let who = format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups");
        self.as_root(&format!("{device}\nexec {who} bash -c \"$2\" bash \"$1\"")).arg(script)
    }

    /// What is mounted here, as type and source, the uppermost last.
    pub fn mounted(&self) -> Vec<(String, String)> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let point = self.text();
        let lines = table.lines().filter(|line| line.split(' ').nth(4) == Some(&point));
        lines
            .map(|line| {
                let (_, rest) = line.split_once(" - ").unwrap();
                let mut fields = rest.split(' ').map(str::to_owned);
                (fields.next().unwrap(), fields.next().unwrap())
            })
            .collect()
    }

    /// The process that serves the mount or is about to. A zkmount that has forked counts once: as the child.
    pub fn daemon(&self) -> Option<i32> {
        self.daemons().into_iter().max()
    }

    /// All zkmount processes with this mount point.
    pub fn daemons(&self) -> Vec<i32> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| serves(*pid, &self.path())).collect()
    }

    /// Kills the daemon with SIGKILL. The mount stays, dead.
    #[track_caller]
    pub fn kill9(&self) {
        let pid = self.daemon().expect("a daemon");
        signal(pid, libc::SIGKILL);
        self.until_no_daemon();
    }

    /// Waits until nothing serves the mount any more.
    #[track_caller]
    pub fn until_no_daemon(&self) {
        until("the daemon has ended", || self.daemons().is_empty());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let daemons = self.daemons();
        daemons.iter().for_each(|pid| {
            signal(*pid, libc::SIGKILL);
        });
        // The directory of the test takes the dead mounts away.
    }
}

const NOBODY: u32 = 65534;

pub fn is_root() -> bool {
    // SAFETY: it only asks.
    unsafe { libc::geteuid() == 0 }
}

/// Sends a signal.
pub fn signal(pid: i32, signal: i32) -> bool {
    // SAFETY: a process that was just seen to be ours.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Whether a process is a living zkmount with this argument.
fn serves(pid: i32, point: &Path) -> bool {
    // The command line of a zombie is empty.
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = command.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
    let program = arguments.next().unwrap_or_default();
    Path::new(&program).file_name().is_some_and(|name| name == "zkmount")
        && arguments.any(|argument| Path::new(&argument) == point)
}

/// Asserts what a command that mounted nothing said: one line with these words, and its exit code.
#[track_caller]
pub fn refuses(output: Output, code: i32, words: &[&str]) {
    let output = output.exits(code);
    let said = output.stderr.trim_end();
    assert!(said.starts_with("zkmount: ") && !said.contains('\n'), "not one line of zkmount's:\n{said}");
    assert!(output.stdout.is_empty(), "{}", output.stdout);
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is missing in: {said}"));
}
