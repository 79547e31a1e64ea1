//! `check`: the conventions of monitoring plug-ins, and no hanging.

use rig::{Mount, Proxy, Shell, Witness, Workdir, shared_server, until};

use crate::world::{SHELLS, World};

#[test]
fn states_and_their_lines() {
    let world = World::new("check");
    world.a.bash("mkdir dir empty && touch dir/a dir/b && echo 'role=primary since=today' > db").success();
    let _owner = world.recipe(&world.a, Shell::Dash, "h", "member", "-n eph dir sleep 600").start();
    world.until_names("/dir", 3);
    let cases: &[(&str, i32, &str)] = &[
        ("exists db", 0, "ZK OK: db exists"),
        ("exists nothing", 2, "ZK CRITICAL: nothing does not exist"),
        ("absent nothing", 0, "ZK OK: nothing does not exist"),
        ("absent db", 2, "ZK CRITICAL: db exists"),
        ("content db ^role=primary", 0, "ZK OK: db is \"role=primary since=today\""),
        ("content db standby", 2, "ZK CRITICAL: db is \"role=primary since=today\", which does not match \"standby\""),
        ("children dir", 0, "ZK OK: dir has 3 children | children=3;;"),
        ("-w 2 children dir", 1, "ZK WARNING: dir has 3 children | children=3;2;"),
        ("-w 2 -c 2 children dir", 2, "ZK CRITICAL: dir has 3 children | children=3;2;2"),
        ("-c 3: children dir", 0, "ZK OK: dir has 3 children | children=3;;3:"),
        ("-c 4: children dir", 2, "ZK CRITICAL: dir has 3 children | children=3;;4:"),
        ("-c @3:5 children dir", 2, "ZK CRITICAL: dir has 3 children | children=3;;@3:5"),
        ("-c @4:5 children dir", 0, "ZK OK: dir has 3 children | children=3;;@4:5"),
        ("-w 4:5 children dir", 1, "ZK WARNING: dir has 3 children | children=3;4:5;"),
        ("-w '~:3' -c '~:2.5' children dir", 2, "ZK CRITICAL: dir has 3 children | children=3;~:3;~:2.5"),
        ("children empty", 0, "ZK OK: empty has 0 children | children=0;;"),
        ("children nothing", 2, "ZK CRITICAL: nothing does not exist"),
        ("owner db", 2, "ZK CRITICAL: db is no ephemeral"),
        ("owner dir/eph", 0, "ZK OK: dir/eph is held by session 0x"),
        ("-w 3600 age db", 0, "ZK OK: db was written "),
        ("-c 3600: age db", 2, "ZK CRITICAL: db was written "),
        ("session db", 0, "ZK OK: session 0x"),
        ("-c 86400: session .", 2, "ZK CRITICAL: session 0x"),
        ("session /", 2, "ZK CRITICAL: / is not on a zkmount, or its daemon is dead"),
        ("exists", 3, ""),
        ("-w ten children dir", 3, ""),
        ("surprise db", 3, ""),
    ];
    for (number, (arguments, code, line)) in cases.iter().enumerate() {
        let output = world.recipe(&world.b, SHELLS[number % 2], "h", "check", arguments).run().exits(*code);
        assert!(output.stdout.starts_with(line), "check {arguments}: {output:?}");
        assert!(line.is_empty() || output.lines().len() == 1, "{output:?}");
    }
}

#[test]
fn no_answer_is_an_answer() {
    let connect = shared_server().chroot("mute");
    let proxy = Proxy::to(shared_server());
    let cut =
        Mount::options(&proxy.instead_of(&connect)).args(&["--session-timeout", "20s", "--timeout", "20s"]).mount();
    let world = World {
        a: Mount::new(&connect),
        b: Mount::new(&connect),
        witness: Witness::connect(&connect),
        local: Workdir::new("mute"),
    };
    world.a.bash("echo x > f").success();
    until("the file is there", || cut.bash("cat f").code() == 0);
    proxy.stall_both();
    for shell in SHELLS {
        // The exit status comes in time, and so does the end of the output, for which a monitoring system waits as well.
        let script = format!(
            "out=$({} \"$(command -v check)\" -t 1 exists f); code=$?; echo \"$out\"; exit $code",
            shell.name()
        );
        let output = world.script(&cut, Shell::Bash, "h", &script).run().exits(3);
        assert_eq!(output.text(), "ZK UNKNOWN: no answer about f within 1 s");
        assert!(output.took.as_secs_f64() < 10.0, "{output:?}");
    }
    // The session itself is asked of the daemon.
    until("the check sees it", || world.recipe(&cut, Shell::Dash, "h", "check", "-c 14: session .").run().code() == 2);
    proxy.flow();
    until("it is well again", || world.recipe(&cut, Shell::Dash, "h", "check", "exists f").run().code() == 0);
    let frozen = cut.freeze();
    let script = format!(
        "cd /; exec dash {} -t 1 session {}",
        crate::world::recipes().join("check").display(),
        cut.path().display()
    );
    let output = Shell::Bash.script(&script).run().exits(2);
    assert!(output.stdout.contains("no answer about"), "{output:?}");
    frozen.thaw();
    cut.kill9();
    let script = script.replace("-t 1", "-t 5");
    let output = Shell::Bash.script(&script).run().exits(2);
    assert!(output.stdout.starts_with("ZK CRITICAL: "), "{output:?}");
}
