//! Access control lists.

use std::fmt;

/// What an identity may do, as ZooKeeper's bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions(pub i32);

impl Permissions {
    /// All five.
    pub const ALL: Permissions = Permissions(31);
    /// The letters of zkCli, in the order in which it prints them, and their bits.
    const LETTERS: [(char, i32); 5] = [('c', 4), ('d', 8), ('r', 1), ('w', 2), ('a', 16)];
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = Permissions::LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0);
        letters.map(|(letter, _)| letter).try_for_each(|letter| write!(f, "{letter}"))
    }
}

/// One entry of an access control list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    /// What the identity may do.
    pub permissions: Permissions,
    /// The scheme: world, auth, digest, ip, x509, sasl.
    pub scheme: String,
    /// The identity in that scheme.
    pub id: String,
}

impl Acl {
    /// Everybody may do everything.
    pub fn open() -> Vec<Acl> {
        vec![Acl { permissions: Permissions::ALL, scheme: "world".to_owned(), id: "anyone".to_owned() }]
    }

    /// Who creates may do everything, and nobody else anything.
    pub fn creator() -> Vec<Acl> {
        vec![Acl { permissions: Permissions::ALL, scheme: "auth".to_owned(), id: String::new() }]
    }

    /// Reads a list in zkCli's form: `scheme:id:permissions`, by commas or one a line. The id may have colons.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn parse_list(text: &str) -> Result<Vec<Acl>, String> {
        let entries = text.split(['\n', ',']).map(str::trim).filter(|entry| !entry.is_empty());
        let list = entries.map(Acl::parse).collect::<Result<Vec<Acl>, String>>()?;
        if list.is_empty() { Err("an ACL has at least one entry scheme:id:permissions".to_owned()) } else { Ok(list) }
    }

    fn parse(entry: &str) -> Result<Acl, String> {
        let wrong = || format!("{entry:?} is no ACL entry scheme:id:permissions");
        let (scheme, rest) = entry.split_once(':').ok_or_else(wrong)?;
        let (id, letters) = rest.rsplit_once(':').ok_or_else(wrong)?;
        if scheme.is_empty() {
            return Err(wrong());
        }
        let mut bits = 0;
        for letter in letters.chars() {
            let known = Permissions::LETTERS.iter().find(|(known, _)| *known == letter);
            bits |= known.ok_or_else(|| format!("{entry:?}: permissions are letters of cdrwa, not {letter:?}"))?.1;
        }
        Ok(Acl { permissions: Permissions(bits), scheme: scheme.to_owned(), id: id.to_owned() })
    }
}

impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scheme, self.id, self.permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let text = "world:anyone:r\ndigest:bob:x+y=:cdrwa\nip:::1:w";
        let list = Acl::parse_list(text).unwrap();
        assert_eq!(list.iter().map(Acl::to_string).collect::<Vec<_>>().join("\n"), text);
        assert_eq!(Acl::parse_list("world:anyone:cdrwa, auth::r").unwrap().len(), 2);
        assert_eq!(Acl::parse_list("world:anyone:").unwrap()[0].permissions, Permissions(0));
    }

    #[test]
    fn wrong_text_is_named() {
        for (text, said) in
            [("", "at least one"), ("world", "no ACL entry"), ("world:anyone:rx", "'x'"), (":a:r", "no ACL")]
        {
            let error = Acl::parse_list(text).unwrap_err();
            assert!(error.contains(said), "{text:?}: {error}");
        }
    }
}
