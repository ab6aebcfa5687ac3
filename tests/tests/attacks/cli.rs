//! Lines, variables, settings and surroundings that nobody expects: refused before anything runs, with what is wrong and where, or served like others.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use hermes_tests::output::slack;
use hermes_tests::{Host, guests};
use serde_json::json;

use crate::site::Site;

fn runs(host: Host) -> Host {
    host.arg("--plugin").arg(guests::built("probe"))
}

#[test]
fn a43_a_line_that_makes_no_sense_is_refused_by_what_is_wrong_in_it() {
    let site = Site::new();
    let long = "x".repeat(120_000);
    let not_text = OsStr::from_bytes(b"\xff\xfe\x80");
    let line = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let odd = |before: &[&str], word: &OsStr, after: &[&str]| {
        let words = [line(before), vec![word.to_owned()], line(after)];
        words.concat()
    };
    let mut cases: Vec<(Vec<OsString>, &str)> = Vec::new();
    // What is no UTF-8.
    let unreadable: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["--plugin"], &["x"]),
        (&["--plugin", "research", "x", "--allow"], &[]),
        (&["--plugin", "research", "x", "--budget"], &[]),
        (&["--plugin", "research", "x", "--model"], &[]),
        (&["--plugin", "research", "x", "--tool"], &[]),
        (&["--plugin", "research", "x", "--inputs"], &[]),
        (&["--set"], &["config", "show"]),
        (&["show"], &[]),
        (&["blackboard", "put", "glossary"], &["v"]),
        (&["call", "files", "list_files"], &[]),
    ];
    for (before, after) in unreadable {
        cases.push((odd(before, not_text, after), "invalid UTF-8"));
    }
    // Nothing where something must be, and dashes.
    let senseless: &[(&[&str], &str)] = &[
        (&[], "Usage"),
        (&["--plugin", "", "x"], "--plugin is empty"),
        (&["--plugin", "research", ""], "the task is empty"),
        (&["--plugin", "research", "  "], "the task is empty"),
        (&["--plugin", "-", "x"], "-"),
        (&["--plugin", "--", "x"], "--plugin"),
        (&["--plugin", "research", "-"], "the task is empty"),
        (&["--plugin", "research", "x", "--allow", ""], "the kinds are fs"),
        (
            &["--plugin", "research", "x", "--deny", ""],
            "what can be denied is llm",
        ),
        (&["--plugin", "research", "x", "--own", ""], "the kinds are fs"),
        (&["--plugin", "research", "x", "--tool", ""], ""),
        (&["--plugin", "research", "x", "--tool", "="], ""),
        (
            &["--plugin", "research", "x", "--model", ""],
            "neither an alias nor provider/name",
        ),
        (
            &["--plugin", "research", "x", "--inputs", ""],
            "--inputs must be a JSON object",
        ),
        (
            &["--plugin", "research", "x", "--inputs", "[]"],
            "--inputs must be a JSON object",
        ),
        (
            &["--plugin", "research", "x", "--inputs", "{}{}"],
            "--inputs must be a JSON object",
        ),
        (&["--plugin", "research", "x", "--script", ""], ""),
        (&["--set", "", "config", "show"], "--set takes KEY=VALUE"),
        (&["--set", "=1", "config", "show"], "there is no setting"),
        (&["--set", "limits.memory", "config", "show"], "--set takes KEY=VALUE"),
        (&["--set", "limits=1", "config", "show"], "there is no setting `limits`"),
        (&["--set", "providers=1", "config", "show"], "providers"),
        (&["--home", "", "runs"], "--home <DIR>"),
        (&["--output", "yaml", "runs"], "yaml"),
        (&["--outptu", "json", "runs"], "--output"),
        (&["rnus"], "'runs'"),
        (&["runs", "--limit", "0"], "0"),
        (&["runs", "--limit", "-1"], "-1"),
        (&["runs", "--limit", "10001"], "10001"),
        (&["runs", "--limit", "1e3"], "1e3"),
        (&["runs", "--status", ""], ""),
        (&["runs", "prune"], "which runs"),
        (&["runs", "prune", "--older-than", "5"], "a number with its unit"),
        (&["runs", "prune", "--older-than", "-5d"], "'-5'"),
        (
            &["runs", "prune", "--older-than", "999999999999999999d"],
            "a number with its unit",
        ),
        (&["runs", "prune", "--keep-bytes", "1e9 MiB"], "a number of bytes"),
        (&["show", ""], "is no run"),
        (&["show", "../../x"], "is no run"),
        (&["show", "00000000000"], "is no run"),
        (&["import", "-"], "a run file can't be a stream"),
        (&["import", ""], ""),
        (&["inspect", ""], "the plugin is empty"),
        (&["inspect", "."], ""),
        (&["inspect", "/"], ""),
        (&["call", "files", ""], "the tool is empty"),
        (
            &["call", "files", "list_files", "{"],
            "the arguments must be a JSON object",
        ),
    ];
    for (words, said) in senseless {
        cases.push((line(words), said));
    }
    for words in [
        &["--plugin", "LONG", "x"][..],
        &["--plugin", "research", "x", "--allow", "LONG"],
        &["--plugin", "research", "x", "--allow", "fs:LONG"],
        &["--plugin", "research", "x", "--budget", "LONG=1"],
        &["--plugin", "research", "x", "--model", "LONG"],
        &["--set", "LONG=1", "config", "show"],
        &["--set", "limits.memory=LONG", "config", "show"],
        &["show", "LONG"],
        &["inspect", "LONG"],
        &["LONG"],
    ] {
        cases.push((
            words
                .iter()
                .map(|word| OsString::from(word.replace("LONG", &long)))
                .collect(),
            "",
        ));
    }
    let mut wrong = Vec::new();
    for (words, said) in &cases {
        let output = site.attack(site.home.host().args(words)).output;
        let shown = &output.stderr[..output.stderr.floor_char_boundary(600)];
        if output.code != Some(2) || !output.stderr.contains(said) || output.stderr.is_empty() {
            let words: Vec<_> = words
                .iter()
                .map(|word| word.to_string_lossy().chars().take(40).collect::<String>())
                .collect();
            wrong.push(format!("{words:?}: {:?}, not {said:?}: {shown}", output.code));
        }
        // Nobody is shown a hundred thousand characters of what he wrote.
        assert!(output.stderr.len() < 4_000, "{} bytes", output.stderr.len());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    site.is_well();
}

/// Numbers that are none, or none that can be had.
const NUMBERS: [&str; 19] = [
    "NaN",
    "inf",
    "-1",
    "-0",
    "+1",
    "1e9",
    "1e9 MiB",
    "1.5",
    "0x10",
    "0b1",
    "\u{ff11}\u{ff12}",
    "\u{664}",
    "18446744073709551616",
    "99999999999999999999999999",
    "18446744073709551615KiB",
    "5 parsecs",
    "one",
    "_",
    "",
];

#[test]
fn a43_a_number_that_is_none_is_refused_with_its_key_and_where_it_stands() {
    let site = Site::new();
    let keys = ["limits.memory", "limits.fuel", "limits.step_wall"];
    let file = site.home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    let mut wrong = Vec::new();
    for number in NUMBERS {
        for key in keys {
            let variable = format!("HERMES_HOST_{}", key.replace('.', "_").to_uppercase());
            fs::write(&file, format!("{key} = {number:?}\n{before}")).unwrap();
            let in_file = site.host().args(["config", "show"]);
            let attacked = site.attack(in_file);
            if attacked.output.code != Some(2)
                || !attacked.output.stderr.contains("config.toml:1")
                || !attacked.output.stderr.contains(key)
            {
                wrong.push(format!("{key} = {number:?} in the file: {:?}", attacked.output));
            }
            fs::write(&file, &before).unwrap();
            for (host, source) in [
                (site.host().set(key, number), format!("--set {key}")),
                (site.host().env(&variable, number), variable.clone()),
            ] {
                let output = site.attack(host.args(["config", "show"])).output;
                if output.code != Some(2) || !output.stderr.contains(&source) || !output.stderr.contains(key) {
                    wrong.push(format!("{key} = {number:?} by {source}: {output:?}"));
                }
            }
        }
        for budget in ["usd", "wall", "iterations", "tokens", "child.usd", "tree.fuel"] {
            let host = runs(site.host()).args(["{}", "--budget", &format!("{budget}={number}")]);
            let output = site.attack(host).output;
            let is_named = output.stderr.contains(&format!("budget's `{budget}`"));
            // Of dollars there are halves.
            if budget.ends_with("usd") && number == "1.5" {
                assert_eq!(output.code, Some(0), "{output:?}");
                site.attack(site.host().args(["show", &site.home.newest_run(), "--output", "json"]));
            } else if output.code != Some(2) || !is_named {
                wrong.push(format!("--budget {budget}={number:?}: {output:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // From both sides of their range.
    for (key, least, most) in [("limits.memory", 64 << 10, 3_u64 << 30), ("limits.json.depth", 4, 100)] {
        for (value, code) in [(least - 1, 2), (least, 0), (most, 0), (most + 1, 2)] {
            let output = site.attack(site.host().set(key, value).args(["config", "show"])).output;
            assert_eq!(output.code, Some(code), "{key}={value}: {output:?}");
            assert!(
                code == 0 || output.stderr.contains("it must lie between"),
                "{}",
                output.stderr
            );
        }
    }
    site.is_well();
}

#[test]
fn a43_a_file_of_settings_that_is_none_is_refused_with_its_line() {
    let site = Site::new();
    let file = site.home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    let with = |text: &str| format!("{text}\n{before}").into_bytes();
    let after = |text: &str| format!("{before}\n{text}\n").into_bytes();
    let mut cases: Vec<(Vec<u8>, &[&str])> = Vec::new();
    let mut case = |bytes: Vec<u8>, words: &'static [&'static str]| cases.push((bytes, words));
    case(
        with("colour = true"),
        &["config.toml:1", "there is no setting `colour`"],
    );
    case(
        after("[limits]\nmemroy = 1"),
        &["config.toml:", "limits.memroy", "did you mean `limits.memory`"],
    );
    case(
        with("closing_call = true\nclosing_call = false"),
        &["config.toml:2", "is not TOML"],
    );
    case(
        with("limits.fuel = 1\nlimits.fuel = 2"),
        &["config.toml:2", "is not TOML"],
    );
    case(with("limits = 1"), &["config.toml:1", "limits"]);
    case(with("allow = \"fs:.\"\n[[allow]]"), &["config.toml:", "is not TOML"]);
    case(with("allow = [1]"), &["config.toml:1", "`allow`", "a list of texts"]);
    case(with("allow = {}"), &["config.toml:1", "`allow`"]);
    case(
        with("closing_call = \"yes\""),
        &["config.toml:1", "`closing_call`", "true or false"],
    );
    case(with("limits.memory = nan"), &["config.toml:1", "`limits.memory`"]);
    case(with("limits.memory = -inf"), &["config.toml:1", "`limits.memory`"]);
    case(with("limits.memory = -1"), &["config.toml:1", "`limits.memory`"]);
    case(
        with("limits.memory = 1979-05-27T07:32:00Z"),
        &["config.toml:1", "`limits.memory`"],
    );
    case(with("limits.memory = [[[]]]"), &["config.toml:1", "`limits.memory`"]);
    case(with("tool_delay = \"11m\""), &["config.toml:1", "`tool_delay`"]);
    case(
        with("durability = \"maybe\""),
        &["config.toml:1", "`durability`", "power"],
    );
    case(with("budget = \"cats=1\""), &["config.toml:1", "cats"]);
    case(after("[budget]\nusd = -1"), &["config.toml:", "usd"]);
    case(
        after("[providers.x]\nkind = \"telepathy\""),
        &["config.toml:", "telepathy"],
    );
    case(
        after("[providers.x]\nkind = \"openai\"\nkey = \"abc\""),
        &["config.toml:", "key"],
    );
    case(
        with(&format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000))),
        &["config.toml:1"],
    );
    case(with(&format!("{} = 1", "a.".repeat(50_000) + "a")), &["config.toml:1"]);
    case(with("x = \""), &["config.toml:1", "is not TOML"]);
    case(with("a\0b = 1"), &["config.toml:1", "is not TOML"]);
    case(b"\xff\xfe".to_vec(), &["config.toml", "not UTF-8"]);
    case(vec![b'#'; (1 << 20) + 1], &["config.toml", "larger than 1 MiB"]);
    let run = || site.host().args(["config", "show"]);
    let mut wrong = Vec::new();
    for (bytes, words) in &cases {
        fs::write(&file, bytes).unwrap();
        let output = site.attack(run()).output;
        if output.code != Some(2)
            || !words.iter().all(|word| output.stderr.contains(word))
            || output.stderr.len() > 2_000
        {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            wrong.push(format!("{text:?}, not {words:?}: {output:?}"));
        }
        assert!(output.took < slack() * 4, "{:?}", output.took);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // At its bound, and with a mark of its order of bytes, it is one.
    let mut full = before.clone().into_bytes();
    full.resize(1 << 20, b'#');
    for bytes in [full, [b"\xef\xbb\xbf", before.as_bytes()].concat()] {
        fs::write(&file, bytes).unwrap();
        let output = site.attack(run()).output;
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    // What is no file.
    fs::remove_file(&file).unwrap();
    type Makes = fn(&Path);
    let places: [(&str, Makes); 3] = [
        ("no regular file", |file| fs::create_dir(file).unwrap()),
        ("no regular file", |file| {
            assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        }),
        ("config.toml", |file| symlink(file, file).unwrap()),
    ];
    for (words, make) in places {
        make(&file);
        site.attack(run()).refused(&["config.toml", words]);
        if file.is_dir() {
            fs::remove_dir(&file)
        } else {
            fs::remove_file(&file)
        }
        .unwrap();
    }
    fs::write(&file, &before).unwrap();
    site.is_well();
}

#[test]
fn a43_variables_that_make_no_sense_are_refused_by_name() {
    let site = Site::new();
    let show = |host: Host| site.attack(host.args(["config", "show"]));
    for (name, words) in [
        ("HERMES_HOST_LIMITS_MEMROY", "did you mean `HERMES_HOST_LIMITS_MEMORY`"),
        ("HERMES_HOST_", "there is no variable `HERMES_HOST_`"),
        ("HERMES_HOST_limits_memory", "there is no variable"),
        ("HERMES_HOST_PROVIDERS", "there is no variable"),
        ("HERMES_HOST_BIN", "there is no variable"),
    ] {
        show(site.host().env(name, "1MiB")).refused(&[words]);
    }
    let not_text = OsStr::from_bytes(b"\xff\xfe");
    show(site.host().env("HERMES_HOST_MODEL", not_text)).refused(&["HERMES_HOST_MODEL", "not UTF-8"]);
    show(site.host().env("HERMES_HOST_MODEL", "")).refused(&["HERMES_HOST_MODEL", "it is empty"]);
    show(site.host().env("HERMES_HOST_LOG", "=[=")).refused(&["HERMES_HOST_LOG is no filter"]);
    show(site.host().env("HERMES_HOST_LOG", not_text)).refused(&["HERMES_HOST_LOG is no filter"]);
    site.home.write("file", "");
    for (home, words) in [
        ("", "HERMES_HOME is no folder that can be used: it is empty"),
        ("file", "file"),
        ("file/x", "file/x"),
    ] {
        let output = site.attack(runs(site.host().env("HERMES_HOME", home)).arg("{}")).output;
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(words), "{}", output.stderr);
    }
    let bare = || site.host().without("HERMES_HOME").without("HOME");
    show(bare()).refused(&["neither HERMES_HOME nor HOME is set"]);
    show(bare().env("HOME", "")).refused(&["neither HERMES_HOME nor HOME is set"]);
    // What a stranger's folder brings is not the operator's own.
    site.home.write(".hermes/host/config.toml", "allow = [\"fs:.\"]\n");
    for relative in [".", "./"] {
        show(bare().env("HOME", relative)).refused(&["HOME is no folder that can be used: it is not absolute"]);
    }
    // Others are others' business.
    let junk = site
        .host()
        .env("HERMES", "x")
        .env("HERMES_HOSTILE", "x")
        .env("HERMES_OTHER", not_text);
    assert_eq!(
        show(junk.env("LC_ALL", "C").env("COLUMNS", "NaN").env("LINES", "-1"))
            .output
            .code,
        Some(0)
    );
    site.is_well();
}

/// A run started by a line of the shell.
fn by(site: &Site, line: &str) -> Host {
    runs(site.host())
        .arg(json!({ "summary": "An answer." }).to_string())
        .by(line)
}

#[test]
fn a43_closed_streams_and_full_ones_are_a_quiet_end() {
    let site = Site::new();
    for (line, code) in [
        (r#"exec "$0" "$@" >&-"#, 0),
        (r#"exec "$0" "$@" 2>&-"#, 0),
        (r#"exec "$0" "$@" <&-"#, 0),
        (r#"exec "$0" "$@" <&- >&- 2>&-"#, 0),
        (r#"exec "$0" "$@" 2>/dev/full"#, 0),
        (r#"exec "$0" "$@" >/dev/full"#, 1),
        (r#""$0" "$@" | true"#, 0),
        (r#"exec setsid -w "$0" "$@" </dev/null"#, 0),
    ] {
        let output = site.attack(by(&site, line)).output;
        assert_eq!(output.code, Some(code), "{line}: {output:?}");
        if code == 1 {
            assert!(
                output.stderr.contains("standard output could not be written"),
                "{}",
                output.stderr
            );
        }
        // What it did is kept, whoever hears of it.
        let run = site.home.newest_run();
        let answer = site.attack(site.host().args(["show", &run, "--answer"]));
        assert_eq!(answer.output.stdout, "An answer.\n", "{line}");
        site.attack(site.host().args(["show", &run, "--output", "json"]));
    }
    let help = site
        .attack(site.host().arg("--help").by(r#"exec "$0" "$@" >/dev/full"#))
        .output;
    assert_eq!(help.code, Some(1), "{help:?}");
    assert!(help.stderr.contains("standard output could not be written"), "{help:?}");
    site.is_well();
}

#[test]
fn a43_events_that_go_nowhere_hold_no_run_up_and_are_told_of() {
    let site = Site::new();
    for (line, code) in [
        (r#"exec "$0" "$@" >&-"#, 0),
        (r#"exec "$0" "$@" >/dev/full"#, 1),
        // The line ends as its last command does, whatever the host did.
        (r#"{ "$0" "$@"; echo "exit code $?" >&2; } | true"#, 0),
    ] {
        let output = site.attack(by(&site, line).args(["--output", "events"])).output;
        let is_told = output.stderr.contains("standard output could not be written");
        assert_eq!((output.code, is_told), (Some(code), code == 1), "{line}: {output:?}");
        if line.contains("exit code") {
            assert!(output.stderr.contains("exit code 0"), "{output:?}");
        }
        let run = site.home.newest_run();
        let answer = site.attack(site.host().args(["show", &run, "--answer"]));
        assert_eq!(answer.output.stdout, "An answer.\n", "{line}");
        // Here it is told which run that was.
        site.attack(site.host().args(["show", &run, "--output", "json"]));
    }
    site.is_well();
}

#[test]
fn a43_a_task_on_standard_input_is_bounded() {
    let site = Site::new();
    let task = |line: &str| site.attack(runs(site.host()).args(["-", "--output", "json"]).by(line));
    let most = 4 << 20;
    task(&format!(r#"head -c {} /dev/zero | tr '\0' x | "$0" "$@""#, most + 1))
        .refused(&["the task", "longer than 4 MiB (limits.prompt)"]);
    task(r#"printf '\377\376' | "$0" "$@""#).refused(&["the task", "not UTF-8"]);
    task(r#""$0" "$@" < /"#).refused(&["the task could not be read"]);
    let fits = format!(
        r#"(printf '{{"summary":"done","x":"'; head -c {} /dev/zero | tr '\0' x; printf '"}}') | "$0" "$@""#,
        most - 100
    );
    let output = task(&fits).output;
    // As long as it may be it is a task; whether an agent has room for it is another question.
    assert_ne!(output.code, Some(2), "{}", output.stderr);
    site.is_well();
}

#[test]
fn a43_whatever_the_surroundings_files_are_the_users_alone() {
    let site = Site::new();
    let output = site.attack(by(&site, r#"umask 000; exec "$0" "$@""#)).output;
    assert_eq!(output.code, Some(0), "{output:?}");
    site.attack(site.host().args(["show", &site.home.newest_run(), "--output", "json"]));
    let home = site.home.folder().join("another");
    let fresh = site
        .host()
        .args(["blackboard", "put", "glossary", "k", "v"])
        .arg("--home")
        .arg(&home);
    assert_eq!(
        site.attack(fresh.by(r#"umask 000; exec "$0" "$@""#)).output.code,
        Some(0)
    );
    let file = site.home.work().join("run.jsonl");
    let export = site
        .host()
        .args(["export", &site.home.newest_run(), "--run-file"])
        .arg(&file);
    assert_eq!(
        site.attack(export.by(r#"umask 000; exec "$0" "$@""#)).output.code,
        Some(0)
    );
    let mut open = Vec::new();
    let is_open = |path: &Path| {
        let meta = fs::symlink_metadata(path).unwrap();
        (meta.mode() & 0o077 != 0 && !meta.is_symlink())
            .then(|| format!("{:o} {}", meta.mode() & 0o777, path.display()))
    };
    // The tests themselves make the home folder, its configuration and the compile cache's files.
    for folder in [&site.home.path().join("host"), &home] {
        for (path, _) in files(folder) {
            let is_the_tests = path.ends_with("config.toml") || path.parent().unwrap().ends_with("cache");
            open.extend(is_open(&path).filter(|_| !is_the_tests || !path.starts_with(site.home.path())));
        }
    }
    for path in [&home, &home.join("host"), &file] {
        open.extend(is_open(path));
    }
    assert!(open.is_empty(), "{open:#?}");
    site.is_well();
}

fn files(folder: &Path) -> Vec<(std::path::PathBuf, fs::Metadata)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, meta) = (entry.path(), fs::symlink_metadata(entry.path()).unwrap());
        if meta.is_dir() {
            all.extend(files(&path));
        }
        all.push((path, meta));
    }
    all
}

#[test]
fn a43_a_folder_that_is_gone_is_no_place_to_start_but_for_what_needs_none() {
    let site = Site::new();
    let gone = r#"mkdir gone && cd gone && rmdir ../gone && exec "$0" "$@""#;
    // A grant's paths are taken from it, so that nothing runs.
    let output = site.attack(by(&site, gone)).output;
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("the current folder can't be found"),
        "{}",
        output.stderr
    );
    for line in [
        &["runs"][..],
        &["config", "show"],
        &["doctor"],
        &["blackboard", "ls"],
        &["--help"],
        &["--version"],
    ] {
        let output = site.attack(site.host().args(line).by(gone)).output;
        assert_eq!(output.code, Some(0), "{line:?}: {output:?}");
    }
    let relative = site.host().env("HERMES_HOME", "here").arg("runs").by(gone);
    site.attack(relative)
        .refused(&["HERMES_HOME", "the current folder is gone"]);
    // One that can't be listed is as good as any.
    let closed = site.home.work().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o300)).unwrap();
    let output = site
        .attack(runs(site.host().at(&closed)).args(["{}", "--output", "json"]))
        .output;
    assert_eq!(output.code, Some(0), "{output:?}");
    site.is_well();
}
