use std::process::Command;
use std::time::Duration;

use crate::shell;

/// Debian's Python, by its path: another python3 that comes first on the path does not see Debian's modules.
const PYTHON: &str = "/usr/bin/python3";

/// Connects before the script and leaves after it.
const PRELUDE: &str = "\
import logging, sys
from kazoo.client import KazooClient
logging.basicConfig(level=logging.ERROR)
zk = KazooClient(hosts=sys.argv.pop(1), timeout=20.0)
zk.start(timeout=20)
";
const POSTLUDE: &str = "
zk.stop()
zk.close()
";

/// Runs a Python script with a connected kazoo client `zk` and returns what it printed. The arguments are `sys.argv[1:]`.
///
/// The client most ZooKeeper users of Python have: what the mount does must look right to it.
#[track_caller]
pub fn kazoo(connect: &str, script: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(PYTHON);
    command.arg("-c").arg(format!("{PRELUDE}{script}{POSTLUDE}")).arg(connect).args(arguments);
    shell::run(command, Duration::from_secs(120), "kazoo").success().stdout
}
