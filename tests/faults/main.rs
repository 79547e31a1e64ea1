//! What fails in practice, and what the user of a mount sees of it. The table of it all is docs/faults.md.
//!
//! Scripts as users write them, on real mounts of a real ZooKeeper, whose servers and wires fail at the moment that matters.
//! `FAULT_ROUNDS` repeats the rounds of lost replies, `FAULT_KILLS` says how often a daemon is killed under load.

mod daemon;
mod index;
mod kill;
mod loss;
mod partition;
mod place;
mod refusals;
mod replies;
mod servers;
mod silence;
mod writes;
