//! The command line.
//!
//! Every setting is one long option. What `-o` lists, in the form of mount(8), is turned into long options before
//! anything is parsed, so that `-o timeout=5s,ro` and `--timeout=5s --ro` are two spellings of one thing, and the later one
//! counts. What mount(8) says to itself (`rw`, `_netdev`, `nofail`, `x-systemd.automount`) is left out.

mod options;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use crate::config::{Config, Surroundings};
use crate::daemon::{self, Failure, Status};

// Lines of the two texts are at most 79 characters long: a terminal of 80 columns shows the tables as they are.
const EXAMPLES: &str = "\
Examples:
  zkmount zk1:2181,zk2:2181/app /mnt/zk   mount the tree below /app
  zkmount -o ro zk1:2181 /mnt/zk          look around, change nothing
  zkmount -f memory: /tmp/try             a tree in memory, to try things out
  fusermount3 -u /mnt/zk                  unmount; ephemerals go at once";

const MORE: &str = "\
Each --NAME=VALUE may be written -o NAME=VALUE, as mount(8) and fstab do. The
list goes by commas; a comma inside a value is written \\, or the value stands
in \"quotes\". What mount(8) says to itself (rw, _netdev, nofail, user, x-...)
is accepted; so are nosuid, nodev, noexec and noatime, which hold anyway.
  mount -t fuse.zkmount zk1:2181/app /mnt/zk -o ro,timeout=5s

Names: the last @ with a keyword says how to make a znode, or which side of it
is meant. It is not part of the znode's name.
  lock@e         ephemeral: lives as long as this mount's session
  lock@h         held: no longer than the file that made it is open, so gone
                 with the process
  job-@s         sequential: ZooKeeper appends ten digits
  job-@es, @hs   sequential and ephemeral, sequential and held
  job-@s:TAG     sequential, and its name is found again by job-@s:TAG
  dir@c          container: removed once it is empty again
  name@t=1h      removed when left alone for an hour
  app@data       the data of a znode, of a directory too
  leaf@dir/      a znode as a directory, a file too
  app@stat       its Stat, as key=value lines
  app@acl        its ACL, one entry a line
  app@v=7        the file, at version 7 only
  app@lock       the lock on it, for flock(1)
  app@events     what changes below it, line by line
  @session, @ephemerals, @txn, @metrics   at the root of the mount
  a@@e           the znode whose name really is a@e

Exit codes:
   0  mounted; with -f: and unmounted again
   1  wrong options, or not permitted
   2  the system: no /dev/fuse, no memory, no log
   8  interrupted before it was mounted
  32  not mounted: the mount point or the ensemble is not as it should be
  75  with -f and --on-lost=exit: the session was lost";

/// Mounts an Apache ZooKeeper tree, whose znodes are files and directories; it returns once the mount answers.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "zkmount",
    version,
    before_help = EXAMPLES,
    after_help = MORE,
    help_template = "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}{all-args}{after-help}",
    args_override_self = true,
    max_term_width = 120,
    disable_help_flag = true,
    disable_version_flag = true
)]
pub struct Args {
    /// The connect string.
    #[arg(help = "host[:port],...[/chroot] of ZooKeeper, or memory: for a tree in memory")]
    pub ensemble: String,
    /// An empty directory
    pub mountpoint: PathBuf,

    /// The options below, as mount(8) writes them
    #[arg(short = 'o', value_name = "NAME[=VALUE],...")]
    options: Vec<String>,
    /// Stay in front; Ctrl-C unmounts
    #[arg(short, long)]
    pub foreground: bool,
    /// Print this help
    #[arg(short, long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// Nothing can be changed, and nothing is created on the server
    #[arg(long, alias = "read-only", overrides_with = "rw", help_heading = "The tree")]
    pub ro: bool,
    #[arg(long, hide = true)]
    rw: bool,
    /// Make the chroot if it does not exist
    #[arg(long, help_heading = "The tree")]
    pub create_chroot: bool,
    /// File with user:password (digest) that only its owner can read
    #[arg(long, value_name = "FILE", help_heading = "The tree")]
    pub credentials: Option<PathBuf>,
    /// File with user:password for SASL (DIGEST-MD5), as private
    #[arg(long, value_name = "FILE", help_heading = "The tree")]
    pub sasl: Option<PathBuf>,
    /// TLS, with servers whose certificates are signed by one in FILE
    #[arg(long, value_name = "FILE", help_heading = "The tree")]
    pub tls_ca: Option<PathBuf>,
    /// Our certificate, where servers want one
    #[arg(long, value_name = "FILE", help_heading = "The tree")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, as private as --credentials [default: in the file of --tls-cert]
    #[arg(long, value_name = "FILE", help_heading = "The tree")]
    pub tls_key: Option<PathBuf>,
    /// ACL of what is created: open, creator or scheme:id:perms,... [default: open]
    #[arg(long, value_name = "ACL", help_heading = "The tree")]
    pub acl: Option<String>,
    /// A write is done with write(2), or in one piece with close(2), whose errors shells do not see [default: write]
    #[arg(long, value_name = "write|close", help_heading = "The tree")]
    pub commit: Option<String>,
    /// Temporary files that stay in memory: LIST for the editors' own, +LIST to add, none
    #[arg(long, value_name = "LIST", help_heading = "The tree")]
    pub scratch: Option<String>,
    /// Another character for the @ in the names below
    #[arg(long, value_name = "CHAR", help_heading = "The tree")]
    pub at: Option<String>,
    /// Refuse chmod, chown and explicit times, rather than ignore them
    #[arg(long, help_heading = "The tree")]
    pub strict: bool,

    /// So long ephemerals and locks outlive a daemon that died, if the server agrees [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = "The session")]
    pub session_timeout: Option<String>,
    /// An operation that takes longer fails with ETIMEDOUT [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = "The session")]
    pub timeout: Option<String>,
    /// When the session is lost: start a new one, or end [default: reconnect]
    #[arg(long, value_name = "reconnect|exit", help_heading = "The session")]
    pub on_lost: Option<String>,
    /// How much of the tree is kept in memory; 0 keeps nothing [default: 64M]
    #[arg(long, value_name = "SIZE", help_heading = "The session")]
    pub cache: Option<String>,

    /// Permission bits to take away from 0644 and 0755 [default: 0]
    #[arg(long, value_name = "OCTAL", help_heading = "The mount")]
    pub umask: Option<String>,
    /// The same, of files only
    #[arg(long, value_name = "OCTAL", help_heading = "The mount")]
    pub fmask: Option<String>,
    /// The same, of directories only
    #[arg(long, value_name = "OCTAL", help_heading = "The mount")]
    pub dmask: Option<String>,
    /// Owner of all files [default: you]
    #[arg(long, value_name = "USER", help_heading = "The mount")]
    pub uid: Option<String>,
    /// Group of all files [default: yours]
    #[arg(long, value_name = "GROUP", help_heading = "The mount")]
    pub gid: Option<String>,
    /// Let the other users of this host in, with your rights on the ensemble
    #[arg(long, help_heading = "The mount")]
    pub allow_other: bool,
    /// Let root in
    #[arg(long, conflicts_with = "allow_other", help_heading = "The mount")]
    pub allow_root: bool,
    /// Have the kernel check owner and permission bits, for --allow-other
    #[arg(long, help_heading = "The mount")]
    pub default_permissions: bool,
    /// Mount over a directory that is not empty, or over another mount
    #[arg(long, help_heading = "The mount")]
    pub nonempty: bool,

    /// More in the log: operations, with -vv everything
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "The log")]
    pub verbose: u8,
    /// error, warn, info, debug, trace, or target=level,... [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "The log")]
    pub log: Option<String>,
    /// Form of the log [default: text]
    #[arg(long, value_name = "text|json", help_heading = "The log")]
    pub log_format: Option<String>,
    /// Append the log to FILE [default: standard error with -f, else syslog]
    #[arg(long, value_name = "FILE", help_heading = "The log")]
    pub log_file: Option<PathBuf>,
}

/// What is to be done instead of mounting.
#[derive(Debug)]
pub enum Stop {
    /// Print this and succeed: the help or the version.
    Print(clap::Error),
    /// The command line is wrong, in one line.
    Wrong(String),
}

impl Args {
    /// Parses a command line, the program's name first.
    ///
    /// # Errors
    /// When there is nothing to mount.
    pub fn parse_from_os(arguments: impl IntoIterator<Item = OsString>) -> Result<Args, Stop> {
        let (arguments, listed) = options::expand(arguments).map_err(Stop::Wrong)?;
        Args::command().try_get_matches_from(arguments).and_then(|matches| Args::from_arg_matches(&matches)).map_err(
            |error| match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Print(error),
                _ => Stop::Wrong(one_line(&error, &listed)),
            },
        )
    }
}

/// Says in one line what clap says in several. `listed` are the names that came in a list of -o.
fn one_line(error: &clap::Error, listed: &[String]) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(" and ")),
        _ => None,
    };
    // clap names an option as in its usage, --cache <SIZE>.
    let name = |text: String| text.split([' ', '=']).next().unwrap_or_default().to_owned();
    let spelled = |option: String| match option.strip_prefix("--").map(|name| name.replace('-', "_")) {
        Some(name) if listed.contains(&name) => format!("-o {name}"),
        _ => option,
    };
    let argument = text(ContextKind::InvalidArg);
    match (error.kind(), argument) {
        (ErrorKind::UnknownArgument, Some(argument)) if argument.starts_with('-') => {
            let nearest = text(ContextKind::SuggestedArg).map(|nearest| spelled_like(&nearest, &argument, listed));
            let hint = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
            format!("there is no option {}{hint} (zkmount --help lists all)", spelled(name(argument)))
        }
        (ErrorKind::UnknownArgument, Some(argument)) => {
            format!("{argument:?} is too much: zkmount takes one ENSEMBLE and one MOUNTPOINT")
        }
        (ErrorKind::MissingRequiredArgument, Some(missing)) => {
            let missing = missing.replace(['<', '>'], "");
            format!(
                "no {missing} given: zkmount ENSEMBLE MOUNTPOINT, such as zkmount zk1:2181 /mnt/zk (see zkmount --help)"
            )
        }
        (ErrorKind::InvalidValue, Some(argument)) => format!("{} needs a value", spelled(name(argument))),
        (ErrorKind::TooManyValues, Some(argument)) => format!("{} takes no value", spelled(name(argument))),
        (ErrorKind::ArgumentConflict, Some(argument)) => {
            let other = text(ContextKind::PriorArg).unwrap_or_default();
            format!("{} and {} exclude each other", spelled(name(argument)), spelled(name(other)))
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// The suggested option in the form in which the wrong one was written.
fn spelled_like(suggested: &str, wrong: &str, listed: &[String]) -> String {
    let wrong = wrong.trim_start_matches('-').split('=').next().unwrap_or_default().replace('-', "_");
    if listed.contains(&wrong) { suggested.trim_start_matches('-').replace('-', "_") } else { suggested.to_owned() }
}

/// Runs the command.
pub fn main() -> ExitCode {
    let args = match Args::parse_from_os(std::env::args_os()) {
        Ok(args) => args,
        // A reader that went away, as in zkmount --help | head, is no failure.
        Err(Stop::Print(text)) => return text.print().map_or(ExitCode::SUCCESS, |()| ExitCode::SUCCESS),
        Err(Stop::Wrong(line)) => return fail(&Failure::new(Status::Usage, line)),
    };
    let config = Surroundings::of_process()
        .map_err(Failure::system)
        .and_then(|here| Config::new(&args, &here).map_err(|line| Failure::new(Status::Usage, line)));
    match config.and_then(daemon::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("zkmount: {failure}");
    ExitCode::from(failure.status)
}

#[cfg(test)]
mod tests;
