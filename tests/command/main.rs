//! The command as its users run it: what it refuses and in which words, when it returns, how it ends.

mod connection;
mod helper;
mod life;
mod mountpoint;
mod place;
mod readme;
mod service;
