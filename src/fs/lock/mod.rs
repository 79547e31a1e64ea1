//! Locks of the whole cluster: ZooKeeper's lock recipe behind flock(2) and fcntl(2).
//!
//! Every holder and every waiter has a contender of its own: an ephemeral sequential znode in the lock's directory, laid
//! out as Apache Curator's `InterProcessMutex` does it. The number decides whose turn it is, so the queue is fair over all
//! mounts and all clients that follow the same recipe. A waiter looks at its predecessor only, so a hand-over wakes one.
//!
//! A lock lives as long as the session that made its contender, and is held only while that session is known to be alive
//! by its own clock. What was locked through a descriptor when that is over is lost: the descriptor answers EIO from then
//! on, and what it writes is refused by the server too, since every write through it is conditional on the contender.
//!
//! | file | what it is |
//! | --- | --- |
//! | [`contender`] | names and data of the znodes in a lock's directory |
//! | [`queue`] | whose turn it is |
//! | [`bells`] | waking a waiter when its predecessor goes |
//! | [`recipe`] | getting in, waiting, and getting out, whatever happens to the connection |
//! | [`held`] | locks that are held, and whether they are lost |
//! | [`table`] | who holds what through this mount |
//! | [`patience`] | how long a request may be held |

pub mod bells;
pub mod contender;
pub mod held;
pub mod patience;
pub mod queue;
pub mod recipe;
pub mod table;

pub use contender::{Card, Contender, Mode};
pub use held::{Held, LockMark};
pub use patience::Cancel;
pub use queue::{Queue, Turn};
pub use recipe::{Claim, Recipe, Site};
pub use table::{Key, Locks};
