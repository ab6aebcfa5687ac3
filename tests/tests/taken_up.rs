//! What a run left under way is taken up where its record ends, or ended with all that it may have cost: by a resume, a cancel, a fork.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::home::KEY_VARIABLE;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::output::{message, refusal};
use hermes_tests::program::{ask, open, put, said, says, steps};
use hermes_tests::shim::{Action, Shim, When};
use hermes_tests::site::{self, Site};
use hermes_tests::{Home, Host, Output, Process, guests};
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

fn stall() -> Turn {
    Turn::fault(Fault::StallMidStream)
}

/// Starts this, and sends it the signal once the model has been asked `n` times in all.
#[track_caller]
fn stopped(server: &ModelServer, host: Host, n: usize, signal: Signal) -> Output {
    let process = host.start();
    server.wait_for(n, LONG);
    process.signal(signal);
    process.finish()
}

fn resume(home: &Home, run: &str) -> Host {
    home.host().args(["resume", run, "--output", "json"])
}

/// Every operation of a run's agents: its number, and how it stands.
fn operations(shown: &Value) -> Vec<(String, String)> {
    let agents = shown["agents"].as_array().unwrap().iter();
    let operations = agents.flat_map(|agent| agent["operations"].as_array().unwrap());
    let of = |op: &Value| {
        (
            op["op"].as_str().unwrap().to_owned(),
            op["status"].as_str().unwrap().to_owned(),
        )
    };
    operations.map(of).collect()
}

/// Waits until a resumed run has begun something and is in a long stretch, stops its process for longer than that may take, and lets it go on to its end.
#[track_caller]
fn held_up(process: Process, has_begun: impl Fn() -> bool) -> Output {
    let begun = Instant::now();
    while !has_begun() || process.processor_ticks() < 25 {
        assert!(begun.elapsed() < LONG, "it never computed");
    }
    process.signal(Signal::STOP);
    // Not waited for: so long it stands still.
    std::thread::sleep(Duration::from_millis(3_500));
    process.signal(Signal::CONT);
    process.finish()
}

/// How long a stretch between two observations may take, for [`held_up`].
const STRETCH: [&str; 2] = ["--set", "limits.step_wall=3s"];

/// Steps that have one completion under way, compute for long between two observations, and ask for another.
fn with_a_long_stretch([first, second]: [&str; 2]) -> Value {
    let start = json!({ "do": "start", "messages": [{ "User": [{ "Text": first }] }] });
    let compute = json!({ "do": "compute", "n": 250_000_000 });
    let wait = json!({ "do": "wait", "pending": 0 });
    steps(&[open(), start, put("a"), compute, put("b"), ask(second), wait])
}

/// Fails unless a run ended as one that differs from its record, by what its session of this number did.
#[track_caller]
fn has_differed(output: Output, session: u32) {
    let json = output.expect(1).json();
    let words = format!(
        "the run differs from its record: session {session}: a stretch between two observations took longer than 3 s"
    );
    assert_eq!(
        (&json["exit"], &json["error"]["kind"], &json["error"]["message"]),
        (&json!("diverged"), &json!("diverged"), &json!(words)),
        "{json}"
    );
}

/// How many records the journal of the only run has of its session of this number.
fn records(home: &Home, session: u32) -> i64 {
    let file = home.path().join("host/hermes.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let count = "SELECT count(*) FROM journal WHERE session = ?1";
    database.query_row(count, [session], |row| row.get(0)).unwrap()
}

/// A run that was stopped so while it waited for both of its answers, behind a long stretch.
fn in_a_long_stretch(signal: Signal) -> (ModelServer, Home, String) {
    let server = ModelServer::start(
        Script::default()
            .when("ONE", [stall(), Turn::text("one")])
            .when("TWO", [stall(), Turn::text("two")]),
    );
    let home = Home::with_model(&server, Format::OpenAi);
    let program = with_a_long_stretch(["ONE", "TWO"]);
    stopped(&server, home.host().args(STRETCH).probe(&program), 2, signal);
    let run = home.newest_run();
    (server, home, run)
}

/// A resume whose strategy has not come to the end of its record sends nothing, however many times it is tried.
#[test]
fn a_resume_that_differs_sends_nothing() {
    let (server, home, run) = in_a_long_stretch(Signal::KILL);
    let process = resume(&home, &run).args(["--budget", "iterations=100"]).start();
    has_differed(held_up(process, || true), 0);
    assert_eq!(server.requests().len(), 2, "nothing is sent");
    let resumed = resume(&home, &run).output().expect(0);
    assert_eq!((server.requests().len(), resumed.spent("resent")), (4, 2));
    let root = &home.shown(&run)["agents"][0];
    assert_eq!(root["budget"]["iterations"], 100, "what was changed stays so");
}

/// A run whose root differs from its record is left as it was: nothing is written of that, and it can still go on.
#[test]
fn a_resume_that_differs_leaves_the_run_as_it_was() {
    for signal in [Signal::KILL, Signal::INT] {
        let (server, home, run) = in_a_long_stretch(signal);
        let before = (home.shown(&run), records(&home, 0));
        has_differed(held_up(resume(&home, &run).start(), || true), 0);
        // Its status, its agents with their operations and notes, and what they spent.
        assert_eq!((home.shown(&run), records(&home, 0)), before, "{signal:?}");
        assert_eq!(before.0["status"], "interrupted", "{signal:?}");
        let resumed = resume(&home, &run).output().expect(0);
        assert_eq!((server.requests().len(), resumed.spent("resent")), (4, 2), "{signal:?}");
    }
}

/// Of a child that differs from its record nothing is sent and nothing is written. What its parent did meanwhile stands, and what that sent again is told as such.
#[test]
fn what_others_did_stands_where_a_child_differs() {
    let markers = ["ROOT ONE", "ROOT TWO", "CHILD ONE", "CHILD TWO"];
    let script = markers.iter().fold(Script::default(), |script, marker| {
        script.when(marker, [stall(), Turn::text(*marker)])
    });
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let access = json!([{ "space": "notes", "prefix": "", "access": "ReadWrite" }]);
    let child = ChildSpec::probe(&with_a_long_stretch(["CHILD ONE", "CHILD TWO"])).with("spaces", access);
    let program = steps(&[child.spawn(), ask("ROOT ONE"), ask("ROOT TWO"), join(0)]);
    stopped(&server, home.host().args(STRETCH).probe(&program), 3, Signal::KILL);
    let run = home.newest_run();
    let (before, of_child) = (home.shown(&run), records(&home, 1));
    // Its parent has its first answer when it asks for the second.
    let asks_on = || server.asked() == 5;
    has_differed(held_up(resume(&home, &run).start(), asks_on), 1);
    let after = home.shown(&run);
    assert_eq!(
        (&after["agents"][1], records(&home, 1)),
        (&before["agents"][1], of_child)
    );
    let of_root = |shown: &Value| {
        let root = &shown["agents"][0];
        let standing = root["operations"].as_array().unwrap().iter();
        let standing: Vec<Value> = standing.map(|op| json!([op["kind"], op["status"]])).collect();
        json!([root["status"], root["resent"], root["spent"]["iterations"], standing])
    };
    let open = json!(["completion", "open"]);
    assert_eq!(
        of_root(&before),
        json!(["interrupted", 0, 0, [["child", "open"], open]])
    );
    let done = json!(["completion", "done"]);
    assert_eq!(
        of_root(&after),
        json!(["interrupted", 1, 1, [["child", "open"], done, open]])
    );
    let asked = |words: &str| {
        let requests = server.requests();
        requests.iter().filter(|sent| sent.last().contains(words)).count()
    };
    assert_eq!(markers.map(asked), [2, 1, 1, 1], "the child sent nothing");
    let resumed = resume(&home, &run).output().expect(0);
    assert_eq!(markers.map(asked), [2, 2, 2, 2]);
    assert_eq!(
        (exit(&resumed.seen()[3]).as_str(), resumed.spent("resent")),
        ("Returned", 4)
    );
}

/// A tool call that could reach nothing outside is made again against its own records, and ends as interrupted where it differs from them: nothing that it
/// had under way is sent again.
#[test]
fn a_tool_call_that_differs_from_its_records_ends_as_interrupted() {
    let server = ModelServer::start(
        Script::default()
            .when("INSIDE ONE", [Turn::text("one")])
            .when("INSIDE TWO", [stall()])
            .when("AFTER", [Turn::text("after")]),
    );
    let home = Home::with_model(&server, Format::OpenAi);
    let compute = json!({ "do": "compute", "n": 250_000_000 });
    let inside = json!([ask("INSIDE ONE"), compute, { "do": "info" }, ask("INSIDE TWO")]);
    let call = json!({ "do": "call", "name": "probe", "arguments": { "steps": inside } });
    let host = home.host().args(STRETCH).args(["--allow", "probe-tool=llm"]);
    let host = host.arg("--tool").arg(guests::built("probe-tool"));
    stopped(&server, host.probe(&steps(&[call, ask("AFTER")])), 2, Signal::KILL);
    let run = home.newest_run();
    let resumed = held_up(resume(&home, &run).start(), || true).expect(0);
    let told = &resumed.seen()[0];
    assert_eq!(refusal(told).as_deref(), Some("interrupted"), "{told}");
    assert_eq!(
        message(told),
        "The host went down while probe ran, and the call could not be taken up again."
    );
    let standing = [
        ("1", "interrupted"),
        ("1.1", "done"),
        ("1.2", "cancelled"),
        ("2", "done"),
    ];
    let standing: Vec<_> = standing.map(|(op, status)| (op.to_owned(), status.to_owned())).into();
    let mut operations = operations(&home.shown(&run));
    operations.sort();
    assert_eq!(operations, standing);
    // What was under way in it may have been sent: it counts.
    assert_eq!((resumed.spent("iterations"), resumed.spent("resent")), (3, 0));
    assert_eq!(server.requests().len(), 3, "nothing is sent again");
}

/// Agents that are told again compute, and give no place up meanwhile: one that was there before waits for its place, however long they take.
#[test]
fn children_that_are_taken_up_wait_for_a_place() {
    // As many as a provider is asked at once from the beginning on.
    const CHILDREN: usize = 8;
    let server = ModelServer::start(
        Script::default()
            .when("TWO", Script::from(vec![stall(); CHILDREN]).then(Turn::text("two")))
            .when("ONE", Script::always(Turn::text("one"))),
    );
    let home = Home::with_model(&server, Format::OpenAi);
    let compute = json!({ "do": "compute", "n": 90_000_000 });
    let child = ChildSpec::probe(&steps(&[ask("ONE"), compute, ask("TWO")]));
    let mut program = vec![child.spawn(); CHILDREN];
    program.extend((0..CHILDREN).map(join));
    let limits = ["--set", "limits.resident=1", "--set", "limits.start_wall=1s"];
    let begun = Instant::now();
    stopped(
        &server,
        home.host().args(limits).probe(&steps(&program)),
        2 * CHILDREN,
        Signal::KILL,
    );
    assert!(
        begun.elapsed() > Duration::from_secs(1),
        "they compute for longer than a start may wait"
    );
    let resumed = resume(&home, &home.newest_run()).output().expect(0);
    let seen = resumed.seen();
    for joined in &seen[CHILDREN..] {
        assert_eq!(exit(joined), "Returned", "{joined}");
    }
    assert_eq!(
        (server.requests().len(), resumed.spent("resent")),
        (3 * CHILDREN, CHILDREN as u64)
    );
}

/// A run that is stopped before it has come to the end of its record is charged for nothing of what is under way, its children's included: that is sent
/// again, and counts then.
#[test]
fn a_stop_before_the_record_ends_charges_nothing() {
    let script = Script::default()
        .when("CHILD", [stall(), Turn::text("child")])
        .when("ROOT", [stall(), Turn::text("root")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[
        ChildSpec::probe(&steps(&[ask("CHILD")])).spawn(),
        open(),
        json!({ "do": "compute", "n": 400_000_000 }),
        put("a"),
        ask("ROOT"),
        join(0),
    ]);
    stopped(&server, home.host().probe(&program), 2, Signal::KILL);
    let run = home.newest_run();
    let process = resume(&home, &run).start();
    let begun = Instant::now();
    // It is in the long stretch.
    while process.processor_ticks() < 25 {
        assert!(begun.elapsed() < LONG, "it never computed");
    }
    process.signal(Signal::INT);
    let stopped = process.finish().expect(130);
    assert_eq!(server.requests().len(), 2, "nothing is sent");
    assert_eq!((stopped.spent("iterations"), stopped.spent("tokens")), (0, 0));
    let spent = &home.shown(&run)["spent"];
    assert_eq!((&spent["iterations"], &spent["tokens"]), (&json!(0), &json!(0)));
    let resumed = resume(&home, &run).output().expect(0);
    assert_eq!((resumed.spent("iterations"), resumed.spent("resent")), (2, 2));
    assert_eq!(resumed.spent("children"), 1);
}

#[test]
fn a_stretch_that_is_told_again_takes_none_of_the_time() {
    let server = ModelServer::start(Script::from(vec![stall(); 4]).then(Turn::text("done")));
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[open(), json!({ "do": "compute", "n": 300_000_000 }), put("a"), ask("1")]);
    stopped(&server, home.host().probe(&program), 1, Signal::INT);
    let run = home.newest_run();
    let first = home.shown(&run)["spent"]["wall_clock_ms"].as_u64().unwrap();
    for n in 2..=4 {
        stopped(&server, resume(&home, &run), n, Signal::INT);
    }
    let last = home.shown(&run)["spent"]["wall_clock_ms"].as_u64().unwrap();
    assert!(last < 2 * first, "{first} ms, and {last} ms after three resumes");
}

/// What a run spent is not forgotten when it is ended without its process, and what was under way may have cost all that was set aside.
#[test]
fn a_cancel_keeps_what_was_spent() {
    let server = ModelServer::start([Turn::text("a"), Turn::text("b"), stall()]);
    let home = Home::with_model(&server, Format::OpenAi);
    let child = ChildSpec::probe(&steps(&[ask("1"), ask("2"), ask("3")]));
    stopped(
        &server,
        home.host().probe(&steps(&[child.spawn(), join(0)])),
        3,
        Signal::KILL,
    );
    let run = home.newest_run();
    let before = home.shown(&run);
    assert_eq!(before["spent"]["iterations"], 2);
    home.host().args(["cancel", &run]).output().expect(0);
    let after = home.shown(&run);
    let tokens = |shown: &Value| shown["spent"]["tokens"].as_u64().unwrap();
    assert!(
        tokens(&after) > tokens(&before),
        "{} then {}",
        before["spent"],
        after["spent"]
    );
    assert_eq!(
        (&after["status"], &after["spent"]["iterations"]),
        (&json!("cancelled"), &json!(3))
    );
    assert_eq!(after["agents"][1]["spent"]["iterations"], 3);
    assert!(operations(&after).iter().all(|(_, status)| status != "open"), "{after}");
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs[0]["spent"]["iterations"], 3);
}

/// What a run spent that was killed is told by its journal: of each agent what it did up to its last record, and of all of them no less than that.
#[test]
fn a_run_that_was_killed_spent_no_less_than_its_agents() {
    let script = Script::default().when("ONE", Script::always(Turn::text("one")));
    let server = ModelServer::start(script.when("TWO", Script::always(stall())));
    let home = Home::with_model(&server, Format::OpenAi);
    let compute = json!({ "do": "compute", "n": 1_000_000 });
    let child = ChildSpec::probe(&steps(&[ask("ONE"), compute, ask("TWO")]));
    let program = steps(&[open(), put("a"), child.spawn(), child.spawn(), join(0), join(1)]);
    stopped(&server, home.host().probe(&program), 4, Signal::KILL);
    let run = home.newest_run();
    let shown = home.shown(&run);
    let of = |spent: &Value, dimension: &str| spent[dimension].as_u64().unwrap();
    let agents = shown["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 3);
    for agent in agents {
        assert_eq!(agent["status"], "interrupted", "{agent}");
        for dimension in ["fuel", "host_calls", "journal_bytes"] {
            assert!(of(&agent["spent"], dimension) > 0, "{dimension}: {agent}");
        }
    }
    let sum =
        |agents: &[Value], dimension: &str| -> u64 { agents.iter().map(|agent| of(&agent["spent"], dimension)).sum() };
    // These are an agent's own.
    for dimension in ["iterations", "fuel", "journal_bytes"] {
        let (all, parts) = (of(&shown["spent"], dimension), sum(agents, dimension));
        assert!(all >= parts, "{dimension}: {all} of all, {parts} of each: {shown}");
    }
    // These count for those above it too.
    for dimension in ["host_calls", "tokens", "children", "stored_bytes"] {
        let root = of(&agents[0]["spent"], dimension);
        let below = sum(&agents[1..], dimension);
        assert!(root >= below, "{dimension}: {root} of the root, {below} below: {shown}");
        assert!(of(&shown["spent"], dimension) >= root, "{dimension}: {shown}");
    }
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    assert_eq!(runs[0]["spent"], shown["spent"]);
    // It is not forgotten when it is ended without its process.
    home.host().args(["cancel", &run]).output().expect(0);
    let after = home.shown(&run);
    for dimension in ["fuel", "host_calls", "journal_bytes", "wall_clock_ms", "iterations"] {
        let (before, now) = (of(&shown["spent"], dimension), of(&after["spent"], dimension));
        assert!(now >= before, "{dimension}: {before}, then {now}");
    }
}

/// A cancel that comes when the root's end is recorded and the run's row has not been told of it: the end stands, with its answer.
#[test]
fn an_end_that_is_recorded_stands() {
    let server = ModelServer::start([Turn::text("a")]);
    let program = steps(&[ask("1")]);
    let mut ended = 0;
    let counted = Shim::new().rule("write", "hermes.db-wal", When::Always, &Action::Count);
    let whole = Home::with_model(&server, Format::OpenAi);
    counted.on(whole.host().probe(&program)).output().expect(0);
    let writes = counted.count(0);
    for n in (1..=8).filter_map(|back| writes.checked_sub(back)) {
        let server = ModelServer::start([Turn::text("a")]);
        let home = Home::with_model(&server, Format::OpenAi);
        let shim = Shim::new().rule("write", "hermes.db-wal", When::At(n + 1), &Action::KillBefore);
        shim.on(home.host().probe(&program)).output();
        let run = home.newest_run();
        let shown = home.shown(&run);
        let (root, row) = (shown["agents"][0]["status"].clone(), shown["status"].clone());
        if root != "completed" || row == "completed" {
            continue;
        }
        ended += 1;
        home.host().args(["cancel", &run]).output();
        let after = home.shown(&run);
        assert_eq!(
            (&after["status"], &after["outcome"]),
            (&json!("completed"), &json!("achieved")),
            "{after}"
        );
    }
    assert!(ended > 0, "no kill came between the two");
}

/// Below a child that can't be taken up again nothing stays under way, and what the child had so far reaches its parent.
#[test]
fn below_a_child_that_is_gone_nothing_goes_on() {
    let server = ModelServer::start(Script::default().when("DEEP", [stall()]));
    let home = Home::with_model(&server, Format::OpenAi);
    let report = json!({ "outcome": "PartlyAchieved", "summary": "So far.", "artifacts": [], "open_questions": [] });
    let deep = ChildSpec::probe(&steps(&[ask("DEEP")]));
    let checkpoint = json!({ "do": "checkpoint", "report": report });
    let child = ChildSpec::probe(&steps(&[checkpoint, deep.spawn(), join(0)])).with("model", "other");
    let program = steps(&[child.spawn(), join(0)]);
    let file = home.path().join("host/config.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    home.configure(&second(&server));
    let host = home.host().args(["--allow", "llm:other"]).probe(&program);
    stopped(&server, host, 1, Signal::KILL);
    let run = home.newest_run();
    std::fs::write(&file, before).unwrap();
    let resumed = resume(&home, &run).output().expect(0);
    let seen = resumed.seen();
    assert!(seen[1].to_string().contains("So far."), "{}", seen[1]);
    let shown = home.shown(&run);
    let agents = shown["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 3);
    assert!(agents.iter().all(|agent| agent["ended_ms"].is_u64()), "{shown}");
    assert!(operations(&shown).iter().all(|(_, status)| status != "open"), "{shown}");
}

/// Another provider at the same server, and a name for a model of it.
fn second(server: &ModelServer) -> String {
    let base_url = server.base_url(Format::OpenAi);
    format!(
        "\n[providers.second]\nkind = \"openai\"\nbase_url = \"{base_url}\"\nkey_env = \"{KEY_VARIABLE}\"\n\n[aliases]\nother = \"second/model\"\n"
    )
}

/// A tool that reached out is not called again: what it had under way ends with it. So it is where a resume takes away what it reached.
#[test]
fn what_a_tool_had_under_way_ends_with_it() {
    for denied in [&[][..], &["--deny", "fs"]] {
        let server = ModelServer::start(
            Script::default()
                .when("INSIDE", [stall()])
                .when("AFTER", [Turn::text("ok")]),
        );
        let home = Home::with_model(&server, Format::OpenAi);
        home.write("papers/a.txt", "a line");
        let inside = json!({ "do": "call", "name": "probe", "arguments": { "steps": [ask("INSIDE")] } });
        let program = steps(&[inside, ask("AFTER")]);
        let grants = [
            "--allow",
            "fs:./papers",
            "--allow",
            "probe-tool=llm",
            "--budget",
            "iterations=2",
        ];
        let host = home.host().args(grants).arg("--tool").arg(guests::built("probe-tool"));
        stopped(&server, host.probe(&program), 1, Signal::KILL);
        let run = home.newest_run();
        let resumed = resume(&home, &run).args(denied).output().expect(0);
        let told = &resumed.seen()[0];
        assert_eq!(refusal(told).as_deref(), Some("interrupted"), "{denied:?}: {told}");
        let shown = home.shown(&run);
        let operations = operations(&shown);
        assert!(
            operations.iter().all(|(_, status)| status != "open"),
            "{denied:?}: {operations:?}"
        );
        assert!(
            operations.contains(&("1.1".to_owned(), "cancelled".to_owned())),
            "{denied:?}: {operations:?}"
        );
        let audit = ["show", &run, "--audit", "--output", "json"];
        let audit = home.host().args(audit).output().expect(0).json();
        let mut rows = audit.as_array().unwrap().iter();
        assert!(
            rows.any(|row| row["way"] == "unfinished" && row["target"] == "probe"),
            "{denied:?}: {audit}"
        );
        // It may have been sent: it counts.
        assert_eq!(resumed.spent("iterations"), 2, "{denied:?}");
        assert_eq!(server.requests().len(), 2, "{denied:?}");
    }
}

/// What a tool may have sent and sends again is told like a completion that is, and costs no more than the one call.
#[test]
fn a_page_that_is_fetched_again_is_told_as_sent_again() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let asked = AtomicUsize::new(0);
    let site = Site::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 | 1 => loop {
            std::thread::park();
        },
        _ => site::answer("200 OK", &[("content-type", "text/plain")], "a page"),
    });
    let fetch = |path: &str| json!({ "do": "call", "name": "fetch_page", "arguments": { "url": site.url(path) } });
    let net = format!("net:GET@{}", site.url(""));
    let host = home.host().args(["--allow", &net, "--budget", "tree.tool-calls=2"]);
    let mut host = host.probe(&steps(&[fetch("/a"), fetch("/b")]));
    let mut run = String::new();
    for n in 1..=2 {
        let process = host.start();
        let begun = Instant::now();
        while site.asked().len() < n {
            assert!(begun.elapsed() < LONG, "it never asked for the page");
        }
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        run = home.newest_run();
        assert_eq!(home.shown(&run)["agents"][0]["resent"], n - 1);
        host = resume(&home, &run);
    }
    let resumed = host.output().expect(0);
    for seen in resumed.seen() {
        assert!(
            refusal(&seen).is_none() && seen.to_string().contains("a page"),
            "{seen}"
        );
    }
    let paths: Vec<String> = site.asked().into_iter().map(|asked| asked.path).collect();
    assert_eq!(paths, ["/a", "/a", "/a", "/b"]);
    let spent = ["tool_calls", "resent", "resent_tokens", "resent_cost_micro_usd"].map(|key| resumed.spent(key));
    assert_eq!(spent, [2, 2, 0, 0]);
    assert_eq!(home.shown(&run)["resent"], 2);
    for command in ["show", "tree"] {
        let text = home.host().args([command, &run]).output().expect(0).stdout;
        assert!(text.contains("2 calls sent again"), "{text}");
    }
}

/// A completion that its guest had cancelled, and whose outcome was lost with the host, was sent: it is charged for, and not sent again.
#[test]
fn what_was_cancelled_is_charged_and_not_sent_again() {
    // On a fast machine a sweep may find all of it counted at once.
    let met = (0..8).any(|_| sweeps_over_cancels() > 0);
    assert!(met, "no kill came between a cancel and what it came to");
}

/// Kills a run that cancels its completions at each sync, and takes it up again; how many cancels had not come to anything by then.
#[track_caller]
fn sweeps_over_cancels() -> usize {
    const ASKED: usize = 8;
    // It takes a moment to count what a request of this length came to: meanwhile other things are written down.
    let long = format!("ONE {}", "word ".repeat(200_000));
    let mut program = vec![
        json!({ "do": "open", "name": "shared" }),
        json!({ "do": "repeat", "n": ASKED, "steps": [
            { "do": "start", "messages": [{ "User": [{ "Text": long }] }] },
        ] }),
        json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 }),
    ];
    program.extend((0..ASKED).map(|n| json!({ "do": "cancel", "pending": n })));
    program.push(put("after"));
    program.extend((0..ASKED).map(|n| json!({ "do": "wait", "pending": n })));
    let program = steps(&program).to_string();
    let mut lost = 0;
    for sync in 1.. {
        let server = ModelServer::start(Script::always(stall()));
        let home = Home::with_model(&server, Format::OpenAi);
        // A program of this length is no argument.
        let task = home.write("task", &program);
        let shim = Shim::new().rule("sync", "-wal", When::At(sync), &Action::KillAfter);
        let host = home.host().args(["--allow", "blackboard:shared"]);
        let host = host.run(&guests::built("probe"), "-").reads(&task);
        let mut process = shim.on(host).start();
        while server.asked() < ASKED && !process.has_ended() {
            std::thread::yield_now();
        }
        let go = ["blackboard", "put", "shared", "go", "now"];
        home.host().args(go).output().expect(0);
        if process.finish().code.is_some() {
            break;
        }
        if server.asked() < ASKED {
            continue;
        }
        let run = home.newest_run();
        let before = operations(&home.shown(&run));
        if before.iter().all(|(op, _)| *op != (ASKED + 1).to_string()) {
            // What comes after the cancels is not there, and so perhaps not all of them.
            continue;
        }
        let open = before.iter().filter(|(_, status)| status == "open").count();
        if home.shown(&run)["agents"][0]["status"] == "completed" {
            continue;
        }
        lost += open;
        let resumed = resume(&home, &run).output().expect(0);
        assert_eq!(server.asked(), ASKED, "sync {sync}: nothing is sent again");
        let told = &resumed.seen()[3 + ASKED + 1..];
        assert!(
            told.iter().all(|told| refusal(told).as_deref() == Some("cancelled")),
            "{told:?}"
        );
        let shown = home.shown(&run);
        for op in shown["agents"][0]["operations"].as_array().unwrap() {
            let charged = |dimension: &str| op["charged"][dimension].as_u64().unwrap();
            let of_completion = op["kind"] == "completion";
            assert!(
                !of_completion || charged("iterations") == 1 && charged("tokens") > 10_000,
                "{op}"
            );
        }
        let counted = (resumed.spent("iterations"), resumed.spent("resent"));
        assert_eq!(counted, (ASKED as u64, 0), "sync {sync}");
    }
    lost
}

/// What is sent again and does not get through was sent once: its iteration is not given back.
#[test]
fn what_can_not_be_sent_again_was_sent() {
    let server = ModelServer::start([stall()]);
    let home = Home::with_model(&server, Format::OpenAi);
    let host = home.host().set("limits.llm.tries", 1);
    stopped(&server, host.probe(&steps(&[ask("ONE")])), 1, Signal::KILL);
    drop(server);
    let resumed = resume(&home, &home.newest_run()).output().expect(0);
    assert!(refusal(&resumed.seen()[0]).is_some(), "{:?}", resumed.seen());
    assert_eq!((resumed.spent("iterations"), resumed.spent("resent")), (1, 1));
}

/// What was sent twice may have been paid for twice: that is told beside what was spent.
#[test]
fn what_a_lost_answer_may_have_cost_is_told() {
    let server = ModelServer::start(Script::from([stall(), stall()]).then(Turn::text("one")));
    let home = Home::with_model(&server, Format::OpenAi);
    stopped(&server, home.host().probe(&steps(&[ask("ONE")])), 1, Signal::KILL);
    let run = home.newest_run();
    stopped(&server, resume(&home, &run), 2, Signal::KILL);
    let resumed = home.host().args(["resume", &run]).output().expect(0);
    resumed.says(&["2 calls sent again (lost: up to "]);
    let shown = home.shown(&run);
    let of = |name: &str| shown[name].as_u64().unwrap();
    // Twice what was set aside for one.
    assert!(
        of("resent") == 2 && of("resent_tokens") > 8_000 && of("resent_tokens") % 2 == 0,
        "{shown}"
    );
    assert!(of("resent_cost_micro_usd") > 10_000, "{shown}");
    assert!(
        shown["spent"]["tokens"].as_u64().unwrap() < of("resent_tokens") / 2,
        "no agent is charged for it"
    );
    for name in ["resent", "resent_tokens", "resent_cost_micro_usd"] {
        assert_eq!(shown["agents"][0][name], shown[name], "{name}");
    }
    for command in ["show", "tree"] {
        let said = home.host().args([command, &run]).output().expect(0).stdout;
        assert!(said.contains("2 calls sent again (lost: up to "), "{said}");
    }
}

/// What is sent again is the same request within what it had set aside: a budget that is used up besides refuses it nothing, also where the iteration that
/// makes room comes back later in the record.
#[test]
fn what_is_sent_again_keeps_what_it_had_set_aside() {
    let ran = |killed: bool| {
        let first = |answer: &str| match killed {
            true => vec![stall(), Turn::text(answer)],
            false => vec![Turn::text(answer)],
        };
        let code = Turn::call("run_script", &json!({ "script": "40 + 2" }));
        let script = Script::default()
            .when("ALPHA", first("alpha"))
            .when("CODE", [code, Turn::text("done")])
            .when("THREE", [Turn::text("three")])
            .when("FOUR", first("four"));
        let server = ModelServer::start(script);
        let home = Home::with_model(&server, Format::OpenAi);
        let program = steps(&[
            json!({ "do": "start", "messages": [{ "User": [{ "Text": "ALPHA" }] }] }),
            json!({ "do": "agent", "user": "CODE", "turns": 4 }),
            ask("THREE"),
            ask("FOUR"),
            json!({ "do": "wait", "pending": 0 }),
        ]);
        // All of its iterations: the first answer of CODE gives its own back.
        let host = home.host().args(["--budget", "iterations=4,tokens=60000"]);
        let host = host.probe(&program);
        if !killed {
            return (host.output().expect(0), server.requests(), home);
        }
        stopped(&server, host, 5, Signal::KILL);
        let resumed = resume(&home, &home.newest_run()).output().expect(0);
        (resumed, server.requests(), home)
    };
    let (whole, ..) = ran(false);
    let (resumed, requests, home) = ran(true);
    assert_eq!(resumed.seen(), whole.seen());
    let counted = |output: &Output| ["iterations", "tool_calls", "refunded"].map(|name| output.spent(name));
    assert_eq!((counted(&resumed), counted(&whole)), ([4, 1, 1], [4, 1, 1]));
    for words in ["ALPHA", "FOUR"] {
        let sent: Vec<_> = requests.iter().filter(|sent| sent.last().contains(words)).collect();
        assert_eq!(sent.len(), 2, "{words}");
        assert_eq!(sent[0].body, sent[1].body, "{words}");
    }
    assert_eq!(requests.len(), 7);
    let shown = home.shown(&home.newest_run());
    assert_eq!(shown["resent"], 2);
    for key in ["resent_tokens", "resent_cost_micro_usd"] {
        assert_eq!(json!(resumed.spent(key)), shown[key], "{key}");
    }
}

/// What lost sends may have cost counts against the whole run's limit, and takes no room from the call itself.
#[test]
fn a_lost_send_takes_no_room_from_its_own_call() {
    const TREE: u64 = 4000;
    let server = ModelServer::start(Script::from([stall(), stall()]).then(Turn::text("one")));
    let home = Home::with_model(&server, Format::OpenAi);
    let budget = format!("tree.tokens={TREE}");
    let host = home.host().args(["--budget", &budget]).probe(&steps(&[ask("ONE")]));
    stopped(&server, host, 1, Signal::KILL);
    let run = home.newest_run();
    stopped(&server, resume(&home, &run), 2, Signal::KILL);
    let resumed = resume(&home, &run).output().expect(0);
    assert_eq!(refusal(&resumed.seen()[0]), None, "{:?}", resumed.seen());
    assert_eq!((resumed.spent("iterations"), resumed.spent("resent")), (1, 2));
    let lost = resumed.spent("resent_tokens");
    assert!(
        lost > TREE && lost.is_multiple_of(2),
        "there is no room for two of them: {lost}"
    );
    let bodies: Vec<_> = server.requests().into_iter().map(|sent| sent.body).collect();
    assert_eq!(bodies, vec![bodies[0].clone(); 3]);
}

/// A run that is stopped while its agent ends leaves nothing without an outcome where that end is recorded; else it goes on, and ends so.
#[test]
fn a_stop_while_an_agent_ends_leaves_nothing_open() {
    const ASKED: usize = 200;
    let start = json!({ "do": "start", "messages": [{ "User": [{ "Text": "ONE" }] }] });
    let program = steps(&[
        json!({ "do": "open", "name": "shared" }),
        json!({ "do": "repeat", "n": ASKED, "steps": [start] }),
        json!({ "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 600_000 }),
    ]);
    for round in 0..6 {
        let server = ModelServer::start(Script::always(stall()));
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home
            .host()
            .args(["--allow", "blackboard:shared", "--budget", "iterations=200"]);
        let process = host.probe(&program).start();
        // The others wait for their turn.
        server.wait_for(1, LONG);
        let go = home.host().args(["blackboard", "put", "shared", "go", "now"]).start();
        // It has returned, and what it had under way ends with it.
        let begun = Instant::now();
        while server.broken_off() == 0 {
            assert!(begun.elapsed() < LONG, "it never came to its end");
        }
        process.signal(Signal::INT);
        process.finish();
        go.finish().expect(0);
        let run = home.newest_run();
        if home.shown(&run)["status"] == "interrupted" {
            resume(&home, &run).output().expect(0);
        }
        let shown = home.shown(&run);
        let left = operations(&shown);
        assert_eq!(
            (&shown["status"], left.len()),
            (&json!("completed"), ASKED),
            "round {round}"
        );
        assert!(
            left.iter().all(|(_, status)| status == "cancelled"),
            "round {round}: {left:?}"
        );
        assert_eq!(shown["spent"]["iterations"], ASKED, "round {round}");
    }
}

/// A model that was not there is no end that a fork could not go back behind.
#[test]
fn a_fork_goes_on_from_where_the_model_was_gone() {
    let gone = || {
        Turn::fault(Fault::Status {
            code: 400,
            retry_after: None,
        })
    };
    let server = ModelServer::start([
        Turn::text("one"),
        gone(),
        gone(),
        Turn::text("two"),
        Turn::text("three"),
    ]);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[ask("1"), ask("2"), ask("3")]);
    home.host().probe(&program).output().expect(0);
    let run = home.newest_run();
    let forked = home
        .host()
        .args(["replay", &run, "--fork", "--output", "json"])
        .output()
        .expect(0);
    let said = |at: usize| forked.seen()[at]["ok"]["parts"][0]["Text"].clone();
    assert_eq!(
        (said(0), said(1), said(2)),
        (json!("one"), json!("two"), json!("three"))
    );
    assert_eq!(server.requests().len(), 5);
}

/// One that was begun before the others and asked for last was gone as well: its failure had not been told by then.
#[test]
fn a_fork_asks_again_what_was_started_before_the_model_was_gone() {
    let gone = Turn::fault(Fault::Status {
        code: 400,
        retry_after: None,
    });
    let script = Script::default()
        .when("ONE", [gone, Turn::text("one")])
        .when("TWO", [Turn::text("two"), Turn::text("two again")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let program = steps(&[
        json!({ "do": "start", "messages": [{ "User": [{ "Text": "ONE" }] }] }),
        ask("TWO"),
        json!({ "do": "wait", "pending": 0 }),
    ]);
    let ran = home.host().probe(&program).output().expect(0);
    assert_eq!(
        refusal(&ran.seen()[2]).as_deref(),
        Some("invalid-input"),
        "{}",
        ran.seen()[2]
    );
    let run = home.newest_run();
    let host = home.host().args(["replay", &run, "--fork", "--output", "json"]);
    let forked = host.output().expect(0);
    let said = |at: usize| forked.seen()[at]["ok"]["parts"][0]["Text"].clone();
    assert_eq!((said(1), said(2)), (json!("two"), json!("one")));
    assert_eq!((server.requests().len(), forked.spent("iterations")), (3, 2));
    let again = home.host().args(["replay", &home.newest_run(), "--fork"]).output();
    again.expect(2).says(&["would end again as it did"]);
}

/// A run that was granted `papers`, killed while it waits for its model.
fn killed_with_a_folder() -> (ModelServer, Home, String) {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    home.write("papers/a.txt", "a line");
    let host = home.host().args(["--allow", "fs:./papers"]);
    stopped(&server, host.probe(&steps(&[ask("1")])), 1, Signal::KILL);
    let run = home.newest_run();
    (server, home, run)
}

/// Without the folders that it was granted a run does not go on: it waits until they are back.
#[test]
fn a_run_whose_folder_is_gone_stays_as_it_was() {
    let (server, home, run) = killed_with_a_folder();
    let (there, away) = (home.work().join("papers"), home.work().join("away"));
    std::fs::rename(&there, &away).unwrap();
    resume(&home, &run)
        .output()
        .expect(2)
        .says(&["papers", "can't be found", "--deny fs"]);
    assert_eq!(server.requests().len(), 1);
    std::fs::rename(&away, &there).unwrap();
    resume(&home, &run).output().expect(0);
}

/// What was granted when a run began may hold by now what is never granted: a provider's key, or the host's own state behind a link.
#[test]
fn a_run_goes_on_with_no_folder_that_could_not_be_granted_now() {
    let (server, home, run) = killed_with_a_folder();
    let file = home.path().join("host/config.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let key = home.write("papers/key", "sk-other");
    home.configure(&format!(
        "\n[providers.other]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nkey_file = \"{}\"\n",
        key.display()
    ));
    resume(&home, &run)
        .output()
        .expect(2)
        .says(&["papers/key", "key_file", "--deny fs"]);
    std::fs::write(&file, before).unwrap();
    let (own, there) = (
        home.path().join("host/components"),
        home.work().join("papers/components"),
    );
    std::fs::rename(&own, &there).unwrap();
    std::os::unix::fs::symlink(&there, &own).unwrap();
    resume(&home, &run)
        .output()
        .expect(2)
        .says(&["the host's own state", "--deny fs"]);
    std::fs::remove_file(&own).unwrap();
    std::fs::rename(&there, &own).unwrap();
    // Nor with another folder than it was.
    let (papers, away) = (home.work().join("papers"), home.work().join("away"));
    std::fs::rename(&papers, &away).unwrap();
    std::os::unix::fs::symlink(&away, &papers).unwrap();
    resume(&home, &run).output().expect(2).says(&["it leads elsewhere now"]);
    std::fs::remove_file(&papers).unwrap();
    std::fs::rename(&away, &papers).unwrap();
    assert_eq!(server.requests().len(), 1);
    resume(&home, &run).output().expect(0);
}

#[test]
fn a_resume_tells_first_that_it_is_one() {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("a")));
    let home = Home::with_model(&server, Format::OpenAi);
    stopped(&server, home.host().probe(&steps(&[ask("1")])), 1, Signal::KILL);
    let run = home.newest_run();
    let output = home
        .host()
        .args(["resume", &run, "--output", "events"])
        .output()
        .expect(0);
    let events = output.events();
    assert_eq!(
        (&events[0]["event"], &events[0]["run"]),
        (&json!("resumed"), &json!(run))
    );
    assert!(events.iter().all(|event| event["event"] != "run-started"), "{events:?}");
}

/// What an agent said before its process was killed stands in the journal, and is neither written nor told again, however often it is resumed.
#[test]
fn what_was_said_before_a_kill_is_said_once() {
    let words = ["First.", "Second.", "Last."];
    let [first, second, last] = words.map(says);
    let program = steps(&[&first[..], &[ask("1")], &second, &[ask("2")], &last].concat());
    let server = ModelServer::start([Turn::text("one"), stall(), stall(), Turn::text("two")]);
    let home = Home::with_model(&server, Format::OpenAi);
    let emitted = |output: &Output| -> Vec<Value> {
        // A kill may cut the last line.
        let lines = output.stdout.lines();
        let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let emits = events.filter(|event| event["event"] == "emit");
        emits.map(|event| event["text"].clone()).collect()
    };
    stopped(&server, home.host().probe(&program), 2, Signal::KILL);
    let run = home.newest_run();
    // The texts that it emitted are written when it ends, or with much more of them.
    let before = said(&home.shown(&run)["agents"][0]);
    assert_eq!(before.len(), 6, "{before:?}");
    let resume = || home.host().args(["resume", &run, "--output", "events"]);
    let again = stopped(&server, resume(), 3, Signal::KILL);
    assert_eq!(emitted(&again), Vec::<Value>::new());
    assert_eq!(said(&home.shown(&run)["agents"][0]), before);
    let resumed = resume().output().expect(0);
    assert_eq!(emitted(&resumed), ["Last."]);
    let all = said(&home.shown(&run)["agents"][0]);
    let kinds: Vec<&str> = all.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["log", "progress", "emit", "checkpoint"].repeat(words.len()));
    let (emits, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(kind, _)| kind == "emit");
    assert_eq!(others[..6], before);
    let emits: Vec<&str> = emits.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(emits, words);
}

/// What an agent wrote before its process was killed was told by that one, and is not told again.
#[test]
fn what_was_written_before_a_kill_is_told_once() {
    let server = ModelServer::start(Script::from([stall()]).then(Turn::text("one")));
    let home = Home::with_model(&server, Format::OpenAi);
    let append = json!({ "do": "append", "space": 0, "prefix": "n/", "value": "x" });
    let delete = json!({ "do": "delete", "space": 0, "key": "a" });
    let program = steps(&[open(), put("a"), append, delete, ask("ONE"), put("b")]);
    stopped(&server, home.host().probe(&program), 1, Signal::KILL);
    let host = home.host().args(["resume", &home.newest_run(), "--output", "events"]);
    let events = host.output().expect(0).events();
    let wrote = events.iter().filter(|event| event["event"] == "wrote");
    let keys: Vec<Value> = wrote.map(|event| event["key"].clone()).collect();
    assert_eq!(keys, ["b"]);
}

/// What the spaces of a run may hold was settled when it began, whatever is configured where it goes on or is forked.
#[test]
fn the_spaces_of_a_run_hold_what_they_held() {
    const FULL: Option<&str> = Some("exhausted(stored-bytes)");
    let program = steps(&[open(), put("a"), put("b"), ask("ONE"), put("c")]);
    for (began, today, third) in [(10_000, 1, None), (2, 10_000, FULL)] {
        let server = ModelServer::start(Script::from([stall()]).then(Turn::text("one")));
        let home = Home::with_model(&server, Format::OpenAi);
        let host = home.host().set("limits.blackboard.keys", began);
        stopped(&server, host.probe(&program), 1, Signal::KILL);
        let run = home.newest_run();
        let fork = home.host().args(["replay", &run, "--fork", "--output", "json"]);
        for host in [fork, resume(&home, &run)] {
            let output = host.set("limits.blackboard.keys", today).output().expect(0);
            let seen = &output.seen()[4];
            assert_eq!(refusal(seen).as_deref(), third, "{began}, then {today}: {seen}");
        }
    }
}

/// A run that was stopped and goes on is under way, and nobody is told how to go on with it.
#[test]
fn a_run_that_goes_on_is_not_shown_as_stopped() {
    let server = ModelServer::start(Script::from([stall(), stall()]).then(Turn::text("one")));
    let home = Home::with_model(&server, Format::OpenAi);
    stopped(&server, home.host().probe(&steps(&[ask("ONE")])), 1, Signal::INT);
    let run = home.newest_run();
    let stands = || {
        let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
        let shown = home.host().args(["show", &run]).output().expect(0).stdout;
        (runs[0]["status"].clone(), shown.contains("hermes-host resume"))
    };
    assert_eq!(stands(), (json!("interrupted"), true));
    let process = resume(&home, &run).start();
    server.wait_for(2, LONG);
    assert_eq!(stands(), (json!("active"), false));
    process.signal(Signal::KILL);
    process.finish();
    assert_eq!(stands(), (json!("interrupted"), true));
}

/// What an agent was told does not stay in memory as long as it lives.
#[test]
fn an_agent_that_waits_keeps_nothing_that_it_was_told() {
    let resident = |calls: u64| {
        let server = ModelServer::start([stall()]);
        let home = Home::with_model(&server, Format::OpenAi);
        let text = "x".repeat(60_000);
        let call = json!({ "do": "call", "name": "echo", "arguments": { "text": text } });
        let program = steps(&[json!({ "do": "repeat", "n": calls, "steps": [call] }), ask("END")]);
        let host = home.host().arg("--tool").arg(guests::built("pure-echo"));
        let process = host.args(["--budget", "tool-calls=1000"]).probe(&program).start();
        server.wait_for(1, LONG);
        let resident = process.resident_kib();
        process.signal(Signal::KILL);
        process.finish();
        resident
    };
    // 300 answers are 18 MB. An instance that is built again at each of them reads all that came before it once more, and lets it go as it is told it.
    let again = std::env::var_os("HERMES_TEST_PASSIVATE").is_some();
    let (calls, most) = if again { (110, 50_000) } else { (310, 12_000) };
    let (few, many) = (resident(10), resident(calls));
    assert!(many < few + most, "{few} KiB after 10 calls, {many} KiB after {calls}");
}
