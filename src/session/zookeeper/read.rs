//! Reads. One that fails with its connection is sent again on the next, until the deadline.

use bytes::Bytes;
use zookeeper_client as zk;

use super::link::{Answer, Asks, Reply};
use super::{Shared, wire};
use crate::mapping::{Acl, Stat, ZnodePath};
use crate::session::StoreError;

impl Shared {
    /// Reads what can be read again. Whatever happened before the answer has been told to the sink when it returns.
    pub(super) async fn read<T>(&self, asks: Asks, send: impl Fn(zk::Client) -> Answer<T>) -> Result<T, StoreError> {
        let deadline = Some(self.deadline());
        let mut after = 0;
        loop {
            let link = self.board.connected(deadline, after).await?;
            match link.request(deadline, asks, &send).await {
                Reply::Done(value) => {
                    self.board.drain();
                    return Ok(value);
                }
                Reply::Refused(error) => {
                    self.board.drain();
                    return Err(error);
                }
                Reply::NotSent | Reply::Lost => after = link.number,
                Reply::Late => return Err(StoreError::TimedOut),
            }
        }
    }

    fn stat(&self, stat: &zk::Stat) -> Stat {
        self.board.note(wire::stat(stat))
    }

    pub(super) async fn exists(&self, path: &ZnodePath) -> Result<Stat, StoreError> {
        let stat = self.read(Asks::Server, |client| Box::pin(client.check_stat(path.as_str()))).await?;
        stat.map(|stat| self.stat(&stat)).ok_or(StoreError::NoNode)
    }

    pub(super) async fn get(&self, path: &ZnodePath) -> Result<(Bytes, Stat), StoreError> {
        let (data, stat) = self.read(Asks::Server, |client| Box::pin(client.get_data(path.as_str()))).await?;
        Ok((data.into(), self.stat(&stat)))
    }

    pub(super) async fn children(&self, path: &ZnodePath) -> Result<(Vec<String>, Stat), StoreError> {
        let (names, stat) = self.read(Asks::Server, |client| Box::pin(client.get_children(path.as_str()))).await?;
        Ok((names, self.stat(&stat)))
    }

    pub(super) async fn get_acl(&self, path: &ZnodePath) -> Result<(Vec<Acl>, Stat), StoreError> {
        let send = |client: zk::Client| -> Answer<_> {
            let path = path.clone();
            Box::pin(async move { client.get_acl(path.as_str()).await })
        };
        let (acl, stat) = self.read(Asks::Server, send).await?;
        Ok((wire::acl_from_wire(&acl), self.stat(&stat)))
    }

    pub(super) async fn sync(&self, path: &ZnodePath) -> Result<(), StoreError> {
        let send = |client: zk::Client| -> Answer<_> {
            let path = path.clone();
            Box::pin(async move { client.sync(path.as_str()).await })
        };
        self.read(Asks::Leader, send).await
    }
}
