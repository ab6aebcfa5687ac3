//! How long a connection to a model's provider may take to come about, and that nothing else is measured by it.

#![allow(clippy::unwrap_used, reason = "what fails shall fail the test")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hermes_tests::model::{Fault, Format, ModelServer, Turn};
use hermes_tests::output::{message, refusal, slack};
use hermes_tests::{Home, Host};
use serde_json::{Value, json};

/// A port that takes no connection: its queue has one place, which is taken.
struct Full {
    listener: TcpListener,
    /// Whoever waits in the queue.
    first: TcpStream,
}

impl Full {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let first = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Self { listener, first }
    }

    fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Waits until somebody else asks for a connection, in vain.
    fn wait_for_another(&self) {
        // An address in the kernel's order of bytes, a port, and the state of whoever has sent the first packet alone.
        let asks = format!(" 0100007F:{:04X} 02 ", self.address().port());
        let started = Instant::now();
        while !std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&asks) {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "nobody asks for a connection"
            );
            std::thread::yield_now();
        }
    }

    /// Takes all connections from now on.
    fn opens(self, turn: Turn) -> ModelServer {
        drop(self.first);
        ModelServer::start_on(self.listener, [turn])
    }
}

/// A home with a provider `slow` at this address.
fn home(address: SocketAddr) -> Home {
    let home = Home::with_model(&ModelServer::start(Vec::new()), Format::OpenAi);
    home.configure(&format!(
        "[providers.slow]\nkind = \"openai\"\nbase_url = \"http://{address}/v1\"\n"
    ));
    home
}

/// Asks that provider once.
fn ask(home: &Home, connect: &str) -> Host {
    let question = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "hi" }] }] });
    let host = home.host().args(["--model", "slow/test-model"]);
    let host = host.set("limits.llm.connect", connect).set("limits.llm.tries", 1);
    host.probe(&json!({ "steps": [question] }))
}

/// How many milliseconds the run's one completion took.
fn took(home: &Home, run: &Value) -> u64 {
    let show = home.host().args(["show", run.as_str().unwrap(), "--output", "json"]);
    let shown = show.output().expect(0).json();
    shown["agents"][0]["operations"][0]["ms"].as_u64().unwrap()
}

#[test]
fn a_port_that_takes_no_connection_is_given_up_in_time() {
    let full = Full::new();
    let home = home(full.address());
    let output = ask(&home, "300ms").output().expect(0);
    let seen = output.seen().remove(0);
    assert_eq!(refusal(&seen).as_deref(), Some("timed-out"), "{seen}");
    assert!(message(&seen).contains("within 300 ms (limits.llm.connect)"), "{seen}");
    assert_eq!(output.spent("tokens"), 0, "nothing was sent");
    let took = u128::from(took(&home, &output.json()["run"]));
    assert!((300..300 + slack().as_millis()).contains(&took), "{took}");
}

#[test]
fn a_connection_that_comes_late_but_in_time_is_used() {
    let full = Full::new();
    let home = home(full.address());
    let process = ask(&home, "30s").start();
    full.wait_for_another();
    // The kernel asks again a second later.
    let server = full.opens(Turn::text("hello"));
    let output = process.finish().expect(0);
    let seen = output.seen().remove(0);
    assert_eq!(seen["ok"]["parts"][0]["Text"], "hello", "{seen}");
    assert_eq!(server.requests().len(), 1);
    let took = took(&home, &output.json()["run"]);
    assert!(took > 300, "it was late: {took}");
}

#[test]
fn an_answer_may_take_longer_than_its_connection() {
    let server = ModelServer::start([Turn::fault(Fault::StallBeforeHeaders)]);
    let home = home(server.address());
    let host = ask(&home, "1ms").set("limits.llm.first_byte", "300ms");
    let output = host.output().expect(0);
    let seen = output.seen().remove(0);
    assert_eq!(refusal(&seen).as_deref(), Some("timed-out"), "{seen}");
    assert!(
        message(&seen).contains("within 300 ms (limits.llm.first_byte)"),
        "{seen}"
    );
    assert_eq!(server.requests().len(), 1);
}
