//! What system calls say.

use std::fmt::Debug;
use std::io;

/// The error number of a call that must fail.
#[track_caller]
pub fn errno<T: Debug>(result: io::Result<T>) -> i32 {
    match result {
        Ok(value) => panic!("it succeeds: {value:?}"),
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("no error of the system: {error}")),
    }
}
