//! Files that the settings name: secrets that only their owner may read, and what is no secret.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::Surroundings;

/// Longer than any list of certificates.
const LONGEST: u64 = 4 << 20;

/// A file that an option names.
pub(super) struct Named<'a> {
    option: &'a str,
    path: PathBuf,
    /// Permission bits that a secret must not have.
    forbidden: u32,
}

impl<'a> Named<'a> {
    /// The file that `option=file` names. A plain name is looked for among the credentials that systemd passed first.
    pub(super) fn new(option: &'a str, file: &Path, here: &Surroundings) -> Named<'a> {
        let passed = here.credentials_directory.as_ref().filter(|_| file.components().count() == 1);
        let passed = passed.map(|directory| directory.join(file)).filter(|path| path.exists());
        // systemd may grant a file to the service's user by an ACL, which the group's bits show.
        match passed {
            Some(path) => Named { option, path, forbidden: 0o007 },
            None => Named { option, path: here.directory.join(file), forbidden: 0o077 },
        }
    }

    /// What is wrong, in one line.
    pub(super) fn wrong(&self, what: impl fmt::Display) -> String {
        format!("{}={}: {what}", self.option, self.path.display())
    }

    /// The text of a file that is no secret.
    pub(super) fn text(&self) -> Result<String, String> {
        read(&self.path).map(|(text, _)| text).map_err(|error| self.wrong(error))
    }

    /// The text of a secret.
    ///
    /// # Errors
    /// One line that says what is wrong; when others than the owner have access to the file, too.
    pub(super) fn secret(&self) -> Result<String, String> {
        let (text, mode) = read(&self.path).map_err(|error| self.wrong(error))?;
        if mode & self.forbidden != 0 {
            let path = self.path.display();
            return Err(self.wrong(format_args!("others than the owner have access; chmod 600 {path}")));
        }
        Ok(text)
    }
}

/// The text of a regular file and its mode. A FIFO is not waited for.
fn read(path: &Path) -> io::Result<(String, u32)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST {
        return Err(io::Error::other("too long"));
    }
    Ok((text, metadata.mode()))
}
