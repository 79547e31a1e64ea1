use super::*;

fn parse(line: &str) -> Result<Args, Stop> {
    Args::parse_from_os(line.split(' ').map(OsString::from))
}

fn args(line: &str) -> Args {
    parse(line).unwrap_or_else(|stop| panic!("{line}: {stop:?}"))
}

fn wrong(line: &str) -> String {
    match parse(line) {
        Err(Stop::Wrong(said)) => said,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn two_spellings_of_one_setting() {
    let long = "zkmount --timeout=5s --session-timeout 1m --ro --allow-other --scratch=+*.tmp -v zk1 /mnt";
    let short = "zkmount zk1 /mnt -o timeout=5s,session_timeout=1m,ro,allow-other -v -o scratch=+*.tmp";
    let mut listed = args(short);
    listed.options.clear();
    assert_eq!(format!("{listed:?}"), format!("{:?}", args(long)));
}

#[test]
fn as_mount_calls_it() {
    let line = "zkmount zk1:2181/app /mnt/zk -o rw,_netdev,nofail,user=me,noauto,x-systemd.automount,X-a=b,nosuid,nodev,\
                noexec,noatime,defaults,suid,dev,exec,auto,relatime,comment=hello";
    let args = args(line);
    assert_eq!((&*args.ensemble, args.mountpoint), ("zk1:2181/app", PathBuf::from("/mnt/zk")));
    assert!(!args.ro);
}

#[test]
fn the_later_one_counts() {
    assert_eq!(args("zkmount -o timeout=1s --timeout=2s zk1 /mnt -o timeout=3s").timeout.as_deref(), Some("3s"));
    assert_eq!(args("zkmount -o timeout=1s,timeout=3s --timeout=2s zk1 /mnt").timeout.as_deref(), Some("2s"));
    assert!(args("zkmount -o ro zk1 /mnt").ro);
    assert!(args("zkmount -o rw,ro zk1 /mnt").ro);
    assert!(!args("zkmount --ro -o rw zk1 /mnt").ro);
}

#[test]
fn lists_in_all_their_forms() {
    assert!(args("zkmount -foro zk1 /mnt").ro);
    assert!(args("zkmount -fo ro zk1 /mnt").foreground);
    assert!(args("zkmount -oro,,strict, zk1 /mnt").strict);
    assert_eq!(args(r"zkmount -o acl=a:b:r\,c:d:w,ro zk1 /mnt").acl.as_deref(), Some("a:b:r,c:d:w"));
    assert_eq!(args(r#"zkmount -o acl="a:b:r,c:d:w",ro zk1 /mnt"#).acl.as_deref(), Some("a:b:r,c:d:w"));
    assert_eq!(args(r"zkmount -o scratch=\a\\ zk1 /mnt").scratch.as_deref(), Some(r"\a\"));
    assert_eq!(args("zkmount -- -o /mnt").ensemble, "-o");
}

#[test]
fn wrong_lines_are_named() {
    for (line, said) in [
        ("zkmount", "no ENSEMBLE and MOUNTPOINT given"),
        ("zkmount zk1", "no MOUNTPOINT given"),
        ("zkmount zk1 /mnt /more", "\"/more\" is too much"),
        ("zkmount --sesion-timeout=3s zk1 /mnt", "no option --sesion-timeout; did you mean --session-timeout?"),
        ("zkmount -o sesion_timeout=3s zk1 /mnt", "no option -o sesion_timeout; did you mean session_timeout?"),
        ("zkmount -o alow_other zk1 /mnt", "no option -o alow_other; did you mean allow_other?"),
        ("zkmount -o bogus zk1 /mnt", "no option -o bogus (zkmount --help"),
        ("zkmount -x zk1 /mnt", "no option -x"),
        ("zkmount -o ro=1 zk1 /mnt", "-o ro takes no value"),
        ("zkmount --strict=yes zk1 /mnt", "--strict takes no value"),
        ("zkmount -o timeout zk1 /mnt", "-o timeout needs a value"),
        ("zkmount zk1 /mnt --timeout", "--timeout needs a value"),
        ("zkmount zk1 /mnt -o", "-o needs a list"),
        ("zkmount -o remount,ro zk1 /mnt", "unmount it and mount it again"),
        ("zkmount -o help zk1 /mnt", "no option -o help"),
        ("zkmount -o acl=\"a zk1 /mnt", "a quote is not closed"),
        ("zkmount -o -f zk1 /mnt", "no option -o \"-f\""),
        ("zkmount -o =3 zk1 /mnt", "no option -o "),
        ("zkmount --allow-root -o allow_other zk1 /mnt", "exclude each other"),
    ] {
        let line_said = wrong(line);
        assert!(line_said.contains(said) && !line_said.contains('\n'), "{line}: {line_said}");
    }
}

#[test]
fn the_help_tells_all() {
    let Err(Stop::Print(help)) = parse("zkmount --help") else { panic!("no help") };
    let help = help.to_string();
    for word in ["Examples:", "lock@e", "@txn", "Exit codes:", "--session-timeout", "-o NAME=VALUE", "memory:"] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    assert!(!help.contains("--rw"), "{help}");
    assert!(EXAMPLES.lines().chain(MORE.lines()).all(|line| line.len() < 80));
    let Err(Stop::Print(version)) = parse("zkmount -V") else { panic!("no version") };
    assert_eq!(version.to_string().trim_end(), format!("zkmount {}", env!("CARGO_PKG_VERSION")));
}
