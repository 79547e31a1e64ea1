//! The mount as users meet it: real kernel mounts, real shells, a real ZooKeeper, independent witnesses.
//!
//! One binary, so that its tests share a server. Each test works below a chroot of its own ([`rig::Server::chroot`]), and
//! one that disturbs the server boots its own. `cargo test --test mount NAME` runs the tests whose name contains NAME.
//!
//! A comment `// > SENTENCE` quotes the promise of SEMANTICS.md that the test shows.

mod appends;
mod attributes;
mod crash;
mod errors;
mod foreign;
mod host;
mod inputs;
mod kinds;
mod names;
mod races;
mod read_only;
mod reads;
mod removal;
mod rename;
mod scratch;
mod smoke;
mod tools;
mod views;
mod world;
mod writes;
