//! Tags: how a script learns the name that it was assigned.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use rig::{Mount, Proxy, Shell, shared_server, until};

use crate::place::{Place, fails, write};

fn link(mount: &Mount, name: &str) -> PathBuf {
    fs::read_link(mount.join(name)).unwrap_or_else(|error| panic!("readlink {name}: {error}"))
}

#[test]
fn three_ways_to_the_same_name() {
    // > `readlink 'NAME@es:TAG'` is the name that was assigned.
    // > `user.zk.path` on the open descriptor is the path that was assigned.
    let place = Place::new("three");
    let mounts = place.pair();
    fs::create_dir(mounts[0].join("dir")).unwrap();
    let script = r#"
        exec 9> "dir/n-@$1:$$" || exit 1
        # With and without a write before the first look.
        [ "$2" = late ] || echo "$$" >&9
        path=$(getfattr --absolute-names --only-values -n user.zk.path /proc/self/fd/9) || exit 2
        name=$(readlink "dir/n-@$1:$$") || exit 3
        [ "$2" != late ] || echo "$$" >&9
        [ "$(cat "dir/n-@$1:$$")" = "$$" ] || exit 4
        [ "$path" = "/dir/$name" ] || exit 5
        echo "$name $$"
        kill -STOP $$"#;
    let mut jobs = Vec::new();
    for (number, flags) in ["s", "es", "hs", "s", "es", "hs"].into_iter().enumerate() {
        for when in ["early", "late"] {
            jobs.push(mounts[number % 2].script(Shell::Bash, script).arg(flags).arg(when).start());
        }
    }
    let mut assigned = Vec::new();
    for job in &jobs {
        until("the script has its name", || {
            assert!(job.is_running(), "{}{}", job.stdout(), job.stderr());
            job.stdout().ends_with('\n')
        });
        let said = job.stdout();
        let (name, pid) = said.trim().split_once(' ').unwrap();
        assert_eq!(place.witness.text(&format!("/dir/{name}")), format!("{pid}\n"), "the raw client sees another");
        assigned.push(name.to_owned());
    }
    assigned.sort();
    assert_eq!(place.names("/dir"), assigned);
}

#[test]
fn a_tag_is_a_link_in_every_tool() {
    let place = Place::new("tools");
    let mount = place.mount();
    let script = r#"
        mkdir dir && cd dir && echo job > 'item-@s:mine' || exit 1
        [ -L 'item-@s:mine' ] && [ -f 'item-@s:mine' ] || exit 2
        [ "$(readlink 'item-@s:mine')" = item-0000000000 ] || exit 3
        [ "$(ls)" = item-0000000000 ] || exit 4
        [ "$(cat 'item-@s:mine')" = job ] || exit 5
        [ "$(stat -L -c %s 'item-@s:mine')" = 4 ] || exit 6
        [ "$(realpath 'item-@s:mine')" = "$PWD/item-0000000000" ] || exit 7
        rm 'item-@s:mine' && [ -z "$(ls)" ] || exit 8
        readlink 'item-@s:mine' && exit 9
        echo again > 'item-@s:mine' && mv 'item-@s:mine' taken && [ "$(cat taken)" = again ]"#;
    mount.bash(script).success();
}

#[test]
fn writing_to_a_tag_again_writes_that_znode() {
    // > A tag names one znode as long as that exists: writing to the tag again writes that znode.
    let place = Place::new("again");
    let mount = place.mount();
    for flags in ["s", "es"] {
        let tag = format!("{flags}-@{flags}:t");
        mount.bash(&format!("echo one > {tag}; echo two > {tag}; echo three >> {tag}")).success();
        let name = link(&mount, &tag).display().to_string();
        assert_eq!(place.witness.text(&format!("/{name}")), "two\nthree\n");
        assert_eq!(place.creations(&format!("/{flags}-")).len(), 1);
        fails(File::create_new(mount.join(&tag)), libc::EEXIST);
        write(mount.join("tmp"), "x");
        fails(fs::hard_link(mount.join("tmp"), mount.join(&tag)), libc::EEXIST);
        fails(fs::rename(mount.join("tmp"), mount.join(&tag)), libc::EEXIST);
        assert_eq!(place.witness.text("/tmp"), "x");
        // Once that is gone, by whomever, the tag is free.
        place.witness.delete(&format!("/{name}"), None).unwrap();
        until("the link is gone", || fs::read_link(mount.join(&tag)).is_err());
        fails(fs::read_link(mount.join(&tag)), libc::ENOENT);
        write(mount.join(&tag), "next");
        assert_ne!(link(&mount, &tag).display().to_string(), name);
    }
    // What was moved, linked or made a directory has its tag as well.
    write(mount.join("tmp"), "x");
    fs::hard_link(mount.join("tmp"), mount.join("ln-@s:t")).unwrap();
    fs::rename(mount.join("tmp"), mount.join("mv-@es:t")).unwrap();
    fs::create_dir(mount.join("dir-@s:t")).unwrap();
    for tag in ["ln-@s:t", "mv-@es:t", "dir-@s:t"] {
        let name = link(&mount, tag).display().to_string();
        assert!(place.witness.exists(&format!("/{name}")), "{tag} is {name}");
        let base = tag.split('@').next().unwrap();
        assert!(name.starts_with(base) && name.len() == base.len() + 10, "{name}");
    }
    fs::create_dir(mount.join("dir-@s:t/child")).unwrap();
    fails(fs::create_dir(mount.join("dir-@s:t")), libc::EEXIST);
}

#[test]
fn tags_are_each_mounts_own() {
    let place = Place::new("own");
    let [one, two] = place.pair();
    write(one.join("n-@es:t"), "one");
    fails(fs::read_link(two.join("n-@es:t")), libc::ENOENT);
    write(two.join("n-@es:t"), "two");
    assert_eq!(link(&one, "n-@es:t"), PathBuf::from("n-0000000000"));
    assert_eq!(link(&two, "n-@es:t"), PathBuf::from("n-0000000001"));
    for (mount, text) in [(&one, "one"), (&two, "two")] {
        assert_eq!(fs::read_to_string(mount.join("n-@es:t")).unwrap(), text);
        assert_eq!(fs::read_to_string(mount.join(link(mount, "n-@es:t"))).unwrap(), text);
    }
    // The same tag in another directory or of another base is another one.
    fs::create_dir(one.join("dir")).unwrap();
    for name in ["dir/n-@es:t", "m-@es:t"] {
        fails(fs::read_link(one.join(name)), libc::ENOENT);
    }
}

#[test]
fn a_tag_of_a_lost_session_is_gone() {
    let place = Place::new("lost");
    let proxy = Proxy::to(shared_server());
    let mount = place.options(&proxy.instead_of(place.ensemble())).mount();
    write(mount.join("n-@es:t"), "first");
    write(mount.join("n-@s:p"), "stays");
    let mut held = File::create(mount.join("n-@hs:h")).unwrap();
    held.write_all(b"held").unwrap();
    let mut draft = File::create(mount.join("n-@es:d")).unwrap();
    proxy.expire_sessions();
    for tag in ["n-@es:t", "n-@hs:h"] {
        until("the mount is back", || fs::metadata(mount.path().join("n-@s:p")).is_ok());
        until("the link is gone", || fs::read_link(mount.join(tag)).is_err());
        fails(fs::read_link(mount.join(tag)), libc::ENOENT);
    }
    assert_eq!(link(&mount, "n-@s:p"), PathBuf::from("n-0000000001"), "what is persistent has its tag");
    fails(held.write_all(b"x"), libc::EIO);
    // A contender of the old session does not enter the queue of the new one.
    fails(draft.write_all(b"x"), libc::EIO);
    drop((held, draft));
    write(mount.join("n-@es:t"), "second");
    assert_eq!(fs::read_to_string(mount.join("n-@es:t")).unwrap(), "second");
    assert_eq!(place.names("/").len(), 2);
}

#[test]
fn tags_follow_their_directory() {
    let place = Place::new("follow");
    let mount = place.mount();
    fs::create_dir_all(mount.join("old/deep")).unwrap();
    write(mount.join("old/deep/n-@s:t"), "x");
    write(mount.join("old/deep/n-@es:e"), "mine");
    let mut draft = File::create(mount.join("old/deep/n-@s:d")).unwrap();
    fs::rename(mount.join("old"), mount.join("new")).unwrap();
    assert_eq!(fs::read_to_string(mount.join("new/deep/n-@s:t")).unwrap(), "x");
    assert_eq!(fs::read_to_string(mount.join("new/deep/n-@es:e")).unwrap(), "mine");
    draft.write_all(b"late").unwrap();
    assert_eq!(fs::read_to_string(mount.join("new/deep/n-@s:d")).unwrap(), "late");
    fails(fs::read_link(mount.join("old/deep/n-@s:t")), libc::ENOENT);
    // A znode that leaves its name leaves its tag: a link never points elsewhere.
    fs::rename(mount.join("new/deep/n-@s:t"), mount.join("taken")).unwrap();
    fails(fs::read_link(mount.join("new/deep/n-@s:t")), libc::ENOENT);
}
