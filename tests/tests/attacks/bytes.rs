//! Files that are no component, or not one that this host runs. Nothing of them is compiled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hermes_tests::guests;

use crate::hostile::{self, Guest};
use crate::site::Site;

impl Site {
    /// Neither running nor looking at a file is possible, for the same reason, which is told at once; and nothing of it is kept.
    #[track_caller]
    fn refuses(&self, file: &Path, names: &[&str]) {
        let (cached, asked) = (self.cached(), self.server.requests().len());
        let own = file.file_stem().unwrap().to_string_lossy().into_owned();
        let names = [&[own.as_str()], names].concat();
        self.attack(self.host().run(file, "a task"))
            .refused(&names)
            .within(Duration::ZERO)
            .holding(0);
        self.attack(self.host().arg("inspect").arg(file))
            .refused(&names)
            .within(Duration::ZERO)
            .holding(0);
        assert_eq!(self.cached(), cached, "it was compiled");
        assert_eq!(self.server.requests().len(), asked, "a model was asked");
    }

    fn refuses_bytes(&self, name: &str, bytes: impl AsRef<[u8]>, names: &[&str]) {
        self.refuses(&self.home.write(&format!("{name}.wasm"), bytes), names);
    }

    /// Compiled code that is kept.
    fn cached(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.home.path().join("host/cache")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

#[test]
fn a20_bytes_that_are_no_component() {
    let site = Site::new();
    site.refuses_bytes("empty", "", &["empty"]);
    site.refuses_bytes("magic", b"\0asm", &["header"]);
    site.refuses_bytes("core", b"\0asm\x01\0\0\0", &["core module", "wasm-tools component new"]);
    site.refuses_bytes("later", b"\0asm\x0e\0\x01\0", &["version"]);
    site.refuses_bytes("text", "(component)", &["text form"]);
    site.refuses_bytes("words", "This is no WebAssembly.", &["first bytes"]);
    site.refuses_bytes("nothing", b"\0asm\x0d\0\x01\0", &["another world"]);
    // The host's own compiled code, which would be run as it is by whoever believed it.
    let code = site
        .cached()
        .into_iter()
        .max_by_key(|file| fs::metadata(file).unwrap().len())
        .unwrap();
    site.refuses_bytes("cached", fs::read(&code).unwrap(), &["no component"]);
    let elf = fs::read(&code).unwrap();
    let start = elf
        .windows(4)
        .position(|window| window == b"\x7fELF")
        .expect("compiled code is an ELF image");
    site.refuses_bytes("code", &elf[start..], &["native or compiled code"]);
    site.is_well();
}

#[test]
fn a20_a_component_cut_anywhere() {
    let site = Site::new();
    let whole = fs::read(guests::built("probe")).unwrap();
    for part in 1..16 {
        site.refuses_bytes("cut", &whole[..whole.len() * part / 16], &["byte"]);
    }
    site.is_well();
}

#[test]
fn a20_what_is_no_file() {
    let site = Site::new();
    let at = |name: &str| site.home.work().join(name);
    fs::create_dir(at("folder.wasm")).unwrap();
    site.refuses(&at("folder.wasm"), &["a folder"]);
    assert!(Command::new("mkfifo").arg(at("pipe.wasm")).status().unwrap().success());
    site.refuses(&at("pipe.wasm"), &["a pipe"]);
    symlink("/dev/zero", at("zero.wasm")).unwrap();
    site.refuses(&at("zero.wasm"), &["a device"]);
    symlink(at("loop.wasm"), at("loop.wasm")).unwrap();
    site.refuses(&at("loop.wasm"), &[]);
    site.refuses(&at("missing.wasm"), &["no file"]);
    fs::File::create(at("huge.wasm")).unwrap().set_len(1 << 40).unwrap();
    site.refuses(&at("huge.wasm"), &["64 MiB", "limits.component"]);
    // A link to a component is one.
    let guest = hostile::A04_SAME.file(&site.home);
    symlink(&guest, at("link.wasm")).unwrap();
    site.attack(site.host().run(&at("link.wasm"), "go")).answers("done");
    site.is_well();
}

#[test]
fn a20_a_component_to_its_last_byte() {
    let site = Site::new();
    let bytes = hostile::A04_SAME.bytes();
    // A section that means nothing, of 2,048 bytes.
    let padded = [&bytes[..], &[0, 0x80, 0x10, 1, b'x'], &[0; 2046]].concat();
    let file = site.home.write("padded.wasm", &padded);
    // Those in the binary are larger, so that a run has other reasons to be refused.
    let looks = |limit: usize| site.attack(site.host().set("limits.component", limit).arg("inspect").arg(&file));
    assert_eq!(looks(padded.len()).output.code, Some(0));
    looks(padded.len() - 1).refused(&["padded", "limits.component"]);
    site.is_well();
}

#[test]
fn a21_types_that_nest_too_deep() {
    let site = Site::new();
    let lists = |n: usize| {
        let types: String = (1..n)
            .map(|at| format!("(type $t{at} (list $t{}))\n", at - 1))
            .collect();
        guests::assemble(&format!("(component (type $t0 (list u8)) {types})"), &[])
    };
    // A type that is refused names its place; one that is allowed leaves a component that exports nothing.
    site.refuses_bytes("shallow", lists(50), &["another world"]);
    site.refuses_bytes("deep", lists(1000), &["byte", "nesting is too deep"]);
    let components = |n: usize| {
        let nested = format!("{}{}", "(type (component ".repeat(n), "))".repeat(n));
        guests::assemble(&format!("(component {nested})"), &[])
    };
    site.refuses_bytes("nested-little", components(20), &["another world"]);
    // Ten of ten of ten …
    let records = |n: usize| {
        let fields = |of: &str| -> String { (0..10).map(|field| format!("(field \"f{field}\" {of})")).collect() };
        let types: String = (1..n)
            .map(|at| format!("(type $t{at} (record {}))\n", fields(&format!("$t{}", at - 1))))
            .collect();
        guests::assemble(
            &format!("(component (type $t0 (record {})) {types})", fields("u8")),
            &[],
        )
    };
    site.refuses_bytes("records", records(5), &["another world"]);
    site.refuses_bytes("too-many-records", records(7), &["byte", "size"]);
    site.is_well();
}

#[test]
fn a21_names_that_fill_a_screen() {
    let site = Site::new();
    // Each of its imports has a name of 60,000 letters.
    let name = |n: usize| format!("n{n}-{}", "a".repeat(60_000));
    let imports: String = (0..20).map(|n| format!("(import \"{}\" (func))\n", name(n))).collect();
    let bytes = guests::assemble(
        &format!("(component {imports} (instance $agent) (export \"hermes:plugin/agent@0.1.0\" (instance $agent)))"),
        &[],
    );
    let file = site.home.write("names.wasm", bytes);
    for form in ["text", "json"] {
        let host = site.host().args(["inspect", "--output", form]).arg(&file);
        let looked = site.attack(host).within(Duration::ZERO).holding(0);
        let said = looked.output.stdout.len() + looked.output.stderr.len();
        assert!(said < 256 << 10, "{said} bytes");
    }
    site.attack(site.host().run(&file, "go"))
        .refused(&["names", "imports n0-aaaa"])
        .within(Duration::ZERO);
    site.is_well();
}

#[test]
fn a22_imports_that_nobody_has() {
    let site = Site::new();
    let importing = |interface: &str| {
        let (package, rest) = interface.split_once('/').unwrap();
        let (name, version) = rest.split_once('@').unwrap();
        guests::importing(
            &format!("package {package}@{version};\ninterface {name} {{ f: func(); }}\n"),
            interface,
        )
    };
    for (interface, names) in [
        ("acme:rockets/launch@1.0.0", vec!["acme:rockets/launch@1.0.0"]),
        ("hermes:host/llm@0.1.0", vec!["hermes:host/llm@0.1.0"]),
        ("hermes:plugins/llm@0.1.0", vec!["hermes:plugins/llm@0.1.0"]),
        ("hermes-host:plugin/llm@0.1.0", vec!["hermes-host:plugin/llm@0.1.0"]),
        ("hermes:plugin/llm@0.2.0", vec!["hermes:plugin/llm@0.2.0", "0.1.0"]),
        ("hermes:plugin/llm@1.0.0", vec!["hermes:plugin/llm@1.0.0", "0.1.0"]),
        ("wasi:io/poll@0.3.0", vec!["wasi:io/poll@0.3.0"]),
        ("wasi-nn:io/poll@0.2.0", vec!["wasi-nn:io/poll@0.2.0"]),
    ] {
        site.refuses_bytes("odd", importing(interface), &names);
    }
    // What WASI's package could have, and has not.
    for interface in ["wasi:nn/tensor@0.2.0", "wasi:io/streems@0.2.0"] {
        let file = site.home.write("odd.wasm", importing(interface));
        site.attack(site.host().run(&file, "go"))
            .refused(&["odd", interface])
            .within(Duration::ZERO);
    }
    site.is_well();
}

#[test]
fn a22_an_import_of_another_type() {
    let site = Site::new();
    let file = hostile::A22_WRONG_TYPE.file(&site.home);
    let attacked = site.attack(site.host().run(&file, "go"));
    attacked
        .refused(&["a22_wrong_type", "hermes:plugin/session@0.1.0", "log"])
        .within(Duration::ZERO);
    site.is_well();
}

#[test]
fn a22_an_import_that_was_not_granted() {
    use hermes_tests::output::{message, refusal};
    use serde_json::json;
    let site = Site::new();
    let ask = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let open = json!({ "do": "open", "name": "notes" });
    let spawn = hermes_tests::child::ChildSpec::probe(&json!({})).spawn();
    let program = json!({ "steps": [ask, open, spawn], "summary": "done" });
    let host = site.host().args(["--deny", "llm,blackboard,delegation"]);
    let attacked = site.attack(host.probe(&program)).answers("done");
    for (seen, flag) in
        attacked
            .output
            .seen()
            .iter()
            .zip(["--allow llm", "--allow blackboard:notes", "--deny delegation"])
    {
        assert_eq!(refusal(seen).as_deref(), Some("denied"), "{seen}");
        assert!(message(seen).contains(flag), "{flag}: {seen}");
    }
    assert_eq!(site.server.requests().len(), 0);
    // An agent that gives up for want of a right says so by its exit code.
    let fails = json!({ "fail": { "kind": "Denied", "message": "I may not.", "retry_after_ms": null } });
    let attacked = site.attack(site.host().args(["--deny", "llm"]).probe(&fails));
    attacked.ends(4, "denied", &["I may not."]);
    site.is_well();
}

#[test]
fn a23_features_that_are_off() {
    let site = Site::new();
    let features: [(Guest, &str); 9] = [
        (hostile::A23_THREADS, "threads"),
        (hostile::A23_COLLECTION, "garbage collection"),
        (hostile::A23_REFERENCES, "typed function references"),
        (hostile::A23_EXCEPTIONS, "exceptions"),
        (hostile::A23_MEMORY64, "64-bit memories"),
        (hostile::A23_ASYNC, "component-model async"),
        (hostile::A23_STACKS, "stack switching"),
        (hostile::A23_PAGES, "custom page sizes"),
        (hostile::A23_RELAXED, "relaxed SIMD"),
    ];
    for (guest, feature) in features {
        site.refuses(&guest.file(&site.home), &["needs", feature, "leaves off"]);
    }
    site.is_well();
}
