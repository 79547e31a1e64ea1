//! A thousand inputs that nobody means well with: no panic, no hang, the right class of error, and nothing changed.
//!
//! What is refused is compared with the server's own log, so that a change that was undone would be seen as well.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rig::{Mount, shared_server};
use zkmount::cli::Args;
use zkmount::config::{Config, Surroundings};
use zkmount::mapping::Acl;

/// Numbers that look random and are the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }

    /// Some parts, one after the other.
    fn text(&mut self, parts: &[&[u8]], most: usize) -> Vec<u8> {
        (0..=self.roll(most)).flat_map(|_| self.pick(parts).to_vec()).collect()
    }
}

/// A mount with one file, and the number of transactions in its tree.
struct Target {
    mount: Mount,
    chroot: String,
}

impl Target {
    fn new(name: &str) -> Target {
        let connect = shared_server().chroot(name);
        let mount = Mount::new(&connect);
        mount.bash("mkdir d && echo content > f && echo mine > e@e").success();
        Target { mount, chroot: connect[connect.find('/').unwrap()..].to_owned() }
    }

    fn changes(&self) -> usize {
        shared_server().history_below(&self.chroot).len()
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.mount.join(name)
    }

    /// The mount is as it was: it answers, and has logged no panic.
    #[track_caller]
    fn is_well(&self, changes: usize) {
        assert_eq!(self.changes(), changes, "something was changed");
        assert_eq!(fs::read_to_string(self.join("f")).unwrap(), "content\n");
        let log = self.mount.log();
        assert!(self.mount.is_running() && !log.contains("panicked"), "{log}");
    }
}

/// The error number; 0 for none.
fn number<T>(result: &io::Result<T>) -> i32 {
    result.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

fn outcome(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

const PARTS: [&[u8]; 24] = [
    b"a",
    b"lock",
    b".",
    b"..",
    b"@",
    b"@@",
    b"@e",
    b"@es:",
    b"@s",
    b"@v=",
    b"@t=",
    b"@dir",
    b"@data",
    b"@stat",
    b"@acl",
    b"@lock",
    b"@events",
    b"=",
    b":",
    b"99999999999999999999",
    b"-1",
    b" ",
    b"\xc3\xa9",
    b"@session",
];

#[test]
fn names() {
    // > No name, offset, size, attribute, ACL or option makes the daemon fail: what is wrong is refused, and changes nothing.
    let target = Target::new("names");
    let before = target.changes();
    let mut dice = Dice(1);
    let bad: [&[u8]; 8] =
        [b"\xff", b"\xc3", b"\x01", b"\n", b"\x7f", "\u{1f600}".as_bytes(), b"\xed\xa0\x80", "\u{fffe}".as_bytes()];
    for round in 0..120 {
        let mut name = dice.text(&PARTS, 4);
        // At the front, since a tag behind the @ is never sent.
        name.splice(0..0, dice.pick(&bad).iter().copied());
        name.truncate(250);
        let path = target.join(OsStr::from_bytes(&name));
        let said = match round % 6 {
            0 => number(&File::create_new(&path)),
            1 => number(&fs::create_dir(&path)),
            2 => number(&fs::rename(target.join("f"), &path)),
            3 => number(&fs::hard_link(target.join("f"), &path)),
            4 => number(&fs::write(&path, "x")),
            _ => number(&fs::remove_file(&path)),
        };
        assert_eq!(said, libc::EINVAL, "{:?}", OsString::from_vec(name));
    }
    // What may well be a name is only looked at.
    let harmless = [0, libc::ENOENT, libc::EINVAL, libc::ESTALE, libc::EISDIR, libc::ENOTDIR, libc::EACCES];
    for round in 0..200 {
        let name = dice.text(&PARTS, 5);
        let path = target.join(if round % 2 == 0 { "d" } else { "" }).join(OsStr::from_bytes(&name));
        let said = match round % 4 {
            0 => number(&fs::symlink_metadata(&path)),
            1 => number(&fs::read_link(&path).map(drop)),
            2 => number(&fs::read_dir(&path).map(drop)),
            _ => number(&OpenOptions::new().write(true).open(target.join("f").join(&path)).map(drop)),
        };
        assert!(harmless.contains(&said), "{path:?}: {}", io::Error::from_raw_os_error(said));
    }
    for length in [256, 300, 1000, 4000] {
        let path = target.join("x".repeat(length));
        assert_eq!(number(&fs::create_dir(&path)), libc::ENAMETOOLONG, "{length}");
    }
    target.is_well(before);
}

#[test]
fn views_that_are_not_to_be_written() {
    let target = Target::new("views");
    let before = target.changes();
    for name in ["@session", "@metrics", "@ephemerals", "f@stat", "d/@stat", "@stat", "e@stat"] {
        let path = target.join(name);
        for said in [
            number(&fs::write(&path, "x")),
            number(&OpenOptions::new().append(true).open(&path)),
            number(&fs::remove_file(&path)),
            number(&fs::remove_dir(&path)),
            number(&fs::rename(&path, target.join("x"))),
            number(&fs::rename(target.join("f"), &path)),
            number(&fs::hard_link(target.join("f"), &path)),
            number(&fs::create_dir(&path)),
            number(&std::os::unix::fs::symlink("f", &path)),
        ] {
            assert!(said > 0 && said != libc::EIO, "{name}: {said}");
        }
    }
    target.is_well(before);
}

#[test]
fn offsets_and_sizes() {
    let target = Target::new("offsets");
    let before = target.changes();
    let mut dice = Dice(2);
    let file = OpenOptions::new().read(true).write(true).open(target.join("f")).unwrap();
    let mut buffer = [0; 100];
    let far = [
        1 << 20,
        (1 << 20) + 1,
        1 << 31,
        (1 << 32) + 7,
        1 << 40,
        1 << 53,
        1 << 62,
        i64::MAX as u64 - 4096,
        i64::MAX as u64,
    ];
    for _ in 0..40 {
        let offset = far[dice.roll(far.len())] - dice.roll(3) as u64;
        let length = dice.roll(buffer.len());
        let read = file.read_at(&mut buffer[..length], offset);
        assert!(matches!(read, Ok(0)) || number(&read) == libc::EINVAL, "read at {offset}: {read:?}");
        if length > 0 {
            let said = number(&file.write_at(&buffer[..length], offset));
            assert!([libc::EFBIG, libc::EINVAL].contains(&said), "write at {offset}: {said}");
        }
        let said = number(&file.set_len(offset));
        assert!([libc::EFBIG, libc::EINVAL].contains(&said), "ftruncate to {offset}: {said}");
    }
    for size in [1_044_481, 1_500_000, 3 << 20] {
        assert_eq!(number(&file.write_at(&vec![0; size], 0)), libc::EFBIG, "{size}");
    }
    for (mode, offset, length) in
        [(0, 0, 10), (1, 0, 1 << 40), (3, 0, 3), (16, 0, 3), (8, 0, 4096), (0, -1, 1), (0, 0, -1)]
    {
        // SAFETY: a descriptor that is open.
        let said = number(&outcome(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, length) }.into()));
        assert!(
            [libc::EOPNOTSUPP, libc::EINVAL, libc::EFBIG].contains(&said),
            "fallocate {mode} {offset} {length}: {said}"
        );
    }
    target.is_well(before);
}

#[test]
fn extended_attributes() {
    let target = Target::new("xattrs");
    let before = target.changes();
    let mut dice = Dice(3);
    let path = c_string(&target.join("f"));
    let prefixes: [&[u8]; 6] = [b"user.", b"user.zk.", b"trusted.", b"security.", b"system.", b""];
    let names: [&[u8]; 9] =
        [b"x", b"path", b"aclx", b"czxid", b"lock.token", b"\xff", b".", b"posix_acl_access", b"zk"];
    let refused = [libc::EOPNOTSUPP, libc::EINVAL, libc::EPERM, libc::ENODATA, libc::ERANGE, libc::E2BIG, libc::EACCES];
    for _ in 0..200 {
        let mut name = [dice.pick(&prefixes), dice.pick(&names)].concat();
        if dice.roll(10) == 0 {
            name.extend(b"x".repeat(dice.roll(300)));
        }
        let shown = String::from_utf8_lossy(&name).into_owned();
        let name = CString::new(name).unwrap();
        let mut value = vec![b'v'; [0, 1, 100, 65_536, 70_000][dice.roll(5)]];
        // SAFETY: C strings, and a value of the length that is said.
        let set = outcome(
            unsafe {
                libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), dice.roll(3) as i32)
            }
            .into(),
        );
        // What ZooKeeper alone decides is ignored.
        assert!(set.is_ok() || refused.contains(&number(&set)), "set {shown}: {set:?}");
        // SAFETY: as above.
        let got = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        let got = outcome(got as i64);
        assert!(got.is_ok() || refused.contains(&number(&got)), "get {shown}: {got:?}");
        // SAFETY: C strings.
        let removed = outcome(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) }.into());
        assert!(refused.contains(&number(&removed)), "remove {shown}: {removed:?}");
    }
    target.is_well(before);
}

#[test]
fn acl_texts() {
    let target = Target::new("acls");
    let before = target.changes();
    let mut dice = Dice(4);
    let parts: [&[u8]; 16] = [
        b"world",
        b"anyone",
        b"digest",
        b"ip",
        b"auth",
        b"sasl",
        b"cdrwa",
        b":",
        b":",
        b",",
        b"\n",
        b"\0",
        b"\xff",
        b" ",
        b"x",
        b"\xc3\xa9",
    ];
    let mut refused = 0;
    for round in 0..300 {
        let text = dice.text(&parts, 9);
        // What is an ACL after all may well be set.
        if std::str::from_utf8(&text).is_ok_and(|text| Acl::parse_list(text).is_ok()) {
            continue;
        }
        refused += 1;
        let said = if round % 3 == 0 && !text.is_empty() {
            let path = c_string(&target.join("f"));
            let name = c"user.zk.acl";
            // SAFETY: C strings, and a value of the length that is said.
            let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), text.as_ptr().cast(), text.len(), 0) };
            number(&outcome(set.into()))
        } else {
            let view = OpenOptions::new().write(true).truncate(true).open(target.join("f@acl"));
            number(&view.and_then(|mut view| view.write(&text)))
        };
        assert_eq!(said, libc::EINVAL, "{:?}", String::from_utf8_lossy(&text));
    }
    assert!(refused > 200, "only {refused} were wrong");
    let huge = "world:anyone:r\n".repeat(200_000);
    assert_eq!(number(&fs::write(target.join("f@acl"), huge)), libc::EFBIG);
    target.is_well(before);
}

#[test]
fn options() {
    let here = Surroundings { directory: "/".into(), credentials_directory: None, journal: false, uid: 1, gid: 1 };
    let mut dice = Dice(5);
    let parts: [&[u8]; 26] = [
        b"-o",
        b"--",
        b"-",
        b"timeout",
        b"=",
        b",",
        b"\\",
        b"\"",
        b"5s",
        b"99999999999999999999",
        b"ro",
        b"rw",
        b"acl",
        b"creator",
        b"world:anyone:r",
        b"tls_ca",
        b"/dev/null",
        b"/proc/self/mem",
        b"credentials",
        b"x-",
        b"umask",
        b"-1",
        b"\xc3\xa9",
        b"at",
        b"\n",
        b" ",
    ];
    for _ in 0..300 {
        let words = (0..dice.roll(4)).map(|_| OsString::from_vec(dice.text(&parts, 5)));
        let words: Vec<OsString> = words.collect();
        let fixed = ["zk1:2181", "/mnt"].map(OsString::from);
        let line = ["zkmount".into()].into_iter().chain(words.clone()).chain(fixed);
        // That it ends, and without a panic, is what is asked.
        if let Ok(args) = Args::parse_from_os(line)
            && let Err(wrong) = Config::new(&args, &here)
        {
            assert!(!wrong.is_empty(), "{words:?}");
        }
    }
    for options in
        ["timeout=-1", "\"", "=", "tls_ca=/proc/self/mem", "acl=::", "at=\u{e9}", "cache=18446744073709551616", "ro=1"]
    {
        let output = Mount::command(&["-o", options, "zk1:2181", "/nowhere"]).exits(1);
        assert_eq!(output.stderr.lines().count(), 1, "{options}: {}", output.stderr);
    }
}
