//! The command line as it is parsed: raw texts and numbers. [`super::validated`] makes sense of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::run::Standing;
use crate::text;

/// Runs WebAssembly agents and tools that need not be trusted.
#[derive(Debug, Parser)]
#[command(
    name = "hermes-host",
    version,
    max_term_width = 100,
    after_help = "\
Without a command it runs an agent:
  hermes-host --plugin research \"What do these papers say about dendrites?\" --allow fs:./papers

Standard output carries the answer alone, standard error the progress.
Exit codes: 0 achieved, 1 not quite, 2 nothing ran, 3 out of budget, 4 a right is missing, 130 stopped by a signal."
)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Over the flags that every command takes, in each help.
const EVERY: &str = "Options of every command";

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub(super) struct Global {
    /// What standard output carries: text, one JSON value, or of a run under way its events as JSON lines
    #[arg(long, global = true, help_heading = EVERY, value_enum, default_value = "text", value_name = "FORM")]
    pub(super) output: Output,
    /// The home folder, instead of HERMES_HOME or ~/.hermes
    #[arg(long, global = true, help_heading = EVERY, value_name = "DIR")]
    pub(super) home: Option<PathBuf>,
    /// Sets a key of the configuration for this once; `config show` lists them
    #[arg(long, global = true, help_heading = EVERY, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// When to use colour; NO_COLOR turns `auto` off
    #[arg(long, global = true, help_heading = EVERY, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(super) color: Color,
    /// Shows plugins' log lines too; plain lines replace the live picture then
    #[arg(long, short, global = true, help_heading = EVERY)]
    pub(super) verbose: bool,
    /// Shows no progress; what is wrong is told all the same
    #[arg(long, short, global = true, help_heading = EVERY, conflicts_with = "verbose")]
    pub(super) quiet: bool,
}

/// What standard output carries: for people, one JSON value, or events as JSON lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    Text,
    Json,
    Events,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs an agent on a task (also without the word `run`)
    #[command(after_help = "\
Example:
  hermes-host run --plugin research \"What limits dendrite growth?\" --allow fs:./papers")]
    Run(Run),
    /// Shows what a plugin is, what it exports and what it wants; runs nothing
    #[command(after_help = "Example:\n  hermes-host inspect research --ask")]
    Inspect(Inspect),
    /// Calls one tool once, in a fresh sandbox
    #[command(after_help = "\
Example:
  hermes-host call files search_files '{\"pattern\":\"dendrite\"}' --allow fs:./papers")]
    Call(Call),
    /// Lists runs, or does something with one
    #[command(
        after_help = "\
Column `end` has of completed runs what their agent says (achieved, partly-achieved, not-achieved),
of failed ones how they ended (failed, exhausted, timed-out, trapped), of all others the status.
Examples:
  hermes-host runs --limit 5
  hermes-host runs --status interrupted",
        args_conflicts_with_subcommands = true
    )]
    Runs(Runs),
    /// Shows who did what in a run, for how much, or its answer
    #[command(after_help = "\
Examples:
  hermes-host show 7f3a09c1d2
  hermes-host show 7f3a09c1d2 --answer
  hermes-host show 7f3a09c1d2 --audit")]
    Show(Show),
    /// Draws the agents of a run, each under the one that spawned it
    #[command(after_help = "Example:\n  hermes-host tree 7f3a09c1d2")]
    Tree(OfRun),
    /// Prints the conversations of a run as JSON Lines, or writes all of it to a file
    #[command(after_help = "\
Examples:
  hermes-host export 7f3a09c1d2 --form sharegpt > conversations.jsonl
  hermes-host export 7f3a09c1d2 --run-file run.jsonl --with-plugins")]
    Export(Export),
    /// Brings a run here that was exported to a file
    #[command(after_help = "Example:\n  hermes-host import run.jsonl")]
    Import(Import),
    /// Goes on with a run that was stopped
    #[command(after_help = "\
Examples:
  hermes-host resume 7f3a09c1d2
  hermes-host resume 7f3a09c1d2 --budget iterations=120,wall=20m
  hermes-host resume --all")]
    Resume(Resume),
    /// Runs a run's agents again against what was recorded: the same, or the first difference
    #[command(after_help = "\
Without --fork nothing is sent and nothing is written. Exit codes: 0 the same, 1 it differs, 2 it can't be replayed.
Examples:
  hermes-host replay 7f3a09c1d2
  hermes-host replay 7f3a09c1d2 --plugin ./changed.wasm
  hermes-host replay 7f3a09c1d2 --plugin ./changed.wasm --fork
  hermes-host replay 7f3a09c1d2 --plugin ./changed.wasm --fork --allow fs:./papers")]
    Replay(Replay),
    /// Ends a run for good, another process's too
    #[command(after_help = "Example:\n  hermes-host cancel 7f3a09c1d2")]
    Cancel(OfRun),
    /// Copies all that is kept to a folder, while runs go on
    #[command(after_help = "\
The folder can stand in the place of the home folder's `host`.
Example:
  hermes-host backup ./hermes-backup")]
    Backup(Backup),
    /// Reads and writes the notes that agents share
    #[command(
        subcommand,
        after_help = "\
A space is RUN/NAME for one of a run, which its run alone writes, or NAME for one of the home folder.
Example:
  hermes-host blackboard ls 7f3a09c1d2/notes"
    )]
    Blackboard(Blackboard),
    /// Adds plugins, and says what each may do from then on
    #[command(
        subcommand,
        after_help = "\
What is approved holds for the plugin's bytes as they are: one that changes does not run until it is approved anew.
Example:
  hermes-host plugin add ./weather.wasm --allow net:GET@api.example.org"
    )]
    Plugin(Plugin),
    /// Sets, lists or removes secrets, which the host puts into requests of tools
    #[command(
        subcommand,
        after_help = "\
No plugin sees what a secret is. Requests to a host get it where that is granted: --allow secret:NAME@HOST
Example:
  hermes-host secret set weather --header 'X-Api-Key: {}' < key.txt"
    )]
    Secret(Secret),
    /// Shows the configuration
    #[command(
        subcommand,
        after_help = "Examples:\n  hermes-host config show\n  hermes-host config reference"
    )]
    Config(Config),
    /// Says what is missing on this machine, and what mends it
    #[command(after_help = "Example:\n  hermes-host doctor")]
    Doctor,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// What the agent shall do; `-` reads it from standard input
    #[arg(value_name = "TASK")]
    pub(super) task: String,
    /// The agent: a path (with a slash or `.wasm`) or the name of a known plugin
    #[arg(long, short, value_name = "PLUGIN")]
    pub(super) plugin: String,
    /// Grants a right, to one plugin alone with `PLUGIN=` before it: fs:DIR[:rw], net:HOST, secret:NAME@HOST, …
    #[arg(long, value_name = "[PLUGIN=]GRANT")]
    pub(super) allow: Vec<String>,
    /// Grants a right to a tool itself, for any agent that may call it; never folders
    #[arg(long, value_name = "TOOL=GRANT")]
    pub(super) own: Vec<String>,
    /// Takes away what an agent has by default: llm, blackboard, delegation, lessons
    #[arg(long, value_name = "DEFAULT", value_delimiter = ',')]
    pub(super) deny: Vec<String>,
    /// Adds the tools of a plugin, their names prefixed with `PREFIX_`
    #[arg(long, value_name = "[PREFIX=]PATH")]
    pub(super) tool: Vec<String>,
    /// The model: provider/name or an alias
    #[arg(long, short, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// Limits: iterations=20,usd=0.50,wall=5m,child.iterations=10,tree.usd=1
    #[arg(long, short, value_name = "KEY=VALUE,..")]
    pub(super) budget: Vec<String>,
    /// A JSON object of named inputs for the agent
    #[arg(long, value_name = "JSON")]
    pub(super) inputs: Option<String>,
    /// The turns of a scripted model, which is asked instead of any other
    #[arg(long, value_name = "FILE")]
    pub(super) script: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// A path (with a slash or `.wasm`) or the name of a known plugin
    #[arg(value_name = "PLUGIN")]
    pub(super) plugin: String,
    /// Also asks the plugin for its tools, in a sandbox without grants
    #[arg(long)]
    pub(super) ask: bool,
    /// Shows the verdict as if this were granted
    #[arg(long, value_name = "[PLUGIN=]GRANT")]
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Call {
    /// A path (with a slash or `.wasm`) or the name of a known plugin
    #[arg(value_name = "PLUGIN")]
    pub(super) plugin: String,
    /// The tool's name
    #[arg(value_name = "TOOL")]
    pub(super) tool: String,
    /// Its arguments, a JSON object; `-` reads them from standard input
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(super) arguments: String,
    /// Grants a right
    #[arg(long, value_name = "[PLUGIN=]GRANT")]
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Runs {
    #[command(flatten)]
    pub(super) list: List,
    #[command(subcommand)]
    pub(super) command: Option<RunsCommand>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// How many, the newest first
    #[arg(long, default_value_t = 20, value_parser = listed_at_once, value_name = "N")]
    pub(super) limit: u32,
    /// Runs with this status
    #[arg(long, value_enum, value_name = "STATUS,..", value_delimiter = ',')]
    pub(super) status: Vec<Standing>,
}

/// How many runs are listed at once.
fn listed_at_once(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(n @ 1..=10_000) => Ok(n),
        Ok(n) => Err(format!("{n} is not from 1 to 10000")),
        Err(_) => Err("it is a number from 1 to 10000".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// Lists runs, the newest first
    #[command(after_help = "Example:\n  hermes-host runs list --limit 5")]
    List(List),
    /// Shows who did what, for how much, or its answer
    #[command(after_help = "Example:\n  hermes-host runs show 7f3a09c1d2")]
    Show(Show),
    /// Draws the agents of a run, each under the one that spawned it
    #[command(after_help = "Example:\n  hermes-host runs tree 7f3a09c1d2")]
    Tree(OfRun),
    /// Prints its conversations as JSON Lines, or writes all of it to a file
    #[command(after_help = "Example:\n  hermes-host runs export 7f3a09c1d2 --form provider")]
    Export(Export),
    /// Brings a run here that was exported to a file
    #[command(after_help = "Example:\n  hermes-host runs import run.jsonl")]
    Import(Import),
    /// Goes on with a run that was stopped
    #[command(after_help = "\
Examples:
  hermes-host runs resume 7f3a09c1d2
  hermes-host runs resume 7f3a09c1d2 --budget iterations=120,wall=20m")]
    Resume(Resume),
    /// Runs its agents again against what was recorded: the same, or the first difference
    #[command(after_help = "Example:\n  hermes-host runs replay 7f3a09c1d2")]
    Replay(Replay),
    /// Ends a run for good, another process's too
    #[command(after_help = "Example:\n  hermes-host runs cancel 7f3a09c1d2")]
    Cancel(OfRun),
    /// Removes runs that are no longer needed: those that meet every condition given
    #[command(after_help = "\
Runs that can go on, or that are damaged, go only where --status names them; one that a process owns never does.
Runs that were exhausted, timed out or trapped are `failed`; all that returned are `completed`.
Examples:
  hermes-host runs prune --older-than 30d --dry-run
  hermes-host runs prune --status completed,failed --keep-bytes 1GiB")]
    Prune(Prune),
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// The run's id, or as much of its beginning as is unique
    #[arg(value_name = "RUN")]
    pub(super) run: Option<String>,
    /// Every run that can go on and that no process owns, side by side
    #[arg(long, conflicts_with = "run")]
    pub(super) all: bool,
    /// Mends a damaged run and goes on with what is left, where it has not ended: what is missing at its end, or lies behind damage, is given up
    #[arg(long, conflicts_with = "all")]
    pub(super) accept_loss: bool,
    /// Raises limits that the run has: iterations=120,wall=20m,tree.usd=5
    #[arg(long, short, value_name = "KEY=VALUE,..", conflicts_with = "all")]
    pub(super) budget: Vec<String>,
    /// Takes rights away from all its agents and tools: fs, net, secret, blackboard, llm, delegation, lessons
    #[arg(long, value_name = "KIND", value_delimiter = ',', conflicts_with = "all")]
    pub(super) deny: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// The folder to make, or an empty one
    #[arg(value_name = "DIR")]
    pub(super) to: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Runs that ended, or last changed, so long ago: 30d, 12h, 90m
    #[arg(long, value_name = "AGE")]
    pub(super) older_than: Option<String>,
    /// Runs with this status; without it those that have ended
    #[arg(long, value_enum, value_name = "STATUS,..", value_delimiter = ',')]
    pub(super) status: Vec<Status>,
    /// The oldest runs, until all that is kept fits into so many bytes: 1GiB
    #[arg(long, value_name = "SIZE")]
    pub(super) keep_bytes: Option<String>,
    /// Removes nothing, and lists what would be removed
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl ValueEnum for Standing {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// Ends that `runs` shows, and the status that each is listed under.
const ENDS: [(&str, Standing); 7] = [
    ("achieved", Standing::Completed),
    ("partly-achieved", Standing::Completed),
    ("not-achieved", Standing::Completed),
    ("returned", Standing::Completed),
    ("exhausted", Standing::Failed),
    ("timed-out", Standing::Failed),
    ("trapped", Standing::Failed),
];

/// How a run stands that can be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Status {
    Completed,
    Failed,
    Cancelled,
    Interrupted,
    Damaged,
}

#[derive(Debug, Args)]
pub(super) struct Replay {
    #[command(flatten)]
    pub(super) of: OfRun,
    /// Another agent in the root's place: a path (with a slash or `.wasm`) or the name of a known plugin
    #[arg(long, short, value_name = "PLUGIN")]
    pub(super) plugin: Option<String>,
    /// Goes on live from where it first differs, as a run of its own
    #[arg(long)]
    pub(super) fork: bool,
    /// Other limits for the fork: iterations=40,usd=1,tree.usd=2
    #[arg(long, short, value_name = "KEY=VALUE,..", requires = "fork")]
    pub(super) budget: Vec<String>,
    /// Gives the other agent a right that the run's own had: nothing that was granted to that is kept without it
    #[arg(long, value_name = "[PLUGIN=]GRANT", requires = "fork", requires = "plugin")]
    pub(super) allow: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    pub(super) of: OfRun,
    /// How a conversation is written: ShareGPT's way, or the model's provider's own
    #[arg(
        long,
        value_enum,
        default_value = "sharegpt",
        value_name = "FORM",
        conflicts_with = "run_file"
    )]
    pub(super) form: Form,
    /// Writes all that is kept of the run to this file, for `import`
    #[arg(long, value_name = "FILE")]
    pub(super) run_file: Option<PathBuf>,
    /// Puts the plugins' bytes into the file too, so that a replay needs nothing else
    #[arg(long, requires = "run_file")]
    pub(super) with_plugins: bool,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
}

/// How a conversation is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    Sharegpt,
    Provider,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    pub(super) of: OfRun,
    /// Its answer alone, as the run printed it; exit code 1 where it has none
    #[arg(long)]
    pub(super) answer: bool,
    /// Which rights its plugins used, on what, in which call, and which they lacked
    #[arg(long, conflicts_with = "answer")]
    pub(super) audit: bool,
    /// Which rights each agent and its tools have
    #[arg(long, conflicts_with_all = ["answer", "audit"])]
    pub(super) grants: bool,
}

#[derive(Debug, Args)]
pub(super) struct OfRun {
    /// The run's id, or as much of its beginning as is unique
    #[arg(value_name = "RUN")]
    pub(super) run: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum Blackboard {
    /// Lists spaces, or the keys of one
    #[command(after_help = "Example:\n  hermes-host blackboard ls 7f3a09c1d2/notes --prefix source/")]
    Ls {
        /// The space; of a run without /NAME its spaces are listed, and all spaces without it
        #[arg(value_name = "SPACE")]
        space: Option<String>,
        /// Only keys that begin so
        #[arg(long, default_value = "", value_name = "TEXT", requires = "space")]
        prefix: String,
    },
    /// Prints an entry's value
    #[command(after_help = "Example:\n  hermes-host blackboard get 7f3a09c1d2/notes plan")]
    Get {
        /// The space: RUN/NAME for one of a run, NAME for one of the home folder
        #[arg(value_name = "SPACE")]
        space: String,
        /// The entry's key
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Writes an entry
    #[command(after_help = "Example:\n  hermes-host blackboard put glossary dendrite \"a tree-like crystal\"")]
    Put {
        /// The space: NAME of one of the home folder, which is made where there is none
        #[arg(value_name = "SPACE")]
        space: String,
        /// The entry's key
        #[arg(value_name = "KEY")]
        key: String,
        /// The value; `-` reads it from standard input
        #[arg(value_name = "VALUE")]
        value: String,
        /// Media type of the value
        #[arg(long = "type", default_value = "text/plain", value_name = "TYPE")]
        media_type: String,
        /// Only when the entry has this version; 0: only when there is none
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
    /// Prints the latest write of each key, then changes as they come, until Ctrl-C
    #[command(after_help = "Example:\n  hermes-host blackboard watch 7f3a09c1d2/notes")]
    Watch {
        /// The space: RUN/NAME for one of a run, NAME for one of the home folder
        #[arg(value_name = "SPACE")]
        space: String,
        /// Only keys that begin so
        #[arg(long, default_value = "", value_name = "TEXT")]
        prefix: String,
    },
    /// Deletes an entry
    #[command(after_help = "Example:\n  hermes-host blackboard delete glossary dendrite")]
    Delete {
        /// The space: NAME of one of the home folder
        #[arg(value_name = "SPACE")]
        space: String,
        /// The entry's key
        #[arg(value_name = "KEY")]
        key: String,
        /// Only when the entry has this version
        #[arg(long, value_name = "N")]
        if_version: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Plugin {
    /// Shows what a plugin asks for, asks you, and adds it to the home folder under its name
    #[command(after_help = "\
Examples:
  hermes-host plugin add ./weather.wasm --allow net:GET@api.example.org
  hermes-host plugin add ./weather.wasm --own net:GET@api.example.org --yes")]
    Add(Add),
    /// Gives a plugin that was added further rights, or takes some away
    #[command(after_help = "\
Examples:
  hermes-host plugin allow weather net:api.example.org
  hermes-host plugin allow weather --deny net")]
    Allow(Allow),
    /// Lists the plugins of the home folder, what each may do, and whether it has changed
    #[command(after_help = "Example:\n  hermes-host plugin list")]
    List,
    /// Removes a plugin and what it may do
    #[command(after_help = "Example:\n  hermes-host plugin remove weather")]
    Remove {
        /// The plugin, as `plugin list` shows it
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The plugin's file, with a slash or `.wasm`
    #[arg(value_name = "PATH")]
    pub(super) file: String,
    /// What it is called here, instead of as its file
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Grants it a right for good
    #[arg(long, value_name = "GRANT")]
    pub(super) allow: Vec<String>,
    /// Grants a right to the tool itself, for any agent that may call it; never folders
    #[arg(long, value_name = "[TOOL=]GRANT")]
    pub(super) own: Vec<String>,
    /// Doesn't take its word that a second call of a tool does no harm
    #[arg(long)]
    pub(super) no_hints: bool,
    /// Refuses a file whose SHA-256 is another
    #[arg(long, value_name = "DIGEST")]
    pub(super) digest: Option<String>,
    /// Refuses a manifest beside the file whose SHA-256 is another
    #[arg(long, value_name = "DIGEST")]
    pub(super) manifest: Option<String>,
    /// Approves it without asking
    #[arg(long, short)]
    pub(super) yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Allow {
    /// The plugin, as `plugin list` shows it
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// Rights to give
    #[arg(value_name = "GRANT")]
    pub(super) allow: Vec<String>,
    /// Rights to give to the tool itself, for any agent that may call it; never folders
    #[arg(long, value_name = "[TOOL=]GRANT")]
    pub(super) own: Vec<String>,
    /// Rights to take away, as `plugin list` shows them, or all of a kind: fs, net, …
    #[arg(long, value_name = "GRANT")]
    pub(super) deny: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Sets a secret; its value is read from standard input, or asked for and not shown
    #[command(after_help = "\
Set again, a secret has its new value and goes where it went.
Examples:
  hermes-host secret set weather
  hermes-host secret set github --header 'Authorization: token {}' < token.txt
  hermes-host secret set maps --query key")]
    Set {
        /// Its name: letters, digits, - and _
        #[arg(value_name = "NAME")]
        name: String,
        /// Puts it into this header of a request, in the place of {}; without this and --query: Authorization: Bearer {}
        #[arg(long, value_name = "NAME: TEMPLATE", conflicts_with = "query")]
        header: Option<String>,
        /// Puts it into this parameter of a request's query
        #[arg(long, value_name = "KEY")]
        query: Option<String>,
        /// Sets it even where it can be guessed: a plugin is told when its call holds a secret, and can try values
        #[arg(long)]
        guessable: bool,
    },
    /// Lists secrets: where each goes, how old it is, who gets it for good; not what it is
    #[command(after_help = "Example:\n  hermes-host secret list --output json")]
    List,
    /// Removes a secret
    #[command(after_help = "Example:\n  hermes-host secret remove weather")]
    Remove {
        /// The secret, as `secret list` shows it
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Prints each value and where it came from
    #[command(after_help = "Example:\n  hermes-host config show --set limits.memory=128MiB")]
    Show,
    /// Prints what each key takes, its default and its range, as Markdown or JSON
    #[command(after_help = "Example:\n  hermes-host config reference")]
    Reference,
}

pub(super) const COMMANDS: [&str; 18] = [
    "run",
    "inspect",
    "call",
    "runs",
    "show",
    "tree",
    "export",
    "import",
    "resume",
    "replay",
    "cancel",
    "backup",
    "blackboard",
    "plugin",
    "secret",
    "config",
    "doctor",
    "help",
];

/// Puts `run` where a person left it out: before the first word that is neither a global flag nor a command.
pub(super) fn with_command(mut argv: Vec<OsString>) -> Vec<OsString> {
    let at = first_word(&argv);
    if let Some(word) = argv.get(at).map(|word| word.to_string_lossy().into_owned()) {
        let of_clap = matches!(word.as_str(), "-h" | "--help" | "-V" | "--version");
        if !of_clap && !COMMANDS.contains(&word.as_str()) && !is_slip(&word, &argv) {
            argv.insert(at, "run".into());
        }
    }
    argv
}

/// Parses a line that [`with_command`] has made whole.
///
/// # Errors
/// It makes no sense, or asks for help.
pub(super) fn parse(argv: &[OsString]) -> Result<Line, clap::Error> {
    let mut line = Line::try_parse_from(argv)
        .map_err(|error| unnamed(argv, error.kind()).unwrap_or_else(|| with_tip(argv, error)))?;
    line.global.set = settings(argv);
    Ok(line)
}

/// What is wrong with a line that has a single word where a command or the flag for a plugin was meant, in better words than the parser's, to which it is
/// the task of a run that names no plugin.
fn unnamed(argv: &[OsString], kind: ErrorKind) -> Option<clap::Error> {
    let (command, rest) = argv.get(first_word(argv)..)?.split_first()?;
    let word = rest.first()?.to_string_lossy();
    let is_word = !word.is_empty() && !word.starts_with('-') && !word.contains(char::is_whitespace);
    if command != "run" || !is_word || names_plugin(argv) {
        return None;
    }
    let word = text::shell_word(&text::line(&word, 64));
    let has_task = rest.get(1).is_some_and(|next| !next.to_string_lossy().starts_with('-'));
    let message = match kind {
        ErrorKind::UnknownArgument if has_task => format!("no plugin is named; did you mean --plugin {word}?"),
        ErrorKind::MissingRequiredArgument => {
            format!("there is no command {word}, and as a task it needs a plugin that does it: --plugin <PLUGIN>")
        }
        _ => return None,
    };
    Some(Line::command().error(kind, message))
}

/// The error with a tip that helps, where the parser's own doesn't.
fn with_tip(argv: &[OsString], mut error: clap::Error) -> clap::Error {
    let of = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    };
    let (argument, value) = (
        of(&error, ContextKind::InvalidArg),
        of(&error, ContextKind::InvalidValue),
    );
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    let end = ENDS
        .iter()
        .find(|(end, _)| *end == value && argument.starts_with("--status"));
    let tip = if let Some((end, standing)) = end {
        error.remove(ContextKind::SuggestedValue);
        format!("{end} is an end, and its status is {}", standing.name())
    } else if argument == "--json" {
        // A habit from elsewhere.
        error.remove(ContextKind::SuggestedArg);
        "use --output json".to_owned()
    } else if is_unknown && matches!(argument.as_str(), "--plugin" | "-p") && resumes(argv) {
        "a run goes on with the plugin that it began with; hermes-host replay RUN --plugin PLUGIN --fork goes on with another, as a new run"
            .to_owned()
    } else if is_unknown && !argument.starts_with('-') && argv.get(first_word(argv)).is_some_and(|word| word == "run") {
        "quote the task: it is one argument, like \"What limits dendrite growth?\"".to_owned()
    } else {
        // Nobody means a flag as a value.
        if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
            tips.retain(|tip| !tip.to_string().contains("as a value, use"));
            if !tips.is_empty() {
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            }
        }
        return error;
    };
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// Whether a line is about going on with a run, by either name of that command.
fn resumes(argv: &[OsString]) -> bool {
    let mut words = argv.iter().skip(first_word(argv)).skip_while(|word| *word == "runs");
    words.next().is_some_and(|word| word == "resume")
}

/// Every `--set` of a line that was parsed, in order. The parser keeps those of the last level alone: what stands before a command would be
/// lost where one stands behind it.
fn settings(argv: &[OsString]) -> Vec<String> {
    let mut settings = Vec::new();
    let mut words = argv
        .iter()
        .map(|word| word.to_string_lossy())
        .take_while(|word| word != "--");
    while let Some(word) = words.next() {
        if word == "--set" {
            settings.extend(words.next().map(String::from));
        } else if let Some(setting) = word.strip_prefix("--set=") {
            settings.push(setting.to_owned());
        }
    }
    settings
}

/// Where the first word stands that is no global flag.
fn first_word(argv: &[OsString]) -> usize {
    const TAKES_VALUE: [&str; 4] = ["--output", "--home", "--set", "--color"];
    let mut at = 1;
    while let Some(word) = argv.get(at).map(|word| word.to_string_lossy()) {
        let with_value = |flag: &&str| word.strip_prefix(*flag).is_some_and(|rest| rest.starts_with('='));
        if TAKES_VALUE.contains(&word.as_ref()) {
            at += 2;
        } else if matches!(word.as_ref(), "-v" | "-q" | "--verbose" | "--quiet") || TAKES_VALUE.iter().any(with_value) {
            at += 1;
        } else {
            break;
        }
    }
    at
}

/// Whether a line that could not be parsed asks for JSON, as far as can be told.
pub(super) fn asks_for_json(argv: &[OsString]) -> bool {
    argv.iter().any(|word| word == "--output=json")
        || argv.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

/// A word close to a command's name, in a line that names no plugin to run.
fn is_slip(word: &str, argv: &[OsString]) -> bool {
    !names_plugin(argv) && text::nearest(word, COMMANDS).is_some()
}

fn names_plugin(argv: &[OsString]) -> bool {
    argv.iter()
        .any(|arg| arg.to_string_lossy().starts_with("--plugin") || arg == "-p")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[&str]) -> Result<Line, clap::Error> {
        let argv = std::iter::once("hermes-host")
            .chain(line.iter().copied())
            .map(OsString::from)
            .collect();
        super::parse(&with_command(argv))
    }

    #[test]
    fn every_setting_counts_wherever_it_stands() {
        for line in [
            &["--set", "a=1", "--plugin", "p", "--set=b=2", "t", "--set", "c=3"][..],
            &["--set", "a=1", "config", "--set", "b=2", "show", "--set=c=3"],
            &["config", "show", "--set", "a=1", "--set", "b=2", "--set", "c=3"],
        ] {
            assert_eq!(parse(line).unwrap().global.set, ["a=1", "b=2", "c=3"], "{line:?}");
        }
        let task = parse(&["--plugin", "p", "--set", "a=1", "--", "--set=b=2"]).unwrap();
        assert_eq!(task.global.set, ["a=1"]);
    }

    #[test]
    fn run_need_not_be_said() {
        for line in [
            &["--plugin", "p", "the task"][..],
            &["the task", "--plugin=p"],
            &["--output", "json", "-v", "--plugin", "p", "the task"],
            &["run", "the task", "-p", "p", "--output=json"],
        ] {
            let parsed = parse(line).unwrap();
            let Command::Run(run) = parsed.command else {
                panic!("{line:?}")
            };
            assert_eq!((run.plugin.as_str(), run.task.as_str()), ("p", "the task"));
        }
        let Command::Run(run) = parse(&["--plugin", "p", "runs"]).unwrap().command else {
            panic!()
        };
        assert_eq!(run.task, "runs");
        assert!(matches!(
            parse(&["--output", "json", "runs"]).unwrap().command,
            Command::Runs(_)
        ));
        assert!(matches!(
            parse(&["--set", "limits.memory=1", "config", "show"]).unwrap().command,
            Command::Config(_)
        ));
    }

    #[test]
    fn slips_are_told() {
        assert!(
            parse(&["inspct", "x.wasm"])
                .unwrap_err()
                .to_string()
                .contains("'inspect'")
        );
        for (line, words) in [
            (&["research", "a task"][..], "did you mean --plugin research?"),
            (&["run", "research", "a task"], "did you mean --plugin research?"),
            (&["version"], "there is no command version"),
            (&["version", "--quiet"], "there is no command version"),
        ] {
            let told = parse(line).unwrap_err().to_string();
            assert!(told.contains(words), "{line:?}: {told}");
        }
        let unquoted = parse(&["--plugin", "p", "What", "do", "papers", "say?"]);
        let unquoted = unquoted.unwrap_err().to_string();
        assert!(unquoted.contains("tip: quote the task"), "{unquoted}");
        for flag in ["--plugin", "-p"] {
            for command in [&["resume"][..], &["runs", "resume"]] {
                let line = [command, &["7f3a", flag, "p"]].concat();
                let changed = parse(&line).unwrap_err().to_string();
                let tip = "hermes-host replay RUN --plugin PLUGIN --fork";
                assert!(changed.contains(tip), "{changed}");
            }
        }
        let flag = parse(&["runs", "--plugin", "p"]).unwrap_err().to_string();
        assert!(flag.contains("'--plugin'") && !flag.contains("as a value"), "{flag}");
        for (end, status) in [("achieved", "completed"), ("exhausted", "failed")] {
            let told = parse(&["runs", "--status", end]).unwrap_err().to_string();
            assert!(
                told.contains(&format!("{end} is an end, and its status is {status}")),
                "{told}"
            );
            assert!(!told.contains("similar"), "{told}");
        }
        let unknown = parse(&["research", "--buget", "x"]).unwrap_err().to_string();
        assert!(unknown.contains("'--buget'"), "{unknown}");
        assert!(parse(&["what is this?"]).unwrap_err().to_string().contains("--plugin"));
        assert!(
            parse(&["--plugin", "p", "t", "--buget", "x"])
                .unwrap_err()
                .to_string()
                .contains("--budget")
        );
    }

    #[test]
    fn every_command_has_an_example_that_parses() {
        fn walk(command: &mut clap::Command, seen: &mut usize) {
            let help = command.render_long_help().to_string();
            let mut examples = help
                .lines()
                .filter_map(|line| line.trim().strip_prefix("hermes-host "))
                .peekable();
            assert!(
                command.is_hide_set() || examples.peek().is_some(),
                "{}",
                command.get_name()
            );
            for example in examples.filter(|example| !example.contains(['[', '<'])) {
                let words = words(example.split(" > ").next().unwrap_or(example));
                let parsed = parse(&words.iter().map(String::as_str).collect::<Vec<_>>());
                assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                *seen += 1;
            }
            command
                .get_subcommands_mut()
                .filter(|c| c.get_name() != "help")
                .for_each(|c| walk(c, seen));
        }
        let mut seen = 0;
        let mut command = Line::command();
        command.build();
        walk(&mut command, &mut seen);
        assert!(seen >= 15, "{seen}");
    }

    /// The words of a shell line with plain quotes.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quote = None;
        for c in line.chars() {
            match (c, quote) {
                (c, Some(q)) if c == q => quote = None,
                ('\'' | '"', None) => quote = Some(c),
                (' ', None) => words.push(String::new()),
                (c, _) => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|word| !word.is_empty());
        words
    }
}
