//! The one table from errors to errnos.

use std::fmt;

use crate::mapping::PathError;
use crate::session::{MultiError, StoreError};

/// An error number of Linux.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident),* $(,)?) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: Errno = Errno(libc::$name);)*

            /// The symbol of the error number; none when this program never uses it.
            pub fn symbol(self) -> Option<&'static str> {
                match self {
                    $(Errno::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos!(
    EACCES,
    EAGAIN,
    EBADF,
    EBUSY,
    EDQUOT,
    EEXIST,
    EFBIG,
    EINTR,
    EINVAL,
    EIO,
    EISDIR,
    ENAMETOOLONG,
    ENODATA,
    ENOENT,
    ENOLCK,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    ENOTDIR,
    ENOTEMPTY,
    EOPNOTSUPP,
    EPERM,
    ERANGE,
    EROFS,
    ESTALE,
    ETIMEDOUT,
    EXDEV,
);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.symbol() {
            Some(symbol) => f.write_str(symbol),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}

impl From<&StoreError> for Errno {
    fn from(error: &StoreError) -> Errno {
        match error {
            StoreError::NoNode => Errno::ENOENT,
            StoreError::NodeExists => Errno::EEXIST,
            StoreError::NotEmpty => Errno::ENOTEMPTY,
            StoreError::NoAuth => Errno::EACCES,
            StoreError::InvalidAcl | StoreError::BadArguments(_) => Errno::EINVAL,
            StoreError::BadVersion => Errno::ESTALE,
            StoreError::NoChildrenForEphemerals => Errno::EPERM,
            StoreError::QuotaExceeded => Errno::EDQUOT,
            StoreError::TooLarge => Errno::EFBIG,
            StoreError::ReadOnly => Errno::EROFS,
            StoreError::Unsupported(_) => Errno::EOPNOTSUPP,
            StoreError::TimedOut | StoreError::Unanswered => Errno::ETIMEDOUT,
            StoreError::SessionLost | StoreError::Unknown | StoreError::Closed | StoreError::Unexpected(_) => {
                Errno::EIO
            }
        }
    }
}

impl From<StoreError> for Errno {
    fn from(error: StoreError) -> Errno {
        Errno::from(&error)
    }
}

impl From<MultiError> for Errno {
    fn from(error: MultiError) -> Errno {
        Errno::from(&error.error)
    }
}

impl From<PathError> for Errno {
    fn from(_: PathError) -> Errno {
        Errno::EINVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_each() {
        for (error, errno) in [
            (StoreError::NoNode, Errno::ENOENT),
            (StoreError::NodeExists, Errno::EEXIST),
            (StoreError::NotEmpty, Errno::ENOTEMPTY),
            (StoreError::NoAuth, Errno::EACCES),
            (StoreError::InvalidAcl, Errno::EINVAL),
            (StoreError::BadArguments(String::new()), Errno::EINVAL),
            (StoreError::BadVersion, Errno::ESTALE),
            (StoreError::NoChildrenForEphemerals, Errno::EPERM),
            (StoreError::QuotaExceeded, Errno::EDQUOT),
            (StoreError::TooLarge, Errno::EFBIG),
            (StoreError::ReadOnly, Errno::EROFS),
            (StoreError::Unsupported(""), Errno::EOPNOTSUPP),
            (StoreError::TimedOut, Errno::ETIMEDOUT),
            (StoreError::Unanswered, Errno::ETIMEDOUT),
            (StoreError::SessionLost, Errno::EIO),
            (StoreError::Unknown, Errno::EIO),
            (StoreError::Closed, Errno::EIO),
            (StoreError::Unexpected(String::new()), Errno::EIO),
        ] {
            assert_eq!(Errno::from(&error), errno, "{error}");
        }
    }

    #[test]
    fn symbols() {
        assert_eq!(Errno::ESTALE.to_string(), "ESTALE");
        assert_eq!(Errno(9999).to_string(), "errno 9999");
    }
}
