//! Components made to be hard on whoever checks, compiles or caches them: refused in time, by the name of the limit, and with nothing left.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::future::poll_fn;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use hermes_host::config::{Config, Sources};
use hermes_host::run::{self, AddSpec, Ask, CompileIn, HostError, RunSpec};
use hermes_tests::child::{ChildSpec, join};
use hermes_tests::host::binary;
use hermes_tests::model::{Fault, Format};
use hermes_tests::output::slack;
use hermes_tests::well::{COMPILER, is_well, is_well_but_for, orphans};
use hermes_tests::{Home, Host, ModelServer, Output, Process, Turn, bomb, guests};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a host takes that has an answer at once: its own start.
const AT_ONCE: Duration = Duration::from_millis(50);

/// More than any of these takes on a busy machine: what hangs shall fail.
const HANGS: Duration = Duration::from_secs(60);

/// What the compiler may need, or may be given, is less than this takes.
const LIMIT: &str = "load(compile-limit)";

fn echo(host: Host, plugin: &Path) -> Host {
    let call = host.within(HANGS).arg("call").arg(plugin);
    call.args(["echo", r#"{"text":"hello"}"#])
}

/// The same by a host that answers in JSON.
fn asks(host: Host, plugin: &Path) -> Host {
    echo(host.args(["--output", "json"]), plugin)
}

/// Refused for this kind of reason.
#[track_caller]
fn refused(host: Host, plugin: &Path, kind: &str) -> Output {
    asks(host, plugin).output().expect(2).of_kind(kind)
}

fn pure_echo() -> Vec<u8> {
    fs::read(guests::built("pure-echo")).unwrap()
}

/// Components that are instantiated more often than anybody can count.
fn endless() -> Vec<u8> {
    bomb::toolset(&bomb::instances(12))
}

fn cache(home: &Home) -> PathBuf {
    home.path().join("host/cache")
}

fn cached_files(home: &Home) -> Vec<PathBuf> {
    let files = fs::read_dir(cache(home)).into_iter().flatten();
    files.map(|file| file.unwrap().path()).collect()
}

/// Files that the host put into the cache, with this extension, the largest first.
fn entries(home: &Home, extension: &str) -> Vec<PathBuf> {
    /// Those that a home begins with.
    static BEFORE: LazyLock<Vec<OsString>> = LazyLock::new(|| {
        let files = cached_files(&Home::new());
        files.iter().map(|file| file.file_name().unwrap().to_owned()).collect()
    });
    let mut files = cached_files(home);
    files.retain(|file| file.extension().is_some_and(|e| e == extension));
    files.retain(|file| BEFORE.iter().all(|before| file.file_name() != Some(before)));
    files.sort_by_key(|file| std::cmp::Reverse(fs::symlink_metadata(file).unwrap().len()));
    files
}

/// The processes that this one has started.
fn children(process: &Process) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id()))
        .into_iter()
        .flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    let pids = all.iter().flat_map(|list| list.split_whitespace());
    pids.map(|pid| pid.parse().unwrap()).collect()
}

/// Waits for something that comes, as another process does it.
#[track_caller]
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < HANGS, "{what} did not come");
        std::thread::yield_now();
    }
}

/// The compiler that a host has started, once it has taken its limits on.
#[track_caller]
fn compiler_of(process: &Process) -> PathBuf {
    until("the compiler", || {
        let of = |pid| PathBuf::from(format!("/proc/{pid}"));
        let is = |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == COMPILER);
        children(process).into_iter().map(of).find(is)
    })
}

/// Waits until a process has ended, whoever hears of that, and says how long it took.
#[track_caller]
fn gone(process: &Path) -> Duration {
    let begun = Instant::now();
    until("the compiler's end", || {
        fs::read_link(process.join("exe")).is_err().then_some(())
    });
    begun.elapsed()
}

#[test]
fn a19_a_component_that_is_never_compiled_is_refused_by_each_limit() {
    for (set, names) in [
        (("limits.compile.wall", "1s"), "1 s (limits.compile.wall)"),
        (
            ("limits.compile.cpu", "1s"),
            "1 s of processor time (limits.compile.cpu)",
        ),
    ] {
        let home = Home::new();
        let bomb = home.write("bomb.wasm", endless());
        let tried = |(key, value): (&str, &str)| refused(home.host().set(key, value), &bomb, LIMIT);
        let first = tried(set);
        assert!(first.took < Duration::from_secs(2) + slack(), "{:?}", first.took);
        let first = first.says(&["bomb.wasm", names]);
        assert!(first.json()["run"].is_null(), "nothing ran");
        // Once is enough.
        let again = tried(set);
        assert!(again.took < AT_ONCE + slack(), "{:?}", again.took);
        let file = entries(&home, "refused").remove(0);
        let again = again.says(&["bomb.wasm", names, "before", &format!("rm {}", file.display())]);
        // What was met is the clock, which says little of a component where the machine is busy.
        let by_the_clock = set.0 == "limits.compile.wall";
        assert_eq!(again.stderr.contains("within 1 h"), by_the_clock, "{}", again.stderr);
        // What it says helps, and so does another limit.
        let raised = (set.0, "1100ms");
        tried(raised).says(&["bomb.wasm", set.0]);
        assert_eq!(entries(&home, "refused").len(), 2);
        fs::remove_file(&file).unwrap();
        let anew = tried(set);
        assert!(anew.took >= Duration::from_secs(1) / 2, "{:?}", anew.took);
        assert!(!anew.stderr.contains("before"), "{}", anew.stderr);
        is_well(&home);
    }
}

#[test]
fn a_compile_that_takes_long_is_told_to_whoever_reads_no_terminal() {
    const WORDS: &str = "getting ready; plugins that are new here are compiled once\n";
    let home = Home::new();
    let bomb = home.write("bomb.wasm", endless());
    let told = |arguments: &[&str]| {
        let host = home.host().set("limits.compile.wall", "3s").args(arguments);
        echo(host, &bomb).output().expect(2).stderr.matches(WORDS).count()
    };
    assert_eq!(told(&[]), 1);
    assert_eq!(told(&[]), 0, "nothing is compiled that is known");
    fs::remove_file(entries(&home, "refused").remove(0)).unwrap();
    assert_eq!(told(&["--quiet"]), 0);
}

#[test]
fn a19_a_refusal_that_was_tampered_with_is_not_believed() {
    let home = Home::new();
    let bomb = home.write("bomb.wasm", endless());
    let tried = || refused(home.host().set("limits.compile.wall", "500ms"), &bomb, LIMIT);
    tried();
    let file = entries(&home, "refused").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&file, bytes).unwrap();
    let again = tried();
    assert!(!again.stderr.contains("before"), "{}", again.stderr);
    tried().says(&["before"]);
    is_well(&home);
}

#[test]
fn a19_seven_megabytes_of_one_function() {
    let home = Home::new();
    let bytes = bomb::with_module(&pure_echo(), &bomb::function(49_998, 23_000));
    assert!(bytes.len() > 6_000_000, "{}", bytes.len());
    let bomb = home.write("bomb.wasm", bytes);
    let checked = refused(home.host(), &bomb, LIMIT);
    assert!(checked.took < AT_ONCE + slack(), "{:?}", checked.took);
    checked.says(&[
        "bomb.wasm",
        "bytes in one function",
        "limits.parts.function_bytes (2 MiB)",
    ]);
    let larger = || home.host().set("limits.parts.function_bytes", "8MiB");
    let locals = refused(larger(), &bomb, LIMIT);
    locals.says(&["local variables in one function", "limits.parts.locals (10000)"]);
    // Whoever lets it pass is held to the compiler's limits.
    let host = || {
        let host = larger().set("limits.parts.locals", 50_000);
        host.set("limits.compile.wall", "3s")
    };
    let compiled = refused(host(), &bomb, LIMIT);
    assert!(compiled.took < Duration::from_secs(4) + slack(), "{:?}", compiled.took);
    compiled.says(&["limits.compile."]);
    let again = refused(host(), &bomb, LIMIT);
    assert!(again.took < AT_ONCE + slack(), "{:?}", again.took);
    again.says(&["limits.compile.", "before"]);
    is_well(&home);
}

#[test]
fn a19_more_functions_than_a_component_may_have() {
    let home = Home::new();
    let bytes = bomb::with_module(&pure_echo(), &bomb::functions(100_001));
    let bomb = home.write("bomb.wasm", bytes);
    let checked = refused(home.host(), &bomb, LIMIT);
    checked.says(&["bomb.wasm", "functions", "limits.parts.functions (100000)"]);
    let host = home.host().set("limits.parts.functions", 1_000_000);
    let compiled = refused(host.set("limits.compile.cpu", "1s"), &bomb, LIMIT);
    compiled.says(&["1 s of processor time (limits.compile.cpu)"]);
    is_well(&home);
}

#[test]
fn a19_what_lies_deep_or_many_times_in_one_another() {
    let home = Home::new();
    let called = |bytes: Vec<u8>, (key, value): (&str, u64)| {
        let plugin = home.write("bomb.wasm", bytes);
        asks(home.host().set(key, value), &plugin).output()
    };
    let nested = |depth: usize| bomb::with_nested(&pure_echo(), depth);
    for deep in [17, 1000, 100_000] {
        let checked = called(nested(deep), ("limits.parts.depth", 16)).expect(2);
        assert!(checked.took < AT_ONCE + slack(), "{:?}", checked.took);
        checked.of_kind(LIMIT).says(&["bomb.wasm", "limits.parts.depth (16)"]);
    }
    called(nested(16), ("limits.parts.depth", 16)).expect(0);
    called(nested(100), ("limits.parts.depth", 100)).expect(0);
    let modules = bomb::toolset(&"(core module)".repeat(1000));
    let checked = called(modules, ("limits.parts.modules", 256)).expect(2);
    let checked = checked.of_kind(LIMIT);
    checked.says(&["bomb.wasm", "modules", "limits.parts.modules (256)"]);
    is_well(&home);
}

#[test]
fn a19_two_million_components_inside_one_another() {
    let home = Home::new();
    let inspected = |depth: usize| {
        let bomb = home.write("bomb.wasm", bomb::with_nested(&pure_echo(), depth));
        let host = home.host().within(HANGS).args(["inspect", "--output", "json"]);
        let output = host.arg(&bomb).output().expect(2).of_kind(LIMIT);
        output.says(&["bomb.wasm", "limits.parts.depth (16)"])
    };
    let (few, many) = (inspected(1000), inspected(2_000_000));
    // Its bytes, twice, and nothing for what they nest.
    let most = few.peak_kib + (96 << 10);
    assert!(
        many.peak_kib < most,
        "it held {} KiB, and may hold {most}",
        many.peak_kib
    );
    is_well(&home);
}

#[test]
fn each_part_is_counted_to_the_exact_bound() {
    let home = Home::new();
    // With the count of its variables and its end.
    let function = format!("(core module (func {}))", "nop ".repeat(1023));
    let memory = "(core module $m (memory (export \"m\") 1)) (core instance $i (instantiate $m))";
    // Each is one, as are the module's export, its instance, and the instance that is exported.
    let definitions = format!("{memory} {}", "(type string)".repeat(98));
    let all: [(&str, &str, u64); 7] = [
        ("(core module (func)) (core module (func) (func))", "functions", 3),
        (&function, "function_bytes", 1025),
        ("(core module (func (param i32) (local i32 i64 i32 i32)))", "locals", 4),
        ("(core module) (component (core module))", "modules", 2),
        ("(component (component)) (component)", "components", 3),
        ("(component (component (core module)))", "depth", 3),
        (&definitions, "definitions", 102),
    ];
    for (parts, key, has) in all {
        let plugin = home.write("parts.wasm", bomb::toolset(parts));
        let inspect = |most: u64| {
            let host = home.host().set(&format!("limits.parts.{key}"), most);
            host.args(["inspect", "--output", "json"]).arg(&plugin).output()
        };
        inspect(has).expect(0);
        inspect(has - 1)
            .expect(2)
            .of_kind(LIMIT)
            .says(&["parts.wasm", &format!("limits.parts.{key}")]);
    }
}

#[test]
fn compiled_code_is_counted_to_the_byte() {
    let home = Home::empty();
    let plugin = home.write("echo.wasm", pure_echo());
    let under = |bytes: u64| echo(home.host().set("limits.compile.code", bytes), &plugin).output();
    let output = under(1024).expect(2);
    let before = output.stderr.split(" bytes of compiled code").next().unwrap();
    let bytes: u64 = before.split_whitespace().next_back().unwrap().parse().unwrap();
    output.says(&["echo.wasm", "limits.compile.code (1 KiB)"]);
    under(bytes - 1).expect(2).says(&["limits.compile.code"]);
    under(bytes).expect(0);
}

#[test]
fn a19_memory_is_refused_by_its_key_and_enough_when_raised() {
    let home = Home::new();
    let plugin = home.work().join("needy.wasm");
    let with = |memory: &str| home.host().set("limits.compile.address_space", memory);
    let under = |memory: &str| asks(with(memory), &plugin).output();
    // Each takes about twice as much as the one before: the first that is too much needs little more than that.
    let first = [200, 400, 800, 1600, 3200].into_iter().find_map(|rounds| {
        home.write(
            "needy.wasm",
            bomb::with_module(&pure_echo(), &bomb::function(500, rounds)),
        );
        Some(under("512MiB")).filter(|output| output.code != Some(0))
    });
    let first = first.unwrap().expect(2).of_kind(LIMIT);
    first.says(&["needy.wasm", "512 MiB of memory (limits.compile.address_space)"]);
    under("512MiB").expect(2).of_kind(LIMIT).says(&["before"]);
    assert_eq!(echo(with("4GiB"), &plugin).output().expect(0).stdout, "hello\n");
    is_well(&home);
}

#[test]
fn a19_the_compiler_has_nothing_of_the_hosts_and_no_more_than_its_limits() {
    let home = Home::new();
    let bomb = home.write("bomb.wasm", endless());
    let host = home.host().set("limits.compile.address_space", "1GiB");
    let host = host.set("limits.compile.cpu", "7s").env("A_SECRET", "x");
    // Whoever starts the host leaves a file open to it.
    let process = echo(host, &bomb).by("exec 9</dev/null && exec \"$0\" \"$@\"").start();
    let compiler = compiler_of(&process);
    let read = |what: &str| fs::read_to_string(compiler.join(what)).unwrap();
    let limits = read("limits");
    let limit = |name: &str| -> Vec<String> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(
        limit("Max address space"),
        [(1u64 << 30).to_string(), (1u64 << 30).to_string()]
    );
    assert_eq!(limit("Max cpu time"), ["7", "8"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    assert_eq!(limit("Max file size"), ["0", "0"]);
    assert_eq!(limit("Max open files"), ["16", "16"]);
    let environ = read("environ");
    let names: Vec<&str> = environ
        .split_terminator('\0')
        .map(|v| v.split('=').next().unwrap())
        .collect();
    assert_eq!(names, ["MIMALLOC_ARENA_RESERVE", "RAYON_NUM_THREADS"]);
    assert_eq!(fs::read_link(compiler.join("cwd")).unwrap(), Path::new("/"));
    let open = fs::read_dir(compiler.join("fd")).unwrap();
    let mut open: Vec<String> = open.map(|fd| fd.unwrap().file_name().into_string().unwrap()).collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    let status = read("status");
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    process.signal(Signal::KILL);
    let _ = process.finish();
    gone(&compiler);
    is_well(&home);
}

#[test]
fn a19_a_host_that_is_gone_leaves_no_compiler() {
    let server = ModelServer::start(Vec::new());
    for (signal, code) in [
        (Signal::KILL, None),
        (Signal::INT, Some(130)),
        (Signal::TERM, Some(130)),
    ] {
        let home = Home::with_model(&server, Format::OpenAi);
        let bomb = home.write("bomb.wasm", endless());
        let host = home.host().within(HANGS).arg("--tool").arg(&bomb);
        let process = host.run(&guests::built("probe"), "{}").start();
        let compiler = compiler_of(&process);
        process.signal(signal);
        let output = process.finish();
        assert_eq!(output.code, code, "{signal:?}: {}", output.stderr);
        let after = gone(&compiler);
        assert!(after < slack(), "{signal:?}: {after:?}");
        assert_eq!(entries(&home, "refused"), Vec::<PathBuf>::new(), "it was not its fault");
        is_well(&home);
    }
}

#[test]
fn a19_a_compiler_that_somebody_ends_says_nothing_of_the_component() {
    let home = Home::new();
    let bomb = home.write("bomb.wasm", endless());
    let process = asks(home.host(), &bomb).start();
    let compiler = compiler_of(&process);
    let pid = compiler.file_name().unwrap().to_str().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let ended = process.finish().expect(2).of_kind("load(compiler)");
    ended.says(&["bomb.wasm", "signal 9"]);
    assert_eq!(entries(&home, "refused"), Vec::<PathBuf>::new());
    is_well(&home);
}

/// Whoever asks whether a host is well hears of one, though nothing tells whose it was.
#[test]
fn a_compiler_without_a_host_is_found() {
    // It waits for its component; the shell that has started it does not.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 3<&0; \"$0\" \"$@\" <&3 3<&- >/dev/null 2>&1 & echo $!"]);
    shell.arg(binary()).arg("compile-one-component");
    shell.args([4 << 30, 60, 512 << 10, 2 << 20, 1].map(|number: u64| number.to_string()));
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let held = shell.stdin.take();
    let output = shell.wait_with_output().unwrap();
    let compiler = PathBuf::from(format!("/proc/{}", String::from_utf8(output.stdout).unwrap().trim()));
    until("a compiler without a host", || {
        orphans().contains(&compiler).then_some(())
    });
    drop(held);
    gone(&compiler);
    assert!(!orphans().contains(&compiler));
}

#[test]
fn the_compilers_own_command_line_is_of_no_use_to_people() {
    let home = Home::new();
    for args in [&[][..], &["1"], &["a", "b", "c", "d", "e"]] {
        let host = home.host().within(HANGS).arg("compile-one-component").args(args);
        host.output().expect(2).says(&["compiler"]);
    }
}

/// A home whose cache has the code of this tool besides that of those which a home begins with.
fn cached() -> (Home, PathBuf) {
    let home = Home::new();
    let plugin = home.write("echo.wasm", bomb::with_module(&pure_echo(), "(module)"));
    echo(home.host(), &plugin).output().expect(0);
    (home, plugin)
}

/// Calls the tool after something was done to the cache: it answers, and a notice says what was found.
#[track_caller]
fn answers(home: &Home, plugin: &Path, says: &[&str]) -> Output {
    let output = echo(home.host(), plugin).output().expect(0);
    assert_eq!(output.stdout, "hello\n");
    output.says(says)
}

#[test]
fn a41_an_entry_that_is_not_ours_is_made_again() {
    let (home, plugin) = cached();
    let other = home.write("other.wasm", bomb::with_module(&pure_echo(), "(module (func))"));
    let mine = entries(&home, "code").remove(0);
    echo(home.host(), &other).output().expect(0);
    let code: Vec<PathBuf> = entries(&home, "code").into_iter().take(2).collect();
    let foreign = code.iter().find(|file| **file != mine).unwrap();
    let length = fs::metadata(&mine).unwrap().len();
    let whole = fs::read(&mine).unwrap();
    let elsewhere = home.write("elsewhere", &whole);
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
    let put = |bytes: &[u8]| {
        fs::write(&mine, bytes).unwrap();
    };
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        put(&bytes);
    };
    let replace = |by: &dyn Fn(&Path)| {
        fs::remove_file(&mine).unwrap();
        by(&mine);
    };
    let middle = usize::try_from(length / 2).unwrap();
    let tampers: [(&str, &dyn Fn()); 11] = [
        ("its first byte", &|| flip(0)),
        ("its seal", &|| flip(20)),
        ("its code", &|| flip(middle)),
        ("its last byte", &|| flip(whole.len() - 1)),
        ("cut", &|| put(&whole[..middle])),
        ("empty", &|| put(b"")),
        ("another component's", &|| {
            fs::copy(foreign, &mine).unwrap();
        }),
        ("readable by others", &|| {
            fs::set_permissions(&mine, Permissions::from_mode(0o644)).unwrap();
        }),
        ("a link", &|| replace(&|path| symlink(&elsewhere, path).unwrap())),
        ("a pipe", &|| replace(&|path| pipe(path))),
        ("a terabyte", &|| {
            let file = fs::File::options().write(true).open(&mine).unwrap();
            file.set_len(1 << 40).unwrap();
        }),
    ];
    for (what, tamper) in tampers {
        tamper();
        let output = echo(home.host(), &plugin).output().expect(0);
        assert_eq!(output.stdout, "hello\n", "{what}");
        assert!(output.stderr.contains("rejected"), "{what}: {}", output.stderr);
        let meta = fs::symlink_metadata(&mine).unwrap();
        assert!(meta.is_file() && meta.len() == length, "{what}: it is made again");
        let again = echo(home.host(), &plugin).output().expect(0);
        assert_eq!(again.stderr, "", "{what}");
    }
    assert_eq!(fs::read(&elsewhere).unwrap(), whole, "what a link led to is as it was");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&mine, Some(1), None).unwrap();
        answers(&home, &plugin, &["rejected", "another user"]);
        assert_eq!(fs::metadata(&mine).unwrap().uid(), 0);
    }
    is_well(&home);
}

/// The same of a strategy, of a tool that is called and of a child's strategy, whose code is looked for at different times.
#[test]
fn a41_a_run_tells_in_its_events_of_an_entry_that_it_rejects() {
    let (home, tool) = cached();
    let of_tool = entries(&home, "code").remove(0);
    let (probe, agent) = (guests::built("probe"), PathBuf::from("agent"));
    fs::create_dir_all(home.path().join("plugins")).unwrap();
    let bytes = bomb::with_module(&fs::read(&probe).unwrap(), "(module)");
    fs::write(home.path().join("plugins/agent.wasm"), bytes).unwrap();
    let run = |strategy: &Path, steps: &[Value]| {
        let host = home.host().within(HANGS).args(["--deny", "llm"]);
        let host = host.arg("--tool").arg(&tool).args(["--output", "events", "--plugin"]);
        let program = json!({ "steps": steps, "summary": "done" }).to_string();
        host.arg(strategy).arg(program).output().expect(0).events()
    };
    run(&agent, &[]);
    let of_agent = entries(&home, "code");
    let of_agent = of_agent.iter().find(|file| **file != of_tool).unwrap();
    let call = json!({ "do": "call", "name": "echo", "arguments": { "text": "hello" } });
    let child = ChildSpec::of("agent", r#"{"summary":"done"}"#);
    for (strategy, steps, entry) in [
        (&agent, vec![], of_agent),
        (&probe, vec![call], &of_tool),
        (&probe, vec![child.spawn(), join(0)], of_agent),
    ] {
        let mut bytes = fs::read(entry).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(entry, bytes).unwrap();
        // What was rejected is made again, and told no more.
        for told in [1, 0] {
            let events = run(strategy, &steps);
            let notices = events.iter().filter(|event| event["event"] == "notice");
            let words = notices.filter_map(|event| event["message"].as_str());
            let rejected = words.filter(|words| words.contains("a cache entry was rejected and is compiled again"));
            assert_eq!(rejected.count(), told, "{steps:?}: {events:?}");
        }
    }
    is_well(&home);
}

fn pipe(path: &Path) {
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, 0o600.into(), 0).unwrap();
}

#[test]
fn a41_a_key_that_is_not_ours_makes_the_cache_useless_and_nothing_else() {
    let (home, plugin) = cached();
    let key = cache(&home).join("key");
    let whole = fs::read(&key).unwrap();
    let elsewhere = home.write("elsewhere", &whole);
    fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
    let restore = || {
        let _ = fs::remove_file(&key);
        fs::copy(&elsewhere, &key).unwrap();
    };
    let replace = |by: &dyn Fn()| {
        fs::remove_file(&key).unwrap();
        by();
    };
    let tampers: [(&str, &dyn Fn(), &str); 5] = [
        ("a pipe", &|| replace(&|| pipe(&key)), "no regular file"),
        ("a link", &|| replace(&|| symlink(&elsewhere, &key).unwrap()), "a link"),
        ("cut", &|| fs::write(&key, &whole[..31]).unwrap(), "no key"),
        (
            "readable by others",
            &|| fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap(),
            "other users",
        ),
        (
            "in a folder that others may write",
            &|| fs::set_permissions(cache(&home), Permissions::from_mode(0o777)).unwrap(),
            "the folder",
        ),
    ];
    for (what, tamper, words) in tampers {
        tamper();
        let output = answers(&home, &plugin, &["the compile cache can't be used", words]);
        assert_eq!(output.stderr.matches("can't be used").count(), 1, "{what}: told once");
        restore();
        fs::set_permissions(cache(&home), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(answers(&home, &plugin, &[]).stderr, "", "{what}");
    }
    // Another key: all that the first one vouched for is made again.
    fs::remove_file(&key).unwrap();
    answers(&home, &plugin, &["rejected"]);
    assert_ne!(fs::read(&key).unwrap(), whole);
    assert_eq!(answers(&home, &plugin, &[]).stderr, "");
    is_well(&home);
}

#[test]
fn a41_what_stands_in_the_place_of_a_lock_is_neither_followed_nor_waited_for() {
    let server = ModelServer::start([Turn::fault(Fault::StallMidStream)]);
    let home = Home::with_model(&server, Format::OpenAi);
    let run = || {
        let host = home.host().within(HANGS).args(["--deny", "llm"]);
        host.probe(&json!({})).output()
    };
    run().expect(0);
    let state = home.path().join("host");
    let precious = home.write("precious", "as it was");
    fs::set_permissions(&precious, Permissions::from_mode(0o600)).unwrap();
    for lock in ["write.turn", "write.lock"].map(|name| state.join(name)) {
        let put: [(&str, &dyn Fn()); 2] = [
            ("a link", &|| symlink(&precious, &lock).unwrap()),
            ("no regular file", &|| pipe(&lock)),
        ];
        for (what, put) in put {
            fs::remove_file(&lock).unwrap();
            put();
            let output = run();
            assert!(matches!(output.code, Some(1 | 2)), "{:?}", output.code);
            output.says(&[lock.to_str().unwrap(), what]);
            fs::remove_file(&lock).unwrap();
            run().expect(0);
        }
    }
    // One that can go on.
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let process = home.host().probe(&json!({ "steps": [ask] })).start();
    server.wait_for(1, HANGS);
    process.signal(Signal::INT);
    process.finish().expect(130);
    let id = home.newest_run();
    let lock = state.join(format!("runs/{id}.lock"));
    let whole = fs::read(&lock).unwrap();
    let put: [(&str, &dyn Fn()); 2] = [
        ("a link", &|| symlink(&precious, &lock).unwrap()),
        ("no regular file", &|| pipe(&lock)),
    ];
    for (what, put) in put {
        fs::remove_file(&lock).unwrap();
        put();
        let output = home.host().within(HANGS).args(["resume", &id]).output();
        assert!(matches!(output.code, Some(1 | 2)), "{:?}", output.code);
        output.says(&[lock.to_str().unwrap(), what]);
        let _ = fs::remove_file(&lock);
        fs::write(&lock, &whole).unwrap();
    }
    assert_eq!(fs::read(&precious).unwrap(), b"as it was");
    home.host().args(["show", &id]).output().expect(0);
    is_well_but_for(&home, &[id.as_str()]);
}

#[test]
fn a23_each_feature_that_is_off_is_named() {
    let home = Home::new();
    let shared = "(core module (memory 1 1 shared))";
    let atomic = "(core module (memory 1) (func (drop (i32.atomic.load (i32.const 0)))))";
    let page = "(core module (memory 1 (pagesize 1)))";
    let relaxed = "(core module (func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0)))))";
    let thrown = "(core module (tag $t) (func (throw $t)))";
    let legacy = "(core module (func try nop catch_all end))";
    let typed = "(core module (type $f (func)) (func (param (ref null $f))))";
    let collected = "(core module (type (struct (field i32))))";
    let switched = "(core module (type $f (func)) (type $c (cont $f)))";
    for (parts, feature) in [
        (shared, "threads"),
        (atomic, "threads"),
        (relaxed, "relaxed SIMD"),
        ("(core module (memory i64 1))", "64-bit memories"),
        (thrown, "exceptions"),
        (legacy, "exceptions"),
        (typed, "typed function references"),
        (collected, "garbage collection"),
        (
            "(core module (func (param externref)))",
            "references to objects of the host (externref)",
        ),
        (page, "custom page sizes"),
        (switched, "stack switching"),
        ("(core func (canon waitable-set.new))", "component-model async"),
        ("(type (stream u8))", "component-model async"),
    ] {
        let plugin = home.write("feature.wasm", bomb::toolset(parts));
        let inspect = home.host().args(["inspect", "--output", "json"]).arg(&plugin);
        let output = inspect.output().expect(2).of_kind("load(feature-off)");
        output.says(&["feature.wasm", &format!("needs {feature}"), "leaves off"]);
        // It is named before anything is compiled, too.
        refused(home.host(), &plugin, "load(feature-off)").says(&["leaves off"]);
        assert_eq!(entries(&home, "code"), Vec::<PathBuf>::new());
    }
    is_well(&home);
}

#[test]
fn a23_a_feature_that_the_check_does_not_name_is_looked_for_in_small_components_alone() {
    const SEARCHED: usize = 1 << 20;
    let home = Home::new();
    // Whoever reads no 64-bit memories finds a number that is too large.
    let large = bomb::toolset("(core module (memory i64 0x100000000))");
    for (bytes, words) in [
        (SEARCHED, ["needs 64-bit memories", "leaves off"]),
        (
            SEARCHED + 1,
            ["needs a feature of WebAssembly (at byte ", "integer too large)"],
        ),
    ] {
        let plugin = home.write("feature.wasm", bomb::padded(&large, bytes));
        let inspect = home.host().args(["inspect", "--output", "json"]).arg(&plugin);
        inspect.output().expect(2).of_kind("load(feature-off)").says(&words);
    }
    // One that it does name is found whatever the size.
    let threads = bomb::toolset("(core module (memory 1 1 shared))");
    let plugin = home.write("feature.wasm", bomb::padded(&threads, SEARCHED + 1));
    refused(home.host(), &plugin, "load(feature-off)").says(&["needs threads"]);
    is_well(&home);
}

/// What `looking` comes to, which begins to look only when a thread for what takes long is free: until then it waits, and holds up nobody.
async fn in_another_thread<T>(looking: impl Future<Output = Result<T, HostError>>) -> Result<(), HostError> {
    let (leaves, held) = mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || held.recv());
    let mut looking = pin!(looking);
    let waits = poll_fn(|context| Poll::Ready(looking.as_mut().poll(context).is_pending())).await;
    assert!(waits, "it was looked at in a thread that serves others");
    drop(leaves);
    holder.await.unwrap().unwrap_err();
    looking.await.map(drop)
}

#[test]
fn a_plugin_is_read_and_checked_in_a_thread_that_serves_nobody_else() {
    let home = Home::new();
    let sources = Sources {
        env: vec![("HOME".into(), home.user().into())],
        cwd: None,
        home: Some(home.path()),
        set: Vec::new(),
    };
    let host = run::Host::open(Config::load(&sources).unwrap(), CompileIn::Program(binary())).unwrap();
    let good = guests::built("pure-echo").display().to_string();
    let bad = home.write("bad.wasm", "no component").display().to_string();
    let spec = |plugin: &str| RunSpec {
        plugin: plugin.to_owned(),
        ..RunSpec::default()
    };
    let add = |file: &str| AddSpec {
        file: file.to_owned(),
        ..AddSpec::default()
    };
    // One thread serves all, and one is there for what takes long.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        in_another_thread(host.inspect(&good, Ask::No, &[])).await.unwrap();
        in_another_thread(host.inspect(&bad, Ask::No, &[])).await.unwrap_err();
        in_another_thread(host.ready(spec(&bad))).await.unwrap_err();
        in_another_thread(host.tools_of(&bad, &[])).await.unwrap_err();
        in_another_thread(host.review(&add(&bad))).await.unwrap_err();
    });
}
