//! A server that is too old to announce changes.

use std::fs;

use rig::{Mount, Proxy, Witness, shared_server, until};

use crate::helper::{directory, file, set};

#[test]
fn a_server_without_recursive_watches_is_used_without_them() {
    let server = shared_server();
    let connect = server.chroot("old");
    let witness = Witness::connect(&connect);
    directory(&witness, "/d");
    file(&witness, "/d/f", "1");
    let proxy = Proxy::to(server);
    proxy.make_old();
    let mount = Mount::new(&proxy.instead_of(&connect));
    assert!(mount.log().contains("the server has no recursive watches (3.6 has)"));
    let connections = proxy.counts().connections;
    mount.bash("ls -l d; cat d/f; echo 2 > d/g; mkdir d/sub; echo 3 > d/lock@e; rm d/g; find . -ls").success();
    assert_eq!(witness.children("/d").unwrap(), ["f", "lock", "sub"]);
    assert_eq!(proxy.counts().connections, connections, "it is not asked again for what it does not know");
    set(&witness, "/d/f", "new");
    until("a change is seen, if late", || fs::read_to_string(mount.join("d/f")).unwrap() == "new");
}
