//! The ZooKeeper store under faults: lost requests and replies, interruptions, lost sessions, silent servers.

mod closing;
mod connecting;
mod deadlines;
mod ensemble;
mod interruptions;
mod losses;
mod replies;
mod retractions;
mod storm;
mod world;
