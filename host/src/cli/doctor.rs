//! `doctor`: what is missing on this machine, and the command that mends it.

use std::collections::BTreeSet;
use std::fs;
use std::io::IsTerminal as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::args::Output;
use super::errors::Problem;
use super::pasted::pasted;
use super::style::{Ink, fit, left, number, size, width, wrap};
use super::{Context, json, stdio, terminal};
use crate::config::{Config, ConfigError};
use crate::event::now_ms;
use crate::ids::RunId;
use crate::run::{
    BadComponent, CompileIn, Holds, Host, HostError, Integrity, Problem as Damage, SecretRow, check_home,
    default_model, is_built_in,
};
use crate::store::StoreError;
use crate::text::shell_word;

/// The longest line, in columns.
const WIDTH: usize = 400;
/// The kernel from which on the engine resets memories by asking which pages were written.
const PAGEMAP_SCAN: (u32, u32) = (6, 7);
/// Mappings that the kernel allows a process by default; each resident instance takes a few.
const DEFAULT_MAPS: u64 = 65_530;
/// Free space below which a run may not get far.
const LOW_DISK: u64 = 512 * 1024 * 1024;
/// 2025-01-01: a clock before it is wrong, and no server's certificate can be checked with it.
const CLOCK_FLOOR_MS: u64 = 1_735_689_600_000;
/// 2100-01-01: nor with one from it on.
const CLOCK_CEILING_MS: u64 = 4_102_444_800_000;
/// Ten years of 365 days: a clock that stands so far behind the newest run may well be wrong, and takes all runs for old.
const CLOCK_AHEAD_MS: u64 = 10 * 365 * 86_400_000;
/// So many of the newest runs are asked for when that was: one that is damaged can't tell.
const NEWEST: u32 = 20;

/// Damages that are told one by one.
const DAMAGES: usize = 50;
/// Runs that are named of those that use a component.
const RUNS: usize = 3;

/// One thing that was looked at.
struct Check {
    what: &'static str,
    state: State,
    detail: String,
    mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

/// Checks the machine, then the host on it.
pub(super) async fn doctor(config: Config, context: Context) -> Result<u8, Problem> {
    let mut checks = vec![
        ok("configuration", "read".to_owned()),
        home(&config),
        disk(&config.state_dir),
    ];
    checks.extend(key_files(&config));
    let (maps, model) = (maps(config.limits.resident), model(&config).await);
    let host = Host::to_read(config);
    let newest = match &host {
        Ok(host) => newest_run(host).await,
        Err(_) => None,
    };
    checks.extend([kernel(), maps, clock(now_ms(), newest), screen(), model]);
    match host {
        Ok(host) => {
            checks.extend([
                ok("engine", "starts".to_owned()),
                compiler(host.config(), context).await,
            ]);
            checks.push(cache(host.config()));
            checks.extend(plugins(&host));
            checks.extend(secrets(&host));
            checks.extend(database(host).await);
        }
        Err(error) => {
            let mend = "fewer limits.resident, or less limits.memory: the engine sets room for all aside".to_owned();
            checks.push(fail("engine", error.to_string(), Some(mend)));
        }
    }
    report(&checks, context)
}

/// With a configuration that can't be read there is still a machine to check.
pub(super) fn without_configuration(context: Context, error: &ConfigError) -> Result<u8, Problem> {
    let mend = error.help().into_iter().next();
    let mend = mend.or_else(|| Some("correct it there; all settings:  hermes-host config reference".to_owned()));
    report(
        &[
            fail("configuration", error.to_string(), mend),
            kernel(),
            clock(now_ms(), None),
            screen(),
        ],
        context,
    )
}

fn report(checks: &[Check], context: Context) -> Result<u8, Problem> {
    let paint = terminal::paint_output(context.color);
    if context.output == Output::Text {
        let mut out = String::new();
        // On a terminal lines are broken between words, below where they begin.
        let columns = terminal::columns().map_or(usize::MAX, |columns| columns.saturating_sub(21).max(20));
        for check in checks {
            let ink = match check.state {
                State::Ok => Ink::Good,
                State::Warn => Ink::Warn,
                State::Fail => Ink::Bad,
            };
            let word = paint.ink(ink, &left(word(check.state), 4));
            let lines = |text: &str| match fit(text, WIDTH) {
                text if width(&text) <= columns => text,
                text => wrap(&text, columns).join(&format!("\n{:21}", "")),
            };
            out.push_str(&format!("{word}  {} {}\n", left(check.what, 14), lines(&check.detail)));
            if let Some(mend) = &check.mend {
                out.push_str(&format!("{:21}{}\n", "", lines(&pasted(mend))));
            }
        }
        stdio::print(&out)?;
    } else {
        let rows: Vec<Value> = checks.iter().map(|check| {
            json!({ "check": check.what, "state": word(check.state), "detail": check.detail, "mend": check.mend })
        }).collect();
        stdio::print_line(&json::line(&rows.into()))?;
    }
    Ok(u8::from(checks.iter().any(|check| check.state == State::Fail)))
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Warn => "warn",
        State::Fail => "fail",
    }
}

fn ok(what: &'static str, detail: String) -> Check {
    Check {
        what,
        state: State::Ok,
        detail,
        mend: None,
    }
}

fn warn(what: &'static str, detail: String, mend: Option<String>) -> Check {
    Check {
        what,
        state: State::Warn,
        detail,
        mend,
    }
}

fn fail(what: &'static str, detail: String, mend: Option<String>) -> Check {
    Check {
        what,
        state: State::Fail,
        detail,
        mend,
    }
}

/// Which model a run without `--model` would ask, and why. Asks the server that the environment names, or servers of this
/// machine, and those only where nothing else is set.
async fn model(config: &Config) -> Check {
    let variable = |name: &str| std::env::var(name).ok();
    let wanted = config.model.as_deref();
    match default_model(config).await {
        Ok(model) => {
            let source = config
                .shown
                .iter()
                .find(|s| s.key == "model" && wanted.is_some())
                .map(|s| s.source.to_string());
            let key = [
                "OPENAI_API_KEY",
                "ANTHROPIC_API_KEY",
                "OPENAI_BASE_URL",
                "ANTHROPIC_BASE_URL",
            ]
            .into_iter()
            .find(|name| variable(name).is_some() && name.to_ascii_lowercase().starts_with(model.provider()));
            let why = match (source, key) {
                (Some(source), _) => format!("set by {source}"),
                (None, Some(key)) => format!("{key} is set"),
                (None, None) => "its server answers on this machine".to_owned(),
            };
            ok("model", format!("{} ({why})", model.full_name()))
        }
        Err(error) => {
            let mend = match error.missing_provider() {
                Some(provider) => format!("[providers.{provider}]   in the configuration, with its kind and base_url"),
                None => "model = \"provider/name\"   in the configuration, or --model for one run".to_owned(),
            };
            warn("model", error.to_string(), Some(mend))
        }
    }
}

/// What compiles plugins is a process of its own, which a machine may not let start, or not with so much memory.
async fn compiler(config: &Config, context: Context) -> Check {
    match CompileIn::from(context.compile_in).check(&config.limits).await {
        Ok(()) => {
            let memory = size(config.limits.compile_address_space);
            ok("compiler", format!("starts, with at most {memory} of memory"))
        }
        Err(why) => {
            let mend = "more limits.compile.address_space, or more processes and memory for this user (ulimit -a)";
            fail("compiler", format!("it {why}"), Some(mend.to_owned()))
        }
    }
}

/// Compiled plugins are trusted code: nobody else may write there.
fn cache(config: &Config) -> Check {
    let folder = config.state_dir.join("cache");
    let shown = folder.display();
    match fs::metadata(&folder) {
        _ if !config.compile_cache => {
            let mend = "compile_cache = true   in the configuration".to_owned();
            warn("compile cache", "off: every start compiles".to_owned(), Some(mend))
        }
        Ok(meta) if meta.mode() & 0o022 != 0 || meta.uid() != rustix::process::geteuid().as_raw() => {
            let mend = format!("rm -r {shown}   (it is made again)");
            fail("compile cache", format!("others can write {shown}"), Some(mend))
        }
        Ok(_) => ok("compile cache", shown.to_string()),
        Err(_) => ok("compile cache", format!("{shown} (made at the first run)")),
    }
}

/// A plugin that is not what was approved does not run.
fn plugins(host: &Host) -> Vec<Check> {
    const WHAT: &str = "plugins";
    let all = match host.plugins() {
        Ok(all) => all,
        Err(error) => return vec![fail(WHAT, error.to_string(), None)],
    };
    let added = all.iter().filter(|plugin| plugin.approved_ms.is_some());
    let bad = added.clone().filter_map(|plugin| {
        let (name, path) = (&plugin.name, shell_word(&plugin.path.display().to_string()));
        let (what, mend) = match &plugin.holds {
            Holds::Changed(change) if change.damaged.is_some() => {
                let why = change.damaged.as_deref().unwrap_or_default();
                (
                    format!("{name} was approved and can't be used: {why}"),
                    format!("hermes-host plugin remove {name}   or put {path} back as it was"),
                )
            }
            Holds::Changed(_) => (
                format!("{name} has changed since it was approved, and does not run by its name"),
                format!("hermes-host plugin add {path}   shows what is different"),
            ),
            Holds::Unreadable(why) => (
                format!("{name} was approved and can't be read: {why}"),
                format!("hermes-host plugin remove {name}   or put {path} back as it was"),
            ),
            Holds::Yes | Holds::NotAdded => return None,
        };
        Some(warn(WHAT, what, Some(mend)))
    });
    let bad: Vec<Check> = bad.collect();
    match added.count() {
        _ if !bad.is_empty() => bad,
        0 => Vec::new(),
        n => vec![ok(WHAT, format!("{}, as approved", number(n as u64, "plugin")))],
    }
}

/// The file of secrets, where there is one, and what is granted that it lacks.
fn secrets(host: &Host) -> Vec<Check> {
    const WHAT: &str = "secrets";
    let rows = match host.secrets() {
        Ok(rows) => rows,
        Err(error) => return vec![fail(WHAT, error.to_string(), None)],
    };
    let (set, missing): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.set.is_some());
    let missing = missing.into_iter().map(|SecretRow { name, .. }| {
        let detail = format!("{name} is granted and not set: no run that needs it begins");
        warn(WHAT, detail, Some(format!("hermes-host secret set {name}")))
    });
    let mut checks: Vec<Check> = missing.collect();
    if !set.is_empty() {
        checks.push(ok(WHAT, format!("{}, readable by you alone", set.len())));
    }
    checks
}

/// Reads all that is kept and checks its seals. One line for each thing that is damaged.
async fn database(host: Host) -> Vec<Check> {
    const WHAT: &str = "database";
    let anew = format!(
        "restore a backup, or move hermes.db*, runs and components in {} away to begin anew; keep them for what they hold",
        host.config().state_dir.display()
    );
    match tokio::task::spawn_blocking(move || host.integrity()).await {
        Ok(Ok(None)) => vec![ok(WHAT, "none yet (made at the first run)".to_owned())],
        Ok(Ok(Some(found))) if found.problems.is_empty() => vec![ok(WHAT, looked_at(&found))],
        Ok(Ok(Some(found))) => damage(&found.problems, WHAT, &anew),
        // Told of the home folder already.
        Ok(Err(HostError::Home { .. })) => Vec::new(),
        Ok(Err(HostError::Store(StoreError::Corrupt { path, what }))) => {
            let detail = format!("{} is damaged: {what}", path.display());
            vec![fail(WHAT, detail, Some(anew))]
        }
        Ok(Err(error)) => {
            let mend = match error.is_damage() {
                true => Some(anew),
                false => failing_disk(&error),
            };
            vec![fail(WHAT, error.to_string(), mend)]
        }
        Err(error) => vec![fail(WHAT, error.to_string(), None)],
    }
}

/// What to do about a disk that fails, which says nothing of what is on it.
fn failing_disk(error: &HostError) -> Option<String> {
    let is_failing = matches!(error, HostError::Store(StoreError::Io { .. }));
    is_failing
        .then(|| "look after the disk; copy the home folder to another before anything is removed or mended".to_owned())
}

fn looked_at(found: &Integrity) -> String {
    let Integrity {
        records,
        bodies,
        entries,
        components,
        ..
    } = found;
    format!("{records} records, {bodies} messages, {entries} entries, {components} components, all good")
}

fn damage(problems: &[Damage], what: &'static str, anew: &str) -> Vec<Check> {
    let (mut components, mut mended) = (BTreeSet::new(), Vec::new());
    let unreadable = |run: &RunId| problems.iter().any(|p| p.unreadable && p.run.as_ref() == Some(run));
    // Where the database itself is damaged, others may be hidden by that.
    let others = match problems.iter().all(|p| p.run.is_some()) {
        true => "; others can go on as they are",
        false => "",
    };
    // A component is told once for all runs that use it.
    let is_first = |problem: &&Damage| match &problem.component {
        Some(component) => components.insert(component.digest),
        None => true,
    };
    let all: Vec<&Damage> = problems.iter().filter(is_first).collect();
    let told = all.iter().copied().take(DAMAGES).map(|problem| {
        let mend = match (&problem.run, &problem.component) {
            (_, Some(component)) => return bad_component(component, problems, what),
            (None, None) => Some(anew.to_owned()),
            (Some(run), None) if mended.contains(run) => None,
            (Some(run), None) => {
                mended.push(run.clone());
                Some(match unreadable(run) {
                    true => "restore a backup: no loss can be accepted where a page can't be read".to_owned(),
                    false => format!(
                        "hermes-host resume {run} --accept-loss   mends it, and goes on with what is left where it has not ended{others}"
                    ),
                })
            }
        };
        fail(what, problem.to_string(), mend)
    });
    let mut checks: Vec<Check> = told.collect();
    let more = all.len().saturating_sub(DAMAGES);
    if more > 0 {
        checks.push(fail(what, format!("and {more} more"), None));
    }
    checks
}

/// A component that is missing or damaged, with the runs that use it. In the place of one that is missing a run takes the plugin that is built in, where
/// that has the same bytes.
fn bad_component(component: &BadComponent, problems: &[Damage], what: &'static str) -> Check {
    let mut about = "";
    let mut runs: Vec<&str> = Vec::new();
    for problem in problems.iter().filter(|p| p.component.as_ref() == Some(component)) {
        about = &problem.what;
        runs.extend(problem.run.as_ref().map(RunId::as_str));
    }
    let first = runs[..runs.len().min(RUNS)].join(", ");
    let mut detail = match runs.len() {
        1 => format!("run {first}: {about}"),
        n if n > RUNS => format!("{about}, which {n} runs use: {first}, …"),
        n => format!("{about}, which {n} runs use: {first}"),
    };
    let mend = format!(
        "put {} back, from a backup or from where the plugin came from",
        component.path.display()
    );
    if component.missing && is_built_in(&component.digest) {
        detail.push_str("; the plugin that is built in takes its place, as it has the same bytes");
        return warn(what, detail, Some(mend));
    }
    fail(what, detail, Some(mend))
}

/// The home folder or, where it is not there yet, the folder in which it would be made.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|folder| folder.exists()).map(Path::to_owned)
}

/// What mends a home folder that can't be used.
const ELSEWHERE: &str = "choose another with HERMES_HOME";

fn home(config: &Config) -> Check {
    if let Err(error) = check_home(config) {
        return fail("home", error.to_string(), Some(ELSEWHERE.to_owned()));
    }
    let home = &config.home;
    let shown = home.display();
    let state = home.join("host");
    let Some(folder) = existing(&state) else {
        let detail = format!("{shown} has no folder above it");
        return fail("home", detail, Some(ELSEWHERE.to_owned()));
    };
    if let Err(error) = rustix::fs::access(&folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        let folder = folder.display();
        let (what, mend) = if error == rustix::io::Errno::ROFS {
            ("lies on a read-only file system", ELSEWHERE.to_owned())
        } else {
            ("can't be written", format!("chmod u+rwx {folder}   or {ELSEWHERE}"))
        };
        return fail("home", format!("{folder} {what}"), Some(mend));
    }
    if !state.exists()
        && let Err(error) = holds_folders(&folder)
    {
        let detail = format!("{shown} can't be made: {error}");
        return fail("home", detail, Some(ELSEWHERE.to_owned()));
    }
    match fs::metadata(&state) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            let mend = format!("chmod 700 {}", state.display());
            warn("home", format!("{} can be read by others", state.display()), Some(mend))
        }
        Ok(_) => ok("home", shown.to_string()),
        Err(_) => ok("home", format!("{shown} (made at the first run)")),
    }
}

/// Whether a folder can be made here, tried: not every file system says by its permissions that none can.
fn holds_folders(folder: &Path) -> std::io::Result<()> {
    let tried = folder.join(format!(".hermes-host-doctor-{}", std::process::id()));
    fs::create_dir(&tried)?;
    fs::remove_dir(&tried)
}

/// What is free where the store lies, which may be another disk than the home folder's.
fn disk(state: &Path) -> Check {
    let free = existing(state)
        .and_then(|folder| rustix::fs::statvfs(&folder).ok())
        .map(|s| s.f_bavail * s.f_frsize);
    match free {
        None => warn("disk", "the free space could not be read".to_owned(), None),
        Some(free) if free < LOW_DISK => {
            let mend = "free some, or choose another folder with HERMES_HOME".to_owned();
            warn("disk", format!("{} are free", size(free)), Some(mend))
        }
        Some(free) => ok("disk", format!("{} are free", size(free))),
    }
}

/// Each `key_file` of a provider must be the operator's alone.
fn key_files(config: &Config) -> Vec<Check> {
    let providers = config.models.providers.iter();
    let files = providers.filter_map(|(name, provider)| Some((name, provider.key_file.as_deref()?)));
    files
        .map(|(name, path)| {
            let (shown, key) = (path.display(), format!("providers.{name}.key_file"));
            match fs::metadata(path) {
                Err(error) => {
                    let mend = format!("install -m 600 /dev/stdin {shown}   and give it the key, or set {key}");
                    fail("key file", format!("{shown} ({key}): {error}"), Some(mend))
                }
                Ok(meta) if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() => fail(
                    "key file",
                    format!("{shown} can be read by others"),
                    Some(format!("chmod 600 {shown}")),
                ),
                Ok(_) => ok("key file", format!("{shown} ({key})")),
            }
        })
        .collect()
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let release = release.trim();
    if (major, minor) >= PAGEMAP_SCAN {
        ok("kernel", format!("Linux {release}"))
    } else {
        let detail = format!("Linux {release} is older than 6.7: resetting a sandbox takes longer");
        warn(
            "kernel",
            detail,
            Some("a newer kernel makes it fast; all else works".to_owned()),
        )
    }
}

fn maps(resident: u64) -> Check {
    let allowed = fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    // Measured: with the default, about 16,000 instances fit.
    let wanted = (resident * 4).max(DEFAULT_MAPS);
    match allowed {
        Some(allowed) if allowed < wanted => {
            let detail = format!("vm.max_map_count {allowed} is low for {resident} resident instances");
            warn(
                "memory maps",
                detail,
                Some(format!("sudo sysctl vm.max_map_count={wanted}")),
            )
        }
        Some(allowed) => ok("memory maps", format!("vm.max_map_count {allowed}")),
        None => warn("memory maps", "vm.max_map_count could not be read".to_owned(), None),
    }
}

/// When the newest run changed last, where there is one that can tell.
async fn newest_run(host: &Host) -> Option<u64> {
    let rows = host.runs(NEWEST, &[]).await.ok()?.rows;
    rows.iter().map(|row| row.changed_ms).filter(|at| *at > 0).max()
}

fn clock(now_ms: u64, newest_run_ms: Option<u64>) -> Check {
    let mend = || Some("sudo timedatectl set-ntp true".to_owned());
    let wrong = |stands: &str| {
        let detail = format!("it stands {stands}: no server's certificate can be checked");
        fail("clock", detail, mend())
    };
    match newest_run_ms {
        _ if now_ms < CLOCK_FLOOR_MS => wrong("before 2025"),
        _ if now_ms >= CLOCK_CEILING_MS => wrong("after 2099"),
        Some(newest) if now_ms > newest.saturating_add(CLOCK_AHEAD_MS) => {
            let detail =
                "it stands more than ten years after the newest run: `runs prune --older-than` takes all for old";
            warn("clock", detail.to_owned(), mend())
        }
        _ => ok("clock", "plausible".to_owned()),
    }
}

fn screen() -> Check {
    if !std::io::stderr().is_terminal() {
        return ok(
            "terminal",
            "standard error is no terminal: progress is plain lines".to_owned(),
        );
    }
    match terminal::kind() {
        terminal::Kind::Terminal => {
            let (width, height) = terminal::size();
            ok("terminal", format!("{width} by {height}"))
        }
        terminal::Kind::Stream => {
            let mend = "TERM=xterm-256color, if it is one".to_owned();
            warn(
                "terminal",
                "TERM says that it can't move its cursor: progress is plain lines".to_owned(),
                Some(mend),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_held_to_the_years_of_this_program_and_to_the_newest_run() {
        let state = |now_ms, newest| clock(now_ms, newest).state;
        assert_eq!(state(CLOCK_FLOOR_MS - 1, None), State::Fail);
        assert_eq!(state(CLOCK_FLOOR_MS, None), State::Ok);
        assert_eq!(state(CLOCK_CEILING_MS - 1, None), State::Ok);
        assert_eq!(state(CLOCK_CEILING_MS, None), State::Fail);
        let newest = CLOCK_FLOOR_MS;
        assert_eq!(state(newest + CLOCK_AHEAD_MS, Some(newest)), State::Ok);
        assert_eq!(state(newest + CLOCK_AHEAD_MS + 1, Some(newest)), State::Warn);
        // A run of a clock that was wrong then.
        assert_eq!(state(newest, Some(u64::MAX)), State::Ok);
    }
}
