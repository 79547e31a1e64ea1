//! Stats of many znodes in few round trips.
//!
//! The protocol has no way to ask for many Stats alone: a multi-read brings the data along, which is welcome when it is
//! small and costs the server its memory when it is not. So the size of what has come so far decides how many znodes
//! go into the next request, and whether Stats alone are asked for, one request each.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use zookeeper_client as zk;

use super::link::{Answer, Asks};
use super::{Shared, wire};
use crate::mapping::ZnodePath;
use crate::session::{Peek, StoreError};

/// What one reply should not exceed, in bytes.
const REPLY: usize = 2 << 20;
/// The most znodes in one request.
const MOST: usize = 1024;
/// Znodes in a request while nothing is known of their sizes.
const FIRST: usize = 16;
/// Above this size, on average, the data is left where it is.
const BIG: usize = 64 << 10;
/// What the reply costs for each znode beside its data.
const OVERHEAD: usize = 96;
/// Requests on their way at once.
const WINDOW: usize = 3;
/// Znodes whose Stats are asked for at once when the data is left where it is.
const SINGLES: usize = 256;

/// How large the znodes of this tree are, by what was read last.
#[derive(Debug)]
pub struct Estimate(AtomicUsize);

impl Estimate {
    pub fn new() -> Estimate {
        Estimate(AtomicUsize::new(REPLY / FIRST - OVERHEAD))
    }

    /// Notes the sizes of what one request brought: the average, or part of the largest when that is far above it.
    fn learn(&self, peeks: &[Result<Peek, StoreError>]) {
        let sizes = peeks.iter().flatten().map(|peek| usize::try_from(peek.stat.data_length).unwrap_or(0));
        let (count, sum, largest) = sizes.fold((0, 0, 0), |(count, sum, largest): (usize, usize, usize), size| {
            (count + 1, sum + size, largest.max(size))
        });
        if let Some(average) = sum.checked_div(count) {
            self.0.store(average.max(largest / 16), Ordering::Relaxed);
        }
    }

    /// How many znodes go into the next request; none when their data is not to be asked for.
    fn chunk(&self) -> Option<usize> {
        let size = self.0.load(Ordering::Relaxed);
        (size <= BIG).then(|| (REPLY / (size + OVERHEAD)).clamp(1, MOST))
    }
}

impl Shared {
    pub(super) async fn peek(&self, paths: &[ZnodePath]) -> Result<Vec<Result<Peek, StoreError>>, StoreError> {
        let mut peeks = Vec::with_capacity(paths.len());
        let mut rest = paths;
        while !rest.is_empty() {
            // The first request of each call is small: the next directory may hold what the last did not.
            let first = peeks.is_empty();
            let (chunk, window) = match self.peek_size.chunk() {
                _ if first => (FIRST, 1),
                Some(chunk) => (chunk, WINDOW),
                None => (SINGLES, 1),
            };
            let with_data = first || self.peek_size.chunk().is_some();
            let (now, later) = rest.split_at(rest.len().min(chunk * window));
            rest = later;
            let chunks = now.chunks(chunk).map(|chunk| self.peek_chunk(chunk, with_data));
            for found in join_all(chunks).await {
                let found = found?;
                self.peek_size.learn(&found);
                peeks.extend(found);
            }
        }
        Ok(peeks)
    }

    async fn peek_chunk(
        &self,
        paths: &[ZnodePath],
        with_data: bool,
    ) -> Result<Vec<Result<Peek, StoreError>>, StoreError> {
        if !with_data {
            return self.peek_singly(paths).await;
        }
        let read = self.read(Asks::NewServer, |client| multi_read(client, paths.to_vec())).await;
        let mut peeks = match read {
            Err(StoreError::Unsupported(_)) => return self.peek_singly(paths).await,
            peeks => peeks?,
        };
        for (path, peek) in paths.iter().zip(&mut peeks) {
            match peek {
                Ok(peek) => drop(self.board.note(peek.stat)),
                Err(StoreError::NoAuth) => *peek = self.peek_one(path).await,
                Err(_) => {}
            }
        }
        Ok(peeks)
    }

    /// The Stat of what may not be read; old servers give it.
    async fn peek_one(&self, path: &ZnodePath) -> Result<Peek, StoreError> {
        self.exists(path).await.map(|stat| Peek { stat, data: None })
    }

    async fn peek_singly(&self, paths: &[ZnodePath]) -> Result<Vec<Result<Peek, StoreError>>, StoreError> {
        let peeks = join_all(paths.iter().map(|path| self.peek_one(path))).await;
        // Without a session none of them has an answer.
        let failed = peeks.iter().find_map(|peek| match peek {
            Err(error @ (StoreError::TimedOut | StoreError::Closed)) => Some(error.clone()),
            _ => None,
        });
        failed.map_or(Ok(peeks), Err)
    }
}

/// Sends one request for the data and Stats of many znodes.
pub fn multi_read(client: zk::Client, paths: Vec<ZnodePath>) -> Answer<Vec<Result<Peek, StoreError>>> {
    let peek = |result| match result {
        zk::MultiReadResult::Data { data, stat } => Ok(Peek { stat: wire::stat(&stat), data: Some(data.into()) }),
        zk::MultiReadResult::Error { err } => Err(wire::part_error(&err)),
        _ => Err(StoreError::Unexpected("another answer than was asked for".to_owned())),
    };
    Box::pin(async move {
        let mut reader = client.new_multi_reader();
        paths.iter().try_for_each(|path| reader.add_get_data(path.as_str()))?;
        let mut peeks: Vec<_> = reader.commit().await?.into_iter().map(peek).collect();
        let missing = || Err(StoreError::Unexpected("no answer to one of many reads".to_owned()));
        peeks.resize_with(paths.len(), missing);
        Ok(peeks)
    })
}
