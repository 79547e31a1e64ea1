//! Credentials, from a file that only its owner can read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::Surroundings;

/// Longer than any user and password.
const LONGEST: u64 = 4096;

/// Who we are to the ensemble. What is secret is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Reads `user:password`. A plain name is looked for among the credentials that systemd passed first.
    ///
    /// # Errors
    /// One line that says what is wrong; when others than the owner can read the file, too.
    pub fn read(file: &Path, here: &Surroundings) -> Result<Credentials, String> {
        let passed = here.credentials_directory.as_ref().filter(|_| file.components().count() == 1);
        let passed = passed.map(|directory| directory.join(file)).filter(|path| path.exists());
        // systemd may grant a file to the service's user by an ACL, which the group's bits show.
        let (path, forbidden) = match passed {
            Some(path) => (path, 0o007),
            None => (here.directory.join(file), 0o077),
        };
        let wrong = |what: &dyn fmt::Display| format!("credentials={}: {what}", path.display());
        let (text, mode) = read(&path).map_err(|error| wrong(&error))?;
        if mode & forbidden != 0 {
            return Err(wrong(&format_args!("others than the owner have access; chmod 600 {}", path.display())));
        }
        Credentials::parse(&text).ok_or_else(|| wrong(&"one line user:password is wanted"))
    }

    fn parse(text: &str) -> Option<Credentials> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (user, password) = line.split_once(':')?;
        let whole = !user.is_empty() && !password.is_empty() && !line.contains(['\n', '\r']);
        whole.then(|| Credentials { user: user.to_owned(), password: password.to_owned() })
    }

    /// The authentication scheme.
    pub fn scheme(&self) -> &'static str {
        "digest"
    }

    /// What proves who we are in that scheme: `user:password`.
    pub fn secret(&self) -> Vec<u8> {
        format!("{}:{}", self.user, self.password).into_bytes()
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
        return Err(io::Error::other("too long for one line user:password"));
    }
    Ok((text, metadata.mode()))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
