//! What is shown of a lock.

use rig::Shell;

use crate::place::{Place, hold, start};

#[test]
fn the_view_shows_holder_and_queue_and_the_token_is_on_the_file() {
    // > `NAME@lock` and `DIR/@lock` show holders and queue, one a line: mode, host, pid, since when, fencing token, session, and for this mount's own how long they are known to live on.
    let place = Place::new("view");
    assert_eq!(place.a.bash("cat f@lock d/@lock").success().stdout, "");
    let holder = hold(&place.a, "f");
    let _waiter = place.b.script(Shell::Bash, "exec flock -s f true").start();
    place.until_queue("/.f.lock", 2);
    let host = rustix_nodename();
    let lines = place.a.bash("cat f@lock").success();
    let lines = lines.lines().iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect::<Vec<Vec<_>>>();
    assert_eq!(lines.len(), 2);
    let name = place.witness.children("/.f.lock").unwrap().into_iter().find(|name| !name.contains("shared")).unwrap();
    let stat = place.witness.stat(&format!("/.f.lock/{name}")).unwrap();
    assert_eq!(lines[0][..4], ["holder", "mode=exclusive", &format!("host={host}"), &format!("pid={}", holder.pid())]);
    assert!(lines[0][4].starts_with("since=20") && lines[0][4].ends_with('Z'), "{lines:?}");
    let token = format!("{:#x}", stat.czxid);
    assert_eq!(lines[0][5], format!("token={token}"));
    assert_eq!(lines[0][6], format!("session={:#x}", stat.ephemeral_owner));
    let validity: u64 = lines[0][7].strip_prefix("validity_ms=").unwrap().parse().unwrap();
    assert!(validity > 0 && validity <= 30_000);
    assert_eq!(lines[0][8], format!("znode={name}"));
    assert_eq!(lines[1][..2], ["waiter", "mode=shared"]);
    assert_eq!(lines[1][7], "validity_ms=-");
    // > `user.zk.lock.token` on the locked descriptor is the fencing token: the transaction that made the contender.
    let xattr = "/usr/bin/python3 -c 'import os; print(os.getxattr(\"f\", \"user.zk.lock.token\").decode())'";
    assert_eq!(place.a.bash(xattr).success().text(), token);
    assert!(place.b.bash(xattr).stderr.contains("No data available"), "it is not locked through that mount");
}

#[test]
fn later_holders_have_higher_tokens() {
    // > Of two holders in a row the later one has the higher token.
    let place = Place::new("tokens");
    let take = "exec 9<f; flock -w 20 9; while read -r role line; do case \" $line\" in *' token='*) \
                line=${line#*token=}; echo \"$((${line%% *}))\";; esac; done < f@lock";
    let mut last = 0;
    for mount in [&place.a, &place.b, &place.a] {
        let token: i64 = mount.bash(take).success().text().parse().unwrap();
        assert!(token > last);
        last = token;
    }
    // > An open `@lock` that is read from its start shows the queue of that moment.
    let script = "exec 8<f@lock; cat <&8; flock f sh -c \"python3 -c 'import os; print(os.pread(8, 6, 0).decode())'\"";
    drop(start(&place.b, &script.replace("python3", "/usr/bin/python3"), "holder"));
}

fn rustix_nodename() -> String {
    Shell::Bash.run("uname -n").success().text().to_owned()
}
