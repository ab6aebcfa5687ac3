//! Model servers that stall, or garble their protocol.

use std::io::Write as _;
use std::time::{Duration, Instant};

use hermes_tests::home::KEY_VARIABLE;
use hermes_tests::output::slack;
use hermes_tests::program::{ask, steps};
use rustix::process::Signal;

use crate::cases::wire::{STREAM, chunk};
use crate::cases::{slow, streams};
use crate::serves::{Serves, drips};
use crate::site::Site;

/// Makes the server a provider of OpenAI's protocol, by this name.
pub(crate) fn configure(site: &Site, name: &str, serves: &Serves) {
    let url = format!("http://{}/v1", serves.address);
    site.home.configure(&format!(
        "\n[providers.{name}]\nkind = \"openai\"\nbase_url = \"{url}\"\nkey_env = \"{KEY_VARIABLE}\"\n\
         \n[models.\"{name}/test-model\"]\ncontext_tokens = 128000\nmax_output_tokens = 4096\n"
    ));
}

#[test]
fn a38_a_model_that_drips_is_given_up_by_the_clock_of_what_it_owes() {
    let site = Site::new();
    for (key, case) in slow::models() {
        let limit = match key {
            "limits.llm.first_byte" => Duration::from_millis(300),
            "limits.llm.idle" => Duration::from_millis(400),
            _ => Duration::from_millis(900),
        };
        let host = site
            .host()
            .set("limits.llm.first_byte", "300ms")
            .set("limits.llm.idle", "400ms");
        let attacked = site.tries_on(host.set("limits.llm.total", "900ms"), &case);
        // As long as the host itself took for it.
        let took = attacked.shown()["agents"][0]["operations"][0]["ms"].as_u64().unwrap();
        let took = Duration::from_millis(took);
        assert!(limit <= took && took < limit + slack(), "{}: {took:?}", case.name);
    }
    site.is_well();
}

#[test]
fn a38_a_model_that_drips_keeps_nobody_from_stopping() {
    let site = Site::new();
    let served = Serves::with(|_, stream| {
        stream.write_all(STREAM)?;
        drips(stream, &chunk(b": still there\n\n"), Duration::from_millis(40))
    });
    configure(&site, "slow", &served);
    let process = site
        .host()
        .args(["--model", "slow/test-model"])
        .probe(&steps(&[ask("hi")]))
        .start();
    crate::eventually("the request", || (served.connections() > 0).then_some(()));
    let asked = Instant::now();
    process.signal(Signal::INT);
    let output = process.finish();
    assert_eq!(output.code, Some(130), "{output:?}");
    assert!(
        output.ended - asked < Duration::from_secs(2) + slack(),
        "{:?}",
        output.ended - asked
    );
    let run = site.home.newest_run();
    let cancelled = site.attack(site.host().args(["cancel", &run]));
    assert_eq!(cancelled.output.code, Some(0), "{:?}", cancelled.output);
    site.is_well();
}

#[test]
fn a39_an_answer_is_the_same_wherever_the_network_cuts_it() {
    let site = Site::new();
    for case in streams::cut(1) {
        site.tries(&case);
    }
    site.is_well();
}

#[test]
fn a39_an_odd_stream_of_openais_is_an_answer_or_one_error() {
    let site = Site::new();
    site.tries(&streams::odd_of_openai());
    site.is_well();
}

#[test]
fn a39_an_odd_stream_of_anthropics_is_an_answer_or_one_error() {
    let site = Site::new();
    site.tries(&streams::odd_of_anthropic());
    site.is_well();
}
