//! Reading, writing, truncating and appending.

use super::*;
use crate::fs::core::Wanted;
use crate::fs::core::write::WRITE_LIMIT;
use crate::fs::options::Commit;
use crate::session::memory::Fault;

#[tokio::test]
async fn an_empty_file_is_a_file_on_every_host() {
    let [one, two] = Host::pair();
    let made = one.create("f", NEW).await.unwrap();
    one.core.release(made.opened.fh).await;
    one.mkdir("d").await.unwrap();
    for host in [&one, &two] {
        assert_eq!((host.kind("/f").await, host.kind("/d").await), (Kind::File, Kind::Directory));
        assert_eq!(host.look_up("f").await.unwrap().attributes.kind, crate::fs::attributes::FileKind::File);
    }
    assert_eq!(one.stat("/f").await.unwrap().version, 1, "one create and one set");
}

#[tokio::test]
async fn a_redirection_is_one_set_although_flush_comes_first() {
    let host = Host::new();
    host.write("f", "old").await.unwrap();
    let before = host.stat("/f").await.unwrap();
    host.write("f", "new").await.unwrap();
    let after = host.stat("/f").await.unwrap();
    assert_eq!((host.data("/f").await, after.version), ("new".to_owned(), before.version + 1));
}

#[tokio::test]
async fn a_truncation_is_seen_here_at_once_and_committed_by_the_release() {
    let [host, other] = Host::pair();
    host.write("f", "old").await.unwrap();
    let fh = host.open("f", OVER).await.unwrap();
    assert_eq!(host.read("f").await.unwrap(), "");
    assert_eq!(host.look_up("f").await.unwrap().attributes.size, 0);
    assert_eq!(other.read("f").await.unwrap(), "old", "others never see it before");
    host.core.release(fh).await;
    assert_eq!(other.data("/f").await, "");
    assert_eq!(host.kind("/f").await, Kind::File);
}

#[tokio::test]
async fn an_append_after_a_truncation_is_not_wiped_by_its_release() {
    let host = Host::new();
    host.write("f", "old").await.unwrap();
    let truncated = host.open("f", OVER).await.unwrap();
    host.save("f", APPEND, "x").await.unwrap();
    host.core.release(truncated).await;
    assert_eq!(host.data("/f").await, "x");
}

#[tokio::test]
async fn pieces_are_put_together() {
    let host = Host::new();
    let fh = host.open("f", OVER).await.unwrap();
    host.put(fh, 0, "hello ").await.unwrap();
    host.put(fh, 6, "world").await.unwrap();
    host.put(fh, 13, "!").await.unwrap();
    host.core.release(fh).await;
    assert_eq!(host.data("/f").await, "hello world\0\0!");
}

#[tokio::test]
async fn a_write_based_on_an_older_version_is_refused() {
    let [one, two] = Host::pair();
    one.write("f", "first").await.unwrap();
    let fh = one.open("f", libc::O_RDWR).await.unwrap();
    one.core.read(fh, 0, 100).await.unwrap();
    two.write("f", "second").await.unwrap();
    assert_eq!(one.put(fh, 0, "F").await, Err(Errno::ESTALE));
    assert_eq!(one.data("/f").await, "second");
    one.core.read(fh, 0, 100).await.unwrap();
    one.put(fh, 0, "S").await.unwrap();
    assert_eq!(one.data("/f").await, "Second");
}

#[tokio::test]
async fn a_file_that_was_made_is_not_written_over_another_of_that_name() {
    let [one, two] = Host::pair();
    let mine = one.create("lock", NEW).await.unwrap();
    two.unlink("lock").await.unwrap();
    two.save("lock", NEW, "theirs").await.unwrap();
    assert_eq!(one.put(mine.opened.fh, 0, "mine").await, Err(Errno::ESTALE));
    one.core.release(mine.opened.fh).await;
    assert_eq!(two.data("/lock").await, "theirs");
}

#[tokio::test]
async fn appends_of_two_hosts_lose_and_double_nothing() {
    let [one, two] = Host::pair();
    one.write("log", "").await.unwrap();
    for n in 0..20 {
        let host = if n % 2 == 0 { &one } else { &two };
        let fh = host.open("log", APPEND).await.unwrap();
        host.put(fh, 9999, &format!("{n}\n")).await.unwrap();
        host.core.release(fh).await;
    }
    let lines: String = (0..20).map(|n| format!("{n}\n")).collect();
    assert_eq!(one.data("/log").await, lines);
}

#[tokio::test]
async fn a_pass_never_mixes_two_versions() {
    let [one, two] = Host::pair();
    one.write("f", "12345").await.unwrap();
    let fh = one.open("f", libc::O_RDONLY).await.unwrap();
    assert_eq!(&one.core.read(fh, 0, 3).await.unwrap()[..], b"123");
    two.write("f", "abcdefgh").await.unwrap();
    assert_eq!(&one.core.read(fh, 3, 3).await.unwrap()[..], b"45");
    assert_eq!(&one.core.read(fh, 5, 3).await.unwrap()[..], b"", "less than was asked for is not the end");
    assert_eq!(&one.core.read(fh, 5, 3).await.unwrap()[..], b"fgh", "the end was told: what came since");
    assert_eq!(&one.core.read(fh, 0, 99).await.unwrap()[..], b"abcdefgh");
    two.write("f", "abcdefghi").await.unwrap();
    assert_eq!(&one.core.read(fh, 8, 99).await.unwrap()[..], b"");
    assert_eq!(&one.core.read(fh, 8, 99).await.unwrap()[..], b"i");
}

#[tokio::test]
async fn what_is_too_large_changes_nothing() {
    let host = Host::new();
    host.write("f", "old").await.unwrap();
    let fh = host.open("f", OVER).await.unwrap();
    let big = "x".repeat(WRITE_LIMIT + 1);
    assert_eq!(host.put(fh, 0, &big).await, Err(Errno::EFBIG));
    assert_eq!(host.put(fh, u64::MAX, "x").await, Err(Errno::EFBIG));
    host.core.release(fh).await;
    assert_eq!(host.data("/f").await, "old");
    let fh = host.open("f", OVER).await.unwrap();
    let ino = host.look_up("f").await.unwrap().attributes.ino;
    let huge = Wanted { size: Some(2 << 20), ..Wanted::default() };
    assert_eq!(host.core.setattr(ino, Some(fh), huge).await.unwrap_err(), Errno::EFBIG);
    host.core.release(fh).await;
    assert_eq!(host.data("/f").await, "old", "nor does a length that fails");
    host.write("f", &"y".repeat(WRITE_LIMIT)).await.unwrap();
    assert_eq!(host.save("f", APPEND, "z").await, Err(Errno::EFBIG));
    assert_eq!(host.look_up("f").await.unwrap().attributes.size, WRITE_LIMIT as u64);
}

#[tokio::test]
async fn an_unknown_outcome_is_an_error() {
    let host = Host::new();
    host.write("f", "old").await.unwrap();
    let fh = host.open("f", libc::O_WRONLY).await.unwrap();
    host.store().lose_next_reply(Fault::Applied);
    assert_eq!(host.put(fh, 0, "new").await, Err(Errno::EIO));
    host.store().lose_next_reply(Fault::NotApplied);
    assert_eq!(host.create("g", NEW).await.unwrap_err(), Errno::EIO);
}

#[tokio::test]
async fn one_transaction_a_save_on_request() {
    let host = Host::on(&MemoryTree::new(), Options { commit: Commit::Close, ..Options::default() });
    host.write("f", "old").await.unwrap();
    let before = host.stat("/f").await.unwrap().version;
    let fh = host.open("f", OVER).await.unwrap();
    host.core.flush(fh, CALLER).await.unwrap();
    host.put(fh, 0, "ne").await.unwrap();
    host.put(fh, 2, "w").await.unwrap();
    assert_eq!(host.data("/f").await, "old");
    host.core.flush(fh, CALLER).await.unwrap();
    assert_eq!(host.data("/f").await, "new");
    host.core.release(fh).await;
    assert_eq!(host.stat("/f").await.unwrap().version, before + 1);
}

#[tokio::test]
async fn truncate_and_extend() {
    let host = Host::new();
    host.write("f", "hello").await.unwrap();
    let ino = host.look_up("f").await.unwrap().attributes.ino;
    let sized = |size| Wanted { size: Some(size), ..Wanted::default() };
    assert_eq!(host.core.setattr(ino, None, sized(2)).await.unwrap().attributes.size, 2);
    assert_eq!(host.core.setattr(ino, None, sized(4)).await.unwrap().attributes.size, 4);
    assert_eq!(host.data("/f").await, "he\0\0");
    assert_eq!(host.core.setattr(ino, None, sized(1 << 40)).await.unwrap_err(), Errno::EFBIG);
    let fh = host.open("f", libc::O_RDWR).await.unwrap();
    host.core.setattr(ino, Some(fh), sized(0)).await.unwrap();
    assert_eq!(host.data("/f").await, "he\0\0", "marked only");
    host.put(fh, 0, "new").await.unwrap();
    assert_eq!(host.data("/f").await, "new");
    host.core.setattr(ino, Some(fh), sized(1)).await.unwrap();
    assert_eq!(host.data("/f").await, "n");
    host.core.release(fh).await;
}

#[tokio::test]
async fn touch_is_a_heartbeat_and_other_attributes_are_ignored() {
    let host = Host::new();
    host.write("f", "x").await.unwrap();
    let before = host.stat("/f").await.unwrap().version;
    let ino = host.look_up("f").await.unwrap().attributes.ino;
    host.core.setattr(ino, None, Wanted { touch: true, ..Wanted::default() }).await.unwrap();
    assert_eq!(host.stat("/f").await.unwrap().version, before + 1);
    let ignored = Wanted { mode_or_owner: true, explicit_time: true, ..Wanted::default() };
    host.core.setattr(ino, None, ignored).await.unwrap();
    assert_eq!(host.stat("/f").await.unwrap().version, before + 1);
    let made = host.create("g", NEW).await.unwrap();
    let ino = made.entry.attributes.ino;
    host.core.setattr(ino, None, Wanted { touch: true, ..Wanted::default() }).await.unwrap();
    assert_eq!(host.stat("/g").await.unwrap().version, 1, "touch of a new file only makes it");
    let tree = MemoryTree::new();
    let strict = Host::on(&tree, Options { strict: true, ..Options::default() });
    strict.write("f", "x").await.unwrap();
    let ino = strict.look_up("f").await.unwrap().attributes.ino;
    assert_eq!(strict.core.setattr(ino, None, ignored).await.unwrap_err(), Errno::EPERM);
}

#[tokio::test]
async fn an_open_file_outlives_its_name() {
    let host = Host::new();
    host.write("f", "x").await.unwrap();
    let entry = host.look_up("f").await.unwrap();
    let fh = host.open("f", libc::O_RDONLY).await.unwrap();
    assert_eq!(&host.core.read(fh, 0, 9).await.unwrap()[..], b"x");
    host.unlink("f").await.unwrap();
    assert_eq!(&host.core.read(fh, 0, 9).await.unwrap()[..], b"x");
    assert_eq!(host.core.getattr(entry.attributes.ino).await.unwrap().attributes.nlink, 0);
    host.core.release(fh).await;
    assert_eq!(host.core.getattr(entry.attributes.ino).await.unwrap_err(), Errno::ESTALE);
}

#[tokio::test]
async fn the_handle_of_a_lost_ephemeral_is_poisoned() {
    let host = Host::new();
    let made = host.create("lock@e", NEW).await.unwrap();
    host.put(made.opened.fh, 0, "me").await.unwrap();
    host.store().expire();
    assert_eq!(host.put(made.opened.fh, 0, "me").await, Err(Errno::EIO));
    assert_eq!(host.core.read(made.opened.fh, 0, 9).await, Err(Errno::EIO));
    host.core.release(made.opened.fh).await;
    assert_eq!(host.stat("/lock").await, None);
}

#[tokio::test]
async fn a_held_file_goes_with_its_handle() {
    let [one, two] = Host::pair();
    let held = one.create("lock@h", NEW).await.unwrap();
    one.put(held.opened.fh, 0, "me").await.unwrap();
    assert_eq!(two.create("lock@h", NEW).await.unwrap_err(), Errno::EEXIST);
    let reader = one.open("lock", libc::O_RDONLY).await.unwrap();
    one.core.release(reader).await;
    assert!(two.stat("/lock").await.is_some());
    one.core.release(held.opened.fh).await;
    assert_eq!(two.stat("/lock").await, None);
}

#[tokio::test]
async fn a_read_only_mount_changes_nothing() {
    let tree = MemoryTree::new();
    let writer = Host::on(&tree, Options::default());
    writer.write("f", "x").await.unwrap();
    writer.mkdir("d").await.unwrap();
    let host = Host::on(&tree, Options { read_only: true, ..Options::default() });
    assert_eq!(host.read("f").await.unwrap(), "x");
    assert_eq!(host.write("f", "y").await, Err(Errno::EROFS));
    assert_eq!(host.create("g", NEW).await.unwrap_err(), Errno::EROFS);
    assert_eq!(host.mkdir("e").await.unwrap_err(), Errno::EROFS);
    assert_eq!(host.unlink("f").await, Err(Errno::EROFS));
    assert_eq!(host.rmdir("d").await, Err(Errno::EROFS));
    assert_eq!(host.rename("f", "g", RenameMode::Replace).await, Err(Errno::EROFS));
    assert_eq!(host.list("").await.unwrap(), ["d", "f"]);
}
