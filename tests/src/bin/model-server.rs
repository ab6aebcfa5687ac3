//! The model server as a process of its own: `model-server SCRIPT.json [ADDRESS]` plays the script until it is ended, and
//! prints the address where it listens.

use std::process::ExitCode;

use hermes_tests::{ModelServer, Script};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(path) = arguments.next() else {
        eprintln!("usage: model-server SCRIPT.json [ADDRESS]");
        return ExitCode::from(2);
    };
    let script = std::fs::read_to_string(&path).map_err(|e| e.to_string());
    let script: Script = match script.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string())) {
        Ok(script) => script,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(2);
        }
    };
    let server = ModelServer::start_at(arguments.next().as_deref().unwrap_or("127.0.0.1:0"), script);
    println!("{}", server.address());
    loop {
        std::thread::park();
    }
}
