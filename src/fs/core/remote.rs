//! Reads of the tree through the cache.

use std::sync::Arc;

use bytes::Bytes;

use super::{Core, Result};
use crate::error::Errno;
use crate::fs::cache::{Found, Fresh};
use crate::mapping::{Stat, ZnodePath};
use crate::session::{Peek, Store, StoreError};

impl<S: Store> Core<S> {
    /// The Stat of a znode.
    pub(super) async fn stat(&self, path: &ZnodePath) -> Result<Stat> {
        match self.changes.cache.stat(path) {
            Found::Hit(stat) => Ok(stat),
            Found::Absent => Err(Errno::ENOENT),
            Found::Miss => self.fresh_stat(path).await,
        }
    }

    /// The Stat of a znode, from the store.
    pub(super) async fn fresh_stat(&self, path: &ZnodePath) -> Result<Stat> {
        let cache = &self.changes.cache;
        let ticket = cache.ticket();
        match self.remote(path).exists(path).await {
            Ok(stat) => {
                cache.put(ticket, path, 0, Fresh::Stat(stat));
                self.changes.answered(path, &stat);
                Ok(stat)
            }
            Err(error) => Err(self.failed(ticket, path, error)),
        }
    }

    /// The data and Stat of a znode.
    pub(super) async fn read_znode(&self, path: &ZnodePath) -> Result<(Bytes, Stat)> {
        match self.changes.cache.data(path) {
            Found::Hit(found) => Ok(found),
            Found::Absent => Err(Errno::ENOENT),
            Found::Miss => self.fresh_data(path).await,
        }
    }

    /// The data and Stat of a znode, from the store.
    pub(super) async fn fresh_data(&self, path: &ZnodePath) -> Result<(Bytes, Stat)> {
        let cache = &self.changes.cache;
        let ticket = cache.ticket();
        match self.remote(path).get(path).await {
            Ok((data, stat)) => {
                cache.put(ticket, path, 0, Fresh::Data(data.clone(), stat));
                self.changes.answered(path, &stat);
                Ok((data, stat))
            }
            Err(error) => Err(self.failed(ticket, path, error)),
        }
    }

    /// The names of a znode's children, sorted.
    pub(in crate::fs) async fn children(&self, path: &ZnodePath) -> Result<Arc<Vec<String>>> {
        match self.changes.cache.children(path) {
            Found::Hit(names) => return Ok(names),
            Found::Absent => return Err(Errno::ENOENT),
            Found::Miss => {}
        }
        let cache = &self.changes.cache;
        let ticket = cache.ticket();
        match self.remote(path).children(path).await {
            Ok((mut names, stat)) => {
                names.sort_unstable();
                let names = Arc::new(names);
                cache.put(ticket, path, 0, Fresh::Children(names.clone(), stat));
                self.changes.answered(path, &stat);
                Ok(names)
            }
            Err(error) => Err(self.failed(ticket, path, error)),
        }
    }

    /// The Stats of many znodes, in their order.
    pub(in crate::fs) async fn peek(&self, paths: &[ZnodePath]) -> Result<Vec<std::result::Result<Stat, StoreError>>> {
        let cache = &self.changes.cache;
        let known: Vec<Found<Stat>> = paths.iter().map(|path| cache.stat(path)).collect();
        let missing = paths.iter().zip(&known).filter(|(_, found)| **found == Found::Miss);
        let missing: Vec<ZnodePath> = missing.map(|(path, _)| path.clone()).collect();
        let mut asked = Vec::new().into_iter();
        if let Some(first) = missing.first() {
            let ticket = cache.ticket();
            let peeks = self.remote(first).peek(&missing).await?;
            for (path, peek) in missing.iter().zip(&peeks) {
                if let Ok(Peek { stat, .. }) = peek {
                    self.changes.answered(path, stat);
                }
                match peek {
                    Ok(Peek { stat, data: Some(data) }) => cache.put(ticket, path, 0, Fresh::Data(data.clone(), *stat)),
                    Ok(Peek { stat, data: None }) => cache.put(ticket, path, 0, Fresh::Stat(*stat)),
                    Err(StoreError::NoNode) => cache.put(ticket, path, 0, Fresh::Absent),
                    Err(_) => {}
                }
            }
            asked = peeks.into_iter();
        }
        let stats = known.into_iter().map(|found| match found {
            Found::Hit(stat) => Ok(stat),
            Found::Absent => Err(StoreError::NoNode),
            Found::Miss => match asked.next() {
                Some(peek) => peek.map(|peek| peek.stat),
                None => Err(StoreError::Unexpected("a bulk read without an answer for each znode".to_owned())),
            },
        });
        Ok(stats.collect())
    }

    /// Keeps what a failed read tells: that there is no such znode. A denial is never kept as absence.
    fn failed(&self, ticket: crate::fs::cache::Ticket, path: &ZnodePath, error: StoreError) -> Errno {
        if error == StoreError::NoNode {
            self.changes.cache.put(ticket, path, 0, Fresh::Absent);
        }
        Errno::from(error)
    }
}
