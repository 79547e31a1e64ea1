//! Znodes whose real names read as conventions: other clients make them, and files show them by an escaped name.

use std::fs;

use rig::{Mode, Mount, until};

use crate::place::{Place, fails, write};

fn listing(mount: &Mount) -> Vec<String> {
    let names = fs::read_dir(mount.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn an_escaped_name_does_all_that_a_name_does() {
    let place = Place::new("escaped");
    let [one, two] = place.pair();
    let names = [("x@e", "x@@e"), ("x@@e", "x@@@e"), ("@data", "@@data"), ("q-@hs:t", "q-@@hs:t"), ("@e", "@@e")];
    for (real, _) in names {
        place.witness.create(&format!("/{real}"), real.as_bytes(), Mode::Persistent).unwrap();
        // A file, not an empty directory.
        place.witness.set(&format!("/{real}"), real.as_bytes(), None).unwrap();
    }
    let mut shown: Vec<&str> = names.iter().map(|(_, shown)| *shown).collect();
    shown.sort_unstable();
    for mount in [&one, &two] {
        assert_eq!(listing(mount), shown);
        for (real, shown) in names {
            assert_eq!(fs::read_to_string(mount.join(shown)).unwrap(), real);
        }
    }
    for (number, (real, shown)) in names.into_iter().enumerate() {
        write(one.join(shown), "new");
        assert_eq!(place.witness.text(&format!("/{real}")), "new");
        let (elsewhere, path) = (two.join(format!("plain-{number}")), format!("/plain-{number}"));
        two.bash(&format!("mv '{shown}' plain-{number}")).success();
        assert_eq!((place.witness.text(&path).as_str(), place.witness.exists(&format!("/{real}"))), ("new", false));
        fs::rename(&elsewhere, two.join(shown)).unwrap();
        assert_eq!((place.witness.text(&format!("/{real}")).as_str(), place.witness.exists(&path)), ("new", false));
        // And as the target of a flag.
        write(one.join(format!("{real}@e")), "over");
        assert_eq!(place.witness.text(&format!("/{real}")), "over", "the flag follows the znode's name");
        one.bash(&format!("rm '{shown}'")).success();
        until("the other host has heard of it", || !two.join(shown).exists());
        fails(fs::metadata(two.join(shown)), libc::ENOENT);
        write(two.join(format!("{real}@e")), "mine");
        assert_ne!(place.witness.stat(&format!("/{real}")).unwrap().ephemeral_owner, 0);
        fs::remove_file(two.join(shown)).unwrap();
    }
    assert_eq!(place.names("/"), [""; 0]);
}

#[test]
fn another_character_for_the_conventions() {
    let place = Place::new("at");
    let mount = place.options(place.ensemble()).o("at=%").mount();
    write(mount.join("lock@e"), "plain");
    write(mount.join("lock%e"), "flag");
    write(mount.join("n-%es:t"), "tag");
    assert_eq!(fs::read_link(mount.join("n-%es:t")).unwrap().to_str(), Some("n-0000000002"));
    assert_eq!(place.witness.stat("/lock@e").unwrap().ephemeral_owner, 0);
    assert_ne!(place.witness.stat("/lock").unwrap().ephemeral_owner, 0);
    assert_eq!(listing(&mount), ["lock", "lock@e", "n-0000000002"]);
}
