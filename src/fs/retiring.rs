//! Names that are about to go.
//!
//! close(2) does not wait for what the last one of an open file causes. A script that closes `lock@h` and looks at once
//! must not find the lock that it has just given back, so whoever asks for a name of this kind waits until it is gone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::mapping::ZnodePath;

/// The paths of held files that were closed and are not deleted yet.
#[derive(Debug, Default)]
pub struct Retiring {
    paths: Mutex<HashMap<ZnodePath, watch::Sender<()>>>,
}

/// A path on its way out, until this is dropped.
#[derive(Debug)]
pub struct Retirement<'a> {
    retiring: &'a Retiring,
    path: ZnodePath,
}

impl Drop for Retirement<'_> {
    fn drop(&mut self) {
        // With the sender go those who wait.
        self.retiring.paths().remove(&self.path);
    }
}

impl Retiring {
    fn paths(&self) -> MutexGuard<'_, HashMap<ZnodePath, watch::Sender<()>>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A path is about to go.
    pub fn begin(&self, path: ZnodePath) -> Retirement<'_> {
        self.paths().insert(path.clone(), watch::Sender::new(()));
        Retirement { retiring: self, path }
    }

    /// Waits while a path is about to go.
    pub async fn gone(&self, path: &ZnodePath) {
        loop {
            let Some(mut going) = self.paths().get(path).map(watch::Sender::subscribe) else { return };
            while going.changed().await.is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn who_asks_waits_until_it_is_gone() {
        let retiring = Retiring::default();
        let [lock, other] = ["/lock", "/other"].map(|text| ZnodePath::parse(text).unwrap());
        let retirement = retiring.begin(lock.clone());
        assert!(retiring.gone(&other).now_or_never().is_some());
        let mut wait = std::pin::pin!(retiring.gone(&lock));
        assert!(wait.as_mut().now_or_never().is_none());
        drop(retirement);
        wait.await;
    }
}
