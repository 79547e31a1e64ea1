//! The inside of the proxy: connections, frames, and the threads that move them.
//!
//! Each direction of a connection has a reader and a writer with a queue in between, so that a stalled or delayed
//! direction goes on taking what is sent, as a network does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::jute::{Op, Reader, paths_of_request};
use crate::proxy::{Counts, Direction, Request};
use crate::trap::{Deed, Moment, Traps, Verdict};

/// What is longer is no frame but TLS or a four-letter command, whose first bytes read as a length are far above.
const LONGEST_FRAME: u32 = 128 << 20;

/// What the threads of a proxy share. One lock: nothing is done under it but looking and deciding.
#[derive(Debug)]
pub(crate) struct Shared {
    port: u16,
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub traps: Traps,
    pub requests: Vec<Request>,
    pub counts: Counts,
    pub lanes: [Lane; 2],
    /// The server is to be taken for one from before 3.6.
    pub old: bool,
    listener: Option<TcpListener>,
    connections: BTreeMap<u64, Connection>,
}

/// The code of no request.
const UNKNOWN: i32 = 9999;

/// How one direction fares, on all connections.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub stalled: bool,
    pub delay: Duration,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Session id and password, once the server has answered.
    session: Option<(i64, Vec<u8>)>,
}

impl Shared {
    pub fn new(port: u16, target: SocketAddr) -> Arc<Shared> {
        Arc::new(Shared { port, target, state: Mutex::default(), changed: Condvar::new() })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Wakes the threads that wait for a change of the state.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Listens, if it does not yet.
    pub fn listen(self: &Arc<Shared>) -> io::Result<()> {
        let mut state = self.state();
        if state.listener.is_some() {
            return Ok(());
        }
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        state.listener = Some(listener.try_clone()?);
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                // The listener is shut down to end this thread.
                let Ok(client) = client else { return };
                if let Ok(server) = TcpStream::connect_timeout(&shared.target, Duration::from_secs(5)) {
                    let _ = shared.connect(client, server);
                }
            }
        });
        Ok(())
    }

    /// Stops listening: the kernel refuses new connections.
    pub fn refuse(&self) {
        if let Some(listener) = self.state().listener.take() {
            // Closing would not wake the thread that is accepting.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
        }
    }

    /// Cuts all connections; returns how many there were.
    pub fn cut(&self) -> usize {
        let all: Vec<u64> = self.state().connections.keys().copied().collect();
        all.iter().filter(|&&id| self.cut_one(id)).count()
    }

    /// Sessions of the connections that are open.
    pub fn sessions(&self) -> Vec<(i64, Vec<u8>)> {
        self.state().connections.values().filter_map(|connection| connection.session.clone()).collect()
    }

    fn connect(self: &Arc<Shared>, client: TcpStream, server: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let copies = (client.try_clone()?, server.try_clone()?);
        let id = {
            let mut state = self.state();
            if state.listener.is_none() {
                return Ok(());
            }
            state.counts.connections += 1;
            let id = state.counts.connections as u64;
            state.connections.insert(id, Connection { client: copies.0, server: copies.1, session: None });
            id
        };
        self.pump(id, Direction::ToServer, client.try_clone()?, server.try_clone()?);
        self.pump(id, Direction::ToClient, server, client);
        Ok(())
    }

    fn pump(self: &Arc<Shared>, connection: u64, direction: Direction, from: TcpStream, to: TcpStream) {
        let (sender, queue) = mpsc::channel();
        std::thread::spawn(move || read_frames(from, &sender));
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let _ = shared.write_frames(connection, direction, &queue, to);
            shared.close_one(connection);
        });
    }

    fn write_frames(
        &self,
        connection: u64,
        direction: Direction,
        queue: &Receiver<Frame>,
        mut to: TcpStream,
    ) -> io::Result<()> {
        let mut first = true;
        for frame in queue {
            if !self.wait_passable(connection, direction, frame.arrived) {
                return Ok(());
            }
            let verdict = if frame.raw { None } else { self.judge(connection, direction, &frame.bytes, first) };
            first = false;
            if let Some(verdict) = verdict.filter(|v| matches!(v.moment, Moment::BeforeRequest | Moment::BeforeReply)) {
                if verdict.deed == Deed::Hold {
                    self.wait_released(connection, verdict.trap);
                } else {
                    self.carry_out(connection, verdict);
                    return Ok(());
                }
            }
            let is_unknown = direction == Direction::ToServer && self.is_unknown(&frame.bytes);
            match frame.bytes.split_at_checked(8) {
                // The server refuses what it does not know by itself, in its own way.
                Some((head, rest)) if is_unknown => {
                    to.write_all(&[head, &UNKNOWN.to_be_bytes(), &rest[4..]].concat())?;
                }
                _ => to.write_all(&frame.bytes)?,
            }
            if let Some(verdict) = verdict.filter(|v| matches!(v.moment, Moment::AfterRequest | Moment::AfterReply)) {
                self.carry_out(connection, verdict);
                return Ok(());
            }
        }
        // The sender has closed; a stalled lane does not let that through either.
        self.wait_passable(connection, direction, Instant::now());
        Ok(())
    }

    /// Tells whether a request is one that an old server does not know.
    fn is_unknown(&self, bytes: &[u8]) -> bool {
        let op = bytes.get(8..12).and_then(|code| code.try_into().ok()).map(i32::from_be_bytes);
        let is_new = op.is_some_and(|op| matches!(Op::from_code(op), Op::AddWatch | Op::MultiRead | Op::GetEphemerals));
        is_new && self.state().old
    }

    /// Waits until a frame may pass. False when the connection is gone.
    fn wait_passable(&self, connection: u64, direction: Direction, arrived: Instant) -> bool {
        let mut state = self.state();
        loop {
            if !state.connections.contains_key(&connection) {
                return false;
            }
            let lane = &state.lanes[direction as usize];
            let due = arrived + lane.delay;
            let now = Instant::now();
            if lane.stalled {
                state = self.changed.wait(state).unwrap();
            } else if due > now {
                state = self.changed.wait_timeout(state, due - now).unwrap().0;
            } else {
                return true;
            }
        }
    }

    /// Waits until a trap is released or the connection is gone.
    fn wait_released(&self, connection: u64, trap: Option<u64>) {
        let mut state = self.state();
        while trap.is_some_and(|id| state.traps.get(id).is_some()) && state.connections.contains_key(&connection) {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn carry_out(&self, connection: u64, verdict: Verdict) {
        if verdict.deed == Deed::CutAndRefuse {
            self.refuse();
        }
        self.cut_one(connection);
    }

    /// Counts a frame and asks the traps.
    fn judge(&self, connection: u64, direction: Direction, bytes: &[u8], first: bool) -> Option<Verdict> {
        let mut reader = Reader(bytes.get(4..)?);
        let mut state = self.state();
        match (direction, first) {
            (Direction::ToServer, true) => {
                let request = Request::new(connection, 0, Op::Connect, Vec::new(), bytes.len());
                state.requests.push(request.clone());
                state.traps.judge_request(&request)
            }
            (Direction::ToServer, false) => {
                let xid = reader.int()?;
                let op = Op::from_code(reader.int()?);
                if op == Op::Ping {
                    state.counts.pings += 1;
                    return None;
                }
                let paths = paths_of_request(op, &mut reader);
                let request = Request::new(connection, xid, op, paths, bytes.len());
                state.counts.requests += 1;
                state.requests.push(request.clone());
                state.traps.judge_request(&request)
            }
            (Direction::ToClient, true) => {
                let (_protocol, _timeout) = (reader.int()?, reader.int()?);
                let session = (reader.long()?, reader.buffer()?.to_vec());
                if let Some(connection) = state.connections.get_mut(&connection) {
                    connection.session = Some(session);
                }
                state.traps.judge_reply(connection, 0)
            }
            (Direction::ToClient, false) => match reader.int()? {
                -1 => {
                    state.counts.events += 1;
                    None
                }
                -2 => None,
                xid => {
                    state.counts.replies += 1;
                    state.traps.judge_reply(connection, xid)
                }
            },
        }
    }

    /// Cuts a connection and counts it. False when somebody else did.
    fn cut_one(&self, id: u64) -> bool {
        self.close(id, 1)
    }

    /// Closes a connection that one side has ended.
    fn close_one(&self, id: u64) {
        self.close(id, 0);
    }

    fn close(&self, id: u64, cuts: usize) -> bool {
        let mut state = self.state();
        let Some(connection) = state.connections.remove(&id) else { return false };
        state.traps.forget_connection(id);
        // Before the clients can know.
        state.counts.cuts += cuts;
        drop(state);
        let _ = connection.client.shutdown(Shutdown::Both);
        let _ = connection.server.shutdown(Shutdown::Both);
        self.notify();
        true
    }
}

impl State {
    pub fn open(&self) -> usize {
        self.connections.len()
    }
}

/// One length-prefixed packet, with its prefix; or a chunk of bytes on a connection that is not ZooKeeper's protocol.
struct Frame {
    bytes: Vec<u8>,
    raw: bool,
    arrived: Instant,
}

fn read_frames(mut from: TcpStream, queue: &Sender<Frame>) {
    let mut raw = false;
    while let Ok(bytes) = if raw { read_chunk(&mut from) } else { read_frame(&mut from, &mut raw) } {
        if queue.send(Frame { bytes, raw, arrived: Instant::now() }).is_err() {
            return;
        }
    }
}

fn read_frame(from: &mut TcpStream, raw: &mut bool) -> io::Result<Vec<u8>> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix)?;
    let length = u32::from_be_bytes(prefix);
    if length > LONGEST_FRAME {
        *raw = true;
        return Ok(prefix.to_vec());
    }
    let mut bytes = vec![0; 4 + length as usize];
    bytes[..4].copy_from_slice(&prefix);
    from.read_exact(&mut bytes[4..])?;
    Ok(bytes)
}

fn read_chunk(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 16 << 10];
    match from.read(&mut bytes)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.truncate(count);
            Ok(bytes)
        }
    }
}
