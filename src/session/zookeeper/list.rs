//! The children of many znodes in few round trips.

use zookeeper_client as zk;

use super::link::{Answer, Asks};
use super::{Shared, wire};
use crate::mapping::ZnodePath;
use crate::session::StoreError;
use crate::session::store::Listings;

/// The most znodes in one request. Whoever asks for many knows that they have few children each.
const MOST: usize = 256;

impl Shared {
    pub(super) async fn list_many(&self, paths: &[ZnodePath]) -> Result<Listings, StoreError> {
        let mut lists = Vec::with_capacity(paths.len());
        for chunk in paths.chunks(MOST) {
            lists.extend(self.list_chunk(chunk).await?);
        }
        Ok(lists)
    }

    async fn list_chunk(&self, paths: &[ZnodePath]) -> Result<Listings, StoreError> {
        let send = |client: zk::Client| -> Answer<Vec<zk::MultiReadResult>> {
            let paths: Vec<ZnodePath> = paths.to_vec();
            Box::pin(async move {
                let mut reader = client.new_multi_reader();
                paths.iter().try_for_each(|path| reader.add_get_children(path.as_str()))?;
                reader.commit().await
            })
        };
        let results = match self.read(Asks::NewServer, send).await {
            Err(StoreError::Unsupported(_)) => return self.list_singly(paths).await,
            results => results?,
        };
        if results.len() != paths.len() {
            return Err(StoreError::Unexpected(format!("{} answers to {} reads", results.len(), paths.len())));
        }
        let list = |result| match result {
            zk::MultiReadResult::Children { children } => Ok(children),
            zk::MultiReadResult::Error { err } => Err(wire::part_error(&err)),
            _ => Err(StoreError::Unexpected("another answer than was asked for".to_owned())),
        };
        Ok(results.into_iter().map(list).collect())
    }

    /// For servers without multi-reads.
    async fn list_singly(&self, paths: &[ZnodePath]) -> Result<Listings, StoreError> {
        let mut lists = Vec::with_capacity(paths.len());
        for path in paths {
            lists.push(self.children(path).await.map(|(names, _)| names));
        }
        Ok(lists)
    }
}
