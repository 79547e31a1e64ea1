//! What the open handles of a file have in common.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

/// What the open handles of one file have in common.
///
/// Writes to a file through one mount are served one after the other, under this lock; it is held over the network, so
/// nothing else may be taken while waiting for it but what its holder never takes.
#[derive(Debug, Default)]
pub struct FileState {
    /// Serializes the writers.
    pub write: AsyncMutex<()>,
    truncation: Mutex<Truncation>,
}

/// A truncation that is not committed yet.
///
/// Each handle that truncated the file has a claim, since a close(2) is told late: when the release of one handle
/// comes, another program may have truncated the file again and be about to write, and must not be forestalled.
#[derive(Debug, Default)]
struct Truncation {
    claims: HashSet<u64>,
    made: u64,
    /// A handle with a claim was closed without a write while others had theirs.
    owed: bool,
}

impl FileState {
    fn truncation(&self) -> MutexGuard<'_, Truncation> {
        self.truncation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether the file was truncated and the truncation is not committed yet.
    pub fn is_truncated(&self) -> bool {
        let truncation = self.truncation();
        truncation.owed || !truncation.claims.is_empty()
    }

    /// Truncates the file: the claim of the handle that does.
    pub fn truncate(&self) -> u64 {
        let mut truncation = self.truncation();
        truncation.made += 1;
        let claim = truncation.made;
        truncation.claims.insert(claim);
        claim
    }

    /// Tells whether a handle's truncation is still to be committed.
    pub fn is_claimed(&self, claim: u64) -> bool {
        self.truncation().claims.contains(&claim)
    }

    /// Takes a handle's claim back, as it is closed or failed; tells whether the truncation is to be committed now: no other
    /// handle has a claim, and this one or one before did not fail.
    pub fn withdraw(&self, claim: u64, failed: bool) -> bool {
        let mut truncation = self.truncation();
        if !truncation.claims.remove(&claim) {
            return false;
        }
        truncation.owed |= !failed;
        truncation.owed && truncation.claims.is_empty()
    }

    /// The truncation is committed, or the file was written or is gone.
    pub fn settle(&self) {
        let mut truncation = self.truncation();
        truncation.claims.clear();
        truncation.owed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncation_is_committed_by_the_last_of_its_handles() {
        let file = FileState::default();
        let [one, two] = [file.truncate(), file.truncate()];
        assert!(file.is_truncated() && !file.withdraw(one, false), "another one is about to write");
        assert!(file.withdraw(two, true), "the first is owed, although the second failed");
        file.settle();
        let only = file.truncate();
        assert!(!file.withdraw(only, true) && !file.is_truncated(), "the old value stays");
        let late = file.truncate();
        file.settle();
        assert!(!file.is_claimed(late) && !file.withdraw(late, false), "somebody has written meanwhile");
    }
}
