//! A web server on loopback that answers as a test says and keeps what it was sent, byte by byte; over TLS where that is asked for.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::host::root;

/// A request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its path and query.
    pub path: String,
    /// Its headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

impl Asked {
    /// The values of the headers of this lower-case name.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let all = self.headers.iter().filter(|(n, _)| n == name);
        all.map(|(_, value)| value.as_str()).collect()
    }
}

/// A server, for as long as the test runs.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    scheme: &'static str,
}

impl Site {
    /// Starts; each request gets what `answer` makes of it, and the connection ends with it.
    pub fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serve(("http", "127.0.0.1:0"), answer, |stream| Box::new(stream))
    }

    /// Starts with TLS, for `localhost` and 127.0.0.1. Whom [`authority`] names trusts it.
    pub fn start_tls(answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start_tls_at("127.0.0.1:0", answer)
    }

    /// The same at this address of the machine, which need not be the certificate's.
    pub fn start_tls_at(at: &str, answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let file = |name: &str| root().join("tests/certificates").join(name);
        let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let config = Arc::new(config);
        Self::serve(("https", at), answer, move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        })
    }

    fn serve(
        (scheme, at): (&'static str, &str),
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
        connect: impl Fn(TcpStream) -> Box<dyn Connection> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, both) = (Arc::clone(&asked), Arc::new((answer, connect)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, both) = (Arc::clone(&kept), Arc::clone(&both));
                std::thread::spawn(move || {
                    let mut connection = both.1(stream);
                    // A client that goes early is the client's affair.
                    let Some(request) = read(&mut connection) else { return };
                    kept.lock().unwrap().push(request.clone());
                    let _ = connection.write_all(&both.0(&request));
                    let _ = connection.flush();
                    connection.bye();
                });
            }
        });
        Self { address, asked, scheme }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address there.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// The file that names whom to trust, for `SSL_CERT_FILE`.
pub fn authority() -> std::path::PathBuf {
    root().join("tests/certificates/authority.pem")
}

/// A whole answer with this body.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer("200 OK", &[], body)
}

/// A redirect.
pub fn moved(to: &str) -> Vec<u8> {
    answer("302 Found", &[("location", to)], "")
}

/// An answer with these headers.
pub fn answer(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

trait Connection: Read + Write {
    /// Says that nothing more comes.
    fn bye(&mut self) {}
}

impl Connection for TcpStream {}

impl Connection for StreamOwned<ServerConnection, TcpStream> {
    fn bye(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

/// The next request; none where there is no whole one.
fn read(connection: &mut Box<dyn Connection>) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    loop {
        let from = bytes.len();
        if reader.read_until(b'\n', &mut bytes).ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&bytes[from..]).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_end(&mut bytes).ok()?;
    Some(Asked { path, headers, bytes })
}
