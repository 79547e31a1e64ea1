//! Inputs that are wrong get the right errno, and change nothing.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use crate::world::{World, c_path, check, errno, put};

#[test]
fn wrong_inputs_change_nothing() {
    let world = World::new("inputs");
    let path = put(world.one.join("f"), "data");
    world.run("mkdir d");
    let before = world.history().len();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let fd = file.as_raw_fd();
    let seek = |offset, whence| check(unsafe { libc::lseek(fd, offset, whence) } as i32);
    assert_eq!(errno(seek(-1, libc::SEEK_SET)), libc::EINVAL);
    assert_eq!(errno(seek(-5, libc::SEEK_END)), libc::EINVAL);
    assert_eq!(errno(seek(0, 99)), libc::EINVAL);
    assert_eq!(errno(check(unsafe { libc::pwrite(fd, b"x".as_ptr().cast(), 1, -1) } as i32)), libc::EINVAL);
    assert_eq!(errno(check(unsafe { libc::ftruncate(fd, -1) })), libc::EINVAL);
    assert_eq!(errno(file.write_all_at(b"x", 1 << 62)), libc::EFBIG);
    assert_eq!(errno(file.set_len(1 << 62)), libc::EFBIG);
    assert_eq!(errno(check(unsafe { libc::truncate(c_path(&path).as_ptr(), 1 << 40) })), libc::EFBIG);
    let reader = File::open(&path).unwrap();
    assert_eq!(errno(reader.write_all_at(b"x", 0)), libc::EBADF);
    assert_eq!(errno(reader.set_len(0)), libc::EINVAL);
    assert_eq!(errno(fs::create_dir(world.one.join("d/."))), libc::EEXIST);
    assert_eq!(errno(fs::create_dir(world.one.join("d/.."))), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(world.one.join("d/."))), libc::EINVAL);
    assert_eq!(errno(fs::read(world.one.join("f/x"))), libc::ENOTDIR);
    assert_eq!(errno(fs::write(world.one.join("none/x"), "x")), libc::ENOENT);
    assert_eq!(errno(fs::write(world.one.join("d"), "x")), libc::EISDIR);
    assert_eq!(errno(fs::read_dir(&path).map(drop)), libc::ENOTDIR);
    drop((file, reader));
    assert_eq!(world.history().len(), before);
    assert_eq!(world.witness.text("/f"), "data");
    assert!(world.one.is_running() && !world.one.log().contains("panicked"));
}
