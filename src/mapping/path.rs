//! Paths of znodes.

use std::fmt;
use std::sync::Arc;

/// The longest name of a directory entry that Linux takes, in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Why a text is no path or name of a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text does not start with a slash.
    #[error("a path starts with a slash")]
    Relative,
    /// A name is empty: two slashes in a row, or one at the end.
    #[error("a name is empty")]
    Empty,
    /// A name is `.` or `..`, which ZooKeeper refuses.
    #[error("a name is . or ..")]
    Dots,
    /// A character that ZooKeeper refuses: a control character, a private one, or one beyond the basic plane.
    #[error("character {0:?} is not allowed in a name")]
    Character(char),
    /// The bytes are not UTF-8.
    #[error("a name is not UTF-8")]
    Encoding,
}

/// An absolute, valid path of a znode, relative to the mounted root. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZnodePath(Arc<str>);

impl ZnodePath {
    /// The mounted root, `/`.
    pub fn root() -> ZnodePath {
        ZnodePath(Arc::from("/"))
    }

    /// Checks an absolute path.
    ///
    /// # Errors
    /// When ZooKeeper would refuse the path.
    pub fn parse(text: &str) -> Result<ZnodePath, PathError> {
        let names = text.strip_prefix('/').ok_or(PathError::Relative)?;
        if !names.is_empty() {
            names.split('/').try_for_each(check_name)?;
        }
        Ok(ZnodePath(Arc::from(text)))
    }

    /// The path as text, as ZooKeeper takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is the mounted root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The path of the parent; none for the root.
    pub fn parent(&self) -> Option<ZnodePath> {
        if self.is_root() {
            return None;
        }
        match self.0.rfind('/') {
            Some(0) | None => Some(ZnodePath::root()),
            Some(end) => Some(ZnodePath(Arc::from(&self.0[..end]))),
        }
    }

    /// The last name; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The path of the child `name`.
    ///
    /// # Errors
    /// When ZooKeeper would refuse the name.
    pub fn join(&self, name: &str) -> Result<ZnodePath, PathError> {
        check_name(name)?;
        Ok(self.join_raw(name))
    }

    /// The path of a child whose name a server has already accepted.
    pub fn join_raw(&self, name: &str) -> ZnodePath {
        let above = if self.is_root() { "" } else { &*self.0 };
        ZnodePath(Arc::from(format!("{above}/{name}")))
    }

    /// Tells whether this path is `other` or below it.
    pub fn is_within(&self, other: &ZnodePath) -> bool {
        other.is_root() || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// This path with the prefix `from` replaced by `to`; none when it is not within `from`.
    pub fn rebase(&self, from: &ZnodePath, to: &ZnodePath) -> Option<ZnodePath> {
        if !self.is_within(from) {
            return None;
        }
        let rest = if from.is_root() { &*self.0 } else { &self.0[from.0.len()..] };
        let above = if to.is_root() { "" } else { &*to.0 };
        let text = format!("{above}{}", if rest == "/" { "" } else { rest });
        Some(ZnodePath(Arc::from(if text.is_empty() { "/" } else { &*text })))
    }
}

/// Checks one name of a path the way ZooKeeper's `PathUtils.validatePath` does.
///
/// # Errors
/// When ZooKeeper would refuse the name, or when it has a slash.
pub fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" => return Err(PathError::Empty),
        "." | ".." => return Err(PathError::Dots),
        _ => {}
    }
    match name.chars().find(|c| !is_allowed(*c)) {
        Some(bad) => Err(PathError::Character(bad)),
        None => Ok(()),
    }
}

/// ZooKeeper compares UTF-16 units: surrogates (all that is beyond the basic plane), the private use area up to U+F8FF
/// and the specials from U+FFF0 are refused beside the control characters.
fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1f}' | '/' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

impl fmt::Display for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ZnodePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_names_and_children() {
        let path = ZnodePath::parse("/a/b").unwrap();
        assert_eq!(path.name(), "b");
        assert_eq!(path.parent().unwrap().as_str(), "/a");
        assert_eq!(path.parent().unwrap().parent(), Some(ZnodePath::root()));
        assert_eq!(ZnodePath::root().parent(), None);
        assert_eq!(ZnodePath::root().join("x").unwrap().as_str(), "/x");
        assert_eq!(path.join("c").unwrap().as_str(), "/a/b/c");
    }

    #[test]
    fn within_is_by_whole_names() {
        let [a, ab, abc] = ["/a", "/a/b", "/ab"].map(|text| ZnodePath::parse(text).unwrap());
        assert!(ab.is_within(&a) && a.is_within(&a) && a.is_within(&ZnodePath::root()));
        assert!(!abc.is_within(&a) && !a.is_within(&ab));
        assert_eq!(ab.rebase(&a, &abc).unwrap().as_str(), "/ab/b");
        assert_eq!(ab.rebase(&a, &ZnodePath::root()).unwrap().as_str(), "/b");
        assert_eq!(ab.rebase(&ZnodePath::root(), &a).unwrap().as_str(), "/a/a/b");
        assert_eq!(abc.rebase(&a, &ab), None);
    }

    #[test]
    fn what_zookeeper_refuses_is_refused() {
        for bad in
            ["", "a", "//", "/a/", "/a//b", "/.", "/a/..", "/\u{1}", "/\u{7f}", "/\u{9f}", "/\u{e000}", "/\u{1f600}"]
        {
            assert!(ZnodePath::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["/", "/a", "/...", "/a b", "/é", "/漢字", "/a@b", "/\u{feff}"] {
            assert!(ZnodePath::parse(good).is_ok(), "{good:?}");
        }
    }
}
