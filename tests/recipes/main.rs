//! The recipes, each with the property that it is there for: never more than N, never two leaders, nothing lost, nothing
//! taken twice, a counter that is exact; on two mounts, with participants killed, servers restarted and sessions lost.
//!
//! Longer runs by hand: `RECIPE_ROUNDS=20 cargo test --test recipes`.

mod barrier;
mod check;
mod cookbook;
mod counter;
mod help;
mod leader;
mod member;
mod on_change;
mod queue;
mod slots;
mod world;
