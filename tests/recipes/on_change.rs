//! `on-change`, and the nginx that follows a group with it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rig::{Job, Port, Shell, until};

use crate::world::{SHELLS, World};

#[test]
fn a_command_runs_at_once_and_after_the_last_change() {
    let world = World::new("change");
    world.a.bash("mkdir -p conf/sub && echo 0 > conf/sub/f && echo 0 > single").success();
    for shell in SHELLS {
        let log = format!("runs-{}", shell.name());
        let body = format!("echo $(cat conf/sub/f) >>\"$L/{log}\"; false");
        let script = world.recipe(&world.b, shell, "h", "on-change", "-q 0.2 conf -- sh -c \"$B\"").env("B", body);
        let job = script.start();
        let first = world.until_lines(&log, 1);
        for number in 1..=20 {
            world.a.bash(&format!("echo {}{number} > conf/sub/f", first[0])).success();
        }
        let last = format!("{}20", first[0]);
        until("the last change is seen", || world.lines(&log).last() == Some(&last));
        assert!(job.stderr().contains("failed with status 1"), "{}", job.stderr());
        assert!(world.lines(&log).len() <= 42, "{:?}", world.lines(&log));
        // A change that comes while the command runs.
        let log = format!("slow-{}", shell.name());
        let body = format!("echo $(cat single) >>\"$L/{log}\"; until [ -e \"$L/go-{log}\" ]; do sleep 0.02; done");
        let job =
            world.recipe(&world.b, shell, "h", "on-change", "-q 0.1 single -- sh -c \"$B\"").env("B", body).start();
        world.until_lines(&log, 1);
        world.a.bash(&format!("echo {log} > single")).success();
        assert_eq!(world.lines(&log).len(), 1);
        world.touch(&format!("go-{log}"));
        assert_eq!(world.until_lines(&log, 2)[1], log);
        drop(job);
    }
}

/// Asks a web server; nothing when it does not answer.
fn get(port: u16) -> String {
    let mut answer = String::new();
    let _ = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        stream.read_to_string(&mut answer)
    });
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn nginx_follows_the_members_of_a_group() {
    let world = World::new("nginx");
    world.a.bash("mkdir web").success();
    let (front, one, two) = (Port::claim(), Port::claim(), Port::claim());
    let local = world.local.path();
    let upstream = local.join("upstream.conf");
    fs::write(&upstream, "upstream web {\n    server 127.0.0.1:1;\n}\n").unwrap();
    let backend = |port: &Port, name| format!("server {{ listen 127.0.0.1:{}; return 200 {name}; }}\n", port.number());
    let configuration = format!(
        "pid nginx.pid; worker_processes 1; error_log error.log; events {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;\n\
         include upstream.conf;\n{}{}server {{ listen 127.0.0.1:{}; location / {{ proxy_pass http://web; }} }} }}\n",
        backend(&one, "one"),
        backend(&two, "two"),
        front.number()
    );
    fs::write(local.join("nginx.conf"), configuration).unwrap();
    let nginx = format!("{} -p {} -c nginx.conf -e error.log", nginx(), local.display());
    let _nginx = Shell::Dash.script(&format!("exec {nginx} -g 'daemon off;'")).start();
    until("nginx serves", || get(one.number()) == "one");
    let render = "-q 0.2 web nginx-upstream web web \"$L/upstream.conf\"";
    let follower =
        world.script(&world.b, Shell::Dash, "h", &format!("on-change {render}")).env("NGINX", &nginx).start();
    let join = |mount, name: &str, port: &Port| -> Job {
        let arguments = format!("-n {name} -t '127.0.0.1:{} up' web sleep 600", port.number());
        world.recipe(mount, Shell::Bash, name, "member", &arguments).start()
    };
    let answers = || -> Vec<String> { (0..6).map(|_| get(front.number())).collect() };
    let first = join(&world.a, "one", &one);
    until("the first one is used", || answers().iter().all(|answer| answer == "one"));
    let second = join(&world.b, "two", &two);
    until("both are used", || {
        let answers = answers();
        ["one", "two"].iter().all(|name| answers.iter().any(|answer| answer == name))
    });
    first.kill9();
    until("only the second is used", || answers().iter().all(|answer| answer == "two"));
    // What is no address reaches no configuration.
    world.a.bash("echo '1.2.3.4; evil' > web/evil").success();
    until("it is refused", || follower.stderr().contains("web/evil is no address"));
    second.kill9();
    until("the last ones stay", || follower.stderr().contains("has only 0 members"));
    assert!(answers().iter().all(|answer| answer == "two"));
    let text = fs::read_to_string(&upstream).unwrap();
    assert_eq!(text, format!("upstream web {{\n    server 127.0.0.1:{}; # two\n}}\n", two.number()));
}

/// Administrators' programs are not on every user's path.
fn nginx() -> &'static str {
    if fs::exists("/usr/sbin/nginx").unwrap_or(false) { "/usr/sbin/nginx" } else { "nginx" }
}
