//! From the client library's types to the store's, and what its errors say.

use zookeeper_client as zk;

use crate::mapping::{Acl, Permissions, SessionId, Stat, Zxid};
use crate::session::{CreateMode, StoreError};

/// What an error says about the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The server refused it. Nothing was changed.
    Refused(StoreError),
    /// It was not sent: the library refused it.
    NotSent(StoreError),
    /// The connection failed under it, so it may have been applied.
    Lost,
}

/// Tells what an error says.
///
/// The library reports a connection lost under a request in several ways, most of them as an error of the socket.
pub fn failure(error: &zk::Error) -> Failure {
    let refused = match error {
        zk::Error::NoNode => StoreError::NoNode,
        zk::Error::NoAuth => StoreError::NoAuth,
        zk::Error::BadVersion => StoreError::BadVersion,
        zk::Error::NoChildrenForEphemerals => StoreError::NoChildrenForEphemerals,
        zk::Error::NodeExists => StoreError::NodeExists,
        zk::Error::NotEmpty => StoreError::NotEmpty,
        zk::Error::QuotaExceeded => StoreError::QuotaExceeded,
        zk::Error::NotReadOnly => StoreError::ReadOnly,
        zk::Error::MarshallingError => StoreError::BadArguments("the server could not read the request".to_owned()),
        zk::Error::Unimplemented => StoreError::Unsupported("it does not know the operation"),
        zk::Error::Throttled
        | zk::Error::UnexpectedErrorCode(_)
        | zk::Error::ReconfigDisabled
        | zk::Error::NoWatcher => StoreError::Unexpected(error.to_string()),
        // Both come from the library's own checks too, so they prove no contact with a server.
        zk::Error::InvalidAcl => return Failure::NotSent(StoreError::InvalidAcl),
        zk::Error::BadArguments(what) => return Failure::NotSent(StoreError::BadArguments((**what).to_owned())),
        _ => return Failure::Lost,
    };
    Failure::Refused(refused)
}

/// The error of one operation of a transaction, or of one read among many.
pub fn part_error(error: &zk::Error) -> StoreError {
    match failure(error) {
        Failure::Refused(error) | Failure::NotSent(error) => error,
        Failure::Lost => StoreError::Unexpected(error.to_string()),
    }
}

pub fn stat(stat: &zk::Stat) -> Stat {
    Stat {
        czxid: Zxid(stat.czxid),
        mzxid: Zxid(stat.mzxid),
        pzxid: Zxid(stat.pzxid),
        ctime: stat.ctime,
        mtime: stat.mtime,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: SessionId(stat.ephemeral_owner),
        data_length: stat.data_length,
        num_children: stat.num_children,
    }
}

pub fn acl_to_wire(list: &[Acl]) -> Vec<zk::Acl> {
    let permission = |bits: i32| {
        let all = [
            zk::Permission::READ,
            zk::Permission::WRITE,
            zk::Permission::CREATE,
            zk::Permission::DELETE,
            zk::Permission::ADMIN,
        ];
        let set = all.into_iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
        set.fold(zk::Permission::NONE, |sum, (_, permission)| sum | permission)
    };
    let entry = |acl: &Acl| zk::Acl::new(permission(acl.permissions.0), zk::AuthId::new(&acl.scheme, &acl.id));
    list.iter().map(entry).collect()
}

pub fn acl_from_wire(list: &[zk::Acl]) -> Vec<Acl> {
    let bits = |permission: zk::Permission| {
        let all = [
            zk::Permission::READ,
            zk::Permission::WRITE,
            zk::Permission::CREATE,
            zk::Permission::DELETE,
            zk::Permission::ADMIN,
        ];
        let set = all.into_iter().enumerate().filter(|(_, one)| permission.has(*one));
        set.fold(0, |sum, (bit, _)| sum | (1 << bit))
    };
    let entry = |acl: &zk::Acl| Acl {
        permissions: Permissions(bits(acl.permission())),
        scheme: acl.scheme().to_owned(),
        id: acl.id().to_owned(),
    };
    list.iter().map(entry).collect()
}

/// How the library makes a znode of this kind with this ACL.
pub fn create_options(mode: CreateMode, acl: &[zk::Acl]) -> zk::CreateOptions<'_> {
    let acls = zk::Acls::new(acl);
    match mode {
        CreateMode::Persistent => zk::CreateMode::Persistent.with_acls(acls),
        CreateMode::PersistentSequential => zk::CreateMode::PersistentSequential.with_acls(acls),
        CreateMode::Ephemeral => zk::CreateMode::Ephemeral.with_acls(acls),
        CreateMode::EphemeralSequential => zk::CreateMode::EphemeralSequential.with_acls(acls),
        CreateMode::Container => zk::CreateMode::Container.with_acls(acls),
        CreateMode::Ttl(ttl) => zk::CreateMode::Persistent.with_acls(acls).with_ttl(ttl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acls_survive_the_way_there_and_back() {
        for text in ["world:anyone:cdrwa", "digest:bob:x=:r\nip:10.0.0.1:cd", "auth::wa", "world:anyone:"] {
            let list = Acl::parse_list(text).unwrap();
            assert_eq!(acl_from_wire(&acl_to_wire(&list)), list);
        }
    }

    #[test]
    fn a_failed_connection_is_no_refusal() {
        for error in [zk::Error::ConnectionLoss, zk::Error::ClientClosed, zk::Error::SessionExpired, zk::Error::Timeout]
        {
            assert_eq!(failure(&error), Failure::Lost, "{error}");
        }
        assert_eq!(failure(&zk::Error::NodeExists), Failure::Refused(StoreError::NodeExists));
    }
}
