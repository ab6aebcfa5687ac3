//! Floods of what is only said: logs, streams, answers, results, files.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

use hermes_tests::child::{ChildSpec, exit, join};
use hermes_tests::guests;
use hermes_tests::program::steps;
use serde_json::json;

use crate::cases;
use crate::eventually;
use crate::hostile;
use crate::site::{Attacked, Site};

/// `limits.log_line` and `limits.log_step` where nobody set them.
const LINE: usize = 4 << 10;
const STEP: usize = 64 << 10;

/// For how many bytes a line counts besides its own.
const OVERHEAD: usize = 64;

impl Attacked<'_> {
    /// The lines of its root's log, as they are kept.
    fn log(&self) -> Vec<String> {
        let run = self.output.json()["run"].as_str().unwrap().to_owned();
        let shown = self.site.home.shown(&run);
        let notes = shown["agents"][0]["notes"].as_array().unwrap().iter();
        let lines = notes.filter(|note| note["kind"] == "log");
        lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
    }
}

/// Panics unless so many whole lines of these bytes are kept, and one that says that more are dropped.
#[track_caller]
fn is_bounded(log: &[String], bytes: usize) {
    let (last, lines) = log.split_last().unwrap();
    assert_eq!(lines.len(), STEP / (bytes + OVERHEAD), "{last}");
    let x = "x".repeat(bytes);
    assert!(lines.iter().all(|line| line.ends_with(&x)), "{lines:?}");
    assert!(last.contains("limits.log_step is 65536 bytes"), "{last}");
}

#[test]
fn a16_a_million_lines() {
    let site = Site::new();
    let file = hostile::A16_LINES.file(&site.home);
    let host = site
        .host()
        .set("limits.host_calls", 1_000_000)
        .set("limits.host_calls_all", 2_000_000);
    let attacked = site
        .attack(host.run(&file, "n1000000"))
        .answers("done")
        .holding(1 << 20);
    is_bounded(&attacked.log(), 1000);
    // Without more calls than are usual it does not get so far.
    let attacked = site.tries(&cases::floods::lines());
    is_bounded(&attacked.log(), 1000);
    site.is_well();
}

#[test]
fn a16_a_line_of_ten_mebibytes() {
    let site = Site::new();
    let attacked = site.tries(&cases::floods::line());
    let log = attacked.log();
    let ends = format!("{}…[+{}]", "x".repeat(LINE), (10 << 20) - LINE);
    assert!(log.len() == 1 && log[0].ends_with(&ends), "{log:?}");
    site.is_well();
}

#[test]
fn a16_standard_output_and_error_of_a_guest() {
    let site = Site::new();
    let [many, without_an_end, empty] = cases::floods::streams();
    let attacked = site.tries(&many).holding(1 << 20);
    is_bounded(&attacked.log(), 4095);
    // A line without an end, cut in the middle of a letter that has two bytes.
    let attacked = site.tries(&without_an_end).holding(1 << 20);
    let log = attacked.log();
    assert_eq!(log.len(), 2, "one of each: {log:?}");
    for line in log {
        let (_, line) = line.split_once(": ").unwrap();
        let kept = line.split_once("…[+").unwrap().0;
        assert!(kept.len() <= LINE && kept.len() > LINE - 2, "{} bytes", kept.len());
        assert!(kept.trim_start_matches('x').chars().all(|c| c == 'é'), "{kept}");
    }
    site.tries(&empty).holding(1 << 20);
    // Half as many, all of which are shown.
    let half = STEP / 2;
    let file = hostile::A16_STREAMS.file(&site.home);
    let host = site.host().set("limits.log_step", half);
    let log = site.attack(host.run(&file, "b1000")).answers("done").log();
    let (last, lines) = log.split_last().unwrap();
    assert_eq!(lines.len(), half / OVERHEAD);
    assert!(last.contains("limits.log_step is 32768 bytes"), "{last}");
    site.is_well();
}

#[test]
fn a16_standard_error_that_nobody_reads() {
    let site = Site::new();
    let pipe = site.home.folder().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Held open, so that whoever writes to it does not fail.
    let mut held = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let file = hostile::A16_LINES.file(&site.home);
    let host = site.home.host().arg("--verbose").set("limits.log_step", 1 << 20);
    let host = host
        .run(&file, "n1000")
        .by(&format!("exec \"$0\" \"$@\" 2>'{}'", pipe.display()));
    let process = host.start();
    let run = eventually("the run's end", || {
        let runs = site.home.host().args(["runs", "--output", "json"]).output().json();
        (runs[0]["status"] == "completed").then(|| runs[0]["run"].as_str().unwrap().to_owned())
    });
    // Its end is written down. What it has to say it says when somebody listens.
    let reading = std::thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while held
            .read(&mut bytes)
            .is_ok_and(|read| read > 0 && !bytes[..read].ends_with(b"over"))
        {}
    });
    let output = process.finish();
    fs::write(&pipe, "over").unwrap();
    reading.join().unwrap();
    assert_eq!(
        (output.code, output.json()["run"].as_str()),
        (Some(0), Some(run.as_str()))
    );
    fs::remove_file(pipe).unwrap();
    site.is_well();
}

#[test]
fn a17_an_answer_of_sixty_mebibytes() {
    let site = Site::new();
    let file = hostile::A17_REPORT.file(&site.home);
    let attacked = site.attack(
        site.host()
            .set("limits.hostcall_bytes", "128MiB")
            .run(&file, "n62914560"),
    );
    attacked
        .ends(1, "invalid-input", &["limits.report"])
        .holding((64 + 4 * 60) << 20);
    site.tries(&cases::floods::answer()).holding(64 << 20);
    site.is_well();
}

#[test]
fn a17_a_child_that_never_stops_talking() {
    let site = Site::new();
    let emit = json!({ "do": "emit", "text": "x".repeat(4000) });
    let child = ChildSpec::probe(&steps(&[json!({ "do": "repeat", "n": 1_000_000, "steps": [emit] })]));
    let host = site
        .host()
        .set("limits.journal_bytes", "1MiB")
        .set("durability", "process");
    let lived = site.lives(host, &[child.spawn(), join(0)]);
    assert_eq!(exit(&lived.seen[1]), "Exhausted(JournalBytes)", "{}", lived.seen[1]);
    let joined = lived.seen[1].to_string();
    assert!(joined.len() < 24_000, "its parent reads {} bytes of it", joined.len());
    site.is_well();
}

#[test]
fn a17_a_result_to_the_last_byte() {
    let site = Site::new();
    let big = |n: u64| json!({ "do": "call", "name": "big", "arguments": { "n": n } });
    let host = site
        .host()
        .set("limits.scrub.tool", 10_000_000)
        .arg("--tool")
        .arg(guests::built("probe-tool"));
    let steps = [256 << 10, (256 << 10) + 1].map(big);
    let lived = site.lives(host, &steps);
    let text = |n: usize| lived.seen[n]["ok"]["output"]["content"][0]["Text"].as_str();
    assert!(text(0).is_some_and(|text| text.len() == 256 << 10 && text.bytes().all(|byte| byte == b'x')));
    let cut = text(1).unwrap();
    assert!(cut.len() < 257 << 10 && cut.contains("left out"), "{} bytes", cut.len());
    site.tries(&cases::floods::result());
    site.is_well();
}

#[test]
fn a17_what_is_too_long_for_its_reader_is_cut_kept_apart_and_named() {
    let site = Site::new();
    site.tries(&cases::floods::kept());
    site.is_well();
}

#[test]
fn a17_a_file_of_a_tebibyte() {
    let site = Site::new();
    site.tries(&cases::floods::file());
    let huge = site.home.work().join("out/huge");
    assert_eq!(fs::metadata(huge).unwrap().len(), 0);
    site.is_well();
}

#[test]
fn a17_a_folder_of_thirty_thousand_files() {
    let site = Site::new();
    let many = site.home.work().join("many");
    fs::create_dir(&many).unwrap();
    for n in 0..30_000 {
        File::create(many.join(format!("a-name-that-is-rather-long-{n:06}"))).unwrap();
    }
    let list = json!({ "do": "call", "name": "list_files", "arguments": { "path": "/many" } });
    let lived = site.lives(site.host().args(["--allow", "fs:./many"]), &[list]);
    let text = lived.seen[0]["ok"]["output"]["content"][0]["Text"]
        .as_str()
        .unwrap_or_else(|| panic!("{}", lived.seen[0]));
    assert!(text.len() < 48_000, "{} bytes", text.len());
    assert!(lived.output.took < Duration::from_secs(60), "{:?}", lived.output.took);
    lived.attacked(&site).holding(64 << 20);
    site.is_well();
}
