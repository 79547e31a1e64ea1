//! Change: what others do is seen at once, by programs that look and by programs that watch.
//!
//! Programs that watch are the real ones, unmodified. That all is told up to some moment is known from a last change, the end
//! mark, since changes are told in their order.
//!
//! The storms have short versions here; `CHANGE_COUNT`, `CHANGE_WATCHERS`, `CHANGE_ROUNDS`, `CHANGE_KILLS` and `CHANGE_SEED` make them longer,
//! or the same again.

mod acl;
mod belief;
mod contest;
mod events;
mod gap;
mod helper;
mod inotify;
mod kill;
mod old;
mod overflow;
mod rounds;
mod scale;
mod storm;
mod tools;
