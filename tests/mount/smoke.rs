//! Whether anything works at all, and an example of how a test here is written.

use rig::Mount;

#[test]
fn a_tree_in_memory_is_a_file_system() {
    let mount = Mount::new("memory:");
    let output = mount
        .bash("mkdir -p a/b && echo one > a/b/f && cat a/b/f && mv a/b/f a/g && ls -R a && rm -r a && ls")
        .success();
    assert_eq!(output.stdout, "one\na:\nb\ng\n\na/b:\n");
}
