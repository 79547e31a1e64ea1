//! What all recipes have in common.

use std::fs;

use rig::{Shell, shared_server};

use crate::world::{SHELLS, World, recipes};

#[test]
fn each_explains_itself_and_refuses_what_it_does_not_understand() {
    let mut found = 0;
    for entry in fs::read_dir(recipes()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".sh") || name == "with-lock" {
            continue;
        }
        found += 1;
        for shell in SHELLS {
            let misuse = if name == "check" { 3 } else { 64 };
            let run = |arguments: &str| shell.run(&format!("exec {} {} {arguments}", shell.name(), path.display()));
            let help = if name == "check" { run("--help").exits(3) } else { run("--help").success() };
            assert!(help.stdout.starts_with(&format!("Usage: {name} ")), "{help:?}");
            assert!(help.stdout.lines().all(|line| line.len() <= 124), "{help:?}");
            let refused = run("-Z").exits(misuse);
            assert!(refused.stderr.contains("Usage: "), "{refused:?}");
        }
    }
    assert!(found >= 10, "only {found} recipes");
}

#[test]
fn a_directory_that_is_not_on_a_mount_is_refused() {
    let _ = shared_server();
    let world = World::new("nomount");
    for arguments in
        ["slots /tmp 1 true", "leader -p /tmp", "members /tmp", "queue take -n /tmp true", "on-change /tmp true"]
    {
        let (recipe, arguments) = arguments.split_once(' ').unwrap();
        let output = world.recipe(&world.a, Shell::Dash, "h", recipe, arguments).run().exits(66);
        assert!(output.stderr.contains("not on a zkmount"), "{output:?}");
    }
}
