//! What the cache answers: looking at, reading and missing a name, again and again, beside a FUSE file system that does nothing
//! else than answer, and beside tmpfs. And how many requests that costs the server.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rig::{Mount, Proxy, Server, Shell, Workdir};

use crate::clock::{Spread, processor};
use crate::empty::{Empty, VALUE};
use crate::report::{ratio, show, time};

/// Rounds, in each of which all three take their turn. They are short, and the best ones count: what else the machine does is
/// not in them.
const ROUNDS: usize = 100;

/// What is done to a file or a name in a directory, so many times.
struct Deed {
    name: &'static str,
    times: usize,
    run: fn(&Path, usize) -> Duration,
}

const DEEDS: [Deed; 7] = [
    Deed { name: "stat", times: 1000, run: stat },
    Deed { name: "stat that asks the daemon", times: 200, run: forced_stat },
    Deed { name: "open, read, close", times: 100, run: read },
    Deed { name: "[ -e FILE ] in bash", times: 500, run: test_file },
    Deed { name: "cat FILE, the process", times: 5, run: cat },
    Deed { name: "stat of a name that is missing", times: 200, run: miss },
    Deed { name: "[ -e MISSING ] in bash", times: 200, run: test_missing },
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
        for place in places {
            run(place, times);
        }
        let mut took = [const { Vec::new() }; 3];
        let used = [processor(mount.pid()), processor(empty.pid())];
        let (requests, ()) = proxy.requests_of(|| {
            for _ in 0..ROUNDS {
                for (place, took) in places.iter().zip(&mut took) {
                    took.push(run(place, times) / times as u32);
                }
            }
        });
        let all = (ROUNDS * times) as u32;
        let used = [(processor(mount.pid()) - used[0]) / all, (processor(empty.pid()) - used[1]) / all];
        let [ours, empty, tmpfs] = took.map(|took| Spread::of(took).best());
        ratio(name, ours, "empty FUSE", empty);
        ratio("", ours, "tmpfs", tmpfs);
        let [ours, theirs] = used.map(show);
        println!(
            "  the daemon's processor time {ours}, the empty one's {theirs}; requests to the server: {}",
            requests.len()
        );
    }
}

fn stat(dir: &Path, times: usize) -> Duration {
    let path = dir.join("f");
    time(|| (0..times).for_each(|_| assert!(std::fs::metadata(&path).is_ok())))
}

fn miss(dir: &Path, times: usize) -> Duration {
    let path = dir.join("missing");
    time(|| (0..times).for_each(|_| assert!(std::fs::metadata(&path).is_err())))
}

fn forced_stat(dir: &Path, times: usize) -> Duration {
    let path = CString::new(dir.join("f").as_os_str().as_bytes()).expect("a path");
    // SAFETY: the path is a terminated string, and the result is as long as the kernel makes it.
    let once = || unsafe {
        let mut result: libc::statx = std::mem::zeroed();
        libc::statx(libc::AT_FDCWD, path.as_ptr(), libc::AT_STATX_FORCE_SYNC, libc::STATX_BASIC_STATS, &mut result)
    };
    time(|| (0..times).for_each(|_| assert_eq!(once(), 0, "{}", std::io::Error::last_os_error())))
}

fn read(dir: &Path, times: usize) -> Duration {
    let path = dir.join("f");
    let mut buffer = [0; 4096];
    time(|| {
        for _ in 0..times {
            let count = File::open(&path).and_then(|mut file| file.read(&mut buffer)).expect("a file");
            assert_eq!(&buffer[..count], VALUE);
        }
    })
}

fn cat(dir: &Path, times: usize) -> Duration {
    shell(dir, times, "cat f")
}

fn test_file(dir: &Path, times: usize) -> Duration {
    shell(dir, times, "[ -e f ]")
}

fn test_missing(dir: &Path, times: usize) -> Duration {
    shell(dir, times, "! [ -e missing ]")
}

/// The time of a loop in bash, without that of its start.
fn shell(dir: &Path, times: usize, command: &str) -> Duration {
    let script = format!(
        "began=${{EPOCHREALTIME/./}}; for ((i = 0; i < $1; i++)); do {command} || exit; done > /dev/null
        echo $((${{EPOCHREALTIME/./}} - began))"
    );
    let output = Shell::Bash.script(&script).arg(times.to_string()).dir(dir).run().success();
    Duration::from_micros(output.text().parse().expect("microseconds"))
}
