//! Requests that would lead a plugin to hosts that it was not granted.

use std::io::Write as _;

use serde_json::{Value, json};

use super::Case;
use crate::hostile;
use crate::serves::{Serves, moved, page, path};

/// The step that asks a server for what is at a path.
pub(super) fn get(authority: &str, path: &str) -> Value {
    json!({ "do": "send", "authority": authority, "path": path })
}

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
    let case = Case::wasi("notations of local addresses", &steps);
    case.allow(format!("net:http://*:{port}")).sees(|seen| {
        for (host, seen) in LOCAL.iter().zip(seen) {
            // What a machine makes of a point at the end of a name is its own.
            let is_unknown = *host == "localhost." && seen["error"].as_str().unwrap().starts_with("DnsError");
            assert!(is_unknown || seen["error"] == "HttpRequestDenied", "{host}: {seen}");
        }
    })
}

/// Paths at which a server sends on to where nobody may go, where that is, and what is told of it. At this port of this machine listens somebody who was
/// not granted.
fn forbidden(port: u16) -> [(&'static str, String, &'static str); 9] {
    let (denied, invalid) = ("HttpRequestDenied", "HttpRequestUriInvalid");
    [
        ("/to-metadata", "http://169.254.169.254/latest/".to_owned(), denied),
        ("/to-local", format!("http://127.0.0.1:{port}/"), denied),
        ("/to-notation", format!("http://2130706433:{port}/"), denied),
        ("/to-relative", format!("//127.0.0.1:{port}/"), denied),
        ("/to-secure", format!("https://127.0.0.1:{port}/"), denied),
        ("/to-user", format!("http://user@127.0.0.1:{port}/"), invalid),
        ("/to-file", "file:///etc/hostname".to_owned(), invalid),
        ("/to-data", "data:text/plain,trapped".to_owned(), invalid),
        ("/to-broken", "http://[".to_owned(), invalid),
    ]
}

/// Redirects of a server that was granted to one that was not, and to what is none.
pub(crate) fn redirects(trap: &Serves) -> Case {
    let (trap, port) = (trap.clone(), trap.address.port());
    let served = Serves::with(move |request, stream| {
        let all = forbidden(port);
        let (_, to, _) = all.iter().find(|(from, ..)| *from == path(request)).unwrap();
        stream.write_all(&moved(302, to))
    });
    let here = served.address.to_string();
    let steps = forbidden(port).map(|(path, ..)| get(&here, path));
    let case = Case::wasi("redirects to where nobody may go", &steps);
    case.allow(format!("net:http://{here}")).sees(move |seen| {
        for ((path, _, told), seen) in forbidden(port).iter().zip(seen) {
            assert_eq!(seen["error"], *told, "{path}: {seen}");
        }
        assert_eq!(trap.connections(), 0);
    })
}

/// A tool that goes around its HTTP to a server that it was granted: for each kind of socket and for a name, 2 is `access-denied`.
pub(crate) fn sockets(trap: &Serves) -> Case {
    let (trap, port) = (trap.clone(), trap.address.port());
    let call = json!({ "do": "call", "name": "measure", "arguments": { "port": port } });
    let case = Case::steps(hostile::A35_SOCKETS.name, [call]).tool(hostile::A35_SOCKETS);
    case.allow(format!("net:http://127.0.0.1:{port}")).sees(move |seen| {
        assert_eq!(seen[0]["ok"]["output"]["content"][0]["Text"], "20202", "{}", seen[0]);
        assert_eq!(trap.connections(), 0);
    })
}

/// A server that redirects to a path of one letter less, until there is none.
pub(crate) fn hopping() -> Serves {
    Serves::with(|request, stream| {
        let path = path(request);
        stream.write_all(&match path.strip_suffix('x') {
            Some(rest) => moved(302, rest),
            None => page("there"),
        })
    })
}

/// As many of its redirects as are followed, and one more.
pub(crate) fn hops(served: &Serves) -> Case {
    let here = served.address.to_string();
    let hops = |n: usize| get(&here, &format!("/{}", "x".repeat(n)));
    let case = Case::wasi("redirects after one another", &[hops(3), hops(4)]);
    case.allow(format!("net:http://{here}")).sees(|seen| {
        assert_eq!(seen[0]["ok"]["text"], "there", "{}", seen[0]);
        assert_eq!(seen[1]["error"], "LoopDetected", "{}", seen[1]);
    })
}

/// Schemes that are none of the web's.
pub(crate) const SCHEMES: [&str; 6] = ["file", "ftp", "gopher", "ws", "data", "unix"];

/// Methods that are never sent.
pub(crate) const METHODS: [&str; 4] = ["CONNECT", "TRACE", "trace", "get"];

/// What is no plain host, no protocol of the web, or another port, scheme or method than those that were granted: of nothing but GET over HTTP at this port of
/// this machine.
pub(crate) fn no_plain_hosts(port: u16) -> Case {
    let (invalid, refused) = ("HttpRequestUriInvalid", "the authority is refused");
    let authorities = [
        (format!("user@127.0.0.1:{port}"), invalid),
        (format!("user:password@127.0.0.1:{port}"), invalid),
        (format!("example.org@127.0.0.1:{port}"), invalid),
        (format!("127.0.0.1:{port}@example.org"), invalid),
        (format!("127.0.0.1:{port}#@example.org"), refused),
        (format!("127.0.0.1:{port}?@example.org"), refused),
        (format!("127.0.0.1:{port}/@example.org"), refused),
        (format!("127.0.0.1:{port}\\@example.org"), refused),
        (format!(" 127.0.0.1:{port}"), refused),
        (format!("127.0.0.1:{port}\r\nx: y"), refused),
        (format!("127。0。0。1:{port}"), refused),
        (format!("①②⑦.⓪.⓪.①:{port}"), refused),
        (format!("[::1%25lo]:{port}"), invalid),
        (format!("%31%32%37.0.0.1:{port}"), refused),
        (format!("[::1:{port}"), refused),
        ("127.0.0.1:99999".to_owned(), invalid),
        (String::new(), refused),
    ];
    let send = |authority: &str| json!({ "do": "send", "authority": authority });
    let mut steps: Vec<(Value, &str)> = authorities
        .iter()
        .map(|(authority, told)| (send(authority), *told))
        .collect();
    let local = format!("127.0.0.1:{port}");
    steps.extend(SCHEMES.map(|scheme| {
        let step = json!({ "do": "send", "scheme": scheme, "authority": local });
        (step, "HttpProtocolError")
    }));
    steps.extend(METHODS.map(|method| {
        let step = json!({ "do": "send", "method": method, "authority": local });
        (step, invalid)
    }));
    let others = [
        send("127.0.0.1:22"),
        send("127.0.0.1"),
        json!({ "do": "send", "scheme": "https", "authority": local }),
        json!({ "do": "send", "method": "POST", "authority": local }),
    ];
    steps.extend(others.map(|step| (step, "HttpRequestDenied")));
    let (steps, expected): (Vec<Value>, Vec<&str>) = steps.into_iter().unzip();
    let case = Case::wasi("what is no plain host", &steps);
    case.allow(format!("net:GET@http://{local}")).sees(move |seen| {
        let all = steps.iter().zip(seen).zip(&expected);
        let wrong: Vec<String> = all
            .filter(|((_, seen), told)| seen["error"] != **told)
            .map(|((step, seen), told)| format!("{step}: {seen}, not {told}"))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
}

/// Spellings of the address of this machine.
pub(crate) const SPELLINGS: [&str; 6] = ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1."];

/// A server whose address was granted is reached by each of them.
pub(crate) fn one_spelling(served: &Serves) -> Case {
    let port = served.address.port();
    let steps = SPELLINGS.map(|host| json!({ "do": "send", "authority": format!("{host}:{port}") }));
    let case = Case::wasi("spellings of an address that was granted", &steps);
    case.allow(format!("net:http://127.0.0.1:{port}")).sees(|seen| {
        for (host, seen) in SPELLINGS.iter().zip(seen) {
            let answer = (&seen["ok"]["status"], &seen["ok"]["text"]);
            assert_eq!(answer, (&json!(200), &json!("reached")), "{host}: {seen}");
        }
    })
}

/// A server that was granted sends on to another one that was, and a tool sends it what is for it alone.
pub(crate) fn credentials() -> Case {
    let second = Serves::always(page("there"));
    let to = second.address;
    let first = Serves::with(move |_, stream| stream.write_all(&moved(307, &format!("http://{to}/b"))));
    let headers = json!([
        ["authorization", "Bearer secret"],
        ["cookie", "a=secret"],
        ["x-own", "kept"]
    ]);
    let step = json!({ "do": "send", "authority": first.address.to_string(), "headers": headers });
    let case = [first.address, to]
        .iter()
        .fold(Case::wasi("credentials and a redirect", &[step]), |case, address| {
            case.allow(format!("net:http://{address}"))
        });
    case.sees(move |seen| {
        assert_eq!(seen[0]["ok"]["text"], "there", "{}", seen[0]);
        let sent = |serves: &Serves| serves.seen().remove(0).to_ascii_lowercase();
        let (first, second) = (sent(&first), sent(&second));
        assert!(first.contains("bearer secret") && first.contains("a=secret"), "{first}");
        let is_rid = second.contains("x-own: kept") && !second.contains("secret");
        assert!(is_rid, "{second}");
    })
}
