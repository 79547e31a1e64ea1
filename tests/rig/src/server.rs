use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::history;
use crate::until::PATIENCE;
use crate::{Frozen, Mode, Port, Process, Transaction, Witness, Workdir};

/// How long a server may take to start. Usually a third of a second, but nothing else may go on meanwhile.
const START: Duration = Duration::from_secs(60);

/// A real ZooKeeper server of this test process's own.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    port: Port,
    workdir: Workdir,
    process: Mutex<Option<Arc<Process>>>,
}

/// How a [`Server`] is to be started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    heap: u32,
    arguments: Vec<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        // Enough for some 200,000 znodes.
        ServerOptions { heap: 384, arguments: Vec::new() }
    }
}

impl ServerOptions {
    /// Sets a key of zoo.cfg.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        self
    }

    /// Adds an option for java, `-Dname=value` say.
    pub fn java(mut self, option: &str) -> Self {
        self.arguments.extend(["--java".to_owned(), option.to_owned()]);
        self
    }

    /// Limits the Java heap, in MB.
    pub fn heap(mut self, megabytes: u32) -> Self {
        self.heap = megabytes;
        self
    }

    /// Makes it number `id` of an ensemble.
    pub(crate) fn peer(mut self, id: usize, peers: &str) -> Self {
        self.arguments.extend(["--id".to_owned(), id.to_string(), "--peers".to_owned(), peers.to_owned()]);
        self
    }

    /// Starts a server and waits until it serves.
    pub fn boot(self) -> Server {
        let mut last = String::new();
        // Somebody outside the tests may take the port between our look and the server's.
        for _ in 0..5 {
            let server = self.clone().start_on(Port::claim());
            match server.wait_serving() {
                Ok(()) => return server,
                Err(why) if server.log().contains("Address already in use") => last = why,
                Err(why) => panic!("ZooKeeper does not start: {why}"),
            }
        }
        panic!("ZooKeeper found no port: {last}");
    }

    /// Starts a server without waiting for it.
    pub(crate) fn start_on(self, port: Port) -> Server {
        let server = Server { options: self, port, workdir: Workdir::new("server"), process: Mutex::new(None) };
        server.start();
        server
    }
}

impl Server {
    /// Starts a server with the usual options and waits until it serves.
    pub fn boot() -> Server {
        ServerOptions::default().boot()
    }

    /// Options for one that is not the usual.
    pub fn options() -> ServerOptions {
        ServerOptions::default()
    }

    /// `127.0.0.1:PORT`, a connect string.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The client port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's process id.
    pub fn pid(&self) -> i32 {
        self.process().pid()
    }

    /// Makes a fresh znode and returns the connect string that has it for its root. Each test works in one of its own.
    pub fn chroot(&self, name: &str) -> String {
        make_chroot(&self.address(), name)
    }

    /// Ends the server the friendly way, with SIGTERM.
    pub fn stop(&self) {
        let process = self.process();
        process.signal(libc::SIGTERM);
        assert!(process.wait(PATIENCE).is_some(), "the server does not end on SIGTERM");
    }

    /// Kills the server with SIGKILL. What it has acknowledged is in its log all the same.
    pub fn kill9(&self) {
        assert!(self.process().kill9().is_some(), "the server survives SIGKILL");
    }

    /// Starts a server that was stopped or killed again, on the same data and port, and waits until it serves.
    pub fn restart(&self) {
        self.start();
        self.wait_serving().unwrap_or_else(|why| panic!("ZooKeeper does not start again: {why}"));
    }

    /// Starts it again without waiting: alone, a server of an ensemble cannot serve.
    pub fn start(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.as_ref().is_none_or(|p| p.status().is_some()), "the server is running");
        let log = File::options().append(true).create(true).open(self.log_path()).expect("the server's log");
        let mut command = Command::new(script());
        command
            .arg("run")
            .arg("--dir")
            .arg(self.workdir.path())
            .args(["--port", &self.port().to_string(), "--heap", &self.options.heap.to_string()])
            .args(&self.options.arguments)
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone().expect("a second descriptor"))
            .stderr(log);
        *process = Some(Process::spawn(command).expect("scripts/zookeeper can be run"));
    }

    /// Stops the server in its tracks (SIGSTOP) until the guard is dropped.
    pub fn freeze(&self) -> Frozen {
        self.process().freeze()
    }

    /// Whether its process runs.
    pub fn is_running(&self) -> bool {
        self.process().status().is_none()
    }

    /// `standalone`, `leader` or `follower`; `None` when it does not serve.
    pub fn mode(&self) -> Option<String> {
        let answer = self.ask("srvr").ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).map(str::to_owned)
    }

    /// Answers of the four-letter command `mntr`, by name.
    pub fn mntr(&self) -> BTreeMap<String, String> {
        let answer = self.ask("mntr").expect("the server answers mntr");
        let pairs = answer.lines().filter_map(|line| line.split_once('\t'));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }

    /// One number of [`mntr`](Server::mntr), `zk_packets_received` say.
    pub fn metric(&self, name: &str) -> i64 {
        let all = self.mntr();
        let value = all.get(name).unwrap_or_else(|| panic!("mntr does not report {name}"));
        value.parse::<f64>().unwrap_or_else(|_| panic!("{name} is {value}, not a number")) as i64
    }

    /// The ids of the sessions that the server knows.
    pub fn sessions(&self) -> Vec<i64> {
        let answer = self.ask("dump").expect("the server answers dump");
        // Each id stands once by its expiry time, and again if it owns ephemerals.
        let before = answer.split("ephemeral nodes dump").next().unwrap_or_default();
        let mut ids: Vec<i64> = before.lines().filter_map(|line| parse_id(line.trim())).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The answer to a four-letter command.
    pub fn ask(&self, word: &str) -> io::Result<String> {
        ask(self.port(), word, Duration::from_secs(5))
    }

    /// Every transaction that the server has applied, in order, read from its own log: the exact truth. A write that has
    /// been acknowledged is in it. Paths are absolute, with the chroot.
    pub fn history(&self) -> Vec<Transaction> {
        history::read(&self.workdir.path().join("data"))
    }

    /// The part of [`history`](Server::history) that touches the tree below a path, changes elsewhere left out.
    pub fn history_below(&self, path: &str) -> Vec<Transaction> {
        let inside =
            |other: &str| other.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut all = self.history();
        all.iter_mut().for_each(|transaction| transaction.changes.retain(|change| inside(change.path())));
        all.retain(|transaction| !transaction.changes.is_empty());
        all
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it serves; the error says why it does not.
    pub(crate) fn wait_serving(&self) -> Result<(), String> {
        let began = Instant::now();
        // A question that comes while the server starts is never answered: ask again soon. On a busy machine an answer takes
        // its time: be more patient each time.
        let mut patience = Duration::from_millis(200);
        loop {
            let answer = match ask(self.port(), "srvr", patience) {
                Ok(answer) => answer,
                Err(error) => {
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                        patience = (patience * 3 / 2).min(Duration::from_secs(5));
                    }
                    String::new()
                }
            };
            // The answer may be that of a stranger on our port.
            if answer.contains("Mode: ") && self.is_running() {
                return Ok(());
            }
            let ended = self.process().status();
            if ended.is_some() || began.elapsed() > START {
                let log = self.log();
                let tail = log.lines().rev().take(15).collect::<Vec<_>>();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(format!("{ended:?} after {:?}\n{tail}", began.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn process(&self) -> Arc<Process> {
        self.process.lock().unwrap().clone().expect("a server is started when it is made")
    }

    fn log_path(&self) -> PathBuf {
        self.workdir.path().join("log")
    }
}

/// The server that all tests of this process share; each works in its own [`chroot`](Server::chroot). Tests that disturb
/// the server boot their own.
pub fn shared_server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(Server::boot);
    assert!(server.is_running(), "the shared server died:\n{}", server.log());
    server
}

/// Makes a fresh znode for a test and returns a connect string with it.
pub(crate) fn make_chroot(servers: &str, name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let path = format!("/{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    Witness::connect(servers).create(&path, b"", Mode::Persistent).unwrap_or_else(|e| panic!("creating {path}: {e}"));
    format!("{servers}{path}")
}

/// The script that runs a server: in the checkout that cargo tests, or where this was compiled when run by hand.
fn script() -> PathBuf {
    let tested = std::env::var_os("CARGO_MANIFEST_DIR").map(|root| Path::new(&root).join("scripts/zookeeper"));
    let compiled = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/zookeeper");
    tested.filter(|script| script.exists()).unwrap_or_else(compiled)
}

fn ask(port: u16, word: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn parse_id(text: &str) -> Option<i64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok().map(|id| id as i64)
}
