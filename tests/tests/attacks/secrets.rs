//! Secrets of the operator: plugins that would have one sent elsewhere, hear it from its own host, or hand on one that they found.

use std::fs;

use hermes_tests::Output;
use serde_json::json;

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
