//! Options as mount(8) writes them, turned into long ones.

use std::ffi::{OsStr, OsString};

use clap::CommandFactory;

use super::Args;

/// What mount(8), systemd and fstab say to themselves or to the kernel and hand on all the same. None of it means anything
/// to a tree that has no set-user-id, device or executable files and no access times.
const OF_MOUNT: [&str; 35] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "nofail",
    "_netdev",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "async",
    "sync",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "silent",
    "loud",
    "comment",
    "uhelper",
];

/// Short options that take no value, so that `-fo LIST` is understood.
const SHORT_FLAGS: &str = "fhvV";

/// Replaces each `-o LIST` by the long options that it stands for, and tells their names.
///
/// # Errors
/// One line that says what is wrong with a list.
pub(super) fn expand(arguments: impl IntoIterator<Item = OsString>) -> Result<(Vec<OsString>, Vec<String>), String> {
    let mut arguments = arguments.into_iter();
    let mut expanded: Vec<OsString> = arguments.next().into_iter().collect();
    let mut listed = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            expanded.push(argument);
            expanded.extend(arguments.by_ref());
            break;
        }
        let Some((flags, list)) = cluster(&argument) else {
            expanded.push(argument);
            continue;
        };
        if !flags.is_empty() {
            expanded.push(format!("-{flags}").into());
        }
        let list = if list.is_empty() { arguments.next().ok_or("-o needs a list: -o NAME[=VALUE],...")? } else { list };
        let list = list.into_string().map_err(|list| format!("-o {}: not UTF-8", list.display()))?;
        for option in split(&list)? {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (&*option, None),
            };
            if let Some(name) = check(name)? {
                let long = name.replace('_', "-");
                if value.is_none() && takes_value(&long) {
                    return Err(format!("-o {name} needs a value: -o {name}=VALUE"));
                }
                expanded.push(value.map_or_else(|| format!("--{long}"), |value| format!("--{long}={value}")).into());
                listed.push(long.replace('-', "_"));
            }
        }
    }
    Ok((expanded, listed))
}

/// Tells whether a long option has a value, which would be looked for in the argument behind it.
fn takes_value(long: &str) -> bool {
    Args::command().get_arguments().any(|arg| arg.get_long() == Some(long) && arg.get_action().takes_values())
}

/// Splits `-fvoLIST` into its flags and the list behind `o`.
fn cluster(argument: &OsStr) -> Option<(String, OsString)> {
    let bytes = argument.as_encoded_bytes().strip_prefix(b"-")?;
    let at = bytes.iter().position(|byte| !SHORT_FLAGS.as_bytes().contains(byte))?;
    let list = bytes[at..].strip_prefix(b"o")?;
    let flags = String::from_utf8(bytes[..at].to_vec()).ok()?;
    let list = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(list).to_owned();
    Some((flags, list))
}

/// Checks the name of a listed option; none when mount(8) was talking to itself.
fn check(name: &str) -> Result<Option<&str>, String> {
    if OF_MOUNT.contains(&name) || name.starts_with("x-") || name.starts_with("X-") {
        return Ok(None);
    }
    match name {
        "remount" => Err("-o remount: a mount cannot be changed; unmount it and mount it again".to_owned()),
        "fsname" | "subtype" => Err(format!("-o {name}: it is the ensemble's connect string, or zkmount")),
        "help" | "version" | "" => Err(format!("there is no option -o {name} (zkmount --help lists all)")),
        _ if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            || name.starts_with('-') =>
        {
            Err(format!("there is no option -o {name:?} (zkmount --help lists all)"))
        }
        _ => Ok(Some(name)),
    }
}

/// Splits a list by its commas, but for those behind a backslash and those in double quotes.
fn split(list: &str) -> Result<Vec<String>, String> {
    let mut options = Vec::new();
    let mut option = String::new();
    let mut quoted = false;
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' => match characters.next() {
                Some(escaped @ (',' | '\\' | '"')) => option.push(escaped),
                other => option.extend(std::iter::once('\\').chain(other)),
            },
            ',' if !quoted => options.push(std::mem::take(&mut option)),
            _ => option.push(character),
        }
    }
    if quoted {
        return Err(format!("-o {list}: a quote is not closed"));
    }
    options.push(option);
    options.retain(|option| !option.is_empty());
    Ok(options)
}
