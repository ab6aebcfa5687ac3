//! Secrets: set by the operator, put by the host into the requests that he granted them to, and found nowhere else.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::clean::html;
use hermes_tests::home::{KEY, KEY_VARIABLE};
use hermes_tests::interrupted::{resumed, stopped};
use hermes_tests::model::{Delivery, Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{in_call, message, refusal};
use hermes_tests::program::{ask, said, steps};
use hermes_tests::site::{Asked, Site, answer, authority, moved, ok};
use hermes_tests::terminal::Terminal;
use hermes_tests::{Home, Host, Output, guests, well};
use rustix::process::Signal;
use serde_json::{Value, json};

/// 32 random characters that may be found nowhere but at the host that they are for, and in the file of secrets.
const CANARY: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
/// What stands in their place.
const HIDDEN: &str = "[secret x]";

/// The canary as a program may hold it.
fn marked(deep: usize) -> String {
    with_mark(CANARY, deep)
}

/// What a program may hold of a text: nobody finds it, and the probe takes the marks out. `deep` is how many probes hand it on.
fn with_mark(text: &str, deep: usize) -> String {
    let (a, b) = text.split_at(16);
    a.to_owned() + &"⧺".repeat(1 << deep) + b
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The part of `text` in base64, behind so many other bytes, that hangs on nothing else.
fn base64(text: &str, behind: usize, last: &[u8; 2]) -> String {
    let symbol = |six: u32| match six {
        0..26 => b'A' + six as u8,
        26..52 => b'a' + six as u8 - 26,
        52..62 => b'0' + six as u8 - 52,
        _ => last[six as usize - 62],
    };
    let bytes: Vec<u8> = [&b"<<"[..behind], text.as_bytes(), b">>>"].concat();
    let groups = bytes.chunks_exact(3).flat_map(|group| {
        let number = group.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        (0..4).map(move |place| number >> (18 - 6 * place) & 63)
    });
    let whole: String = groups.map(|six| char::from(symbol(six))).collect();
    whole[(behind * 8).div_ceil(6)..(behind + text.len()) * 8 / 6].to_owned()
}

/// The canary in every form in which it is looked for.
fn forms() -> Vec<String> {
    let each = |before: &str| {
        CANARY
            .bytes()
            .map(|byte| format!("{before}{byte:02x}"))
            .collect::<String>()
    };
    let mut forms = vec![
        CANARY.to_owned(),
        hex(CANARY),
        hex(CANARY).to_uppercase(),
        each("%"),
        each("\\u00"),
    ];
    for last in [b"+/", b"-_"] {
        forms.extend((0..3).map(|behind| base64(CANARY, behind, last)));
    }
    forms
}

/// Panics where the canary stands in these bytes, in whichever form.
#[track_caller]
fn assert_without_canary(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lower = text.to_lowercase();
    for form in forms() {
        // Case means something in some forms, and nothing to who looks for it.
        let found = text.contains(&form) || lower.contains(&form.to_lowercase());
        assert!(!found, "{what} holds {form}: {}", &text[..text.len().min(2000)]);
    }
}

/// Panics where the canary stands in what a command printed, or in a file of the home but that of secrets.
#[track_caller]
fn assert_kept(home: &Home, outputs: &[&Output]) {
    for output in outputs {
        assert_without_canary("standard output", output.stdout.as_bytes());
        assert_without_canary("standard error", output.stderr.as_bytes());
    }
    for (path, bytes) in home.files() {
        if !path.ends_with("host/secrets.json") {
            assert_without_canary(&path.display().to_string(), &bytes);
        }
    }
}

/// Panics unless the host is well, and the canary, where it is this home's secret, stands in nothing that any command printed.
#[track_caller]
fn is_well(home: &Home) {
    well::is_well(home);
    if home.path().join("host/secrets.json").exists() {
        let printed = home.printed();
        let outputs: Vec<&Output> = printed.iter().map(|(_, output)| output).collect();
        assert_kept(home, &outputs);
    }
}

fn home(script: impl Into<Script>) -> (ModelServer, Home) {
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    (server, home)
}

/// A file beside the home, where no check looks.
fn file_of(home: &Home, text: &str) -> PathBuf {
    let file = home.path().parent().unwrap().join("value");
    fs::write(&file, text).unwrap();
    file
}

/// `secret set` with this value on standard input.
fn set(home: &Home, name: &str, value: &str, arguments: &[&str]) -> Output {
    let file = file_of(home, value);
    let host = home.host().args(["secret", "set", name]).args(arguments);
    let output = host.reads(&file).output();
    fs::remove_file(file).unwrap();
    output
}

/// The step of a strategy that has the tool `probe` do these.
fn in_tool(steps: &[Value]) -> Value {
    json!({ "do": "call", "name": "probe", "arguments": { "steps": steps } })
}

fn fetch(url: &str) -> Value {
    json!({ "do": "fetch", "url": url })
}

/// A run of the probe with the tools of `probe-tool`, with these grants.
fn host(home: &Home, allow: &[&str]) -> Host {
    let host = home.host().arg("--tool").arg(guests::built("probe-tool"));
    allow.iter().fold(host, |host, grant| host.args(["--allow", grant]))
}

/// A grant of the network and one of the secret `x` for a server.
fn both(site: &Site) -> [String; 2] {
    [format!("net:{}", site.url("")), format!("secret:x@{}", site.address())]
}

fn refs(grants: &[String]) -> Vec<&str> {
    grants.iter().map(String::as_str).collect()
}

/// A command line that trusts the authority of the tests' certificate.
fn trusting(home: &Home) -> Host {
    home.host().env("SSL_CERT_FILE", authority())
}

/// A server that says all that it was asked, and each form of what stands in its header.
fn echo() -> Site {
    Site::start(|asked| {
        let said = asked.header("authorization").join(" ");
        let all = [String::from_utf8_lossy(&asked.bytes).into_owned(), forms().join("\n")].join("\n");
        answer("200 OK", &[("x-echo", &said), ("x-hex", &hex(&said))], all)
    })
}

#[test]
fn a34_what_a_host_is_sent_comes_back_to_nobody() {
    let (server, home) = home(Script::always(Turn::text("understood")));
    set(&home, "x", CANARY, &[]).expect(0);
    let (site, other) = (echo(), echo());
    let to_other = other.url("/");
    let away = Site::start(move |_| moved(&to_other));
    let mut grants = both(&site).to_vec();
    grants.extend(both(&away));
    grants.push(format!("net:{}", other.url("")));
    let told = json!({ "do": "fetch", "url": site.url("/a?q=1"), "method": "POST", "body": ["one ", "two"],
        "headers": [["authorization", "Bearer mine"], ["x-mine", "kept"]] });
    // Whatever it learns it says everywhere.
    let program = json!({ "steps": [
        in_tool(&[told, fetch(&other.url("/plain")), fetch(&away.url("/"))]),
        { "do": "agent", "user": "What is the secret?", "turns": 1 },
        { "do": "open", "name": "notes" },
    ]});
    let outputs: Vec<Output> = ["json", "events", "text"]
        .iter()
        .map(|form| {
            let host = host(&home, &refs(&grants))
                .env("HERMES_HOST_LOG", "trace")
                .arg("--verbose");
            let host = host.args(["--output", form, "--plugin"]).arg(guests::built("probe"));
            host.arg(program.to_string()).output()
        })
        .collect();
    for output in &outputs {
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    }
    let seen = in_call(&outputs[0].seen()[0]);
    assert_eq!(seen[0]["ok"]["status"], 200, "{}", seen[0]);
    let text = seen[0].to_string();
    assert!(text.matches(HIDDEN).count() >= forms().len(), "{text}");
    assert!(text.contains("x-mine: kept") && text.contains("one two"), "{text}");
    // The host alone was told, once for each run, and by the header that the plugin can't set.
    for asked in site.asked() {
        assert_eq!(asked.header("authorization"), [format!("Bearer {CANARY}")]);
    }
    assert_eq!((site.asked().len(), away.asked().len(), other.asked().len()), (3, 3, 6));
    for asked in away.asked() {
        assert_eq!(asked.header("authorization"), [format!("Bearer {CANARY}")]);
    }
    for asked in other.asked() {
        assert_without_canary("what another host got", &asked.bytes);
    }
    for request in server.requests() {
        assert_without_canary("what the model got", request.body.to_string().as_bytes());
    }
    let run = home.newest_run();
    let read = |arguments: &[&str]| home.host().args(arguments).output().expect(0);
    let shown = [
        read(&["show", &run, "--output", "json"]),
        read(&["show", &run]),
        read(&["export", &run]),
        read(&["export", &run, "--form", "provider"]),
        read(&["secret", "list"]),
        read(&["secret", "list", "--output", "json"]),
        home.host().args(["doctor", "--output", "json"]).output(),
        read(&["config", "show"]),
    ];
    let all: Vec<&Output> = outputs.iter().chain(&shown).collect();
    assert_kept(&home, &all);
    read(&["export", &run, "--run-file", "run.jsonl"]);
    assert_without_canary("the run file", &fs::read(home.work().join("run.jsonl")).unwrap());
    home.host().args(["backup", "copy"]).output().expect(0);
    assert!(
        !home.work().join("copy/secrets.json").exists(),
        "a backup leaves secrets out"
    );
    is_well(&home);
}

#[test]
fn a34_what_a_server_tells_byte_by_byte_is_found() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let site = Site::start(|_| {
        let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
        for byte in forms().join(" \n").bytes() {
            out.extend([b"1\r\n", &[byte][..], b"\r\n"].concat());
        }
        out.extend(b"0\r\n\r\n");
        out
    });
    let output = call(&home, &site, &[fetch(&site.url("/"))], &[]).expect(0);
    let body = called(&output)[0]["ok"]["body"].as_str().unwrap().to_owned();
    assert_eq!(body, vec![HIDDEN; forms().len()].join(" \n"));
    assert_kept(&home, &[&output]);
    is_well(&home);
}

#[test]
fn a34_a_form_that_is_broken_into_lines_is_found_on_either_way() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    // The canary itself has no lines.
    let broken = |end: &str| -> Vec<String> {
        let lines = |form: &String| {
            let lines = form.as_bytes().chunks(16).map(String::from_utf8_lossy);
            lines.collect::<Vec<_>>().join(end)
        };
        forms()[1..].iter().map(lines).collect()
    };
    for end in ["\n", "\r\n", "\r"] {
        let body: String = broken(end).iter().map(|form| format!("<{form}>")).collect();
        let site = Site::start(move |_| ok(&body));
        let said = broken(&format!("⧺{end}"));
        let post = |body: &String| json!({ "do": "fetch", "url": site.url("/"), "method": "POST", "body": [body] });
        let mut steps = vec![fetch(&site.url("/"))];
        steps.extend(said.iter().map(post));
        let output = call(&home, &site, &steps, &[]).expect(0);
        let seen = called(&output);
        assert_eq!(
            seen[0]["ok"]["body"],
            format!("<{HIDDEN}>").repeat(said.len()),
            "{end:?}"
        );
        for (form, seen) in said.iter().zip(&seen[1..]) {
            assert!(message(seen).contains("HttpRequestDenied"), "{form:?}: {seen}");
        }
        assert_eq!((seen.len(), site.asked().len()), (said.len() + 1, 1), "{end:?}");
    }
    is_well(&home);
}

/// `call probe-tool probe` with these steps, and what both grants for a server allow.
fn call(home: &Home, site: &Site, steps: &[Value], more: &[&str]) -> Output {
    call_by(home.host(), site, steps, more)
}

/// The same by a host of its own.
fn call_by(host: Host, site: &Site, steps: &[Value], more: &[&str]) -> Output {
    let arguments = json!({ "steps": steps }).to_string();
    let host = host.arg("call").arg(guests::built("probe-tool"));
    let host = host.args(["probe", &arguments, "--output", "json"]).args(more);
    let host = both(site)
        .iter()
        .fold(host, |host, grant| host.args(["--allow", grant]));
    host.output()
}

/// What the steps of such a call saw.
#[track_caller]
fn called(output: &Output) -> Vec<Value> {
    output.json()["structured"]["seen"].as_array().unwrap().clone()
}

/// The same with a mark in the midst of each form of the canary, which the probe takes out.
fn with_marks(step: &Value) -> Value {
    match step {
        Value::String(text) => {
            let marked = forms().iter().fold(text.clone(), |text, form| {
                let (a, b) = form.split_at(form.len() / 2);
                text.replace(form, &format!("{a}⧺{b}"))
            });
            marked.into()
        }
        Value::Array(items) => items.iter().map(with_marks).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), with_marks(value)))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn a34_escapes_of_html_hide_a_secret_in_neither_direction() {
    const SIGNS: &str = "Kq7z<T0p&W4n\"Xv9'Ls>B2mYc6RdG8h";
    let home = Home::new();
    set(&home, "x", SIGNS, &[]).expect(0);
    // A page that shows what it was sent, in the way that is asked for.
    let site = Site::start(|asked| {
        let way: usize = asked.path[1..].parse().unwrap();
        ok(&html(&asked.header("authorization").join(""))[way])
    });
    let pages: Vec<Value> = (0..5).map(|way| fetch(&site.url(&format!("/{way}")))).collect();
    let shown = call(&home, &site, &pages, &[]).expect(0);
    for seen in called(&shown) {
        assert_eq!(seen["ok"]["body"], format!("Bearer {HIDDEN}"), "{seen}");
    }
    for asked in site.asked() {
        assert_eq!(asked.header("authorization"), [format!("Bearer {SIGNS}")]);
    }
    // A plugin that knows it.
    let posts = html(SIGNS).map(|form| {
        let (a, b) = form.split_at(form.len() / 2);
        json!({ "do": "fetch", "url": site.url("/0"), "method": "POST", "body": [format!("{a}⧺{b}")] })
    });
    let sent = call(&home, &site, &posts, &[]).expect(0);
    for (post, seen) in posts.iter().zip(called(&sent)) {
        assert!(message(&seen).contains("HttpRequestDenied"), "{post}: {seen}");
    }
    assert_eq!(site.asked().len(), pages.len(), "nothing more was sent");
    let sent = sent.says(&["may not hand on the secret x"]);
    for form in html(SIGNS) {
        for output in [&shown, &sent] {
            assert!(
                !output.stdout.contains(&form) && !output.stderr.contains(&form),
                "{output:?}"
            );
        }
    }
    is_well(&home);
}

#[test]
fn a34_of_a_body_that_is_cut_no_part_of_a_secret_is_left() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    for form in [CANARY.to_owned(), hex(CANARY)] {
        for cut in [4, 20, form.len() - 1] {
            let (form, before) = (form.clone(), "1".repeat(1024 - cut));
            let body = before.clone() + &form + "more";
            let site = Site::start(move |_| ok(&body));
            let limit = ["--set", "limits.http.body=1KiB"];
            let output = call(&home, &site, &[fetch(&site.url("/"))], &limit).expect(0);
            let seen = called(&output)[0]["ok"].clone();
            // The placeholder is whole, or there is no room for it.
            let placeholder = if cut < "[secret x]".len() { "" } else { "[secret x]" };
            assert_eq!(
                (&seen["body"], &seen["whole"]),
                (&json!(before + placeholder), &json!(false)),
                "{cut}"
            );
        }
    }
    is_well(&home);
}

/// A server that guesses would read out a secret digit by digit, if a beginning that is right were cut off and one that is wrong were not.
#[test]
fn a34_a_beginning_at_the_cut_is_left_as_it_is() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    for form in [CANARY.to_owned(), hex(CANARY)] {
        for right in [1, 4, 20, form.len() - 1] {
            let guess = "1".repeat(1024 - right) + &form[..right];
            let body = guess.clone() + &"-".repeat(4096);
            let site = Site::start(move |_| ok(&body));
            let limit = ["--set", "limits.http.body=1KiB"];
            let output = call(&home, &site, &[fetch(&site.url("/"))], &limit).expect(0);
            let seen = called(&output)[0]["ok"].clone();
            assert_eq!(
                (&seen["body"], &seen["whole"]),
                (&json!(guess), &json!(false)),
                "{right}"
            );
        }
    }
    is_well(&home);
}

#[test]
fn a34_a_plugin_that_knows_a_secret_sends_it_nowhere() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let (site, known) = (echo(), marked(0));
    let (a, b) = CANARY.split_at(16);
    let to = |path: &str| site.url(path);
    let post = |body: Value| json!({ "do": "fetch", "url": to("/"), "method": "POST", "body": body });
    let header = |name: &str, value: &str| json!({ "do": "fetch", "url": to("/"), "headers": [[name, value]] });
    let method = |method: &str| json!({ "do": "fetch", "url": to("/"), "method": method });
    let port = site.address().port();
    let mut attacks = vec![
        fetch(&to(&format!("/{known}"))),
        fetch(&to(&format!("/?q={known}"))),
        fetch(&to(&format!("/?q={}", hex(CANARY)))),
        fetch(&to(&format!("/%4b{}", &known[1..]))),
        fetch(&format!("http://{known}.x.localhost:{port}/")),
        fetch(&format!(
            "http://{}.{}.x.localhost:{port}/",
            a.to_lowercase(),
            b.to_lowercase()
        )),
        header("x-mine", &format!("k={known}")),
        header("authorization", &format!("Bearer {known}")),
        header("x-mine", &base64(&format!("user:{CANARY}"), 0, b"+/")),
        header(&marked(0), "1"),
        method(&known),
        method(&known.to_uppercase()),
        post(json!([a, b])),
        post(json!(CANARY.chars().map(String::from).collect::<Vec<_>>())),
    ];
    attacks.extend(forms()[1..].iter().map(|form| post(json!([form]))));
    // The arguments of a person's call are searched too.
    let steps: Vec<Value> = attacks.iter().map(with_marks).collect();
    let wild = format!("net:http://*.x.localhost:{port}");
    let output = call(&home, &site, &steps, &["--allow", &wild]).expect(0);
    let json = output.json();
    let seen = json["structured"]["seen"].as_array().unwrap();
    assert_eq!(seen.len(), attacks.len());
    for (attack, seen) in attacks.iter().zip(seen) {
        assert!(message(seen).contains("HttpRequestDenied"), "{attack}: {seen}");
    }
    assert_eq!(site.asked().len(), 0, "nothing was sent");
    output.says(&["may not hand on the secret x"]);
    // What is no secret still passes, and backwards it is none.
    let back: String = CANARY.chars().rev().collect();
    let output = call(&home, &site, &[fetch(&to(&format!("/?q={back}"))), method(&back)], &[]).expect(0);
    for seen in called(&output) {
        assert_eq!(seen["ok"]["status"], 200, "{seen}");
    }
    assert!(site.asked()[1].bytes.starts_with(back.as_bytes()));
    is_well(&home);
}

#[test]
fn a34_a_plugin_that_knows_a_secret_hands_it_to_nobody() {
    let (server, home) = home(Script::always(Turn::text("understood")));
    set(&home, "x", CANARY, &[]).expect(0);
    let (known, inner) = (marked(0), marked(1));
    let user = |text: &str| json!({ "do": "complete", "messages": [{ "User": [{ "Text": text }] }] });
    let put = |key: &str, value: &str| json!({ "do": "put", "space": 0, "key": key, "value": value });
    let child = ChildSpec::probe(&json!({ "summary": "done" }));
    let denied = [
        user(&format!("It is {known}.")),
        json!({ "do": "start", "messages": [{ "System": known }] }),
        user(&hex(CANARY).replacen("4b", "4⧺b", 1)),
        json!({ "do": "call", "name": "echo", "arguments": { "text": known } }),
        json!({ "do": "call", "name": known, "arguments": {} }),
        put("k", &known),
        put(&known, "v"),
        json!({ "do": "append", "space": 0, "prefix": "log/", "value": known }),
        json!({ "do": "get", "space": 0, "key": known }),
        json!({ "do": "delete", "space": 0, "key": known }),
        json!({ "do": "open", "name": known }),
        child.clone().with("prompt", known.clone()).spawn(),
        child.clone().with("role", known.clone()).spawn(),
        child.with("grants", json!([format!("net:{known}.org")])).spawn(),
    ];
    let report = json!({ "outcome": "Achieved", "summary": known, "result_json": json!({ "k": known }).to_string(),
        "artifacts": [known], "open_questions": [known] });
    let (a, b) = CANARY.split_at(16);
    let said = [
        json!({ "do": "log", "level": "Info", "message": format!("It is {known}.") }),
        json!({ "do": "progress", "message": known }),
        json!({ "do": "emit", "text": format!("before {a}") }),
        json!({ "do": "emit", "text": format!("{b} after") }),
        json!({ "do": "checkpoint", "report": report }),
        in_tool(&[
            json!({ "do": "say", "text": inner }),
            json!({ "do": "log", "level": "Warn", "message": inner }),
        ]),
        json!({ "do": "call", "name": "fail", "arguments": { "text": "nothing" } }),
    ];
    let mut steps = vec![json!({ "do": "open", "name": "notes" })];
    // A pending completion is refused where it is waited for.
    steps.extend(denied.iter().cloned());
    steps.push(json!({ "do": "wait", "pending": 0 }));
    steps.extend(said);
    let program = json!({ "steps": steps, "summary": format!("The secret is {known}.") });
    let text = program.to_string();
    assert_without_canary("the program", text.as_bytes());
    let run = |form: &str| {
        let host = host(&home, &[]).args(["--verbose", "--output", form, "--plugin"]);
        host.arg(guests::built("probe")).arg(&text).output()
    };
    let outputs = ["json", "events", "text"].map(run);
    let json = outputs[0].json();
    // Its words are said in the place of what it saw.
    assert_eq!(json["answer"], format!("The secret is {HIDDEN}."), "{json}");
    let seen = json["result"]["seen"].as_array().unwrap();
    for (step, seen) in denied.iter().zip(&seen[1..]) {
        if step["do"] == "start" {
            continue;
        }
        assert_eq!(refusal(seen).as_deref(), Some("denied"), "{step}: {seen}");
        assert!(message(seen).contains("secret x"), "{step}: {seen}");
    }
    let waited = &seen[1 + denied.len()];
    assert_eq!(refusal(waited).as_deref(), Some("denied"), "{waited}");
    let events = outputs[1].stdout.clone();
    assert!(events.contains(&format!("It is {HIDDEN}.")), "{events}");
    assert!(
        events.contains("\"before \"") && events.contains(&format!("\"{HIDDEN} after\"")),
        "{events}"
    );
    let told = in_call(&seen[1 + denied.len() + 1 + 5]);
    assert_eq!(told[0]["ok"], HIDDEN);
    // Each attempt is in the audit, also where something else stands in the secret's place.
    let events = outputs[1].events();
    let told: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event["event"] == "denied")
        .map(|event| (event["plugin"].as_str().unwrap(), event["target"].as_str().unwrap()))
        .collect();
    for attempt in [
        ("probe", "its log"),
        ("probe", "its progress"),
        ("probe", "what it emits"),
        ("probe", "its checkpoint"),
        ("probe", "its report"),
        ("probe-tool", "its log"),
        ("probe-tool", "its result"),
    ] {
        assert_eq!(
            told.iter().filter(|told| **told == attempt).count(),
            1,
            "{attempt:?}: {told:?}"
        );
    }
    assert_eq!(server.requests().len(), 0, "no model was asked");
    let run = home.newest_run();
    let show = home.host().args(["show", &run, "--output", "json"]).output().expect(0);
    let listed = home.host().args(["blackboard", "ls", &format!("{run}/notes")]).output();
    assert_kept(&home, &[&outputs[0], &outputs[1], &outputs[2], &show, &listed]);
    // Words of an error, and a child's report.
    let fail = json!({ "kind": "Upstream", "message": format!("It is {known}."), "retry_after_ms": null });
    let child = ChildSpec::probe(&json!({ "summary": marked(1) }));
    let program = json!({ "steps": [child.spawn(), join(0)], "fail": fail });
    let output = home.host().probe(&program).output().expect(1).says(&[
        "may not hand on the secret x in its error",
        "may not hand on the secret x in its report",
    ]);
    assert!(
        output.json()["error"]["message"].as_str().unwrap().contains(HIDDEN),
        "{}",
        output.stdout
    );
    assert_kept(&home, &[&output]);
    is_well(&home);
}

/// The host reads some JSON that a plugin writes, and writes it again: an escape that was needless hides nothing from it.
#[test]
fn a34_escapes_of_json_hide_no_secret_from_who_reads_and_writes_it() {
    let escaped = |every: usize| {
        let characters = CANARY.chars().enumerate();
        let escaped = characters.map(|(at, c)| match at % every {
            0 => format!("\\u{:04x}", u32::from(c)),
            _ => c.to_string(),
        });
        escaped.collect::<String>()
    };
    // The more of it is escaped, the more is hidden; with the first one alone, the rest is no secret.
    for (format, hidden) in [(Format::OpenAi, escaped(5)), (Format::Anthropic, escaped(100))] {
        let server = ModelServer::start(Script::always(Turn::text("understood")));
        let home = Home::with_model(&server, format);
        set(&home, "x", CANARY, &[]).expect(0);
        let object = format!("{{\"title\":\"{hidden}\"}}");
        let complete = |messages: Value, schema: Option<&str>, own: Option<&str>| {
            let options = json!({ "model": null, "temperature": null, "max_output_tokens": null, "stop": [],
                "tool_choice": null, "response_schema": schema, "provider_options": own });
            json!({ "do": "complete", "messages": messages, "options": options })
        };
        let user = json!({ "User": [{ "Text": "hi" }] });
        let call = json!({ "Assistant": [{ "ToolCall": { "id": "c", "name": "echo", "arguments": object } }] });
        let result = json!({ "Tool": [{ "call_id": "c", "error": null,
            "output": { "content": [{ "Text": "ok" }], "structured_content": null, "meta": null } }] });
        let steps = [
            complete(json!([user]), Some(&object), None),
            complete(json!([user]), None, Some(&object)),
            complete(json!([user, call, result]), None, None),
        ];
        let seen = home.host().probe(&json!({ "steps": steps })).output().expect(0).seen();
        for (step, seen) in steps.iter().zip(&seen) {
            assert_eq!(refusal(seen).as_deref(), Some("denied"), "{step}: {seen}");
            assert!(message(seen).contains("secret x"), "{step}: {seen}");
        }
        assert_eq!(server.requests().len(), 0, "no model was asked");
        let report = json!({ "outcome": "Achieved", "summary": "s", "result_json": object,
            "artifacts": [], "open_questions": [] });
        let fail = json!({ "kind": "Upstream", "message": "no", "retry_after_ms": null });
        let program = json!({ "steps": [{ "do": "checkpoint", "report": report }], "fail": fail });
        let output = home.host().probe(&program).output().expect(1);
        assert_eq!(output.json()["result"]["title"], HIDDEN, "{}", output.stdout);
        home.host()
            .args(["show", &home.newest_run(), "--output", "json"])
            .output()
            .expect(0);
        is_well(&home);
    }
}

#[test]
fn a34_no_part_of_a_secret_is_left_where_a_line_with_many_of_them_is_cut() {
    let (_server, home) = home(Script::always(Turn::text("understood")));
    // So long that without them less is left than is kept of a line.
    let value = CANARY.repeat(3);
    set(&home, "x", &value, &[]).expect(0);
    let known = marked(0).repeat(3);
    let print = |text: &str| json!({ "do": "print", "text": text });
    // Longer than what is looked at, which ends in the midst of one, here and there.
    let cuts = (0..value.len()).step_by(9);
    let lines = cuts.len();
    let steps = cuts.flat_map(|at| {
        let more = json!({ "do": "repeat", "n": 300, "steps": [print(&known)] });
        [print(&"-".repeat(at)), more, print("\n")]
    });
    let many = known.repeat(300);
    let log = json!({ "do": "log", "level": "Info", "message": many });
    let progress = json!({ "do": "progress", "message": many });
    let program = json!({ "steps": steps.chain([log, progress]).collect::<Vec<_>>() });
    let output = host(&home, &[]).probe_events(&program).output().expect(0);
    let events = output.events();
    let told: Vec<&Value> = events
        .iter()
        .filter(|told| told["event"] == "log" || told["event"] == "progress")
        .collect();
    assert_eq!(told.len(), lines + 2, "{}", output.stdout);
    for told in told {
        let message = told["message"].as_str().unwrap();
        assert!(!message.contains(&CANARY[..4]), "{told}");
    }
    assert_kept(&home, &[&output]);
    is_well(&home);
}

/// What a guest sees of its part of the journal: how much of it is used, and how much is left.
fn meters() -> [Value; 2] {
    ["spent", "remaining"].map(|meter| json!({ "do": meter, "dimension": "JournalBytes" }))
}

/// The canary, and another text that differs from it in its first character, in two forms in which secrets are looked for.
fn right_and_wrong() -> [[String; 2]; 2] {
    let unicode = |text: &str| text.bytes().map(|byte| format!("\\u00{byte:02x}")).collect::<String>();
    let wrong = CANARY.replacen('K', "L", 1);
    [[CANARY.to_owned(), wrong.clone()], [unicode(CANARY), unicode(&wrong)]]
}

/// The meters before a guess is emitted, behind it, and behind what follows it.
fn emits(guess: &str) -> Vec<Value> {
    let emit = |text: String| json!({ "do": "emit", "text": text });
    let mut steps = meters().to_vec();
    for text in [format!("~{guess}"), "!!!".to_owned()] {
        steps.push(emit(text));
        steps.extend(meters());
    }
    steps
}

/// What is told of a text that is emitted is told when no secret may go on in it: by how much that costs, a plugin would read out every secret.
#[test]
fn a34_what_is_emitted_costs_as_much_whether_a_guess_is_right() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    let site = echo();
    for [right, wrong] in right_and_wrong() {
        let all: Vec<usize> = (1..right.len()).collect();
        for lengths in all.chunks(64) {
            let program =
                |guess: &str| -> Vec<Value> { lengths.iter().flat_map(|len| emits(&guess[..*len])).collect() };
            let run = |guess: &str| {
                let output = home.host().probe(&steps(&program(guess))).output().expect(0);
                let seen = output.seen();
                assert!(seen[0]["ok"].is_u64() && seen[1]["ok"].is_u64(), "{}", seen[0]);
                (seen, output.spent("journal_bytes"))
            };
            assert_eq!(run(&right), run(&wrong), "{lengths:?}");
            let alone = |guess: &str| called(&call(&home, &site, &program(guess), &[]).expect(0));
            assert_eq!(alone(&right), alone(&wrong), "{lengths:?}");
        }
    }
    is_well(&home);
}

#[test]
fn a34_a_journal_is_full_after_as_many_emits_whether_a_guess_is_right() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    for guess in right_and_wrong().as_flattened() {
        let ended = |n: u64| {
            let emit = json!({ "do": "emit", "text": guess[..20] });
            let program = steps(&[json!({ "do": "repeat", "n": n, "steps": [emit] })]);
            home.host().set("limits.journal_records", 100).probe(&program).output()
        };
        // Each is a record, and so is their end.
        ended(99).expect(0);
        ended(100).expect(3).says(&["100 records (limits.journal_records)"]);
    }
    is_well(&home);
}

#[test]
fn a34_a_resume_comes_to_the_same_whether_a_guess_is_right() {
    let emit = |text: &str| json!({ "do": "emit", "text": text });
    for [right, wrong] in right_and_wrong() {
        let told = |guess: &str| {
            let script = Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("go on"));
            let (server, home) = home(script);
            set(&home, "x", CANARY, &[]).expect(0);
            let mut program = emits(&guess[..20]);
            program.extend([emit(&guess[..20]), ask("wait")]);
            program.extend(meters());
            program.push(emit("!!!"));
            program.extend(meters());
            let run = stopped(&home, &server, home.host().probe(&steps(&program)), Signal::KILL);
            let output = resumed(&home, &run, &[]).expect(0);
            assert_kept(&home, &[&output]);
            let metered: Vec<Value> = output.seen().into_iter().filter(|seen| seen["ok"].is_u64()).collect();
            assert_eq!(metered.len(), 10, "{}", output.stdout);
            let notes = said(&home.shown(&run)["agents"][0]).into_iter();
            let words: String = notes.filter(|(kind, _)| kind == "emit").map(|(_, text)| text).collect();
            assert_eq!(words, format!("~{0}!!!{0}!!!", &guess[..20]), "all of it is told, once");
            is_well(&home);
            (metered, output.spent("journal_bytes"))
        };
        assert_eq!(told(&right), told(&wrong));
    }
}

/// What the audit tells of a long address is cut: how long that is hangs on no beginning of a secret that stands at the cut.
#[test]
fn a34_the_audit_of_a_request_costs_as_much_whether_a_guess_is_right() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    let site = Site::start(|_| ok("hello"));
    let before = format!("GET {}", site.url("/"));
    let sends = |guess: &str| -> Vec<Value> {
        let path = format!("/{}{guess}zzzzzzzz", "y".repeat(1024 - before.len() - guess.len()));
        let send = json!({ "do": "send", "scheme": "http", "authority": site.address().to_string(), "path": path });
        let call = json!({ "do": "call", "name": "wasi", "arguments": { "steps": [send] } });
        let [spent, left] = meters();
        vec![call, spent, left]
    };
    let other = CANARY.replacen('K', "L", 1);
    let grant = format!("net:{}", site.url(""));
    for (right, wrong) in [(CANARY.to_owned(), other.clone()), (hex(CANARY), hex(&other))] {
        for allow in [None, Some(grant.as_str())] {
            let seen = |guess: &str| {
                let program: Vec<Value> = (1..guess.len()).flat_map(|len| sends(&guess[..len])).collect();
                let host = home.host().arg("--tool").arg(guests::built("probe-wasi"));
                let host = allow
                    .into_iter()
                    .fold(host, |host, grant| host.args(["--allow", grant]));
                let output = host.probe(&steps(&program)).output().expect(0);
                let seen = output.seen();
                let told = seen[0].to_string();
                assert_eq!(told.contains("hello"), allow.is_some(), "{told}");
                let metered: Vec<Value> = seen.into_iter().filter(|seen| seen["ok"].is_u64()).collect();
                assert_eq!(metered.len(), 2 * (guess.len() - 1));
                (metered, output.spent("journal_bytes"))
            };
            assert_eq!(seen(&right), seen(&wrong), "{allow:?}");
        }
    }
    is_well(&home);
}

#[test]
fn a34_a_secret_over_the_edges_of_a_prompts_texts_is_stopped() {
    let (server, home) = home(Script::always(Turn::text("understood")));
    set(&home, "x", CANARY, &[]).expect(0);
    let encoded = hex(CANARY);
    let ((a, b), (c, d)) = (CANARY.split_at(16), encoded.split_at(31));
    let text = |text: &str| json!({ "Text": text });
    let prompt = |messages: Value| json!({ "do": "complete", "messages": messages });
    // Longer than anything that is looked for.
    let long = "1".repeat(20_000);
    let single: Vec<Value> = CANARY.chars().map(|c| text(&c.to_string())).collect();
    let denied = [
        prompt(json!([{ "User": [text(a), text(b)] }])),
        prompt(json!([{ "System": format!("It is {a}") }, { "User": [text(&format!("{b}."))] }])),
        prompt(json!([{ "User": [text(c)] }, { "User": [text(d)] }])),
        prompt(json!([{ "User": [text(&format!("{long}{a}")), text(&format!("{b}{long}"))] }])),
        prompt(json!([{ "User": single }])),
    ];
    let passes = [
        prompt(json!([{ "User": [text(b), text(a)] }])),
        prompt(json!([{ "User": [text(a), text("and"), text(b)] }])),
    ];
    let program = steps(&[&denied[..], &passes[..]].concat());
    let output = home.host().probe(&program).output().expect(0);
    let output = output.says(&["may not hand on the secret x"]);
    let seen = output.seen();
    for (at, seen) in seen.iter().enumerate() {
        let kind = (at < denied.len()).then_some("denied");
        assert_eq!(refusal(seen).as_deref(), kind, "{at}: {seen}");
        assert!(kind.is_none() || message(seen).contains("secret x"), "{at}: {seen}");
    }
    assert_eq!((seen.len(), server.requests().len()), (7, passes.len()));
    assert_kept(&home, &[&output]);
    is_well(&home);
}

#[test]
fn a34_the_key_of_a_provider_goes_to_that_provider_alone() {
    let (server, home) = home(Script::always(Turn::text("understood")));
    let (site, named) = (echo(), "the key of the provider test");
    let (known, inner) = (with_mark(KEY, 0), with_mark(KEY, 1));
    let program = steps(&[
        json!({ "do": "open", "name": "notes" }),
        json!({ "do": "put", "space": 0, "key": "k", "value": known }),
        json!({ "do": "call", "name": "echo", "arguments": { "text": known } }),
        ask(&format!("It is {known}.")),
        in_tool(&[
            fetch(&site.url(&format!("/?q={inner}"))),
            json!({ "do": "fetch", "url": site.url("/"), "headers": [["authorization", format!("Bearer {inner}")]] }),
        ]),
        ask("Hello."),
    ]);
    let net = format!("net:{}", site.url(""));
    let output = host(&home, &[&net]).probe(&program).output().expect(0);
    let seen = output.seen();
    for seen in &seen[1..4] {
        assert_eq!(refusal(seen).as_deref(), Some("denied"), "{seen}");
        assert!(message(seen).contains(named), "{seen}");
    }
    for seen in in_call(&seen[4]) {
        assert!(message(&seen).contains("HttpRequestDenied"), "{seen}");
    }
    assert!(seen[5].to_string().contains("understood"), "{}", seen[5]);
    // The host has sent it where it belongs, and nobody has sent it anywhere else.
    let requests = server.requests();
    assert!(requests[0].headers.iter().any(|(_, value)| value.contains(KEY)));
    assert_eq!((requests.len(), site.asked().len()), (1, 0));
    // A person's call asks no model, and its tool sends the key nowhere all the same; what is no key of this host leaves.
    let arguments = json!({ "steps": [fetch(&site.url(&format!("/?q={known}")))] }).to_string();
    let call = |key: &str| {
        let host = home
            .host()
            .env(KEY_VARIABLE, key)
            .arg("call")
            .arg(guests::built("probe-tool"));
        let host = host.args(["probe", &arguments, "--output", "json", "--allow", &net]);
        host.output().expect(0)
    };
    let denied = call(KEY).says(&["may not hand on the key of the provider test"]);
    assert!(
        message(&called(&denied)[0]).contains("HttpRequestDenied"),
        "{}",
        denied.stdout
    );
    assert_eq!(site.asked().len(), 0);
    assert_eq!(called(&call("sk-0123456789abcdef-another"))[0]["ok"]["status"], 200);
    assert_eq!(site.asked()[0].path, format!("/?q={KEY}"));
    // Nor is it told to an agent by its task.
    let host = home.host().arg("--plugin").arg(guests::built("probe"));
    let output = host.arg(format!("Use {KEY}.")).output().expect(2);
    let output = output.says(&[named, "leave it out"]);
    assert!(
        !output.stderr.contains(KEY) && !output.stderr.contains("--allow secret"),
        "{}",
        output.stderr
    );
    home.assert_without(KEY);
    is_well(&home);
}

#[test]
fn a_person_is_told_that_their_own_arguments_hold_a_secret() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let arguments = json!({ "path": format!("/{CANARY}") }).to_string();
    let output = home.host().args(["call", "files", "list_files", &arguments]).output();
    let words = "the arguments that you gave hold the secret x, which no tool is told";
    let output = output.expect(4).says(&[words, "--allow secret:x@HOST"]);
    let is_plain = !output.stderr.contains("call may not") && !output.stderr.contains(CANARY);
    assert!(is_plain, "{}", output.stderr);
}

#[test]
fn a_redirect_takes_a_secret_to_no_other_host() {
    let home = Home::new();
    set(&home, "x", CANARY, &["--query", "key"]).expect(0);
    let other = Site::start(|asked| ok(&asked.path));
    let there = other.url("");
    let site = Site::start(move |asked| match asked.path.split('?').next().unwrap() {
        // With its whole query, as many do.
        "/within" => moved(&asked.path.replace("/within", "/end")),
        "/away" => moved(&format!("{there}{}", asked.path)),
        "/path" => moved(&format!("{there}/{}", asked.path.rsplit('=').next().unwrap())),
        "/host" => moved(&format!("http://{}.localhost/", asked.path.rsplit('=').next().unwrap())),
        _ => ok(&asked.path),
    });
    let wide = ["--allow".to_owned(), format!("net:{}", other.url(""))];
    let urls = ["/within?a=1", "/away?a=1&key=mine", "/path", "/host"];
    let steps = urls.map(|path| fetch(&site.url(path)));
    let output = call(&home, &site, &steps, &refs(&wide)).expect(0);
    let seen = called(&output);
    assert_eq!(seen[0]["ok"]["body"], format!("/end?a=1&key={HIDDEN}"), "{}", seen[0]);
    assert_eq!(seen[1]["ok"]["body"], "/away?a=1");
    for seen in &seen[2..] {
        assert!(message(seen).contains("HttpRequestDenied"), "{seen}");
    }
    let paths: Vec<String> = site.asked().into_iter().map(|asked| asked.path).collect();
    let with = |path: &str| format!("{path}key={CANARY}");
    assert_eq!(
        paths,
        [
            with("/within?a=1&"),
            with("/end?a=1&"),
            with("/away?a=1&"),
            with("/path?"),
            with("/host?")
        ]
    );
    let final_url = |seen: &Value| {
        let headers = seen["ok"]["headers"].as_array().unwrap().clone();
        let found = headers.into_iter().find(|header| header[0] == "hermes-final-url");
        found.unwrap()[1].as_str().unwrap().to_owned()
    };
    assert_eq!(final_url(&seen[0]), site.url("/end?a=1"));
    assert_eq!(other.asked().len(), 1);
    let output = output.says(&["may not hand on the secret x"]);
    assert_kept(&home, &[&output]);
}

#[test]
fn a_stranger_who_redirects_has_nothing_asked_with_a_secret() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let owner = echo();
    let there = owner.url("/keys/delete?all=1");
    let stranger = Site::start(move |_| answer("307 Temporary Redirect", &[("location", &there)], ""));
    let wide = ["--allow".to_owned(), format!("net:{}", stranger.url(""))];
    let steps = [fetch(&owner.url("/mine")), fetch(&stranger.url("/"))];
    let output = call(&home, &owner, &steps, &refs(&wide)).expect(0);
    assert!(
        called(&output).iter().all(|seen| seen["ok"]["status"] == 200),
        "{}",
        output.stdout
    );
    let asked = owner.asked();
    let sent: Vec<_> = asked
        .iter()
        .map(|asked| (&*asked.path, asked.header("authorization").len()))
        .collect();
    assert_eq!(sent, [("/mine", 1), ("/keys/delete?all=1", 0)]);
    assert_kept(&home, &[&output]);
}

/// Servers that make variables of headers take each of these for the secret's own.
#[test]
fn what_a_plugin_puts_into_a_secrets_header_is_gone_by_whichever_signs() {
    let home = Home::new();
    set(&home, "x", CANARY, &["--header", "X-Key: k={}"]).expect(0);
    let site = echo();
    let headers = json!([
        ["X-Key", "mine"],
        ["x_key", "mine"],
        ["x.key", "mine"],
        ["x-keys", "kept"]
    ]);
    let step = json!({ "do": "fetch", "url": site.url("/"), "headers": headers });
    let arguments = json!({ "steps": [step] }).to_string();
    let host = home.host().arg("call").arg(guests::built("probe-tool"));
    let host = host.args(["probe", &arguments, "--output", "json"]);
    let host = both(&site)
        .iter()
        .fold(host, |host, grant| host.args(["--allow", grant]));
    assert_eq!(host.output().code, Some(0));
    let asked = site.asked().remove(0);
    assert_eq!(asked.header("x-key"), [format!("k={CANARY}")]);
    assert!(
        asked.header("x_key").is_empty() && asked.header("x.key").is_empty(),
        "{asked:?}"
    );
    assert_eq!(asked.header("x-keys"), ["kept"]);
}

#[test]
fn a_secret_goes_where_its_grant_and_the_networks_meet() {
    let home = Home::new();
    set(&home, "x", CANARY, &["--header", "X-Key: k={}"]).expect(0);
    let (site, other) = (echo(), echo());
    let ask = |allow: &[String]| {
        let arguments = json!({ "steps": [fetch(&site.url("/"))] }).to_string();
        let host = home.host().arg("call").arg(guests::built("probe-tool"));
        let host = host.args(["probe", &arguments, "--output", "json"]);
        let host = allow.iter().fold(host, |host, grant| host.args(["--allow", grant]));
        let before = site.asked().len();
        let code = host.output().code;
        (
            code,
            site.asked().get(before).map(|asked| asked.header("x-key").join(",")),
        )
    };
    let [net, secret] = both(&site);
    let port = site.address().port();
    let given = Some(format!("k={CANARY}"));
    assert_eq!(ask(&[net.clone(), secret.clone()]), (Some(0), given.clone()));
    for elsewhere in [
        format!("secret:x@{}", other.address()),
        format!("secret:x@localhost:{port}"),
        "secret:x@127.0.0.1".to_owned(),
        format!("secret:x@*.0.0.1.example:{port}"),
        format!("files={secret}"),
    ] {
        assert_eq!(
            ask(&[net.clone(), elsewhere.clone()]),
            (Some(0), Some(String::new())),
            "{elsewhere}"
        );
    }
    assert_eq!(
        ask(std::slice::from_ref(&secret)),
        (Some(0), None),
        "a secret opens no host"
    );
    assert_eq!(ask(&[net.clone(), format!("probe-tool={secret}")]), (Some(0), given));
    // Nothing says of a grant that it is for http.
    let https = net.replace("http://", "https://");
    assert_eq!(ask(&[https, secret]), (Some(0), None));
}

#[test]
fn over_https_a_secret_needs_no_word_more() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let site = Site::start_tls(|asked| ok(asked.header("authorization").join("")));
    let arguments = json!({ "steps": [fetch(&site.url("/"))] }).to_string();
    let host = trusting(&home)
        .arg("call")
        .arg(guests::built("probe-tool"))
        .args(["probe", &arguments, "--output", "json"]);
    let grants = [
        format!("net:GET@{}", site.address()),
        format!("secret:x@{}", site.address()),
    ];
    let output = grants
        .iter()
        .fold(host, |host, grant| host.args(["--allow", grant]))
        .output()
        .expect(0);
    assert_eq!(
        called(&output)[0]["ok"]["body"],
        format!("Bearer {HIDDEN}"),
        "{}",
        output.stdout
    );
    assert_eq!(site.asked()[0].header("authorization"), [format!("Bearer {CANARY}")]);
}

#[test]
fn who_can_not_prove_its_name_is_sent_nothing() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let path = |asked: &Asked| ok(&asked.path);
    // An authority that nobody trusts, and a name that the certificate has not.
    let (stranger, other) = (Site::start_tls(path), Site::start_tls_at("127.0.0.2:0", path));
    for (host, site) in [(home.host(), &stranger), (trusting(&home), &other)] {
        let output = call_by(host, site, &[fetch(&site.url("/"))], &[]).expect(0);
        let seen = called(&output).remove(0);
        assert!(message(&seen).ends_with("DestinationUnavailable"), "{seen}");
        assert_eq!(site.asked().len(), 0);
        assert_kept(&home, &[&output]);
    }
}

#[test]
fn a36_a_redirect_out_of_https_is_checked_and_takes_no_secret_along() {
    let home = Home::new();
    set(&home, "x", CANARY, &[]).expect(0);
    let plain = Site::start(|asked| ok(&asked.path));
    let there = plain.url("/plain");
    let secure = Site::start_tls(move |_| moved(&there));
    let go = [fetch(&secure.url("/"))];
    let output = call_by(trusting(&home), &secure, &go, &[]).expect(0);
    let seen = called(&output).remove(0);
    assert!(message(&seen).ends_with("HttpRequestDenied"), "{seen}");
    let net = format!("net:GET@{}", plain.url(""));
    let denied = format!("may not send GET {}", plain.url("/plain"));
    let output = output.says(&[&denied, &format!("--allow {net}")]);
    assert_eq!((secure.asked().len(), plain.asked().len()), (1, 0));
    assert_kept(&home, &[&output]);
    // Nor where it was granted as http, by its name.
    let output = call_by(trusting(&home), &secure, &go, &["--allow", &net]).expect(0);
    assert_eq!(called(&output)[0]["ok"]["body"], "/plain", "{}", output.stdout);
    let keys = |site: &Site| site.asked().pop().unwrap().header("authorization").len();
    assert_eq!((keys(&secure), keys(&plain)), (1, 0));
    assert_kept(&home, &[&output]);
}

#[test]
fn the_standard_tool_for_pages_gets_secrets() {
    let home = Home::new();
    set(&home, "x", CANARY, &["--query", "key"]).expect(0);
    let site = Site::start(|asked| answer("200 OK", &[("content-type", "text/plain")], &asked.path));
    let arguments = json!({ "url": site.url("/page?key=mine&a=1") }).to_string();
    let host = home.host().args(["call", "web", "fetch_page", &arguments]);
    let output = both(&site)
        .iter()
        .fold(host, |host, grant| host.args(["--allow", grant]))
        .output()
        .expect(0);
    assert!(
        output.stdout.contains(&format!("/page?a=1&key={HIDDEN}")),
        "{}",
        output.stdout
    );
    assert_eq!(site.asked()[0].path, format!("/page?a=1&key={CANARY}"));
}

#[test]
fn a_tool_has_a_secret_as_its_caller_has_or_as_its_own() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    let site = echo();
    let [net, secret] = both(&site);
    let call = in_tool(&[fetch(&site.url("/"))]);
    let child = ChildSpec::probe(&steps(std::slice::from_ref(&call))).with("toolsets", json!(["probe-tool"]));
    let children = [
        child.clone(),
        child.clone().with("grants", json!([secret])),
        child.clone().with("grants", json!(["secret:none"])),
    ];
    let mut all = vec![call.clone()];
    for (n, child) in children.iter().enumerate() {
        all.extend([child.spawn(), join(n)]);
    }
    let wider = child.with("grants", json!(["secret:x@other.example"])).spawn();
    all.push(wider);
    let output = host(&home, &[&net, &secret]).probe(&steps(&all)).output().expect(0);
    let seen = output.seen();
    assert_eq!(in_call(&seen[0])[0]["ok"]["status"], 200);
    for n in [2, 4, 6] {
        assert_eq!(in_call(&inside(&seen[n])[0])[0]["ok"]["status"], 200, "{}", seen[n]);
    }
    assert_eq!(refusal(&seen[7]).as_deref(), Some("denied"), "{}", seen[7]);
    let got: Vec<bool> = site
        .asked()
        .iter()
        .map(|asked| !asked.header("authorization").is_empty())
        .collect();
    assert_eq!(got, [true, true, true, false]);
    // As its own, whoever calls it; to the strategy alone, nobody.
    for (flag, grant, gets) in [
        ("--own", format!("probe-tool={secret}"), true),
        ("--allow", format!("probe-tool={secret}"), false),
        ("--allow", format!("probe={secret}"), false),
    ] {
        let before = site.asked().len();
        let host = host(&home, &[&net]).args([flag, &grant]);
        let output = host.probe(&steps(std::slice::from_ref(&call))).output().expect(0);
        let asked = &site.asked()[before];
        assert_eq!(!asked.header("authorization").is_empty(), gets, "{flag} {grant}");
        let idle = output.stderr.contains("goes into no request");
        assert_eq!(idle, !gets, "{flag} {grant}: {}", output.stderr);
    }
    let idle = host(&home, &["secret:x@nowhere.example"])
        .probe(&steps(&[]))
        .output()
        .expect(0);
    idle.says(&[
        "--allow secret:x@nowhere.example goes into no request",
        "--allow net:nowhere.example",
    ]);
}

#[test]
fn a_tool_that_asks_for_other_secrets_gets_none() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    let site = echo();
    let [net, secret] = both(&site);
    let tool = home.work().join("probe-tool.wasm");
    fs::copy(guests::built("probe-tool"), &tool).unwrap();
    let call = steps(&[in_tool(&[fetch(&site.url("/"))])]);
    for (want, gets) in [
        ("net", false),
        ("secret:y@*.example", false),
        (&*secret, true),
        ("secret", true),
    ] {
        let manifest = format!("name = \"probe-tool\"\n[[wants]]\ngrant = \"net\"\n[[wants]]\ngrant = \"{want}\"\n");
        home.write("probe-tool.toml", manifest);
        let before = site.asked().len();
        let host = home
            .host()
            .arg("--tool")
            .arg(&tool)
            .args(["--allow", &net, "--allow", &secret]);
        host.probe(&call).output().expect(0);
        assert_eq!(!site.asked()[before].header("authorization").is_empty(), gets, "{want}");
    }
    let inspect = |allow: &[&str]| {
        let host = home
            .host()
            .args(["inspect", "./probe-tool.wasm", "--output", "json"])
            .args(allow);
        host.output().expect(0).json()["wants"][1].clone()
    };
    let (not, is) = (inspect(&[]), inspect(&["--allow", &secret]));
    assert_eq!((&not["granted"], &is["granted"]), (&json!(false), &json!(true)));
    home.write(
        "probe-tool.toml",
        "name = \"probe-tool\"\n[[wants]]\ngrant = \"secret:x\"\n",
    );
    let host = home.host().args(["inspect", "./probe-tool.wasm"]);
    host.output().expect(2).says(&["secret:NAME@"]);
}

#[test]
fn a_secret_that_is_not_set_or_has_no_place_of_its_own_is_refused_at_the_start() {
    let (_server, home) = home(Vec::new());
    let site = echo();
    let [net, secret] = both(&site);
    let start = |grants: &[&str]| host(&home, grants).probe(&steps(&[])).output();
    let says = ["there is no secret x", "hermes-host secret set x"];
    start(&[&net, &secret]).expect(2).says(&says);
    let json = start(&[&secret]).json();
    assert_eq!((&json["run"], &json["error"]["kind"]), (&Value::Null, &json!("grant")));
    let own = home.host().args(["--own", &format!("web={secret}")]).probe(&steps(&[]));
    own.output().expect(2).says(&says);
    let set_in_config = home.host().set("allow", format!("[\"{secret}\"]")).probe(&steps(&[]));
    set_in_config.output().expect(2).says(&says);
    set(&home, "x", CANARY, &[]).expect(0);
    set(&home, "y", "another-value", &[]).expect(0);
    let other = format!("secret:y@{}", site.address());
    start(&[&net, &secret, &other])
        .expect(2)
        .says(&["the header authorization", &secret, &other]);
    set(&home, "y", "another-value", &["--header", "X-Key: {}"]).expect(0);
    start(&[&net, &secret, &other]).expect(0);
    // The task is read by the agent, and kept.
    for arguments in [
        vec![format!("use {CANARY}")],
        vec![
            "a task".to_owned(),
            "--inputs".to_owned(),
            json!({ "k": hex(CANARY) }).to_string(),
        ],
    ] {
        let host = home.host().arg("--plugin").arg(guests::built("probe")).args(arguments);
        let output = host.output().expect(2).says(&["the secret x", "--allow secret:x@HOST"]);
        assert_kept(&home, &[&output]);
    }
    assert_eq!(site.asked().len(), 0);
}

#[test]
fn a_resume_reads_a_secret_anew() {
    let script = Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("go on"));
    let (server, home) = home(script);
    set(&home, "x", CANARY, &[]).expect(0);
    let site = Site::start(|asked| ok(&asked.bytes));
    let program = steps(&[ask("wait"), in_tool(&[fetch(&site.url("/"))])]);
    let host = host(&home, &refs(&both(&site))).probe(&program);
    let run = stopped(&home, &server, host, Signal::TERM);
    home.host().args(["secret", "remove", "x"]).output().expect(0);
    resumed(&home, &run, &[])
        .expect(2)
        .says(&["there is no secret x", "hermes-host secret set x"]);
    assert_eq!(site.asked().len(), 0);
    set(&home, "x", "rotated-0123456789", &[]).expect(0);
    let output = resumed(&home, &run, &[]).expect(0);
    assert!(output.seen()[1].to_string().contains(HIDDEN), "{}", output.stdout);
    assert_eq!(site.asked()[0].header("authorization"), ["Bearer rotated-0123456789"]);
    // It is found again in a replay that has no secrets.
    home.host().args(["secret", "remove", "x"]).output().expect(0);
    home.host().args(["replay", &run]).output().expect(0);
    home.assert_without("rotated-0123456789");
}

#[test]
fn a_resume_goes_on_without_a_secret() {
    let script = Script::from([Turn::fault(Fault::StallMidStream)]).then(Turn::text("go on"));
    let (server, home) = home(script);
    set(&home, "x", CANARY, &[]).expect(0);
    let site = echo();
    let program = steps(&[ask("wait"), in_tool(&[fetch(&site.url("/"))])]);
    let host = host(&home, &refs(&both(&site))).probe(&program);
    let run = stopped(&home, &server, host, Signal::TERM);
    home.host().args(["secret", "remove", "x"]).output().expect(0);
    resumed(&home, &run, &["--deny", "secret"]).expect(0);
    assert!(site.asked()[0].header("authorization").is_empty());
}

#[test]
fn what_was_kept_before_it_was_a_secret_is_not_exported() {
    let (_server, home) = home(Script::always(Turn::text("understood")));
    let program = steps(&[ask(&format!("It is {CANARY}."))]);
    home.host().probe(&program).output().expect(0);
    let run = home.newest_run();
    set(&home, "x", CANARY, &[]).expect(0);
    let export = |arguments: &[&str]| home.host().args(["export", &run]).args(arguments).output().expect(0);
    let told = export(&[]);
    assert!(told.stdout.contains(HIDDEN), "{}", told.stdout);
    assert_without_canary("the export", told.stdout.as_bytes());
    export(&["--run-file", "run.jsonl"]);
    assert_without_canary("the run file", &fs::read(home.work().join("run.jsonl")).unwrap());
}

#[test]
fn secrets_are_set_listed_and_removed() {
    let home = Home::new();
    let list = || {
        home.host()
            .args(["secret", "list", "--output", "json"])
            .output()
            .expect(0)
            .json()
    };
    assert_eq!(list(), json!([]));
    home.host()
        .args(["secret", "list"])
        .output()
        .expect(0)
        .says(&["no secrets yet"]);
    let first = set(&home, "weather", &format!("{CANARY}\n"), &[]).expect(0);
    assert_eq!(first.stdout, "");
    let first = first.says(&["weather is set;", "authorization: Bearer {}", "secret:weather@HOST"]);
    let maps = set(
        &home,
        "maps",
        &format!("{CANARY}\r\n"),
        &["--query", "key", "--output", "json"],
    )
    .expect(0);
    assert_eq!(
        maps.json(),
        json!({ "name": "maps", "header": null, "query": "key", "replaced": false })
    );
    home.configure(
        "allow = [\"secret:weather@*.weather.example\", \"web=secret:maps@maps.example:8443\", \"fs:./gone\"]\n\
         own = [\"web=secret:weather@api.example\"]\n",
    );
    let rows = list();
    assert_eq!(
        (&rows[0]["name"], &rows[1]["name"]),
        (&json!("maps"), &json!("weather"))
    );
    assert_eq!(rows[1]["header"], "authorization: Bearer {}");
    assert_eq!(
        rows[1]["granted"],
        json!([{ "hosts": "*.weather.example", "plugin": null, "own": false }, { "hosts": "api.example", "plugin": "web", "own": true }])
    );
    let age = rows[0]["set_ms"].as_u64().unwrap();
    assert!(age > 1_700_000_000_000, "{rows}");
    let text = home.host().args(["secret", "list"]).output().expect(0);
    assert!(text.stdout.contains("api.example (web's own)"), "{}", text.stdout);
    // Set again it goes where it went.
    let again = set(&home, "maps", "another-value", &["--output", "json"]).expect(0);
    assert_eq!(
        (&again.json()["query"], &again.json()["replaced"]),
        (&json!("key"), &json!(true))
    );
    let file = home.path().join("host/secrets.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let doctor = home.host().args(["doctor", "--output", "json"]).output().json();
    let checks = doctor.as_array().unwrap().iter();
    assert!(
        checks
            .into_iter()
            .any(|check| check["check"] == "secrets" && check["state"] == "ok"),
        "{doctor}"
    );
    home.host()
        .args(["secret", "remove", "weathr"])
        .output()
        .expect(2)
        .says(&["did you mean weather?"]);
    home.host().args(["secret", "remove", "weather"]).output().expect(0);
    // What is still granted is listed.
    let rows = list();
    assert!(rows[0]["set_ms"].is_u64(), "{rows}");
    assert_eq!(
        (&rows[1]["name"], &rows[1]["set_ms"]),
        (&json!("weather"), &json!(null))
    );
    assert_eq!(rows[1]["granted"].as_array().unwrap().len(), 2, "{rows}");
    let doctor = home.host().arg("doctor").output();
    assert!(
        doctor.stdout.contains("hermes-host secret set weather"),
        "{}",
        doctor.stdout
    );
    assert_kept(&home, &[&first, &maps, &text, &again]);
}

#[test]
fn what_can_be_no_secret_is_refused() {
    let home = Home::new();
    let long = ["--set", "limits.secret.value=16", "--set", "limits.secret.total=24"];
    set(&home, "a", "0123456789abcdef", &long).expect(0);
    set(&home, "a", "0123456789abcdefg", &long)
        .expect(2)
        .says(&["limits.secret.value"]);
    let short = [&long[..], &["--guessable"]].concat();
    set(&home, "b", "01234567", &short).expect(0);
    set(&home, "c", "01234567", &short)
        .expect(2)
        .says(&["limits.secret.total"]);
    for (name, value, arguments, words) in [
        ("a b", "0123456789", &[][..], "a secret's name is"),
        ("d", "0123456", &[], "8 characters"),
        ("d", "0123456", &["--guessable"], "8 characters"),
        ("d", "01234567", &[], "can't be found by trying"),
        ("d", "31415926535897932", &[], "it takes 20, and this has 17"),
        (
            "d",
            "hunter2hunter2",
            &[],
            "it takes 13, and this has 7 without what is repeated",
        ),
        (
            "d",
            "passwordpassword",
            &[],
            "it takes 14, and this has 8 without what is repeated",
        ),
        ("d", "", &[], "no value came"),
        ("d", "\n", &[], "no value came"),
        ("d", "0123456789\n0123456789\n", &[], "one line"),
        ("d", "0123\u{1b}456789", &[], "visible ASCII"),
        ("d", "0123456789é", &[], "visible ASCII"),
        (
            "d",
            "0123456789",
            &["--header", "Host: {}"],
            "the host sets this header itself",
        ),
        ("d", "0123456789", &["--header", "X-Key"], "NAME: TEMPLATE"),
        ("d", "0123456789", &["--query", "a&b"], "a parameter is"),
        (
            "d",
            "0123456789",
            &["--query", "a", "--header", "X-Key: {}"],
            "cannot be used with",
        ),
        // Never an argument.
        ("d", "", &["0123456789"], "unexpected argument"),
    ] {
        let output = set(&home, name, value, arguments).expect(2).says(&[words]);
        assert!(value.len() < 8 || !output.stderr.contains(value), "{}", output.stderr);
    }
    let list = home
        .host()
        .args(["secret", "list", "--output", "json"])
        .output()
        .expect(0)
        .json();
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
}

#[test]
fn a_file_of_secrets_that_others_may_read_stops_everything() {
    let (server, home) = home(Script::always(Turn::text("hello")));
    set(&home, "x", CANARY, &[]).expect(0);
    let file = home.path().join("host/secrets.json");
    let run = || home.host().probe(&steps(&[ask("hi")])).output();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    run().expect(2).says(&["other users may open it", "chmod 600"]);
    set(&home, "y", "another-value", &[]).expect(2).says(&["chmod 600"]);
    home.host()
        .args(["secret", "list"])
        .output()
        .expect(2)
        .says(&["chmod 600"]);
    let doctor = home.host().args(["doctor", "--output", "json"]).output();
    assert!(doctor.stdout.contains("chmod 600"), "{}", doctor.stdout);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let moved = home.path().join("elsewhere");
    fs::rename(&file, &moved).unwrap();
    symlink(&moved, &file).unwrap();
    run().expect(2).says(&["it is a link"]);
    fs::remove_file(&file).unwrap();
    fs::write(&file, "{}").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    run().expect(2).says(&["is damaged"]);
    assert_eq!(server.requests().len(), 0);
    fs::rename(&moved, &file).unwrap();
    run().expect(0);
}

#[test]
fn on_a_terminal_a_secret_is_typed_and_not_shown() {
    let home = Home::new();
    let mut terminal = Terminal::start(home.host().args(["secret", "set", "x"]));
    terminal.sees("the value of x (it is not shown)");
    terminal.types(b"wrong\x15");
    terminal.types(CANARY.as_bytes());
    terminal.types(b"?\x7f\r");
    let (screen, code) = terminal.finish();
    assert_eq!(code, Some(0), "{screen}");
    assert_without_canary("the screen", screen.as_bytes());
    assert!(!screen.contains("wrong"), "{screen}");
    let kept = fs::read_to_string(home.path().join("host/secrets.json")).unwrap();
    assert!(kept.contains(&format!("\"{CANARY}\"")), "{kept}");
    let mut terminal = Terminal::start(home.host().args(["secret", "set", "x"]));
    terminal.sees("it is not shown");
    terminal.types(b"0123456789\x03");
    let (screen, code) = terminal.finish();
    assert_eq!(code, Some(130), "{screen}");
    assert_eq!(fs::read_to_string(home.path().join("host/secrets.json")).unwrap(), kept);
}

#[test]
fn what_a_model_says_of_a_secret_is_nowhere() {
    let said = format!("it is {}", forms().join(" or "));
    let call = json!({ "text": said }).to_string();
    let tells = Turn::text(&said)
        .thinking(&said, "c2lnbmVk")
        .and_call("call_1", "echo", &call);
    let turns = [tells.clone(), tells.sent(Delivery::Fragments), Turn::text(&said)];
    let program = json!({ "steps": [{ "do": "agent", "user": "Tell me.", "turns": 5 }] });
    for format in [Format::OpenAi, Format::Anthropic] {
        let server = ModelServer::start(turns.to_vec());
        let home = Home::with_model(&server, format);
        set(&home, "x", CANARY, &[]).expect(0);
        let host = home.host().arg("--tool").arg(guests::built("pure-echo"));
        let output = host.probe_events(&program).output().expect(0);
        // The guest sends on what it was given, which a request with the secret in it could not be.
        let requests = server.requests();
        assert_eq!((requests.len(), server.surplus()), (turns.len(), 0));
        let last = requests.last().unwrap().body.to_string();
        assert!(last.matches("it is [secret x] or [secret x]").count() >= 4, "{last}");
        assert!(!last.contains(CANARY), "{last}");
        let run = home.newest_run();
        let shown = home.shown(&run);
        assert!(shown.to_string().contains("[secret x]"), "{shown}");
        let replayed = home.host().args(["replay", &run]).output().expect(0);
        assert_kept(&home, &[&output, &replayed]);
        is_well(&home);
    }
}

#[test]
fn what_an_agent_says_of_a_secret_is_the_same_when_it_is_replayed() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    let said = marked(0);
    let failed = json!({ "steps": [], "fail": { "kind": "Denied", "message": said, "retry_after_ms": null } });
    for (program, code) in [(json!({ "steps": [], "summary": said }), 0), (failed, 4)] {
        let output = home.host().probe(&program).output().expect(code);
        let run = home.newest_run();
        for form in ["text", "json"] {
            let replayed = home.host().args(["replay", &run, "--output", form]).output().expect(0);
            assert_kept(&home, &[&output, &replayed]);
        }
    }
    // What was no secret when it was said is the same too.
    let later = json!({ "steps": [], "summary": "Zt5kQ9wX1mVb7NcR" });
    home.host().probe(&later).output().expect(0);
    let run = home.newest_run();
    set(&home, "later", "Zt5kQ9wX1mVb7NcR", &[]).expect(0);
    home.host().args(["replay", &run]).output().expect(0);
}

#[test]
fn a_script_says_no_secret_either() {
    let (_server, home) = home(Vec::new());
    set(&home, "x", CANARY, &[]).expect(0);
    let script = home.write("script.toml", format!("[[turn]]\nreply.text = 'it is {CANARY}.'\n"));
    let output = home
        .host()
        .arg("--script")
        .arg(&script)
        .probe(&steps(&[ask("What is it?")]))
        .output()
        .expect(0);
    assert!(output.stdout.contains("it is [secret x]."), "{}", output.stdout);
    fs::remove_file(script).unwrap();
    assert_kept(&home, &[&output]);
}
