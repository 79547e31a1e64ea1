//! Ensembles that want to know who we are, and tell who they are: TLS and SASL.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use rig::{Mount, Port, Server, Shell, Witness, Workdir, until};

use crate::acl::{is_denied, shows_kinds};

/// Certificates: an authority, one that nobody believes, the server's, ours. All keys are private.
fn certificates() -> Workdir {
    let directory = Workdir::new("certificates");
    let script = r#"
        set -e; umask 077
        quiet() { "$@" 2>>openssl.log || { cat openssl.log >&2; exit 1; }; }
        key() { quiet openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
        authority() {
            key "$1"
            quiet openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 3650 -out "$1.crt" \
                -addext basicConstraints=critical,CA:TRUE
        }
        signed() {
            key "$2"
            quiet openssl req -new -key "$2.key" -subj "/CN=$2" -out "$2.csr"
            printf 'basicConstraints=CA:FALSE\n%s\n' "$3" > "$2.ext"
            quiet openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -days 3650 -extfile "$2.ext" -out "$2.crt"
        }
        authority ca; authority stranger
        signed ca server 'subjectAltName=IP:127.0.0.1,DNS:localhost'
        signed ca app 'subjectAltName=DNS:app'
        signed stranger mallory 'subjectAltName=DNS:mallory'
        cat server.key server.crt > server.pem
        cat app.key app.crt > both.pem
        # ZooKeeper knows the form of a file by its name.
        cp ca.crt ca.pem
        cp app.key loose.key; chmod 644 loose.key"#;
    Shell::Bash.script(script).dir(directory.path()).run().success();
    directory
}

/// A server that wants TLS on a second port, and our certificate.
fn with_tls(certificates: &Path) -> (Server, Port) {
    let port = Port::claim();
    let file = |name: &str| certificates.join(name).display().to_string();
    let server = Server::options()
        .set("serverCnxnFactory", "org.apache.zookeeper.server.NettyServerCnxnFactory")
        .set("secureClientPort", &port.number().to_string())
        .set("secureClientPortAddress", "127.0.0.1")
        .set("ssl.keyStore.location", &file("server.pem"))
        .set("ssl.trustStore.location", &file("ca.pem"))
        .set("ssl.clientAuth", "need")
        .boot();
    (server, port)
}

/// Asserts that there is no mount, for a reason that is said in one line.
#[track_caller]
fn refused(arguments: &[&str], ensemble: &str, code: i32, word: &str) {
    let place = Workdir::new("refused");
    let point = place.path().display().to_string();
    let output = Mount::command(&[&["-o", "timeout=3s"], arguments, &[ensemble, &point]].concat()).exits(code);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains(word), "{word:?} is missing in {}", output.stderr);
}

#[test]
fn tls_in_both_directions() {
    let files = certificates();
    let (server, port) = with_tls(files.path());
    let file = |option: &str, name: &str| format!("{option}={}", files.path().join(name).display());
    let (ca, certificate, key) = (file("tls_ca", "ca.crt"), file("tls_cert", "app.crt"), file("tls_key", "app.key"));
    let plain = server.chroot("tls");
    let ensemble = format!("localhost:{}{}", port.number(), &plain[plain.find('/').unwrap()..]);
    // > With `-o tls_ca=FILE` all connections are TLS, to servers that one in FILE has signed for, by name or address.
    // > `tls_cert=` and `tls_key=` are what we show them, and who we are for `acl=creator`.
    let mount = Mount::options(&ensemble).o(&ca).o(&certificate).o(&key).o("acl=creator").mount();
    mount.bash("echo over tls > f && echo mine > lock@e && cat f").success();
    assert_eq!(mount.bash("cat f@acl").success().text(), "x509:CN=app:cdrwa");
    let witness = Witness::connect(&plain);
    assert!(witness.get("/f").is_err(), "a stranger reads what only its creator may read");
    std::thread::scope(|scope| {
        let by_address = format!("127.0.0.1:{}", port.number());
        let plain_port = server.address();
        let all = [ca.as_str(), &certificate, &key].join(",");
        let [ca, certificate, all] = [&ca, &certificate, &all].map(String::as_str);
        let (stranger, mallory) = (file("tls_ca", "stranger.crt"), file("tls_cert", "mallory.crt"));
        let mallory = [ca, &mallory, &file("tls_key", "mallory.key")].join(",");
        let stranger = [&stranger, certificate, &file("tls_key", "app.key")].join(",");
        let loose = [ca, certificate, &file("tls_key", "loose.key")].join(",");
        let empty = [ca, &file("tls_cert", "app.key"), &file("tls_key", "app.key")].join(",");
        let both = [ca, &file("tls_cert", "both.pem")].join(",");
        // One file with certificate and key will do.
        scope.spawn(move || drop(Mount::options(&by_address.clone()).o(&both).mount()));
        let by_address = format!("127.0.0.1:{}", port.number());
        for (options, ensemble, code, word) in [
            (stranger, by_address.clone(), 32, "tls_ca"),
            (mallory, by_address.clone(), 32, "tls_cert"),
            (ca.to_owned(), by_address.clone(), 32, "tls_cert"),
            ("rw".to_owned(), by_address.clone(), 32, "tls_ca"),
            (all.to_owned(), plain_port, 32, "TLS port"),
            (loose, by_address.clone(), 1, "chmod 600"),
            (empty, by_address, 1, "a certificate and its private key in PEM"),
        ] {
            scope.spawn(move || refused(&["-o", &options], &ensemble, code, word));
        }
    });
    // The session goes on over a new connection, and so does its ephemeral.
    server.kill9();
    server.restart();
    assert_eq!(mount.bash("cat f lock").success().lines(), ["over tls", "mine"]);
    assert_eq!(mount.bash(". ./@session; echo $incarnation").success().text(), "1");
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
    let denied = theirs.bash("cat d/f").stderr;
    assert!(is_denied(server, &denied), "{denied}");
    mine.bash("echo sasl:bob:r >> d/f@acl").success();
    if shows_kinds(server) {
        assert_eq!(theirs.bash("cat d/f").success().text(), "x");
    } else {
        mine.bash("echo sasl:bob:r >> d/@acl").success();
        until("the other host has looked again", || theirs.bash("cat d/f").stdout == "x\n");
    }
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
