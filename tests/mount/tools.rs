//! The tools that people use, each with exit code 0, and with the transactions that it should take.

use rig::{Change, Shell, Workdir};

use crate::world::{World, put};

/// Asserts that a script takes one transaction, a set of `/f`.
///
/// A temporary name whose six random characters are all small letters, one in 190, is not known for one: somebody may have
/// chosen it. Then the script is run again, so it must work a second time.
#[track_caller]
fn one_set(world: &World, script: &str) {
    for _ in 0..5 {
        let history = world.transactions(|| drop(world.run(script)));
        if history.iter().flat_map(|transaction| &transaction.changes).any(|change| is_unlucky(change.path())) {
            continue;
        }
        assert_eq!(history.len(), 1, "{script}: {history:?}");
        assert!(matches!(&history[0].changes[..], [Change::SetData { path, .. }] if path == "/f"), "{history:?}");
        return;
    }
    panic!("{script} draws nothing but small letters");
}

fn is_unlucky(path: &str) -> bool {
    let drawn = path.strip_prefix("/sed").or(path.strip_prefix("/.f."));
    drawn.is_some_and(|drawn| drawn.len() == 6 && drawn.bytes().all(|byte| byte.is_ascii_lowercase()))
}

// > `vim`, `sed -i` and `rsync` onto an existing file each end in one transaction, on the real name.
#[test]
fn editors_and_safe_savers_take_one_transaction() {
    let world = World::new("editors");
    let local = Workdir::new("editors");
    put(world.one.join("f"), "one two\n");
    one_set(&world, "vim -es -u NONE -c 's/one/ONE/' -c wq f");
    assert_eq!(world.witness.text("/f"), "ONE two\n");
    one_set(&world, "vim -es -c 's/two/TWO/' -c wq f");
    one_set(&world, "sed -i s/ONE/1/ f");
    assert_eq!(world.witness.text("/f"), "1 TWO\n");
    one_set(&world, "perl -pe 's/1/uno/' f > sedAbC123 && mv sedAbC123 f");
    std::fs::write(local.path().join("f"), "from rsync\n").unwrap();
    one_set(&world, &format!("rsync -a --ignore-times '{}/f' f", local.path().display()));
    assert_eq!(world.witness.text("/f"), "from rsync\n");
    assert_eq!(world.witness.children("/").unwrap(), ["f"]);
    assert_eq!(world.run("ls -A"), "f");
}

#[test]
fn nano_edits_a_file() {
    let world = World::new("nano");
    put(world.one.join("f"), "text\n");
    // Keys are sent when the screen shows that nano waits for them.
    let script = r#"
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ['TERM'] = 'xterm'
    os.execvp('nano', ['nano', '--ignorercfiles', 'f'])
screen = b''
def wait(word):
    global screen
    end = time.monotonic() + 30
    while word not in screen:
        if not select.select([fd], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit('no %r in %r' % (word, screen))
        screen += os.read(fd, 4096)
    screen = b''
wait(b'text')
os.write(fd, b'new ')
wait(b'new')
os.write(fd, b'\x0f')
wait(b'Write')
os.write(fd, b'\r')
wait(b'Wrote')
os.write(fd, b'\x18')
try:
    while os.read(fd, 4096): pass
except OSError: pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;
    world.one.script(Shell::Bash, "/usr/bin/python3 -c \"$1\"").arg(script).run().success();
    assert_eq!(world.witness.text("/f"), "new text\n");
    assert_eq!(world.witness.children("/").unwrap(), ["f"]);
}

#[test]
fn trees_are_copied_packed_searched_and_compared() {
    let world = World::new("tools");
    let local = Workdir::new("tools");
    let out = local.path().display();
    world.run("mkdir -p tree/sub/deep tree/bare; for n in $(seq 20); do echo line $n > tree/f$n; done; : > tree/empty; echo deep > tree/sub/deep/x");
    for script in [
        "cp -a tree copy && diff -r tree copy",
        "tar c tree | (mkdir untar && tar x -C untar) && diff -r tree untar/tree",
        "rsync -a tree/ synced/ && diff -r tree synced",
        &format!(
            "cp -a tree '{out}/tree' && diff -r tree '{out}/tree' && cp -a '{out}/tree' back && diff -r tree back"
        ),
        &format!("cd '{out}/tree' && git init -q . && git add -A && test $(git ls-files | wc -l) = 22"),
        "mkdir repository && cd repository && git init -q . && echo x > f && git add f && git -c user.name=a -c user.email=b commit -qm first && git fsck && test -z \"$(git status --short)\"",
        "test $(find tree -type f | wc -l) = 22 && test $(find tree -type d | wc -l) = 4",
        "test \"$(grep -rl 'line 7' tree)\" = tree/f7",
        "du -s tree >/dev/null && du -ab tree >/dev/null",
        "tree tree | tail -1 | grep -q 22",
        "mv tree moved && rm -r copy untar synced back repository && mv moved tree",
    ] {
        world.run(script);
    }
    assert_eq!(world.witness.children("/").unwrap(), ["tree"]);
    assert_eq!(world.run2("find tree | wc -l"), "26");
}
