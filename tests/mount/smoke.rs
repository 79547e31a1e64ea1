//! Whether anything works at all, and an example of how a test here is written.

use rig::{Change, Mode, Mount, Shell, Witness, shared_server, until};

#[test]
fn a_tree_in_memory_is_a_file_system() {
    let mount = Mount::new("memory:");
    let output = mount
        .bash("mkdir -p a/b && echo one > a/b/f && cat a/b/f && mv a/b/f a/g && ls -R a && rm -r a && ls")
        .success();
    assert_eq!(output.stdout, "one\na:\nb\ng\n\na/b:\n");
}

#[test]
fn two_mounts_and_a_witness_see_one_tree() {
    let server = shared_server();
    let connect = server.chroot("smoke");
    let (here, there) = Mount::pair(&connect);
    let witness = Witness::connect(&connect);

    here.bash("mkdir d && echo one > d/f").success();
    assert_eq!(witness.text("/d/f"), "one\n");
    assert_eq!(there.bash("cat d/f").success().text(), "one");

    witness.create("/d/g", b"two", Mode::Persistent).unwrap();
    until("the other mount lists it", || there.bash("ls d").success().lines() == ["f", "g"]);

    there.bash("rm d/f d/g && rmdir d").success();
    assert!(witness.children("/").unwrap().is_empty());
}

#[test]
fn overwriting_is_one_transaction() {
    let server = shared_server();
    let connect = server.chroot("overwrite");
    let chroot = &connect[connect.find('/').unwrap()..];
    Witness::connect(&connect).create("/f", b"old", Mode::Persistent).unwrap();
    let mount = Mount::new(&connect);

    let before = server.history_below(chroot).len();
    mount.bash("echo new > f").success();

    let changes: Vec<_> = server.history_below(chroot).into_iter().skip(before).map(|t| t.changes).collect();
    let set = Change::SetData { path: format!("{chroot}/f"), data: b"new\n".to_vec(), version: 1 };
    assert_eq!(changes, [vec![set]]);
}

#[test]
fn noclobber_has_one_winner_in_every_shell() {
    let connect = shared_server().chroot("noclobber");
    let (here, there) = Mount::pair(&connect);
    for shell in Shell::ALL {
        let script = "set -o noclobber; echo $$ > lock";
        let jobs = [here.script(shell, script).start(), there.script(shell, script).start()];
        let outputs = jobs.map(|job| job.wait());
        let winners = outputs.iter().filter(|output| output.code() == 0).count();
        assert_eq!(winners, 1, "{shell:?}: {outputs:?}");
        here.bash("rm lock").success();
    }
}
