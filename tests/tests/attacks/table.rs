//! The pages of attacks and of limits name them all, each with a test that is there; each hostile guest is tried by a test of its number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use hermes_tests::Home;
use hermes_tests::host::root;

/// Where suites stand: most of them, and those that need a host in their own process.
const SUITES: [&str; 2] = ["tests/tests", "host/tests"];

/// Those, and where unit tests stand, each in its module.
const ALL: [&str; 3] = ["tests/tests", "host/tests", "host/src"];

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
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                let name = lines.find_map(|line| {
                    let function = line.strip_prefix("async ").unwrap_or(line);
                    function.strip_prefix("fn ")?.split('(').next()
                });
                names.extend(name.map(ToOwned::to_owned));
            }
        }
        // Those that a macro makes for both formats of a model's protocol.
        let both = text.split("\nboth! {").nth(1).and_then(|rest| rest.split('}').next());
        names.extend(both.into_iter().flat_map(str::split_whitespace).map(ToOwned::to_owned));
    }
    names
}

/// The tests of a suite or a module, which is a file or a folder, below these folders.
fn suite(folders: &[&str], name: &str) -> BTreeSet<String> {
    let name = name.replace("::", "/");
    let places = folders.iter().flat_map(|folder| {
        let folder = root().join(folder);
        [folder.join(&name), folder.join(format!("{name}.rs"))]
    });
    places
        .filter(|place| place.exists())
        .flat_map(|place| tests(&place))
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
    let own = suite(&SUITES, "attacks");
    let mut numbers = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| A")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 7, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let number = cells[0].to_lowercase();
        let named: Vec<&str> = cells[3].split(", ").map(|test| test.trim_matches('`')).collect();
        for test in &named {
            let (there, test) = match test.split_once("::") {
                Some((name, test)) => (suite(&SUITES, name).contains(test), test),
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
    let tests = SUITES.into_iter().flat_map(|folder| tests(&root().join(folder)));
    let tried: BTreeSet<String> = tests.filter_map(|test| attack(&test)).collect();
    assert_eq!(Vec::from_iter(tried), all, "the attacks that are tried");
}

/// The first cell of each row of a page whose tables have three columns, the last of them tests. Panics unless each row names tests that are there.
#[track_caller]
fn tested(page: &str) -> Vec<String> {
    let page = fs::read_to_string(root().join(page)).unwrap();
    let own = suite(&ALL, "attacks");
    let is_row = |line: &&str| line.starts_with("| ") && !line.ends_with("| test |");
    let mut first = Vec::new();
    for row in page.lines().filter(is_row) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        let named: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for name in named {
            let is_there = match name.rsplit_once("::") {
                Some((suite_name, test)) => suite(&ALL, suite_name).contains(test),
                // A file, of which all is meant.
                None if name.contains('/') => root().join(name).exists(),
                None => own.contains(name),
            };
            assert!(is_there, "{name}: {row}");
        }
        first.push(cells[0].to_owned());
    }
    first
}

#[test]
fn the_page_of_the_engine_names_tests_that_are_there() {
    assert!(!tested("docs/security/engine.md").is_empty());
}

#[test]
fn the_page_of_limits_has_them_all_with_tests_that_are_there() {
    let mut keys = tested("docs/security/limits.md");
    keys.sort_unstable();
    let show = ["config", "show", "--output", "json"];
    let settings = Home::new().host().args(show).output().expect(0).json();
    let settings = settings.as_array().unwrap().iter();
    let limits = settings.filter_map(|row| row["key"].as_str()?.strip_prefix("limits."));
    let mut all: Vec<String> = limits.map(|key| format!("`{key}`")).collect();
    all.sort_unstable();
    assert_eq!(keys, all);
}

/// Where the tests stand, and the attacks that they share with `storm`.
const TESTS: &str = "attacks";
const CASES: &str = "attacks/cases";

/// Functions, by folder, file and name, with the names and paths that stand in each.
type Functions = BTreeMap<[String; 3], BTreeSet<String>>;

/// Those in the files of a folder.
fn functions(folder: &str) -> Functions {
    let mut all = Functions::new();
    for entry in fs::read_dir(root().join("tests/tests").join(folder)).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mut current = None;
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let bare = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) "));
            if let Some(declared) = bare.unwrap_or(line).strip_prefix("fn ") {
                let name = declared.split(['(', '<']).next().unwrap();
                current = Some([folder, file, name].map(str::to_owned));
            }
            if let Some(current) = &current {
                let paths = line.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                let known = all.entry(current.clone()).or_default();
                known.extend(paths.map(ToOwned::to_owned));
            }
        }
    }
    all
}

/// The names in a function and in all that it calls: those of its own file, and cases by the names of their files.
fn reached(all: &Functions, from: &[String; 3]) -> BTreeSet<String> {
    let (mut names, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut left = vec![from.clone()];
    while let Some(at) = left.pop() {
        for path in all.get(&at).into_iter().flatten() {
            let mut parts = path.rsplit("::");
            let name = parts.next().unwrap_or_default().to_owned();
            names.insert(name.clone());
            let next = match parts.next() {
                None => [at[0].clone(), at[1].clone(), name],
                Some(file) => [CASES.to_owned(), file.to_owned(), name],
            };
            if all.contains_key(&next) && seen.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    names
}

#[test]
fn each_guest_is_tried_by_a_test_of_its_number() {
    let mut all = functions(TESTS);
    all.extend(functions(CASES));
    let mut tried: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for function in all.keys().filter(|[folder, ..]| folder == TESTS) {
        if let Some(number) = attack(&function[2]) {
            tried.entry(number).or_default().extend(reached(&all, function));
        }
    }
    for entry in fs::read_dir(root().join("tests/hostile")).unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            let guest = path.file_stem().unwrap().to_str().unwrap();
            let number = attack(guest).unwrap_or_else(|| panic!("{guest} has no number"));
            let is_tried = tried
                .get(&number)
                .is_some_and(|names| names.contains(&guest.to_uppercase()));
            assert!(is_tried, "no test of {number} tries {guest}");
        }
    }
}
