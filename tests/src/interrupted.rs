//! Runs whose process was stopped or killed while their model was asked, and one that is taken up while another process reads it.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::model::{Fault, Format};
use crate::program::{ask, steps};
use crate::{Home, Host, ModelServer, Output, Process, Script, Shim, Turn};

const LONG: Duration = Duration::from_secs(60);

/// A run that has one answer and never gets its second; whoever asks for that again gets `two`. The server, the home, the process and the run.
#[track_caller]
pub fn waiting() -> (ModelServer, Home, Process, String) {
    let script = Script::default()
        .when("ONE", [Turn::text("one")])
        .when("TWO", [Turn::fault(Fault::StallMidStream), Turn::text("two")]);
    let server = ModelServer::start(script);
    let home = Home::with_model(&server, Format::OpenAi);
    let process = home.host().probe(&steps(&[ask("ONE"), ask("TWO")])).start();
    server.wait_for(2, LONG);
    let run = home.newest_run();
    (server, home, process, run)
}

/// Such a run, whose process was killed.
#[track_caller]
pub fn killed() -> (ModelServer, Home, String) {
    let (server, home, process, run) = waiting();
    process.signal(Signal::KILL);
    process.finish();
    (server, home, run)
}

/// Starts `host`, whose run asks its model, which is silent, and stops its process by this signal then. The run.
#[track_caller]
pub fn stopped(home: &Home, server: &ModelServer, host: Host, signal: Signal) -> String {
    let process = host.start();
    server.wait_for(1, LONG);
    process.signal(signal);
    let output = process.finish();
    let code = if signal == Signal::KILL { None } else { Some(130) };
    assert_eq!(output.code, code, "{output:?}");
    home.newest_run()
}

/// What a resume of the run with these arguments printed.
#[track_caller]
pub fn resumed(home: &Home, run: &str, arguments: &[&str]) -> Output {
    let host = home.host().args(["resume", run, "--output", "json"]);
    host.args(arguments).output()
}

/// Starts `host`, which reads the run, and stops it where its shim delays it first. It goes on when another process has taken the run up and brought it to
/// its end.
#[track_caller]
pub fn taken_meanwhile(home: &Home, run: &str, shim: &Shim, host: Host) -> Output {
    let reading = shim.on(host).start();
    let begun = Instant::now();
    while shim.count(0) == 0 {
        assert!(begun.elapsed() < LONG, "it comes to what is delayed");
    }
    reading.signal(Signal::STOP);
    home.host().args(["resume", run]).output().expect(0);
    reading.signal(Signal::CONT);
    reading.finish()
}
