//! How old what the kernel is told may be.

use std::time::Duration;

use super::super::DirItem;
use super::*;

fn named<'a>(items: &'a [DirItem], name: &str) -> &'a DirItem {
    items.iter().find(|item| item.name == name).unwrap()
}

#[tokio::test]
async fn what_the_kernel_does_not_know_yet_it_asks_for_once_more() {
    let host = Host::new();
    host.foreign("/f", "1").await;
    let first = host.look_up("f").await.unwrap();
    assert_eq!(first.ttl, Duration::ZERO, "a change that is announced now makes nothing old in the kernel");
    assert!(host.look_up("f").await.unwrap().ttl > Duration::ZERO);
    host.core.forget(first.attributes.ino, 2);
    assert_eq!(host.look_up("f").await.unwrap().ttl, Duration::ZERO);
}

#[tokio::test]
async fn a_listing_under_way_tells_no_old_attributes() {
    let [one, two] = Host::pair();
    for name in ["/d", "/d/a", "/d/b", "/d/c"] {
        two.foreign(name, "1").await;
    }
    let dir = one.look_up("d").await.unwrap().attributes.ino;
    let fh = one.core.opendir(dir).unwrap();
    let items = one.core.readdir(dir, fh, 0).await.unwrap();
    two.write("d/a", "longer").await.unwrap();
    two.write("d/b", "longer").await.unwrap();
    // It has been looked at since, and so is known.
    assert_eq!(one.look_up("d/a").await.unwrap().attributes.size, 6);
    let entry = one.core.entry_of(named(&items, "a")).unwrap();
    assert_eq!((entry.attributes.size, entry.ttl), (6, Duration::ZERO));
    let entry = one.core.entry_of(named(&items, "b")).unwrap();
    assert_eq!(entry.ttl, Duration::ZERO, "it is to be asked for");
    let entry = one.core.entry_of(named(&items, "c")).unwrap();
    assert_eq!(entry.attributes.size, 1);
    assert!(entry.ttl > Duration::ZERO, "nothing has happened to it");
}
