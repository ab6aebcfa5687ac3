//! Requests that would lead a plugin to hosts that it was not granted.

use serde_json::{Value, json};

use super::{Case, Plugin};

/// Addresses that are not of the public internet, in all notations that some parser takes, and names that lead to them.
const LOCAL: [&str; 48] = [
    // 127.0.0.1, as one number, in parts, hexadecimal and octal.
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.0000.0000.0001",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.255.255.254",
    "0",
    "0.0.0.0",
    // Where clouds keep what a machine may know of itself.
    "169.254.169.254",
    "2852039166",
    "0xA9FEA9FE",
    "0251.0376.0251.0376",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "0xA83F8110",
    "192.0.0.192",
    "[fd00:ec2::254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::169.254.169.254]",
    // Private, link-local, reserved.
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[fe80::1]",
    "[fc00::1]",
    "[ff02::1]",
    // IPv6, and IPv4 inside it.
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::ffff:7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    // Names.
    "localhost",
    "localhost.",
    "LOCALHOST",
];

/// All of them, by a tool that was granted the whole network at this port.
pub(crate) fn notations(port: u16) -> Case {
    let send = |host: &str| json!({ "do": "send", "authority": format!("{host}:{port}") });
    let steps: Vec<Value> = LOCAL.iter().map(|host| send(host)).collect();
    let arguments = json!({ "steps": steps });
    let case = Case::call(
        "notations of local addresses",
        Plugin::Built("probe-wasi"),
        "wasi",
        arguments,
    );
    case.allow(format!("net:http://*:{port}")).sees(|seen| {
        for (host, seen) in LOCAL.iter().zip(seen) {
            // What a machine makes of a point at the end of a name is its own.
            let is_unknown = *host == "localhost." && seen["error"].as_str().unwrap().starts_with("DnsError");
            assert!(is_unknown || seen["error"] == "HttpRequestDenied", "{host}: {seen}");
        }
    })
}
