//! Names, kinds, views and listings.

use super::*;
use crate::fs::attributes::FileKind;
use crate::fs::scratch::Patterns;

#[tokio::test]
async fn a_file_becomes_a_directory_with_its_first_child_and_stays_one() {
    let [one, two] = Host::pair();
    one.write("f", "x").await.unwrap();
    let file = one.look_up("f").await.unwrap();
    two.mkdir("f@dir/child").await.unwrap();
    assert_eq!(one.core.getattr(file.attributes.ino).await.unwrap_err(), Errno::ESTALE);
    let dir = one.look_up("f").await.unwrap();
    assert_eq!(dir.attributes.kind, FileKind::Directory);
    assert_ne!(dir.attributes.ino, file.attributes.ino);
    one.rmdir("f/child").await.unwrap();
    assert_eq!(two.look_up("f").await.unwrap().attributes.kind, FileKind::Directory);
    assert_eq!(two.read("f@data").await.unwrap(), "x");
}

#[tokio::test]
async fn the_data_of_a_directory_that_never_had_a_child() {
    let [one, two] = Host::pair();
    one.mkdir("d").await.unwrap();
    one.write("d/@data", "config").await.unwrap();
    for host in [&one, &two] {
        assert_eq!(host.look_up("d").await.unwrap().attributes.kind, FileKind::Directory);
        assert_eq!(host.read("d@data").await.unwrap(), "config");
        assert_eq!(host.list("d").await.unwrap(), Vec::<String>::new());
    }
    one.write("d/@data", "more").await.unwrap();
    assert_eq!(two.read("d/@data").await.unwrap(), "more");
}

#[tokio::test]
async fn the_stat_as_text() {
    let host = Host::new();
    host.write("f", "abc").await.unwrap();
    let text = host.read("f@stat").await.unwrap();
    assert!(text.contains("dataLength=3\n") && text.contains("numChildren=0\n"), "{text}");
    assert_eq!(host.look_up("f@stat").await.unwrap().attributes.size, text.len() as u64);
    host.mkdir("d").await.unwrap();
    assert!(host.read("d/@stat").await.unwrap().contains("dataLength=0\n"));
    assert_eq!(host.open("f@stat", OVER).await, Err(Errno::EACCES));
    assert_eq!(host.look_up("d/@session").await.unwrap_err(), Errno::ENOENT, "at the root only");
    assert!(host.read("@session").await.unwrap().starts_with("state=connected\n"));
}

#[tokio::test]
async fn a_version_in_the_name_makes_it_conditional() {
    let [one, two] = Host::pair();
    one.write("f", "one").await.unwrap();
    let version = one.stat("/f").await.unwrap().version;
    let name = format!("f@v={version}");
    assert_eq!(one.read(&name).await.unwrap(), "one");
    let fh = one.open(&name, OVER).await.unwrap();
    two.write("f", "two").await.unwrap();
    assert_eq!(one.put(fh, 0, "mine").await, Err(Errno::ESTALE));
    one.core.release(fh).await;
    assert_eq!(one.data("/f").await, "two");
    assert_eq!(one.unlink(&name).await, Err(Errno::ESTALE));
    assert_eq!(one.look_up(&name).await.unwrap_err(), Errno::ESTALE);
    one.write(&format!("f@v={}", version + 1), "three").await.unwrap();
    one.unlink(&format!("f@v={}", version + 2)).await.unwrap();
    assert_eq!(one.stat("/f").await, None);
}

#[tokio::test]
async fn names_of_other_clients_are_listed_and_read() {
    let host = Host::new();
    for name in ["a@e", "x@@e", "@data", "user@host", "plain"] {
        host.foreign(&format!("/{name}"), name).await;
    }
    let shown = host.list("").await.unwrap();
    assert_eq!(shown, ["@@data", "a@@e", "plain", "user@host", "x@@@e"]);
    for name in &shown {
        let data = host.read(name).await.unwrap();
        assert_eq!(crate::mapping::Names::default().show(&data), *name);
        host.unlink(name).await.unwrap();
    }
    assert_eq!(host.list("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_names_are_refused_and_nothing_is_changed() {
    let host = Host::new();
    for name in ["a\u{1}b", "a@t=soon", "\u{1f600}", "@e", "x@v=x"] {
        assert_eq!(host.create(name, NEW).await.unwrap_err(), Errno::EINVAL, "{name:?}");
        assert_eq!(host.mkdir(name).await.unwrap_err(), Errno::EINVAL, "{name:?}");
    }
    assert_eq!(host.create(&"n".repeat(256), NEW).await.unwrap_err(), Errno::ENAMETOOLONG);
    assert_eq!(host.mkdir("x@e").await.unwrap_err(), Errno::EPERM);
    assert_eq!(host.create("x@c", NEW).await.unwrap_err(), Errno::EPERM);
    assert_eq!(host.list("").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn ephemerals_show_the_sticky_bit_and_take_no_children() {
    let host = Host::new();
    let made = host.create("lock@e", NEW).await.unwrap();
    assert_eq!(made.entry.attributes.mode, 0o1644);
    assert_eq!(
        host.look_up("lock@e").await.unwrap().attributes.ino,
        host.look_up("lock").await.unwrap().attributes.ino
    );
    assert_eq!(host.mkdir("lock@dir/x").await.unwrap_err(), Errno::EPERM);
}

#[tokio::test]
async fn long_listings_are_complete() {
    let host = Host::new();
    host.mkdir("d").await.unwrap();
    let mut names: Vec<String> = (0..6000).map(|n| format!("n{n}")).collect();
    for name in &names {
        host.foreign(&format!("/d/{name}"), "").await;
    }
    names.sort_unstable();
    assert_eq!(host.list("d").await.unwrap(), names);
}

#[tokio::test]
async fn scratch_files_stay_here_until_they_are_renamed_onto_a_real_name() {
    let [one, two] = Host::pair();
    one.write("f", "old").await.unwrap();
    let before = one.stat("/f").await.unwrap();
    one.write("sedAbC123", "new").await.unwrap();
    assert_eq!(one.list("").await.unwrap(), ["f", "sedAbC123"]);
    assert_eq!(two.list("").await.unwrap(), ["f"]);
    assert_eq!(
        one.core.getxattr(one.look_up("sedAbC123").await.unwrap().attributes.ino, "user.zk.scratch").await.unwrap(),
        b"1"
    );
    one.rename("sedAbC123", "f", RenameMode::Replace).await.unwrap();
    assert_eq!((one.list("").await.unwrap(), two.read("f").await.unwrap()), (vec!["f".to_owned()], "new".to_owned()));
    let after = one.stat("/f").await.unwrap();
    assert_eq!((after.czxid, after.version), (before.czxid, before.version + 1), "one transaction, the same znode");
    two.foreign("/4913", "real").await;
    assert_eq!(one.read("4913").await.unwrap(), "real", "a znode of such a name is the real one");
    let tree = MemoryTree::new();
    let none = Host::on(&tree, Options { scratch: Patterns::none(), ..Options::default() });
    none.write("f~", "x").await.unwrap();
    assert_eq!(none.data("/f~").await, "x");
}

#[tokio::test]
async fn vim_is_one_transaction() {
    let host = Host::new();
    host.write("f", "old").await.unwrap();
    let before = host.stat("/f").await.unwrap().version;
    host.write("f~", "old").await.unwrap();
    let fh = host.open("f", OVER).await.unwrap();
    host.put(fh, 0, "ne").await.unwrap();
    host.put(fh, 2, "w").await.unwrap();
    host.core.flush(fh, CALLER).await.unwrap();
    host.core.release(fh).await;
    host.unlink("f~").await.unwrap();
    assert_eq!((host.data("/f").await, host.stat("/f").await.unwrap().version), ("new".to_owned(), before + 1));
}

#[tokio::test]
async fn attributes_by_name() {
    let host = Host::new();
    host.write("f", "abc").await.unwrap();
    let ino = host.look_up("f").await.unwrap().attributes.ino;
    let get = async |name: &str| String::from_utf8(host.core.getxattr(ino, name).await.unwrap()).unwrap();
    let stat = host.stat("/f").await.unwrap();
    assert_eq!(get("user.zk.path").await, "/f");
    assert_eq!(get("user.zk.version").await, stat.version.to_string());
    assert_eq!(get("user.zk.czxid").await, stat.czxid.to_string());
    assert_eq!(get("user.zk.acl").await, "world:anyone:cdrwa\n");
    assert_eq!(host.core.getxattr(ino, "security.capability").await, Err(Errno::ENODATA));
    assert_eq!(host.core.getxattr(ino, "user.zk.nothing").await, Err(Errno::ENODATA));
    host.core.setxattr(ino, "user.zk.acl", b"world:anyone:r,world:anyone:a").await.unwrap();
    assert_eq!(host.core.setxattr(ino, "user.zk.acl", b"nonsense").await, Err(Errno::EINVAL));
    assert_eq!(host.core.setxattr(ino, "user.mine", b"x").await, Err(Errno::EOPNOTSUPP));
    assert!(host.core.listxattr(ino).unwrap().starts_with(b"user.zk.path\0"));
    host.write("g", "x").await.unwrap();
    host.write("g@acl", "world:anyone:cdrwa\n").await.unwrap();
    assert_eq!(host.read("g@acl").await.unwrap(), "world:anyone:cdrwa\n");
}

#[tokio::test]
async fn an_open_stream_of_changes_outlives_its_znode() {
    let host = Host::new();
    host.write("f", "x").await.unwrap();
    let ino = host.look_up("f@events").await.unwrap().attributes.ino;
    let fh = host.open("f@events", libc::O_RDONLY).await.unwrap();
    host.unlink("f").await.unwrap();
    assert_eq!(host.core.getattr(ino).await.unwrap().attributes.kind, FileKind::File, "grep looks before it reads");
    host.core.release(fh).await;
    assert_eq!(host.core.getattr(ino).await.unwrap_err(), Errno::ESTALE);
}
