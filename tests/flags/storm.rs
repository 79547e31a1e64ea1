//! Creates of every flag while the connections are cut at random: what was reported must be what is there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rig::{Change, Direction, Mount, Proxy, Server, Shell, number, until, until_within};

use crate::place::Place;

/// A process that creates, in a directory for each of its threads: the kernel serves creates in one directory one after the
/// other. It is a process of its own, as this one starts others, which would have its files open for a moment.
const WORKER: &str = r#"
import os, random, sys, threading

KINDS = [("", "open"), ("@e", "open"), ("@h", "open"), ("@s", "open"), ("@es", "open"), ("@hs", "open"), ("@t=1h", "open"),
    ("", "mkdir"), ("@s", "mkdir"), ("@c", "mkdir"), ("@e", "rename"), ("@s", "rename"), ("@es", "rename"),
    ("@e", "link"), ("@es", "link")]

def attempt(way, suffix, dir, base, chance, held):
    target = f"{dir}/{base}{suffix}"
    if way == "mkdir":
        os.mkdir(target)
    elif way == "open":
        # echo BASE > TARGET, with noclobber.
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(fd, base.encode())
        except OSError:
            # The open and the first write are one create of a sequential one; others have been created.
            if suffix.endswith("s"):
                raise
        finally:
            if suffix in ("@h", "@hs") and chance.randrange(2) == 0:
                held.append(fd)
            else:
                os.close(fd)
    else:
        source = f"{dir}/source.{base}"
        fd = os.open(source, os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, base.encode())
        finally:
            os.close(fd)
        yield
        (os.link if way == "link" else os.rename)(source, target)

def work(dir, seed):
    chance, held, number = random.Random(seed), [], 0
    while not os.path.exists(sys.argv[1]):
        suffix, way = chance.choice(KINDS)
        base, told, source = f"{dir}.{number}-", 0, 0
        number += 1
        try:
            for _ in attempt(way, suffix, dir, base, chance, held):
                source = 1
        except OSError as error:
            told = error.errno
        lines.append(f"{way} {suffix or '-'} {base} {told} {source}")
        if len(held) > 3:
            os.close(held.pop(chance.randrange(4)))
    for fd in held:
        os.close(fd)

lines = []
threads = [threading.Thread(target=work, args=(dir, f"{sys.argv[2]} {dir}")) for dir in sys.argv[3:]]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("\n".join(lines))
"#;

/// A try, and what its caller was told.
#[derive(Debug)]
struct Try {
    /// `open`, `mkdir`, `rename` or `link`.
    way: String,
    /// The flags.
    suffix: String,
    /// The name without flags and number; no other try has it. It ends in a dash.
    base: String,
    /// Success, or the error number.
    told: Result<(), i32>,
    /// There was a source to rename or link.
    source: bool,
}

impl Try {
    fn read(line: &str) -> Try {
        let fields: Vec<&str> = line.split(' ').collect();
        let [way, suffix, base, told, source] = fields[..] else { panic!("no try: {line}") };
        let told = match told.parse().unwrap() {
            0 => Ok(()),
            number => Err(number),
        };
        Try { way: way.to_owned(), suffix: suffix.to_owned(), base: base.to_owned(), told, source: source == "1" }
    }

    fn is_ephemeral(&self) -> bool {
        matches!(&self.suffix[..], "@e" | "@h" | "@es" | "@hs")
    }

    fn is_held(&self) -> bool {
        matches!(&self.suffix[..], "@h" | "@hs")
    }
}

/// What is known afterwards.
struct Truth {
    /// The paths that were ever created, by their base; what was made again was taken back before.
    created: BTreeMap<String, Vec<String>>,
    /// The paths that are there, by their base.
    there: BTreeMap<String, Vec<String>>,
    log: String,
}

impl Truth {
    fn learn(place: &Place, server: &Server, mounts: &[Mount; 2]) -> Truth {
        let history = place.history_of(server);
        let created = history.iter().flat_map(|transaction| &transaction.changes).filter_map(|change| match change {
            Change::Create { path, .. } => Some(path.clone()),
            _ => None,
        });
        Truth {
            created: by_base(created),
            there: by_base(place.witness.tree("/").into_keys()),
            log: mounts.iter().map(Mount::log).collect(),
        }
    }

    fn judge(&self, tried: &Try) -> Result<(), String> {
        let none = Vec::new();
        let created = self.created.get(&tried.base).unwrap_or(&none);
        let there = self.there.get(&tried.base).unwrap_or(&none);
        let is_warning = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
        let is_logged = || self.log.lines().filter(is_warning).any(|line| line.contains(&tried.base));
        let verdict = match tried.told {
            _ if created.len() > 1 => "made more than once",
            Ok(()) if created.len() != 1 => "reported and not made",
            Ok(()) if tried.is_held() && !there.is_empty() => "held by nobody",
            Ok(()) if !tried.is_held() && there.len() != 1 => "reported and not there",
            Err(_) if tried.is_ephemeral() && !there.is_empty() => "an orphan",
            Err(libc::EIO | libc::ETIMEDOUT) if !created.is_empty() && !is_logged() => "unknown and not logged",
            Err(libc::EIO | libc::ETIMEDOUT) => "",
            Err(_) if !tried.is_ephemeral() && !there.is_empty() => "reported as failed and made",
            _ => "",
        };
        let verdict = if verdict.is_empty() { self.judge_source(tried, there) } else { verdict };
        if verdict.is_empty() {
            return Ok(());
        }
        let about: Vec<&str> = self.log.lines().filter(|line| line.contains(&tried.base)).collect();
        Err(format!("{verdict}: {tried:?}, created {created:?}, there {there:?}\n{}", about.join("\n")))
    }

    /// A rename is one transaction, and taken back as one: the content is at one of the two names.
    fn judge_source(&self, tried: &Try, there: &[String]) -> &'static str {
        let is_there = self.there.contains_key(&format!("source.{}", tried.base));
        match (&tried.way[..], tried.told) {
            _ if !tried.source => "",
            ("link", _) if !is_there => "the source of a link is gone",
            ("rename", Ok(())) if is_there => "both names",
            ("rename", Err(_)) if is_there != there.is_empty() => "both names or neither",
            _ => "",
        }
    }
}

fn by_base(paths: impl Iterator<Item = String>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in paths {
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some(dash) = name.rfind('-') {
            found.entry(name[..=dash].to_owned()).or_default().push(path);
        }
    }
    found
}

/// What disturbs.
#[derive(Clone, Copy)]
struct Weather {
    /// Cuts, once in some `mean` requests.
    cuts: usize,
    mean: usize,
    /// How often all answers are later than an operation may take.
    stalls: usize,
    /// Threads that create, in each mount.
    threads: usize,
}

/// How long an operation may take where answers are late. Mounting has to be done in that time, too.
const TIMEOUT: Duration = Duration::from_secs(4);

fn storm(weather: Weather, seed: u64) {
    let server = Server::boot();
    let place = Place::on(&server, "storm");
    let proxies = [Proxy::to(&server), Proxy::to(&server)];
    let mounts = [0, 1].map(|host: usize| {
        let options = place.options(&proxies[host].instead_of(place.ensemble())).args(&["-vv"]);
        if weather.stalls > 0 { options.o(&format!("timeout={}s", TIMEOUT.as_secs())) } else { options }.mount()
    });
    let stop = place.beside("stop");
    let jobs = [0, 1].map(|host: usize| {
        let mut script = mounts[host].script(Shell::Bash, "exec /usr/bin/python3 -c \"$@\"").arg(WORKER);
        script = script.arg(&stop).arg(seed.to_string()).deadline(Duration::from_secs(900));
        for number in 0..weather.threads {
            let dir = format!("h{host}w{number}");
            fs::create_dir(mounts[host].join(&dir)).unwrap();
            script = script.arg(dir);
        }
        script.start()
    });
    for (proxy, offset) in proxies.iter().zip(0..) {
        proxy.storm(seed + offset, weather.mean);
    }
    for _ in 0..weather.stalls {
        let before = proxies.each_ref().map(|proxy| proxy.counts().replies);
        until("answers flow", || {
            proxies.iter().zip(before).all(|(proxy, before)| proxy.counts().replies > before + 20)
        });
        proxies.iter().for_each(|proxy| proxy.stall(Direction::ToClient));
        // Long enough that whoever waits is told that it failed.
        std::thread::sleep(TIMEOUT + Duration::from_millis(500));
        proxies.iter().for_each(Proxy::flow);
    }
    let cuts = || proxies.iter().map(|proxy| proxy.counts().cuts).sum::<usize>();
    until_within(Duration::from_secs(900), "enough cuts", || cuts() >= weather.cuts);
    proxies.iter().for_each(Proxy::calm);
    fs::write(&stop, "").unwrap();
    let outputs = jobs.each_ref().map(|job| job.wait().success());
    let tries: Vec<Try> = outputs.iter().flat_map(|output| output.lines()).map(Try::read).collect();
    let lost = mounts.iter().filter(|mount| mount.log().contains("the session is lost")).count();
    assert_eq!(lost, 0, "sessions were lost, which is another test");
    let mut wrong = Vec::new();
    let began = Instant::now();
    // What is to be deleted late has the session timeout for it; half of that is more than enough.
    while began.elapsed() < Duration::from_secs(20) {
        let truth = Truth::learn(&place, &server, &mounts);
        wrong = tries.iter().filter_map(|tried| truth.judge(tried).err()).collect();
        if wrong.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(wrong.is_empty(), "seed {seed}: {} of {} creates:\n{}", wrong.len(), tries.len(), wrong.join("\n"));
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for tried in &tries {
        let what = tried.told.map_or_else(|n| io::Error::from_raw_os_error(n).to_string(), |()| "success".into());
        *told.entry(what).or_default() += 1;
    }
    println!("seed {seed}: {} cuts, {} stalls, {} creates: {told:?}", cuts(), weather.stalls, tries.len());
}

#[test]
fn what_was_reported_is_what_is_there() {
    let weather = Weather { cuts: number("FLAGS_CUTS", 60), mean: 25, stalls: 0, threads: 4 };
    storm(weather, number("FLAGS_SEED", 1));
}

#[test]
fn what_failed_before_its_answer_came_is_taken_back() {
    let stalls = number("FLAGS_STALLS", 2);
    let weather = Weather { cuts: stalls * 5, mean: 40, stalls, threads: 12 };
    storm(weather, number("FLAGS_SEED", 1) + 1000);
}
