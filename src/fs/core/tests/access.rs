//! What may not be looked at.

use bytes::Bytes;

use super::*;
use crate::mapping::Acl;
use crate::session::memory::{Identity, MemorySettings};

#[tokio::test]
async fn what_has_no_stat_for_us_is_listed() {
    // > A znode whose Stat may not be read is listed as a file of mode 000 and size 0.
    let tree = MemoryTree::new();
    let changes = Changes::new(1 << 20);
    // As servers from 3.9 on do it.
    let settings = MemorySettings { private_stats: true, ..MemorySettings::default() };
    let store = tree.session_with(changes.clone(), settings.clone());
    let host = Host { core: Core::new(Arc::new(store), changes, Options::default()) };
    let ann = Identity { scheme: "digest".to_owned(), id: "ann:x".to_owned() };
    let owner = tree.session_with(Arc::new(()), MemorySettings { identities: vec![ann], ..settings });
    let acl = Some(Acl::parse_list("digest:ann:x:cdrwa").unwrap());
    for at in ["/d", "/d/closed", "/d/open"] {
        let acl = if at == "/d/closed" { acl.clone() } else { None };
        let data = Bytes::from_static(b"data");
        owner.create(&Creation { path: path(at), data, mode: CreateMode::Persistent, acl }).await.unwrap();
    }
    assert_eq!(host.list("d").await.unwrap(), ["closed", "open"]);
    let entry = host.look_up("d/closed").await.unwrap();
    assert_eq!((entry.attributes.mode & 0o7777, entry.attributes.size), (0, 0));
    let attr = host.core.getattr(entry.attributes.ino).await.unwrap();
    assert_eq!((attr.attributes.mode & 0o7777, attr.attributes.size), (0, 0));
    assert_eq!(host.read("d/closed").await, Err(Errno::EACCES));
    assert_eq!(host.read("d/open").await.unwrap(), "data");
    owner.set_acl(&path("/d/closed"), &Acl::open(), None).await.unwrap();
    assert_eq!(host.read("d/closed").await.unwrap(), "data");
}
