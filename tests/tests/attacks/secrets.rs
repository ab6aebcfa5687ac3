//! Secrets of the operator: plugins that would have one sent elsewhere, hear it from its own host, or hand on one that they found.

use std::fs;

use hermes_tests::{Output, clean};
use serde_json::{Value, json};

use crate::cases;
use crate::cases::secrets::{HIDDEN, SECRET, echo, is_without};
use crate::hostile;
use crate::site::Site;

/// A place whose operator has set the secret `x`.
fn site() -> Site {
    let site = Site::new();
    let value = site.home.folder().join("value");
    fs::write(&value, SECRET).unwrap();
    let output = site.host().args(["secret", "set", "x"]).reads(&value).output();
    fs::remove_file(value).unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    site
}

/// Panics where the secret stands in what was printed, or in a file of the home but that of secrets.
#[track_caller]
fn is_kept(site: &Site, output: &Output) {
    is_without("standard output", &output.stdout);
    is_without("standard error", &output.stderr);
    for (file, bytes) in site.home.files() {
        if !file.ends_with("host/secrets.json") {
            is_without(&file.display().to_string(), &String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn a34_a_secret_goes_to_its_host_alone_and_comes_back_to_nobody() {
    let (site, stranger) = (site(), echo());
    let owner = cases::secrets::owner(&stranger);
    let output = site.tries(&cases::secrets::goes_to_its_host(&owner, &stranger)).output;
    assert_eq!((owner.seen().len(), stranger.seen().len()), (4, 3));
    let run = output.json()["run"].as_str().unwrap().to_owned();
    let audit = site
        .home
        .host()
        .args(["show", &run, "--audit", "--output", "json"])
        .output();
    let audit = audit.expect(0).json();
    let rows = audit.as_array().unwrap().iter();
    let puts: Vec<_> = rows
        .filter(|row| row["way"] == "put")
        .map(|row| (&row["grant"], &row["target"], &row["count"]))
        .collect();
    let a = owner.address;
    let expected = (json!(format!("secret:x@{a}")), json!(format!("http://{a}")), json!(4));
    assert_eq!(puts, [(&expected.0, &expected.1, &expected.2)], "{audit}");
    is_kept(&site, &output);
    site.is_well();
}

/// Whoever lists a folder reads its names.
#[test]
fn a34_a_tool_hands_no_secret_on_in_the_name_of_a_file() {
    let site = site();
    site.home.write("desk/note.txt", "a note");
    // Of the two marks the agent takes one out, and the tool the other.
    let marked = |text: &str| {
        let (a, b) = text.split_at(text.len() / 2);
        format!("{a}⧺⧺{b}")
    };
    let on = |what: &str, path: &str| cases::paths::on("/desk", what, path);
    let to =
        |what: &str, to: &str| json!({ "do": what, "root": "/desk", "path": "note.txt", "to_root": "/desk", "to": to });
    let link = |target: &str, path: &str| json!({ "do": "symlink", "root": "/desk", "target": target, "path": path });
    let known = marked(SECRET);
    let mut denied = vec![
        on("make-folder", &known),
        on("write", &format!("x-{known}.txt")),
        on("write", &format!("./sub/../{known}")),
        on("write", &format!("../{known}")),
        to("link", &known),
        to("rename", &known),
        link("note.txt", &known),
        link(&known, "near"),
    ];
    denied.extend(
        clean::spellings(SECRET)
            .iter()
            .map(|(_, form)| on("write", &marked(form))),
    );
    // What names nothing hands nothing on.
    let others = [
        (on("read", &known), json!({ "error": "no-entry" })),
        (on("unlink", &known), json!({ "error": "no-entry" })),
        (on("write", &known[..16]), json!({ "ok": "overwritten".len() })),
        (to("rename", "other.txt"), json!({ "ok": null })),
    ];
    let steps: Vec<Value> = denied
        .iter()
        .chain(others.iter().map(|(step, _)| step))
        .cloned()
        .collect();
    let desk = site.home.work().join("desk");
    let host = crate::wasi::agent(site.host()).args(["--allow", &format!("fs:{}:rw", desk.display())]);
    let attacked = site.attack(host.probe(&json!({ "steps": [crate::wasi::call(&steps)] })));
    let seen = crate::wasi::in_call(&attacked.output.seen()[0]);
    for (step, seen) in denied.iter().zip(&seen) {
        assert_eq!(seen["error"], "not-permitted", "{step}: {seen}");
    }
    for ((step, expected), seen) in others.iter().zip(&seen[denied.len()..]) {
        assert_eq!(seen, expected, "{step}");
    }
    let mut names: Vec<String> = fs::read_dir(&desk)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [&SECRET[..16], "other.txt"]);
    let way = "the host alone puts it into requests, where that is granted";
    let rows = attacked.denied();
    assert_eq!(rows.len(), 1, "{rows:?}");
    let row = &rows[0];
    assert_eq!(
        (&row["what"], &row["target"], &row["remedy"]),
        (
            &json!("hand on the secret x in the name of a file"),
            &json!(format!("/desk/{HIDDEN}")),
            &json!(way)
        )
    );
    assert_eq!(
        (&row["grant"], &row["flags"], &row["count"]),
        (&Value::Null, &json!([]), &json!(denied.len()))
    );
    let message = format!("probe-wasi may not hand on the secret x, which stands in the name of a file: {way}");
    assert_eq!(row["message"], message);
    is_kept(&site, &attacked.output);
    site.is_well();
}

#[test]
fn a34_a_plugin_has_no_environment_to_find_a_key_in() {
    let site = site();
    // Beside the key of the tests' provider.
    let host = site.host().env("OPENAI_API_KEY", SECRET);
    let attacked = site.tries_on(host, &cases::secrets::environment());
    is_kept(&site, &attacked.output);
    site.is_well();
}

#[test]
fn a34_no_notation_leads_a_secret_to_another_host() {
    let site = site();
    let output = site.tries(&cases::secrets::notations(&echo(), &echo())).output;
    is_kept(&site, &output);
    site.is_well();
}

#[test]
fn a34_a_plugin_that_was_made_with_a_secret_tells_it_to_nobody() {
    let site = site();
    let file = hostile::A34_TELLS.file(&site.home);
    for case in cases::secrets::tells() {
        let attacked = site.tries(&case);
        is_kept(&site, &attacked.output);
        let run = attacked.output.json()["run"].as_str().unwrap().to_owned();
        for form in [&["show", &run, "--log"][..], &["export", &run], &["show", &run]] {
            let output = site.host().args(form).output();
            is_kept(&site, &output);
        }
    }
    // A half after the other, as they come.
    let host = site.host().args(["--output", "events", "--plugin"]);
    let events = site.attack(host.arg(&file).arg("e0")).output;
    assert!(events.stdout.contains(&format!("\"{HIDDEN}\"")), "{}", events.stdout);
    is_kept(&site, &events);
    site.is_well();
}
