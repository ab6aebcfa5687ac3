//! The main job on this project's own documents, with whatever model there is.

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

/// Sets up, builds, and asks.
pub(crate) fn run(model: Option<&str>) -> Result<ExitCode> {
    crate::build(Profile::Release)?;
    let choice = match model {
        Some(model) => Choice::Named(model),
        None => local_model::find().map_or(Choice::Scripted, Choice::Local),
    };
    eprintln!("\n{}", explain(&choice));
    let mut command = question();
    choose(&mut command, &choice)?;
    eprintln!("$ {}\n", process::show(&command));
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("the host could not be started")?;
    Ok(ExitCode::from(
        status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
    ))
}

fn question() -> Command {
    let mut command = Command::new(tree::host_binary());
    command.current_dir(tree::root());
    command.arg("--plugin").arg(tree::plugins().join("research.wasm"));
    command.args([QUESTION, "--allow", "fs:./docs"]);
    command
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
    // A person's own configuration may name a model that costs money.
    command.env("HERMES_HOME", tree::target().join("demo-home"));
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
