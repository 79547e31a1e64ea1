//! One thread of a program held still, while the others go on.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::ptr;

use crate::until;

/// A thread of another program that stands still until this is dropped, by the thread that made it.
#[derive(Debug)]
pub struct HeldThread {
    tid: libc::pid_t,
    /// Only the thread that took it can let it go.
    _here: PhantomData<*const ()>,
}

impl HeldThread {
    /// Stops the thread with this name of a process, as debuggers do, when it waits for something to do.
    #[track_caller]
    pub(crate) fn of(pid: i32, name: &str) -> HeldThread {
        let tid = thread(pid, name).unwrap_or_else(|| panic!("process {pid} has no thread {name}"));
        // Elsewhere it might hold a lock that the others need.
        until(&format!("{name} waits"), || {
            fs::read_to_string(format!("/proc/{pid}/task/{tid}/wchan")).is_ok_and(|place| place.contains("futex"))
        });
        let null = ptr::null_mut::<libc::c_void>();
        let stopped = unsafe {
            libc::ptrace(libc::PTRACE_SEIZE, tid, null, null) == 0
                && libc::ptrace(libc::PTRACE_INTERRUPT, tid, null, null) == 0
                && libc::waitpid(tid, &mut 0, libc::__WALL) == tid
        };
        assert!(stopped, "cannot stop {name}: {}", io::Error::last_os_error());
        HeldThread { tid, _here: PhantomData }
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        let null = ptr::null_mut::<libc::c_void>();
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.tid, null, null) };
    }
}

/// The thread with a name, of which the kernel keeps 15 bytes.
fn thread(pid: i32, name: &str) -> Option<libc::pid_t> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let named = threads.filter(|thread| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == &name[..name.len().min(15)])
    });
    named.last()?.file_name().to_str()?.parse().ok()
}
