use std::time::{Duration, Instant};

use crate::mount;

/// How long anything may take before a test gives up on it. Generous: CI has two cores, and only failures wait that long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a fact, and panics when it is still none after 30 s.
///
/// The way to wait in a test: never for a time, always for a fact.
#[track_caller]
pub fn until(what: &str, fact: impl FnMut() -> bool) {
    until_within(PATIENCE, what, fact);
}

/// Waits for a fact no longer than `patience`; for bounds that are themselves under test.
#[track_caller]
pub fn until_within(patience: Duration, what: &str, mut fact: impl FnMut() -> bool) {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    while !fact() {
        // Looked at after the fact, so that a slow look gets one that began in time counted.
        if began.elapsed() > patience {
            panic!("waited {patience:?} in vain until {what}{}", mount::obituaries());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
