//! What the tests stand on.
//!
//! A test of zkmount needs a real server, a real mount, real programs, somebody independent to ask what ZooKeeper
//! really holds, and faults at exactly the right moment:
//!
//! * [`Server`], [`shared_server`] and [`Ensemble`]: throwaway ZooKeepers that can be stopped, frozen, killed and restarted;
//!   [`Server::history`] is the exact list of transactions the server applied.
//! * [`Proxy`]: a wire between a mount and a server that counts requests and can be cut or stalled at a given request or reply.
//! * [`Mount`]: the zkmount daemon on a fresh mount point.
//! * [`Shell`]: scripts in bash, dash, zsh and ksh, with a deadline on everything.
//! * [`Witness`] and [`kazoo()`]: clients that owe nothing to the code under test.
//! * [`until()`]: waiting for a fact.
//! * [`Random`] and [`number()`]: seeds, and the long forms of tests.
//!
//! Nothing here outlives the test process, however it ends: children are killed by the kernel, directories are removed
//! at exit, and what a killed process left behind is swept up by the next one. Failures panic, which is how tests fail.

mod ensemble;
mod history;
mod hold;
mod jute;
mod kazoo;
mod mount;
mod port;
mod process;
mod proxy;
mod random;
mod recorder;
mod server;
mod shell;
mod trap;
mod until;
mod variable;
mod wire;
mod witness;
mod workdir;

pub use ensemble::Ensemble;
pub use history::{Change, Transaction};
pub use hold::HeldThread;
pub use jute::Op;
pub use kazoo::kazoo;
pub use mount::{Mount, MountOptions};
pub use port::Port;
pub use process::{Frozen, Process};
pub use proxy::{Counts, Direction, Proxy, Request};
pub use random::Random;
pub use recorder::{Event, Kind, Recorder};
pub use server::{Server, ServerOptions, shared_server};
pub use shell::{Job, Output, Script, Shell};
pub use trap::{Moment, Trap, TrapBuilder};
pub use until::{until, until_within};
pub use variable::number;
pub use witness::{Created, Mode, Witness, WitnessOptions};
pub use workdir::Workdir;
pub use zookeeper_client::{Acl, AuthId, Error, Permission, Stat};
