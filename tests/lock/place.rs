//! Two hosts, one tree, and a witness that looks at the queue.

use rig::{Job, Mount, Shell, Witness, shared_server, until};

pub struct Place {
    pub a: Mount,
    pub b: Mount,
    pub witness: Witness,
    pub connect: String,
}

impl Place {
    /// Two mounts on a tree of their own, with an empty file `f` and a directory `d`.
    pub fn new(name: &str) -> Place {
        let connect = shared_server().chroot(name);
        Place::on(&connect, &connect, &connect)
    }

    /// Two mounts, each by a way of its own, and the direct one for the witness.
    pub fn on(a: &str, b: &str, direct: &str) -> Place {
        Place::of(Mount::new(a), Mount::new(b), direct)
    }

    pub fn of(a: Mount, b: Mount, direct: &str) -> Place {
        let place = Place { a, b, witness: Witness::connect(direct), connect: direct.to_owned() };
        place.a.bash("touch f && mkdir d").success();
        place
    }

    /// Contenders in a lock's directory.
    pub fn queue(&self, dir: &str) -> usize {
        let children = self.witness.children(dir).unwrap_or_default();
        children.iter().filter(|name| name.contains("lock")).count()
    }

    #[track_caller]
    pub fn until_queue(&self, dir: &str, length: usize) {
        until(&format!("{length} stand in the queue in {dir}"), || self.queue(dir) == length);
    }
}

/// Starts a script that takes a lock and keeps it until it is killed; returns when it has it.
#[track_caller]
pub fn hold(mount: &Mount, flock: &str) -> Job {
    start(mount, &format!("exec flock {flock} sh -c 'echo held; exec sleep 600'"), "held")
}

/// Starts a script and returns when it has printed this.
#[track_caller]
pub fn start(mount: &Mount, script: &str, word: &str) -> Job {
    let job = mount.script(Shell::Bash, script).start();
    until_says(&job, word);
    job
}

#[track_caller]
pub fn until_says(job: &Job, word: &str) {
    until(&format!("a script says {word:?}"), || {
        assert!(
            job.is_running() || job.stdout().contains(word),
            "it ended without a {word:?}: {}{}",
            job.stdout(),
            job.stderr()
        );
        job.stdout().contains(word)
    });
}
