//! Server-sent events from bytes, in whatever pieces the network hands them over: the same events come out of every
//! split. Lines end in CR, LF or CRLF; a byte-order mark and comments are skipped; ids and retry hints mean nothing here.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The event's type; empty where it names none.
    pub(super) name: String,
    /// Its data lines, joined by `\n`.
    pub(super) data: String,
}

/// A line or an event longer than the cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of the event stream is longer than {cap} bytes")]
pub(super) struct TooLong {
    pub(super) cap: usize,
}

/// The parser's state between two pieces.
#[derive(Debug)]
pub(super) struct Parser {
    cap: usize,
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    after_cr: bool,
    first_line: bool,
}

impl Parser {
    /// A parser that refuses lines, and data of one event, of more than `cap` bytes.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            cap,
            line: Vec::new(),
            name: String::new(),
            data: String::new(),
            has_data: false,
            after_cr: false,
            first_line: true,
        }
    }

    /// Takes the next bytes and appends the events that they complete to `events`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
                return self.extend(bytes);
            };
            self.extend(&bytes[..end])?;
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(events)?;
        }
        Ok(())
    }

    /// The stream is over: an event whose closing blank line is missing counts, as some servers end so.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) -> Result<(), TooLong> {
        if !self.line.is_empty() {
            self.end_line(events)?;
        }
        self.dispatch(events);
        Ok(())
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > self.cap {
            return Err(TooLong { cap: self.cap });
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut bytes = line.as_slice();
        if std::mem::take(&mut self.first_line) {
            bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        }
        if bytes.is_empty() {
            self.dispatch(events);
        } else {
            // Whole lines only are decoded, so that a character cut by the network is whole again.
            self.field(&String::from_utf8_lossy(bytes))?;
        }
        self.line = line;
        self.line.clear();
        Ok(())
    }

    fn field(&mut self, line: &str) -> Result<(), TooLong> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.data.len() + value.len() > self.cap {
                    return Err(TooLong { cap: self.cap });
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.name),
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let name = std::mem::take(&mut self.name);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            events.push(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(pieces: &[&[u8]]) -> Result<Vec<(String, String)>, TooLong> {
        let mut parser = Parser::new(1_000);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut events)?;
        }
        parser.finish(&mut events)?;
        Ok(events.into_iter().map(|e| (e.name, e.data)).collect())
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn every_line_ending_gives_the_same_events() {
        let want = Ok(vec![event("", "a\nb"), event("x", "é"), event("", "[DONE]")]);
        for end in ["\n", "\r", "\r\n"] {
            let text = "\u{feff}: hello|data: a|data:b|id: 7||:|event: x|data: é|||data: [DONE]".replace('|', end);
            assert_eq!(parse(&[text.as_bytes()]), want, "{end:?}");
        }
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(
            parse(&[b"event: ping\n\nretry: 5\n\ndata\n\n"]),
            Ok(vec![event("", "")])
        );
    }

    #[test]
    fn the_cap_is_exact() {
        let mut parser = Parser::new(10);
        let mut events = Vec::new();
        assert_eq!(parser.feed(b"data: 6789\n\n", &mut events), Ok(()));
        assert_eq!(parser.feed(b"data: 67890", &mut events), Err(TooLong { cap: 10 }));
        let mut parser = Parser::new(10);
        assert_eq!(
            parser.feed(b"data:12345\ndata:12345\ndata:1\n", &mut events),
            Err(TooLong { cap: 10 })
        );
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_events(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("data: é€😀"), Just("\n"), Just("\r"), Just("\r\n"), Just("event: x"), Just(": c"),
                    Just("\u{feff}"), Just("data"), Just("{\"a\":1}"), Just("data: x\n\n"),
                ], 0..40),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let text = pieces.concat();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let split: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(parse(&split), parse(&[bytes]));
            prop_assert_eq!(parse(&single), parse(&[bytes]));
        }
    }
}
