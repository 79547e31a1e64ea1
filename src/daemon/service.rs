//! What systemd is told, where it asks.

use std::fmt::Display;

use sd_notify::NotifyState;

/// The mount answers.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The mount ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("unmounting")]);
}

/// What `systemctl status` shows.
pub(super) fn status(text: impl Display) {
    tell(&[NotifyState::Status(&text.to_string())]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
