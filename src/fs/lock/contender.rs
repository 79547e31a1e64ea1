//! Names and data of the znodes in a lock's directory.
//!
//! An exclusive contender is named as Curator's `InterProcessMutex` names it, `_c_UUID-lock-NUMBER`, and a shared one
//! `_c_UUID-shared-lock-NUMBER`. Clients that know only `lock-NUMBER` take a shared one for an exclusive one: they wait
//! longer than they need to, but never hold the lock together with a reader. Contenders of read-write recipes are known too,
//! so that a lock here waits for theirs.

use std::fmt;

use bytes::Bytes;

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Shared => "shared",
            Mode::Exclusive => "exclusive",
        })
    }
}

/// What the name of a contender says before its number, the longer ones first where one ends in another: Curator's
/// mutex and ours, Curator's read-write lock, kazoo's.
const MARKS: [(&str, Mode); 6] = [
    ("-shared-lock-", Mode::Shared),
    ("lock-", Mode::Exclusive),
    ("__READ__", Mode::Shared),
    ("__WRIT__", Mode::Exclusive),
    ("__rlock__", Mode::Shared),
    ("__lock__", Mode::Exclusive),
];

/// Digits of a sequential znode's number.
const DIGITS: usize = 10;

/// A znode that stands in a queue for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// The number that the server gave it.
    pub number: i32,
    /// The znode's name.
    pub name: String,
    /// How it wants the lock.
    pub mode: Mode,
}

impl Contender {
    /// Reads a znode's name; none when it is not that of a contender.
    pub fn parse(name: &str) -> Option<Contender> {
        let digits = name.len().checked_sub(DIGITS)?;
        if !name.as_bytes()[digits..].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let before = &name[..digits];
        let mode = |before: &str| MARKS.iter().find(|(mark, _)| before.ends_with(mark)).map(|(_, mode)| *mode);
        // The counter goes negative after some two billion contenders.
        let (sign, mode) = match mode(before) {
            Some(mode) => ("", mode),
            None => ("-", mode(before.strip_suffix('-')?)?),
        };
        let number = format!("{sign}{}", &name[digits..]).parse().ok()?;
        Some(Contender { number, name: name.to_owned(), mode })
    }

    /// A name that nobody else uses, up to the number. It is known before the request is sent, so that the znode is
    /// found again when the reply is lost.
    pub fn prefix(mode: Mode) -> String {
        let (high, low) = (random(), random());
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
        let (d, e) = ((low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
        let lock = match mode {
            Mode::Shared => "shared-lock-",
            Mode::Exclusive => "lock-",
        };
        format!("_c_{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}-{lock}")
    }
}

/// Random bits: the standard library's hashes have secret keys.
fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0_u8)
}

/// What a contender's data says of who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Card {
    /// The host.
    pub host: String,
    /// The process, as that host numbers them; none when it is not told.
    pub pid: Option<u32>,
}

impl Card {
    /// The data of a contender: lines that are read by people and by [`Card::read`].
    pub fn write(&self, mode: Mode) -> Bytes {
        let pid = self.pid.map(|pid| format!("pid={pid}\n")).unwrap_or_default();
        Bytes::from(format!("host={}\n{pid}mode={mode}\n", self.host))
    }

    /// Reads the data of a contender, ours or anybody's: other clients write a name, or nothing. What could break a
    /// line or a word is replaced.
    pub fn read(data: &[u8]) -> Card {
        let text = String::from_utf8_lossy(data);
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let host = value("host=").unwrap_or_else(|| text.trim());
        let word = |c: char| if c.is_whitespace() || c.is_control() { '?' } else { c };
        Card {
            host: host.chars().take(HOST_MAX).map(word).collect(),
            pid: value("pid=").and_then(|pid| pid.parse().ok()),
        }
    }
}

/// What is shown of a host's name at most, in characters.
const HOST_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let parse = |name: &str| Contender::parse(name).map(|contender| (contender.mode, contender.number));
        for (name, mode) in [
            ("_c_0b8a2b6e-lock-0000000007", Mode::Exclusive),
            ("_c_0b8a2b6e-shared-lock-0000000007", Mode::Shared),
            ("lock-0000000007", Mode::Exclusive),
            ("_c_0b8a2b6e-__READ__0000000007", Mode::Shared),
            ("_c_0b8a2b6e-__WRIT__0000000007", Mode::Exclusive),
            ("0b8a2b6e__lock__0000000007", Mode::Exclusive),
            ("0b8a2b6e__rlock__0000000007", Mode::Shared),
        ] {
            assert_eq!(parse(name), Some((mode, 7)), "{name}");
        }
        for name in ["lock", "lock-", "lock-7", "lock-000000000x", "block0000000001", "item-0000000001", "é000000000"]
        {
            assert_eq!(parse(name), None, "{name}");
        }
        assert_eq!(parse("_c_x-lock--2147483648"), Some((Mode::Exclusive, i32::MIN)));
        assert_eq!(parse("x__rlock__-0000000001"), Some((Mode::Shared, -1)));
    }

    #[test]
    fn our_own_names_are_read_and_differ() {
        for mode in [Mode::Shared, Mode::Exclusive] {
            let prefix = Contender::prefix(mode);
            assert_ne!(prefix, Contender::prefix(mode));
            let read = Contender::parse(&format!("{prefix}0000000001")).unwrap();
            assert_eq!((read.mode, read.number), (mode, 1));
            // Curator finds the random part by its length.
            assert_eq!(prefix.find("-shared").or(prefix.find("-lock")), Some("_c_".len() + 36));
        }
    }

    #[test]
    fn data_of_ours_and_of_others() {
        let card = Card { host: "web1".to_owned(), pid: Some(7) };
        assert_eq!(Card::read(&card.write(Mode::Shared)), card);
        assert_eq!(Card::read(b"10.0.0.1"), Card { host: "10.0.0.1".to_owned(), pid: None }, "Curator's address");
        assert_eq!(Card::read(b"a\x1bb c\nd").host, "a?b?c?d");
        assert_eq!(Card::read(b""), Card::default());
        assert_eq!(Card::read(&[b'x'; 1000]).host.len(), HOST_MAX);
    }
}
