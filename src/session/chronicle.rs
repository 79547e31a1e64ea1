//! What became of the sessions so far, for people who look for the reason afterwards.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::StateChange;
use crate::mapping::{SessionId, ZnodePath};

/// Changes of the state that are remembered: an hour's story of a connection that fails every few minutes.
const CHANGES: usize = 32;
/// Lost sessions that are remembered with what went with them.
const LOSSES: usize = 8;
/// Ephemerals that are remembered of each of them.
const EPHEMERALS: usize = 64;

/// A session that was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostSession {
    /// Which one.
    pub id: SessionId,
    /// When that was noticed.
    pub at: SystemTime,
    /// The ephemerals that went with it, the first of them in the order of their paths.
    pub ephemerals: Vec<ZnodePath>,
    /// How many there were.
    pub count: usize,
}

/// What is remembered, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The last changes of the state.
    pub changes: VecDeque<(SystemTime, StateChange)>,
    /// The last sessions that were lost.
    pub lost: VecDeque<LostSession>,
    /// How many were lost so far.
    pub losses: u64,
}

/// Writes down what happens to the sessions of a store.
#[derive(Debug, Default)]
pub struct Chronicle(Mutex<History>);

impl Chronicle {
    fn history(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a change of the state.
    pub fn note(&self, change: StateChange) {
        let mut history = self.history();
        if history.changes.len() == CHANGES {
            history.changes.pop_front();
        }
        history.changes.push_back((SystemTime::now(), change));
    }

    /// Notes that a session is lost, with these ephemerals.
    pub fn lose(&self, id: SessionId, mut ephemerals: Vec<ZnodePath>) {
        ephemerals.sort();
        let count = ephemerals.len();
        ephemerals.truncate(EPHEMERALS);
        let mut history = self.history();
        history.losses += 1;
        if history.lost.len() == LOSSES {
            history.lost.pop_front();
        }
        history.lost.push_back(LostSession { id, at: SystemTime::now(), ephemerals, count });
    }

    /// What is remembered.
    pub fn tell(&self) -> History {
        self.history().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_the_last_and_counts_all() {
        let chronicle = Chronicle::default();
        for id in 1..=100 {
            chronicle.note(StateChange::Connected(SessionId(id)));
            let path = |n| ZnodePath::parse(&format!("/e{n:03}")).unwrap();
            chronicle.lose(SessionId(id), (0..id as usize).rev().map(path).collect());
        }
        let history = chronicle.tell();
        assert_eq!((history.changes.len(), history.lost.len(), history.losses), (CHANGES, LOSSES, 100));
        assert_eq!(history.changes.back().unwrap().1, StateChange::Connected(SessionId(100)));
        let last = history.lost.back().unwrap();
        assert_eq!((last.id, last.count, last.ephemerals.len()), (SessionId(100), 100, EPHEMERALS));
        assert_eq!(last.ephemerals[0].as_str(), "/e000");
    }
}
