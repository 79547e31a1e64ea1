//! The mount and its session: what it shows of it, what is left when it is lost, who may do what, and who tries what they may not.
//!
//! One binary, so that its tests share a server. Each test works below a chroot of its own, and one that disturbs its session
//! has a proxy of its own.

mod acl;
mod auth;
mod errno;
mod hostile;
mod lost;
mod metrics;
mod views;
