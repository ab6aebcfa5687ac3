//! Holds the README and the documentation to the binary: each command in them is run, or at least understood; links lead
//! somewhere; keys, commands and suites that they name exist; the demo answers from these very pages.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use hermes_tests::host::root;
use hermes_tests::{Home, guests};
use serde_json::Value;

/// Commands that need neither a model nor a run that was before.
const RUNNABLE: [&str; 6] = ["inspect", "call", "runs", "blackboard", "config", "doctor"];

#[test]
fn commands_in_the_pages_work() {
    let (mut run, mut understood) = (0, 0);
    for page in pages() {
        let home = Home::new();
        home.write(
            "papers/notes.md",
            "# Dendrite growth\n\nA dendrite grows faster in an undercooled melt.\n",
        );
        for (name, text) in page.named_files() {
            home.write(&name, text);
        }
        for words in page.commands() {
            let line = format!("{}: {}", page.name, words.join(" "));
            match words[0].as_str() {
                "cargo" => assert!(is_xtask(&words[1..]), "{line}: xtask has no such command"),
                _ if is_runnable(&words[1..]) => {
                    let host = home.host().args(&words[1..]);
                    // What a command names of this repository lies below its root.
                    let is_ours = words.iter().any(|word| word.contains("docs/"));
                    let output = if is_ours { host.at(root()) } else { host }.output();
                    let is_agent = words.iter().any(|word| word == "--plugin");
                    // An agent may find its scripted answer wanting; all else must succeed.
                    let good = output.code == Some(0) || is_agent && output.code == Some(1);
                    let fits = !output.stderr.contains("script does not fit");
                    assert!(good && fits, "{line}: {:?}\n{}", output.code, output.stderr);
                    run += 1;
                }
                _ => {
                    let output = home.host().args(&words[1..]).arg("--help").output();
                    assert_eq!(output.code, Some(0), "{line}\n{}", output.stderr);
                    understood += 1;
                }
            }
        }
    }
    assert!(run >= 12 && understood >= 5, "{run} run, {understood} understood");
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let folder = page.path.parent().unwrap();
        for link in links(&page.prose()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() {
                page.path.clone()
            } else {
                folder.join(file)
            };
            assert!(target.exists(), "{}: {link} leads nowhere", page.name);
            let found = anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor);
            assert!(found, "{}: {link} names no heading", page.name);
        }
    }
}

#[test]
fn the_configuration_page_is_current() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let made = Home::new().host().args(["config", "reference"]).output().expect(0);
    assert!(
        page == made.stdout,
        "docs/configuration.md is not what `hermes-host config reference` prints: make it anew"
    );
}

#[test]
fn what_the_pages_name_exists() {
    let home = Home::new();
    let help = home.host().arg("--help").output().expect(0).stdout;
    let commands: BTreeSet<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let settings = home.host().args(["config", "show"]).output().expect(0).stdout;
    for page in pages() {
        for code in inline_code(&page.prose()) {
            let words = shell_words(&code);
            if let ["hermes-host", command, ..] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                let known = !command.starts_with(char::is_alphabetic) || commands.contains(command);
                assert!(known, "{}: `{code}` names no command", page.name);
            }
            let is_ours = words.len() > 1 && words[0] == "cargo" && words[1] == "xtask";
            let known = !is_ours || is_xtask(&words[1..]);
            assert!(known, "{}: `{code}` names no command of xtask", page.name);
            let is_key = code.starts_with("limits.") && !code.contains([' ', '*']);
            let known = !is_key || settings.lines().any(|line| line.starts_with(&code));
            assert!(known, "{}: `{code}` is no setting", page.name);
        }
    }
}

#[test]
fn the_demo_answers_from_these_pages() {
    let demo = fs::read_to_string(root().join("xtask/src/demo.rs")).unwrap();
    let (_, rest) = demo.split_once("const QUESTION: &str = \"").unwrap();
    let (question, _) = rest.split_once('"').unwrap();
    let home = Home::new();
    let host = home.host().at(root()).args(["--plugin", "research", question]);
    let host = host.args(["--allow", "fs:./docs", "--model", "scripted"]);
    let host = host.args(["--script", "docs/demo/script.toml", "--output", "json"]);
    let json = host.output().expect(0).json();
    let citations = json["result"]["citations"].as_array().unwrap();
    assert!(citations.len() >= 5, "{citations:?}");
    for citation in citations {
        assert_eq!(citation["verified"], true, "{citation}");
    }
    assert_eq!(json["outcome"], "achieved");
    // The plan and three notes are on the blackboard.
    assert_eq!(json["artifacts"].as_array().unwrap().len(), 4, "{}", json["artifacts"]);
}

#[test]
fn the_supervisor_joins_research_and_its_analysis() {
    let (json, tree) = supervised("docs/demo/supervisor.toml", 0);
    assert_eq!(json["outcome"], "achieved", "{json}");
    let answer = json["answer"].as_str().unwrap();
    for (paper, words) in [
        ("field-log.md", "lie 129 days"),
        ("field-log.md", "84 mAh a day on average"),
        ("cells.md", "| Alder 19 |"),
        ("cells.md", "| Birch 16 |"),
        ("logger.md", "room for one"),
    ] {
        let source = source(paper, words);
        assert!(answer.contains(&source), "{source} is missing in:\n{answer}");
    }
    // What the analyst's script made of both.
    assert!(answer.contains("109 days") && answer.contains("140 days"), "{answer}");
    assert_eq!(tree.matches("├─ researcher").count(), 2, "{tree}");
    assert!(tree.contains("└─ analyst"), "{tree}");
}

#[test]
fn the_supervisor_says_what_it_skipped() {
    let (json, tree) = supervised("docs/demo/supervisor-skip.toml", 1);
    assert_eq!(json["outcome"], "partly-achieved", "{json}");
    let answer = json["answer"].as_str().unwrap();
    let readme = Page::read(root().join("README.md"));
    let (_, blocks) = readme.split();
    let (_, shown) = blocks.iter().find(|(_, text)| text.starts_with("Not done:")).unwrap();
    assert!(answer.ends_with(shown.trim_end()), "{answer}");
    let source = source("stores.md", "What things cost");
    assert!(answer.contains(&source), "{source} is missing in:\n{answer}");
    let tasks: Vec<_> = json["result"]["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["state"].as_str().unwrap(), task["tries"].as_u64().unwrap()))
        .collect();
    assert_eq!(tasks, [("achieved", 1), ("failed", 2), ("skipped", 0)]);
    // The second try is a sub-agent of its own, and the analyst none.
    assert_eq!(tree.matches("─ researcher").count(), 3, "{tree}");
    assert!(!tree.contains("analyst"), "{tree}");
}

/// What the README's run with this script answers, and its tree.
fn supervised(script: &str, code: i32) -> (Value, String) {
    let commands = Page::read(root().join("README.md")).commands();
    let is_it = |words: &Vec<String>| words.iter().any(|word| word == script);
    let words = commands.into_iter().find(is_it).unwrap();
    let home = Home::new();
    let host = home.host().at(root()).args(&words[1..]);
    let json = host.args(["--output", "json"]).output().expect(code).json();
    let run = json["run"].as_str().unwrap();
    let tree = home.host().args(["tree", run]).output().expect(0).stdout;
    (json, tree)
}

/// How an answer cites the line of a paper of the demo that holds these words.
fn source(paper: &str, words: &str) -> String {
    let text = fs::read_to_string(root().join("docs/demo/papers").join(paper)).unwrap();
    let before = text.lines().position(|line| line.contains(words)).unwrap();
    format!("/papers/{paper}:{}", before + 1)
}

#[test]
fn rust_in_the_pages_is_compiled() {
    let compiled = fs::read_to_string(root().join("sdk/src/pages.rs")).unwrap();
    for page in pages() {
        for (language, _) in page.split().1 {
            assert!(!language.contains("ignore"), "{}: ```{language}", page.name);
            let is_compiled = compiled.contains(&format!("include_str!(\"../../{}\")", page.name));
            assert!(
                language != "rust" || is_compiled,
                "{} has Rust that sdk/src/pages.rs doesn't name",
                page.name
            );
        }
    }
}

/// The way of the guide's section on building outside of this repository.
#[test]
fn a_component_by_wasm_tools_keeps_its_manifest() {
    let home = Home::new();
    home.write("files.wasm", guests::componentized("files"));
    home.write("papers/a.md", "dendrites\n");
    let inspect = home.host().args(["inspect", "./files.wasm", "--output", "json"]);
    let json = inspect.output().expect(0).json();
    assert_eq!(
        (&json["name"], &json["toolsets"][0], &json["wants"][0]["grant"]),
        (&"files".into(), &"filesystem".into(), &"fs".into()),
        "{json}"
    );
    let call = ["call", "./files.wasm", "list_files", "--allow", "fs:./papers"];
    let output = home.host().args(call).output().expect(0);
    assert_eq!(output.stdout.trim_end(), "/papers/a.md");
}

/// A page of the documentation.
struct Page {
    path: PathBuf,
    /// Its path from the root, for messages.
    name: String,
    text: String,
}

/// A fenced block: its language and its lines.
type Block = (String, String);

/// The README and everything in `docs`.
fn pages() -> Vec<Page> {
    let mut paths = vec![
        root().join("README.md"),
        root().join("STYLE.md"),
        root().join("CHANGELOG.md"),
    ];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        Self { path, name, text }
    }

    /// What stands between the fenced blocks, and the blocks.
    fn split(&self) -> (String, Vec<Block>) {
        let (mut prose, mut blocks, mut open) = (String::new(), vec![], None::<Block>);
        for line in self.text.lines() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(language), None) => open = Some((language.trim().to_owned(), String::new())),
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some((_, text))) => *text += &format!("{line}\n"),
                (None, None) => prose += &format!("{line}\n"),
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.name);
        (prose, blocks)
    }

    fn prose(&self) -> String {
        self.split().0
    }

    /// The command lines of this project in its shell blocks, as words.
    fn commands(&self) -> Vec<Vec<String>> {
        let blocks = self.split().1;
        let shell = blocks
            .iter()
            .filter(|(language, _)| ["sh", "console"].contains(&language.as_str()));
        let lines = shell.flat_map(|(_, text)| text.lines().map(|line| line.trim_start_matches("$ ")));
        lines
            .map(shell_words)
            .filter(|words| match &words[..] {
                [first, ..] if first == "hermes-host" => true,
                [first, second, ..] => first == "cargo" && second == "xtask",
                _ => false,
            })
            .collect()
    }

    /// TOML blocks whose first line is a comment with a file's name.
    fn named_files(&self) -> Vec<(String, String)> {
        let named = self.split().1.into_iter().filter_map(|(_, text)| {
            let name = text.lines().next()?.strip_prefix("# ")?;
            let is_file = name.ends_with(".toml") && !name.contains(' ');
            is_file.then(|| (name.to_owned(), text.clone()))
        });
        named.collect()
    }
}

/// True for a command that works without a model, a network and an earlier run.
fn is_runnable(words: &[String]) -> bool {
    let scripted = words.iter().any(|word| word == "--script");
    let is_run_id = |part: &str| part.len() == 10 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let names_run = words.iter().any(|word| word.split('/').any(is_run_id));
    scripted || !names_run && words.first().is_some_and(|word| RUNNABLE.contains(&word.as_str()))
}

/// Whether `xtask COMMAND [SUITE]` exists, by the help texts in its sources: to start it here could wait for ourselves.
fn is_xtask(words: &[String]) -> bool {
    let source = |file: &str| fs::read_to_string(root().join("xtask/src").join(file)).unwrap();
    let (main, suites) = (source("main.rs"), source("suites/mod.rs"));
    let is_command = |word: &str| main.lines().any(|line| line.starts_with(&format!("  {word} ")));
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["xtask"] => true,
        ["xtask", "test", suite] => suites.contains(&format!("\"{suite}\"")),
        ["xtask", command, ..] => is_command(command),
        _ => false,
    }
}

/// The words of a shell line with plain quotes, without its comment.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut open) = (vec![], None, None::<String>);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                open.get_or_insert_default();
            }
            ('#', None) if open.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(open.take()),
            (c, _) => open.get_or_insert_default().push(c),
        }
    }
    words.extend(open);
    words
}

/// Targets of Markdown links.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// Texts between single back-ticks on one line.
fn inline_code(prose: &str) -> Vec<String> {
    let code = |line: &str| {
        line.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    prose.lines().flat_map(code).collect()
}

/// What headings are called in links: lower case, spaces as dashes, other signs left out.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn the_reader_of_pages_reads() {
    assert_eq!(
        shell_words("hermes-host call x '{\"a\":\"b c\"}' --to \"\" # d"),
        ["hermes-host", "call", "x", "{\"a\":\"b c\"}", "--to", ""]
    );
    assert_eq!(links("[a](b.md#c) and [d](https://e)"), ["b.md#c", "https://e"]);
    assert_eq!(inline_code("`a b` or `c`"), ["a b", "c"]);
    assert!(anchors("## An operator's file").contains("an-operators-file"));
}
