//! Creation flags: two hosts coordinate through nothing but names, in shells as people write them.
//!
//! The storms have short versions here; `FLAGS_ROUNDS`, `FLAGS_CUTS` and `FLAGS_SEED` make them longer, or the same again.

mod election;
mod held;
mod kinds;
mod locks;
mod lost;
mod names;
mod place;
mod queue;
mod sequential;
mod storm;
mod tags;
