//! A run that was recorded whole, and how one that was broken off and resumed is held against it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hermes_tests::model::Script;
use hermes_tests::{Home, Host, Shim, assert_clean, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::end::End;
use crate::full;
use crate::outside::{self, Outside};
use crate::place::{Place, asked, assert_sound, completions, newest, open_calls, resume, sends, shown};
use crate::program::{holding, program, script};

/// A program that has run whole: what every other run of it must come to, whatever it meets.
pub(crate) struct Recorded {
    program: Value,
    script: Script,
    pub(crate) end: End,
    /// What it asks for, by the place in the run.
    pub(crate) asked: BTreeMap<String, String>,
    pub(crate) took: Duration,
    /// What its homes are configured with besides the model.
    configuration: &'static str,
    /// What its tools reach outside of the host.
    outside: Option<Outside>,
}

/// Something that happens to one process of a run.
pub(crate) struct Met {
    pub(crate) shim: Shim,
    /// What its end says, where it is not killed.
    pub(crate) says: Option<&'static str>,
}

impl Met {
    /// It is killed.
    pub(crate) fn kill(shim: Shim) -> Self {
        Self { shim, says: None }
    }
}

/// How a run that met something came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// By itself: what it should have met came too late.
    Unbroken,
    /// It was broken off, and taken to its end.
    Resumed,
    /// Its end was recorded already.
    HadEnded,
}

impl Recorded {
    /// The run with a bit of everything.
    pub(crate) fn everything() -> Self {
        let recorded = Self::of(program(), script());
        assert_eq!(*recorded.end.beside(), json!({ "refunded": 1, "closing": 1 }));
        recorded
    }

    /// The same, in homes with this configuration.
    pub(crate) fn configured(configuration: &'static str) -> Self {
        Self::run(program(), script(), configuration, None)
    }

    /// A run whose tools fetch a page, send what may be sent once, and hold a folder.
    pub(crate) fn reaching_out() -> Self {
        let outside = Outside::start();
        Self::run(outside.program(), script(), "", Some(outside))
    }

    /// Runs a program once, with nothing in its way.
    pub(crate) fn of(program: Value, script: Script) -> Self {
        Self::run(program, script, "", None)
    }

    fn run(program: Value, script: Script, configuration: &'static str, outside: Option<Outside>) -> Self {
        let place = prepared(Place::new(script.clone()), configuration, outside.as_ref());
        let host = host(&place.home, &program, &built(), outside.as_ref());
        let output = host.output().expect(0);
        let end = End::shown(&place.home, output.json()["run"].as_str().unwrap());
        End::printed(&output).assert_like(&end, "as it is shown");
        assert_sound(&place.home);
        if let Some(outside) = &outside {
            outside.assert_sent(0, &[], &place, "nothing in its way");
        }
        Self {
            program,
            script,
            end,
            asked: asked(&place.server),
            took: output.took,
            configuration,
            outside,
        }
    }

    /// A place to run it again.
    pub(crate) fn place(&self) -> Place {
        prepared(
            Place::new(self.script.clone()),
            self.configuration,
            self.outside.as_ref(),
        )
    }

    /// Its command line.
    pub(crate) fn host(&self, place: &Place) -> Host {
        self.host_of(place, &built())
    }

    /// The same, of these files of the strategy and its tools.
    pub(crate) fn host_of(&self, place: &Place, plugins: &[PathBuf; 2]) -> Host {
        host(&place.home, &self.program, plugins, self.outside.as_ref())
    }

    /// The run, killed when `answered` completions have their outcome and one with this text has none: its first answer never comes.
    pub(crate) fn killed_while(&self, asked: &str, answered: usize) -> Place {
        let place = Place::new(holding(asked, 1));
        let process = self.host(&place).start();
        place.waits(answered);
        process.signal(Signal::KILL);
        assert_eq!(process.finish().code, None);
        place
    }

    /// The same, suspended.
    pub(crate) fn suspended_while(&self, asked: &str, answered: usize) -> Place {
        let place = Place::new(holding(asked, 1));
        let process = self.host(&place).start();
        place.waits(answered);
        process.signal(Signal::INT);
        process.finish().expect(130);
        place
    }

    /// Goes on with the run in this place, or begins it where there is none; to its end, in one process after another, each of which meets
    /// the next of these. Then all must be as in the whole run: the answer and what it cost; nothing sent without its intent, or again once its
    /// outcome was committed; what was sent again told as such.
    #[track_caller]
    pub(crate) fn ends_well(&self, place: &Place, met: &[Met], moment: &str) -> Fate {
        all_is_known(place, moment);
        self.ends(place, met, Vec::new(), |resume| resume, moment)
    }

    /// The same where whoever resumes it does that in another way.
    #[track_caller]
    pub(crate) fn ends_well_by(&self, place: &Place, resumes: impl Fn(Host) -> Host, moment: &str) -> Fate {
        all_is_known(place, moment);
        self.ends(place, &[], Vec::new(), resumes, moment)
    }

    /// The same where the journal has lost its end: what was sent without a trace of it may be sent again, and is not told as such.
    #[track_caller]
    pub(crate) fn ends_well_after_a_loss(&self, place: &Place, moment: &str) -> Fate {
        self.ends(place, &[], unknown(place), |resume| resume, moment)
    }

    #[track_caller]
    fn ends(
        &self,
        place: &Place,
        met: &[Met],
        unknown: Vec<String>,
        resumes: impl Fn(Host) -> Host,
        moment: &str,
    ) -> Fate {
        let asked_outside = self.outside.as_ref().map_or(0, |outside| outside.asked().len());
        // What may have been sent in vain, once for each process that left it.
        let begun = Before::of(place);
        let mut lost = [unknown, begun.open].concat();
        // The tool calls that processes left.
        let mut left = begun.calls;
        let mut fate = Fate::Unbroken;
        let mut met = met.iter();
        loop {
            let before = Before::of(place);
            let next = match &before.run {
                Some(run) => resumes(resume(&place.home, run)),
                None => self.host(place),
            };
            let meets = met.next();
            let output = match meets {
                Some(met) => met.shim.on(next).output(),
                None => next.output(),
            };
            before.nothing_twice(place, moment);
            match (output.code, meets.and_then(|met| met.says)) {
                (None, None) if meets.is_some() => {}
                (Some(1 | 2), Some(says)) => {
                    let json = output.json();
                    assert_eq!(json["error"]["kind"], "storage", "{moment}: {json}");
                    let message = json["error"]["message"].as_str().unwrap();
                    assert!(message.contains(says), "{moment}: {message}");
                    assert_clean(&output);
                }
                (Some(2), _) if output.stderr.contains("it has ended") => {
                    let run = newest(&place.home).unwrap();
                    self.assert_end(&End::shown(&place.home, &run), &left, moment);
                    fate = Fate::HadEnded;
                    break;
                }
                // Nothing was sent of a run that died before its start was written, and there is nothing to go on with.
                (Some(2), _) if output.stderr.contains("it never began") => {
                    assert_eq!(place.asked(), 0, "{moment}");
                    let run = newest(&place.home).unwrap();
                    assert_eq!(shown(&place.home, &run)["status"], "cancelled", "{moment}");
                    continue;
                }
                _ => {
                    let output = output.expect(0);
                    self.assert_end(&End::printed(&output), &left, moment);
                    let (resent, due) = (output.spent("resent"), before.resent + before.open.len() as u64);
                    assert_eq!(resent, due, "{moment}: told as sent again");
                    if let Some(run) = before.run.filter(|_| is_replayed()) {
                        replays_the_same(&place.home, &run, moment);
                        self.assert_end(&End::shown(&place.home, &run), &left, moment);
                    }
                    break;
                }
            }
            all_is_known(place, moment);
            let after = Before::of(place);
            // A process that dies as well has sent again what its predecessors had told, and some or all of what they left.
            let told = before.resent..=before.resent + before.open.len() as u64;
            assert!(
                told.contains(&after.resent),
                "{moment}: {} and not {told:?} sent again",
                after.resent
            );
            lost.extend(after.open);
            left.extend(after.calls);
            fate = Fate::Resumed;
        }
        let sends = sends(&place.server);
        for (key, times) in &sends {
            let most = 1 + lost.iter().filter(|lost| *lost == key).count();
            assert!(*times <= most, "{moment}: {key} was sent {times} times, not {most}");
        }
        assert_eq!(sends.len(), self.asked.len(), "{moment}: {sends:?}");
        assert_eq!(asked(&place.server), self.asked, "{moment}");
        if let Some(outside) = &self.outside {
            outside.assert_sent(asked_outside, &left, place, moment);
        }
        assert_sound(&place.home);
        fate
    }

    /// A run whose processes left these calls came to this end: the one that it should, but that it was told of a call that may not be made again.
    #[track_caller]
    fn assert_end(&self, end: &End, left: &[String], moment: &str) {
        let moment = format!("{moment}, where {left:?} were left");
        match self.outside.is_some() && outside::is_cut(left) {
            true => end.assert_like(&outside::cut(&self.end), &moment),
            false => end.assert_like(&self.end, &moment),
        }
    }
}

/// Whether a run that was resumed is replayed as well: each one, or every fifth.
fn is_replayed() -> bool {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    full() || CASES.fetch_add(1, Ordering::Relaxed).is_multiple_of(5)
}

/// A run comes to the same when it is told again what its processes were told.
#[track_caller]
pub(crate) fn replays_the_same(home: &Home, run: &str, moment: &str) {
    let output = home.host().args(["replay", run, "--output", "json"]).output();
    assert_eq!(
        (output.code, &output.json()["same"]),
        (Some(0), &json!(true)),
        "{moment}: {}\n{}",
        output.stdout,
        output.stderr
    );
}

/// A place whose home has this at the top of its configuration, and what is reached from there.
fn prepared(place: Place, configuration: &str, outside: Option<&Outside>) -> Place {
    let file = place.dir().join("config.toml");
    let rest = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{configuration}\n{rest}")).unwrap();
    if let Some(outside) = outside {
        outside.prepare(&place);
    }
    place
}

/// The strategy and the tools that programs are made of.
fn built() -> [PathBuf; 2] {
    ["probe", "probe-tool"].map(guests::built)
}

fn host(home: &Home, program: &Value, [strategy, tools]: &[PathBuf; 2], outside: Option<&Outside>) -> Host {
    let host = home.host().arg("--tool").arg(tools);
    let host = match outside {
        Some(outside) => outside.grant(host),
        None => host,
    };
    let host = host.args(["--allow", "probe-tool=llm"]);
    let host = host.set("limits.restart.backoff", "1ms");
    let host = host.set("limits.restart.backoff_max", "1ms");
    host.run(strategy, &program.to_string())
}

/// The completions that were asked for and that the journal knows nothing of.
fn unknown(place: &Place) -> Vec<String> {
    let recorded = Before::of(place);
    let has_outcome = |key: &String| recorded.ended.iter().any(|(ended, _)| ended == key);
    let is_known = |key: &String| recorded.open.contains(key) || has_outcome(key);
    sends(&place.server).into_keys().filter(|key| !is_known(key)).collect()
}

#[track_caller]
fn all_is_known(place: &Place, moment: &str) {
    let unknown = unknown(place);
    assert!(unknown.is_empty(), "{moment}: {unknown:?} was sent and is not recorded");
}

/// What is recorded of a place's run between two processes.
struct Before {
    run: Option<String>,
    /// Each completion that had its outcome, and how often it had been sent.
    ended: Vec<(String, usize)>,
    /// Those that have none, and the tool calls without one that are made again.
    open: Vec<String>,
    /// All of its tool calls that have none.
    calls: Vec<String>,
    /// How much of it was told as sent again.
    resent: u64,
}

impl Before {
    fn of(place: &Place) -> Self {
        let shown = newest(&place.home).map(|run| shown(&place.home, &run));
        // One that never began was given up.
        let shown = shown.filter(|shown| shown["status"] != "cancelled");
        let (ended, mut open) = shown.as_ref().map(completions).unwrap_or_default();
        let calls = shown.as_ref().map(open_calls).unwrap_or_default();
        open.extend(calls.iter().filter(|call| outside::is_repeated(call)).cloned());
        let agents = shown.iter().flat_map(|shown| shown["agents"].as_array().unwrap());
        let resent = agents.map(|agent| agent["resent"].as_u64().unwrap()).sum();
        let sends = sends(&place.server);
        let sent = |key: String| {
            let times = sends.get(&key).copied();
            (key, times.unwrap_or_default())
        };
        Self {
            run: shown.map(|shown| shown["run"].as_str().unwrap().to_owned()),
            ended: ended.into_iter().map(sent).collect(),
            open,
            calls,
            resent,
        }
    }

    /// Of what had its outcome, nothing was sent since.
    #[track_caller]
    fn nothing_twice(&self, place: &Place, moment: &str) {
        let sends = sends(&place.server);
        for (key, times) in &self.ended {
            assert!(*times > 0, "{moment}: {key} was answered and never asked: {sends:?}");
            assert_eq!(sends[key], *times, "{moment}: {key} had its outcome and was sent again");
        }
    }
}
