//! Hosts: shells that do one step each time they are told to, all at the same moment.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rig::{Job, Mount, Shell, Workdir};

use crate::world::{c_path, check};

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shells that wait for words on descriptor 3 and answer on descriptor 4.
pub struct Hosts {
    words: Vec<File>,
    answers: Receiver<String>,
    jobs: Vec<Job>,
    _workdir: Workdir,
}

impl Hosts {
    /// Starts one host for each of these, all with the same script; `$1` is its name: `host0` and so on.
    pub fn start(places: &[(&Mount, Shell)], script: &str) -> Hosts {
        let workdir = Workdir::new("hosts");
        let fifo = |name: &str| -> (PathBuf, File) {
            let path = workdir.path().join(name);
            check(unsafe { libc::mkfifo(c_path(&path).as_ptr(), 0o600) }).expect("a fifo");
            // For reading and writing, so that no open waits for the other side and no end is ever seen.
            let file = OpenOptions::new().read(true).write(true).open(&path).expect("one's own fifo");
            (path, file)
        };
        let (out, answers) = fifo("answers");
        let (mut words, mut jobs) = (Vec::new(), Vec::new());
        for (number, (mount, shell)) in places.iter().enumerate() {
            let name = format!("host{number}");
            let (path, file) = fifo(&name);
            let script = format!("exec 3<'{}' 4>>'{}'\n{script}", path.display(), out.display());
            jobs.push(mount.script(*shell, &script).arg(&name).deadline(2 * PATIENCE).start());
            words.push(file);
        }
        let (say, hear) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(answers).lines() {
                let line = line.expect("text");
                if line == "end" || say.send(line).is_err() {
                    return;
                }
            }
        });
        // The reader ends with this word; it would wait for ever on a fifo that is open for writing as well.
        let end = OpenOptions::new().write(true).open(&out).expect("one's own fifo");
        Hosts { words: words.into_iter().chain([end]).collect(), answers: hear, jobs, _workdir: workdir }
    }

    /// Says a word to some hosts, at once, and gives the answer of each.
    #[track_caller]
    pub fn say(&mut self, hosts: impl IntoIterator<Item = usize>, word: &str) -> Vec<String> {
        let hosts: Vec<usize> = hosts.into_iter().collect();
        for host in &hosts {
            self.words[*host].write_all(format!("{word}\n").as_bytes()).expect("one's own fifo");
        }
        let answer = |_| match self.answers.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(_) => panic!("a host does not answer {word}: {:?}", self.jobs),
        };
        hosts.iter().map(answer).collect()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if let Some(end) = self.words.last_mut() {
            let _ = end.write_all(b"end\n");
        }
    }
}
