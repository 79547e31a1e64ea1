//! Renames, links and removals.

use super::*;

#[tokio::test]
async fn a_file_is_renamed_with_its_content() {
    let [one, two] = Host::pair();
    one.write("a", "x").await.unwrap();
    one.rename("a", "b", RenameMode::Replace).await.unwrap();
    assert_eq!((two.read("b").await.unwrap(), two.look_up("a").await.unwrap_err()), ("x".to_owned(), Errno::ENOENT));
    one.write("c", "").await.unwrap();
    one.rename("c", "d", RenameMode::Replace).await.unwrap();
    assert_eq!(two.kind("/d").await, Kind::File, "an empty file stays a file");
}

#[tokio::test]
async fn a_file_that_is_replaced_keeps_its_znode() {
    let host = Host::new();
    host.write("new", "n").await.unwrap();
    host.write("old", "o").await.unwrap();
    let before = host.stat("/old").await.unwrap();
    host.rename("new", "old", RenameMode::Replace).await.unwrap();
    let after = host.stat("/old").await.unwrap();
    assert_eq!(
        (after.czxid, after.version, host.data("/old").await),
        (before.czxid, before.version + 1, "n".to_owned())
    );
    assert_eq!(host.stat("/new").await, None);
}

#[tokio::test]
async fn rename_modes() {
    let host = Host::new();
    host.write("a", "A").await.unwrap();
    host.write("b", "B").await.unwrap();
    assert_eq!(host.rename("a", "b", RenameMode::NoReplace).await, Err(Errno::EEXIST));
    assert_eq!(host.rename("a", "c", RenameMode::Exchange).await, Err(Errno::ENOENT));
    host.rename("a", "b", RenameMode::Exchange).await.unwrap();
    assert_eq!((host.data("/a").await, host.data("/b").await), ("B".to_owned(), "A".to_owned()));
    host.rename("a", "c", RenameMode::NoReplace).await.unwrap();
    assert_eq!(host.data("/c").await, "B");
}

#[tokio::test]
async fn kinds_must_agree() {
    let host = Host::new();
    host.write("f", "x").await.unwrap();
    host.mkdir("d").await.unwrap();
    host.mkdir("full").await.unwrap();
    host.write("full/x", "x").await.unwrap();
    assert_eq!(host.rename("f", "d", RenameMode::Replace).await, Err(Errno::EISDIR));
    assert_eq!(host.rename("d", "f", RenameMode::Replace).await, Err(Errno::ENOTDIR));
    assert_eq!(host.rename("d", "full", RenameMode::Replace).await, Err(Errno::ENOTEMPTY));
    assert_eq!(host.rename("full", "full/y", RenameMode::Replace).await, Err(Errno::EINVAL));
    host.rename("full", "d", RenameMode::Replace).await.unwrap();
    assert_eq!(host.read("d/x").await.unwrap(), "x");
}

#[tokio::test]
async fn a_directory_moves_whole_and_all_kinds_stay() {
    let [host, other] = Host::pair();
    host.mkdir("d").await.unwrap();
    host.mkdir("d/bare").await.unwrap();
    host.mkdir("d/data").await.unwrap();
    host.write("d/data/@data", "x").await.unwrap();
    host.write("d/empty", "").await.unwrap();
    for n in 0..50 {
        host.write(&format!("d/f{n}"), &n.to_string()).await.unwrap();
    }
    host.rename("d", "e", RenameMode::Replace).await.unwrap();
    assert_eq!(other.list("e").await.unwrap().len(), 53);
    for (name, kind) in
        [("/e", Kind::Directory), ("/e/bare", Kind::Directory), ("/e/data", Kind::Directory), ("/e/empty", Kind::File)]
    {
        assert_eq!(other.kind(name).await, kind, "{name}");
    }
    assert_eq!((other.read("e/f49").await.unwrap(), other.data("/e/data").await), ("49".to_owned(), "x".to_owned()));
    assert_eq!(other.stat("/d").await, None);
}

#[tokio::test]
async fn what_one_transaction_cannot_hold_is_left_to_mv() {
    let host = Host::new();
    host.mkdir("d").await.unwrap();
    for n in 0..3 {
        host.write(&format!("d/{n}"), &"x".repeat(500_000)).await.unwrap();
    }
    assert_eq!(host.rename("d", "e", RenameMode::Replace).await, Err(Errno::EXDEV));
    assert_eq!(host.list("d").await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_ephemeral_of_another_session_stays() {
    let [one, two] = Host::pair();
    let made = one.create("lock@e", NEW).await.unwrap();
    one.core.release(made.opened.fh).await;
    assert_eq!(two.rename("lock", "mine", RenameMode::Replace).await, Err(Errno::EPERM));
    one.rename("lock", "other", RenameMode::Replace).await.unwrap();
    assert!(one.stat("/other").await.unwrap().is_ephemeral());
    one.write("tmp", "me").await.unwrap();
    one.rename("tmp", "claim@e", RenameMode::Replace).await.unwrap();
    assert!(one.stat("/claim").await.unwrap().is_ephemeral());
    two.write("tmp", "you").await.unwrap();
    assert_eq!(two.rename("tmp", "claim@e", RenameMode::Replace).await, Err(Errno::EEXIST));
}

#[tokio::test]
async fn an_open_file_follows_its_name() {
    let host = Host::new();
    host.write("a", "x").await.unwrap();
    let fh = host.open("a", libc::O_RDWR).await.unwrap();
    let ino = host.look_up("a").await.unwrap().attributes.ino;
    host.core.read(fh, 0, 9).await.unwrap();
    host.rename("a", "b", RenameMode::Replace).await.unwrap();
    assert_eq!(&host.core.read(fh, 0, 9).await.unwrap()[..], b"x");
    host.put(fh, 0, "y").await.unwrap();
    assert_eq!(host.data("/b").await, "y");
    assert_eq!(host.core.getattr(ino).await.unwrap().attributes.size, 1);
    host.core.release(fh).await;
    host.write("c", "z").await.unwrap();
    let shut = host.look_up("c").await.unwrap().attributes.ino;
    host.rename("c", "d", RenameMode::Replace).await.unwrap();
    assert_eq!(host.core.getattr(shut).await.unwrap_err(), Errno::ESTALE, "the kernel looks the new name up");
}

#[tokio::test]
async fn a_link_is_an_exclusive_copy() {
    let [one, two] = Host::pair();
    one.write("tmp", "me").await.unwrap();
    two.write("tmp2", "you").await.unwrap();
    let link = async |host: &Host, from: &str, to: &str| {
        let ino = host.look_up(from).await.unwrap().attributes.ino;
        host.core.link(ino, Ino::ROOT, OsStr::new(to), CALLER).await
    };
    link(&one, "tmp", "lock@e").await.unwrap();
    assert_eq!(link(&two, "tmp2", "lock@e").await.unwrap_err(), Errno::EEXIST);
    assert_eq!(two.read("lock").await.unwrap(), "me");
    assert!(one.stat("/lock").await.unwrap().is_ephemeral());
    link(&one, "tmp", "copy").await.unwrap();
    one.write("tmp", "changed").await.unwrap();
    assert_eq!(two.read("copy").await.unwrap(), "me");
}

#[tokio::test]
async fn removal_takes_nothing_that_was_not_named() {
    let [one, two] = Host::pair();
    one.mkdir("d").await.unwrap();
    one.write("f", "x").await.unwrap();
    assert_eq!(one.unlink("d").await, Err(Errno::EISDIR));
    assert_eq!(one.rmdir("f").await, Err(Errno::ENOTDIR));
    two.write("d/late", "x").await.unwrap();
    assert_eq!(one.rmdir("d").await, Err(Errno::ENOTEMPTY));
    two.unlink("d/late").await.unwrap();
    one.rmdir("d").await.unwrap();
    assert_eq!(one.rmdir("d").await, Err(Errno::ENOENT));
    assert_eq!(one.unlink("f@stat").await, Err(Errno::EPERM));
}

#[tokio::test]
async fn zookeepers_own_znodes_are_not_touched() {
    let host = Host::new();
    assert_eq!(host.create("zookeeper", NEW).await.unwrap_err(), Errno::EROFS);
    let tree = MemoryTree::new();
    let chrooted = Host::on(&tree, Options { guard_system: false, ..Options::default() });
    chrooted.write("zookeeper", "x").await.unwrap();
}
