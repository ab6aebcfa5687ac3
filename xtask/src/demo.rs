//! The main job on this project's own documents, with whatever model there is.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::guests::Profile;
use crate::local_model::LocalModel;
use crate::{local_model, process, tree};

/// The turns of the scripted model.
const SCRIPT: &str = "docs/demo/script.toml";

const QUESTION: &str = "How does the host keep a plugin from doing what it was not granted?";

/// Variables with which a model costs money. A key that happens to be set is no consent to use it here.
const KEYS: [&str; 4] = [
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_BASE_URL",
];

/// The model that the demo uses.
enum Choice<'a> {
    Named(&'a str),
    Local(LocalModel),
    Scripted,
}

/// What is said before anything is built.
const BEFORE: &str = "\
The demo builds plugins and host, then has an agent answer a question. Compiling them the first time takes 10 to 20 minutes and about 2 GB in
the target folder; from then on it takes seconds.
";

/// Sets up, builds, and asks.
pub(crate) fn run(model: Option<&str>) -> Result<ExitCode> {
    eprintln!("{BEFORE}");
    crate::build(Profile::Release)?;
    let choice = match model {
        Some(model) => Choice::Named(model),
        None => local_model::find().map_or(Choice::Scripted, Choice::Local),
    };
    eprintln!("\n{}", explain(&choice));
    let home = home(&choice);
    let mut command = host(home.as_deref());
    ask(&mut command);
    choose(&mut command, &choice)?;
    eprintln!("$ {}\n", process::show(&command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("the host could not be started")?;
    // Where nothing ran there is nothing to look at.
    if status.code() != Some(2)
        && let Some(command) = look(home.as_deref())
    {
        eprintln!("\nLook at what it did:\n$ {}", process::show(&command));
    }
    Ok(ExitCode::from(
        status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}

/// The home folder of a model that nobody named, as seen from the root: a person's own configuration may name one that costs money.
fn home(choice: &Choice<'_>) -> Option<PathBuf> {
    let home = tree::target().join("demo-home");
    let home = home
        .strip_prefix(tree::root())
        .map_or_else(|_| home.clone(), PathBuf::from);
    (!matches!(choice, Choice::Named(_))).then_some(home)
}

fn host(home: Option<&Path>) -> Command {
    let mut command = Command::new(tree::host_binary());
    command.current_dir(tree::root());
    if let Some(home) = home {
        command.arg("--home").arg(home);
    }
    command
}

fn ask(command: &mut Command) {
    command.arg("--plugin").arg(tree::plugins().join("research.wasm"));
    command.args([QUESTION, "--allow", "fs:./docs"]);
}

/// The command that shows the newest run, where there is one.
fn look(home: Option<&Path>) -> Option<Command> {
    let listed = process::capture(host(home).args(["runs", "--limit", "1"])).ok()?;
    let run = listed.lines().nth(1)?.split_whitespace().next()?;
    let mut command = host(home);
    command.args(["show", run]);
    Some(command)
}

/// Says which model is used, and why.
fn explain(choice: &Choice<'_>) -> String {
    let (what, why) = match choice {
        Choice::Named(model) => (format!("`{model}`"), "you named it by --model".to_owned()),
        Choice::Local(found) => (
            format!("`{}` of {}", found.name, found.server),
            format!("it answers on 127.0.0.1:{}", found.port),
        ),
        Choice::Scripted => (
            format!("scripted, its turns are in {SCRIPT}"),
            "no --model was given, and no local server answers on its usual port".to_owned(),
        ),
    };
    let mut text = format!("Model: {what}, because {why}.\n");
    if !matches!(choice, Choice::Named(_)) && KEYS.iter().any(|key| std::env::var_os(key).is_some()) {
        text.push_str(
            "A key in the environment is not used: name a model with `cargo xtask demo --model PROVIDER/NAME`.\n",
        );
    }
    text.push_str("The component, the documents, the tools, the budget and the journal are real in every case.\n");
    text
}

fn choose(command: &mut Command, choice: &Choice<'_>) -> Result<()> {
    if let Choice::Named(model) = choice {
        command.args(["--model", model]);
        return Ok(());
    }
    for key in KEYS {
        command.env_remove(key);
    }
    match choice {
        Choice::Local(found) => {
            command.env("OPENAI_BASE_URL", format!("http://127.0.0.1:{}/v1", found.port));
            command.args(["--model", &format!("openai/{}", found.name)]);
        }
        _ if tree::at(SCRIPT).is_file() => {
            command.args(["--model", "scripted", "--script", SCRIPT]);
        }
        _ => bail!("{SCRIPT} is missing, so that there is no model for the demo"),
    }
    Ok(())
}
