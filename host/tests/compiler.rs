//! A host in a program of its own: where it has its plugins compiled, and what is left of that when nobody waits any more.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hermes_host::config::{Config, Sources};
use hermes_host::run::{CompileIn, Host};
use hermes_tests::held::children;
use hermes_tests::{bomb, guests};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// What a process has started is counted, so one test at a time starts something.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What hangs shall fail.
const HANGS: Duration = Duration::from_secs(60);

fn host(home: &Path, compile_in: CompileIn) -> Host {
    host_with(home, compile_in, &[])
}

/// With these settings.
fn host_with(home: &Path, compile_in: CompileIn, set: &[String]) -> Host {
    let sources = Sources {
        env: Vec::new(),
        cwd: None,
        home: Some(home.to_owned()),
        set: set.to_vec(),
    };
    Host::open(Config::load(&sources).unwrap(), compile_in).unwrap()
}

fn by_the_command() -> CompileIn {
    CompileIn::Program(env!("CARGO_BIN_EXE_hermes-host").into())
}

/// Compiles a tool and calls it.
async fn called(host: &Host, plugin: &Path) -> Result<String, String> {
    let tools = host.tools_of(plugin.to_str().unwrap(), &[]).await;
    let tools = tools.map_err(|e| e.to_string())?;
    let answer = tools.call("echo", r#"{"text":"hello"}"#).await;
    Ok(answer.map_err(|e| e.to_string())?.content.join(" "))
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let comes = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    let net = tokio::time::timeout(HANGS, comes).await;
    assert!(net.is_ok(), "{what} did not come");
}

fn endless(home: &Path) -> PathBuf {
    endless_of(home, 0)
}

/// The same of other bytes for each number.
fn endless_of(home: &Path, n: usize) -> PathBuf {
    let file = home.join(format!("bomb-{n}.wasm"));
    let parts = bomb::instances(12) + &"(core module)".repeat(n);
    std::fs::write(&file, bomb::toolset(&parts)).unwrap();
    file
}

/// Compiles these and calls them, all at once.
fn at_once(host: &Arc<Host>, plugins: &[PathBuf]) -> JoinSet<Result<String, String>> {
    let mut calls = JoinSet::new();
    for plugin in plugins {
        let (host, plugin) = (host.clone(), plugin.clone());
        calls.spawn(async move { called(&host, &plugin).await });
    }
    calls
}

#[tokio::test]
async fn others_go_on_while_a_component_is_compiled_for_ever_and_nothing_is_left_of_it() {
    let _alone = ALONE.lock().await;
    let home = tempfile::tempdir().unwrap();
    let bomb = endless(home.path());
    let host = Arc::new(host(home.path(), by_the_command()));
    assert_eq!(called(&host, &guests::built("pure-echo")).await.unwrap(), "hello");
    until("the first compiler's end", || children().is_empty()).await;
    // One thread serves both.
    let compile = || {
        let (host, bomb) = (host.clone(), bomb.clone());
        tokio::spawn(async move { called(&host, &bomb).await })
    };
    let compiling = compile();
    until("the compiler", || !children().is_empty()).await;
    for _ in 0..10 {
        let answer = tokio::time::timeout(HANGS, called(&host, &guests::built("pure-echo"))).await;
        assert_eq!(answer.unwrap().unwrap(), "hello");
    }
    let probe = tokio::time::timeout(HANGS, called(&host, &guests::built("probe-tool"))).await;
    assert_eq!(probe.unwrap().unwrap(), "hello", "what is new is compiled beside it");
    assert!(!compiling.is_finished());
    compiling.abort();
    until("the end of all compilers", || children().is_empty()).await;
    // Once more, as loaded plugins have files open too.
    let before = descriptors();
    let compiling = compile();
    until("the compiler", || !children().is_empty()).await;
    compiling.abort();
    until("its end", || children().is_empty() && descriptors() <= before).await;
}

#[tokio::test]
async fn so_many_are_compiled_at_once_and_others_wait_for_their_place() {
    let _alone = ALONE.lock().await;
    let home = tempfile::tempdir().unwrap();
    let (known, new) = (guests::built("pure-echo"), guests::built("probe-tool"));
    let first = host(home.path(), by_the_command());
    assert_eq!(called(&first, &known).await.unwrap(), "hello");
    drop(first);
    for most in [1, 2] {
        let set = [
            format!("limits.compile.parallel={most}"),
            "limits.compile.wall=1s".to_owned(),
        ];
        let host = Arc::new(host_with(home.path(), by_the_command(), &set));
        let bombs: Vec<_> = (0..=most).map(|n| endless_of(home.path(), 10 * most + n)).collect();
        let mut calls = at_once(&host, &bombs);
        until("the compilers", || children().len() == most).await;
        // What is compiled already needs no place.
        let answer = tokio::time::timeout(HANGS, called(&host, &known)).await;
        assert_eq!(answer.unwrap().unwrap(), "hello");
        while !calls.is_empty() {
            assert!(children().len() <= most, "{:?}", children());
            if let Some(refused) = calls.try_join_next() {
                let error = refused.unwrap().unwrap_err();
                assert!(error.contains("1 s (limits.compile.wall)"), "{error}");
            }
            tokio::task::yield_now().await;
        }
    }
    // Whoever waits for as long as ten others may take gives up, which says nothing of it.
    const BUSY: &str = "no place to compile it came free among 1 (limits.compile.parallel)";
    const WALL: &str = "100 ms (limits.compile.wall)";
    let set = ["limits.compile.parallel=1", "limits.compile.wall=100ms"].map(str::to_owned);
    let host = Arc::new(host_with(home.path(), by_the_command(), &set));
    let bombs: Vec<_> = (0..14).map(|n| endless_of(home.path(), 100 + n)).collect();
    let mut calls = JoinSet::new();
    for bomb in bombs {
        let host = host.clone();
        calls.spawn(async move { (called(&host, &bomb).await.unwrap_err(), bomb) });
    }
    let (busy, tried): (Vec<_>, Vec<_>) = calls
        .join_all()
        .await
        .into_iter()
        .partition(|(error, _)| error.contains(BUSY));
    assert!(tried.iter().all(|(error, _)| error.contains(WALL)), "{tried:?}");
    assert!((1..=11).contains(&tried.len()), "{} had a place", tried.len());
    let again = called(&host, &busy[0].1).await.unwrap_err();
    assert!(again.contains(WALL) && !again.contains("before"), "{again}");
    until("the end of all compilers", || children().is_empty()).await;
    drop(host);
    let host = host_with(home.path(), by_the_command(), &["limits.compile.parallel=1".to_owned()]);
    assert_eq!(called(&host, &new).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_program_that_is_no_compiler_is_told_and_not_taken_for_the_components_fault() {
    let _alone = ALONE.lock().await;
    let home = tempfile::tempdir().unwrap();
    for (program, words) in [
        ("/nowhere/hermes-host", "can't be started"),
        ("/bin/true", "did not begin"),
        ("/bin/echo", "another program"),
    ] {
        let host = host(home.path(), CompileIn::Program(program.into()));
        let error = called(&host, &guests::built("pure-echo")).await.unwrap_err();
        assert!(error.contains(words), "{program}: {error}");
    }
    // Neither in this process nor on the disk is anything held against it.
    let host = host(home.path(), by_the_command());
    assert_eq!(called(&host, &guests::built("pure-echo")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_program_may_compile_in_its_own_process() {
    let _alone = ALONE.lock().await;
    let home = tempfile::tempdir().unwrap();
    let host = host(home.path(), CompileIn::ThisProcess);
    assert_eq!(called(&host, &guests::built("pure-echo")).await.unwrap(), "hello");
}
