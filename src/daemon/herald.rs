//! The session's life, passed on to the daemon.

use tokio::sync::watch;

use crate::session::{Event, Sink, StateChange};

/// What the daemon knows of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The last change of its state.
    pub state: Option<StateChange>,
    /// How many sessions were lost: a new session may hide a loss.
    pub losses: u64,
}

/// Publishes what happens to the session.
pub(super) struct Herald(watch::Sender<Seen>);

impl Herald {
    /// A herald, and where it is heard.
    pub(super) fn new() -> (Herald, watch::Receiver<Seen>) {
        let (seen, receiver) = watch::channel(Seen::default());
        (Herald(seen), receiver)
    }
}

impl Sink for Herald {
    fn event(&self, event: Event) {
        if let Event::Session(state) = event {
            self.0.send_modify(|seen| {
                seen.state = Some(state);
                seen.losses += u64::from(matches!(state, StateChange::Lost(_)));
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::SessionId;

    #[test]
    fn a_loss_is_seen_behind_a_new_session() {
        let (herald, seen) = Herald::new();
        herald.event(Event::Session(StateChange::Lost(SessionId(1))));
        herald.event(Event::Session(StateChange::Connected(SessionId(2))));
        herald.event(Event::Gap);
        assert_eq!(*seen.borrow(), Seen { state: Some(StateChange::Connected(SessionId(2))), losses: 1 });
    }
}
