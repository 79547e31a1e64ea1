//! Names in the file system, and what they say about a znode.
//!
//! The last `@` of a name, followed by a keyword, is a convention: a creation flag (`lock@e`) or a view (`app@stat`).
//! It is never part of the znode's name. A znode whose own name would read as a convention is written with the last run of
//! `@` one longer, and such a run of two or more is read one shorter: a bijection, and every other name is untouched.

use std::time::Duration;

use super::path::{PathError, check_name};

/// How long a znode lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until it is deleted.
    Persistent,
    /// As long as the mount's session: `@e`.
    Ephemeral,
    /// As an ephemeral, and no longer than the open file that created it: `@h`.
    Held,
    /// Until its last child goes: `@c`.
    Container,
    /// Until it has been left alone, without children, for so long: `@t=30s`.
    Ttl(Duration),
}

/// What a name asks of a znode that is yet to be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flags {
    /// How long it is to live.
    pub lifetime: Lifetime,
    /// Whether ZooKeeper appends a number to its name.
    pub sequential: bool,
    /// The caller's own word for a sequential znode, by which the assigned name is found again.
    pub tag: Option<String>,
}

impl Flags {
    /// Tells whether the name, when looked up, is that of the znode without the flags.
    pub fn looks_up(&self) -> bool {
        !self.sequential
    }
}

/// A part of a znode that is shown as a file or directory of its own; never listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Its data, whatever its kind: `@data`.
    Data,
    /// Its children, whatever its kind: `@dir`.
    Dir,
    /// Its Stat as text: `@stat`.
    Stat,
    /// Its ACL as text: `@acl`.
    Acl,
    /// The file, only at this version: `@v=7`.
    Version(i32),
    /// The lock on it: `@lock`.
    Lock,
    /// The changes of it and below it: `@events`.
    Events,
    /// The state of the session; at the root only: `@session`.
    Session,
    /// The ephemerals of the session; at the root only: `@ephemerals`.
    Ephemerals,
    /// Counters; at the root only: `@metrics`.
    Metrics,
    /// A transaction file; at the root only: `@txn`.
    Txn,
}

impl View {
    /// Tells whether the view is one of the whole mount, which is found in its root only.
    pub fn is_of_mount(self) -> bool {
        matches!(self, View::Session | View::Ephemerals | View::Metrics | View::Txn)
    }
}

/// What a name in a directory stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileName {
    /// The child znode of this name.
    Znode(String),
    /// A child znode to be made with these flags.
    Create {
        /// The znode's name, without the number of a sequential one.
        base: String,
        /// How to make it.
        flags: Flags,
    },
    /// A view of the child znode `base`, or of the directory itself.
    View {
        /// The child znode; none for the directory itself.
        base: Option<String>,
        /// Which view.
        view: View,
    },
}

/// The rules for names, with the character that starts a convention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    at: char,
}

impl Default for Names {
    fn default() -> Names {
        Names { at: '@' }
    }
}

/// What follows the last `@`.
#[derive(Debug, PartialEq, Eq)]
enum Keyword {
    Create(Flags),
    View(View),
    /// A keyword with a value that is none, such as `t=soon`.
    Malformed,
}

impl Names {
    /// The rules with another character than `@`; none unless it is an ASCII punctuation character that neither
    /// paths nor the conventions use.
    pub fn with_at(at: char) -> Option<Names> {
        (at.is_ascii_punctuation() && !matches!(at, '/' | '.' | '=' | ':' | '_' | '-')).then_some(Names { at })
    }

    /// The character that starts a convention.
    pub fn at(&self) -> char {
        self.at
    }

    /// Reads a name that the kernel passed.
    ///
    /// # Errors
    /// When ZooKeeper would refuse the znode's name, or when the value of a convention is malformed
    /// ([`PathError::Character`] with the convention's character).
    pub fn parse(&self, name: &[u8]) -> Result<FileName, PathError> {
        let name = std::str::from_utf8(name).map_err(|_| PathError::Encoding)?;
        let Some((base, run, keyword)) = self.split(name) else {
            return check_name(name).map(|()| FileName::Znode(name.to_owned()));
        };
        if run > 1 {
            let shorter = format!("{base}{}{}", self.run(run - 1), &name[base.len() + run * self.at.len_utf8()..]);
            return check_name(&shorter).map(|()| FileName::Znode(shorter));
        }
        if !base.is_empty() {
            check_name(base)?;
        }
        match keyword {
            Keyword::View(view) if view.is_of_mount() && !base.is_empty() => Err(PathError::Character(self.at)),
            Keyword::View(View::Dir | View::Version(_)) if base.is_empty() => Err(PathError::Character(self.at)),
            Keyword::View(view) => Ok(FileName::View { base: (!base.is_empty()).then(|| base.to_owned()), view }),
            Keyword::Create(flags) if !base.is_empty() => Ok(FileName::Create { base: base.to_owned(), flags }),
            Keyword::Create(_) | Keyword::Malformed => Err(PathError::Character(self.at)),
        }
    }

    /// The name under which a znode is listed.
    pub fn show(&self, znode: &str) -> String {
        match self.split(znode) {
            Some((base, _, _)) => format!("{base}{}{}", self.at, &znode[base.len()..]),
            None => znode.to_owned(),
        }
    }

    /// Splits a name with a keyword behind its last run of `@`: what is before the run, its length, the keyword.
    fn split<'a>(&self, name: &'a str) -> Option<(&'a str, usize, Keyword)> {
        let (before, word) = name.rsplit_once(self.at)?;
        let base = before.trim_end_matches(self.at);
        let keyword = keyword(word)?;
        Some((base, before.chars().count() - base.chars().count() + 1, keyword))
    }

    fn run(&self, length: usize) -> String {
        std::iter::repeat_n(self.at, length).collect()
    }
}

fn keyword(word: &str) -> Option<Keyword> {
    let view = match word {
        "data" => View::Data,
        "dir" => View::Dir,
        "stat" => View::Stat,
        "acl" => View::Acl,
        "lock" => View::Lock,
        "events" => View::Events,
        "session" => View::Session,
        "ephemerals" => View::Ephemerals,
        "metrics" => View::Metrics,
        "txn" => View::Txn,
        _ => return flags(word),
    };
    Some(Keyword::View(view))
}

fn flags(word: &str) -> Option<Keyword> {
    if let Some(version) = word.strip_prefix("v=") {
        let number = version.parse().ok().filter(|_| version.bytes().all(|b| b.is_ascii_digit()));
        return Some(number.map_or(Keyword::Malformed, |version| Keyword::View(View::Version(version))));
    }
    if let Some(text) = word.strip_prefix("t=") {
        let create = |ttl| Keyword::Create(Flags { lifetime: Lifetime::Ttl(ttl), sequential: false, tag: None });
        return Some(duration(text).map_or(Keyword::Malformed, create));
    }
    let (letters, tag) = match word.split_once(':') {
        Some((letters, tag)) => (letters, Some(tag)),
        None => (word, None),
    };
    let (lifetime, sequential) = match letters {
        "e" => (Lifetime::Ephemeral, false),
        "h" => (Lifetime::Held, false),
        "c" => (Lifetime::Container, false),
        "s" => (Lifetime::Persistent, true),
        "es" => (Lifetime::Ephemeral, true),
        "hs" => (Lifetime::Held, true),
        _ => return None,
    };
    match tag {
        // Only what gets a number needs a tag; `bob@e:mail` is nobody's convention.
        Some(_) if !sequential => None,
        Some("") => Some(Keyword::Malformed),
        tag => Some(Keyword::Create(Flags { lifetime, sequential, tag: tag.map(str::to_owned) })),
    }
}

/// Reads a duration: digits and one of ms, s, m, h, d; none when it is zero or beyond what ZooKeeper can hold (five bytes of ms).
pub fn duration(text: &str) -> Option<Duration> {
    const MAX_MILLIS: u64 = 0xff_ffff_ffff;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    };
    let millis = text[..digits].parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=MAX_MILLIS).contains(&millis).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(name: &str) -> Result<FileName, PathError> {
        Names::default().parse(name.as_bytes())
    }

    fn znode(name: &str) -> Result<FileName, PathError> {
        Ok(FileName::Znode(name.to_owned()))
    }

    fn create(base: &str, lifetime: Lifetime, sequential: bool, tag: Option<&str>) -> Result<FileName, PathError> {
        Ok(FileName::Create {
            base: base.to_owned(),
            flags: Flags { lifetime, sequential, tag: tag.map(str::to_owned) },
        })
    }

    #[test]
    fn creation_flags() {
        assert_eq!(parse("lock@e"), create("lock", Lifetime::Ephemeral, false, None));
        assert_eq!(parse("lock@h"), create("lock", Lifetime::Held, false, None));
        assert_eq!(parse("n-@s"), create("n-", Lifetime::Persistent, true, None));
        assert_eq!(parse("n-@es:12"), create("n-", Lifetime::Ephemeral, true, Some("12")));
        assert_eq!(parse("n-@hs:a:b"), create("n-", Lifetime::Held, true, Some("a:b")));
        assert_eq!(parse("d@c"), create("d", Lifetime::Container, false, None));
        assert_eq!(parse("x@t=30s"), create("x", Lifetime::Ttl(Duration::from_secs(30)), false, None));
        assert_eq!(parse("user@host@e"), create("user@host", Lifetime::Ephemeral, false, None));
    }

    #[test]
    fn views() {
        let view = |base: Option<&str>, view| Ok(FileName::View { base: base.map(str::to_owned), view });
        assert_eq!(parse("@data"), view(None, View::Data));
        assert_eq!(parse("a@data"), view(Some("a"), View::Data));
        assert_eq!(parse("a@dir"), view(Some("a"), View::Dir));
        assert_eq!(parse("a@v=7"), view(Some("a"), View::Version(7)));
        assert_eq!(parse("@metrics"), view(None, View::Metrics));
        assert_eq!(parse("@events"), view(None, View::Events));
    }

    #[test]
    fn other_names_are_untouched() {
        for name in ["a", "user@host", "a@", "@", "a@E", "a@ e", "a@e:x", "a@data2", "a@b@c.d", "x@eh"] {
            assert_eq!(parse(name), znode(name));
            assert_eq!(Names::default().show(name), name);
        }
    }

    #[test]
    fn names_that_read_as_conventions_are_escaped() {
        for (real, shown) in
            [("a@e", "a@@e"), ("a@@e", "a@@@e"), ("@data", "@@data"), ("@e", "@@e"), ("x@t=soon", "x@@t=soon")]
        {
            assert_eq!(Names::default().show(real), shown);
            assert_eq!(parse(shown), znode(real));
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        for name in
            ["x@t=", "x@t=0s", "x@t=5", "x@v=-1", "x@v=", "x@v=99999999999", "x@s:", "@e", "@dir", "a@session", "@v=1"]
        {
            assert_eq!(parse(name), Err(PathError::Character('@')), "{name}");
        }
        assert_eq!(Names::default().parse(b"\xff"), Err(PathError::Encoding));
        assert_eq!(parse("."), Err(PathError::Dots));
        assert_eq!(parse("..@e"), Err(PathError::Dots));
    }

    #[test]
    fn another_character() {
        let names = Names::with_at('%').unwrap();
        assert_eq!(names.parse(b"a@e"), znode("a@e"));
        assert_eq!(names.parse(b"a%e"), create("a", Lifetime::Ephemeral, false, None));
        assert_eq!(names.show("a%e"), "a%%e");
        assert_eq!(['/', 'a', '\n', 'é', '.'].map(Names::with_at), [None; 5]);
    }

    proptest! {
        #[test]
        fn show_and_parse_are_inverse(real in "[a@e]{0,3}@{0,3}(e|s|es:x|data|t=1s|t=|v=3|session|host|dir|h)?") {
            prop_assume!(check_name(&real).is_ok());
            let shown = Names::default().show(&real);
            prop_assert_eq!(parse(&shown), znode(&real));
        }

        #[test]
        fn a_name_that_stands_for_a_znode_is_the_one_it_is_shown_by(name in "[a@e:]{0,6}(@{0,3}(e|data|s:1))?") {
            if let Ok(FileName::Znode(real)) = parse(&name) {
                prop_assert_eq!(Names::default().show(&real), name);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(name in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Names::default().parse(&name);
        }
    }
}
