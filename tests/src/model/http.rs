//! As much of HTTP/1.1 as a test needs to hold in its own hands: reading a request, writing a response byte by byte.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// The largest request that is read.
const MAX_BODY: usize = 64 << 20;

/// Between two looks for the file that an answer waits for.
const HOLD: Duration = Duration::from_millis(20);

/// A request's parts.
pub(super) struct Incoming {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// The next request of a connection; none when the client is done with it.
pub(super) fn read(stream: &mut BufReader<TcpStream>) -> Option<Incoming> {
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunks(stream)?
    } else {
        exactly(
            stream,
            header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0),
        )?
    };
    Some(Incoming {
        method,
        path,
        headers,
        body,
    })
}

fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn exactly(stream: &mut BufReader<TcpStream>, len: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; len.min(MAX_BODY)];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

fn chunks(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let len = usize::from_str_radix(line(stream)?.split(';').next()?, 16).ok()?;
        body.extend(exactly(stream, len)?);
        line(stream)?;
        if len == 0 {
            return Some(body);
        }
    }
}

/// A whole JSON response.
pub(super) fn json(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    let mut head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: application/json\r\n",
        reason(status)
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The head of a streamed response.
pub(super) fn begin(stream: &mut TcpStream, content_type: &str) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes())
}

/// One chunk in one write.
pub(super) fn chunk(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut out = format!("{:x}\r\n", bytes.len()).into_bytes();
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
    stream.write_all(&out)
}

/// The end of a streamed response.
pub(super) fn end(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"0\r\n\r\n")
}

/// Blocks until `file` is there, or the client closes the connection: then false.
pub(super) fn hold_until(stream: &TcpStream, file: &Path) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(HOLD))?;
    let held = loop {
        if file.exists() {
            break true;
        }
        match stream.peek(&mut [0]) {
            Ok(0) => break false,
            // It sends its next request before this one is answered.
            Ok(_) => std::thread::sleep(HOLD),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break false,
        }
    };
    stream.set_read_timeout(None)?;
    Ok(held)
}

/// Blocks until the client closes the connection; what it still sends is dropped.
pub(super) fn until_gone(stream: &mut TcpStream) {
    let mut sink = [0; 1024];
    while matches!(stream.read(&mut sink), Ok(n) if n > 0) {}
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        529 => "Overloaded",
        _ => "Other",
    }
}
