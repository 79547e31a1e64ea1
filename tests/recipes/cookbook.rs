//! The cookbook, typed and compared: each host of its console blocks is a shell that stays, in a mount of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rig::{Job, Mount, Shell, Workdir, shared_server, until};

use crate::world::recipes;

const PAGE: &str = include_str!("../../docs/cookbook.md");

/// A command of a console block: on which host, what is typed, and what is to be seen. Nothing typed is a look at what has come
/// from the background.
struct Step<'a> {
    host: &'a str,
    command: &'a str,
    output: Vec<&'a str>,
}

fn steps(text: &str) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let typed =
            || ["web1$", "web2$", "night$"].iter().find_map(|prompt| Some((*prompt, line.strip_prefix(prompt)?)));
        match (line, typed()) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            _ if !inside => {}
            (_, Some((prompt, command))) => {
                steps.push(Step { host: &prompt[..prompt.len() - 1], command: command.trim(), output: Vec::new() });
            }
            (_, None) => steps.last_mut().expect("a command before its output").output.push(line),
        }
    }
    steps
}

/// The last line of each command's output.
const END: &str = "\u{1}\n";

/// How long output may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell that is typed into.
struct Terminal {
    number: usize,
    directory: Workdir,
    /// The end of its output that has been compared.
    seen: usize,
    job: Job,
    _mount: Mount,
}

impl Terminal {
    fn open(host: &str, ensemble: &str, local: &Path) -> Terminal {
        let options = Mount::options(ensemble).args(&["--session-timeout", "120s"]);
        let mount = if host == "night" { options.o("ro").mount() } else { options.mount() };
        let directory = Workdir::new("terminal");
        // Each command is a file of its own, and the last line of its output says that it has ended.
        let script = "exec 2>&1; number=0; while :; do until [ -e \"$T/$number.ready\" ]; do sleep 0.01; done; \
                      . \"$T/$number\"; printf '\\001\\n'; number=$((number + 1)); done";
        let path = format!("{}:{}", recipes().display(), std::env::var("PATH").unwrap_or_default());
        let job = mount
            .script(Shell::Bash, script)
            .env("T", directory.path())
            .env("L", local)
            .env("PATH", path)
            .env("ZKMOUNT_HOST", host)
            .env("NGINX", "true")
            .env("TZ", "UTC")
            .deadline(Duration::from_secs(600))
            .start();
        Terminal { number: 0, directory, seen: 0, job, _mount: mount }
    }

    /// Types a command, and waits until it has ended.
    fn type_in(&mut self, command: &str, local: &Path) {
        let file = self.directory.path().join(self.number.to_string());
        fs::write(&file, format!("{}\n", command.replace("/tmp/", &private(local)))).expect("a file");
        fs::write(file.with_extension("ready"), "").expect("a file");
        self.number += 1;
        until(command, || self.job.stdout().matches(END).count() >= self.number);
    }

    /// The next `count` lines; fewer when there are no more after a while. What runs in the background may add to them later.
    fn read(&mut self, count: usize, local: &Path) -> Vec<String> {
        let began = Instant::now();
        loop {
            let all = self.job.stdout().replace(END, "");
            let complete = all.rfind('\n').map_or(0, |end| end + 1);
            let next: Vec<&str> = all[self.seen..complete].split_inclusive('\n').take(count).collect();
            if next.len() == count || began.elapsed() > PATIENCE {
                self.seen += next.iter().map(|line| line.len()).sum::<usize>();
                return next.iter().map(|line| line.trim_end().replace(&private(local), "/tmp/")).collect();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What stands for /tmp.
fn private(local: &Path) -> String {
    format!("{}/", local.display())
}

/// A line as it is compared: times, ids and what else is never twice the same are replaced.
fn plain(line: &str) -> String {
    // A script that is sourced says so.
    let line = match (line.starts_with('/'), line.find(": line ")) {
        (true, Some(at)) => format!("bash{}", line[at + 7..].find(": ").map_or("", |colon| &line[at + 7 + colon..])),
        _ => line.to_owned(),
    };
    let volatile = ["0x", " s ", " s.", "time=", "validity", ":"].iter().any(|mark| line.contains(mark));
    if !volatile {
        return line;
    }
    let mut out = String::new();
    let mut rest = line.as_str();
    while let Some(first) = rest.chars().next() {
        let hex = rest.strip_prefix("0x").map(|digits| digits.chars().take_while(char::is_ascii_hexdigit).count() + 2);
        let digits = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').count();
        let (length, text) = match (hex, digits) {
            (Some(length), _) => (length, "0x#".to_owned()),
            // Sequence numbers and addresses are the same each time.
            (_, length) if first.is_ascii_digit() && !rest.starts_with("0000000") && !rest.starts_with("10.0.0.") => {
                (length, "#".to_owned())
            }
            (_, length) if first.is_ascii_digit() => (length, rest[..length].to_owned()),
            _ => (first.len_utf8(), first.to_string()),
        };
        // Columns are filled up with blanks.
        if text == "#" {
            out.truncate(out.trim_end_matches(' ').len() + usize::from(out.ends_with(' ')));
        }
        out.push_str(&text);
        rest = &rest[length..];
    }
    out
}

#[test]
fn the_cookbook_is_what_happens() {
    let ensemble = shared_server().chroot("cookbook");
    let steps = steps(PAGE);
    assert!(steps.len() > 50, "the cookbook has lost its examples");
    let local = Workdir::new("cookbook");
    let mut terminals: BTreeMap<&str, Terminal> = BTreeMap::new();
    for Step { host, command, output } in steps {
        let terminal = terminals.entry(host).or_insert_with(|| Terminal::open(host, &ensemble, local.path()));
        terminal.type_in(command, local.path());
        let seen = terminal.read(output.len(), local.path());
        let compared = |lines: &[String]| -> Vec<String> { lines.iter().map(|line| plain(line)).collect() };
        let output: Vec<String> = output.iter().map(|&line| line.to_owned()).collect();
        assert_eq!(compared(&seen), compared(&output), "{host}$ {command}\n{}", seen.join("\n"));
    }
    for (host, terminal) in &mut terminals {
        let rest = terminal.job.stdout().replace(END, "").split_off(terminal.seen);
        assert_eq!(rest, "", "{host} says more than the page");
        // What still runs in the background was started by the page.
        terminal.type_in("kill $(jobs -p) 2>/dev/null; wait", local.path());
    }
}
