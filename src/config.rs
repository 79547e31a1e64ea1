//! The settings, validated. Nothing below this layer reads flags or the environment.

mod credentials;
mod ensemble;
mod secret;
mod tls;
mod value;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use credentials::Credentials;
pub use ensemble::Ensemble;

use crate::cli::Args;
use crate::fs::Commit;
use crate::fs::scratch::Patterns;
use crate::mapping::{Acl, Names};
use crate::session::zookeeper::{OnLost, Tls};

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Where the log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// Standard error, which is the journal: it has its own time stamps, and reads levels from a prefix.
    Journal,
    /// The end of a file.
    File(PathBuf),
    /// The socket of syslog, which the journal serves too.
    Syslog,
}

/// The settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Which events, as a list of `target=level`.
    pub filter: String,
    /// In which form.
    pub format: LogFormat,
    /// Where to.
    pub target: LogTarget,
}

/// What to mount, where and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The tree.
    pub ensemble: Ensemble,
    /// Whether to make the chroot if it does not exist.
    pub create_chroot: bool,
    /// Who we are to the ensemble, in its digest scheme.
    pub credentials: Option<Credentials>,
    /// Who we are to it by SASL.
    pub sasl: Option<Credentials>,
    /// How connections are made secret.
    pub tls: Option<Tls>,
    /// The ACL of what is created.
    pub acl: Vec<Acl>,
    /// The session timeout to ask for.
    pub session_timeout: Duration,
    /// The deadline of one operation.
    pub timeout: Duration,
    /// What follows the loss of the session.
    pub on_lost: OnLost,
    /// The bound of the cache, in bytes.
    pub cache: usize,

    /// Where to mount, absolute.
    pub mountpoint: PathBuf,
    /// Whether to mount over what is there.
    pub nonempty: bool,
    /// Whether other users may use the mount.
    pub allow_other: bool,
    /// Whether root may use the mount.
    pub allow_root: bool,
    /// Whether the kernel checks owners and permission bits.
    pub default_permissions: bool,

    /// Whether nothing can be changed.
    pub read_only: bool,
    /// The rules for names.
    pub names: Names,
    /// Whether what has no effect is refused.
    pub strict: bool,
    /// Permission bits taken away from files.
    pub fmask: u16,
    /// Permission bits taken away from directories.
    pub dmask: u16,
    /// Owner of all files.
    pub uid: u32,
    /// Group of all files.
    pub gid: u32,
    /// When a write reaches the ensemble.
    pub commit: Commit,
    /// The names that stay in memory.
    pub scratch: Patterns,

    /// Whether to stay in front.
    pub foreground: bool,
    /// The log.
    pub log: Log,
}

/// What the settings take from the process that we are.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The working directory.
    pub directory: PathBuf,
    /// Where systemd keeps the credentials of the service.
    pub credentials_directory: Option<PathBuf>,
    /// Whether standard error is the journal.
    pub journal: bool,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn of_process() -> Result<Surroundings, String> {
        let directory = std::env::current_dir().map_err(|error| format!("the working directory: {error}"))?;
        Ok(Surroundings {
            directory,
            credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
            journal: std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| is_stderr(&stream.to_string_lossy())),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        })
    }
}

/// Tells whether standard error is the stream `device:inode`.
fn is_stderr(stream: &str) -> bool {
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == stream)
}

impl Config {
    /// Validates the arguments.
    ///
    /// # Errors
    /// One line that says what is wrong and what would be right.
    pub fn new(args: &Args, here: &Surroundings) -> Result<Config, String> {
        let ensemble = Ensemble::parse(&args.ensemble, &here.directory)?;
        let secret = |option, file: &Option<PathBuf>| match file {
            Some(file) => Credentials::read(option, file, here).map(Some),
            None => Ok(None),
        };
        let credentials = secret("credentials", &args.credentials)?;
        let sasl = secret("sasl", &args.sasl)?;
        let tls = tls::tls(args, &ensemble, here)?;
        if ensemble == Ensemble::Memory && (credentials.is_some() || sasl.is_some()) {
            return Err("a tree in memory knows no users; credentials are for a ZooKeeper ensemble".to_owned());
        }
        if args.ro && args.create_chroot {
            return Err("ro creates nothing, so create_chroot cannot go with it".to_owned());
        }
        let timeout = setting("timeout", args.timeout.as_deref(), Duration::from_secs(10), value::duration)?;
        let session_timeout =
            setting("session_timeout", args.session_timeout.as_deref(), Duration::from_secs(30), value::duration)?;
        within("timeout", timeout, Duration::from_millis(100))?;
        within("session_timeout", session_timeout, Duration::from_secs(1))?;
        let acl = setting("acl", args.acl.as_deref(), Acl::open(), value::acl)?;
        let somebody = credentials.is_some() || sasl.is_some() || tls.as_ref().is_some_and(Tls::has_identity);
        if !somebody && acl.iter().any(|entry| entry.scheme == "auth") {
            return Err("acl: the creator is nobody without credentials=FILE, sasl=FILE or tls_cert=FILE".to_owned());
        }
        let umask = setting("umask", args.umask.as_deref(), 0, value::mode)?;
        Ok(Config {
            ensemble,
            create_chroot: args.create_chroot,
            credentials,
            sasl,
            tls,
            acl,
            session_timeout,
            timeout,
            on_lost: setting("on_lost", args.on_lost.as_deref(), OnLost::Reconnect, |text| {
                value::one_of(text, &[("reconnect", OnLost::Reconnect), ("exit", OnLost::Exit)])
            })?,
            cache: setting("cache", args.cache.as_deref(), 64 << 20, value::size)?,
            mountpoint: absolute(&args.mountpoint, &here.directory)?,
            nonempty: args.nonempty,
            allow_other: args.allow_other,
            allow_root: args.allow_root,
            default_permissions: args.default_permissions,
            read_only: args.ro,
            names: setting("at", args.at.as_deref(), Names::default(), value::names)?,
            strict: args.strict,
            fmask: setting("fmask", args.fmask.as_deref(), umask, value::mode)?,
            dmask: setting("dmask", args.dmask.as_deref(), umask, value::mode)?,
            uid: setting("uid", args.uid.as_deref(), here.uid, value::user)?,
            gid: setting("gid", args.gid.as_deref(), here.gid, value::group)?,
            commit: setting("commit", args.commit.as_deref(), Commit::Write, |text| {
                value::one_of(text, &[("write", Commit::Write), ("close", Commit::Close)])
            })?,
            scratch: setting("scratch", args.scratch.as_deref(), Patterns::default(), Patterns::parse)?,
            foreground: args.foreground,
            log: log(args, here)?,
        })
    }
}

/// The value of a setting, or its default.
fn setting<T>(
    name: &str,
    text: Option<&str>,
    default: T,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    match text {
        Some(text) => parse(text).map_err(|wrong| format!("{name}={text}: {wrong}")),
        None => Ok(default),
    }
}

/// An hour is longer than any operation or outage that is worth waiting for.
const LONGEST: Duration = Duration::from_secs(3600);

fn within(name: &str, duration: Duration, least: Duration) -> Result<(), String> {
    if (least..=LONGEST).contains(&duration) { Ok(()) } else { Err(format!("{name}: between {least:?} and 1h")) }
}

fn absolute(path: &Path, directory: &Path) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() {
        return Err("MOUNTPOINT is empty".to_owned());
    }
    let path = directory.join(path);
    std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn log(args: &Args, here: &Surroundings) -> Result<Log, String> {
    let filter = match (&args.log, args.verbose) {
        (Some(filter), _) => value::log_filter(filter).map_err(|wrong| format!("log={filter}: {wrong}"))?,
        // The libraries repeat what we say, in other words. And fuser takes it for an error when the kernel no longer waits
        // for a reply, since its caller was killed.
        (None, 0) => "warn,zkmount=info,zookeeper_client=error,fuser=error,fuser::reply=off".to_owned(),
        (None, 1) => "warn,zkmount=debug,fuser=error,fuser::reply=off".to_owned(),
        (None, _) => "trace".to_owned(),
    };
    let target = match &args.log_file {
        Some(file) => LogTarget::File(absolute(file, &here.directory)?),
        None if here.journal && args.foreground => LogTarget::Journal,
        None if args.foreground => LogTarget::Stderr,
        None => LogTarget::Syslog,
    };
    let format = setting("log_format", args.log_format.as_deref(), LogFormat::Text, |text| {
        value::one_of(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
    })?;
    Ok(Log { filter, format, target })
}

#[cfg(test)]
mod tests;
