use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn here(directory: &Path) -> Surroundings {
    Surroundings { directory: directory.to_owned(), credentials_directory: None, journal: false, uid: 1000, gid: 100 }
}

fn config_in(line: &str, here: &Surroundings) -> Result<Config, String> {
    let args = Args::parse_from_os(format!("zkmount {line}").split(' ').map(OsString::from));
    Config::new(&args.unwrap_or_else(|stop| panic!("{line}: {stop:?}")), here)
}

fn config(line: &str) -> Result<Config, String> {
    config_in(line, &here(Path::new("/home/me")))
}

#[test]
fn defaults() {
    let config = config("zk1 zk").unwrap();
    assert_eq!(config.mountpoint, Path::new("/home/me/zk"));
    assert_eq!((config.timeout, config.session_timeout), (Duration::from_secs(10), Duration::from_secs(30)));
    assert_eq!((config.uid, config.gid, config.fmask, config.dmask), (1000, 100, 0, 0));
    assert_eq!((config.cache, config.on_lost, config.commit), (64 << 20, OnLost::Reconnect, Commit::Write));
    assert_eq!((config.acl, config.names), (Acl::open(), Names::default()));
    assert_eq!(config.log.target, LogTarget::Syslog);
    assert!(!config.read_only && !config.allow_other && !config.strict && !config.foreground);
}

#[test]
fn what_is_said_counts() {
    let line = "memory: /mnt -o umask=027,dmask=0,uid=0,gid=7,at=%,commit=close,on_lost=exit,cache=1M,timeout=500ms,acl=\
                world:anyone:r -f --log-format json --log debug --log-file zk.log";
    let config = config(line).unwrap();
    assert_eq!(config.ensemble, Ensemble::Memory);
    assert_eq!((config.fmask, config.dmask, config.uid, config.gid), (0o027, 0, 0, 7));
    assert_eq!((config.names.at(), config.commit, config.on_lost), ('%', Commit::Close, OnLost::Exit));
    assert_eq!((config.cache, config.timeout), (1 << 20, Duration::from_millis(500)));
    assert_eq!(config.acl[0].to_string(), "world:anyone:r");
    let target = LogTarget::File(PathBuf::from("/home/me/zk.log"));
    assert_eq!(config.log, Log { filter: "debug".to_owned(), format: LogFormat::Json, target });
}

#[test]
fn the_log_goes_where_somebody_looks() {
    let mut journal = here(Path::new("/"));
    journal.journal = true;
    assert_eq!(config_in("memory: /mnt -f", &journal).unwrap().log.target, LogTarget::Journal);
    assert_eq!(config("memory: /mnt -f").unwrap().log.target, LogTarget::Stderr);
    assert_eq!(config_in("memory: /mnt", &journal).unwrap().log.target, LogTarget::Syslog);
}

#[test]
fn wrong_values_are_named() {
    for (line, said) in [
        ("zk1:x /mnt", "\"zk1:x\" is no server"),
        ("memory: /mnt -o timeout=soon", "timeout=soon: a time is wanted"),
        ("memory: /mnt -o timeout=1ms", "timeout: between 100ms and 1h"),
        ("memory: /mnt --session-timeout 2h", "session_timeout: between 1s and 1h"),
        ("memory: /mnt -o cache=much", "cache=much: a size is wanted"),
        ("memory: /mnt -o umask=999", "umask=999: permission bits in octal"),
        ("memory: /mnt -o uid=nobody-of-this-name", "no such user"),
        ("memory: /mnt -o at=ab", "at=ab: one ASCII punctuation character"),
        ("memory: /mnt -o commit=never", "commit=never: it is write or close"),
        ("memory: /mnt -o on_lost=cry", "on_lost=cry: it is reconnect or exit"),
        ("memory: /mnt -o acl=world", "acl=world: "),
        ("memory: /mnt -o acl=creator", "without credentials=FILE"),
        ("zk1 /mnt -o tls_cert=/dev/null", "need tls_ca=FILE"),
        ("zk1 /mnt -o tls_ca=/dev/null", "tls_ca=/dev/null: not a regular file"),
        ("zk1 /mnt -o tls_ca=/proc/version", "tls_ca=/proc/version: certificates in PEM are wanted"),
        ("zk1 /mnt -o tls_ca=/proc/version,tls_key=/x", "tls_key needs tls_cert=FILE"),
        ("memory: /mnt -o tls_ca=/proc/version", "needs no TLS"),
        ("zk1,z\u{e4}k2 /mnt -o tls_ca=/proc/version", "is no name that a certificate can have"),
        ("zk1 /mnt -o sasl=/no/such/file", "sasl=/no/such/file: No such file"),
        ("memory: /mnt -o ro,create_chroot", "ro creates nothing"),
        ("memory: /mnt --log loud", "log=loud: a level is wanted"),
        ("memory: /mnt --log-format xml", "log_format=xml: it is text or json"),
        ("memory: /mnt -o credentials=/no/such/file", "credentials=/no/such/file: No such file"),
    ] {
        let error = config(line).unwrap_err();
        assert!(error.contains(said) && !error.contains('\n'), "{line}: {error}");
    }
}

fn secret(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn credentials_are_for_their_owner() {
    let directory = tempfile::tempdir().unwrap();
    let here = here(directory.path());
    let file = directory.path().join("zk.secret");
    secret(&file, "bob:x:y\n", 0o600);
    let config = config_in("zk1 /mnt -o credentials=zk.secret,acl=creator", &here).unwrap();
    let credentials = config.credentials.as_ref().unwrap();
    assert_eq!((credentials.digest(), credentials.pair()), (b"bob:x:y".to_vec(), ("bob".to_owned(), "x:y".to_owned())));
    assert!(!format!("{config:?}").contains("x:y"), "{config:?}");
    let error = config_in("memory: /mnt -o credentials=zk.secret", &here).unwrap_err();
    assert!(error.contains("knows no users"), "{error}");
    for mode in [0o640, 0o604, 0o660, 0o620] {
        secret(&file, "bob:x:y\n", mode);
        let error = config_in("zk1 /mnt -o credentials=zk.secret", &here).unwrap_err();
        assert!(error.contains("chmod 600") && !error.contains("x:y"), "{mode:o}: {error}");
    }
    for text in ["", "bob", "bob:", ":x", "bob:x\nann:y\n"] {
        secret(&file, text, 0o600);
        let error = config_in("zk1 /mnt -o credentials=zk.secret", &here).unwrap_err();
        assert!(error.contains("user:password is wanted"), "{text:?}: {error}");
    }
    let error = config_in("zk1 /mnt -o credentials=.", &here).unwrap_err();
    assert!(error.contains("not a regular file"), "{error}");
    secret(&file, &"b:".repeat(5000), 0o600);
    assert!(config_in("zk1 /mnt -o credentials=zk.secret", &here).unwrap_err().contains("too long"));
}

#[test]
fn credentials_that_systemd_passes() {
    let (directory, passed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut here = here(directory.path());
    here.credentials_directory = Some(passed.path().to_owned());
    secret(&passed.path().join("zk"), "ann:1", 0o440);
    secret(&directory.path().join("own"), "bob:2", 0o600);
    let of =
        |name: &str| Credentials::read("credentials", Path::new(name), &here).map(|credentials| credentials.digest());
    assert_eq!(of("zk"), Ok(b"ann:1".to_vec()));
    assert_eq!(of("own"), Ok(b"bob:2".to_vec()));
    secret(&passed.path().join("zk"), "ann:1", 0o444);
    assert!(of("zk").is_err());
}
