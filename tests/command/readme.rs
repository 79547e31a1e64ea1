//! The tour of the README, typed and compared.

use std::collections::BTreeMap;

use rig::{Mount, Shell, Workdir, shared_server};

const README: &str = include_str!("../../README.md");

/// A command of a console block: on which host, what is typed, and what is to be seen.
struct Step<'a> {
    host: &'a str,
    command: &'a str,
    output: Vec<&'a str>,
}

fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```console" => inside = true,
            "```" => inside = false,
            _ if !inside => {}
            _ => match line.split_once("$ ").filter(|(host, _)| host.starts_with("web") && !host.contains(' ')) {
                Some((host, command)) => steps.push(Step { host, command, output: Vec::new() }),
                None => steps.last_mut().expect("a command before its output").output.push(line),
            },
        }
    }
    steps
}

#[test]
fn the_tour_is_what_happens() {
    let ensemble = shared_server().chroot("tour");
    let steps = steps(README);
    assert!(steps.len() > 20, "the README has lost its tour");
    let scratch = Workdir::new("tour");
    let mut hosts: BTreeMap<&str, Mount> = BTreeMap::new();
    for Step { host, command, output } in steps {
        let mount = hosts.entry(host).or_insert_with(|| Mount::new(&ensemble));
        // Who types sees the other host's work before; a test types faster than events travel.
        mount.bash("sync .").success();
        // Others may type the same at the same time.
        let typed = command.replace("/tmp/", &format!("{}/", scratch.path().display()));
        let seen = mount.script(Shell::Bash, &format!("exec 2>&1\n{typed}")).run().stdout;
        // A shell that is typed into does not number its lines.
        let seen: Vec<String> = seen.lines().map(|line| line.replace("bash: line 2: ", "bash: ")).collect();
        let seen: Vec<String> = seen.iter().map(|line| line.chars().take(200).collect()).collect();
        assert_eq!(seen, output, "{host}$ {command}");
    }
}
