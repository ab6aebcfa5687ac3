//! What a terminal gets, and what a file or a pipe gets in its place: colour, a model's words while they come, and the
//! changes of a space of the blackboard.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use hermes_tests::child::{ChildSpec, join};
use hermes_tests::home::{KEY, KEY_VARIABLE};
use hermes_tests::host::binary;
use hermes_tests::model::{Fault, Format, ModelServer, Script, Turn};
use hermes_tests::terminal::Terminal;
use hermes_tests::{Home, Host, guests};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// How long something may take to be seen: a net, not a measure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command whose output is read while it comes.
struct Watched {
    child: Child,
    pieces: Receiver<Vec<u8>>,
    seen: String,
}

impl Watched {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, pieces) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let seen = String::new();
        Self { child, pieces, seen }
    }

    /// Takes in what comes next; nothing does after its end, or `until` then.
    fn reads(&mut self, until: Instant) -> bool {
        let piece = self
            .pieces
            .recv_timeout(until.saturating_duration_since(Instant::now()));
        if let Ok(piece) = &piece {
            self.seen.push_str(&String::from_utf8_lossy(piece));
        }
        piece.is_ok()
    }

    /// Waits until it has shown these words.
    #[track_caller]
    fn sees(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.contains(words) {
            assert!(self.reads(until), "{words:?} was not seen: {:?}", self.last());
        }
    }

    /// What it has shown last: a picture is drawn over and over.
    fn last(&self) -> String {
        let characters = self.seen.chars().count();
        self.seen.chars().skip(characters.saturating_sub(2000)).collect()
    }

    /// Waits for its end: all that it has shown, and its exit code.
    fn ends(mut self) -> (String, Option<i32>) {
        let until = Instant::now() + PATIENCE;
        while self.reads(until) {}
        assert!(Instant::now() < until, "it did not end: {:?}", self.last());
        let code = self.child.wait().unwrap().code();
        (std::mem::take(&mut self.seen), code)
    }

    /// Sends it a signal, and waits for its end.
    fn stops(self, signal: Signal) -> (String, Option<i32>) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.ends()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A test that fails leaves none behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `program` in the surroundings that [`Host`] gives the binary.
fn command(home: &Home, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(home.work());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HERMES_HOME", home.path()).env(KEY_VARIABLE, KEY);
    command
}

/// A line of the shell on a terminal; in it `hermes-host` is the binary.
fn on_terminal(home: &Home, line: &str) -> Command {
    let line = line.replace("hermes-host", &format!("'{}'", binary().display()));
    let mut script = command(home, Path::new("script"));
    script.env("TERM", "xterm-256color").env("SHELL", "/bin/sh");
    script.args(["--quiet", "--return", "--flush", "--command"]);
    script.arg(format!("stty cols 100 rows 40; {line}")).arg("/dev/null");
    script
}

/// Whether a text sets a colour or a weight: `ESC [ NUMBERS m`.
fn is_coloured(text: &str) -> bool {
    text.split("\u{1b}[").skip(1).any(|rest| {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        after.starts_with('m')
    })
}

/// What a terminal shows of an error.
#[track_caller]
fn error_on_terminal(change: impl FnOnce(Host) -> Host) -> String {
    let home = Home::empty();
    let host = change(home.host()).args(["--plugin", "./nowhere.wasm", "a task"]);
    let (screen, code) = Terminal::start(host).finish();
    assert_eq!(code, Some(2), "{screen}");
    assert!(screen.contains("there is no file ./nowhere.wasm"), "{screen:?}");
    screen
}

/// What it shows, without its colours.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |shown, piece| {
        shown
            + piece
                .split_once(|c: char| c.is_ascii_alphabetic())
                .map_or("", |(_, rest)| rest)
    })
}

#[test]
fn lines_are_as_wide_as_the_terminal_and_broken_between_words() {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let answer = "What was found says more than fits on a line. ".repeat(6);
    let program = json!({ "summary": answer }).to_string();
    home.write("task", program.as_bytes());
    let probe = guests::built("probe");
    let shown = |line: &str, columns: usize| {
        let line = format!("stty cols {columns}; {line}");
        let (shown, code) = Watched::start(on_terminal(&home, &line)).ends();
        assert_eq!(code, Some(0), "{shown}");
        plain(&shown).replace('\r', "")
    };
    let run = format!("hermes-host --plugin '{}' \"$(cat task)\" 2>/dev/null", probe.display());
    let said = shown(&run, 80);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>().join(" "), answer.trim());
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    home.host()
        .args(["blackboard", "put", "glossary", "dendrite", "a tree"])
        .output()
        .expect(0);
    let runs = home.host().args(["runs", "--output", "json"]).output().expect(0).json();
    let run = runs[0]["run"].as_str().unwrap();
    let inspected = format!("hermes-host inspect '{}'", guests::built("pure-echo").display());
    for columns in [80, 60] {
        for line in [
            "hermes-host runs",
            "hermes-host runs prune --older-than 0s --dry-run",
            "hermes-host blackboard ls",
            &format!("hermes-host tree {run}"),
            &format!("hermes-host show {run}"),
            &format!("hermes-host show {run} --grants"),
            &inspected,
        ] {
            let screen = shown(line, columns);
            for row in screen.lines() {
                // What has no space in it is there to be copied: a digest, a program of steps.
                let whole = row.split_whitespace().any(|word| word.len() > columns / 2);
                assert!(
                    row.chars().count() <= columns || whole,
                    "{row:?} of {line} in\n{screen}"
                );
            }
        }
    }
    let grants = shown(&format!("hermes-host show {run} --grants"), 60);
    let words = grants.split_whitespace().collect::<Vec<_>>().join(" ");
    let budget = "budget iterations 90 · wall 10 min · journal-bytes 64 MiB";
    assert!(words.contains(budget), "{grants}");
    let narrow = shown("hermes-host runs", 60);
    assert!(narrow.contains("age") && !narrow.contains("tokens"), "{narrow}");
    let piped = home.host().arg("runs").output().expect(0).stdout;
    assert!(piped.contains("tokens") && piped.contains("calls"), "{piped}");
}

#[test]
fn a_value_ends_its_line_on_a_terminal_alone() {
    let home = Home::empty();
    for (key, value, lines) in [("bare", "a tree", "a tree\n"), ("ended", "a tree\n", "a tree\n")] {
        board(&home, &["put", "glossary", key, value]);
        let line = format!("hermes-host blackboard get glossary {key}");
        let (shown, code) = Watched::start(on_terminal(&home, &line)).ends();
        assert_eq!((shown.replace('\r', "").as_str(), code), (lines, Some(0)));
        let piped = home.host().args(["blackboard", "get", "glossary", key]).output();
        assert_eq!(piped.expect(0).stdout, value);
    }
}

#[test]
fn a_change_fits_on_a_narrow_terminal() {
    let home = Home::empty();
    let key = "k".repeat(100);
    board(&home, &["put", "glossary", &key, "x"]);
    let mut watch = Watched::start(on_terminal(
        &home,
        "stty cols 60; exec hermes-host blackboard watch glossary",
    ));
    watch.sees("… by operator");
    let row = plain(&watch.seen).replace('\r', "");
    assert!(row.trim_end().chars().count() <= 60, "{row:?}");
}

#[test]
fn a_terminal_gets_colour_by_itself() {
    let coloured = |change: fn(Host) -> Host| is_coloured(&error_on_terminal(change));
    assert!(coloured(|host| host));
    assert!(coloured(|host| host.env("NO_COLOR", "")), "an empty NO_COLOR is none");
    assert!(!coloured(|host| host.env("NO_COLOR", "1")));
    assert!(!coloured(|host| host.env("TERM", "dumb")));
    assert!(!coloured(|host| host.args(["--color", "never"])));
    let asked = |host: Host| host.env("NO_COLOR", "1").args(["--color", "always"]);
    assert!(coloured(asked), "a flag is stronger than the environment");
}

#[test]
fn what_is_no_terminal_gets_no_colour() {
    let home = Home::empty();
    let error = home.host().args(["--plugin", "./nowhere.wasm", "a task"]).output();
    assert!(!error.stderr.contains('\u{1b}'), "{:?}", error.stderr);
    let doctor = home.host().arg("doctor").output();
    assert!(doctor.stdout.contains("configuration"), "{doctor:?}");
    assert!(!doctor.stdout.contains('\u{1b}'), "{:?}", doctor.stdout);
    // Standard output is asked for itself: here standard error alone is a terminal.
    let (piped, _) = Watched::start(on_terminal(&home, "hermes-host doctor | cat")).ends();
    assert!(piped.contains("configuration") && !is_coloured(&piped), "{piped:?}");
    let (shown, _) = Watched::start(on_terminal(&home, "hermes-host doctor")).ends();
    assert!(shown.contains("configuration") && is_coloured(&shown), "{shown:?}");
}

/// One piece of a streamed answer.
fn piece(delta: &Value, finish: &Value) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    format!(
        "data: {}\n\n",
        json!({ "id": "1", "object": "chat.completion.chunk", "choices": [choice] })
    )
}

/// Reads a request to its last byte.
fn read_request(stream: &TcpStream) {
    let mut reading = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reading.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    reading.read_exact(&mut vec![0; length]).unwrap();
}

/// A provider that says `first`, and `rest` when it is told to go on.
fn hesitant(first: &'static str, rest: &'static str) -> (SocketAddr, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go_on, told) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&stream);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        let begin = piece(&json!({ "role": "assistant", "content": first }), &Value::Null);
        stream.write_all((head.to_owned() + &begin).as_bytes()).unwrap();
        // A test that failed tells nobody.
        if told.recv().is_ok() {
            let end = piece(&json!({ "content": rest }), &Value::Null) + &piece(&json!({}), &json!("stop"));
            stream.write_all((end + "data: [DONE]\n\n").as_bytes()).unwrap();
        }
    });
    (address, go_on)
}

/// A home whose model is this provider's, and the program that asks it once.
fn asking(address: SocketAddr) -> (Home, String) {
    let server = ModelServer::start(Vec::new());
    let home = Home::with_model(&server, Format::OpenAi);
    let file = home.path().join("host/config.toml");
    let configuration = std::fs::read_to_string(&file).unwrap();
    let here = configuration.replace(&server.address().to_string(), &address.to_string());
    assert_ne!(here, configuration);
    std::fs::write(file, here).unwrap();
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let program = json!({ "steps": [ask], "summary": "An answer." });
    (home, program.to_string())
}

/// Asks on a terminal whose environment has this besides: all that it shows.
#[track_caller]
fn picture(variables: &[(&str, &str)]) -> String {
    let (address, go_on) = hesitant("Dendrites grow", " like trees.");
    let (home, program) = asking(address);
    let probe = guests::built("probe");
    let line = format!("exec hermes-host --plugin '{}' '{program}'", probe.display());
    let mut script = on_terminal(&home, &line);
    script.envs(variables.iter().copied());
    let mut terminal = Watched::start(script);
    // The provider says no more until this was seen.
    terminal.sees("Dendrites grow");
    assert!(!terminal.seen.contains("An answer."), "{:?}", terminal.seen);
    go_on.send(()).unwrap();
    let (screen, code) = terminal.ends();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.trim_end().ends_with("An answer."), "{screen:?}");
    screen
}

#[test]
fn a_terminal_shows_a_models_words_while_they_come() {
    let screen = picture(&[]);
    assert!(is_coloured(&screen), "{screen:?}");
    let cursor = ["\u{1b}[?25l", "\u{1b}[?25h"].map(|code| screen.rfind(code));
    assert!(
        cursor[0].is_some() && cursor[0] < cursor[1],
        "the cursor is given back: {screen:?}"
    );
}

#[test]
fn no_color_leaves_the_picture_without_colour() {
    let screen = picture(&[("NO_COLOR", "1")]);
    assert!(!is_coloured(&screen), "{screen:?}");
}

/// Every picture that a terminal was shown, in lines, without colours.
fn pictures(shown: &str) -> Vec<Vec<String>> {
    // Each is drawn while lines don't wrap.
    let drawn = shown.split("\u{1b}[?7l").skip(1);
    let drawn = drawn.filter_map(|rest| rest.split_once("\u{1b}[?7h"));
    let lines = drawn.map(|(picture, _)| plain(picture).lines().map(str::to_owned).collect());
    lines.collect()
}

/// What follows an agent's name in its row of a picture; `indent` columns before it are free.
fn row<'a>(picture: &'a [String], indent: usize, name: &str) -> Option<&'a str> {
    picture.iter().find_map(|line| {
        // A sign of one column, which turns while the agent works, comes first.
        let (sign, rest) = line.strip_prefix(&" ".repeat(indent))?.split_once(' ')?;
        let is_sign = sign.chars().count() == 1;
        rest.strip_prefix(name)?.strip_prefix(' ').filter(|_| is_sign)
    })
}

#[test]
fn children_at_work_have_a_row_each_on_a_terminal_of_eighty_columns() {
    const COLUMNS: usize = 80;
    let stalls = Turn::fault(Fault::StallBeforeHeaders);
    let script = Script::always(Turn::text("yes")).when("WRITE", Script::always(stalls));
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let ask = |words: &str| json!({ "do": "complete", "messages": [{ "User": [{ "Text": words }] }] });
    let progress = |message: &str| json!({ "do": "progress", "message": message });
    let child = |role: &str, steps: &[Value]| {
        let spec = ChildSpec::probe(&json!({ "steps": steps })).limit("Iterations", 7);
        let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
        spec.with("role", role).with("spaces", notes).spawn()
    };
    let long = "reads a paper whose title alone has more words than a line of this terminal has room for";
    let reads = [
        json!({ "do": "open", "name": "notes" }),
        ask("READ"),
        ask("READ"),
        progress(long),
        json!({ "do": "changes", "space": 0, "prefix": "never", "since": 0, "wait_ms": 600_000 }),
    ];
    let program = [
        child("reader", &reads),
        child("writer", &[ask("WRITE")]),
        progress("waits for both"),
        join(0),
    ];
    home.write("task", json!({ "steps": program }).to_string());
    let probe = guests::built("probe");
    let run = format!("exec hermes-host --plugin '{}' \"$(cat task)\"", probe.display());
    let mut terminal = Watched::start(on_terminal(&home, &format!("stty cols {COLUMNS}; {run}")));
    let agents = [
        (2, "root", "waits for both ", " 0/90 it "),
        (4, "reader 1", "reads a paper whose title", "…     2/7 it "),
        (4, "writer 2", "asks test/test-model ", " 1/7 it "),
    ];
    let shows_all = |picture: &Vec<String>| {
        agents.iter().all(|(indent, name, state, iterations)| {
            let row = row(picture, *indent, name).map(str::trim_start);
            row.is_some_and(|row| row.starts_with(state) && row.contains(iterations))
        })
    };
    let until = Instant::now() + PATIENCE;
    while !pictures(&terminal.seen).iter().any(shows_all) {
        assert!(terminal.reads(until), "{:#?}", pictures(&terminal.seen).last());
    }
    // Ctrl-C.
    terminal.child.stdin.as_mut().unwrap().write_all(&[3]).unwrap();
    let (screen, code) = terminal.ends();
    assert_eq!(code, Some(130), "{screen}");
    let last = pictures(&screen).pop();
    assert!(last.as_ref().is_some_and(shows_all), "they stay: {last:#?}");
    // Of the pictures and of what comes after them.
    let shown = plain(&screen).replace('\r', "");
    let wide = shown.lines().find(|line| line.chars().count() > COLUMNS);
    assert_eq!(wide, None, "of {COLUMNS} columns");
    assert!(shown.contains("hermes-host resume"), "{shown}");
}

#[test]
fn events_tell_a_models_words_while_they_come() {
    let (address, go_on) = hesitant("Dendrites grow", " like trees.");
    let (home, program) = asking(address);
    let mut host = command(&home, &binary());
    host.args(["--output", "events", "--plugin"])
        .arg(guests::built("probe"));
    host.arg(program);
    let mut events = Watched::start(host);
    events.sees("Dendrites grow");
    assert!(!events.seen.contains("run-ended"), "{}", events.seen);
    go_on.send(()).unwrap();
    let (lines, code) = events.ends();
    assert_eq!(code, Some(0), "{lines}");
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let pieces = events.filter(|event| event["event"] == "completion-text");
    let text: String = pieces.map(|event| event["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(text, "Dendrites grow like trees.");
}

/// Watches a space.
fn watch(home: &Home, arguments: &[&str]) -> Watched {
    let mut host = command(home, &binary());
    host.args(["blackboard", "watch"]).args(arguments);
    Watched::start(host)
}

fn board(home: &Home, words: &[&str]) {
    home.host().arg("blackboard").args(words).output().expect(0);
}

#[test]
fn changes_of_a_space_are_told_as_they_come() {
    let home = Home::empty();
    // There is no database yet.
    let mut watch = watch(&home, &["glossary"]);
    board(&home, &["put", "glossary", "dendrite", "a tree"]);
    watch.sees("     1 written dendrite by operator\n");
    board(&home, &["put", "glossary", "dendrite", "a crystal"]);
    watch.sees("     2 written dendrite by operator\n");
    board(&home, &["delete", "glossary", "dendrite"]);
    watch.sees("     3 deleted dendrite by operator\n");
    board(&home, &["put", "glossary", "\u{202e}red", "x"]);
    watch.sees("red by operator\n");
    let (shown, code) = watch.stops(Signal::INT);
    assert_eq!((shown.lines().count(), code), (4, Some(0)), "{shown:?}");
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
}

#[test]
fn only_changes_below_a_prefix_are_told() {
    let home = Home::empty();
    board(&home, &["put", "glossary", "a/1", "before"]);
    let mut watch = watch(&home, &["glossary", "--prefix", "a/", "--output", "json"]);
    watch.sees("\n");
    board(&home, &["put", "glossary", "b/1", "elsewhere"]);
    board(&home, &["delete", "glossary", "a/1"]);
    watch.sees("true");
    let (shown, code) = watch.stops(Signal::TERM);
    assert_eq!(code, Some(0), "{shown}");
    let lines: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let written = json!({ "key": "a/1", "version": 1, "author": "operator", "deleted": false });
    let removed = json!({ "key": "a/1", "version": 3, "author": "operator", "deleted": true });
    assert_eq!(lines, [written, removed]);
}

#[test]
fn changes_of_a_runs_space_name_their_agent() {
    let home = Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi);
    let open = json!({ "do": "open", "name": "notes" });
    let put = json!({ "do": "put", "space": 0, "key": "plan", "value": "read" });
    let host = home.host().args(["--deny", "llm"]);
    let run = host.probe(&json!({ "steps": [open, put] })).output().expect(0).json();
    let run = run["run"].as_str().unwrap();
    let mut watch = watch(&home, &[&format!("{run}/notes")]);
    watch.sees(&format!(" written plan by {run}.0\n"));
    assert_eq!(watch.stops(Signal::HUP).1, Some(0));
}
