//! The page of attacks names them all, each with a test that is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use hermes_tests::host::root;

/// The names of the tests below a folder or in a file.
fn tests(path: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap().flatten() {
            names.extend(tests(&entry.path()));
        }
    } else {
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            // Other attributes may stand between.
            if line == "#[test]" {
                let name = lines.find_map(|line| line.strip_prefix("fn ")?.split('(').next());
                names.extend(name.map(ToOwned::to_owned));
            }
        }
    }
    names
}

/// The tests of a suite, which is a file or a folder.
fn suite(name: &str) -> BTreeSet<String> {
    let folder = root().join("tests/tests");
    let place = [folder.join(name), folder.join(format!("{name}.rs"))];
    place
        .iter()
        .filter(|place| place.exists())
        .flat_map(|place| tests(place))
        .collect()
}

/// The attack that a test's name begins with: `a07` of `a07_…`.
fn attack(test: &str) -> Option<String> {
    let (number, _) = test.split_once('_')?;
    let digits = number.strip_prefix('a')?;
    let is_number = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| number.to_owned())
}

#[test]
fn the_page_of_attacks_has_them_all() {
    let page = fs::read_to_string(root().join("docs/security/attacks.md")).unwrap();
    let own = suite("attacks");
    let mut numbers = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| A")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 7, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let number = cells[0].to_lowercase();
        let named: Vec<&str> = cells[3].split(", ").map(|test| test.trim_matches('`')).collect();
        for test in &named {
            let (there, test) = match test.split_once("::") {
                Some((name, test)) => (suite(name).contains(test), test),
                None => (own.contains(*test), *test),
            };
            // By that number `cargo xtask test attacks` finds it, wherever it stands.
            assert!(there && test.starts_with(&format!("{number}_")), "{test}: {row}");
        }
        // Where the suite tries it, the page says so.
        let tried = own.iter().any(|test| test.starts_with(&format!("{number}_")));
        assert_eq!(tried, named.iter().any(|test| !test.contains("::")), "{row}");
        numbers.push(number);
    }
    let all: Vec<String> = (1..=44).map(|n| format!("a{n:02}")).collect();
    assert_eq!(numbers, all);
    let tried: BTreeSet<String> = tests(&root().join("tests/tests"))
        .iter()
        .filter_map(|test| attack(test))
        .collect();
    assert_eq!(Vec::from_iter(tried), all, "the attacks that are tried");
}
