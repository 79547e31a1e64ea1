//! What the cache answers: looking at, reading and missing a name, again and again, beside a FUSE file system that does nothing
//! else than answer, and beside tmpfs. And how many requests that costs the server.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rig::{Mount, Proxy, Server, Shell, Workdir};

use crate::empty::{Empty, VALUE};
use crate::report::{ratio, time};

/// Rounds, in each of which all three take their turn.
const ROUNDS: usize = 7;

/// What is done to a file or a name in a directory, so many times.
struct Deed {
    name: &'static str,
    times: usize,
    run: fn(&Path, usize),
}

const DEEDS: [Deed; 7] = [
    Deed { name: "stat", times: 50_000, run: stat },
    Deed { name: "stat that asks the daemon", times: 10_000, run: forced_stat },
    Deed { name: "open, read, close", times: 5_000, run: read },
    Deed { name: "[ -e FILE ] in bash", times: 20_000, run: test_file },
    Deed { name: "cat FILE, the process", times: 200, run: cat },
    Deed { name: "stat of a name that is missing", times: 10_000, run: miss },
    Deed { name: "[ -e MISSING ] in bash", times: 10_000, run: test_missing },
];

/// Runs the subject.
pub fn run() {
    let server = Server::boot();
    let proxy = Proxy::to(&server);
    let mount = Mount::new(&proxy.address());
    let empty = Empty::mount();
    let memory = Workdir::new("tmpfs");
    std::fs::write(mount.join("f"), VALUE).expect("a file on the mount");
    std::fs::write(memory.path().join("f"), VALUE).expect("a file in memory");
    let here = mount.path();
    let places = [here.as_path(), empty.path(), memory.path()];
    for Deed { name, times, run } in DEEDS {
        places.iter().for_each(|place| run(place, times / 10));
        let mut took = [const { Vec::new() }; 3];
        let (requests, ()) = proxy.requests_of(|| {
            for _ in 0..ROUNDS {
                for (place, took) in places.iter().zip(&mut took) {
                    took.push(time(|| run(place, times)) / times as u32);
                }
            }
        });
        let [ours, empty, tmpfs] = took.map(middle);
        ratio(name, ours, "empty FUSE", empty);
        ratio("", ours, "tmpfs", tmpfs);
        println!("  requests to the server in {} of them: {}", ROUNDS * times, requests.len());
    }
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn stat(dir: &Path, times: usize) {
    let path = dir.join("f");
    (0..times).for_each(|_| assert!(std::fs::metadata(&path).is_ok()));
}

fn miss(dir: &Path, times: usize) {
    let path = dir.join("missing");
    (0..times).for_each(|_| assert!(std::fs::metadata(&path).is_err()));
}

fn forced_stat(dir: &Path, times: usize) {
    let path = CString::new(dir.join("f").as_os_str().as_bytes()).expect("a path");
    for _ in 0..times {
        // SAFETY: the path is a terminated string, and the result is as long as the kernel makes it.
        let outcome = unsafe {
            let mut result: libc::statx = std::mem::zeroed();
            libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_STATX_FORCE_SYNC, libc::STATX_BASIC_STATS, &mut result)
        };
        assert_eq!(outcome, 0, "{}", std::io::Error::last_os_error());
    }
}

fn read(dir: &Path, times: usize) {
    let path = dir.join("f");
    let mut buffer = [0; 4096];
    for _ in 0..times {
        let count = File::open(&path).and_then(|mut file| file.read(&mut buffer)).expect("a file");
        assert_eq!(&buffer[..count], VALUE);
    }
}

fn cat(dir: &Path, times: usize) {
    shell(dir, times, "cat f");
}

fn test_file(dir: &Path, times: usize) {
    shell(dir, times, "[ -e f ]");
}

fn test_missing(dir: &Path, times: usize) {
    shell(dir, times, "! [ -e missing ]");
}

fn shell(dir: &Path, times: usize, command: &str) {
    let script = format!("for ((i = 0; i < $1; i++)); do {command} || exit; done > /dev/null");
    Shell::Bash.script(&script).arg(times.to_string()).dir(dir).run().success();
}
