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
    let plain = host.create("f", NEW).await.unwrap();
    host.core.take_back_created(plain).await;
    let dir = host.mkdir("d").await.unwrap();
    host.core.take_back_made(dir).await;
    assert_eq!(host.list("").await.unwrap(), Vec::<String>::new());
    let used = host.create("g", NEW).await.unwrap();
    host.write("g", "somebody's").await.unwrap();
    host.core.take_back_created(used).await;
    assert_eq!(host.data("/g").await, "somebody's");
    host.write("mine@e", "mine").await.unwrap();
    let opened = host.create("mine@e", OVER).await.unwrap();
    host.core.take_back_created(opened).await;
    assert_eq!(host.data("/mine").await, "mine", "it was opened, not made");
}

#[tokio::test]
async fn a_sequential_file_whose_writer_is_gone_is_taken_back() {
    let host = Host::new();
    for name in ["n-@s:t", "n-@es:u", "n-@hs:v"] {
        let fh = host.create(name, OVER).await.unwrap().opened.fh;
        let data = Bytes::from_static(b"me");
        let [first, second] = [host.core.write(fh, 0, data.clone()).await, host.core.write(fh, 2, data.clone()).await];
        assert!(first.unwrap().made.is_some() && second.unwrap().made.is_none());
        let fh2 = host.create("m-@s", OVER).await.unwrap().opened.fh;
        let written = host.core.write(fh2, 0, data).await.unwrap();
        host.core.take_back_written(written).await;
        host.core.release(fh2).await;
        host.core.release(fh).await;
    }
    assert_eq!(host.list("").await.unwrap(), ["n-0000000000", "n-0000000002"]);
}

#[tokio::test]
async fn a_rename_that_was_to_create_is_taken_back() {
    let host = Host::new();
    for to in ["lock@e", "n-@s:t", "n-@es:t"] {
        host.write("job", "work").await.unwrap();
        let renamed = loop {
            match host.core.rename(Ino::ROOT, "job".as_ref(), Ino::ROOT, to.as_ref(), RenameMode::Replace, CALLER).await
            {
                Err(Errno::ESTALE) => drop(host.look_up("job").await.unwrap()),
                renamed => break renamed.unwrap(),
            }
        };
        assert_ne!(host.list("").await.unwrap(), ["job"]);
        host.core.take_back_renamed(renamed).await;
        assert_eq!(host.list("").await.unwrap(), ["job"], "{to}");
        assert_eq!(
            (host.data("/job").await.as_str(), host.stat("/job").await.unwrap().is_ephemeral()),
            ("work", false)
        );
    }
    // Somebody has taken it meanwhile: then it is not made again.
    let renamed =
        host.core.rename(Ino::ROOT, "job".as_ref(), Ino::ROOT, "lock@e".as_ref(), RenameMode::Replace, CALLER);
    let renamed = renamed.await.unwrap();
    host.unlink("lock").await.unwrap();
    host.core.take_back_renamed(renamed).await;
    assert_eq!(host.list("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_held_file_that_was_renamed_is_no_later_one() {
    let host = Host::new();
    let fh = host.create("lock@h", NEW).await.unwrap().opened.fh;
    host.rename("lock", "moved", RenameMode::Replace).await.unwrap();
    host.unlink("moved").await.unwrap();
    host.write("moved@e", "another").await.unwrap();
    host.core.release(fh).await;
    assert_eq!(host.data("/moved").await, "another");
}

#[tokio::test]
async fn tags_of_directories_and_of_moved_ones() {
    let host = Host::new();
    host.mkdir("d").await.unwrap();
    host.mkdir("d/run-@s:t").await.unwrap();
    assert_eq!(readlink(&host, "d/run-@s:t").await, "run-0000000000");
    assert_eq!(host.mkdir("d/run-@s:t").await.unwrap_err(), Errno::EEXIST);
    host.write("job", "work").await.unwrap();
    assert_eq!(host.rename("job", "d/run-@s:t", RenameMode::Replace).await, Err(Errno::EEXIST));
    host.write("d/n-@es:t", "me").await.unwrap();
    host.rename("d", "e", RenameMode::Replace).await.unwrap();
    assert_eq!(readlink(&host, "e/run-@s:t").await, "run-0000000000");
    assert_eq!(readlink(&host, "e/n-@es:t").await, "n-0000000001");
    assert_eq!(host.look_up("d/n-@es:t").await.unwrap_err(), Errno::ENOENT);
}
