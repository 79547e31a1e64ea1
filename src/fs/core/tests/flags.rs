//! Creation flags: sequential files, their drafts and tags.

use super::*;

async fn readlink(host: &Host, at: &str) -> String {
    let entry = host.look_up(at).await.unwrap();
    assert_eq!(entry.attributes.kind, crate::fs::attributes::FileKind::Link);
    String::from_utf8(host.core.readlink(entry.attributes.ino).unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn a_sequential_file_is_made_by_its_first_write_with_the_data() {
    let [host, other] = Host::pair();
    let fh = host.open("item-@s", OVER).await.unwrap();
    host.core.flush(fh, CALLER).await.unwrap();
    assert_eq!(other.list("").await.unwrap(), Vec::<String>::new(), "not before");
    host.put(fh, 0, "job").await.unwrap();
    assert_eq!(other.data("/item-0000000000").await, "job");
    host.put(fh, 3, "!").await.unwrap();
    host.core.release(fh).await;
    assert_eq!(other.data("/item-0000000000").await, "job!");
    host.write("item-@s", "next").await.unwrap();
    assert_eq!(other.list("").await.unwrap(), ["item-0000000000", "item-0000000001"]);
}

#[tokio::test]
async fn a_release_makes_what_was_never_written() {
    let host = Host::new();
    let fh = host.open("item-@s", OVER).await.unwrap();
    host.core.release(fh).await;
    assert_eq!(host.kind("/item-0000000000").await, Kind::File);
    let fh = host.open("item-@s", OVER).await.unwrap();
    assert_eq!(host.put(fh, 0, &"x".repeat(2 << 20)).await, Err(Errno::EFBIG));
    host.core.release(fh).await;
    assert_eq!(host.list("").await.unwrap().len(), 1, "what failed is not made");
}

#[tokio::test]
async fn a_tag_is_a_link_to_the_assigned_name() {
    let host = Host::new();
    host.mkdir("election").await.unwrap();
    host.write("election/n-@es:42", "me").await.unwrap();
    assert_eq!(readlink(&host, "election/n-@es:42").await, "n-0000000000");
    assert!(host.stat("/election/n-0000000000").await.unwrap().is_ephemeral());
    assert_eq!(host.look_up("election/n-@es:43").await.unwrap_err(), Errno::ENOENT);
    assert_eq!(host.create("election/n-@es:42", NEW).await.unwrap_err(), Errno::EEXIST);
    host.unlink("election/n-@es:42").await.unwrap();
    assert_eq!(host.list("election").await.unwrap(), Vec::<String>::new());
    assert_eq!(host.look_up("election/n-@es:42").await.unwrap_err(), Errno::ENOENT);
    host.write("election/n-@es:42", "again").await.unwrap();
    assert_eq!(readlink(&host, "election/n-@es:42").await, "n-0000000001");
}

#[tokio::test]
async fn a_look_at_the_tag_makes_a_draft() {
    let host = Host::new();
    let fh = host.create("n-@hs:t", OVER).await.unwrap().opened.fh;
    assert_eq!(readlink(&host, "n-@hs:t").await, "n-0000000000");
    host.put(fh, 0, "me").await.unwrap();
    assert_eq!(host.data("/n-0000000000").await, "me");
    host.core.release(fh).await;
    assert_eq!(host.list("").await.unwrap(), Vec::<String>::new(), "held");
    let made = host.create("n-@s", OVER).await.unwrap();
    let ino = made.entry.attributes.ino;
    assert_eq!(host.core.getxattr(ino, "user.zk.path").await.unwrap(), b"/n-0000000001");
    host.core.release(made.opened.fh).await;
}

#[tokio::test]
async fn the_draft_of_a_lost_session_is_not_made() {
    let host = Host::new();
    let fh = host.open("n-@es", OVER).await.unwrap();
    host.store().expire();
    assert_eq!(host.put(fh, 0, "me").await, Err(Errno::EIO));
    host.core.release(fh).await;
    assert_eq!(host.list("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_moved_or_linked_to_a_sequential_name_comes_whole() {
    let host = Host::new();
    host.write("job", "work").await.unwrap();
    host.rename("job", "item-@s:t", RenameMode::Replace).await.unwrap();
    let item = readlink(&host, "item-@s:t").await;
    assert_eq!(host.list("").await.unwrap(), std::slice::from_ref(&item));
    assert_eq!(host.read(&item).await.unwrap(), "work");
    host.write("sedAbC123", "scratch").await.unwrap();
    host.rename("sedAbC123", "mine-@es:t", RenameMode::Replace).await.unwrap();
    assert_eq!(host.read(&readlink(&host, "mine-@es:t").await).await.unwrap(), "scratch");
    let ino = host.look_up(&item).await.unwrap().attributes.ino;
    host.core.link(ino, Ino::ROOT, OsStr::new("copy-@s:c"), CALLER).await.unwrap();
    assert_eq!(host.read(&readlink(&host, "copy-@s:c").await).await.unwrap(), "work");
    host.write("void", "").await.unwrap();
    host.rename("void", "void-@s:v", RenameMode::Replace).await.unwrap();
    assert_eq!(host.kind(&format!("/{}", readlink(&host, "void-@s:v").await)).await, Kind::File);
    assert_eq!(host.rename(&item, "x@h", RenameMode::Replace).await, Err(Errno::EPERM));
}

#[tokio::test]
async fn directories_are_sequential_containers_or_end_in_time() {
    let host = Host::new();
    let made = host.mkdir("run-@s").await.unwrap();
    assert_eq!(made.ttl, std::time::Duration::ZERO);
    assert_eq!(host.list("").await.unwrap(), ["run-0000000000"]);
    host.mkdir("pool@c").await.unwrap();
    host.mkdir("gone@t=1h").await.unwrap();
    assert_eq!(host.list("").await.unwrap(), ["gone", "pool", "run-0000000000"]);
    assert_eq!(host.mkdir("x@es").await.unwrap_err(), Errno::EPERM);
    host.write("f@t=1h", "x").await.unwrap();
    assert_eq!(host.read("f").await.unwrap(), "x");
}

#[tokio::test]
async fn what_a_caller_was_told_failed_is_taken_back() {
    let host = Host::new();
    let made = host.create("lock@e", NEW).await.unwrap();
    host.core.take_back_created(made).await;
    assert_eq!(host.stat("/lock").await, None);
    let draft = host.create("n-@es", NEW).await.unwrap();
    host.core.take_back_created(draft).await;
    let kept = host.create("f", NEW).await.unwrap();
    host.core.take_back_created(kept).await;
    assert_eq!(host.list("").await.unwrap(), ["f"], "what is persistent may stay");
}
