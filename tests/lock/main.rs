//! Locks of the whole cluster, taken by the programs that people use, on two mounts of a real ZooKeeper.

mod checker;
mod death;
mod fcntl;
mod files;
mod fire;
mod flock;
mod interop;
mod place;
mod session;
mod shared;
mod view;
mod with_lock;
