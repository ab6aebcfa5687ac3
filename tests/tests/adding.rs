//! `plugin add`, `allow`, `list` and `remove`: what is approved with a plugin is pinned to its bytes and its manifest, holds in every run that names it,
//! and ends where either changes.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hermes_tests::changed::{rebuilt, saying, wanting};
use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::interrupted::{self, stopped};
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::{ask, put, steps};
use hermes_tests::terminal::Terminal;
use hermes_tests::well::is_well;
use hermes_tests::{Home, Output, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long something may take to be seen: a net, not a measure.
const LONG: Duration = Duration::from_secs(60);

/// A manifest that asks for no more than these.
fn manifest(version: &str, wants: &[&str]) -> String {
    let mut text = format!("name = \"weather\"\nversion = \"{version}\"\ndescription = \"Tells the weather.\"\n");
    for want in wants {
        text.push_str(&format!("[[wants]]\ngrant = \"{want}\"\nreason = \"Needs it.\"\n"));
    }
    text
}

/// The tests' tool as `weather.wasm` of the working folder, asking for these.
fn weather(home: &Home, wants: &[&str]) -> PathBuf {
    wanting(
        home,
        &guests::built("probe-tool"),
        "weather.wasm",
        &manifest("0.1.0", wants),
    )
}

fn home() -> Home {
    Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi)
}

fn plugin(home: &Home, arguments: &[&str]) -> Output {
    home.host().arg("plugin").args(arguments).output()
}

/// Adds a plugin without a question, and tells what stands then.
#[track_caller]
fn add(home: &Home, file: &Path, arguments: &[&str]) -> Value {
    let host = home.host().args(["plugin", "add"]).arg(file).args(arguments);
    host.args(["--yes", "--output", "json"]).output().expect(0).json()
}

#[track_caller]
fn listed(home: &Home) -> Value {
    plugin(home, &["list", "--output", "json"]).expect(0).json()
}

fn in_home(home: &Home) -> PathBuf {
    home.path().join("plugins/weather.wasm")
}

/// A run of the probe with the tool `weather`, of which it calls `probe` with one step.
fn run(home: &Home, arguments: &[&str], step: &Value) -> Output {
    let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [step] } });
    let host = home.host().args(["--deny", "llm", "--tool", "weather"]).args(arguments);
    host.probe(&steps(&[call])).output()
}

/// What that step saw.
#[track_caller]
fn sees(home: &Home, arguments: &[&str], step: &Value) -> Value {
    inside(&run(home, arguments, step).expect(0).seen()[0])
}

/// What the step of a tool call saw.
#[track_caller]
fn inside(call: &Value) -> Value {
    hermes_tests::output::in_call(call).swap_remove(0)
}

fn open(name: &str) -> Value {
    json!({ "do": "open", "name": name })
}

fn write(path: &str) -> Value {
    json!({ "do": "write-file", "path": path, "text": "hello" })
}

/// What an agent is granted of folders and hosts is for the tools that it calls, also where its own manifest does not ask for it.
#[test]
fn an_agent_has_folders_and_hosts_for_its_tools() {
    let home = home();
    let manifest = "name = \"asker\"\nversion = \"0.1.0\"\ndescription = \"Asks.\"\n[[wants]]\ngrant = \"llm\"\nreason = \"Asks.\"\n";
    let file = wanting(&home, &guests::built("probe"), "asker.wasm", manifest);
    let has = |arguments: &[&str]| {
        let inspect = home.host().arg("inspect").arg(&file).args(arguments);
        inspect.output().expect(0).stdout
    };
    let text = has(&[]);
    let by_default = "  blackboard       any space of its run
    at worst other agents of its run read what this one was talked into writing
  llm              the default model
    at worst the run's budget is spent on the default model
  delegation
    at worst the run's budget is spent by sub-agents
  lessons
    at worst later runs are taught something wrong
";
    let has_as_agent = format!("has as every agent\n{by_default}");
    assert!(text.ends_with(&has_as_agent), "{text}");
    let json = has(&["--output", "json"]);
    assert!(
        json.contains(r#""has":["blackboard","llm","delegation","lessons"]"#),
        "{json}"
    );
    let host = home.host().args(["plugin", "add"]).arg(&file);
    let added = host.args(["--allow", "net:example.com", "--yes"]).output().expect(0);
    // Whoever says yes reads that as well, and so does whoever lists what was added.
    added.says(&[
        "would get\n  net:example.com   for its tools, as far as they ask for it\n",
        &has_as_agent,
        "asker is added, with: net:example.com, what every agent has",
    ]);
    let allowed = plugin(&home, &["allow", "asker", "net:example.org"]).expect(0);
    allowed.says(&[
        "gets\n  net:example.org   for its tools, as far as they ask for it\n",
        "asker may now: net:example.com, net:example.org, what every agent has",
    ]);
    let list = plugin(&home, &["list"]).expect(0).stdout;
    let rows = list.strip_suffix(&format!("\nwhat every agent has\n{by_default}"));
    let rows = rows.unwrap_or_else(|| panic!("no section: {list}"));
    assert!(
        rows.ends_with("  net:example.com, net:example.org, what every agent has"),
        "{list}"
    );
    let kinds = json!(["blackboard", "llm", "delegation", "lessons"]);
    assert_eq!(listed(&home)[0]["has"], kinds);
    // What has changed has nothing: it does not run.
    let asker = home.path().join("plugins/asker.wasm");
    let added = fs::read(&asker).unwrap();
    fs::copy(rebuilt(&home, &guests::built("probe")), &asker).unwrap();
    let row = &listed(&home)[0];
    assert_eq!((&row["status"], &row["has"]), (&json!("changed"), &json!([])));
    fs::write(&asker, added).unwrap();
    // One that was never added runs by its name with all of it.
    fs::copy(guests::built("probe"), home.path().join("plugins/other.wasm")).unwrap();
    let row = &listed(&home)[1];
    assert_eq!((&row["status"], &row["has"]), (&json!("not-added"), &kinds));
    // A tool has none of it.
    let tool = home.host().arg("inspect").arg(guests::built("probe-tool"));
    let text = tool.output().expect(0).stdout;
    assert!(!text.contains("as every agent"), "{text}");
    let tool = weather(&home, &[]);
    let host = home.host().args(["plugin", "add"]).arg(&tool).arg("--yes");
    let added = host.output().expect(0).says(&["weather is added, with: none"]);
    assert!(!added.stderr.contains("as every agent"), "{}", added.stderr);
    assert_eq!(listed(&home)[2]["has"], json!([]));
}

#[test]
fn a_person_reads_what_it_asks_for_and_says_yes() {
    let home = home();
    weather(&home, &["blackboard:notes", "fs"]);
    let host = home
        .host()
        .args(["plugin", "add", "./weather.wasm", "--allow", "blackboard:notes"]);
    let mut terminal = Terminal::start(host);
    terminal.sees("[y/N]");
    assert!(!in_home(&home).exists(), "nobody has said yes");
    terminal.types(b"y\n");
    let (screen, code) = terminal.finish();
    assert_eq!(code, Some(0), "{screen}");
    for words in [
        "Needs it.",
        "at worst",
        "not given",
        "--allow fs:DIR",
        "later runs read in the space",
        "weather is added",
    ] {
        assert!(screen.contains(words), "{words:?} is missing in {screen}");
    }
    assert_eq!(
        fs::read(in_home(&home)).unwrap(),
        fs::read(home.work().join("weather.wasm")).unwrap()
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home.path().join("host/approvals.toml")), 0o600);
    let row = &listed(&home)[0];
    assert_eq!((&row["name"], &row["status"]), (&json!("weather"), &json!("approved")));
    assert_eq!(row["allow"], json!(["blackboard:notes"]));
}

#[test]
fn all_but_yes_is_no() {
    let home = home();
    weather(&home, &[]);
    let answer = |keys: &[u8]| {
        let mut terminal = Terminal::start(home.host().args(["plugin", "add", "./weather.wasm"]));
        // What is typed before the question is none of its answers.
        terminal.types(b"y\n");
        terminal.sees("[y/N]");
        terminal.types(keys);
        let (screen, code) = terminal.finish();
        assert!(!in_home(&home).exists(), "{screen}");
        assert_eq!(listed(&home), json!([]));
        (screen, code)
    };
    for keys in [&b"n\n"[..], b"\n", b"yess\n", b"\x04"] {
        let (screen, code) = answer(keys);
        assert_eq!(code, Some(4), "{screen}");
        assert!(screen.contains("nothing is written"), "{screen}");
    }
    let (screen, code) = answer(b"\x03");
    assert_eq!(code, Some(130), "{screen}");
}

#[test]
fn where_nobody_can_be_asked_the_line_that_approves_is_told() {
    let home = home();
    let file = weather(&home, &["net:GET@api.example.org"]);
    fs::rename(&file, home.work().join("our weather.wasm")).unwrap();
    let line = [
        "add",
        "./our weather.wasm",
        "--name",
        "weather",
        "--allow",
        "net:GET@api.example.org",
    ];
    let refused = plugin(&home, &line).expect(4);
    assert!(!in_home(&home).exists());
    let told = refused
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("approve it with  "));
    let told = told.unwrap_or_else(|| panic!("no line: {}", refused.stderr)).to_owned();
    assert!(
        told.contains("'./our weather.wasm'") && told.contains("--digest "),
        "{told}"
    );
    let arguments = told.strip_prefix("hermes-host").unwrap();
    home.host().by(&format!("exec \"$0\"{arguments}")).output().expect(0);
    assert_eq!(listed(&home)[0]["allow"], json!(["net:GET@api.example.org"]));
    // The line is good for these bytes alone.
    let other = weather(&home, &[]);
    fs::rename(other, home.work().join("our weather.wasm")).unwrap();
    let output = home.host().by(&format!("exec \"$0\"{arguments}")).output().expect(4);
    output.says(&["--digest says"]);
    assert_eq!(listed(&home)[0]["status"], "approved");
}

#[test]
fn the_line_that_approves_is_good_for_the_manifest_beside_it_alone() {
    let home = home();
    fs::copy(guests::built("probe-tool"), home.work().join("weather.wasm")).unwrap();
    let beside = home.write("weather.toml", manifest("0.1.0", &["blackboard:mine"]));
    let refused = plugin(&home, &["add", "./weather.wasm", "--own", "blackboard:mine"]).expect(4);
    let told = refused
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("approve it with  hermes-host"));
    let told = told.unwrap_or_else(|| panic!("no line: {}", refused.stderr)).to_owned();
    let approve = |line: &str| home.host().by(&format!("exec \"$0\"{line}")).output();
    // Between the review and the line another one takes its place.
    let good = fs::read(&beside).unwrap();
    fs::write(&beside, manifest("0.1.0", &["blackboard:mine", "net"])).unwrap();
    let other = approve(&told).expect(4);
    other.says(&["the digest of the manifest beside it is", "--manifest says"]);
    fs::remove_file(&beside).unwrap();
    approve(&told)
        .expect(4)
        .says(&["no manifest lies beside it", "--manifest says"]);
    fs::write(&beside, good).unwrap();
    // A line that names the bytes alone is good for none.
    let (start, rest) = told.split_once(" --manifest ").unwrap();
    let (named, end) = rest.split_once(' ').unwrap();
    approve(&format!("{start} {end}"))
        .expect(4)
        .says(&[&format!("is {named}, and --digest stands without --manifest")]);
    assert!(!in_home(&home).exists(), "nothing is written");
    approve(&told).expect(0);
    assert_eq!(listed(&home)[0]["own"], json!(["blackboard:mine"]));
    // Without a line nothing is named, and whoever says yes has looked.
    add(&home, &home.work().join("weather.wasm"), &[]);
}

#[test]
fn what_was_approved_holds_in_every_run_that_names_it() {
    let home = home();
    let file = weather(&home, &["blackboard:mine", "fs:rw"]);
    home.write("papers/a.txt", "dendrites\n");
    add(
        &home,
        &file,
        &["--own", "weather=blackboard:mine", "--allow", "fs:./papers:rw"],
    );
    assert_eq!(sees(&home, &[], &open("mine"))["ok"], 0, "opened");
    // A folder is its caller's too, or it has none.
    let step = write("/papers/b.txt");
    assert!(sees(&home, &[], &step)["error"].is_object());
    assert_eq!(sees(&home, &["--allow", "fs:./papers:rw"], &step)["ok"], 5);
    // By its path it is a plugin like any other.
    let by_path = json!({ "do": "call", "name": "probe", "arguments": { "steps": [open("mine")] } });
    let host = home.host().args(["--deny", "llm", "--tool", "./weather.wasm"]);
    let seen = inside(&host.probe(&steps(&[by_path])).output().expect(0).seen()[0]);
    assert_eq!(refusal(&seen).as_deref(), Some("denied"), "{seen}");
    let arguments = json!({ "steps": [step] }).to_string();
    let called = |plugin: &str| {
        let line = ["call", plugin, "probe", &arguments, "--output", "json"];
        home.host().args(line).output().expect(0).json()["structured"]["seen"][0].clone()
    };
    assert_eq!(called("weather")["ok"], 5);
    assert!(called("./weather.wasm")["error"].is_object());
}

#[test]
fn what_was_approved_with_an_agent_is_for_it_and_for_the_tools_of_the_host() {
    let home = home();
    home.write("papers/a.txt", "dendrites\n");
    let agent = ["--name", "agent", "--allow", "fs:./papers:rw"];
    add(&home, &guests::built("probe"), &agent);
    let list = json!({ "do": "call", "name": "list_files", "arguments": { "path": "/papers" } });
    let put = json!({ "do": "call", "name": "probe", "arguments": { "steps": [write("/papers/b.txt")] } });
    let program = steps(&[list, put]).to_string();
    let go = |tool: &str, arguments: &[&str]| {
        let line = [
            "--deny", "llm", "--plugin", "agent", &program, "--output", "json", "--tool", tool,
        ];
        home.host().args(line).args(arguments).output().expect(0).seen()
    };
    // A stranger's tool has what was given to it.
    let stranger = weather(&home, &["fs:rw"]);
    let seen = go("./weather.wasm", &[]);
    assert!(seen[0].to_string().contains("a.txt"), "{}", seen[0]);
    assert!(inside(&seen[1])["error"].is_object(), "{}", seen[1]);
    let seen = go("./weather.wasm", &["--allow", "fs:./papers:rw"]);
    assert_eq!(inside(&seen[1])["ok"], 5);
    // So has one that was approved with it.
    add(&home, &stranger, &["--allow", "fs:./papers:rw"]);
    let seen = go("weather", &[]);
    assert_eq!(inside(&seen[1])["ok"], 5);
    // What is taken away by a flag is gone.
    let opened = steps(&[open("notes")]).to_string();
    let line = [
        "--plugin",
        "agent",
        "--deny",
        "llm,blackboard",
        &opened,
        "--output",
        "json",
    ];
    let seen = home.host().args(line).output().expect(0).seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("denied"));
}

/// Everything that names the plugin is refused, and shows both digests and the command.
#[track_caller]
fn is_refused(home: &Home, old: &str, new: &str) {
    let call = json!({ "steps": [] }).to_string();
    let command = format!("hermes-host plugin add {}", in_home(home).display());
    for output in [
        run(home, &[], &open("mine")),
        run(home, &["--allow", "blackboard:mine"], &open("mine")),
        home.host()
            .args(["--output", "json", "call", "weather", "probe", &call])
            .output(),
    ] {
        output
            .expect(4)
            .says(&["weather is not what was approved", old, new, &command])
            .of_kind("denied(digest-changed)");
    }
    assert_eq!(run(home, &[], &open("mine")).json()["run"], Value::Null);
    assert_eq!(listed(home)[0]["status"], "changed");
    let shown = home.host().args(["inspect", "weather"]).output().expect(0).stdout;
    assert!(shown.contains("has changed since"), "{shown}");
    let doctor = home.host().arg("doctor").output().stdout;
    assert!(doctor.contains("weather has changed since it was approved"), "{doctor}");
}

#[test]
fn a28_bytes_that_were_replaced_are_refused_until_they_are_approved() {
    let home = home();
    let file = weather(&home, &["blackboard:mine"]);
    let old = add(&home, &file, &["--own", "blackboard:mine"])["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let wider = manifest("0.2.0", &["blackboard:mine", "fs:rw"]);
    let wider = wanting(&home, &guests::built("probe-tool"), "changed/weather.wasm", &wider);
    fs::copy(&wider, in_home(&home)).unwrap();
    let inspected = home
        .host()
        .args(["inspect", "weather", "--output", "json"])
        .output()
        .expect(0)
        .json();
    let new = inspected["digest"].as_str().unwrap();
    assert_eq!(inspected["approved"], "changed");
    is_refused(&home, &old, new);
    run(&home, &[], &open("mine")).says(&["it asks for more: fs:rw", "0.1.0 before, 0.2.0 now"]);
    // Nobody has approved it, and it changes nothing that somebody looks at it.
    let again = in_home(&home).display().to_string();
    plugin(&home, &["add", &again])
        .expect(4)
        .says(&["has changed since it was approved", &old, new, "fs:rw"]);
    is_refused(&home, &old, new);
    // Approved, it has what it had, and no more.
    let added = add(&home, &in_home(&home), &[]);
    assert_eq!((&added["digest"], &added["version"]), (&json!(new), &json!("0.2.0")));
    assert_eq!(
        (&added["own"], &added["allow"]),
        (&json!(["blackboard:mine"]), &json!([]))
    );
    assert_eq!(sees(&home, &[], &open("mine"))["ok"], 0);
    // The bytes that were approved first are those of another plugin now.
    fs::copy(&file, in_home(&home)).unwrap();
    is_refused(&home, new, &old);
    is_well(&home);
}

#[test]
fn a28_a_manifest_that_was_changed_beside_equal_bytes_is_refused() {
    let home = home();
    fs::copy(guests::built("probe-tool"), home.work().join("weather.wasm")).unwrap();
    home.write("weather.toml", manifest("0.1.0", &["blackboard:mine"]));
    let file = home.work().join("weather.wasm");
    let digest = add(&home, &file, &["--own", "blackboard:mine"])["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let beside = in_home(&home).with_extension("toml");
    let good = fs::read(&beside).unwrap();
    assert_eq!(good, fs::read(home.work().join("weather.toml")).unwrap());
    assert_eq!(sees(&home, &[], &open("mine"))["ok"], 0);
    fs::write(&beside, manifest("0.1.0", &["blackboard:mine", "net"])).unwrap();
    is_refused(&home, &digest, &digest);
    run(&home, &[], &open("mine")).says(&["its bytes are the same", "it asks for more: net"]);
    fs::write(&beside, manifest("0.1.0", &[])).unwrap();
    is_refused(&home, &digest, &digest);
    fs::remove_file(&beside).unwrap();
    is_refused(&home, &digest, &digest);
    run(&home, &[], &open("mine")).says(&["whatever it is granted"]);
    fs::write(&beside, good).unwrap();
    assert_eq!(sees(&home, &[], &open("mine"))["ok"], 0);
    is_well(&home);
}

#[test]
fn a28_a_child_is_no_way_around_it() {
    let home = home();
    add(&home, &guests::built("probe"), &["--name", "helper"]);
    let child = ChildSpec::of("helper", &steps(&[]).to_string());
    let spawned = |more: &[Value]| {
        let program = steps(&[&[child.spawn()], more].concat());
        home.host().args(["--deny", "llm"]).probe(&program).output().expect(0)
    };
    let seen = spawned(&[join(0)]).seen();
    assert_eq!(refusal(&seen[0]), None, "{}", seen[0]);
    let other = rebuilt(&home, &guests::built("probe"));
    fs::copy(other, home.path().join("plugins/helper.wasm")).unwrap();
    let output = spawned(&[]);
    let denied = &output.json()["denied"][0];
    assert_eq!(
        (&denied["what"], &denied["target"], &denied["flags"]),
        (&json!("spawn helper"), &json!("helper"), &json!([])),
        "{denied}"
    );
    let remedy = denied["remedy"].as_str().unwrap();
    assert!(remedy.contains("hermes-host plugin list"), "{remedy}");
    let seen = output.seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("denied"), "{}", seen[0]);
    assert!(
        message(&seen[0]).contains("changed since it was approved"),
        "{}",
        seen[0]
    );
    is_well(&home);
}

#[test]
fn a28_a_fork_is_no_way_around_it() {
    let home = home();
    let probe = guests::built("probe");
    for name in ["agent", "helper"] {
        add(&home, &probe, &["--name", name]);
    }
    let child = ChildSpec::of("helper", &steps(&[]).to_string());
    let put = json!({ "do": "put", "space": 0, "key": "a", "value": "a value" });
    let program = steps(&[open("notes"), child.spawn(), join(0), put, child.spawn()]);
    let host = home.host().args(["--deny", "llm"]);
    let output = host.run(Path::new("agent"), &program.to_string()).output().expect(0);
    assert_eq!(refusal(&output.seen()[4]), None, "{}", output.seen()[4]);
    let run = output.json()["run"].as_str().unwrap().to_owned();
    for name in ["agent", "helper"] {
        fs::copy(rebuilt(&home, &probe), home.path().join(format!("plugins/{name}.wasm"))).unwrap();
    }
    let fork = |plugin: &Path| {
        let host = home.host().args(["replay", &run, "--fork", "--output", "json"]);
        host.arg("--plugin").arg(plugin).output()
    };
    let words = "agent is not what was approved";
    let refused = fork(Path::new("agent")).expect(4).says(&[words]);
    assert_eq!(refused.of_kind("denied(digest-changed)").json()["run"], Value::Null);
    // One that does something else goes on from there, and has no child that a run would not have. What it took over is as it was.
    let seen = fork(&saying(&home, &probe, "text/plain", "text/PLAIN"))
        .expect(0)
        .seen();
    assert_eq!(exit(&seen[2]), "Returned", "{}", seen[2]);
    assert_eq!(refusal(&seen[4]).as_deref(), Some("denied"), "{}", seen[4]);
    let said = message(&seen[4]);
    assert!(said.contains("changed since it was approved"), "{said}");
    is_well(&home);
}

#[test]
fn a28_a_folder_that_leads_elsewhere_is_not_the_one_that_was_approved() {
    let home = home();
    home.write("papers/a.txt", "dendrites\n");
    home.write("secret/a.txt", "as it was");
    let file = weather(&home, &["fs:rw"]);
    add(&home, &file, &["--allow", "fs:./papers:rw"]);
    fs::rename(home.work().join("papers"), home.work().join("old")).unwrap();
    std::os::unix::fs::symlink(home.work().join("secret"), home.work().join("papers")).unwrap();
    let arguments = json!({ "steps": [write("/papers/a.txt")] }).to_string();
    let call = || home.host().args(["call", "weather", "probe", &arguments]).output();
    call().expect(4).says(&["leads to", "--deny"]);
    assert_eq!(
        fs::read_to_string(home.work().join("secret/a.txt")).unwrap(),
        "as it was"
    );
    // It may be gone, too.
    fs::remove_file(home.work().join("papers")).unwrap();
    call()
        .expect(2)
        .says(&["weather was approved with fs:", "can't be found", "--deny"]);
    let grant = listed(&home)[0]["allow"][0].as_str().unwrap().to_owned();
    plugin(&home, &["allow", "weather", "--deny", &grant]).expect(0);
    assert_eq!(listed(&home)[0]["allow"], json!([]));
    call().expect(0);
    is_well(&home);
}

/// Puts one of two files in a third's place, over and over, by a rename and by writing into it, while `tries` goes on.
fn swapped<T>(place: &Path, files: [&Path; 2], tries: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let contents = files.map(|file| fs::read(file).unwrap());
    let draft = place.with_extension("swap");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                fs::write(&draft, &contents[n % 2]).unwrap();
                fs::rename(&draft, place).unwrap();
                if n % 8 == 7 {
                    fs::write(place, &contents[0]).unwrap();
                }
            }
        });
        let done = tries();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a28_what_is_swapped_between_check_and_load_is_never_loaded() {
    const GOOD: &str = "Says what it is told.";
    const EVIL: &str = "Does what it likes to";
    let home = home();
    let good = weather(&home, &[]);
    add(&home, &good, &[]);
    let evil = saying(&home, &good, GOOD, EVIL);
    let list = steps(&[json!({ "do": "list-tools" })]);
    let go = || {
        home.host()
            .args(["--deny", "llm", "--tool", "weather"])
            .probe(&list)
            .output()
    };
    // Compiled before, so that nothing is left but the race.
    go().expect(0);
    home.host().args(["inspect", "--ask"]).arg(&evil).output().expect(0);
    let (ran, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    swapped(&in_home(&home), [&good, &evil], || {
        for _ in 0..100 {
            let output = go();
            assert!(!output.stdout.contains(EVIL), "it was loaded: {}", output.stdout);
            match output.code {
                Some(0) => {
                    assert!(output.stdout.contains(GOOD), "{}", output.stdout);
                    ran.fetch_add(1, Ordering::Relaxed);
                }
                // Half of a file is no component, and is not what was approved either.
                Some(code @ (2 | 4)) => {
                    let error = &output.json()["error"];
                    let kinds = if code == 4 { "denied(digest-changed)" } else { "load(" };
                    assert!(error["kind"].as_str().unwrap().starts_with(kinds), "{error}");
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                _ => panic!("{output:?}"),
            }
        }
    });
    let (ran, refused) = (ran.into_inner(), refused.into_inner());
    assert!(
        ran > 0 && refused > 0,
        "{ran} ran, {refused} were refused: there was no race"
    );
    is_well(&home);
}

#[test]
fn a28_what_is_swapped_while_it_is_added_is_what_was_looked_at() {
    let home = home();
    let file = weather(&home, &[]);
    let one = home.write("one.wasm", fs::read(&file).unwrap());
    let two = wanting(
        &home,
        &guests::built("probe-tool"),
        "two.wasm",
        &manifest("0.2.0", &["fs"]),
    );
    for file in [&one, &two] {
        home.host().args(["inspect", "--ask"]).arg(file).output().expect(0);
    }
    swapped(&file, [&one, &two], || {
        for _ in 0..100 {
            let output = home
                .host()
                .args(["plugin", "add", "./weather.wasm", "--yes", "--output", "json"])
                .output();
            if output.code == Some(2) {
                continue;
            }
            let added = output.expect(0).json();
            let row = &listed(&home)[0];
            assert_eq!((&row["status"], &row["digest"]), (&json!("approved"), &added["digest"]));
            let copied = fs::read(in_home(&home)).unwrap();
            let whole = if row["version"] == "0.1.0" { &one } else { &two };
            assert!(
                copied == fs::read(whole).unwrap(),
                "its bytes are not those of {}",
                row["version"]
            );
        }
    });
    is_well(&home);
}

#[test]
fn an_approval_that_another_changed_meanwhile_is_not_written_over() {
    let home = home();
    let file = weather(&home, &["blackboard:notes"]);
    let mut terminal = Terminal::start(home.host().args(["plugin", "add", "./weather.wasm"]));
    terminal.sees("[y/N]");
    add(&home, &file, &["--allow", "blackboard:notes"]);
    terminal.types(b"y\n");
    let (screen, code) = terminal.finish();
    assert_eq!(code, Some(2), "{screen}");
    assert!(screen.contains("changed meanwhile"), "{screen}");
    assert_eq!(listed(&home)[0]["allow"], json!(["blackboard:notes"]));
}

#[test]
fn rights_are_given_and_taken_away_by_name() {
    let home = home();
    let file = weather(&home, &["net:api.example.org", "blackboard", "fs"]);
    home.write("papers/a.txt", "dendrites\n");
    add(&home, &file, &[]);
    let allow = |arguments: &[&str]| plugin(&home, &[&["allow", "weather"], arguments].concat());
    let told = allow(&["net:GET@api.example.org", "fs:./papers", "--own", "blackboard:mine"]).expect(0);
    let (worst, given) = told.stderr.split_once("weather may now").unwrap();
    for words in [
        "at worst what an agent knows is sent to api.example.org",
        "papers goes to the model's server",
        "itself, whichever agent calls it",
        "later runs read in the space mine",
    ] {
        assert!(
            worst.contains(words) && !given.contains(words),
            "{words:?}: {}",
            told.stderr
        );
    }
    let papers = format!("fs:{}", home.work().canonicalize().unwrap().join("papers").display());
    let row = listed(&home)[0].clone();
    assert_eq!(row["allow"], json!(["net:GET@api.example.org", papers]));
    assert_eq!(row["own"], json!(["blackboard:mine"]));
    assert_eq!(sees(&home, &[], &open("mine"))["ok"], 0);
    for nothing_new in [
        &["net:GET@api.example.org"][..],
        &["--deny", "fs:./papers", "--deny", "blackboard"],
    ] {
        let told = allow(nothing_new).expect(0);
        assert!(!told.stderr.contains("at worst"), "{}", told.stderr);
    }
    let row = listed(&home)[0].clone();
    assert_eq!(
        (&row["allow"], &row["own"]),
        (&json!(["net:GET@api.example.org"]), &json!([]))
    );
    assert_eq!(refusal(&sees(&home, &[], &open("mine"))).as_deref(), Some("denied"));
    for (arguments, words) in [
        (&["llm"][..], "does not ask for it"),
        (&["fs:./papers:rw"], "leave :rw out"),
        (&["fs:./nowhere"], "can't be found"),
        (&["--own", "fs:./papers"], "never a tool's own"),
        (&["--own", "other=blackboard:mine"], "for another plugin"),
        (&["--deny", "llm"], "it was given net:GET@api.example.org"),
        (&["terminal:sh"], "no terminal"),
        (&[], "plugin allow NAME GRANT"),
    ] {
        allow(arguments).expect(2).says(&[words]);
    }
    for (name, words) in [
        ("other", "there is no plugin other"),
        ("files", "is built in"),
        ("../x", "there is no plugin ../x"),
    ] {
        plugin(&home, &["allow", name, "net:x.org"]).expect(2).says(&[words]);
        plugin(&home, &["remove", name]).expect(2).says(&[words]);
    }
    assert_eq!(
        listed(&home)[0]["allow"],
        json!(["net:GET@api.example.org"]),
        "nothing of it was written"
    );
    // One that has changed is not widened.
    fs::copy(rebuilt(&home, &file), in_home(&home)).unwrap();
    allow(&["fs:./papers"]).expect(4).says(&["is not what was approved"]);
    plugin(&home, &["remove", "weather"]).expect(0);
    assert!(!in_home(&home).exists() && listed(&home) == json!([]));
    run(&home, &[], &open("mine"))
        .expect(2)
        .says(&["there is no plugin weather"]);
}

#[test]
fn two_folders_of_one_name_are_refused_before_they_are_written_down() {
    let home = home();
    for folder in ["a/papers", "b/papers"] {
        fs::create_dir_all(home.work().join(folder)).unwrap();
    }
    let file = weather(&home, &["fs"]);
    add(&home, &file, &["--allow", "fs:./a/papers"]);
    plugin(&home, &["allow", "weather", "fs:./b/papers"])
        .expect(2)
        .says(&["two folders would be /papers"]);
    plugin(&home, &["allow", "weather", "fs:more=./b/papers"]).expect(0);
    assert_eq!(listed(&home)[0]["allow"].as_array().unwrap().len(), 2);
}

#[test]
fn names_that_mean_something_else_are_not_given_away() {
    let home = home();
    let file = weather(&home, &[]);
    let name = |name: &str| {
        let host = home.host().args(["plugin", "add"]).arg(&file);
        host.args(["--yes", "--name", name]).output()
    };
    for (odd, words) in [
        ("files", "built in"),
        ("host", "a meaning of its own"),
        ("filesystem", "a meaning of its own"),
        ("Weather", "a-z"),
        ("wеather", "a-z"),
        ("../weather", "a-z"),
        ("", "a-z"),
    ] {
        name(odd).expect(2).says(&[words, "--name"]);
    }
    name("weather_2").expect(0);
    plugin(&home, &["add", "files", "--yes"])
        .expect(2)
        .says(&["is built in"]);
    plugin(&home, &["add", "weather", "--yes"])
        .expect(2)
        .says(&["what is added is a file"]);
    plugin(&home, &["add", "./nowhere.wasm", "--yes"])
        .expect(2)
        .says(&["there is no file"]);
    home.write("core.wasm", b"\0asm\x01\0\0\0");
    plugin(&home, &["add", "./core.wasm", "--yes"])
        .expect(2)
        .says(&["core module"]);
    home.write("slow.toml", "model = \"slow\"\n");
    plugin(&home, &["add", "./slow.toml", "--yes"])
        .expect(2)
        .says(&["slow.toml: it is no component"]);
    let names: Vec<_> = listed(&home)
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["weather_2"]);
}

#[test]
fn what_was_approved_once_need_not_be_asked_again() {
    let home = home();
    let file = weather(&home, &["blackboard:notes"]);
    add(&home, &file, &["--allow", "blackboard:notes"]);
    let again = |arguments: &[&str]| plugin(&home, &[&["add", "./weather.wasm"], arguments].concat());
    again(&[]).expect(0).says(&["was approved before"]);
    again(&["--allow", "blackboard:notes"]).expect(0);
    // More than that is a question again; and the bytes that were approved are put back as they were.
    again(&["--own", "blackboard:notes"]).expect(4);
    fs::copy(rebuilt(&home, &file), in_home(&home)).unwrap();
    again(&[]).expect(0);
    assert_eq!(listed(&home)[0]["status"], "approved");
    // A plugin that somebody put there by hand is told of before it is written over.
    fs::write(
        home.path().join("plugins/mine.wasm"),
        fs::read(guests::built("pure-echo")).unwrap(),
    )
    .unwrap();
    let rows = listed(&home);
    assert_eq!(
        (&rows[0]["name"], &rows[0]["status"]),
        (&json!("mine"), &json!("not-added"))
    );
    again(&["--name", "mine"]).expect(4).says(&["it replaces", "mine.wasm"]);
}

#[test]
fn a_plugin_that_was_never_added_works_with_flags() {
    let home = home();
    fs::create_dir_all(home.path().join("plugins")).unwrap();
    fs::copy(weather(&home, &["blackboard:mine"]), in_home(&home)).unwrap();
    assert_eq!(refusal(&sees(&home, &[], &open("mine"))).as_deref(), Some("denied"));
    let seen = sees(&home, &["--own", "weather=blackboard:mine"], &open("mine"));
    assert_eq!(seen["ok"], 0, "{seen}");
}

#[test]
fn what_is_dangerous_takes_two_keys() {
    let home = home();
    let outside = tempfile::tempdir().unwrap();
    let grant = format!("fs:out={}:rw", outside.path().display());
    let bare = home.write("weather.wasm", fs::read(guests::built("probe-tool")).unwrap());
    let by_path = |file: &Path, grant: &str| {
        let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [write("/out/a.txt")] } });
        let host = home
            .host()
            .args(["--deny", "llm", "--allow", grant, "--tool"])
            .arg(file);
        let output = host.probe(&steps(&[call])).output().expect(0);
        (inside(&output.seen()[0]), output.stderr)
    };
    let (seen, told) = by_path(&bare, &grant);
    assert!(seen["error"].is_object(), "{seen}");
    assert!(
        told.contains("weather may only read with fs:out=") && told.contains("fs:rw besides"),
        "{told}"
    );
    assert!(!outside.path().join("a.txt").exists());
    // In the operator's own folder one key is enough, wherever else both are.
    fs::create_dir(home.work().join("out")).unwrap();
    assert_eq!(by_path(&bare, "fs:./out:rw").0["ok"], 5);
    // But not in what is hidden there, nor in that folder itself, where what is run and what opens other machines lies.
    let user = home.work().join("user");
    let as_user = |file: &Path, grant: &str| {
        let arguments = json!({ "steps": [write("/out/a.txt")] }).to_string();
        let host = home.host().env("HOME", &user).arg("call").arg(file);
        let output = host.args(["probe", &arguments, "--allow", grant]).output();
        output.stderr.contains("may only read with fs:out=")
    };
    let asks = wanting(&home, &bare, "asks.wasm", &manifest("0.1.0", &["fs:rw", "net"]));
    for (folder, takes_both) in [
        ("", true),
        (".ssh", true),
        (".config/autostart", true),
        ("project/.git/hooks", true),
        ("project", false),
        ("dots..x", false),
    ] {
        let at = user.join(folder);
        fs::create_dir_all(&at).unwrap();
        let grant = format!("fs:out={}:rw", at.display());
        assert_eq!(as_user(&bare, &grant), takes_both, "{folder}");
        assert_eq!(at.join("a.txt").exists(), !takes_both, "{folder}");
        assert!(!as_user(&asks, &grant) && at.join("a.txt").exists(), "{folder}");
    }
    let (seen, told) = by_path(&asks, &grant);
    assert_eq!(
        (&seen["ok"], told.contains("may only read")),
        (&json!(5), false),
        "{told}"
    );
    // The whole network likewise, and nearly the whole.
    for grant in ["net:*", "net:*.com"] {
        let host = home.host().args(["call", "./weather.wasm", "echo", r#"{"text":"x"}"#]);
        let output = host.args(["--allow", grant]).output().expect(0);
        output.says(&[&format!("weather does not get {grant}")]);
    }
    let try_adding = |file: &Path, grant: &str| {
        let host = home.host().args(["plugin", "add", "--yes", "--allow", grant]).arg(file);
        host.output()
    };
    for grant in [&*grant, "net:*"] {
        try_adding(&bare, grant).expect(2).says(&["takes two keys"]);
        try_adding(&asks, grant).expect(0);
    }
    try_adding(&asks, "terminal:sh").expect(2).says(&["no terminal"]);
    // Without a home of one's own there is no inside.
    let call = json!({ "steps": [write("/out/b.txt")] }).to_string();
    let line = ["call", "./weather.wasm", "probe", &call, "--allow", "fs:./out:rw"];
    home.host()
        .without("HOME")
        .args(line)
        .output()
        .expect(0)
        .says(&["may only read"]);
    assert!(!home.work().join("out/b.txt").exists());
}

#[test]
fn the_configuration_is_no_word_for_what_takes_two_keys() {
    const HELD: &str = "by the configuration alone: say it on the command line with";
    let home = home();
    let outside = tempfile::tempdir().unwrap();
    let folder = format!("fs:out={}:rw", outside.path().display());
    let file = home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    let configured = |key: &str, grant: &str| fs::write(&file, format!("{key} = [\"{grant}\"]\n{before}")).unwrap();
    let asks = weather(&home, &["fs:rw", "net"]);
    let by_path = |arguments: &[&str]| {
        let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [write("/out/a.txt")] } });
        let host = home.host().args(["--deny", "llm", "--tool"]).arg(&asks).args(arguments);
        let output = host.probe(&steps(&[call])).output().expect(0);
        (inside(&output.seen()[0]), output.stderr)
    };
    configured("allow", &folder);
    let (seen, told) = by_path(&[]);
    assert!(
        seen["error"].is_object() && !outside.path().join("a.txt").exists(),
        "{seen}"
    );
    for words in [
        "weather may only read with fs:out=",
        HELD,
        "with --allow weather=fs:out=",
    ] {
        assert!(told.contains(words), "{words:?} is missing in {told}");
    }
    // What the notice says is what helps.
    let (seen, told) = by_path(&["--allow", &format!("weather={folder}")]);
    assert_eq!((&seen["ok"], told.contains(HELD)), (&json!(5), false), "{told}");
    // The whole network likewise: what the plugin wants of it is not granted by the configuration, and is by a flag.
    let has_net = |arguments: &[&str]| {
        let host = home.host().args(["inspect", "./weather.wasm", "--output", "json"]);
        let wants = host.args(arguments).output().expect(0).json()["wants"].clone();
        let net = wants.as_array().unwrap().iter().find(|want| want["grant"] == "net");
        net.unwrap()["granted"].clone()
    };
    let called = |arguments: &[&str]| {
        let host = home.host().args(["call", "./weather.wasm", "echo", r#"{"text":"x"}"#]);
        host.args(arguments).output().expect(0).stderr
    };
    for grant in ["net:*", "net:*.com"] {
        configured("allow", grant);
        let told = called(&[]);
        let words = format!("weather does not get {grant} {HELD} --allow 'weather={grant}'");
        assert!(told.contains(&words), "{told}");
        assert_eq!(has_net(&[]), false);
        assert!(!called(&["--allow", grant]).contains("does not get"));
        assert_eq!(has_net(&["--allow", grant]), true);
    }
    // What is a tool's own takes a flag as well, or an approval.
    configured("own", "weather=net:*");
    let (_, told) = by_path(&[]);
    assert!(
        told.contains(HELD) && told.contains("--own 'weather=net:*'") && !told.contains("plugin allow"),
        "{told}"
    );
    assert!(!by_path(&["--own", "weather=net:*"]).1.contains(HELD));
    add(&home, &asks, &[]);
    let named = || run(&home, &[], &open("mine")).expect(0).stderr;
    let told = named();
    assert!(
        told.contains(HELD) && told.contains(", or once with hermes-host plugin allow weather"),
        "{told}"
    );
    plugin(&home, &["allow", "weather", "--own", "net:*"]).expect(0);
    assert!(!named().contains(HELD));
}

#[test]
fn a_plugin_with_words_where_the_host_speaks_is_not_added() {
    let home = home();
    for (version, want) in [
        ("0.1.0 given", "blackboard"),
        ("0.1.0", "blackboard:its own run, verified"),
        ("0.1.0", "fs:ro"),
        ("0.1.0", "delegation:none"),
    ] {
        let file = wanting(
            &home,
            &guests::built("probe-tool"),
            "weather.wasm",
            &manifest(version, &[want]),
        );
        let refused = plugin(&home, &["add", file.to_str().unwrap(), "--yes"]).expect(2);
        refused.says(&["manifest"]);
        assert!(!in_home(&home).exists());
    }
    // What is a name or a rule is shown as it is.
    let good = [
        "blackboard:notes.v2:ro",
        "llm:home/fast",
        "net:GET@*.x.org:8443",
        "fs:rw",
    ];
    let file = wanting(
        &home,
        &guests::built("probe-tool"),
        "weather.wasm",
        &manifest("0.1.0-rc.1+9", &good),
    );
    let shown = plugin(&home, &["add", file.to_str().unwrap()]).expect(4);
    shown.says(&good).says(&["weather 0.1.0-rc.1+9\n"]);
}

#[test]
fn what_the_configuration_gives_to_a_name_is_for_no_file_that_is_merely_called_so() {
    const HELD: &str =
        "named by its path, does not get blackboard:mine by the configuration alone: say it on the command line with";
    let home = home();
    let file = weather(&home, &["blackboard"]);
    let whole = file.display().to_string();
    let config = home.path().join("host/config.toml");
    let before = fs::read_to_string(&config).unwrap();
    let configured = |text: &str| fs::write(&config, format!("{text}\n{before}")).unwrap();
    let by = |arguments: &[&str]| {
        let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [open("mine")] } });
        let host = home.host().args(["--deny", "llm"]).args(arguments);
        let output = host.probe(&steps(&[call])).output().expect(0);
        (inside(&output.seen()[0]), output.stderr)
    };
    let is_given = |plugin: &str| {
        let inspect = home.host().args(["inspect", plugin, "--output", "json"]);
        inspect.output().expect(0).json()["wants"][0]["granted"].clone()
    };
    let own = "own = [\"weather=blackboard:mine\"]";
    configured(own);
    for tool in ["./weather.wasm", whole.as_str()] {
        let (seen, told) = by(&["--tool", tool]);
        assert_eq!(refusal(&seen).as_deref(), Some("denied"), "{seen}");
        let words = format!("weather, {HELD} --own weather=blackboard:mine");
        assert!(told.contains(&words), "{told}");
        assert_eq!(is_given(tool), false);
        // What the notice says is what helps.
        let (seen, told) = by(&["--tool", tool, "--own", "weather=blackboard:mine"]);
        assert_eq!((&seen["ok"], told.contains(HELD)), (&json!(0), false), "{told}");
    }
    let call = home.host().args(["call", "./weather.wasm", "echo", r#"{"text":"x"}"#]);
    call.output().expect(0).says(&[HELD]);
    // A file that the configuration names itself has it where its path leads to the same one from every folder.
    configured(&format!("{own}\ntools = [\"{whole}\"]"));
    let (seen, told) = by(&[]);
    assert_eq!((&seen["ok"], told.contains(HELD)), (&json!(0), false), "{told}");
    configured(&format!("{own}\ntools = [\"./weather.wasm\"]"));
    let (seen, told) = by(&[]);
    assert_eq!(refusal(&seen).as_deref(), Some("denied"), "{seen}");
    assert!(told.contains(HELD), "{told}");
    // So it is with the agent of a run.
    configured("allow = [\"probe=blackboard:mine\"]");
    let agent = |arguments: &[&str]| home.host().args(arguments).probe(&steps(&[])).output().expect(0).stderr;
    let told = agent(&[]);
    let words = format!("probe, {HELD} --allow probe=blackboard:mine");
    assert!(told.contains(&words), "{told}");
    assert!(!agent(&["--allow", "probe=blackboard:mine"]).contains(HELD));
    // What is added under the name has it, and that is shown before anybody says yes; what is another's or is not asked for is not.
    configured(&format!(
        "{own}\nallow = [\"blackboard:all\", \"other=blackboard:theirs\", \"net:x.org\", \"fs:./gone\"]"
    ));
    let shown = plugin(&home, &["add", "./weather.wasm"]).expect(4);
    let shown = shown.says(&[
        "has besides by the configuration\n  blackboard:all\n    at worst later runs read in the space all of the home folder",
        "  blackboard:mine   itself, whichever agent calls it\n    at worst later runs read in the space mine of the home folder",
        "may have by the configuration what can't be read here\n  fs:./gone: the folder can't be found",
        "  given     blackboard\n",
    ]);
    let others = ["theirs", "x.org"];
    assert!(!others.iter().any(|words| shown.stderr.contains(words)), "{shown:?}");
    configured(own);
    add(&home, &file, &[]);
    assert_eq!(by(&["--tool", "weather"]).0["ok"], 0);
    assert_eq!(is_given("weather"), true);
    assert_eq!(is_given("./weather.wasm"), false);
}

#[test]
fn a_plugin_can_not_be_let_into_the_folder_of_plugins() {
    let home = home();
    fs::create_dir_all(home.path().join("plugins")).unwrap();
    let grant = format!("fs:{}:rw", home.path().join("plugins").display());
    home.host()
        .args(["--allow", &grant])
        .probe(&steps(&[]))
        .output()
        .expect(2)
        .says(&["plugins/"]);
}

#[test]
fn a_plugin_whose_file_is_gone_is_removed_as_doctor_says() {
    let home = home();
    add(&home, &weather(&home, &[]), &[]);
    fs::remove_file(in_home(&home)).unwrap();
    let doctor = home.host().arg("doctor").output().stdout;
    assert!(
        doctor.contains("weather was approved and can't be read: its file is not there"),
        "{doctor}"
    );
    let remedy = "hermes-host plugin remove weather";
    assert!(doctor.contains(remedy) && !doctor.contains("plugin add"), "{doctor}");
    let list = plugin(&home, &["list"]).expect(0).stdout;
    assert!(list.contains(&format!("its file is not there   {remedy}")), "{list}");
    plugin(&home, &["remove", "weather"]).expect(0);
    assert_eq!(listed(&home), json!([]));
}

#[test]
fn a_plugin_whose_file_is_cut_short_is_told_as_damaged() {
    let home = home();
    add(&home, &weather(&home, &["blackboard:notes"]), &[]);
    let bytes = fs::read(in_home(&home)).unwrap();
    fs::write(in_home(&home), &bytes[..bytes.len() / 2]).unwrap();
    let remedy = "hermes-host plugin remove weather";
    let listed = plugin(&home, &["list"]).expect(0).stdout;
    let doctor = home.host().arg("doctor").output().stdout;
    let called = home
        .host()
        .args(["call", "weather", "echo", "{}"])
        .output()
        .expect(4)
        .stderr;
    for told in [listed, doctor, called] {
        let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            told.contains("the component is damaged") && told.contains(remedy),
            "{told}"
        );
        assert!(!told.contains("asks for more"), "{told}");
    }
}

#[test]
fn what_the_host_finds_of_a_plugin_without_a_manifest_is_not_put_into_its_mouth() {
    let home = home();
    let bare = home.write("weather.wasm", fs::read(guests::built("probe-tool")).unwrap());
    let host = home.host().args(["plugin", "add"]).arg(&bare);
    let told = host.output().expect(4).stderr;
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("because it has no manifest; it imports wasi:filesystem/preopens"),
        "{told}"
    );
    assert!(
        words.contains("everything in those that you name with :rw is changed or deleted"),
        "{told}"
    );
    assert!(
        words.contains("the disk filled, and what is written there may be run as you"),
        "{told}"
    );
    assert!(!words.contains("it says \u{201c}it "), "{told}");
}

#[test]
fn a_file_that_was_put_there_by_hand_is_told_with_what_can_be_done() {
    let home = home();
    fs::create_dir_all(home.path().join("plugins")).unwrap();
    fs::copy(weather(&home, &[]), in_home(&home)).unwrap();
    let path = in_home(&home).display().to_string();
    for arguments in [&["remove", "weather"][..], &["allow", "weather", "llm"]] {
        let told = plugin(&home, arguments).expect(2);
        told.says(&[
            "weather was never added",
            &format!("hermes-host plugin add {path}"),
            &format!("rm {path}"),
        ]);
    }
    assert!(in_home(&home).exists());
}

#[test]
fn approvals_that_can_not_be_read_are_never_taken_for_none() {
    let home = home();
    let file = weather(&home, &["blackboard:mine"]);
    add(&home, &file, &["--own", "blackboard:mine"]);
    let approvals = home.path().join("host/approvals.toml");
    let good = fs::read_to_string(&approvals).unwrap();
    for bad in [
        good.replace("blackboard:mine", "blackboard:ours"),
        String::new(),
        "version = 99\n".to_owned(),
    ] {
        fs::write(&approvals, &bad).unwrap();
        for output in [
            run(&home, &[], &open("mine")),
            plugin(&home, &["list"]),
            plugin(&home, &["allow", "weather", "blackboard:mine"]),
            plugin(&home, &["add", "./weather.wasm", "--yes"]),
            plugin(&home, &["remove", "weather"]),
        ] {
            output.expect(2).says(&["approvals.toml"]);
        }
        assert_eq!(fs::read_to_string(&approvals).unwrap(), bad);
        // Runs that name no plugin of the home folder have no need of them.
        home.host()
            .args(["--deny", "llm"])
            .probe(&steps(&[]))
            .output()
            .expect(0);
    }
    fs::write(&approvals, good).unwrap();
    assert_eq!(sees(&home, &[], &open("mine"))["ok"], 0);
}

#[test]
fn a_backup_has_the_approvals() {
    let home = home();
    add(&home, &weather(&home, &[]), &[]);
    home.host()
        .args(["--deny", "llm"])
        .probe(&steps(&[]))
        .output()
        .expect(0);
    let copy = home.work().join("copy");
    home.host().arg("backup").arg(&copy).output().expect(0);
    let read = |folder: &Path| fs::read(folder.join("approvals.toml")).unwrap();
    assert_eq!(read(&copy), read(&home.path().join("host")));
}

/// Suspends a run that asks a model before it calls the tool, does something with the approvals, and goes on.
#[track_caller]
fn resumed(home: &Home, server: &ModelServer, step: &Value, between: impl FnOnce()) -> Value {
    let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [step] } });
    let host = home.host().args(["--tool", "weather"]);
    let run = stopped(home, server, host.probe(&steps(&[ask("1"), call])), Signal::INT);
    between();
    inside(&interrupted::resumed(home, &run, &[]).expect(0).seen()[1])
}

#[test]
fn a_resume_has_what_was_approved_when_its_run_began() {
    let began = || {
        let server = ModelServer::start(Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("one")));
        let home = Home::with_model(&server, Format::OpenAi);
        let file = weather(&home, &["blackboard"]);
        (server, home, file)
    };
    let (server, home, file) = began();
    add(&home, &file, &["--own", "blackboard:mine"]);
    let seen = resumed(&home, &server, &open("mine"), || {
        plugin(&home, &["remove", "weather"]).expect(0);
    });
    assert_eq!(seen["ok"], 0, "what was approved then holds: {seen}");
    let (server, home, file) = began();
    add(&home, &file, &[]);
    let seen = resumed(&home, &server, &open("mine"), || {
        plugin(&home, &["allow", "weather", "--own", "blackboard:mine"]).expect(0);
    });
    assert_eq!(refusal(&seen).as_deref(), Some("denied"), "and no more: {seen}");
}

/// A server that lets the first request hang and answers those after it. Tells of each.
fn hanging_once() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        let mut hanging = Vec::new();
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let _ = sender.send(());
            match n {
                0 => hanging.push(stream),
                _ => _ = answered(stream),
            }
        }
    });
    (address, asked)
}

fn answered(mut stream: TcpStream) -> std::io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("{head}sunny").as_bytes())
}

/// Kills the host in the midst of a call of a plugin that was added so, and goes on: what the call came to, and how often it was made.
fn killed_in_a_call(arguments: &[&str]) -> (Value, usize) {
    let home = home();
    let (address, asked) = hanging_once();
    let own = format!("net:http://{address}");
    let added = add(
        &home,
        &guests::plugin("web"),
        &[&["--name", "fetcher", "--own", &own], arguments].concat(),
    );
    let says = added["repeatable"].as_array().unwrap().len();
    assert_eq!(says, usize::from(arguments.is_empty()), "{added}");
    let url = format!("http://{address}/weather");
    let call = json!({ "do": "call", "name": "fetch_page", "arguments": { "url": url } });
    let host = home.host().args(["--deny", "llm", "--tool", "fetcher"]);
    let process = host.probe(&steps(&[call])).start();
    asked.recv_timeout(LONG).unwrap();
    process.signal(Signal::KILL);
    process.finish();
    let resumed = interrupted::resumed(&home, &home.newest_run(), &[]).expect(0);
    let seen = resumed.seen().remove(0);
    (seen, 1 + asked.try_iter().count())
}

/// Sets the secret `weather`.
fn set_secret(home: &Home) {
    let value = home.write("value", "0123456789abcdef");
    let set = home.host().args(["secret", "set", "weather"]).reads(&value);
    set.output().expect(0);
}

#[test]
fn a_secret_that_was_approved_has_to_be_set() {
    let home = home();
    let file = weather(&home, &["secret", "net"]);
    let grants = [
        "--allow",
        "secret:weather@api.example",
        "--allow",
        "net:GET@api.example",
    ];
    let early = home.host().args(["plugin", "add"]).arg(&file).args(grants);
    early
        .arg("--yes")
        .output()
        .expect(2)
        .says(&["hermes-host secret set weather"]);
    assert!(!in_home(&home).exists(), "nothing is added by halves");
    set_secret(&home);
    assert_eq!(add(&home, &file, &grants)["allow"], json!([grants[1], grants[3]]));
    let secrets = || {
        home.host()
            .args(["secret", "list", "--output", "json"])
            .output()
            .expect(0)
            .json()
    };
    let granted = json!([{ "hosts": "api.example", "plugin": "weather", "own": false }]);
    let row = secrets().as_array_mut().unwrap().remove(0);
    assert_eq!((&row["granted"], row["set_ms"].is_u64()), (&granted, true), "{row}");
    run(&home, &[], &open("mine")).expect(0);
    home.host().args(["secret", "remove", "weather"]).output().expect(0);
    let row = secrets().as_array_mut().unwrap().remove(0);
    assert_eq!((&row["granted"], &row["set_ms"]), (&granted, &json!(null)), "{row}");
    let refused = run(&home, &[], &open("mine")).expect(2);
    refused.says(&["hermes-host secret set weather"]);
    let doctor = home.host().arg("doctor").output().expect(0);
    let told = "weather is granted and not set";
    assert!(doctor.stdout.contains(told), "{}", doctor.stdout);
    // One that it asks for only now is part of what is different.
    let wider = manifest("0.2.0", &["secret:maps@maps.example", "secret", "net"]);
    let wider = wanting(&home, &guests::built("probe-tool"), "changed/weather.wasm", &wider);
    fs::copy(wider, in_home(&home)).unwrap();
    let path = in_home(&home).display().to_string();
    let asked = plugin(&home, &["add", &path]);
    assert!(
        asked.stderr.contains("it asks for more: secret:maps@maps.example"),
        "{}",
        asked.stderr
    );
}

/// What is asked for to be read is given to be read, whatever more would be allowed.
#[test]
fn a_space_that_is_asked_for_to_be_read_is_given_so() {
    let home = home();
    let file = weather(&home, &["blackboard:mine:ro", "terminal:git"]);
    let wants = |arguments: &[&str]| {
        let host = home.host().args(["inspect", "./weather.wasm", "--output", "json"]);
        host.args(arguments).output().expect(0).json()["wants"].clone()
    };
    let flag = "--allow blackboard:mine:ro";
    let nothing = wants(&[]);
    for (want, words) in [
        (&nothing[0], flag),
        // What nobody has is offered to nobody.
        (&nothing[1], "terminal:git: this version of the host has no terminal"),
    ] {
        assert_eq!((&want["granted"], &want["flag"]), (&json!(false), &json!(words)));
    }
    let allow = ["--allow", "blackboard:mine:ro"];
    assert_eq!(wants(&allow)[0]["granted"], true);
    // It runs with what was offered, and gets no more by its approval or by a flag.
    let steps_of = |more: &[&str], given: &[Value]| {
        let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": given } });
        let host = home
            .host()
            .args(["--deny", "llm", "--tool", "./weather.wasm"])
            .args(more);
        host.probe(&steps(&[call])).output().expect(0)
    };
    let opened = [open("mine")];
    let denied = steps_of(&[], &opened).json()["denied"].clone();
    assert_eq!(denied[0]["flags"], json!([flag]), "{denied}");
    assert_eq!(steps_of(&allow, &opened).json()["denied"], json!([]));
    let written = [open("mine"), put("k")];
    let denied = steps_of(&["--allow", "blackboard:mine"], &written).json()["denied"].clone();
    assert_eq!(
        (&denied[0]["flags"], &denied[0]["remedy"]),
        (&json!([]), &json!("its manifest does not ask for blackboard:mine")),
        "{denied}"
    );
    let more = plugin(&home, &["add", "./weather.wasm", "--yes", "--allow", "blackboard:mine"]);
    more.expect(2).says(&["would get only blackboard:mine:ro"]);
    add(&home, &file, &allow);
    assert_eq!(listed(&home)[0]["allow"], json!(["blackboard:mine:ro"]));
}

/// What is approved and listed is what the tool has.
#[test]
fn what_a_tool_would_get_less_of_is_not_approved() {
    let home = home();
    set_secret(&home);
    let wants = [
        "net:api.example.org",
        "net:GET@b.example.org",
        "secret:weather@api.example.org",
    ];
    let file = weather(&home, &wants);
    let less = "would get only net:api.example.org, net:GET@b.example.org; give it that";
    for (grant, words) in [
        ("net:*.example.org", less),
        ("net:*", less),
        ("net:b.example.org", "would get only net:GET@b.example.org"),
        (
            "secret:weather@*.example.org",
            "would get only secret:weather@api.example.org",
        ),
        ("net:x.org", "does not ask for it"),
    ] {
        for flag in ["--allow", "--own"] {
            let added = plugin(&home, &["add", "./weather.wasm", "--yes", flag, grant]);
            added.expect(2).says(&[words]);
        }
    }
    let given = ["--allow", "net:GET@api.example.org", "--allow", wants[2]];
    add(&home, &file, &given);
    assert_eq!(listed(&home)[0]["allow"], json!(["net:GET@api.example.org", wants[2]]));
    plugin(&home, &["allow", "weather", "net:*"]).expect(2).says(&[less]);
}

#[test]
fn a_plugin_that_gives_no_reason_is_said_to_give_none() {
    let home = home();
    let text = "name = \"weather\"\n[[wants]]\ngrant = \"fs\"\n[[wants]]\ngrant = \"net\"\nreason = \" \"\n";
    let file = wanting(&home, &guests::built("probe-tool"), "weather.wasm", text);
    let inspected = home.host().arg("inspect").arg(&file).output().expect(0).stdout;
    assert_eq!(
        inspected.matches("\n          gives no reason\n").count(),
        2,
        "{inspected}"
    );
    let reviewed = plugin(&home, &["add", "./weather.wasm"]).expect(4).stderr;
    assert_eq!(
        reviewed.matches("\n    it       gives no reason\n").count(),
        2,
        "{reviewed}"
    );
}

#[test]
fn a_tool_whose_word_was_approved_is_called_again_after_a_crash() {
    let (seen, calls) = killed_in_a_call(&[]);
    assert_eq!((refusal(&seen), calls), (None, 2), "{seen}");
    assert!(seen.to_string().contains("sunny"), "{seen}");
    let (seen, calls) = killed_in_a_call(&["--no-hints"]);
    assert_eq!((refusal(&seen).as_deref(), calls), (Some("interrupted"), 1), "{seen}");
}

#[test]
fn screens() {
    let home = home();
    set_secret(&home);
    let wants = "[[wants]]\ngrant = \"secret\"\nreason = \"Has a key.\"\n\
                 [[wants]]\ngrant = \"net:GET@api.example.org\"\nreason = \"Asks for the \\u001b[31mforecast.\"\n\
                 [[wants]]\ngrant = \"fs\"\nreason = \"granted   --yes\"\n";
    let file = wanting(
        &home,
        &guests::built("probe-tool"),
        "weather.wasm",
        &format!("{}{wants}", manifest("0.1.0", &["blackboard:weather"])),
    );
    let line = [
        "add",
        "./weather.wasm",
        "--own",
        "net:GET@api.example.org",
        "--allow",
        "blackboard:weather",
        "--own",
        "secret:weather@api.example.org",
    ];
    let asked = plugin(&home, &line).expect(4);
    same(&home, "plugin-add", &asked.stderr);
    add(&home, &file, &line[2..]);
    home.write("papers/a.txt", "");
    let reader = guests::plugin("files");
    add(&home, &reader, &["--name", "reader", "--allow", "fs:./papers"]);
    fs::write(
        home.path().join("plugins/other.wasm"),
        fs::read(guests::built("pure-echo")).unwrap(),
    )
    .unwrap();
    let wider = manifest("0.2.0", &["net", "blackboard:weather"]);
    let wider = wanting(&home, &guests::built("probe-tool"), "changed/weather.wasm", &wider);
    fs::copy(wider, in_home(&home)).unwrap();
    same(&home, "plugin-list", &plugin(&home, &["list"]).expect(0).stdout);
    same(
        &home,
        "plugin-refused",
        &run(&home, &[], &open("mine")).expect(4).stderr,
    );
    let path = in_home(&home).display().to_string();
    same(
        &home,
        "plugin-changed",
        &plugin(&home, &["add", &path]).expect(4).stderr,
    );
    let reviewed = plugin(&home, &["add", reader.to_str().unwrap(), "--name", "files-2"]).expect(4);
    same(&home, "plugin-hints", &reviewed.stderr);
    for command in ["add", "allow", "list", "remove"] {
        let help = plugin(&home, &[command, "--help"]).expect(0);
        same(&home, &format!("help-plugin-{command}"), &help.stdout);
    }
}

/// Compares with the snapshot of this name; what differs from run to run is put aside.
fn same(home: &Home, name: &str, screen: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let escaped = |path: &Path| path.display().to_string().replace('.', "\\.");
    let target = hermes_tests::host::target();
    for (path, shown) in [
        (home.path(), "HOME"),
        (home.path().canonicalize().unwrap(), "HOME"),
        (home.work().canonicalize().unwrap(), "WORK"),
        (target, "TARGET"),
    ] {
        settings.add_filter(&escaped(&path), shown);
    }
    for (pattern, shown) in [
        (r"\b[0-9a-f]{64}\b", "DIGEST"),
        (r"\b[0-9a-f]{12}\b", "DIGESTSHORT0"),
        (r"\b\d+(\.\d)? (B|KiB|MiB)\b", "SIZE"),
        (r"getting ready; .*\n", ""),
    ] {
        settings.add_filter(pattern, shown);
    }
    settings.bind(|| insta::assert_snapshot!(name, screen));
}
