//! A server that answers as badly as a test wants: byte by byte, never, or with what is no HTTP. It counts who comes.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A server on loopback.
#[derive(Clone)]
pub(crate) struct Serves {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
}

/// Answers a request, whose text it gets, in whatever way it likes.
type Answers = dyn Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

impl Serves {
    /// One that answers so, on each connection once.
    pub(crate) fn with(answers: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(answers))
    }

    /// One that always answers with these bytes.
    pub(crate) fn always(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::with(move |_, stream| stream.write_all(&bytes))
    }

    /// The same at the same port of IPv6, where this machine has it.
    pub(crate) fn twin(&self) -> Option<Self> {
        let listener = TcpListener::bind(("::1", self.address.port())).ok()?;
        Some(Self::on(
            listener,
            Arc::new(|_: &str, stream: &mut TcpStream| stream.write_all(&page("trapped"))),
        ))
    }

    fn on(listener: TcpListener, answers: Arc<Answers>) -> Self {
        let serves = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            seen: Arc::default(),
        };
        let counts = serves.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counts.connections.fetch_add(1, Ordering::SeqCst);
                let (counts, answers) = (counts.clone(), answers.clone());
                std::thread::spawn(move || {
                    // A client that goes early is the client's affair.
                    let _ = counts.answer(stream, &*answers);
                });
            }
        });
        serves
    }

    fn answer(&self, mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let request = read(&stream)?;
        self.seen.lock().unwrap().push((Instant::now(), request.clone()));
        answers(&request, &mut stream)
    }

    /// How many have connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.requests().into_iter().map(|(_, text)| text).collect()
    }

    /// When each of them was here, and its text.
    pub(crate) fn requests(&self) -> Vec<(Instant, String)> {
        self.seen.lock().unwrap().clone()
    }
}

/// A request's text, its body included.
fn read(stream: &TcpStream) -> std::io::Result<String> {
    let mut reading = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let begun = text.len();
        if reading.read_line(&mut text)? == 0 {
            return Ok(text);
        }
        let line = text[begun..].trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reading.read_exact(&mut body)?;
    text.push_str(&String::from_utf8_lossy(&body));
    Ok(text)
}

/// A good answer.
pub(crate) fn page(text: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    [head.as_bytes(), text.as_bytes()].concat()
}

/// A redirect.
pub(crate) fn moved(status: u16, to: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Moved\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes()
}

/// The path of a request.
pub(crate) fn path(request: &str) -> &str {
    request.split(' ').nth(1).unwrap_or_default()
}

/// Says nothing until the client goes.
pub(crate) fn silent(stream: &mut impl Read) -> std::io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

/// Sends `piece` over and over, with so much time between, until the client goes.
pub(crate) fn drips(stream: &mut impl Write, piece: &[u8], every: Duration) -> std::io::Result<()> {
    loop {
        stream.write_all(piece)?;
        // What is slow is the attack.
        std::thread::sleep(every);
    }
}
