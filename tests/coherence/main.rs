//! What is shown is never older than what was shown before, and what is kept is bounded.
//!
//! A value says by itself how old it is. The runs are short here; `COHERENCE=full` makes them ten times as long.

mod absence;
mod bounds;
mod counter;
mod crowd;
mod listing;
mod world;
