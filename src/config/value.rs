//! Values of settings. Each error says what a right value looks like.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::mapping::{Acl, Names};

/// `10s`, `500ms`, `2m`, `1h`; a bare number counts seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is wanted, such as 10s, 500ms or 2m".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// `64M`, `512K`, `1G`; a bare number counts bytes.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let wrong = || "a size is wanted, such as 64M, 512K or 0".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| wrong())?;
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Permission bits.
pub(super) fn mode(text: &str) -> Result<u16, String> {
    let bits = u16::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777 && !text.starts_with('+'));
    bits.ok_or_else(|| "permission bits in octal are wanted, such as 022".to_owned())
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("it is {}", words.join(" or "))
    })
}

/// The character that starts a convention of names.
pub(super) fn names(text: &str) -> Result<Names, String> {
    let mut characters = text.chars();
    let only = characters.next().filter(|_| characters.next().is_none());
    only.and_then(Names::with_at).ok_or_else(|| "one ASCII punctuation character but / . = : _ - is wanted".to_owned())
}

/// `open`, `creator`, or a list of entries.
pub(super) fn acl(text: &str) -> Result<Vec<Acl>, String> {
    match text {
        "open" => Ok(Acl::open()),
        "creator" => Ok(Acl::creator()),
        _ => Acl::parse_list(text).map_err(|wrong| format!("{wrong}; or open, or creator")),
    }
}

/// A list of `target=level`.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    let wrong = || "a level is wanted: error, warn, info, debug or trace, or a list of target=level".to_owned();
    // What is no level would be taken for a target, and so silence all others.
    let levels = ["error", "warn", "info", "debug", "trace", "off"];
    let known = text.split(',').all(|directive| {
        let level = directive.rsplit('=').next().unwrap_or_default();
        levels.contains(&level.to_ascii_lowercase().as_str())
    });
    if !known || EnvFilter::try_new(text).is_err() {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// A user, by number or name.
pub(super) fn user(text: &str) -> Result<u32, String> {
    number(text).or_else(|| lookup(text, user_named)).ok_or_else(|| "no such user".to_owned())
}

/// A group, by number or name.
pub(super) fn group(text: &str) -> Result<u32, String> {
    number(text).or_else(|| lookup(text, group_named)).ok_or_else(|| "no such group".to_owned())
}

fn number(text: &str) -> Option<u32> {
    // The highest number means "leave it" to chown(2).
    text.parse().ok().filter(|number| *number != u32::MAX && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Enough for any entry of the user and group databases; a group with more members than fit is not found by name.
const ENTRY: usize = 64 << 10;

fn lookup(name: &str, by_name: fn(&CString, &mut [libc::c_char]) -> Option<u32>) -> Option<u32> {
    by_name(&CString::new(name).ok()?, &mut vec![0; ENTRY])
}

fn user_named(name: &CString, buffer: &mut [libc::c_char]) -> Option<u32> {
    let mut entry = MaybeUninit::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: the name is a C string, the buffer is as long as said, and the entry, which points into it, is read while it lives.
    unsafe {
        libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found);
        found.as_ref().map(|entry| entry.pw_uid)
    }
}

fn group_named(name: &CString, buffer: &mut [libc::c_char]) -> Option<u32> {
    let mut entry = MaybeUninit::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: as above.
    unsafe {
        libc::getgrnam_r(name.as_ptr(), entry.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found);
        found.as_ref().map(|entry| entry.gr_gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [("10s", 10_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("7", 7000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5s", "1d", "10 s", "99999999999999999999", "18446744073709551615h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("64M", 64 << 20), ("512k", 512 << 10), ("1GiB", 1 << 30), ("17B", 17)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1T", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn modes_users_and_characters() {
        assert_eq!(mode("022"), Ok(0o022));
        assert!(["", "8", "1000", "+22", "rwx"].iter().all(|text| mode(text).is_err()));
        assert_eq!(user("0"), Ok(0));
        assert_eq!(user("root"), Ok(0));
        assert_eq!(group("root"), Ok(0));
        assert!(["", "nobody-of-this-name", "4294967295", "+1"].iter().all(|text| user(text).is_err()));
        assert_eq!(names("%").map(|names| names.at()), Ok('%'));
        assert!(["", "/", "a", "@@", "§"].iter().all(|text| names(text).is_err()));
    }

    #[test]
    fn filters() {
        assert!(["debug", "warn,zkmount=trace", "OFF"].iter().all(|text| log_filter(text).is_ok()));
        assert!(["", "loud", "zkmount", "zkmount=loud", "debug,"].iter().all(|text| log_filter(text).is_err()));
    }
}
