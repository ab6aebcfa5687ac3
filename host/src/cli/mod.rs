//! The command line: arguments, screens and exit codes. It sees the library's face ([`crate::run`]) and the
//! configuration only.

mod args;
mod audit;
mod backup;
mod blackboard;
mod call;
mod config;
mod denied;
mod doctor;
mod errors;
mod export;
mod hidden;
mod inspect;
mod json;
mod log;
mod pasted;
mod plain;
mod plugin;
mod progress;
mod prune;
mod question;
mod replay;
mod resume_all;
mod review;
mod run;
mod runs;
mod secret;
mod show;
mod signals;
mod stdio;
mod style;
mod terminal;
mod tree;
mod validated;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{Config, Sources};
use crate::run::{Host, ThisProgram};
use args::{Line, Output};
use errors::Problem;
use style::Paint;
use validated::Command;

/// How long the end waits for threads that are stuck in file access.
const SHUTDOWN: Duration = Duration::from_secs(1);

/// What every command gets besides its own arguments.
#[derive(Debug, Clone, Copy)]
struct Context {
    output: Output,
    /// Of standard error.
    paint: Paint,
    verbose: bool,
    quiet: bool,
    color: args::Color,
    /// What compiles: this program, as `main` has seen to.
    compile_in: ThisProgram,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let compile_in = crate::run::this_program();
    signals::leave_no_core();
    log::tell_of_panics();
    let argv = args::with_command(std::env::args_os().collect());
    let line = match args::parse(&argv) {
        Ok(line) => line,
        Err(error) => return not_understood(&error, &argv),
    };
    if let Some(home) = &line.global.home {
        pasted::at_home(home);
    }
    let context = Context {
        output: line.global.output,
        paint: terminal::paint(line.global.color),
        verbose: line.global.verbose,
        quiet: line.global.quiet,
        color: line.global.color,
        compile_in,
    };
    match carry_out(line, context) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            stdio::tell(&problem.render(context.paint));
            if context.output == Output::Json {
                print_failure(&problem);
            }
            ExitCode::from(problem.code)
        }
    }
}

/// Prints an error as programs read it: of every command one object of the same form.
fn print_failure(problem: &Problem) {
    let _ = stdio::print_line(&json::line(&json::failure(problem)));
}

fn carry_out(line: Line, context: Context) -> Result<u8, Problem> {
    log::start()?;
    if context.output == Output::Events && !validated::has_events(&line.command) {
        let problem =
            Problem::usage("--output events is for a run under way: `run`, `resume`, and `replay` with --fork");
        return Err(problem.with_help("one JSON value:  --output json"));
    }
    if matches!(line.command, args::Command::Config(args::Config::Reference)) {
        return config::reference(context).map(|()| 0);
    }
    let config = Config::load(&Sources {
        env: std::env::vars_os().collect(),
        cwd: std::env::current_dir().ok(),
        home: line.global.home,
        set: line.global.set,
    });
    let command = match (config, line.command) {
        (Err(error), args::Command::Doctor) => return doctor::without_configuration(context, &error),
        (config, command) => Command::validate(command, config?)?,
    };
    if let Command::ConfigShow(config) = &command {
        return config::show(context, config);
    }
    // Each run that is shown has one of its own, for as long as it lasts.
    let shown = command.limits().resume_parallel.saturating_add(1);
    let threads = usize::try_from(command.limits().threads.saturating_add(shown)).unwrap_or(usize::MAX);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(threads)
        .build();
    let runtime = runtime.map_err(|e| Problem::usage(format!("no threads could be started: {e}")))?;
    let end = runtime.block_on(serve(command, context));
    runtime.shutdown_timeout(SHUTDOWN);
    end
}

async fn serve(command: Command, context: Context) -> Result<u8, Problem> {
    let limit = command.limits().file_size;
    signals::raise_descriptors();
    signals::bound_files(limit).map_err(|e| Problem::usage(format!("limits.file_size could not be set: {e}")))?;
    let open = |config| Host::open(config, context.compile_in);
    match command {
        Command::Run(config, spec) => run::start(config, context, spec).await,
        Command::Resume(config, resume) => run::resume(config, context, &resume).await,
        Command::ResumeAll(config) => resume_all::resume_all(config, context).await,
        Command::Replay(config, spec) => replay::replay(config, context, &spec).await,
        Command::Fork(config, spec) => run::fork(config, context, &spec).await,
        Command::Prune(config, spec) => prune::prune(&Host::to_read(config)?, context, &spec).await,
        Command::Backup(config, to) => backup::backup(&Host::to_read(config)?, context, &to).await,
        Command::Cancel(config, id) => runs::cancel(&Host::to_read(config)?, context, &id).await,
        Command::Inspect(config, inspect) => inspect::inspect(&open(config)?, context, inspect).await,
        Command::Call(config, call) => call::call(&open(config)?, context, call).await,
        Command::Runs(config, which) => runs::list(&Host::to_read(config)?, context, &which).await,
        Command::Show(config, id) => show::show(&Host::to_read(config)?, context, &id).await,
        Command::Answer(config, id) => show::answer(&Host::to_read(config)?, context, &id).await,
        Command::Audit(config, id) => audit::audit(&Host::to_read(config)?, context, &id).await,
        Command::Grants(config, id) => audit::grants(&Host::to_read(config)?, context, &id).await,
        Command::Tree(config, id) => tree::tree(&Host::to_read(config)?, context, &id).await,
        Command::Export(config, id, form) => export::export(&Host::to_read(config)?, context, &id, form).await,
        Command::ExportRun(config, export) => export::to_file(&Host::to_read(config)?, context, &export).await,
        Command::Import(config, file) => export::import(&open(config)?, context, &file).await,
        Command::Blackboard(config, command) => blackboard::serve(&Host::to_read(config)?, context, command).await,
        Command::Plugin(config, command) => plugin::serve(config, context, command).await,
        Command::Secret(config, command) => secret::serve(&Host::to_read(config)?, context, command),
        Command::Doctor(config) => doctor::doctor(config, context).await,
        Command::ConfigShow(config) => config::show(context, &config),
    }
}

/// Help and version are answers; all else is an error of exit code 2, as an object too where JSON was asked for.
fn not_understood(error: &clap::Error, argv: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind;
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return match stdio::print(&text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                stdio::tell(&problem.render(Paint::Plain));
                ExitCode::from(problem.code)
            }
        };
    }
    let wrong = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        stdio::tell(&text);
        "a command is missing".to_owned()
    } else {
        stdio::tell(&crate::text::clean(&text, crate::text::Shape::Block));
        what_is_wrong(&text)
    };
    if args::asks_for_json(argv) {
        print_failure(&Problem::usage(wrong));
    }
    ExitCode::from(errors::NOTHING_RAN)
}

/// The parser's words without its own frame: what comes before the usage, each line but the first after a `; `.
fn what_is_wrong(text: &str) -> String {
    let said = text.split("\nUsage:").next().unwrap_or(text);
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("For more information"));
    lines.collect::<Vec<_>>().join("; ").replace(":; ", ": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &[&str]) -> String {
        let argv = std::iter::once("hermes-host").chain(line.iter().copied());
        let argv = args::with_command(argv.map(OsString::from).collect());
        what_is_wrong(&args::parse(&argv).unwrap_err().render().to_string())
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_whole_and_without_the_usage() {
        let missing = wrong(&["--output", "json", "a task"]);
        assert_eq!(
            missing,
            "the following required arguments were not provided: --plugin <PLUGIN>"
        );
        let slip = wrong(&["--plugin", "p", "t", "--buget", "x"]);
        assert!(
            slip.starts_with("unexpected argument '--buget' found; tip:") && slip.contains("'--budget'"),
            "{slip}"
        );
        for line in [
            &["runs", "--json"][..],
            &["--plugin", "p", "t", "--json"],
            &["--json", "runs"],
        ] {
            assert_eq!(
                wrong(line),
                "unexpected argument '--json' found; tip: use --output json",
                "{line:?}"
            );
        }
        let value = wrong(&["--plugin", "p", "t", "--color", "red"]);
        assert!(
            value.contains("'red'") && value.contains("auto, always, never"),
            "{value}"
        );
    }
}
