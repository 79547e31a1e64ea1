//! Credentials, from a file that only its owner can read.

use std::fmt;
use std::path::Path;

use super::Surroundings;
use super::secret::Named;

/// Longer than any user and password.
const LONGEST: usize = 4096;

/// Who we are to the ensemble. What is secret is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Reads the file of an option: one line `user:password`.
    ///
    /// # Errors
    /// One line that says what is wrong; when others than the owner can read the file, too.
    pub fn read(option: &str, file: &Path, here: &Surroundings) -> Result<Credentials, String> {
        let file = Named::new(option, file, here);
        let text = file.secret()?;
        if text.len() > LONGEST {
            return Err(file.wrong("too long for one line user:password"));
        }
        Credentials::parse(&text).ok_or_else(|| file.wrong("one line user:password is wanted"))
    }

    fn parse(text: &str) -> Option<Credentials> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let (user, password) = line.split_once(':')?;
        let whole = !user.is_empty() && !password.is_empty() && !line.contains(['\n', '\r']);
        whole.then(|| Credentials { user: user.to_owned(), password: password.to_owned() })
    }

    /// What proves who we are in ZooKeeper's digest scheme: `user:password`.
    pub fn digest(&self) -> Vec<u8> {
        format!("{}:{}", self.user, self.password).into_bytes()
    }

    /// User and password.
    pub fn pair(&self) -> (String, String) {
        (self.user.clone(), self.password.clone())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}
