//! docs/faults.md names tests that exist.

use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A row of the table: its number, and the tests that it names.
struct Row {
    number: usize,
    scenario: String,
    tests: Vec<String>,
    /// What cannot be had in a test is said beside what the user sees.
    excuse: bool,
}

fn rows(text: &str) -> Vec<Row> {
    text.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let [number, scenario, seen, proof] = cells[..] else { panic!("a row has four cells: {line}") };
    let number = number.strip_prefix('F')?.parse().ok()?;
    let excuse = seen.contains("Not tested:");
    Some(Row { number, scenario: scenario.to_owned(), tests: named(proof), excuse })
}

/// The tests that a text names.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("tests/") && word.contains("::"));
    quoted.map(str::to_owned).collect()
}

/// Whether a test exists: `tests/BINARY::file::name`, or `tests/BINARY::name` for one in a file of its own.
fn exists(test: &str) -> bool {
    let parts: Vec<&str> = test.split("::").collect();
    let (file, name) = match parts[..] {
        [binary, name] => (format!("{binary}.rs"), name),
        [binary, module, name] => (format!("{binary}/{module}.rs"), name),
        _ => return false,
    };
    let Ok(text) = fs::read_to_string(Path::new(ROOT).join(file)) else { return false };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declares = |line: &str| line.starts_with(&format!("fn {name}(")) || line == format!("{name},");
    // The attribute stands a few lines above, or a macro makes the test of its name.
    let is_test = |at: usize| lines[at.saturating_sub(4)..at].iter().any(|line| line.contains("#[test]"));
    (0..lines.len()).any(|at| declares(lines[at]) && is_test(at))
}

#[test]
fn each_fault_is_shown_by_a_test_that_exists() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/faults.md")).expect("docs/faults.md");
    for test in named(&text).iter().filter(|test| !test.contains("BINARY")) {
        assert!(exists(test), "there is no {test}");
    }
    let rows = rows(&text);
    let numbers: Vec<usize> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=32).collect::<Vec<_>>(), "the rows are F1 to F32, each once");
    for row in &rows {
        assert!(!row.tests.is_empty() || row.excuse, "F{} ({}) names no test and no reason", row.number, row.scenario);
    }
}

#[test]
fn the_check_of_the_table_sees_what_it_is_for() {
    let row = |line: &str| rows(line).pop().expect("a row");
    let good = row("| F7 | frozen | EIO | `tests/faults::index::each_fault_is_shown_by_a_test_that_exists` |");
    assert_eq!((good.number, good.tests.len(), good.excuse), (7, 1, false));
    assert!(exists(&good.tests[0]));
    assert!(exists("tests/semantics::every_promise_is_quoted_by_a_test_and_every_quote_is_a_promise"));
    for wrong in [
        "tests/faults::index::rows",
        "tests/faults::index::exists",
        "tests/faults::nowhere::each_fault_is_shown_by_a_test_that_exists",
        "tests/faults::index::each_fault_is_shown",
        "tests/faults",
    ] {
        assert!(!exists(wrong), "{wrong} is taken for a test");
    }
    let none = row("| F8 | stopped | kept | `scripts/recipes` |");
    assert!(none.tests.is_empty() && !none.excuse);
    assert!(row("| F25 | suspend | lost. Not tested: no machine to suspend | |").excuse);
}
