//! Ensembles that want to know who we are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use rig::{Mount, Server, Workdir};

/// Asserts that there is no mount, for a reason that is said in one line.
#[track_caller]
fn refused(arguments: &[&str], ensemble: &str, code: i32, word: &str) {
    let place = Workdir::new("refused");
    let point = place.path().display().to_string();
    let output = Mount::command(&[&["-o", "timeout=1500ms"], arguments, &[ensemble, &point]].concat()).exits(code);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains(word), "{word:?} is missing in {}", output.stderr);
}

/// A server that knows two users by SASL, and nobody else.
fn with_sasl() -> &'static Server {
    static SERVER: OnceLock<(Server, Workdir)> = OnceLock::new();
    let (server, _) = SERVER.get_or_init(|| {
        let directory = Workdir::new("sasl");
        let users = "Server { org.apache.zookeeper.server.auth.DigestLoginModule required \
                     user_app=\"Sesame7\" user_bob=\"Parsley8\"; };\n";
        let jaas = directory.path().join("jaas.conf");
        fs::write(&jaas, users).unwrap();
        let server = Server::options()
            .set("authProvider.sasl", "org.apache.zookeeper.server.auth.SASLAuthenticationProvider")
            .java(&format!("-Djava.security.auth.login.config={}", jaas.display()))
            .boot();
        (server, directory)
    });
    server
}

/// A file with credentials that is its owner's alone.
fn secret(directory: &Workdir, name: &str, text: &str) -> String {
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[test]
fn sasl_by_digest() {
    // > `-o sasl=FILE` authenticates by SASL with DIGEST-MD5, which `acl=creator` takes for the creator as well.
    let server = with_sasl();
    let connect = server.chroot("sasl");
    let secrets = Workdir::new("secrets");
    let log = secrets.path().join("log").display().to_string();
    let sasl = |user: &str, text: &str| format!("sasl={}", secret(&secrets, user, text));
    let (app, bob) = (sasl("app", "app:Sesame7\n"), sasl("bob", "bob:Parsley8\n"));
    let mine = Mount::options(&connect).o(&app).o("acl=creator").args(&["-vv", "--log-file", &log]).mount();
    mine.bash("mkdir d && echo x > d/f").success();
    assert_eq!(mine.bash("cat d/@acl").success().text(), "sasl:app:cdrwa");
    let theirs = Mount::options(&connect).o(&bob).mount();
    assert!(theirs.bash("cat d/f").stderr.contains("Permission denied"));
    mine.bash("echo sasl:bob:r >> d/f@acl").success();
    assert_eq!(theirs.bash("cat d/f").success().text(), "x");
    refused(&["-o", &sasl("wrong", "app:Parsley8\n")], &connect, 32, "sasl=FILE");
    // > Secrets are in files that are refused when others have access to them, and nowhere else: not in arguments, the environment, /proc or the log.
    fs::set_permissions(secrets.path().join("bob"), fs::Permissions::from_mode(0o640)).unwrap();
    refused(&["-o", &bob], &connect, 1, "chmod 600");
    let daemon = mine.pid();
    for file in
        [format!("/proc/{daemon}/cmdline"), format!("/proc/{daemon}/environ"), "/proc/self/mountinfo".into(), log]
    {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains("Sesame7") && !text.is_empty(), "{file} has the secret, or nothing");
    }
    assert!(!mine.log().contains("Sesame7"));
}
