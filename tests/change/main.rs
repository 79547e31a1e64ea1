//! Change: what others do is seen at once, by programs that look and by programs that watch.
//!
//! Programs that watch are the real ones, unmodified. That all is told up to some moment is known from a last change, the end
//! mark, since changes are told in their order.

mod contest;
mod events;
mod gap;
mod helper;
mod inotify;
mod kill;
mod tools;
