//! The kernel's table of mounts.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The type of our mounts in the table.
pub(super) const FSTYPE: &str = "fuse.zkmount";

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its number, which no other mount of the namespace has.
    pub id: u64,
    /// Where.
    pub point: PathBuf,
    /// The type of the file system.
    pub fstype: String,
    /// What is mounted.
    pub source: String,
}

impl Mount {
    /// Tells whether a FUSE daemon serves it.
    pub(super) fn is_fuse(&self) -> bool {
        self.fstype == "fuse" || self.fstype.starts_with("fuse.")
    }
}

/// The uppermost mount on a path, of this process's namespace.
pub(super) fn on(path: &Path) -> io::Result<Option<Mount>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(parse(&table).into_iter().rfind(|mount| mount.point == path))
}

/// Reads a table: of each line the first and the fifth field, and behind a lone dash the type and the source.
fn parse(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
            let text = |at: usize| fields.get(at).map(|field| unescape(field));
            Some(Mount {
                id: std::str::from_utf8(fields.first()?).ok()?.parse().ok()?,
                point: PathBuf::from(OsString::from_vec(text(4)?)),
                fstype: String::from_utf8_lossy(&text(dash + 1)?).into_owned(),
                source: String::from_utf8_lossy(&text(dash + 2)?).into_owned(),
            })
        })
        .collect()
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table() {
        let table = b"36 35 98:0 / / rw,noatime - ext4 /dev/root rw\n\
            40 36 0:50 / /mnt/a\\040b rw,nosuid shared:3 master:1 - fuse.zkmount zk1:2181,zk2:2181/app rw,user_id=0\n\
            41 36 0:51 / /mnt/a\\040b rw - fuse zk\\134 rw\nbroken line\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 3);
        assert_eq!((mounts[1].id, &*mounts[1].point), (40, Path::new("/mnt/a b")));
        assert_eq!((&*mounts[1].fstype, &*mounts[1].source), (FSTYPE, "zk1:2181,zk2:2181/app"));
        assert!(mounts[1].is_fuse() && mounts[2].is_fuse() && !mounts[0].is_fuse());
        assert_eq!(mounts[2].source, "zk\\");
    }

    #[test]
    fn the_root_is_mounted() {
        assert!(on(Path::new("/")).unwrap().is_some());
        assert_eq!(on(Path::new("/proc/self")).unwrap(), None);
    }
}
