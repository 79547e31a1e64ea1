//! Edits of a znode's data: what a write at an offset makes of it.

use std::borrow::Cow;

/// `old` with `bytes` at `offset`; a gap before them is filled with zeros.
pub fn write_at(old: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let end = offset.saturating_add(bytes.len());
    let mut new = Vec::with_capacity(old.len().max(end));
    new.extend_from_slice(&old[..old.len().min(offset)]);
    new.resize(offset, 0);
    new.extend_from_slice(bytes);
    if let Some(rest) = old.get(end..) {
        new.extend_from_slice(rest);
    }
    new
}

/// `old` cut or filled with zeros to `length` bytes.
pub fn resize(old: &[u8], length: usize) -> Cow<'_, [u8]> {
    match old.get(..length) {
        Some(head) => Cow::Borrowed(head),
        None => {
            let mut new = old.to_vec();
            new.resize(length, 0);
            Cow::Owned(new)
        }
    }
}

/// The part of `data` that a read of `size` bytes at `offset` gives.
pub fn slice(data: &[u8], offset: u64, size: usize) -> &[u8] {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
    let end = start.saturating_add(size).min(data.len());
    &data[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes() {
        assert_eq!(write_at(b"hello", 0, b"J"), b"Jello");
        assert_eq!(write_at(b"hello", 4, b"y!"), b"helly!");
        assert_eq!(write_at(b"ab", 4, b"c"), b"ab\0\0c");
        assert_eq!(write_at(b"", 0, b""), b"");
        assert_eq!(write_at(b"abc", 1, b""), b"abc");
    }

    #[test]
    fn resizes_and_slices() {
        assert_eq!(&*resize(b"abc", 2), b"ab");
        assert_eq!(&*resize(b"abc", 5), b"abc\0\0");
        assert_eq!(slice(b"abc", 1, 10), b"bc");
        assert_eq!(slice(b"abc", 3, 1), b"");
        assert_eq!(slice(b"abc", u64::MAX, usize::MAX), b"");
    }
}
