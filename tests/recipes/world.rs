//! Two hosts, a witness, and local files in which commands leave what they did, in one order for all of them.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use rig::{Job, Mount, Proxy, Script, Server, Shell, Witness, Workdir, shared_server, until};

/// The shells that are /bin/sh somewhere.
pub const SHELLS: [Shell; 2] = [Shell::Dash, Shell::Bash];

/// See the module.
pub struct World {
    pub a: Mount,
    pub b: Mount,
    pub witness: Witness,
    pub local: Workdir,
}

impl World {
    /// Two mounts on a tree of their own.
    pub fn new(name: &str) -> World {
        let connect = shared_server().chroot(name);
        World::of(Mount::new(&connect), Mount::new(&connect), &connect)
    }

    /// Two mounts on a server of the test's own, whose sessions outlast a restart on a busy machine.
    pub fn on(server: &Server, name: &str) -> World {
        let connect = server.chroot(name);
        let mount = || Mount::options(&connect).args(&["--session-timeout", "120s"]).mount();
        World::of(mount(), mount(), &connect)
    }

    /// The first mount is behind a proxy, and its session ends this soon when it is cut off.
    pub fn fragile(name: &str, session: &str) -> (World, Proxy) {
        let connect = shared_server().chroot(name);
        let proxy = Proxy::to(shared_server());
        let a = Mount::options(&proxy.instead_of(&connect)).args(&["--session-timeout", session]).mount();
        (World::of(a, Mount::new(&connect), &connect), proxy)
    }

    fn of(a: Mount, b: Mount, connect: &str) -> World {
        World { a, b, witness: Witness::connect(connect), local: Workdir::new("recipes") }
    }

    /// One mount or the other.
    pub fn mount(&self, number: usize) -> &Mount {
        if number.is_multiple_of(2) { &self.a } else { &self.b }
    }

    /// `RECIPE ARGUMENTS`, which may be quoted, on a host of this name, in the mount's root. `$L` is the local directory.
    pub fn recipe(&self, mount: &Mount, shell: Shell, host: &str, recipe: &str, arguments: &str) -> Script {
        let path = recipes().join(recipe);
        let script = format!("exec {} {} {arguments}", shell.name(), path.display());
        mount.script(Shell::Bash, &script).env("ZKMOUNT_HOST", host).env("L", self.local.path())
    }

    /// A script that uses several recipes, by name.
    pub fn script(&self, mount: &Mount, shell: Shell, host: &str, script: &str) -> Script {
        let path = format!("{}:{}", recipes().display(), std::env::var("PATH").unwrap_or_default());
        mount.script(shell, script).env("PATH", path).env("ZKMOUNT_HOST", host).env("L", self.local.path())
    }

    /// The lines that commands have appended to a local file.
    pub fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.local.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    pub fn until_lines(&self, file: &str, count: usize) -> Vec<String> {
        until(&format!("{file} has {count} lines"), || self.lines(file).len() >= count);
        self.lines(file)
    }

    /// Makes a local file, on which commands wait.
    pub fn touch(&self, file: &str) {
        OpenOptions::new().create(true).append(true).open(self.local.path().join(file)).expect("a local file");
    }

    /// Fails if a command found more at work than there may be.
    #[track_caller]
    pub fn assert_safe(&self) {
        assert_eq!(self.lines("violations"), Vec::<String>::new(), "safety was violated");
    }

    /// The names in a directory, by the witness; those with a dot left out.
    pub fn names(&self, dir: &str) -> Vec<String> {
        let mut names = self.witness.children(dir).unwrap_or_default();
        names.retain(|name| !name.starts_with('.'));
        names
    }

    #[track_caller]
    pub fn until_names(&self, dir: &str, count: usize) {
        until(&format!("{count} names are in {dir}"), || self.names(dir).len() == count);
    }
}

/// Where the recipes are.
pub fn recipes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/recipes")
}

/// Shell commands that take one of `count` local permits, and note a violation when there is none. The kernel gives a permit
/// back when the last process that has it is gone. It does so before it closes descriptor 9, with what the recipe holds, as
/// it closes them in order: a permit is never missed because its owner is still on its way out.
pub fn permit(count: usize) -> String {
    format!(
        "got=; for i in $(seq {count}); do exec 5>>\"$L/permit$i\"; flock -n 5 && got=$i && break; done; \
         [ \"$got\" ] || echo \"$ZK_NODE of $ZKMOUNT_HOST\" >>\"$L/violations\""
    )
}

/// A process id that a command has noted, and all that it started: killed.
#[track_caller]
pub fn kill_group(noted: &str) {
    let pid: i32 = noted.parse().unwrap_or_else(|_| panic!("{noted:?} is no process id"));
    assert!(pid > 1);
    unsafe { libc::killpg(pid, libc::SIGKILL) };
}

#[track_caller]
pub fn until_says(job: &Job, word: &str) {
    until(&format!("a script says {word:?}"), || job.stdout().contains(word));
}

/// How often a test does again what it does.
pub fn rounds(usual: usize) -> usize {
    rig::number("RECIPE_ROUNDS", usual)
}
