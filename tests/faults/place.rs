//! A tree of a test's own, its wire, and who looks at it.

use std::collections::BTreeMap;
use std::fs;

use rig::{Change, Mount, MountOptions, Op, Output, Proxy, Server, Transaction, Trap, Witness, shared_server, until};

/// A mount on a wire of its own that can be cut, and a client on another one.
pub struct Place {
    pub server: &'static Server,
    pub proxy: Proxy,
    pub mount: Mount,
    pub witness: Witness,
    /// The connect string that does not go through the wire.
    pub connect: String,
}

impl Place {
    /// A mount whose session does not end by itself in a test.
    pub fn new(name: &str) -> Place {
        Place::with(name, |options| options.o("session_timeout=40s"))
    }

    /// A mount with options.
    pub fn with(name: &str, options: impl FnOnce(MountOptions) -> MountOptions) -> Place {
        let server = shared_server();
        let connect = server.chroot(name);
        let proxy = Proxy::to(server);
        let mount = options(Mount::options(&proxy.instead_of(&connect))).mount();
        let witness = Witness::connect(&connect);
        Place { server, proxy, mount, witness, connect }
    }

    /// Cuts the connection at the next write to a path; new ones are refused if it is to stay away.
    pub fn lose(&self, cut: Cut, path: &str, stay_away: bool) -> Trap {
        let bait = self.proxy.trap().writes().path(path);
        let bait = if stay_away { bait.and_refuse() } else { bait };
        match cut {
            Cut::Request => bait.lose_request(),
            Cut::Reply => bait.lose_reply(),
        }
    }

    /// The path of a znode on the server.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", chroot(&self.connect))
    }

    /// What was done to one znode, by whom, in order.
    pub fn history(&self, path: &str) -> Vec<(i64, Change)> {
        changes(&self.server.history(), &self.absolute(path))
    }

    /// The number of creates of one znode.
    pub fn creations(&self, path: &str) -> usize {
        self.history(path).iter().filter(|(_, change)| matches!(change, Change::Create { .. })).count()
    }

    /// The mount's session.
    pub fn session(&self) -> i64 {
        session_id(&self.mount)
    }
}

/// Where the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// Before the request reaches the server: nothing has happened.
    Request,
    /// When the server has applied the request, before the mount hears of it.
    Reply,
}

impl Cut {
    /// One after the other.
    pub const BOTH: [Cut; 2] = [Cut::Request, Cut::Reply];
}

/// The part of a connect string that is a path.
pub fn chroot(connect: &str) -> &str {
    &connect[connect.find('/').expect("a chroot")..]
}

/// What was done to one znode, by which session, in order.
pub fn changes(history: &[Transaction], path: &str) -> Vec<(i64, Change)> {
    let all = history.iter().flat_map(|one| one.changes.iter().map(move |change| (one.session, change.clone())));
    all.filter(|(_, change)| change.path() == path).collect()
}

/// Where in a history a session ends, if it does.
pub fn end_of(history: &[Transaction], session: i64) -> Option<i64> {
    let closes = |one: &&Transaction| one.op == Op::CloseSession && one.session == session;
    history.iter().find(closes).map(|one| one.zxid)
}

/// The values of `@session`.
pub fn session(mount: &Mount) -> BTreeMap<String, String> {
    let text = fs::read_to_string(mount.join("@session")).expect("@session answers");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.filter(|(key, _)| !key.starts_with('#')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The id of a mount's session.
pub fn session_id(mount: &Mount) -> i64 {
    let id = session(mount)["id"].clone();
    u64::from_str_radix(id.trim_start_matches("0x"), 16).expect("an id") as i64
}

/// How many sessions a mount has lost.
pub fn losses(mount: &Mount) -> u32 {
    session(mount)["losses"].parse().expect("a number")
}

/// Waits for a state of a mount's session.
#[track_caller]
pub fn until_state(mount: &Mount, state: &str) {
    until(&format!("the session is {state}"), || session(mount)["state"] == state);
}

/// Whether a program was told this, `Input/output error` say.
pub fn told(output: &Output, message: &str) -> bool {
    output.code() != 0 && output.stderr.contains(message)
}
