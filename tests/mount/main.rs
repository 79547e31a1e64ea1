//! The mount as users meet it: real kernel mounts, real shells, a real ZooKeeper, independent witnesses.
//!
//! One binary, so that its tests share a server. Each test works below a chroot of its own ([`rig::Server::chroot`]), and
//! one that disturbs the server boots its own. `cargo test --test mount NAME` runs the tests whose name contains NAME.

mod smoke;
