//! Readers together, a writer alone.

use rig::Shell;

use crate::place::{Place, hold, until_says};

#[test]
fn readers_share_and_a_writer_is_alone_and_not_starved() {
    // > Shared locks are held together, and an exclusive one alone.
    let place = Place::new("readers");
    let one = hold(&place.a, "-s f");
    let two = hold(&place.b, "-s f");
    place.a.bash("flock -n -x f true").exits(1);
    let writer = place.a.script(Shell::Bash, "exec flock -x f sh -c 'echo writes; sleep 600'").start();
    place.until_queue("/.f.lock", 3);
    // > A shared lock waits behind an exclusive one that was asked for earlier, so that readers do not starve writers.
    place.b.bash("flock -n -s f true").exits(1);
    let late = place.b.script(Shell::Bash, "exec flock -s f sh -c 'echo reads; sleep 600'").start();
    let later = place.a.script(Shell::Bash, "exec flock -s f sh -c 'echo reads; sleep 600'").start();
    place.until_queue("/.f.lock", 5);
    one.kill9();
    place.until_queue("/.f.lock", 4);
    assert!(writer.stdout().is_empty());
    two.kill9();
    until_says(&writer, "writes");
    assert!(late.stdout().is_empty() && later.stdout().is_empty());
    writer.kill9();
    until_says(&late, "reads");
    until_says(&later, "reads");
}

#[test]
fn the_next_holder_sees_what_the_one_before_wrote() {
    // > Whoever has a lock sees what was written under it before, on any host: the data and the size.
    let place = Place::new("coherent");
    for n in 1..=15 {
        let (writer, reader) = if n % 2 == 0 { (&place.a, &place.b) } else { (&place.b, &place.a) };
        writer.bash("stat f > /dev/null; flock f sh -c 'printf x >> f'").success();
        let seen = reader.bash("flock -s f sh -c 'stat -c %s f; wc -c < f'").success();
        assert_eq!(seen.text(), format!("{n}\n{n}"));
    }
}
