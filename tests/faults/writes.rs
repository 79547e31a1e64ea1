//! Writes and removals whose request or reply is lost: one effect or none, and never a second one later.

use std::collections::BTreeMap;

use rig::{Change, Mode, Output, Shell, number, until};

use crate::place::{Cut, Place, told};

/// The data that a file was set to, in order, by the mount.
fn sets(place: &Place, path: &str) -> Vec<String> {
    let session = place.session();
    let ours = place.history(path).into_iter().filter(|(by, _)| *by == session);
    let data = ours.filter_map(|(_, change)| match change {
        Change::SetData { data, .. } => Some(String::from_utf8(data).expect("text")),
        _ => None,
    });
    data.collect()
}

/// Runs a script whose write to a path is cut; somebody else does something while the connection is away.
fn cut(place: &Place, cut: Cut, path: &str, script: &str, meanwhile: Option<&dyn Fn()>) -> Output {
    let trap = place.lose(cut, path, meanwhile.is_some());
    let job = place.mount.script(Shell::Bash, script).start();
    if let Some(act) = meanwhile {
        until("the connection is cut", || trap.sprung());
        act();
        place.proxy.accept();
    }
    let output = job.wait();
    assert!(trap.sprung(), "{script}: nothing was cut");
    output
}

/// The ways to set a file that is there, all to the line `ours`.
const SETS: [&str; 4] = [
    "echo ours > NAME",
    "version=$(. ./NAME@stat && echo $version) && echo ours > NAME@v=$version",
    "exec 9<> NAME && echo ours >&9",
    "echo ours > .new.swp && mv .new.swp NAME",
];

#[test]
fn a_set_that_is_cut_has_one_effect_or_none() {
    let place = Place::new("sets");
    let mut count = 0;
    for script in (0..number("FAULT_ROUNDS", 1)).flat_map(|_| SETS) {
        for lost in Cut::BOTH {
            for rival in [false, true] {
                count += 1;
                let (name, path) = (format!("f{count}"), format!("/f{count}"));
                place.witness.create(&path, b"old", Mode::Persistent).unwrap();
                until("the mount has heard", || place.mount.join(&name).exists());
                let theirs = || assert!(place.witness.set(&path, b"theirs", None).is_ok());
                let meanwhile: Option<&dyn Fn()> = if rival { Some(&theirs) } else { None };
                let output = cut(&place, lost, &path, &script.replace("NAME", &name), meanwhile);
                let what = format!("{script}, {lost:?} lost, rival {rival}: {output:?}");
                let sets = sets(&place, &path);
                assert!(sets.len() <= 1, "{what}: set twice");
                match output.code() {
                    0 => assert_eq!(sets, ["ours\n"], "{what}"),
                    _ => assert!(told(&output, "Input/output error") || told(&output, "Stale file"), "{what}"),
                }
                if rival {
                    assert_ne!(output.code(), 0, "{what}: nobody can know");
                    assert_eq!(place.witness.text(&path), "theirs", "{what}: somebody else's is overwritten");
                } else if lost == Cut::Request {
                    assert_eq!(output.code(), 0, "{what}: nothing had happened");
                }
                place.witness.delete(&path, None).unwrap();
            }
        }
    }
}

#[test]
fn lines_that_are_appended_while_replies_are_lost_are_there_once() {
    let place = Place::new("appends");
    place.witness.create("/log", b"begin\n", Mode::Persistent).unwrap();
    until("the mount has heard", || place.mount.join("log").exists());
    let (mut told_done, mut told_unknown) = (vec!["begin".to_owned()], Vec::new());
    for round in 0..6 * number("FAULT_ROUNDS", 1) {
        let theirs = || {
            let (data, stat) = place.witness.get("/log").unwrap();
            let line = format!("theirs{round}\n");
            place.witness.set("/log", &[&data[..], line.as_bytes()].concat(), Some(stat.version)).unwrap();
        };
        let meanwhile: Option<&dyn Fn()> = if round % 3 == 2 { Some(&theirs) } else { None };
        let line = format!("line{round}");
        let output = cut(&place, Cut::BOTH[round % 2], "/log", &format!("echo {line} >> log"), meanwhile);
        if meanwhile.is_some() {
            told_done.push(format!("theirs{round}"));
        }
        if output.code() == 0 {
            told_done.push(line);
        } else {
            assert!(told(&output, "Input/output error"), "{output:?}");
            told_unknown.push(line);
        }
    }
    let text = place.witness.text("/log");
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    text.lines().for_each(|line| *lines.entry(line).or_default() += 1);
    assert!(lines.values().all(|&times| times == 1), "a line is there twice: {text}");
    assert!(told_done.iter().all(|line| lines.contains_key(&line[..])), "{told_done:?} are not all in {text}");
    let accounted = |line: &str| told_done.iter().chain(&told_unknown).any(|known| known == line);
    assert!(lines.keys().all(|line| accounted(line)), "somebody wrote more: {text}");
    assert!(!told_unknown.is_empty(), "a lost reply is known to nobody");
}

#[test]
fn a_removal_that_is_cut_is_ours_or_an_error_and_hits_no_successor() {
    let place = Place::new("removals");
    let session = place.session();
    let mut count = 0;
    for (script, data) in
        (0..number("FAULT_ROUNDS", 1)).flat_map(|_| [("rm NAME", "x"), ("rmdir NAME", ""), ("unlink NAME", "x")])
    {
        for lost in Cut::BOTH {
            for rival in [false, true] {
                count += 1;
                let (name, path) = (format!("n{count}"), format!("/n{count}"));
                place.witness.create(&path, data.as_bytes(), Mode::Persistent).unwrap();
                until("the mount has heard", || place.mount.join(&name).exists());
                let theirs = || {
                    let _ = place.witness.delete(&path, None);
                    place.witness.create(&path, b"theirs", Mode::Persistent).unwrap();
                };
                let meanwhile: Option<&dyn Fn()> = if rival { Some(&theirs) } else { None };
                let output = cut(&place, lost, &path, &script.replace("NAME", &name), meanwhile);
                let what = format!("{script}, {lost:?} lost, rival {rival}: {output:?}");
                let deletes = |(by, change): &&(i64, Change)| *by == session && matches!(change, Change::Delete { .. });
                let ours = place.history(&path).iter().filter(deletes).count();
                assert!(ours <= 1, "{what}: deleted twice");
                assert!(output.code() != 0 || ours == 1, "{what}: a success that was somebody else's");
                assert!(ours == 0 || lost == Cut::Request || told(&output, "Input/output error"), "{what}");
                if rival {
                    assert_eq!(place.witness.text(&path), "theirs", "{what}: the successor was hit");
                    place.witness.delete(&path, None).unwrap();
                } else if lost == Cut::Request {
                    assert_eq!(output.code(), 0, "{what}: nothing had happened");
                }
            }
        }
    }
}

#[test]
fn as_many_numbers_are_taken_as_were_reported() {
    let place = Place::new("numbers");
    let ways =
        ["echo x > q/n-@s", "mkdir q/n-@s", "mv tmp q/n-@s", "ln tmp q/n-@s", "echo x > q/n-@es", "mv tmp q/n-@es"];
    let held = ["echo x > q/n-@hs", "exec 9> q/n-@hs && echo x >&9"];
    place.mount.bash("mkdir q").success();
    let (mut done, mut unknown) = (0, 0);
    for script in (0..number("FAULT_ROUNDS", 1)).flat_map(|_| ways.iter().chain(&held)) {
        for lost in Cut::BOTH {
            place.mount.bash("[ -e tmp ] || echo x > tmp").success();
            let before = place.witness.children("/q").unwrap().len();
            let output = cut(&place, lost, "/q/n-", script, None);
            let what = format!("{script}, {lost:?} lost: {output:?}");
            if held.contains(script) {
                until(&format!("{what}: nobody holds it"), || place.witness.children("/q").unwrap().len() == before);
                continue;
            }
            match output.code() {
                0 => done += 1,
                _ => {
                    let moved = script.starts_with("mv") && told(&output, "cannot stat 'tmp'");
                    assert!(told(&output, "Input/output error") || moved, "{what}");
                    unknown += 1;
                }
            }
            // An ephemeral is known to be ours by its owner, so its outcome is never unknown.
            assert!(output.code() == 0 || lost == Cut::Reply && !script.ends_with("@es"), "{what}");
            until(&format!("{what}: {done} done, {unknown} unknown"), || {
                let count = place.witness.children("/q").unwrap().len();
                (done..=done + unknown).contains(&count)
            });
        }
    }
    assert_eq!(place.witness.children("/q").unwrap().len(), done + unknown, "each reply that was lost had made one");
}
