//! One attack by itself: a command of its own, and how it ends.

use std::path::PathBuf;

use hermes_tests::home::KEY_VARIABLE;
use hermes_tests::program::steps;
use hermes_tests::{Home, Host, Script, Turn};

use crate::cases::{CLOCKS, Case, Does, End, SETTINGS};
use crate::hostile::Guest;
use crate::raw::Raw;
use crate::site::{Attacked, Site};

/// How long the clocks are, where it is one of them that ends an attack.
const CLOCK: &str = "500ms";

/// The folder of the plugins that are made on the spot.
const FOLDER: &str = "hostile";

impl Guest {
    /// Its component as a file of the working folder.
    pub(crate) fn file(self, home: &Home) -> PathBuf {
        home.write(&format!("{FOLDER}/{}.wasm", self.name), self.bytes())
    }

    /// Puts its component among the home folder's plugins, where a child's strategy is found by its name.
    pub(crate) fn plant(self, home: &Home) -> &'static str {
        let folder = home.path().join("plugins");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{}.wasm", self.name)), self.bytes()).unwrap();
        self.name
    }
}

impl Case {
    /// The file of what it runs.
    pub(crate) fn strategy(&self, home: &Home) -> PathBuf {
        match &self.does {
            Does::Run(plugin, _) | Does::Call(plugin, ..) => plugin.file(home, FOLDER),
            Does::Steps(_) => panic!("{} runs the probe", self.name),
        }
    }

    /// A command line with its limits.
    fn limits(&self, host: Host) -> Host {
        let set = |host: Host, (key, value): (&str, &str)| host.set(key, value);
        let host = SETTINGS.into_iter().fold(host, set);
        let clocks = CLOCKS.into_iter().filter(|_| self.by_a_clock);
        clocks.fold(host, |host, clock| host.set(clock, CLOCK))
    }

    /// The same with its rights and tools.
    fn rights(&self, home: &Home, host: Host) -> Host {
        let flags = self.grants(home).into_iter().map(|grant| ("--allow", grant));
        let flags = flags.chain(self.deny.iter().map(|right| ("--deny", (*right).to_owned())));
        let flags = flags.chain(self.budget.map(|budget| ("--budget", budget.to_owned())));
        let host = flags.fold(host, |host, (flag, value)| host.args([flag, &value]));
        let tools = self.tools.iter().enumerate();
        tools.fold(host, |host, (n, tool)| {
            host.arg("--tool").arg(tool.file(home, &format!("{FOLDER}/{n}")))
        })
    }
}

impl Site {
    /// Whose model plays the script of a case.
    pub(crate) fn of(case: &Case) -> Self {
        let mut script = Script::always(Turn::text("yes"));
        script.when.extend(case.script.iter().cloned());
        Self::with(script)
    }

    /// Tries an attack: it ends as it should.
    #[track_caller]
    pub(crate) fn tries(&self, case: &Case) -> Attacked<'_> {
        self.tries_on(self.host(), case)
    }

    /// The same by a command line that begins so.
    #[track_caller]
    pub(crate) fn tries_on(&self, host: Host, case: &Case) -> Attacked<'_> {
        let mut host = case.limits(host);
        if !matches!(case.does, Does::Call(..)) {
            host = case.rights(&self.home, host);
        }
        let own = case.replies.as_ref().map(|replies| (Raw::start(replies), replies));
        if let Some((raw, _)) = &own {
            let key = format!("key_env = \"{KEY_VARIABLE}\"");
            self.home.configure(&raw.configuration(&key));
            host = host.args(["--model", &raw.model()]);
        }
        let attacked = match &case.does {
            Does::Run(_, prompt) => self.attack(host.run(&case.strategy(&self.home), prompt)),
            // Where nothing is in its way, the same process is seen to be well after that.
            Does::Steps(all) if matches!(case.end, End::Sees(_)) && case.deny.is_empty() && own.is_none() => {
                self.lives(host, all).attacked(self)
            }
            Does::Steps(all) => self.attack(host.probe(&steps(all))),
            Does::Call(_, tool, arguments) => {
                let host = host.args(["--output", "json", "call"]).arg(case.strategy(&self.home));
                // What comes before the word `call` would be taken for a run's.
                self.attack(case.rights(&self.home, host.args([*tool, &arguments.to_string()])))
            }
        };
        if let Some((raw, replies)) = own {
            replies.fit(&case.name, raw.take());
        }
        attacked.ended(case)
    }
}

impl Attacked<'_> {
    #[track_caller]
    fn ended(self, case: &Case) -> Self {
        let code = i32::from(case.end.code());
        match &case.end {
            End::Answers(answer) => self.answers(answer),
            End::Refused(kind, words) => self.refused(&texts(words)).of_kind(kind),
            End::Fails(kind, words) if matches!(case.does, Does::Call(..)) => self.fails(code, kind, &texts(words)),
            End::Fails(kind, words) => self.ends(code, kind, &texts(words)),
            End::Sees(looks) => {
                assert_eq!(self.output.code, Some(code), "{:?}", self.output);
                let json = self.output.json();
                let seen = json.pointer("/result/seen").or(json.pointer("/structured/seen"));
                let seen = seen.and_then(|seen| seen.as_array());
                let seen = seen.unwrap_or_else(|| panic!("nothing was seen: {json}"));
                // After its steps there may be a canary's.
                looks(match &case.does {
                    Does::Steps(all) => &seen[..all.len()],
                    _ => seen,
                });
                self
            }
        }
    }
}

fn texts(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
