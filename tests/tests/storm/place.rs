//! The process that is attacked: a host of the library, with a home, a model's server and all that the attacks need.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hermes_host::config::{Budget, Config, Sources};
use hermes_host::event::EventKind;
use hermes_host::run::{CompileIn, Host, HostError, RunHandle, RunOutcome, RunSpec};
use hermes_tests::home::{KEY, KEY_VARIABLE, provider};
use hermes_tests::host::binary;
use hermes_tests::model::{Format, ModelServer, Script, Turn};
use hermes_tests::output::{slack, steering};
use hermes_tests::well::has_ended;
use hermes_tests::{Home, clean, guests};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::cases::secrets::SECRET;
use crate::cases::{CLOCKS, Case, Does, End, SETTINGS, network, texts};
use crate::raw::Raw;
use crate::serves::{Serves, page};
use crate::{changed, healthy};

/// How long the clocks are that end what never comes back.
pub(crate) const CLOCK: Duration = Duration::from_secs(8);

/// How long others are waited for, in seconds. A tool that gives up a server has time left in its step.
const WAITS: [(&str, u64); 5] = [
    ("limits.http.total", CLOCK.as_secs() - 2),
    ("limits.llm.first_byte", CLOCK.as_secs()),
    ("limits.llm.idle", CLOCK.as_secs()),
    ("limits.llm.total", 3 * CLOCK.as_secs()),
    ("limits.compile.wall", 20),
];

/// The place, shared by all that goes on there.
#[derive(Clone)]
pub(crate) struct Place(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) attacks: Vec<Attack>,
    host: Host,
    home: Home,
    healthy: RunSpec,
    /// Servers on loopback that no attack may reach.
    traps: Vec<Serves>,
    runs: Mutex<BTreeSet<String>>,
    server: ModelServer,
}

/// An attack that is ready.
pub(crate) struct Attack {
    pub(crate) case: Case,
    spec: RunSpec,
    /// Its own model's server.
    raw: Option<Raw>,
}

/// How one ended.
pub(crate) enum Ended {
    /// Nothing ran: the kind of the reason, and its words.
    Refused(&'static str, String),
    /// A run.
    Run(Box<RunOutcome>),
    /// A person's call of a tool: its error, and what it answered.
    Called(Option<(String, String)>, Option<String>),
}

impl From<HostError> for Ended {
    fn from(error: HostError) -> Self {
        Self::Refused(error.kind(), error.to_string())
    }
}

impl Ended {
    /// Whether a clock ended it, or something that it waited for.
    fn is_by_a_clock(&self) -> bool {
        let (error, seen) = match self {
            Self::Refused(..) => (None, None),
            Self::Run(outcome) => (outcome.error.as_ref(), outcome.result.as_deref()),
            Self::Called(error, structured) => (error.as_ref(), structured.as_deref()),
        };
        let said = [error.map(|(_, message)| message.as_str()), seen];
        let clocks = CLOCKS.into_iter().chain(WAITS.map(|(key, _)| key));
        // What a plugin is told where it waited for `limits.http.total`.
        let mut words = clocks.chain(["HttpResponseTimeout"]);
        words.any(|words| said.into_iter().flatten().any(|said| said.contains(words)))
    }
}

impl std::ops::Deref for Place {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Place {
    /// Where all these are ready.
    pub(crate) fn new(mut cases: Vec<Case>) -> Self {
        let trap = Serves::always(page("trapped"));
        let port = trap.address.port();
        cases.extend([network::notations(port), network::no_plain_hosts(port)]);
        cases.extend(texts::elsewhere(&trap));
        let mut script = Script::always(Turn::text("yes"));
        script.when = healthy::script();
        script.when.extend(cases.iter().flat_map(|case| case.script.clone()));
        let server = ModelServer::start(script);
        // Its keys are in a file: nobody may change this process's environment.
        let named = format!("key_env = \"{KEY_VARIABLE}\"");
        let configuration = provider(&server, Format::OpenAi).replace(&named, "KEY");
        let home = Home::with_configuration("");
        let key = format!("key_file = \"{}\"", private(&home, "key", KEY).display());
        home.configure(&configuration.replace("KEY", &key));
        let secret = private(&home, "secret", SECRET);
        home.host()
            .args(["secret", "set", "x"])
            .reads(&secret)
            .output()
            .expect(0);
        // Their model says nothing.
        cases.extend([changed::child(), changed::code(&home)]);
        let attacks = cases.into_iter().enumerate();
        let mut attacks: Vec<Attack> = attacks.map(|(n, case)| Attack::new(case, n, &home, &key)).collect();
        for (name, case) in changed::replaced(&home) {
            let mut attack = Attack::new(case, attacks.len(), &home, &key);
            name.clone_into(&mut attack.spec.plugin);
            attacks.push(attack);
        }
        let clocks = CLOCKS.map(|clock| format!("{clock}={}s", CLOCK.as_secs()));
        let waits = WAITS.map(|(key, seconds)| format!("{key}={seconds}s"));
        let settings = SETTINGS.map(|(key, value)| format!("{key}={value}"));
        let sources = Sources {
            // What a plugin may write is below it.
            env: vec![("HOME".into(), home.user().into())],
            cwd: None,
            home: Some(home.path()),
            set: [&clocks[..], &waits[..], &settings[..]].concat(),
        };
        let config = Config::load(&sources).unwrap();
        bound_files(config.limits.file_size);
        let host = Host::open(config, CompileIn::Program(binary())).unwrap();
        Self(Arc::new(Inner {
            attacks,
            host,
            healthy: healthy::spec(&home),
            home,
            traps: trap.twin().into_iter().chain([trap]).collect(),
            runs: Mutex::default(),
            server,
        }))
    }

    /// Makes one attack, to its end.
    pub(crate) async fn attack(&self, n: usize) -> Ended {
        let Attack { case, spec, raw } = &self.attacks[n];
        if let Some(raw) = raw {
            // What it has from a run that a clock ended is nothing to this one.
            raw.take();
        }
        let Does::Call(_, tool, arguments) = &case.does else {
            let started = self.host.start(spec.clone()).await;
            return match started {
                Ok(run) => Ended::Run(Box::new(self.ends(&run).await)),
                Err(error) => error.into(),
            };
        };
        let tools = match self.host.tools_of(&spec.plugin, &spec.allow).await {
            Ok(tools) => tools,
            Err(error) => return error.into(),
        };
        match tools.call(tool, &arguments.to_string()).await {
            Ok(answer) => Ended::Called(answer.error, answer.structured),
            Err(error) => error.into(),
        }
    }

    /// A healthy run, which ends as ever and in time: how long it took.
    pub(crate) async fn healthy(&self) -> Duration {
        let begun = Instant::now();
        let run = self.host.start(self.healthy.clone()).await.unwrap();
        let outcome = self.ends(&run).await;
        let took = begun.elapsed();
        healthy::is_right(&outcome);
        assert!(took < healthy::DEADLINE + slack(), "a healthy run took {took:?}");
        took
    }

    /// Waits for the end of a run, and hears all that it tells.
    async fn ends(&self, run: &RunHandle) -> RunOutcome {
        self.runs.lock().unwrap().insert(run.id().to_string());
        let mut events = run.subscribe();
        let hears = async {
            while let Some(event) = events.recv().await {
                is_without_secrets("an event", &serde_json::to_string(&event).unwrap());
                if matches!(event.kind, EventKind::RunEnded { .. }) {
                    break;
                }
            }
        };
        tokio::join!(run.wait(), hears).0.unwrap()
    }

    /// Lets go of what is kept of the attacks beside the host.
    pub(crate) fn forget(&self) {
        self.server.forget();
    }

    /// Panics unless each attack ended as it should. On a machine that is not quiet a clock may end one of those first that have work to do before they
    /// meet another limit; which there were.
    pub(crate) fn judge(&self, ended: &[(usize, Ended)]) -> Vec<String> {
        let is_wrong = |(n, ended): &&(usize, Ended)| {
            let attack = &self.attacks[*n];
            let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attack.ended(ended)));
            judged.is_err()
        };
        let (late, wrong): (Vec<_>, Vec<_>) = ended
            .iter()
            .filter(is_wrong)
            .partition(|(_, ended)| ended.is_by_a_clock());
        let names =
            |of: &[&(usize, Ended)]| -> Vec<_> { of.iter().map(|(n, _)| self.attacks[*n].case.name.clone()).collect() };
        let late = names(&late);
        assert!(
            wrong.is_empty(),
            "these ended otherwise: {:#?}; and a clock ended these that should end otherwise: {late:#?}",
            names(&wrong)
        );
        let is_reached = self.traps.iter().any(|trap| trap.connections() > 0);
        assert!(!is_reached, "a local address was reached");
        assert!(
            late.len() <= ended.len() / 16,
            "a clock ended these that should end otherwise: {late:#?}"
        );
        late
    }

    /// Panics unless the home is well: each run has ended and is recorded whole, and nothing that is kept or shown holds what it may not.
    pub(crate) fn is_well(&self) {
        let command = |line: &[&str]| {
            let output = self.home.host().args(line).output();
            assert_eq!(output.code, Some(0), "{line:?}: {output:?}");
            clean::printed(self.home.folder(), line[0], &output);
            for text in [&output.stdout, &output.stderr] {
                is_without_secrets(line[0], text);
            }
            output
        };
        let runs = command(&["runs", "--limit", "10000", "--output", "json"]).json();
        let runs = runs.as_array().unwrap().iter();
        let listed: BTreeSet<String> = runs.map(|row| row["run"].as_str().unwrap().to_owned()).collect();
        assert_eq!(
            listed,
            *self.runs.lock().unwrap(),
            "a run is missing, or nobody was told of it"
        );
        for run in &listed {
            has_ended(&command(&["show", run, "--output", "json"]).json());
        }
        let doctor = command(&["doctor", "--output", "json"]).json();
        let is_whole = |row: &Value| row["state"] != "fail";
        assert!(doctor.as_array().unwrap().iter().all(is_whole), "{doctor}");
        clean::kept(&self.home);
        for (file, bytes) in self.home.files() {
            if !file.ends_with("host/secrets.json") {
                is_without_secrets(&file.display().to_string(), &String::from_utf8_lossy(&bytes));
            }
        }
    }
}

impl Attack {
    /// Makes it ready, its plugins in a folder of its own.
    fn new(case: Case, n: usize, home: &Home, key: &str) -> Self {
        let folder = format!("storm/{n}");
        let (plugin, task) = match &case.does {
            Does::Run(plugin, prompt) => (plugin.file(home, &folder), prompt.clone()),
            Does::Steps(steps) => (guests::built("probe"), hermes_tests::program::steps(steps).to_string()),
            Does::Call(plugin, ..) => (plugin.file(home, &folder), String::new()),
        };
        let tools = case.tools.iter().enumerate();
        let tools = tools.map(|(n, tool)| tool.file(home, &format!("{folder}/{n}")).display().to_string());
        let raw = case.replies.as_ref().map(|replies| {
            let raw = Raw::start(replies);
            home.configure(&raw.configuration(key));
            raw
        });
        let spec = RunSpec {
            plugin: plugin.display().to_string(),
            task,
            allow: case.grants(home),
            deny: case.deny.iter().map(|right| (*right).to_owned()).collect(),
            tools: tools.collect(),
            model: raw.as_ref().map(Raw::model),
            budget: case
                .budget
                .map_or_else(Budget::default, |budget| Budget::parse(budget).unwrap()),
            ..RunSpec::default()
        };
        Self { case, spec, raw }
    }

    /// Panics unless it ended as it should.
    fn ended(&self, ended: &Ended) {
        let (case, end) = (&self.case.name, &self.case.end);
        if let Some((raw, replies)) = self.raw.as_ref().zip(self.case.replies.as_ref()) {
            replies.fit(case, raw.take());
        }
        let (code, error, answer, result) = match ended {
            Ended::Refused(kind, reason) => {
                is_clean(case, reason);
                let End::Refused(expected, words) = end else {
                    panic!("{case} was refused: {reason}")
                };
                assert_eq!(kind, expected, "{case}: {reason}");
                let said = reason.split_whitespace().collect::<Vec<_>>().join(" ");
                let missing = words.iter().find(|word| !said.contains(*word));
                assert!(missing.is_none(), "{case}: {missing:?} is missing: {said}");
                return;
            }
            Ended::Run(run) => (
                run.code,
                run.error.as_ref(),
                run.answer.as_deref(),
                run.result.as_deref(),
            ),
            Ended::Called(error, structured) => {
                (u8::from(error.is_some()), error.as_ref(), None, structured.as_deref())
            }
        };
        assert_eq!(code, end.code(), "{case}: {error:?}");
        match (end, error) {
            (End::Fails(kind, words), Some((found, message))) => {
                is_clean(case, message);
                assert_eq!(found, kind, "{case}: {message}");
                let missing = words.iter().find(|word| !message.contains(*word));
                assert!(missing.is_none(), "{case}: {missing:?} is missing: {message}");
            }
            (End::Answers(expected), None) => assert_eq!(answer, Some(expected.as_str()), "{case}"),
            (End::Sees(looks), None) => {
                let result: Value = serde_json::from_str(result.unwrap()).unwrap();
                looks(result["seen"].as_array().unwrap());
            }
            _ => panic!("{case}: {error:?}"),
        }
    }
}

/// A file beside the home that only its owner can read.
fn private(home: &Home, name: &str, text: &str) -> std::path::PathBuf {
    let path = home.folder().join(name);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
    fs::canonicalize(path).unwrap()
}

/// Holds files of this process to so many bytes, as the command does.
fn bound_files(bytes: u64) {
    // With a handler a write past it is an error, and not the end.
    let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = Some(bytes);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

fn is_without_secrets(what: &str, text: &str) {
    for secret in [KEY, SECRET] {
        for (spelling, secret) in clean::spellings(secret) {
            assert!(!text.contains(&secret), "{what} holds a secret ({spelling}): {text}");
        }
    }
}

fn is_clean(what: &str, text: &str) {
    is_without_secrets(what, text);
    assert_eq!(steering(text), None, "{what}: {text:?}");
}
