//! The daemon killed with SIGKILL: the host crashed.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rig::{Mount, Process, Workdir};

#[test]
fn a_daemon_killed_while_it_starts_is_gone_at_once() {
    for round in 0..30 {
        let workdir = Workdir::new("crash");
        let point = workdir.path().join("mnt");
        fs::create_dir(&point).unwrap();
        let mut command = Command::new(Mount::binary());
        command.args(["-f", "memory:"]).arg(&point).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Process::spawn(command).unwrap();
        let name = point.to_str().unwrap();
        let began = Instant::now();
        while !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(name) {
            assert!(began.elapsed() < Duration::from_secs(20), "not mounted");
        }
        // It now looks at its own mount, sooner or later in its way up.
        std::thread::sleep(Duration::from_micros(30 * round));
        assert!(daemon.kill9().is_some(), "round {round}: the daemon survives SIGKILL");
    }
}
