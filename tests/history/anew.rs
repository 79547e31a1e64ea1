//! A file is removed, made anew and brought to the same version while a write to it is on its way.

use rig::{Mode, Mount, Op, Proxy, Shell, Witness, shared_server, until};

/// Another client removes the file, makes it anew and sets it until it is at this version.
fn make_anew(witness: &Witness, version: i32) {
    witness.delete("/f", None).expect("it is there");
    witness.create("/f", b"new\n", Mode::Persistent).expect("it is not there");
    for _ in 0..version {
        witness.set("/f", b"new\n", None).expect("it is there");
    }
}

#[test]
fn who_writes_over_a_file_that_was_made_anew_is_told() {
    // > A write that is on its way while the file is removed, made anew and set to the same version is EIO, with a line in the log.
    let connect = shared_server().chroot("anew");
    let (proxy, witness) = (Proxy::to(shared_server()), Witness::connect(&connect));
    let mount = Mount::new(&proxy.instead_of(&connect));
    mount.bash("echo old > f").success();
    let version = witness.stat("/f").expect("it is there").version;
    let trap = proxy.trap().op(Op::SetData).hold_request();
    let append = mount.script(Shell::Bash, "echo more >> f").start();
    trap.wait();
    make_anew(&witness, version);
    trap.release();
    let output = append.wait();
    assert_eq!(output.code(), 1, "{output:?}");
    assert!(output.stderr.contains("Input/output error"), "{output:?}");
    assert!(mount.log().contains("made anew"), "{}", mount.log());
}

#[test]
fn a_write_that_waits_does_not_reach_a_file_that_was_made_anew() {
    // > A write that waits for a connection does not reach a file that was made anew meanwhile, whatever its version.
    let connect = shared_server().chroot("anew-waiting");
    let (proxy, witness) = (Proxy::to(shared_server()), Witness::connect(&connect));
    let mount = Mount::new(&proxy.instead_of(&connect));
    mount.bash("echo old > f").success();
    let version = witness.stat("/f").expect("it is there").version;
    // The program has read what it is to write back, and then writes while there is no connection.
    let script = "exec 9<>f; read -r line <&9; echo read; until [ -e \"$1\" ]; do sleep 0.01; done; echo mine >&9";
    let go = rig::Workdir::new("anew");
    let write = mount.script(Shell::Bash, script).arg(go.path().join("go")).start();
    until("it has read", || write.stdout().contains("read"));
    proxy.down();
    until("the mount notices", || mount.bash("cat @session").stdout.contains("state=suspended"));
    std::fs::write(go.path().join("go"), "").unwrap();
    until("the write waits", || {
        let metrics = mount.bash("cat @metrics").stdout;
        metrics.lines().any(|line| line == "zkmount_operations_waiting 1")
    });
    make_anew(&witness, version);
    proxy.accept();
    let output = write.wait();
    assert_eq!(output.code(), 1, "{output:?}");
    assert!(output.stderr.contains("Stale file handle"), "{output:?}");
    assert_eq!(witness.text("/f"), "new\n");
}
