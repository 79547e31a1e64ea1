//! Files that are about to be renamed to a name that will not be theirs.
//!
//! `mv job n-@s:T` leaves the kernel with an entry `n-@s:T` for the old file, for as long as it was told that it may keep the entry
//! `job`; then `readlink n-@s:T` would fail on a regular file without asking. So the first try of such a rename is answered with
//! ESTALE, on which the kernel looks the source up again and tries once more, and that look-up is answered with an entry that it
//! may not keep.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::caller::Caller;
use crate::mapping::ZnodePath;

/// Renames that may be between their first and their second try, which takes the kernel no more than a look-up.
const BOUND: usize = 256;

#[derive(Debug)]
struct Departure {
    caller: Caller,
    path: ZnodePath,
    looked_up: bool,
}

/// The renames between their two tries.
#[derive(Debug, Default)]
pub struct Departures {
    queue: Mutex<VecDeque<Departure>>,
}

impl Departures {
    /// Tells whether the kernel has just looked `path` up for this caller, and ends the departure; if not, it is to do so.
    pub fn is_ready(&self, caller: Caller, path: &ZnodePath) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let known = queue.iter().position(|other| other.caller == caller && other.path == *path);
        match known {
            Some(at) if queue[at].looked_up => {
                queue.remove(at);
                true
            }
            Some(_) => false,
            None => {
                queue.push_back(Departure { caller, path: path.clone(), looked_up: false });
                if queue.len() > BOUND {
                    queue.pop_front();
                }
                false
            }
        }
    }

    /// A look-up of `path`: tells whether the kernel may not keep the entry.
    pub fn is_leaving(&self, caller: Caller, path: &ZnodePath) -> bool {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut leaving = false;
        for departure in queue.iter_mut().filter(|other| other.path == *path) {
            leaving = true;
            departure.looked_up |= departure.caller == caller;
        }
        leaving
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rename_is_ready_once_its_own_thread_has_looked_again() {
        let departures = Departures::default();
        let [one, two] = ["/one", "/two"].map(|text| ZnodePath::parse(text).unwrap());
        let [me, you] = [Caller { pid: 7 }, Caller { pid: 8 }];
        assert!(!departures.is_leaving(me, &one));
        assert!(!departures.is_ready(me, &one));
        assert!(departures.is_leaving(you, &one), "nobody may keep the entry");
        assert!(!departures.is_ready(me, &one), "another thread's look does not count");
        assert!(departures.is_leaving(me, &one) && !departures.is_leaving(me, &two));
        assert!(departures.is_ready(me, &one));
        assert!(!departures.is_leaving(me, &one), "it has ended");
    }

    #[test]
    fn renames_that_are_never_tried_again_are_forgotten() {
        let departures = Departures::default();
        for n in 0..=BOUND {
            departures.is_ready(Caller { pid: 1 }, &ZnodePath::root().join_raw(&n.to_string()));
        }
        assert_eq!(departures.queue.lock().unwrap().len(), BOUND);
    }
}
