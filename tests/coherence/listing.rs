//! A listing takes its time: what it tells of a file is not older than what was shown before.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use crate::world::{World, readable};

/// More entries than are looked at at once.
const ENTRIES: usize = 2_000;

fn name(number: usize) -> String {
    format!("n{number:05}")
}

/// A directory that is read bit by bit, as by a program that does something with each entry.
struct Listing(*mut libc::DIR);

impl Listing {
    fn open(path: &std::path::Path) -> Listing {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a terminated string.
        let dir = unsafe { libc::opendir(path.as_ptr()) };
        assert!(!dir.is_null(), "{}", std::io::Error::last_os_error());
        Listing(dir)
    }
}

impl Iterator for Listing {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        // SAFETY: the stream is open, and the entry is used before the next one is read.
        unsafe {
            let entry = libc::readdir(self.0);
            (!entry.is_null())
                .then(|| std::ffi::CStr::from_ptr((*entry).d_name.as_ptr()).to_string_lossy().into_owned())
        }
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        // SAFETY: it is closed once.
        unsafe { libc::closedir(self.0) };
    }
}

// > No program is shown a part of a value, or an older value or size after a newer one.
#[test]
fn a_listing_brings_no_old_sizes_back() {
    let world = World::new("listing");
    world.witness.fill((0..ENTRIES).map(|n| (format!("/d/{}", name(n)), b"1".to_vec())));
    let dir = world.reader.join("d");
    let last = dir.join(name(ENTRIES - 1));
    let mut listing = Listing::open(&dir);
    // Names that are looked at one by one make the kernel ask for attributes with the names.
    for entry in listing.by_ref().take(700).filter(|entry| !entry.starts_with('.')) {
        assert_eq!(fs::metadata(dir.join(entry)).unwrap().len(), 1);
    }
    let mut stream = File::open(world.reader.join("d/@events")).unwrap();
    for number in [ENTRIES - 1, ENTRIES - 2] {
        world.witness.set(&format!("/d/{}", name(number)), b"longer", None).unwrap();
    }
    let mut told = 0;
    while told < 2 {
        readable(&stream);
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        told += bytes[..count].iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(fs::metadata(&last).unwrap().len(), 6);
    for entry in listing.by_ref() {
        let size = if entry >= name(ENTRIES - 2) { 6 } else { 1 };
        assert_eq!(fs::metadata(dir.join(&entry)).unwrap().len(), size, "{entry}");
    }
}
