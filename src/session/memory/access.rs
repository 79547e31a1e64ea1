//! Access control lists as the server takes and enforces them.

use crate::mapping::Acl;
use crate::session::StoreError;

/// What a session has authenticated as.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The scheme, such as `digest`.
    pub scheme: String,
    /// The identity in that scheme, such as `user:hash`.
    pub id: String,
}

/// What an operation needs, as ZooKeeper's bits.
#[derive(Debug, Clone, Copy)]
pub struct Need(i32);

impl Need {
    pub const READ: Need = Need(1);
    pub const WRITE: Need = Need(2);
    pub const CREATE: Need = Need(4);
    pub const DELETE: Need = Need(8);
    pub const ADMIN: Need = Need(16);
    /// To see an ACL, either is enough.
    pub const READ_OR_ADMIN: Need = Need(17);
}

/// Tells whether an ACL gives the identities one of the needed permissions.
pub fn is_granted(acl: &[Acl], need: Need, identities: &[Identity]) -> bool {
    acl.is_empty()
        || acl.iter().filter(|entry| entry.permissions.0 & need.0 != 0).any(|entry| {
            is_world(entry) || identities.iter().any(|known| known.scheme == entry.scheme && known.id == entry.id)
        })
}

/// # Errors
/// [`StoreError::NoAuth`] when the ACL does not give the identities one of the needed permissions.
pub fn check(acl: &[Acl], need: Need, identities: &[Identity]) -> Result<(), StoreError> {
    if is_granted(acl, need, identities) { Ok(()) } else { Err(StoreError::NoAuth) }
}

/// The ACL that a znode gets when a client asks for this one: `auth` stands for the client's own identities.
///
/// # Errors
/// [`StoreError::InvalidAcl`] for what the server refuses.
pub fn fix(acl: &[Acl], identities: &[Identity]) -> Result<Vec<Acl>, StoreError> {
    let mut fixed: Vec<Acl> = Vec::with_capacity(acl.len());
    let mut add = |entry: Acl| {
        if !fixed.contains(&entry) {
            fixed.push(entry);
        }
    };
    for entry in acl {
        match entry.scheme.as_str() {
            "world" if entry.id == "anyone" => add(entry.clone()),
            "auth" if !identities.is_empty() => identities.iter().for_each(|known| {
                add(Acl { permissions: entry.permissions, scheme: known.scheme.clone(), id: known.id.clone() });
            }),
            "digest" if entry.id.split(':').count() == 2 => add(entry.clone()),
            "ip" if is_address(&entry.id) => add(entry.clone()),
            _ => return Err(StoreError::InvalidAcl),
        }
    }
    if fixed.is_empty() { Err(StoreError::InvalidAcl) } else { Ok(fixed) }
}

/// The ACL as the server shows it to who may read but not administer the znode: without the digests.
pub fn shown(acl: &[Acl], identities: &[Identity]) -> Vec<Acl> {
    let hide = !is_granted(acl, Need::ADMIN, identities);
    let show = |entry: &Acl| match entry.id.split_once(':') {
        Some((user, _)) if hide && entry.scheme == "digest" => Acl { id: format!("{user}:x"), ..entry.clone() },
        _ => entry.clone(),
    };
    acl.iter().map(show).collect()
}

fn is_world(entry: &Acl) -> bool {
    entry.scheme == "world" && entry.id == "anyone"
}

/// An address, or a network with the length of its prefix.
fn is_address(id: &str) -> bool {
    let (address, bits) = id.split_once('/').unwrap_or((id, "0"));
    address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| bits.parse::<u8>().is_ok_and(|bits| bits <= if address.is_ipv4() { 32 } else { 128 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bob() -> Vec<Identity> {
        vec![Identity { scheme: "digest".to_owned(), id: "bob:x=".to_owned() }]
    }

    #[test]
    fn the_creator_stands_for_all_its_identities() {
        assert_eq!(fix(&Acl::creator(), &[]), Err(StoreError::InvalidAcl));
        let fixed = fix(&Acl::creator(), &bob()).unwrap();
        assert_eq!(fixed[0].to_string(), "digest:bob:x=:cdrwa");
        assert!(is_granted(&fixed, Need::WRITE, &bob()) && !is_granted(&fixed, Need::READ, &[]));
    }

    #[test]
    fn what_the_server_refuses() {
        for text in ["nobody:a:r", "world:all:r", "digest:bob:r", "ip:300.1.1.1:r", "ip:10.0.0.0/33:r"] {
            assert_eq!(fix(&Acl::parse_list(text).unwrap(), &bob()), Err(StoreError::InvalidAcl), "{text}");
        }
        assert!(fix(&Acl::parse_list("ip:10.0.0.0/8:r").unwrap(), &[]).is_ok());
        assert_eq!(fix(&[], &[]), Err(StoreError::InvalidAcl));
    }

    #[test]
    fn digests_are_shown_to_administrators_only() {
        let acl = Acl::parse_list("world:anyone:r,digest:bob:x=:cdrwa").unwrap();
        assert_eq!(shown(&acl, &[])[1].id, "bob:x");
        assert_eq!(shown(&acl, &bob())[1].id, "bob:x=");
    }
}
