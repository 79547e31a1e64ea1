//! `@session` and `@ephemerals`: what this mount is to the ensemble. Neither waits for it.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Core;
use crate::mapping::{Stat, View, ZnodePath, Zxid};
use crate::session::{SessionState, StateChange, Store, StoreError};

/// So long an ensemble that may be about to be away is asked which ephemerals there are.
const PATIENCE: Duration = Duration::from_millis(500);

impl<S: Store> Core<S> {
    /// The state of the session as `key=value` lines, which a shell can evaluate, and what happened to it as comments.
    pub(super) fn session_text(&self) -> String {
        let session = self.store.session();
        let history = self.store.history();
        let state = match session.state {
            SessionState::Connected => "connected",
            SessionState::Suspended => "suspended",
            SessionState::Lost => "lost",
            SessionState::Closed => "closed",
        };
        let mut text = format!(
            "state={state}\nid={}\ntimeout_ms={}\nvalidity_ms={}\nincarnation={}\nlosses={}\nconnections={}\nlive={}\n\
             ephemerals={}\nlocks={}\n",
            session.id,
            session.timeout.as_millis(),
            session.validity.as_millis(),
            session.incarnation,
            history.losses,
            session.connections,
            session.live,
            self.store.ephemerals().len(),
            self.locks.count(),
        );
        // Writing to a String does not fail.
        for (at, change) in &history.changes {
            let _ = match change {
                StateChange::Connected(id) => writeln!(text, "# {} connected {id}", utc(*at)),
                StateChange::Suspended(id) => writeln!(text, "# {} suspended {id}", utc(*at)),
                StateChange::Lost(id) => writeln!(text, "# {} lost {id}", utc(*at)),
                StateChange::Closed => writeln!(text, "# {} closed", utc(*at)),
            };
        }
        for lost in &history.lost {
            let _ = writeln!(text, "# lost with {}: {} ephemerals", lost.id, lost.count);
            for path in &lost.ephemerals {
                let _ = writeln!(text, "#   {path}");
            }
            if lost.count > lost.ephemerals.len() {
                let _ = writeln!(text, "#   and {} more", lost.count - lost.ephemerals.len());
            }
        }
        text
    }

    /// The size that a view of the mount is said to have. bash's `.` reads no more than that of a file; for the others, which
    /// change all the time, it is 0, as in /proc.
    pub(super) fn mount_view_size(&self, view: View) -> u64 {
        if view == View::Session { self.session_text().len() as u64 } else { 0 }
    }

    /// This session's ephemerals, one a line: the transaction that created it and its path. While the ensemble is away
    /// they are those that this side knows of; a transaction that it does not know is `?`.
    pub(super) async fn ephemerals_text(&self) -> String {
        let session = self.store.session();
        let known = self.store.ephemerals();
        let mut stats = Vec::new();
        if session.state == SessionState::Connected {
            let paths: Vec<ZnodePath> = known.iter().map(|(path, _)| path.clone()).collect();
            // Most of it comes from the cache.
            if let Ok(Ok(peeks)) = tokio::time::timeout(PATIENCE, self.peek(&paths)).await {
                stats = peeks;
            }
        }
        let mut stats = stats.into_iter();
        let lines = known.into_iter().filter_map(|(path, czxid)| {
            let czxid = match stats.next() {
                Some(Ok(Stat { ephemeral_owner, .. })) if ephemeral_owner != session.id => return None,
                Some(Ok(stat)) => Some(stat.czxid),
                Some(Err(StoreError::NoNode)) => return None,
                Some(Err(_)) | None => czxid,
            };
            Some(format!("{} {path}\n", czxid.map_or("?".to_owned(), |czxid: Zxid| czxid.to_string())))
        });
        lines.collect()
    }
}

/// A point in time as RFC 3339 writes it, in UTC.
fn utc(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// The date of a day, counted from 1970-01-01. Years are taken from March on, so that the odd day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (of_month, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (era * 400 + year + u64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_date_does() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_772_323_200_000, "2026-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_millis(millis)), text);
        }
    }
}
