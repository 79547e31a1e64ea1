//! Histories: several hosts and programs do everything at once while everything fails, and what they were told is judged
//! afterwards.
//!
//! It takes two minutes; `HISTORY_SECONDS=600 cargo test --test history` runs longer, and `HISTORY_SEED` chooses the operations and faults.
//! When it fails, `HISTORY_DUMP=FILE` keeps all operations and transactions.

mod anew;
mod ascribed;
mod battle;
mod checker;
mod faults;
mod leader;
mod operation;
mod planted;
mod register;
mod search;
mod soak;
mod tree;
