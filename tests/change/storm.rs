//! Random changes by other clients and through other mounts, until so many have been made.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rig::{Mode, Mount, Random, Witness};
use zookeeper_client::{Acls, CreateMode};

/// Names in each directory.
const NAMES: usize = 30;

/// Changes that are yet to be made, by all authors together.
pub struct Quota(AtomicUsize);

impl Quota {
    /// So many.
    pub fn of(changes: usize) -> Quota {
        Quota(AtomicUsize::new(changes))
    }

    fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// A try has made a change, or not.
    fn count(&self, applied: bool) {
        if applied {
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        }
    }
}

/// Changes znodes in some directories as a client that knows nothing of files, until the quota is used up.
pub fn by_client(witness: &Witness, dirs: &[String], seed: u64, quota: &Quota) {
    let mut random = Random::new(seed);
    for round in 0_u64.. {
        if quota.is_used_up() {
            return;
        }
        let dir = &dirs[random.below(dirs.len())];
        let path = format!("{dir}/n{}", random.below(NAMES));
        let child = format!("{path}/c{}", random.below(3));
        let data = format!("{round} by client {seed}");
        quota.count(match random.below(14) {
            0..3 => witness.create(&path, data.as_bytes(), Mode::Persistent).is_ok(),
            3 => witness.create(&path, b"", Mode::Persistent).is_ok(),
            4..7 => witness.set(&path, data.as_bytes(), None).is_ok(),
            7..9 => witness.delete(&path, None).is_ok(),
            9 => replace(witness, &path, data.as_bytes()),
            // A file becomes a directory.
            10 => witness.create(&child, data.as_bytes(), Mode::Persistent).is_ok(),
            11 => witness.set(&child, data.as_bytes(), None).is_ok(),
            12 => witness.delete(&child, None).is_ok(),
            _ => remove_all(witness, &path),
        });
    }
}

/// Another incarnation in one transaction.
fn replace(witness: &Witness, path: &str, data: &[u8]) -> bool {
    let replaced = witness.multi(|multi| {
        multi.add_delete(path, None)?;
        multi.add_create(path, data, &CreateMode::Persistent.with_acls(Acls::anyone_all()))
    });
    replaced.is_ok()
}

fn remove_all(witness: &Witness, path: &str) -> bool {
    for name in witness.children(path).unwrap_or_default() {
        let _ = witness.delete(&format!("{path}/{name}"), None);
    }
    witness.delete(path, None).is_ok()
}

/// Changes files in some directories through a mount, until the quota is used up.
pub fn by_mount(mount: &Mount, dirs: &[String], seed: u64, quota: &Quota) {
    let mut random = Random::new(seed);
    for round in 0_u64.. {
        if quota.is_used_up() {
            return;
        }
        let dir = mount.join(dirs[random.below(dirs.len())].trim_start_matches('/'));
        let path = dir.join(format!("n{}", random.below(NAMES)));
        let data = format!("{round} by mount {seed}");
        quota.count(match random.below(10) {
            0..2 => OpenOptions::new().write(true).create_new(true).open(&path).and_then(|f| put(f, &data)).is_ok(),
            2 => fs::create_dir(&path).is_ok(),
            3..5 => OpenOptions::new().write(true).truncate(true).open(&path).and_then(|f| put(f, &data)).is_ok(),
            5..7 => fs::remove_file(&path).is_ok(),
            7 => fs::remove_dir(&path).is_ok(),
            _ => save(dir.join(format!("t{seed}")), path, &data),
        });
    }
}

fn put(mut file: fs::File, data: &str) -> std::io::Result<()> {
    file.write_all(data.as_bytes())
}

/// Writes a new file and renames it onto the old one, if that is no directory.
fn save(new: PathBuf, path: PathBuf, data: &str) -> bool {
    let renamed = fs::write(&new, data).and_then(|()| fs::rename(&new, path)).is_ok();
    if !renamed {
        let _ = fs::remove_file(&new);
    }
    renamed
}
