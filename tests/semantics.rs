//! Every promise of SEMANTICS.md has a test that quotes it.
//!
//! A promise is a list item. A test quotes it in a comment `// > PROMISE`, one line each, so that whoever changes
//! one finds the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn promises() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(ROOT).join("SEMANTICS.md")).expect("SEMANTICS.md");
    text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect()
}

fn quotes(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            quotes(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            found.extend(text.lines().filter_map(|line| line.trim().strip_prefix("// > ")).map(str::to_owned));
        }
    }
}

#[test]
fn every_promise_is_quoted_by_a_test_and_every_quote_is_a_promise() {
    let promises = promises();
    let mut quoted = BTreeSet::new();
    quotes(&Path::new(ROOT).join("tests"), &mut quoted);
    quotes(&Path::new(ROOT).join("src"), &mut quoted);
    let missing: Vec<_> = promises.difference(&quoted).collect();
    let unknown: Vec<_> = quoted.difference(&promises).collect();
    assert!(missing.is_empty(), "no test quotes: {missing:#?}");
    assert!(unknown.is_empty(), "SEMANTICS.md does not say: {unknown:#?}");
    assert!(!promises.is_empty());
}
