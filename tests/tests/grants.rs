//! Deny by default: a right that was not granted is a value for the guest, and names the flag for the person.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use hermes_tests::child::ChildSpec;
use hermes_tests::host::binary;
use hermes_tests::model::{Format, ModelServer, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::{Home, guests};
use serde_json::{Value, json};

fn question() -> Value {
    json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] })
}

/// What one step sees in a run with these arguments.
fn seen(step: &Value, arguments: &[&str]) -> Value {
    let server = ModelServer::start([Turn::text("hello")]);
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "dendrites\n");
    home.host()
        .args(arguments)
        .probe(&json!({ "steps": [step] }))
        .output()
        .expect(0)
        .seen()
        .remove(0)
}

fn names(seen: &Value) -> Vec<String> {
    let tools = seen["ok"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_root_has_its_model_its_blackboard_and_no_more() {
    assert_eq!(refusal(&seen(&question(), &[])), None);
    let open = json!({ "do": "open", "name": "notes" });
    assert_eq!(refusal(&seen(&open, &[])), None);
    let tools = names(&seen(&json!({ "do": "list-tools" }), &[]));
    assert_eq!(
        tools,
        ["run_script"],
        "no folder and no host are granted, so no tool that needs one is there"
    );
}

#[test]
fn what_is_taken_away_is_denied() {
    for (default, step) in [
        ("llm", question()),
        ("blackboard", json!({ "do": "open", "name": "notes" })),
        (
            "lessons",
            json!({ "do": "recall", "layer": "Task", "query": "x", "limit": 1 }),
        ),
    ] {
        let seen = seen(&step, &["--deny", default]);
        assert_eq!(refusal(&seen).as_deref(), Some("denied"), "{default}: {seen}");
        assert!(message(&seen).contains(default), "{seen}");
    }
}

#[test]
fn a_folder_brings_the_tools_for_it() {
    let mut tools = names(&seen(&json!({ "do": "list-tools" }), &["--allow", "fs:./papers"]));
    tools.sort();
    assert_eq!(tools, ["list_files", "read_file", "run_script", "search_files"]);
    let tools = names(&seen(&json!({ "do": "list-tools" }), &["--allow", "net:example.org"]));
    assert_eq!(tools, ["fetch_page", "run_script"]);
}

#[test]
fn a_run_that_ends_for_want_of_a_right() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let failure = json!({ "kind": "Denied", "message": "I need a model.", "retry_after_ms": null });
    let program = json!({ "steps": [question()], "fail": failure });
    let output = home.host().args(["--deny", "llm"]).probe(&program).output().expect(4);
    assert_eq!(output.json()["error"]["kind"], "denied");
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_tool_without_its_folder_names_the_flag() {
    let home = Home::new();
    let line = ["call", "files", "list_files", r#"{"path":"/papers"}"#];
    let output = home.host().args(line).output().expect(4);
    let page = "denied: once\n  files may not use any folder\n    --allow fs:DIR\n";
    assert!(output.stderr.ends_with(page), "{}", output.stderr);
    let json = home
        .host()
        .args(line)
        .args(["--output", "json"])
        .output()
        .expect(4)
        .json();
    assert_eq!(json["denied"][0]["flags"], json!(["--allow fs:DIR"]), "{json}");
    home.write("papers/a.txt", "dendrites\n");
    let output = home
        .host()
        .args(line)
        .args(["--allow", "fs:./papers"])
        .output()
        .expect(0);
    assert!(output.stdout.contains("a.txt"), "{}", output.stdout);
}

#[test]
fn a_local_address_is_told_as_one_beside_its_flag() {
    let home = Home::new();
    let call = |url: &str, allow: &[&str]| {
        let arguments = json!({ "url": url }).to_string();
        let allow = allow.iter().flat_map(|grant| ["--allow", *grant]);
        let host = home.host().args(["call", "web", "fetch_page", &arguments]);
        host.args(allow).output().expect(4)
    };
    let this = "it is an address of this machine itself";
    let link = "it is a link-local address, as clouds have for a machine's metadata and keys";
    for (url, allow, right, is) in [
        (
            "http://169.254.169.254/",
            &["net:*"][..],
            "net:GET@http://169.254.169.254",
            link,
        ),
        ("https://127.0.0.1/", &["net:*"], "net:GET@127.0.0.1", this),
        ("https://localhost/", &["net:*"], "net:GET@localhost", this),
        (
            "https://10.0.0.1/",
            &["net:x.example"],
            "net:GET@10.0.0.1",
            "it is a private address",
        ),
    ] {
        let output = call(url, allow);
        let page = format!("denied: once\n  web may not send GET {url}\n    --allow {right}   ({is})\n");
        assert!(output.stderr.ends_with(&page), "{}", output.stderr);
        assert!(!output.stderr.contains("the operator was told"), "{}", output.stderr);
    }
}

#[test]
fn a_denial_without_a_flag_says_why() {
    let home = Home::new();
    home.write("papers/a.txt", "dendrites\n");
    let secret = home.write("secret.txt", "s\n");
    symlink(&secret, home.work().join("papers/link")).unwrap();
    let line = [
        "call",
        "files",
        "read_file",
        r#"{"path":"/papers/link"}"#,
        "--allow",
        "fs:./papers",
    ];
    let output = home.host().args(line).output().expect(4);
    let page = "denied: once\n  files may not read /papers/link\n    it leads out of the granted folder\n";
    assert!(output.stderr.ends_with(page), "{}", output.stderr);
}

#[test]
fn a_result_that_a_call_cuts_says_by_which_limit() {
    let home = Home::new();
    home.write("papers/a.txt", "dendrites\n".repeat(1000));
    let arguments = r#"{"path":"/papers/a.txt","lines":1000}"#;
    let line = ["call", "files", "read_file", arguments, "--allow", "fs:./papers"];
    let output = home
        .host()
        .set("limits.tool_result", "1KiB")
        .args(line)
        .output()
        .expect(0);
    let why = "the whole text was not kept: a single call keeps none; it is cut by limits.tool_result";
    assert!(
        output.stdout.contains(why) && !output.stdout.contains("full"),
        "{}",
        output.stdout
    );
}

#[test]
fn nothing_outside_the_folder() {
    let home = Home::new();
    home.write("papers/a.txt", "dendrites\n");
    let secret = home.write("secret.txt", "a canary that no tool may read");
    symlink(&secret, home.work().join("papers/link.txt")).unwrap();
    for path in [
        "/secret.txt",
        "/papers/../secret.txt",
        "/papers/link.txt",
        "/etc/passwd",
        secret.to_str().unwrap(),
    ] {
        let arguments = json!({ "path": path }).to_string();
        let output = home
            .host()
            .args(["call", "files", "read_file", &arguments, "--allow", "fs:./papers"])
            .output();
        assert_ne!(output.code, Some(0), "{path}: {output:?}");
        assert!(
            !output.stdout.contains("canary") && !output.stderr.contains("canary"),
            "{path}: {output:?}"
        );
    }
}

#[test]
fn what_the_kernel_shows_as_files_is_no_folder_to_grant() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    symlink("/proc/self", home.work().join("innocent")).unwrap();
    let grant = |folder: &str| home.host().args(["--allow", folder]).probe(&json!({})).output();
    for folder in [
        "fs:/proc",
        "fs:p=/proc/self",
        "fs:./innocent",
        "fs:/sys",
        "fs:/dev:rw",
        "fs:all=/",
    ] {
        grant(folder)
            .expect(2)
            .says(&[folder, "shows processes and devices as files"]);
    }
    for good in ["fs:.", "fs:/usr"] {
        grant(good).expect(0);
    }
}

/// What is granted is recorded as its text, and read again when the run goes on.
#[test]
fn a_grant_that_would_be_read_back_as_another_is_refused() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let host = |arguments: &[&str]| {
        let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
        host.args(arguments).probe(&json!({})).output()
    };
    let words = "HOST is a name or an address";
    // A wide asterisk, which a URL's parser makes the other one of.
    for rule in ["\u{ff0a}", "\u{ff0a}.com", "GET@http://\u{ff0a}:8080", "x.\u{ff0a}"] {
        let grant = format!("net:{rule}");
        host(&["--allow", &grant]).expect(2).says(&[words, &grant]);
        host(&["--own", &format!("probe-tool={grant}")])
            .expect(2)
            .says(&[words]);
        let add = home.host().args(["plugin", "add"]).arg(guests::built("probe-tool"));
        add.args(["--yes", "--allow", &grant]).output().expect(2).says(&[words]);
    }
    host(&["--allow", "secret:x@\u{ff0a}"]).expect(2).says(&[words]);
    let file = home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("allow = [\"net:\u{ff0a}\"]\n{before}")).unwrap();
    host(&[]).expect(2).says(&[words, "config.toml:1"]);
    fs::write(&file, &before).unwrap();
    // Other characters of another alphabet are a name as any other, and shown as it is recorded.
    host(&["--allow", "net:B\u{fc}cher\u{3002}example"]).expect(0);
    let run = home.newest_run();
    let shown = home.host().args(["show", &run, "--grants"]).output().expect(0).stdout;
    assert!(shown.contains("xn--bcher-kva.example"), "{shown}");
}

#[test]
fn a_folder_whose_path_is_no_text_is_given_to_nobody() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let odd = home.work().join("papers").join(OsStr::from_bytes(b"\xff"));
    fs::create_dir_all(&odd).unwrap();
    symlink(&odd, home.work().join("papers/linked")).unwrap();
    let host = |folder: &str, steps: Value| {
        let host = home.host().args(["--allow", folder]);
        host.probe(&json!({ "steps": steps })).output()
    };
    for folder in ["fs:papers/linked", "fs:n=papers/linked:rw"] {
        host(folder, json!([])).expect(2).says(&["its path is no UTF-8 text"]);
    }
    let child = ChildSpec::probe(&json!({})).with("grants", json!(["fs:/papers/linked"]));
    let seen = host("fs:papers", json!([child.spawn()])).expect(0).seen();
    assert_eq!(refusal(&seen[0]).as_deref(), Some("denied"), "{}", seen[0]);
}

#[test]
fn no_plugin_writes_where_the_hosts_own_program_lies() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    for folder in ["bin/below", "links", "other"] {
        fs::create_dir_all(home.work().join(folder)).unwrap();
    }
    fs::copy(binary(), home.work().join("bin/hermes-host")).unwrap();
    symlink("../bin/hermes-host", home.work().join("links/hermes-host")).unwrap();
    let called = |how: &str, folder: &str| {
        let host = home.host().args(["--allow", folder]).probe(&json!({}));
        host.by(&format!("{how} \"$@\"")).output()
    };
    let own = "which is the host's own program";
    let link = "links/hermes-host, by which the host finds what is its own";
    let by_path = "PATH=./links:$PATH; export PATH; exec hermes-host";
    for (how, folder, words) in [
        ("exec ./bin/hermes-host", "fs:./bin:rw", own),
        ("exec ./links/hermes-host", "fs:./bin:rw", own),
        ("exec ./links/hermes-host", "fs:./links:rw", link),
        (by_path, "fs:./bin:rw", own),
        (by_path, "fs:./links:rw", link),
    ] {
        called(how, folder).expect(2).says(&[words, "read-only"]);
    }
    for folder in ["fs:./bin", "fs:./links", "fs:./bin/below:rw", "fs:./other:rw"] {
        called("exec ./links/hermes-host", folder).expect(0);
    }
    // A link to it by which it was not called is one as any other.
    called("exec ./bin/hermes-host", "fs:./links:rw").expect(0);
}

/// A link may have been put there by a plugin that could write, or have come with a stranger's folder.
#[test]
fn a_folder_that_is_granted_by_a_link_is_told_and_by_the_configuration_refused() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("secrets/a.txt", "");
    home.write("plain/a.txt", "");
    symlink("secrets", home.work().join("papers")).unwrap();
    let words = ["it leads to", "work/secrets, by the link", "work/papers"];
    let whole = format!("fs:{}", home.work().join("papers").display());
    let host = |flags: &[&str]| home.host().args(flags).probe(&json!({})).output();
    for grant in ["fs:./papers", "probe=fs:p=./papers/", &whole] {
        host(&["--allow", grant]).expect(0).says(&words);
    }
    let line = [
        "call",
        "files",
        "list_files",
        r#"{"path":"/secrets"}"#,
        "--allow",
        "fs:./papers",
    ];
    home.host().args(line).output().expect(0).says(&words);
    let plain = host(&["--allow", "fs:./plain"]).expect(0);
    assert!(!plain.stderr.contains("leads to"), "{}", plain.stderr);
    let file = home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    let configured = |grant: &str| {
        fs::write(&file, format!("allow = [\"{grant}\"]\n{before}")).unwrap();
        host(&[])
    };
    for grant in ["fs:./papers", &whole] {
        let refused = configured(grant).expect(2).says(&words);
        refused.says(&["name the folder itself", "config.toml:1"]);
    }
    configured("fs:./secrets").expect(0);
}

#[test]
fn folders_of_one_name() {
    let home = Home::new();
    for folder in ["a/papers", "b/papers"] {
        fs::create_dir_all(home.work().join(folder)).unwrap();
    }
    let both = ["--allow", "fs:a/papers", "--allow", "fs:b/papers"];
    let server = ModelServer::start(Vec::new());
    home.configure(&hermes_tests::home::provider(&server, Format::OpenAi));
    home.host()
        .args(both)
        .probe(&json!({}))
        .output()
        .expect(2)
        .says(&["papers"]);
    let named = ["--allow", "fs:a/papers", "--allow", "fs:more=b/papers"];
    home.host().args(named).probe(&json!({})).output().expect(0);
}

#[test]
fn two_tools_of_one_name() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let (probe, pure) = (guests::built("probe-tool"), guests::built("pure-echo"));
    let host = home.host().arg("--tool").arg(&probe).arg("--tool").arg(&pure);
    host.probe(&json!({}))
        .output()
        .expect(2)
        .says(&["echo", "probe-tool", "pure-echo"]);
    let prefixed = format!("pure={}", pure.display());
    let host = home.host().arg("--tool").arg(&probe).args(["--tool", &prefixed]);
    let call = json!({ "do": "call", "name": "pure_echo", "arguments": { "text": "x" } });
    let seen = host.probe(&json!({ "steps": [call] })).output().expect(0).seen();
    assert_eq!(seen[0]["ok"]["output"]["content"][0]["Text"], "x");
}

#[test]
fn a_tool_opens_only_what_it_was_given() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let inner =
        json!({ "steps": [{ "do": "open", "name": "notes" }, { "do": "open", "name": "nowhere" }, question()] });
    let call = json!({ "do": "call", "name": "probe", "arguments": inner });
    let open = json!({ "do": "open", "name": "notes" });
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    let seen = host.probe(&json!({ "steps": [open, call] })).output().expect(0).seen();
    let inner = &hermes_tests::output::in_call(&seen[1]);
    for seen in inner {
        assert_eq!(refusal(seen).as_deref(), Some("denied"), "{seen}");
    }
    let words = |seen: &Value, name: &str| message(seen).replace(name, "NAME");
    assert_eq!(
        words(&inner[0], "notes"),
        words(&inner[1], "nowhere"),
        "the same words whether or not it exists"
    );
}

#[test]
fn a_tools_own_space_is_the_home_folders_whatever_its_caller_calls_so() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let open = json!({ "do": "open", "name": "mine" });
    let put = json!({ "do": "put", "space": 0, "key": "k", "value": "from the tool" });
    let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": [open, put] } });
    let get = json!({ "do": "get", "space": 0, "key": "k" });
    let program = json!({ "steps": [open, call, get] });
    let own = |grant: &str| {
        let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
        host.args(["--own", grant]).probe(&program).output()
    };
    let seen = own("probe-tool=blackboard:mine").expect(0).seen();
    assert_eq!(seen[2]["ok"], Value::Null, "the root's is its run's: {}", seen[2]);
    let kept = home.host().args(["blackboard", "get", "mine", "k"]).output().expect(0);
    assert_eq!(kept.stdout.trim(), "from the tool");
    for (grant, words) in [
        ("blackboard:mine", "TOOL=GRANT"),
        ("probe-tool=fs:.", "never a tool's own"),
        ("probe-tool=terminal:sh", "no terminal"),
    ] {
        own(grant).expect(2).says(&[words]);
    }
    own("prob-tool=blackboard:mine").expect(0).says(&[
        "--own prob-tool=blackboard:mine is for nobody",
        "did you mean probe-tool?",
    ]);
}

#[test]
fn a_call_tells_of_a_grant_for_a_plugin_that_it_has_not() {
    let home = Home::new();
    home.write("papers/a.txt", "dendrites\n");
    let line = ["call", "files", "list_files", r#"{"path":"/papers"}"#];
    let host = home.host().args(line).args(["--allow", "fs:./papers"]);
    let output = host.args(["--allow", "file=fs:./papers"]).output().expect(0);
    output.says(&["--allow file=fs:./papers is for nobody", "did you mean files?"]);
    let host = home.host().args(line).args(["--allow", "fs:./papers", "--quiet"]);
    let output = host.args(["--allow", "file=fs:./papers"]).output().expect(0);
    assert_eq!(output.stderr.matches("is for nobody").count(), 1, "{}", output.stderr);
}

#[test]
fn what_nobody_has_by_default_is_not_denied_but_left_out() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let denied = |what: &str| {
        let host = home.host().args(["--deny", what]);
        host.probe(&json!({ "steps": [] })).output()
    };
    denied("llm,lessons").expect(0);
    for kind in ["fs", "net", "secret"] {
        let words = format!("nobody has {kind} but by a grant: leave it out of --allow");
        denied(kind)
            .expect(2)
            .says(&["what can be denied is llm, blackboard, delegation, lessons", &words]);
    }
    let unknown = denied("moon").expect(2).says(&["what can be denied is llm"]);
    assert!(!unknown.stderr.contains("but by a grant"), "{}", unknown.stderr);
}

#[test]
fn a_flag_that_does_nothing_is_told_of_a_quiet_run_too() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "dendrites\n");
    for flags in [&["--quiet"][..], &[]] {
        let host = home.host().args(flags).args(["--allow", "file=fs:./papers"]);
        let output = host.probe(&json!({ "steps": [] })).output().expect(0);
        let told = output.stderr.matches("--allow file=fs:./papers is for nobody").count();
        assert_eq!(told, 1, "{flags:?}: {}", output.stderr);
    }
}

#[test]
fn a_folder_that_nobody_may_write_is_told_as_one() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "dendrites\n");
    let told = "--allow fs:./papers:rw lets nobody write";
    let allow = ["--allow", "fs:./papers:rw"];
    let program = json!({ "steps": [{ "do": "list-tools" }] });
    let output = home.host().args(allow).probe(&program).output().expect(0);
    assert!(output.stderr.contains(told), "{}", output.stderr);
    let run = home.newest_run();
    let grants = |run: &str| home.host().args(["show", run, "--grants"]).output().expect(0).stdout;
    let shown = grants(&run);
    assert!(
        shown.contains("/papers, to read, as none of its tools asks to write"),
        "{shown}"
    );
    assert!(!shown.contains("to read and write, by its tools"), "{shown}");
    let line = ["call", "files", "list_files", r#"{"path":"/papers"}"#];
    let output = home.host().args(line).args(allow).output().expect(0);
    assert!(output.stderr.contains(told), "{}", output.stderr);
    // The tests' tool has no manifest, and may write.
    let host = home.host().args(allow).arg("--tool").arg(guests::built("probe-tool"));
    let output = host.probe(&program).output().expect(0);
    assert!(!output.stderr.contains("lets nobody write"), "{}", output.stderr);
    let shown = grants(&home.newest_run());
    assert!(
        shown.contains("/papers, to read and write, by its tools alone"),
        "{shown}"
    );
}

#[test]
fn that_a_folder_has_no_quota_is_told_wherever_it_was_granted() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "dendrites\n");
    fs::copy(guests::built("probe-tool"), home.work().join("weather.wasm")).unwrap();
    let times = |output: &hermes_tests::Output| {
        let papers = home.work().canonicalize().unwrap().join("papers");
        let told = "tools may change or delete all that is in a folder, write what may be run as you, and fill the disk, \
                    as only the size of one file is bounded";
        let told = format!("{told} there (limits.file_size): {}\n", papers.display());
        output.stderr.matches(&told).count()
    };
    let ran = |tool: &str, arguments: &[&str]| {
        let host = home.host().args(arguments).args(["--tool", tool]);
        times(&host.probe(&json!({ "steps": [] })).output().expect(0))
    };
    let called = |arguments: &[&str]| {
        let host = home.host().args(["call", "./weather.wasm", "echo", r#"{"text":"x"}"#]);
        let output = host.args(arguments).output().expect(0);
        assert_eq!(output.stdout.trim_end(), "x", "it is told beside the answer");
        times(&output)
    };
    let (reads, writes) = (["--allow", "fs:./papers"], ["--allow", "fs:./papers:rw"]);
    assert_eq!((ran("./weather.wasm", &writes), called(&writes)), (1, 1));
    assert_eq!((ran("./weather.wasm", &reads), called(&reads)), (0, 0));
    for flag in [&["--quiet"][..], &["-q"]] {
        let quiet = [flag, &writes[..]].concat();
        assert_eq!((ran("./weather.wasm", &quiet), called(&quiet)), (0, 0));
    }
    let file = home.path().join("host/config.toml");
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("allow = [\"fs:./papers:rw\"]\n{before}")).unwrap();
    assert_eq!((ran("./weather.wasm", &[]), called(&[])), (1, 1));
    fs::write(&file, &before).unwrap();
    let add = ["plugin", "add", "./weather.wasm", "--yes"];
    home.host().args(add).args(writes).output().expect(0);
    // The tool has it by its approval, and writes where its agent may too.
    assert_eq!(ran("weather", &[]), 0);
    assert_eq!(ran("weather", &["--allow", "probe=fs:./papers:rw"]), 1);
}

#[test]
fn grants_are_given_by_the_files_name_whatever_a_plugin_calls_itself() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let echo = fs::read(guests::built("pure-echo")).unwrap();
    home.write("other.wasm", &echo);
    home.write("probe.wasm", &echo);
    home.write("web.wasm", &echo);
    let json = home.host().args(["inspect", "./other.wasm", "--output", "json"]);
    assert_eq!(json.output().expect(0).json()["name"], "other");
    let with = |tools: &[&str]| {
        let tools = tools.iter().flat_map(|tool| ["--tool", tool]);
        let host = tools.fold(home.host(), hermes_tests::Host::arg);
        host.probe(&json!({ "steps": [] })).output()
    };
    with(&["./probe.wasm"])
        .expect(2)
        .says(&["both called probe", "./probe.wasm"]);
    with(&["./web.wasm"])
        .expect(0)
        .says(&["web is", "web.wasm here, not the built-in one"]);
    // One plugin twice is one plugin.
    with(&["a=./other.wasm", "b=./other.wasm"]).expect(0);
}

#[test]
fn a_tool_that_is_called_by_itself_has_no_run_to_use() {
    let home = Home::new();
    let call = |step: Value, grant: &str| {
        let arguments = json!({ "steps": [step] }).to_string();
        let host = home.host().arg("call").arg(guests::built("probe-tool"));
        let output = host
            .args(["probe", &arguments, "--allow", grant, "--output", "json"])
            .output();
        let json = output.expect(0).json();
        json["structured"]["seen"][0].clone()
    };
    let open = call(json!({ "do": "open", "name": "notes" }), "blackboard:notes");
    let asked = call(question(), "llm");
    for seen in [open, asked] {
        assert_eq!(refusal(&seen).as_deref(), Some("denied"), "{seen}");
        assert!(message(&seen).contains("called by itself"), "{seen}");
    }
    let big = json!({ "n": 200_000 }).to_string();
    let host = home
        .host()
        .arg("call")
        .arg(guests::built("probe-tool"))
        .args(["big", &big]);
    assert_eq!(
        host.output().expect(0).stdout.trim_end(),
        "x".repeat(200_000),
        "whole, as it was said"
    );
}
