//! Faults at exactly the right moment: what fires, when, and what it does to the connection.

use std::sync::Arc;

use crate::jute::Op;
use crate::proxy::Request;
use crate::until;
use crate::wire::Shared;

/// When a trap goes off, seen from the request that springs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The request has arrived at the proxy and has not been forwarded: the server never sees it.
    BeforeRequest,
    /// The request was forwarded, its reply is not waited for: whether the server applied it is open.
    AfterRequest,
    /// The reply has arrived at the proxy and has not been forwarded: the server applied the request, the client cannot know.
    BeforeReply,
    /// The reply was forwarded: nothing is lost but the connection.
    AfterReply,
}

impl Moment {
    const ALL: [Moment; 4] = [Moment::BeforeRequest, Moment::AfterRequest, Moment::BeforeReply, Moment::AfterReply];
}

/// What a trap does when it goes off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Cuts the connection.
    Cut,
    /// Cuts the connection, and new ones are refused until told otherwise.
    CutAndRefuse,
    /// Holds this direction of the connection until the trap is released.
    Hold,
}

/// A trap being described: which request is to spring it, and what is to happen.
#[derive(Debug)]
#[must_use = "a trap is armed by one of lose_reply, lose_request, cut, hold_reply, hold_request"]
pub struct TrapBuilder {
    shared: Arc<Shared>,
    bait: Bait,
    refuse: bool,
}

/// Which requests a trap counts.
#[derive(Debug, Default)]
pub(crate) struct Bait {
    ops: Vec<Op>,
    path: Option<String>,
    nth: usize,
}

impl Bait {
    fn matches(&self, request: &Request) -> bool {
        // Handshakes are not requests, unless they are asked for.
        let op = if self.ops.is_empty() { request.op != Op::Connect } else { self.ops.contains(&request.op) };
        let path = self.path.as_ref().is_none_or(|part| request.paths.iter().any(|path| path.contains(part)));
        op && path
    }
}

impl TrapBuilder {
    pub(crate) fn new(shared: Arc<Shared>) -> TrapBuilder {
        TrapBuilder { shared, bait: Bait { nth: 1, ..Bait::default() }, refuse: false }
    }

    /// Only requests of this kind; called again, of this kind too.
    pub fn op(mut self, op: Op) -> Self {
        self.bait.ops.push(op);
        self
    }

    /// Only requests that create a znode by themselves, not as part of a multi.
    pub fn creates(self) -> Self {
        self.op(Op::Create).op(Op::Create2).op(Op::CreateContainer).op(Op::CreateTtl)
    }

    /// Only requests that write.
    pub fn writes(self) -> Self {
        self.creates().op(Op::Delete).op(Op::SetData).op(Op::SetAcl).op(Op::Multi)
    }

    /// Only requests with a path that contains this.
    pub fn path(mut self, part: &str) -> Self {
        self.bait.path = Some(part.to_owned());
        self
    }

    /// The n-th such request, counted from 1. The first one, otherwise.
    pub fn nth(mut self, n: usize) -> Self {
        self.bait.nth = n;
        self
    }

    /// After the cut, new connections are refused until [`Proxy::accept`](crate::Proxy::accept).
    pub fn and_refuse(mut self) -> Self {
        self.refuse = true;
        self
    }

    /// Cuts the connection when the server has applied the request, before the client gets the reply.
    pub fn lose_reply(self) -> Trap {
        self.cut(Moment::BeforeReply)
    }

    /// Cuts the connection before the request reaches the server.
    pub fn lose_request(self) -> Trap {
        self.cut(Moment::BeforeRequest)
    }

    /// Cuts the connection at a moment.
    pub fn cut(self, moment: Moment) -> Trap {
        let deed = if self.refuse { Deed::CutAndRefuse } else { Deed::Cut };
        self.arm(moment, deed)
    }

    /// Holds the reply, and all that comes behind it on its connection, until the trap is released.
    pub fn hold_reply(self) -> Trap {
        self.arm(Moment::BeforeReply, Deed::Hold)
    }

    /// Holds the request, and all that comes behind it on its connection, until the trap is released.
    pub fn hold_request(self) -> Trap {
        self.arm(Moment::BeforeRequest, Deed::Hold)
    }

    fn arm(self, moment: Moment, deed: Deed) -> Trap {
        let id = self.shared.state().traps.arm(self.bait, moment, deed);
        Trap { shared: self.shared, id }
    }
}

/// An armed trap. It goes off once; dropping it disarms it and lets go of what it holds.
#[derive(Debug)]
#[must_use = "a trap that is dropped is disarmed"]
pub struct Trap {
    shared: Arc<Shared>,
    id: u64,
}

impl Trap {
    /// Whether it has gone off.
    pub fn sprung(&self) -> bool {
        self.shared.state().traps.get(self.id).is_some_and(|trap| trap.sprung)
    }

    /// Waits until it has gone off.
    #[track_caller]
    pub fn wait(&self) {
        until("a request springs the trap", || self.sprung());
    }

    /// Lets go of what it holds.
    pub fn release(self) {}
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.shared.state().traps.disarm(self.id);
        self.shared.notify();
    }
}

/// The traps of a proxy.
#[derive(Debug, Default)]
pub(crate) struct Traps {
    armed: Vec<Armed>,
    next: u64,
    storm: Option<Storm>,
}

#[derive(Debug)]
pub(crate) struct Armed {
    id: u64,
    bait: Bait,
    moment: Moment,
    deed: Deed,
    seen: usize,
    /// The connection and xid of the request that set it off, while the reply is awaited.
    awaiting: Option<(u64, i32)>,
    sprung: bool,
}

/// What is to be done about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub moment: Moment,
    pub deed: Deed,
    /// The trap that says so; a storm's cuts have none.
    pub trap: Option<u64>,
}

impl Traps {
    fn arm(&mut self, bait: Bait, moment: Moment, deed: Deed) -> u64 {
        self.next += 1;
        let id = self.next;
        self.armed.push(Armed { id, bait, moment, deed, seen: 0, awaiting: None, sprung: false });
        id
    }

    fn disarm(&mut self, id: u64) {
        self.armed.retain(|trap| trap.id != id);
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Armed> {
        self.armed.iter().find(|trap| trap.id == id)
    }

    /// Starts cutting at random, once in some `mean` requests, at all four moments; the same seed, the same choices.
    pub(crate) fn storm(&mut self, seed: u64, mean: usize) {
        let mut storm =
            Storm { random: seed, mean: mean as u64, left: 0, moment: Moment::BeforeRequest, awaiting: None };
        storm.choose();
        self.storm = Some(storm);
    }

    pub(crate) fn calm(&mut self) {
        self.storm = None;
    }

    /// Looks at a request before it is forwarded.
    pub(crate) fn judge_request(&mut self, request: &Request) -> Option<Verdict> {
        let mut verdict = None;
        for trap in self.armed.iter_mut().filter(|trap| !trap.sprung && trap.awaiting.is_none()) {
            if !trap.bait.matches(request) {
                continue;
            }
            trap.seen += 1;
            if trap.seen != trap.bait.nth {
                continue;
            }
            match trap.moment {
                Moment::BeforeRequest | Moment::AfterRequest => {
                    trap.sprung = true;
                    verdict = Some(Verdict { moment: trap.moment, deed: trap.deed, trap: Some(trap.id) });
                }
                Moment::BeforeReply | Moment::AfterReply => {
                    trap.awaiting = Some((request.connection, request.xid));
                }
            }
        }
        verdict.or_else(|| self.storm.as_mut()?.judge_request(request))
    }

    /// Looks at a reply before it is forwarded.
    pub(crate) fn judge_reply(&mut self, connection: u64, xid: i32) -> Option<Verdict> {
        if let Some(trap) = self.armed.iter_mut().find(|trap| trap.awaiting == Some((connection, xid))) {
            trap.awaiting = None;
            trap.sprung = true;
            return Some(Verdict { moment: trap.moment, deed: trap.deed, trap: Some(trap.id) });
        }
        self.storm.as_mut()?.judge_reply(connection, xid)
    }

    /// A connection is gone, and with it the replies that were awaited on it. Their traps wait for another request.
    pub(crate) fn forget_connection(&mut self, connection: u64) {
        for trap in self.armed.iter_mut().filter(|trap| trap.awaiting.is_some_and(|(on, _)| on == connection)) {
            trap.awaiting = None;
            trap.seen -= 1;
        }
        if let Some(storm) = self.storm.as_mut().filter(|storm| storm.awaiting.is_some_and(|(on, _)| on == connection))
        {
            storm.choose();
        }
    }
}

/// Cuts at random.
#[derive(Debug)]
struct Storm {
    random: u64,
    mean: u64,
    left: u64,
    moment: Moment,
    awaiting: Option<(u64, i32)>,
}

impl Storm {
    /// Chooses the next victim.
    fn choose(&mut self) {
        self.awaiting = None;
        self.left = 1 + self.draw() % (2 * self.mean).max(1);
        self.moment = Moment::ALL[(self.draw() % 4) as usize];
    }

    /// splitmix64: all that is wanted here is that a seed gives the same choices again.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn judge_request(&mut self, request: &Request) -> Option<Verdict> {
        if self.awaiting.is_some() || request.op == Op::Connect {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return None;
        }
        match self.moment {
            Moment::BeforeRequest | Moment::AfterRequest => Some(self.strike()),
            Moment::BeforeReply | Moment::AfterReply => {
                self.awaiting = Some((request.connection, request.xid));
                None
            }
        }
    }

    fn judge_reply(&mut self, connection: u64, xid: i32) -> Option<Verdict> {
        (self.awaiting == Some((connection, xid))).then(|| self.strike())
    }

    fn strike(&mut self) -> Verdict {
        let verdict = Verdict { moment: self.moment, deed: Deed::Cut, trap: None };
        self.choose();
        verdict
    }
}
