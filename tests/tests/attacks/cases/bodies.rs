//! Answers to a plugin's requests that never end, or unfold into more than they are.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use super::Case;
use super::network::get;
use crate::serves::{Serves, drips, page, path};

/// The most of a body that crosses, by default.
const BODY: usize = 1 << 20;

/// The most headers of a message, and the most bytes of their names and values, by default.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 32 << 10;

/// What stands before the number of headers of an answer, and that of their bytes.
const HEADED: &str = "/headers/";

/// A body that ends, and is so much longer that whoever held all of it would be seen to.
const FAR: usize = 64 << 20;

/// What stands before the number of bytes, each of which is a chunk.
const SINGLE: &str = "/chunks-of-a-byte/";

/// A hundred mebibytes of zeros, packed once and twice.
static PACKED: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [packed_zeros(1), packed_zeros(2)]);

fn packed_zeros(times: usize) -> Vec<u8> {
    let line = format!("head -c 100M /dev/zero{}", " | gzip -9".repeat(times));
    let packed = Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(packed.status.success() && packed.stdout.starts_with(b"\x1f\x8b"));
    packed.stdout
}

fn encoded(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A server whose answers are as their paths say.
pub(crate) fn server() -> Serves {
    Serves::with(|request, stream| {
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        let block = vec![b'x'; 64 << 10];
        match path(request) {
            "/once" => stream.write_all(&encoded("gzip", &PACKED[0])),
            "/twice" => stream.write_all(&encoded("gzip, gzip", &PACKED[1])),
            "/named-brotli" => stream.write_all(&encoded("br", &PACKED[0])),
            "/named-identity" => stream.write_all(&encoded("identity", &PACKED[0])),
            "/at" => stream.write_all(&page(&"x".repeat(BODY))),
            "/past" => stream.write_all(&page(&"x".repeat(BODY + 1))),
            "/far-past" => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {FAR}\r\nconnection: close\r\n\r\n");
                stream.write_all(head.as_bytes())?;
                (0..FAR / block.len()).try_for_each(|_| stream.write_all(&block))
            }
            "/far-past-in-chunks" => {
                stream.write_all(chunked)?;
                let chunk = [format!("{:x}\r\n", block.len()).as_bytes(), &block, b"\r\n"].concat();
                (0..FAR / block.len()).try_for_each(|_| stream.write_all(&chunk))?;
                stream.write_all(b"0\r\n\r\n")
            }
            "/chunks-without-end" => {
                stream.write_all(chunked)?;
                let chunk = [format!("{:x}\r\n", block.len()).as_bytes(), &block, b"\r\n"].concat();
                drips(stream, &chunk, Duration::ZERO)
            }
            "/without-length" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/longer-than-said" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n")?;
                stream.write_all(&block)
            }
            "/shorter-than-said" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\nconnection: close\r\n\r\nhalf")
            }
            "/lengths-that-differ" => stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 40\r\nconnection: close\r\n\r\nhalf",
            ),
            "/length-of-a-giant" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/length-below-nothing" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\nconnection: close\r\n\r\nhalf")
            }
            "/chunk-of-a-giant" => {
                stream.write_all(chunked)?;
                stream.write_all(b"ffffffffffffffff\r\n")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/many-headers" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                drips(stream, "x: y\r\n".repeat(1_000).as_bytes(), Duration::ZERO)
            }
            "/a-header-without-end" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
                drips(stream, &block, Duration::ZERO)
            }
            "/no-protocol" => stream.write_all(b"no protocol that anybody knows\r\n\r\n"),
            other if other.starts_with(HEADED) => {
                let mut numbers = other[HEADED.len()..].split('/').map(|number| number.parse().unwrap());
                let own = ["content-length: 0", "connection: close"];
                let headers = headers(&own, numbers.next().unwrap(), numbers.next().unwrap());
                let head = own
                    .into_iter()
                    .map(ToOwned::to_owned)
                    .chain(headers.into_iter().map(|[name, value]| format!("{name}: {value}")));
                let lines: String = head.map(|line| line + "\r\n").collect();
                stream.write_all(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes())
            }
            other => match other.strip_prefix(SINGLE) {
                Some(bytes) => {
                    stream.write_all(chunked)?;
                    stream.write_all("1\r\nx\r\n".repeat(bytes.parse().unwrap()).as_bytes())?;
                    stream.write_all(b"0\r\n\r\n")
                }
                None => stream.write_all(&page("little")),
            },
        }
    })
}

/// Headers that, with a message's own, are so many and have so many bytes: all but the last are short.
fn headers(own: &[&str], count: usize, bytes: usize) -> Vec<[String; 2]> {
    let header = |value: String| ["x".to_owned(), value];
    let mut headers = vec![header("y".to_owned()); count - own.len() - 1];
    let own: usize = own.iter().map(|line| line.len() - ": ".len()).sum();
    let rest = bytes - own - "xy".len() * headers.len();
    headers.push(header("y".repeat(rest - "x".len())));
    headers
}

/// As many headers and bytes of them as a message may have, one header more, and one byte more: of an answer, and of a request.
pub(crate) fn headed(served: &Serves) -> Vec<Case> {
    let most = [
        (HEADERS, HEADER_BYTES),
        (HEADERS + 1, HEADER_BYTES),
        (HEADERS, HEADER_BYTES + 1),
    ];
    let refused = Err(TOO_LARGE);
    let answers: [Told; 3] = [Ok((0, false)), refused, refused];
    let paths = most.map(|(count, bytes)| format!("{HEADED}{count}/{bytes}"));
    let paths: Vec<_> = paths.into_iter().zip(answers).collect();
    let mut all = gets(served, &paths, usize::MAX);
    let refused = Err("HttpRequestHeaderSectionSize(None)");
    let requests: [Told; 3] = [Ok(("little".len() as u64, false)), refused, refused];
    let here = served.address.to_string();
    all.extend(most.into_iter().zip(requests).map(|((count, bytes), told)| {
        let name = format!("{count} headers of {bytes} bytes");
        let headers = headers(&[&format!("host: {here}")], count, bytes);
        let step = json!({ "do": "send", "authority": here, "headers": headers });
        let case = Case::wasi(&name, &[step]).allow(format!("net:http://{here}"));
        case.sees(move |seen| is_told(&name, &told, &seen[0]))
    }));
    all
}

/// What is told of an answer whose headers are too many or too long.
const TOO_LARGE: &str = "HttpResponseHeaderSectionSize(None)";

/// What is told of a path: so many bytes, and whether they are cut, or an error.
type Told = Result<(u64, bool), &'static str>;

/// Calls of a tool that asks that server for these, so many in each call.
fn gets(served: &Serves, paths: &[(String, Told)], at_once: usize) -> Vec<Case> {
    let here = served.address.to_string();
    let call = |paths: &[(String, Told)]| {
        let steps: Vec<Value> = paths.iter().map(|(path, _)| get(&here, path)).collect();
        let case = Case::wasi(&format!("a body from {}", paths[0].0), &steps);
        let paths = paths.to_vec();
        case.allow(format!("net:http://{here}")).sees(move |seen| {
            for ((path, told), seen) in paths.iter().zip(seen) {
                is_told(path, told, seen);
            }
        })
    };
    paths.chunks(at_once).map(call).collect()
}

fn is_told(path: &str, told: &Told, seen: &Value) {
    match told {
        Ok((bytes, is_cut)) => {
            let answer = &seen["ok"];
            assert_eq!(answer["bytes"], *bytes, "{path}: {seen}");
            assert_eq!(answer["broken"].is_string(), *is_cut, "{path}: {seen}");
            let is_said = answer["headers"].to_string().contains("hermes-body-cut");
            assert_eq!(is_said, *is_cut, "{path}: {seen}");
        }
        Err(code) => assert_eq!(seen["error"], *code, "{path}: {seen}"),
    }
}

/// Bodies that are cut where they are too long, however they come, `at_once` in each call. One comes in chunks of a byte, and has so many.
pub(crate) fn cut(served: &Serves, single: usize, at_once: usize) -> Vec<Case> {
    let single = (format!("{SINGLE}{single}"), Ok((single as u64, false)));
    let bodies = [
        ("/at", BODY, false),
        ("/past", BODY, true),
        ("/far-past", BODY, true),
        ("/far-past-in-chunks", BODY, true),
        ("/chunks-without-end", BODY, true),
        ("/without-length", BODY, true),
        ("/longer-than-said", 5, false),
        ("/chunk-of-a-giant", BODY, true),
    ];
    let bodies = bodies.map(|(path, bytes, is_cut)| (path.to_owned(), Ok((bytes as u64, is_cut))));
    let all: Vec<(String, Told)> = bodies.into_iter().chain([single]).collect();
    gets(served, &all, at_once)
}

/// Answers that are none, likewise.
pub(crate) fn broken(served: &Serves, at_once: usize) -> Vec<Case> {
    const BROKEN: &str = "HttpProtocolError";
    let paths = [
        ("/shorter-than-said", BROKEN),
        ("/lengths-that-differ", BROKEN),
        // The HTTP library has one error for both.
        ("/length-of-a-giant", TOO_LARGE),
        ("/length-below-nothing", BROKEN),
        ("/many-headers", TOO_LARGE),
        ("/a-header-without-end", TOO_LARGE),
        ("/no-protocol", BROKEN),
    ];
    let all: [(String, Told); 7] = paths.map(|(path, told)| (path.to_owned(), Err(told)));
    gets(served, &all, at_once)
}

/// Bodies that are packed, once, twice, and by another name: they come as they are.
pub(crate) fn packed(served: &Serves) -> Case {
    let [once, twice] = PACKED.each_ref().map(Vec::len);
    let bodies = [
        ("/once", once),
        ("/twice", twice),
        ("/named-brotli", once),
        ("/named-identity", once),
    ];
    let here = served.address.to_string();
    let steps = bodies.map(|(path, _)| get(&here, path));
    let case = Case::wasi("bodies that are packed", &steps).allow(format!("net:http://{here}"));
    let served = served.clone();
    case.sees(move |seen| {
        for ((path, bytes), seen) in bodies.iter().zip(seen) {
            assert_eq!(seen["ok"]["bytes"], *bytes, "{path}: {seen}");
        }
        assert!(seen[0]["ok"]["headers"].to_string().contains("gzip"), "{}", seen[0]);
        for request in served.seen() {
            let request = request.to_ascii_lowercase();
            assert!(request.contains("accept-encoding: identity"), "{request}");
        }
    })
}
