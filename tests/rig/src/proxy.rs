use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::jute::Op;
use crate::trap::TrapBuilder;
use crate::until::PATIENCE;
use crate::wire::Shared;
use crate::{Port, Server};

/// A wire between clients and one server that does what wires do, when it is told to.
///
/// It reads ZooKeeper's packets as they pass, so that it can count requests and break exactly between two of them.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    port: Port,
    target: SocketAddr,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer = 0,
    /// From the server to the client: replies and events.
    ToClient = 1,
}

impl Direction {
    /// Both.
    pub const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToClient];
}

/// What has passed a proxy so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub connections: usize,
    /// Requests, without pings and the handshake.
    pub requests: usize,
    /// Replies, without those of pings and the handshake.
    pub replies: usize,
    /// Pings.
    pub pings: usize,
    /// Watch events.
    pub events: usize,
    /// Connections that were cut.
    pub cuts: usize,
}

/// A request that came to the proxy. Pings are not recorded.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which connection it came on, counted from 1.
    pub connection: u64,
    /// Its number on that connection; 0 for the handshake.
    pub xid: i32,
    /// What it asks for.
    pub op: Op,
    /// The paths it names, absolute, with the chroot: one, or one for each part of a multi.
    pub paths: Vec<String>,
    /// Its length.
    pub bytes: usize,
    /// When it came.
    pub at: Instant,
}

impl Request {
    pub(crate) fn new(connection: u64, xid: i32, op: Op, paths: Vec<String>, bytes: usize) -> Request {
        Request { connection, xid, op, paths, bytes, at: Instant::now() }
    }
}

impl Proxy {
    /// A proxy in front of a server. It lets everything through until told otherwise.
    pub fn to(server: &Server) -> Proxy {
        let target = SocketAddr::from(([127, 0, 0, 1], server.port()));
        // Somebody outside the tests may take the port between the look and the bind.
        for _ in 0..5 {
            let port = Port::claim();
            let shared = Shared::new(port.number(), target);
            if shared.listen().is_ok() {
                return Proxy { shared, port, target };
            }
        }
        panic!("the proxy found no port");
    }

    /// `127.0.0.1:PORT`, a connect string.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// The same connect string with this proxy in the place of its servers: keeps the chroot.
    pub fn instead_of(&self, connect: &str) -> String {
        let chroot = connect.find('/').map_or("", |slash| &connect[slash..]);
        format!("{}{chroot}", self.address())
    }

    /// Cuts all connections; returns how many there were. Clients may connect again.
    pub fn cut(&self) -> usize {
        self.shared.cut()
    }

    /// Makes the server one from before 3.6, which refuses recursive watches, multi-reads and lists of ephemerals, and closes
    /// the connection on which it was asked for one.
    pub fn make_old(&self) {
        self.shared.state().old = true;
    }

    /// Refuses new connections (ECONNREFUSED) from now on. Those that are open stay.
    pub fn refuse(&self) {
        self.shared.refuse();
    }

    /// Accepts connections again.
    pub fn accept(&self) {
        self.shared.listen().expect("a claimed port can be bound again");
    }

    /// Cuts all connections and refuses new ones: the server is down.
    pub fn down(&self) {
        self.refuse();
        self.cut();
    }

    /// Lets nothing pass in one direction; what is sent is kept and passes later. Also the end of a connection is not seen.
    pub fn stall(&self, direction: Direction) {
        self.shared.state().lanes[direction as usize].stalled = true;
    }

    /// Lets nothing pass in both directions: a partition, in which packets are late rather than lost.
    pub fn stall_both(&self) {
        Direction::BOTH.iter().for_each(|&direction| self.stall(direction));
    }

    /// Lets everything pass again, what was kept first.
    pub fn flow(&self) {
        self.shared.state().lanes.iter_mut().for_each(|lane| lane.stalled = false);
        self.shared.notify();
    }

    /// Makes everything in one direction late by this much.
    pub fn delay(&self, direction: Direction, by: Duration) {
        self.shared.state().lanes[direction as usize].delay = by;
        self.shared.notify();
    }

    /// Describes a fault that a certain request is to meet:
    /// `proxy.trap().creates().path("lock").nth(3).lose_reply()`.
    pub fn trap(&self) -> TrapBuilder {
        TrapBuilder::new(Arc::clone(&self.shared))
    }

    /// Cuts connections at random from now on, once in some `mean` requests, before and after requests and replies. The
    /// seed decides, for a given sequence of requests.
    pub fn storm(&self, seed: u64, mean: usize) {
        self.shared.state().traps.storm(seed, mean);
    }

    /// Ends the storm.
    pub fn calm(&self) {
        self.shared.state().traps.calm();
    }

    /// Makes the server end the sessions of all open connections, as if they had timed out, and cuts these connections.
    /// When this returns, the sessions are gone and their ephemerals too.
    pub fn expire_sessions(&self) {
        self.expire_sessions_unseen();
        self.accept();
    }

    /// The same, but new connections are refused from now on: the clients do not know yet.
    pub fn expire_sessions_unseen(&self) {
        let sessions = self.shared.sessions();
        assert!(!sessions.is_empty(), "no session goes through this proxy");
        // A client that comes back before its session is closed would take it over again.
        self.down();
        for (id, password) in &sessions {
            close_session(self.target, *id, password).unwrap_or_else(|e| panic!("cannot close session {id:#x}: {e}"));
        }
    }

    /// The ids of the sessions whose connections are open here.
    pub fn sessions(&self) -> Vec<i64> {
        self.shared.sessions().into_iter().map(|(id, _)| id).collect()
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.state().open()
    }

    /// What has passed so far.
    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// All requests so far, handshakes included, pings not.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// The requests that an action causes before it returns, handshakes and pings left out.
    pub fn requests_of<T>(&self, action: impl FnOnce() -> T) -> (Vec<Request>, T) {
        let before = self.shared.state().requests.len();
        let result = action();
        let state = self.shared.state();
        let new = state.requests[before..].iter().filter(|request| request.op != Op::Connect);
        (new.cloned().collect(), result)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // What is stalled or held is cut: the threads end with their connections.
        self.down();
    }
}

/// Takes over a session and closes it: the quickest way to make a session expire, and one that needs no clock.
fn close_session(server: SocketAddr, id: i64, password: &[u8]) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut hello = Vec::new();
    hello.extend(0_i32.to_be_bytes()); // protocol version
    hello.extend(0_i64.to_be_bytes()); // last zxid seen
    hello.extend(10_000_i32.to_be_bytes()); // timeout in ms
    hello.extend(id.to_be_bytes());
    hello.extend((password.len() as i32).to_be_bytes());
    hello.extend(password);
    hello.push(0); // not read-only
    exchange(&mut stream, &hello)?;
    let mut bye = Vec::new();
    bye.extend(1_i32.to_be_bytes()); // xid
    bye.extend((-11_i32).to_be_bytes()); // closeSession
    exchange(&mut stream, &bye)
}

fn exchange(stream: &mut TcpStream, packet: &[u8]) -> io::Result<()> {
    stream.write_all(&(packet.len() as i32).to_be_bytes())?;
    stream.write_all(packet)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply)
}
