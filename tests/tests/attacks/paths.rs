//! Paths that would lead a plugin out of the folders that it was granted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::output::{message, refusal};
use rustix::fs::{CWD, FileType, RenameFlags, makedev, mknodat, renameat_with};
use serde_json::{Value, json};

use crate::LONG;
use crate::cases;
use crate::cases::paths::on;
use crate::site::Site;
use crate::wasi::{self, agent, call, told};

/// What no tool may read.
const CANARY: &str = "a canary outside of all folders";

/// A folder to read, one to write, and one that is nobody's.
struct Folders {
    site: Site,
    outside: PathBuf,
}

impl Folders {
    fn new() -> Self {
        let site = Site::new();
        site.home.write("papers/a.txt", "a paper");
        site.home.write("papers/sub/b.txt", "a paper below");
        site.home.write("desk/note.txt", "a note");
        site.home.write("desk/sub/b.txt", "a note below");
        let outside = site.home.folder().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("canary.txt"), CANARY).unwrap();
        Self { site, outside }
    }

    fn work(&self) -> PathBuf {
        self.site.home.work()
    }

    /// Panics when something was read or changed that is not granted for that, then unless the host is well.
    #[track_caller]
    fn are_untouched(&self, before: &[(&str, BTreeMap<PathBuf, String>)]) {
        for (folder, tree) in before {
            assert_eq!(*tree, self.tree(folder), "{folder} was changed");
        }
    }

    fn tree(&self, folder: &str) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        grown(&self.site.home.folder().join(folder), &mut tree);
        tree
    }

    fn trees<'a>(&self, folders: &[&'a str]) -> Vec<(&'a str, BTreeMap<PathBuf, String>)> {
        folders.iter().map(|folder| (*folder, self.tree(folder))).collect()
    }
}

/// All that lies below a folder: what a file holds, where a link leads.
fn grown(folder: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            tree.insert(path.clone(), "a folder".into());
            grown(&path, tree);
        } else if kind.is_symlink() {
            tree.insert(path.clone(), format!("→ {}", fs::read_link(&path).unwrap().display()));
        } else if kind.is_file() {
            tree.insert(path.clone(), fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn a25_no_path_leads_out_of_a_folder() {
    let folders = Folders::new();
    let (work, outside) = (folders.work(), &folders.outside);
    for root in ["papers", "desk"] {
        let root = work.join(root);
        symlink(outside.join("canary.txt"), root.join("absolute")).unwrap();
        symlink("../../outside/canary.txt", root.join("relative")).unwrap();
        symlink("../../outside", root.join("up")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        symlink("/dev/zero", root.join("device")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
    }
    let before = folders.trees(&["outside", "work/papers", "work/desk"]);
    let (file, absolute) = (outside.join("canary.txt"), outside.display().to_string());
    let long = "a".repeat(5_000);
    let deep = "a/".repeat(3_000);
    let paths = [
        ("../outside/canary.txt", "not-permitted"),
        ("../../outside/canary.txt", "not-permitted"),
        ("sub/../../../outside/canary.txt", "not-permitted"),
        ("./././../../outside/canary.txt", "not-permitted"),
        (file.to_str().unwrap(), "not-permitted"),
        (absolute.as_str(), "not-permitted"),
        ("//etc/hostname", "not-permitted"),
        ("absolute", "not-permitted"),
        ("absolute/", "not-permitted"),
        ("relative", "not-permitted"),
        ("relative/", "not-permitted"),
        ("up/canary.txt", "not-permitted"),
        ("up/", "not-permitted"),
        // What is above a link is where the link stands, and there is no such folder.
        ("up/../outside/canary.txt", "no-entry"),
        ("magic/etc/hostname", "not-permitted"),
        ("magic", "not-permitted"),
        ("device", "not-permitted"),
        ("loop", "loop"),
        ("loop/x", "loop"),
        ("a\0/../../outside/canary.txt", "not-permitted"),
        ("a\0/canary.txt", "invalid"),
        ("", "no-entry"),
        ("..", "not-permitted"),
        (long.as_str(), "name-too-long"),
        (deep.as_str(), "name-too-long"),
    ];
    let kinds = [
        "read",
        "stat",
        "open-writable",
        "write",
        "set-size",
        "list",
        "make-folder",
    ];
    let grants = ["fs:./papers", "fs:./desk:rw"];
    let mut wrong = Vec::new();
    for root in ["/papers", "/desk"] {
        let steps: Vec<Value> = paths
            .iter()
            .flat_map(|(path, _)| kinds.map(|kind| on(root, kind, path)))
            .collect();
        let (seen, output) = told(&folders.site, &grants, &steps);
        assert!(!output.stdout.contains(CANARY), "{}", output.stdout);
        for (step, seen) in steps.iter().zip(&seen) {
            if seen["error"].is_null() {
                wrong.push(format!("{step}: {seen}"));
            }
        }
        let reads = seen.chunks(kinds.len()).map(|told| &told[0]["error"]);
        for ((path, code), told) in paths.iter().zip(reads) {
            if told != code {
                wrong.push(format!("read {root} {path:?}: {told}, not {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    folders.are_untouched(&before);
    folders.site.tries(&cases::paths::lead_out());
    folders.site.tries(&cases::paths::links());
    folders.site.is_well();
}

#[test]
fn a25_a_path_without_an_end() {
    let folders = Folders::new();
    folders.site.tries(&cases::paths::endless()).holding(64 << 20);
    folders.site.is_well();
}

#[test]
fn a25_what_is_granted_to_be_read_is_not_written() {
    let folders = Folders::new();
    let before = folders.trees(&["outside", "work/papers"]);
    let grants = ["fs:./papers", "fs:./desk:rw"];
    folders.site.tries(&cases::paths::read_only());
    folders.are_untouched(&before);
    // What may be written can be, by the same calls.
    let within = [
        on("/desk", "write", "note.txt"),
        on("/desk", "make-folder", "new"),
        json!({ "do": "link", "root": "/desk", "path": "note.txt", "to_root": "/desk", "to": "again.txt" }),
        json!({ "do": "rename", "root": "/desk", "path": "again.txt", "to_root": "/desk", "to": "new/moved.txt" }),
        on("/desk", "set-size", "new/moved.txt"),
        on("/desk", "set-times", "new/moved.txt"),
        on("/desk", "unlink", "new/moved.txt"),
        on("/desk", "remove-folder", "new"),
    ];
    let (seen, _) = told(&folders.site, &grants, &within);
    assert!(seen.iter().all(|seen| seen["error"].is_null()), "{seen:?}");
    folders.site.is_well();
}

#[test]
fn a25_a_link_that_the_guest_made_leads_nowhere() {
    let folders = Folders::new();
    let before = folders.trees(&["outside"]);
    let output = folders.site.tries(&cases::paths::own_links()).output;
    assert!(!output.stdout.contains(CANARY), "{}", output.stdout);
    // Each is told of, whether it would have read or written.
    let denied = output.json()["denied"].as_array().unwrap().clone();
    let named: Vec<(&str, u64)> = denied
        .iter()
        .map(|denial| (denial["what"].as_str().unwrap(), denial["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        named,
        [
            ("write /desk/absolute -> /nowhere/at/all", 1),
            ("read /desk/relative", 1),
            ("write /desk/relative", 1),
            ("read /desk/folder/canary.txt", 1),
            ("write /desk/folder/new.txt", 1),
            ("write /desk/folder/canary.txt", 3),
            ("read /desk/theirs", 1),
        ]
    );
    for denial in &denied {
        assert_eq!(denial["remedy"], "it leads out of the granted folder", "{denial}");
    }
    // Nor to a place that it names in full.
    let file = folders.outside.join("canary.txt");
    let made = json!({ "do": "symlink", "root": "/desk", "target": file.to_str().unwrap(), "path": "absolute" });
    let (seen, _) = told(&folders.site, &["fs:./desk:rw"], &[made]);
    assert_eq!(seen[0]["error"], "not-permitted", "{}", seen[0]);
    folders.are_untouched(&before);
    folders.site.is_well();
}

/// Where a link leads two folders down, what is two above it would be the granted folder again, in a descriptor whose place the audit does not know.
#[test]
fn a25_what_is_above_a_link_is_where_the_link_stands() {
    let folders = Folders::new();
    let steps = [
        on("/desk", "make-folder", "a"),
        on("/desk", "make-folder", "a/b"),
        json!({ "do": "symlink", "root": "/desk", "target": "a/b", "path": "l" }),
        on("/desk", "read", "l/../note.txt"),
        on("/desk", "list", "l/.."),
        on("/desk", "list", "l/../.."),
        on("/desk", "unlink", "l/../../note.txt"),
    ];
    let (seen, output) = told(&folders.site, &["fs:./desk:rw"], &steps);
    assert_eq!(seen[3]["ok"], "a note", "{}", seen[3]);
    assert!(seen[4]["ok"].to_string().contains("note.txt"), "{}", seen[4]);
    for refused in &seen[5..] {
        assert_eq!(refused["error"], "not-permitted", "{refused}");
    }
    let denied: Vec<Value> = output.json()["denied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|denial| denial["what"].clone())
        .collect();
    assert_eq!(denied, ["read /desk/l/../..", "write /desk/l/../../note.txt"]);
    folders.site.is_well();
}

/// What a tool of an agent does with these folders by these steps, and what the audit tells of its reads and writes: the right, as the place of its folder
/// below the working folder, and the target.
fn audited(folders: &Folders, rights: &[&str], steps: &[Value]) -> (Vec<Value>, Vec<(String, String)>) {
    let host = agent(folders.site.host());
    let host = rights.iter().fold(host, |host, right| host.args(["--allow", right]));
    let attacked = folders.site.attack(host.probe(&json!({ "steps": [call(steps)] })));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let output = attacked.output.json();
    let run = output["run"].as_str().unwrap();
    let audit = folders
        .site
        .home
        .host()
        .args(["show", run, "--audit", "--output", "json"]);
    let rows = audit.output().expect(0).json().as_array().unwrap().clone();
    let work = folders.work().canonicalize().unwrap().display().to_string();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().replace(&work, "");
    let used = rows.iter().filter(|row| row["way"] == "read" || row["way"] == "write");
    let used = used.map(|row| (text(row, "grant"), text(row, "target"))).collect();
    (wasi::in_call(&attacked.output.seen()[0]), used)
}

#[test]
fn a25_what_is_done_in_a_folder_that_was_renamed_is_told_where_it_lies() {
    let folders = Folders::new();
    let step = json!({ "do": "write-moved", "root": "/desk", "path": "sub", "to_root": "/desk", "to": "kept", "name": "new.txt" });
    let (seen, used) = audited(&folders, &["fs:./desk:rw"], &[step]);
    assert!(seen[0]["error"].is_null(), "{}", seen[0]);
    assert!(folders.work().join("desk/kept/new.txt").exists());
    let told = |grant: &str, target: &str| used.contains(&(grant.to_owned(), target.to_owned()));
    assert!(told("fs:/desk:rw", "/desk/kept/new.txt"), "{used:?}");
    assert!(used.iter().all(|(_, target)| target != "/desk/sub/new.txt"), "{used:?}");
    folders.site.is_well();
}

/// A link to the folder that it stands in makes a path as long as anybody likes.
#[test]
fn a25_a_long_path_hides_neither_its_end_nor_where_a_link_leads() {
    let folders = Folders::new();
    let link = "l".repeat(250);
    let far = format!("{}sub/b.txt", format!("{link}/").repeat(5));
    let steps = [
        json!({ "do": "symlink", "root": "/desk", "target": ".", "path": link }),
        on("/desk", "read", &far),
    ];
    let (seen, used) = audited(&folders, &["fs:./desk:rw"], &steps);
    assert!(seen[0]["error"].is_null(), "{}", seen[0]);
    assert_eq!(seen[1]["ok"], "a note below", "{}", seen[1]);
    let targets: Vec<&str> = used.iter().map(|(_, target)| target.as_str()).collect();
    assert!(targets.contains(&format!("/desk/{link} -> .").as_str()), "{targets:?}");
    let whole = format!("/desk/{far}");
    let (beginning, end) = (&whole[..768], &whole[whole.len() - 256..]);
    let cut = format!("{beginning}…[+{}]{end}", whole.len() - 1024);
    assert!(targets.contains(&cut.as_str()), "{targets:?}");
    folders.site.is_well();
}

/// The parent's tool moves the child's folder away, and puts a link in its place.
fn swapped() -> Value {
    call(&[
        json!({ "do": "rename", "root": "/desk", "path": "sub", "to_root": "/desk", "to": "old" }),
        json!({ "do": "symlink", "root": "/desk", "target": "../../outside", "path": "sub" }),
    ])
}

#[test]
fn a25_a_folder_that_an_agent_swapped_for_a_link_is_not_opened() {
    let folders = Folders::new();
    folders
        .site
        .home
        .write("desk/sub/canary.txt", "what the child was given");
    let before = folders.trees(&["outside"]);
    let notes = json!([{ "space": "notes", "prefix": "", "access": "ReadOnly" }]);
    let reads = call(&[on("/sub", "read", "canary.txt"), on("/sub", "write", "planted.txt")]);
    let child = ChildSpec::probe(&json!({ "steps": [
        reads.clone(),
        { "do": "open", "name": "notes" },
        { "do": "changes", "space": 0, "prefix": "go", "since": 0, "wait_ms": 60_000 },
        reads,
    ] }));
    let child = child
        .with("toolsets", json!(["wasi"]))
        .with("spaces", notes)
        .with("grants", json!(["fs:/desk/sub:rw", "net:none"]));
    let program = json!({ "steps": [
        child.spawn(),
        // The child has used it once.
        { "do": "wait-any-child", "children": [0], "timeout_ms": 500 },
        swapped(),
        { "do": "open", "name": "notes" },
        { "do": "put", "space": 0, "key": "go", "value": "now" },
        join(0),
    ] });
    let host = agent(folders.site.host()).args(["--allow", "fs:./desk:rw"]);
    let attacked = folders.site.attack(host.probe(&program));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    assert!(
        wasi::in_call(&seen[2]).iter().all(|told| told["error"].is_null()),
        "{}",
        seen[2]
    );
    let child = inside(&seen[5]);
    let first = wasi::in_call(&child[0]);
    assert_eq!(first[0]["ok"], "what the child was given", "{}", child[0]);
    assert_eq!(refusal(&child[3]).as_deref(), Some("upstream"), "{}", child[3]);
    let said = message(&child[3]);
    assert!(
        said.contains("the granted folder /sub can't be opened: a file or a link is in its place"),
        "{said}"
    );
    folders.are_untouched(&before);
    assert!(
        folders.work().join("desk/old/planted.txt").exists(),
        "before that it was the child's"
    );
    folders.site.is_well();
}

/// Swaps two names of a folder for each other, over and over, while `work` is done.
fn while_swapping<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a25_a_race_for_a_folders_name_is_not_won() {
    let folders = Folders::new();
    let papers = folders.work().join("papers");
    fs::write(papers.join("sub/canary.txt"), "inside").unwrap();
    symlink("../../outside", papers.join("other")).unwrap();
    let again = json!({ "do": "read-again", "root": "/papers", "path": "sub/canary.txt", "times": 20_000 });
    let (seen, _) = while_swapping(&papers.join("sub"), &papers.join("other"), || {
        told(&folders.site, &["fs:./papers"], &[again])
    });
    let told_by_path = seen[0]["ok"].as_object().unwrap();
    let known = ["inside", "error not-permitted", "error no-entry", "error loop"];
    assert!(
        told_by_path.keys().all(|told| known.contains(&told.as_str())),
        "{told_by_path:?}"
    );
    assert!(
        ["inside", "error not-permitted"]
            .iter()
            .all(|told| told_by_path.contains_key(*told)),
        "both were met: {told_by_path:?}"
    );
    // The granted folder itself, which each call opens.
    let (real, fake) = (folders.work().join("desk"), folders.work().join("fake"));
    fs::write(real.join("canary.txt"), "inside").unwrap();
    symlink("../outside", &fake).unwrap();
    let hold = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "HOLD STILL" }] }] });
    let read = call(&[on("/desk", "read", "canary.txt")]);
    let all = [vec![hold], vec![read; 60]].concat();
    let program = json!({ "steps": all });
    let host = agent(folders.site.host()).args(["--allow", "fs:./desk"]);
    let process = host.probe(&program).start();
    // From here on the grant stands.
    folders.site.server.wait_for(1, LONG);
    let output = while_swapping(&real, &fake, || {
        fs::write(folders.site.gate(), "").unwrap();
        process.finish()
    });
    fs::remove_file(folders.site.gate()).unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.stdout.contains(CANARY), "{}", output.stdout);
    for seen in &output.seen()[1..] {
        match refusal(seen) {
            None => assert_eq!(wasi::in_call(seen)[0]["ok"], "inside", "{seen}"),
            Some(kind) => assert_eq!(kind, "upstream", "{seen}"),
        }
    }
    folders.site.is_well();
}

#[test]
fn a25_what_is_no_file_holds_nobody_up() {
    let folders = Folders::new();
    for folder in ["papers", "desk"] {
        let pipe = folders.work().join(folder).join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    }
    let _socket = UnixListener::bind(folders.work().join("papers/socket")).unwrap();
    // Whoever is root may be able to make a device, which gives zeros without end.
    let zeros = folders.work().join("papers/zeros");
    let is_made = mknodat(CWD, &zeros, FileType::CharacterDevice, 0o666.into(), makedev(1, 5)).is_ok();
    let reads = |path: &str| call(&[on("/papers", "read", path)]);
    // To set the times of what a link leads to, it is opened.
    let times = call(&[json!({ "do": "set-times", "root": "/desk", "path": "pipe", "follow": true })]);
    let host = agent(folders.site.host()).args(["--allow", "fs:./papers", "--allow", "fs:./desk:rw"]);
    let program = json!({ "steps": [reads("pipe"), reads("socket"), reads("a.txt"), times, reads("zeros")] });
    let attacked = folders.site.attack(host.probe(&program));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    assert_eq!(wasi::in_call(&seen[0])[0]["error"], "unsupported", "{}", seen[0]);
    assert_eq!(wasi::in_call(&seen[1])[0]["error"], "unsupported", "{}", seen[1]);
    assert_eq!(wasi::in_call(&seen[2])[0]["ok"], "a paper", "{}", seen[2]);
    assert_eq!(wasi::in_call(&seen[3])[0]["error"], "unsupported", "{}", seen[3]);
    let expected = if is_made { "unsupported" } else { "no-entry" };
    assert_eq!(wasi::in_call(&seen[4])[0]["error"], expected, "{}", seen[4]);
    // No thread waits in the pipe, for which the process would wait a second.
    attacked.within(Duration::from_secs(5));
    folders.site.is_well();
}
