//! `wasi:http` for tools: every request leaves through the host's egress, by the tool's permit.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::egress::{Egress, EgressError, Fault, Heard, Leaving, Part, Permit, Waits};
use crate::error::{Lack, Refusal};
use crate::scrub::Secrets;
use crate::session::audit::{ToldBy, Use, Way};
use crate::session::in_flight::{Flying, InFlight};

/// The header of an answer that says which address it came from, after redirects. The host sets it, and no server can.
const FINAL_URL: &str = "hermes-final-url";

/// The header of an answer whose body the host cut; it names the limit. No server can set it either. The error at the body's end doesn't
/// tell a guest: in wasmtime-wasi-http 48 `http-error-code` finds no code in what reading a body fails with.
const BODY_CUT: &str = "hermes-body-cut";

/// Bytes of one write to a request's body.
const CHUNK: usize = 16 * 1024;

/// Characters of an address in a message.
const SHOWN: usize = 200;

/// What a strategy is told.
const SHUT: &str = "A strategy has no network of its own, whatever is granted: it reaches the web through its tools";

/// What the guest's part of the journal is told of a request.
pub enum Told<'a> {
    /// It leaves.
    Leaves(&'a Use<'a>),
    /// It left and got no answer.
    Failed(&'a Use<'a>),
    /// It must not leave.
    Denied(&'a Refusal),
}

/// Tells it. False of a request that leaves: nothing can be written down any more, and so it must not.
type Tell = Arc<dyn Fn(Told<'_>) -> bool + Send + Sync>;

/// Sends a guest's requests through the egress.
pub struct EgressHooks {
    egress: Arc<Egress>,
    permit: Option<Arc<Permit>>,
    cancel: CancellationToken,
    tell: Tell,
    most: u64,
    /// What is looked for in what people are told, before that is cut.
    secrets: Secrets,
    /// What the agent's calls hold, and how much they may.
    in_flight: (InFlight, u64),
}

impl EgressHooks {
    /// By this permit; where there is none for want of a way out, as for a strategy, every request is denied whatever was granted.
    /// What the bodies take counts in `in_flight`, which may hold so many bytes.
    pub fn new(
        egress: Arc<Egress>,
        permit: Option<Permit>,
        cancel: CancellationToken,
        tell: Tell,
        secrets: Secrets,
        in_flight: (InFlight, u64),
    ) -> Self {
        let most = egress.body_limit();
        Self {
            egress,
            permit: permit.map(Arc::new),
            cancel,
            tell,
            most,
            secrets,
            in_flight,
        }
    }
}

type Trailers = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Trailers), Error>> + Send>;

impl WasiHttpHooks for EgressHooks {
    /// What the host holds of a body that a guest writes; as much once more waits to be read.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    /// One by any other scheme is refused like all that is never sent, so that the audit tells of it.
    fn is_supported_scheme(&mut self, _: &http::uri::Scheme) -> bool {
        true
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        sent: Trailers,
    ) -> Sent {
        let (egress, permit, cancel) = (self.egress.clone(), self.permit.clone(), self.cancel.clone());
        let (tell, most, secrets) = (self.tell.clone(), self.most, self.secrets.clone());
        let (held, most_held) = (self.in_flight.0.nothing(), self.in_flight.1);
        Box::new(async move {
            let held = Mutex::new(held);
            let grows = |bytes: usize| {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                let all = held.bytes().saturating_add(bytes as u64);
                held.resize(all, most_held)
            };
            let Some(permit) = permit else {
                tell(Told::Denied(&shut(&request, &secrets)));
                return Err(Error::HttpRequestDenied);
            };
            // Of the request that left last, until it is answered: where it is redirected, each leaves by itself.
            let last = Mutex::new(Vec::new());
            let fails = |error: EgressError| {
                let last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(refusal) = refusal(&error, &secrets) {
                    tell(Told::Denied(&refusal));
                }
                last.iter().for_each(|used| {
                    tell(Told::Failed(used));
                });
                code(&error)
            };
            let (parts, body) = request.into_parts();
            // Of what must not leave nobody reads the body.
            let request = egress.admit(&permit, parts).map_err(&fails)?;
            // A guest that never ends its request's body is waited for no longer than a server that never ends its answer's.
            let body = tokio::select! {
                biased;
                () = cancel.cancelled() => Err(code(&EgressError::Cancelled)),
                body = timeout(egress.total(), collect(body, most, &grows)) => {
                    body.unwrap_or(Err(Error::ConnectionTimeout))
                }
            }?;
            let hears = |heard: &Heard<'_>| {
                let uses = match heard {
                    Heard::LooksUp(leaving) | Heard::Leaves(leaving) => uses(leaving),
                    Heard::Redirected => Vec::new(),
                    Heard::Came(bytes) => return grows(*bytes),
                };
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                // A request whose host was looked up was told of then.
                let mut new = uses
                    .iter()
                    .filter(|used| last.iter().all(|before| before.way != used.way));
                let may = new.all(|used| tell(Told::Leaves(used)));
                *last = uses;
                may
            };
            let answer = egress.send(&permit, request, body, waits(options), &cancel, &hears);
            let answer = answer.await.map_err(&fails)?;
            let mut held = held.into_inner().unwrap_or_else(PoisonError::into_inner);
            // A secret's placeholder may take more than the secret did.
            if !held.resize(answer.body.len() as u64, most_held) {
                return Err(fails(EgressError::NoRoom));
            }
            let mut response = http::Response::new(readable(answer.body, answer.cut.then_some(most), held));
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            stamp(response.headers_mut(), answer.url.as_str(), answer.cut);
            let done: Trailers = Box::new(async move { Box::into_pin(sent).await });
            Ok((response, done))
        })
    }
}

/// What a request that leaves uses: the rule that lets it, and the secrets that are in it.
fn uses(leaving: &Leaving<'_>) -> Vec<Use<'static>> {
    let used = |way, grant: String, target: &str| Use {
        way,
        grant: grant.into(),
        target: target.to_owned().into(),
        told_by: ToldBy::Audit,
    };
    let mut uses = vec![used(Way::Send, format!("net:{}", leaving.rule), &leaving.place)];
    let put = leaving.credentials.iter().map(|credential| {
        let grant = format!("secret:{}@{}", credential.name, credential.hosts);
        used(Way::Put, grant, &leaving.host)
    });
    uses.extend(put);
    uses
}

/// The denial that an error is, where it is one.
fn refusal(error: &EgressError, secrets: &Secrets) -> Option<Refusal> {
    let lack = match error {
        EgressError::Denied {
            what,
            target,
            grant,
            is,
        } => Lack {
            what: format!("send {}", secrets.line(target, SHOWN)),
            target: target.clone(),
            right: grant.clone(),
            why: match grant {
                Some(_) => is.clone(),
                None => Some(what.clone()),
            },
        },
        EgressError::Secret { what, name, host } => Lack {
            what: format!("hand on {name} to {}", secrets.line(host, SHOWN)),
            target: host.clone(),
            right: None,
            why: Some(what.clone()),
        },
        // No grant makes it a request: it tells what the plugin, or a server that redirected it, had in mind.
        EgressError::Malformed { target, fault } => {
            let target = secrets.line(target, SHOWN);
            Lack {
                what: format!("send {target}"),
                target,
                right: None,
                why: Some(fault.to_string()),
            }
        }
        _ => return None,
    };
    Some(Refusal::denied(error.to_string()).about(lack))
}

/// What a strategy is denied.
fn shut(request: &http::Request<WasiBody>, secrets: &Secrets) -> Refusal {
    let uri = request.uri();
    let (scheme, host) = (uri.scheme_str().unwrap_or("https"), uri.host().unwrap_or_default());
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    let target = format!("{} {scheme}://{host}{port}{}", request.method(), uri.path());
    Refusal::denied(SHUT).about(Lack {
        what: format!("send {}", secrets.line(&target, SHOWN)),
        target,
        right: None,
        why: Some(SHUT.to_owned()),
    })
}

/// Says where an answer came from and whether its body is cut, in place of what its server says about that.
fn stamp(headers: &mut http::HeaderMap, url: &str, cut: bool) {
    headers.remove(FINAL_URL);
    headers.remove(BODY_CUT);
    if let Ok(url) = http::HeaderValue::from_str(url) {
        headers.insert(FINAL_URL, url);
    }
    if cut {
        headers.insert(BODY_CUT, http::HeaderValue::from_static("limits.http.body"));
    }
}

/// An answer's body for a guest. One that was cut, after so many bytes, ends with an error, so that nobody takes the part for the whole. It
/// holds what it takes until it is dropped.
fn readable(bytes: Bytes, cut: Option<u64>, held: Flying) -> WasiBody {
    let end = cut.map(|bytes| Err(Error::HttpResponseBodySize(Some(bytes))));
    Full::new(bytes)
        .map_err(move |never| -> Error {
            let _ = &held;
            match never {}
        })
        .with_trailers(std::future::ready(end))
        .boxed_unsync()
}

/// A guest may ask for less time than the host gives; more than that the egress never waits.
fn waits(options: Option<RequestOptions>) -> Waits {
    let options = options.unwrap_or_default();
    Waits {
        connect: options.connect_timeout,
        first_byte: options.first_byte_timeout,
        between_bytes: options.between_bytes_timeout,
    }
}

/// The whole body of a request, of `most` bytes at most, each of which is held.
async fn collect(body: WasiBody, most: u64, grows: &(dyn Fn(usize) -> bool + Sync)) -> Result<Bytes, Error> {
    let (mut body, mut whole) = (std::pin::pin!(body), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if (whole.len() + data.len()) as u64 > most {
            return Err(Error::HttpRequestBodySize(Some(most)));
        }
        if !grows(data.len()) {
            return Err(code(&EgressError::NoRoom));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// An egress error in the words of wasi:http.
fn code(error: &EgressError) -> Error {
    match error {
        EgressError::Denied { .. } | EgressError::Secret { .. } => Error::HttpRequestDenied,
        EgressError::Malformed { fault, .. } => match fault {
            Fault::Scheme => Error::HttpProtocolError,
            Fault::Address | Fault::Redirect | Fault::Method => Error::HttpRequestUriInvalid,
            Fault::Body => Error::HttpRequestBodySize(Some(0)),
        },
        EgressError::TooLarge { part, .. } => match part {
            Part::RequestBody => Error::HttpRequestBodySize(None),
            Part::RequestHeaders | Part::RequestHeaderCount => Error::HttpRequestHeaderSectionSize(None),
            Part::AnswerHeaders | Part::AnswerHeaderCount | Part::AnswerHead => {
                Error::HttpResponseHeaderSectionSize(None)
            }
        },
        EgressError::Redirects(_) => Error::LoopDetected,
        EgressError::TimedOut(_) => Error::HttpResponseTimeout,
        EgressError::OwnTimeOut(_) => Error::ConnectionReadTimeout,
        EgressError::NoAddress(_) => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        EgressError::Unreachable(_) => Error::DestinationUnavailable,
        EgressError::Protocol(_) => Error::HttpProtocolError,
        EgressError::Cancelled => Error::ConnectionTerminated,
        EgressError::NoRoom | EgressError::NoDescriptor(_) => Error::InternalError(Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::limits::Limits;

    fn hooks(rules: &[&str], notes: &Arc<Mutex<Vec<String>>>) -> EgressHooks {
        let rules = rules.iter().map(|rule| rule.parse().expect("a rule")).collect();
        let limits = Limits {
            http_body: 1024,
            ..Limits::default()
        };
        let notes = notes.clone();
        let tell = Arc::new(move |told: Told<'_>| {
            let note = match told {
                Told::Leaves(used) => format!("{} leaves by {}", used.target, used.grant),
                Told::Failed(used) => format!("{} failed", used.target),
                Told::Denied(refusal) => refusal.message.clone(),
            };
            notes.lock().expect("unpoisoned").push(note);
            true
        });
        EgressHooks::new(
            Arc::new(Egress::new(&limits)),
            Some(Permit::of(rules)),
            CancellationToken::new(),
            tell,
            Secrets::none(),
            (InFlight::default(), 1 << 20),
        )
    }

    async fn sent(hooks: &mut EgressHooks, url: &str, body: usize) -> Result<http::Response<WasiBody>, Error> {
        let body = Full::new(Bytes::from(vec![0; body]))
            .map_err(|never| match never {})
            .boxed_unsync();
        let request = http::Request::post(url).body(body).expect("a request");
        let future = hooks.send_request(request, None, Box::new(std::future::ready(Ok(()))));
        Box::into_pin(future).await.map(|(response, _)| response)
    }

    #[tokio::test]
    async fn a_denial_is_noted_with_its_flag() {
        let notes = Arc::default();
        let mut hooks = hooks(&["GET@x.example"], &notes);
        let error = sent(&mut hooks, "https://x.example/", 0).await.expect_err("denied");
        assert!(matches!(error, Error::HttpRequestDenied), "{error:?}");
        let notes = notes.lock().expect("unpoisoned");
        assert!(
            notes.len() == 1 && notes[0].contains("--allow net:POST@x.example"),
            "{notes:?}"
        );
    }

    #[tokio::test]
    async fn a_request_is_noted_when_it_leaves_and_when_it_fails() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let (notes, rule) = (Arc::default(), format!("POST@http://{address}"));
        let mut hooks = hooks(&[&rule], &notes);
        let error = sent(&mut hooks, &format!("http://{address}/a?b=c"), 0).await;
        error.expect_err("nobody listens");
        let place = format!("POST http://{address}/a");
        let notes = notes.lock().expect("unpoisoned");
        assert_eq!(
            *notes,
            [format!("{place} leaves by net:{rule}"), format!("{place} failed")]
        );
    }

    #[tokio::test]
    async fn what_is_redirected_without_end_was_answered_each_time() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let around = async move {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a connection");
                let mut request = vec![0; 4096];
                assert!(socket.read(&mut request).await.expect("a request") > 0);
                let moved = b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n";
                socket.write_all(moved).await.expect("it is there");
            }
        };
        tokio::spawn(around);
        let notes = Arc::default();
        let mut hooks = hooks(&[&format!("http://{address}")], &notes);
        let error = sent(&mut hooks, &format!("http://{address}/a"), 0).await;
        error.expect_err("it leads nowhere");
        let notes = notes.lock().expect("unpoisoned");
        let redirects = Limits::default().http_redirects;
        assert_eq!(notes.len() as u64, 1 + redirects);
        assert!(notes.iter().all(|note| note.contains(" leaves by ")), "{notes:?}");
    }

    #[test]
    fn only_the_host_says_where_an_answer_came_from() {
        let mut headers = http::HeaderMap::new();
        for forged in ["https://trusted.example/", "https://other.example/"] {
            headers.append(FINAL_URL, http::HeaderValue::from_static(forged));
        }
        stamp(&mut headers, "https://x.example/final?q", false);
        let found: Vec<_> = headers.get_all(FINAL_URL).iter().collect();
        assert_eq!(found, ["https://x.example/final?q"]);
    }

    #[test]
    fn only_the_host_says_that_a_body_is_cut() {
        for (cut, said) in [(false, vec![]), (true, vec!["limits.http.body"])] {
            let mut headers = http::HeaderMap::new();
            headers.append(BODY_CUT, http::HeaderValue::from_static("forged"));
            stamp(&mut headers, "https://x.example/", cut);
            let found: Vec<_> = headers.get_all(BODY_CUT).iter().collect();
            assert_eq!(found, said);
        }
    }

    #[tokio::test]
    async fn a_body_that_was_cut_ends_with_an_error() {
        let whole = readable(Bytes::from_static(b"whole"), None, InFlight::default().nothing())
            .collect()
            .await
            .expect("an end");
        assert_eq!(whole.to_bytes(), "whole");
        let mut part = readable(Bytes::from_static(b"part"), Some(4), InFlight::default().nothing());
        let frame = part.frame().await.expect("a frame").expect("bytes");
        assert_eq!(frame.into_data().expect("bytes"), "part");
        let error = part.frame().await.expect("no end").expect_err("cut");
        assert!(matches!(error, Error::HttpResponseBodySize(Some(4))), "{error:?}");
    }

    #[tokio::test]
    async fn a_body_over_the_cap_is_the_requests_fault() {
        let notes = Arc::default();
        let mut hooks = hooks(&["x.example"], &notes);
        let error = sent(&mut hooks, "https://x.example/", 1025)
            .await
            .expect_err("too large");
        assert!(matches!(error, Error::HttpRequestBodySize(Some(1024))), "{error:?}");
        assert!(notes.lock().expect("unpoisoned").is_empty());
    }
}
