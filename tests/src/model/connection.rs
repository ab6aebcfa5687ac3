//! Playing one turn on one connection, faults included.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::request::Format;
use super::script::{Delivery, Fault, Part, Turn};
use super::{anthropic, http, openai};

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It takes the next request.
    Keep,
    /// It is closed.
    Close,
}

/// What a turn answers.
pub(super) struct Asked<'a> {
    pub(super) format: Format,
    pub(super) body: &'a Value,
    /// The key that the client sent: the provider's 401 repeats it, as some do.
    pub(super) key: &'a str,
}

/// Sends the answer.
pub(super) fn play(stream: &mut TcpStream, turn: &Turn, asked: &Asked<'_>) -> std::io::Result<After> {
    let error = |status| match asked.format {
        Format::OpenAi => openai::error(status, asked.key),
        Format::Anthropic => anthropic::error(status, asked.key),
    };
    if let Some(file) = &turn.hold
        && !http::hold_until(stream, file)?
    {
        return Ok(After::Close);
    }
    match &turn.fault {
        Some(Fault::Status { code, retry_after }) => {
            let headers: Vec<_> = retry_after
                .iter()
                .map(|value| ("retry-after", value.as_str()))
                .collect();
            http::json(stream, *code, &headers, &error(*code))?;
        }
        Some(Fault::TooLong) => {
            let body = if asked.format == Format::OpenAi {
                openai::too_long()
            } else {
                anthropic::too_long()
            };
            http::json(stream, 400, &[], &body)?;
        }
        Some(Fault::StallBeforeHeaders) => {
            http::until_gone(stream);
            return Ok(After::Close);
        }
        Some(Fault::StallAfterHeaders) => {
            http::begin(stream, "text/event-stream")?;
            http::until_gone(stream);
            return Ok(After::Close);
        }
        _ if asked.body["stream"] != true => http::json(stream, 200, &[], &whole(turn, asked))?,
        fault => {
            http::begin(stream, "text/event-stream")?;
            return stream_turn(stream, turn, fault.as_ref(), asked);
        }
    }
    Ok(After::Keep)
}

fn stream_turn(
    stream: &mut TcpStream,
    turn: &Turn,
    fault: Option<&Fault>,
    asked: &Asked<'_>,
) -> std::io::Result<After> {
    let mut events = events(turn, asked);
    let half = events.len() / 2;
    match fault {
        Some(Fault::StallMidStream | Fault::CutShort | Fault::Reset) => events.truncate(half),
        // The end is the finish reason, the usage and the closing marks.
        Some(Fault::NoEnd) => events.truncate(events.len() - 3),
        Some(Fault::Malformed) => {
            let cut: String = events[half].chars().take(events[half].chars().count() / 2).collect();
            events[half] = format!("{cut}\n\n");
        }
        Some(Fault::ErrorEvent) => {
            events.truncate(half);
            events.push(if asked.format == Format::OpenAi {
                openai::error_event()
            } else {
                anthropic::error_event()
            });
        }
        _ => {}
    }
    if let Some(Fault::CutAt { bytes } | Fault::StallAt { bytes }) = fault {
        let mut whole = events.concat();
        whole.truncate(*bytes);
        http::chunk(stream, whole.as_bytes())?;
        if matches!(fault, Some(Fault::StallAt { .. })) {
            http::until_gone(stream);
        }
        return Ok(After::Close);
    }
    if let Some(Fault::Huge { bytes }) = fault {
        let rest = events.split_off(half);
        send(stream, &events, turn.delivery)?;
        flood(stream, &rest[0], *bytes)?;
        events = rest;
    }
    send(stream, &events, turn.delivery)?;
    match fault {
        Some(Fault::StallMidStream) => {
            http::until_gone(stream);
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Some(Fault::CutShort) => {}
        Some(Fault::Reset) => rustix::net::sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?,
        _ => {
            http::end(stream)?;
            return Ok(After::Keep);
        }
    }
    Ok(After::Close)
}

fn send(stream: &mut TcpStream, events: &[String], delivery: Delivery) -> std::io::Result<()> {
    match delivery {
        Delivery::Bytes(size) => events
            .concat()
            .as_bytes()
            .chunks(size.max(1))
            .try_for_each(|bytes| http::chunk(stream, bytes)),
        Delivery::Events | Delivery::Fragments => events
            .iter()
            .try_for_each(|event| http::chunk(stream, event.as_bytes())),
    }
}

/// The same event until so many bytes are sent, or the client goes.
fn flood(stream: &mut TcpStream, event: &str, bytes: u64) -> std::io::Result<()> {
    let block = event.repeat(1 + 65_536 / event.len());
    let mut sent = 0;
    while sent < bytes {
        http::chunk(stream, block.as_bytes())?;
        sent += block.len() as u64;
    }
    Ok(())
}

fn events(turn: &Turn, asked: &Asked<'_>) -> Vec<String> {
    let model = asked.body["model"].as_str().unwrap_or_default();
    match asked.format {
        Format::OpenAi => openai::events(
            turn,
            model,
            asked.body.pointer("/stream_options/include_usage") == Some(&true.into()),
        ),
        Format::Anthropic => anthropic::events(turn, model),
    }
}

fn whole(turn: &Turn, asked: &Asked<'_>) -> Value {
    let model = asked.body["model"].as_str().unwrap_or_default();
    let mut turn = turn.clone();
    if let Some(Fault::Huge { bytes }) = turn.fault {
        turn.parts = vec![Part::Text("x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX)))];
    }
    match asked.format {
        Format::OpenAi => openai::whole(&turn, model),
        Format::Anthropic => anthropic::whole(&turn, model),
    }
}
