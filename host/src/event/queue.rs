//! The way from a run to whoever follows it. Each reader has a queue of its own: a slow one falls behind and holds nobody up. What it may be
//! behind is bounded: text as it comes goes first, and what was left out is counted and told in its place.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use super::emitted::{Emitting, Piece, Source};
use super::{EventKind, RunEvent, now_ms};
use crate::ids::{SessionId, StreamId};
use crate::limits::Limits;
use crate::scrub::Secrets;

/// Events that a reader may be behind before it gets no more of what it can do without.
const EPHEMERAL: usize = 16 * 1024;
/// Bytes of an event besides its longest text.
const FRAME: usize = 512;

/// Where events go. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(Arc<Readers>);

/// All readers, until the last who may tell them something is gone.
#[derive(Debug)]
struct Readers {
    cap: u64,
    secrets: Secrets,
    /// The numbers of the last pieces of texts that go on. What is numbered under this lock is told under it, in that order.
    numbers: Mutex<HashMap<SessionId, HashMap<Source, u32>>>,
    queues: Mutex<Vec<Weak<Queue>>>,
}

/// A reader's end: the events since it subscribed. One that falls behind by more than `limits.events` misses some, and gets a notice where
/// they were that says how many.
#[derive(Debug)]
pub struct EventReceiver {
    queue: Arc<Queue>,
    emitting: Emitting,
    /// Read, and not given yet.
    next: VecDeque<RunEvent>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

/// What a reader has not read.
#[derive(Debug, Default)]
struct Waiting {
    told: VecDeque<Told>,
    bytes: u64,
    missed: u64,
    over: bool,
}

/// What readers are told.
#[derive(Debug, Clone)]
enum Told {
    Event(RunEvent),
    /// What comes of it is an event.
    Text {
        at_ms: u64,
        source: Source,
        /// Which piece of this text it is, from 0: a reader sees where one was left out.
        number: u32,
        piece: Piece,
    },
}

impl Events {
    /// Nobody follows it yet. Nobody is told these secrets by what agents emit.
    pub fn new(limits: &Limits, secrets: &Secrets) -> Self {
        Self(Arc::new(Readers {
            cap: limits.events,
            secrets: secrets.clone(),
            numbers: Mutex::default(),
            queues: Mutex::default(),
        }))
    }

    /// Tells all readers. Nobody listening is fine.
    pub fn send(&self, session: &SessionId, kind: EventKind) {
        let event = RunEvent {
            at_ms: now_ms(),
            session: session.clone(),
            kind,
        };
        tracing::debug!(session = %event.session, event = ?event.kind, "event");
        if matches!(event.kind, EventKind::SessionEnded { .. }) {
            self.0.numbers().remove(&event.session);
        }
        self.0.tell(&Told::Event(event));
    }

    /// Tells all readers what an instance emits, as it gave it: each is told of it without secrets, when he reads.
    pub fn emit(&self, stream: &StreamId, piece: Piece) {
        self.text(stream, None, piece);
    }

    /// The same of what comes of its completion `op`.
    pub fn completion(&self, stream: &StreamId, op: &str, piece: Piece) {
        self.text(stream, Some(op.to_owned()), piece);
    }

    fn text(&self, stream: &StreamId, op: Option<String>, piece: Piece) {
        let what = if op.is_some() { "CompletionText" } else { "Emit" };
        tracing::debug!(session = %stream.session, event = %format_args!("{what} of {} bytes", piece.len()), "event");
        let stream = stream.clone();
        let source = Source { stream, op };
        let mut numbers = self.0.numbers();
        let of_session = numbers.entry(source.stream.session.clone()).or_default();
        let number = of_session.get(&source).map_or(0, |last| last.saturating_add(1));
        match piece {
            Piece::End => of_session.remove(&source),
            _ => of_session.insert(source.clone(), number),
        };
        self.0.tell(&Told::Text {
            at_ms: now_ms(),
            source,
            number,
            piece,
        });
    }

    /// A new reader.
    pub fn subscribe(&self) -> EventReceiver {
        let queue = Arc::new(Queue::default());
        self.0.queues().push(Arc::downgrade(&queue));
        let emitting = Emitting::new(self.0.secrets.clone());
        EventReceiver {
            queue,
            emitting,
            next: VecDeque::new(),
        }
    }
}

impl Readers {
    fn tell(&self, told: &Told) {
        self.queues().retain(|queue| {
            let Some(queue) = queue.upgrade() else { return false };
            queue.waiting().take_in(told, self.cap);
            queue.more.notify_one();
            true
        });
    }

    fn numbers(&self) -> MutexGuard<'_, HashMap<SessionId, HashMap<Source, u32>>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queues(&self) -> MutexGuard<'_, Vec<Weak<Queue>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for queue in self.queues().iter().filter_map(Weak::upgrade) {
            queue.waiting().over = true;
            queue.more.notify_one();
        }
    }
}

impl EventReceiver {
    /// The next event, waited for; none when the run is over and all are read.
    pub async fn recv(&mut self) -> Option<RunEvent> {
        loop {
            // Before the last one is read: nothing comes behind that.
            let is_over = self.queue.waiting().over;
            let event = self.try_recv();
            if event.is_some() || is_over {
                return event;
            }
            self.queue.more.notified().await;
        }
    }

    /// The next event that is there already.
    pub fn try_recv(&mut self) -> Option<RunEvent> {
        while self.next.is_empty() {
            let told = self.queue.waiting().next()?;
            self.read(told);
        }
        self.next.pop_front()
    }

    fn read(&mut self, told: Told) {
        match told {
            Told::Event(event) => {
                let short = self.emitting.short(&event.session).into_iter();
                self.next.extend(short.map(|kind| RunEvent {
                    kind,
                    session: event.session.clone(),
                    ..event
                }));
                if matches!(event.kind, EventKind::SessionEnded { .. }) {
                    self.emitting.forget(&event.session);
                }
                self.next.push_back(event);
            }
            Told::Text {
                at_ms,
                source,
                number,
                piece,
            } => {
                let text = self.emitting.told(&source, number, piece);
                self.next.extend(text.map(|text| RunEvent {
                    at_ms,
                    session: source.stream.session.clone(),
                    kind: source.event(text),
                }));
            }
        }
    }
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take_in(&mut self, told: &Told, cap: u64) {
        let bytes = told.weight();
        let crowded = told.is_ephemeral() && self.told.len() >= EPHEMERAL;
        let full = self.bytes.saturating_add(bytes) > cap;
        if (crowded || full) && !told.is_last() {
            self.missed += 1;
            return;
        }
        self.tell_missed(told);
        self.keep(told.clone());
    }

    fn keep(&mut self, told: Told) {
        self.bytes += told.weight();
        self.told.push_back(told);
    }

    /// What was left out is told before what comes after it.
    fn tell_missed(&mut self, next: &Told) {
        if self.missed > 0 {
            let (at_ms, session) = match next {
                Told::Event(event) => (event.at_ms, &event.session),
                Told::Text { at_ms, source, .. } => (*at_ms, &source.stream.session),
            };
            let run = &session.run;
            let message = format!(
                "{} events were missed here, since they were not read in time (limits.events); `show {run}` has the whole run",
                std::mem::take(&mut self.missed)
            );
            let notice = RunEvent {
                at_ms,
                session: run.root(),
                kind: EventKind::Notice { message },
            };
            self.keep(Told::Event(notice));
        }
    }

    fn next(&mut self) -> Option<Told> {
        let told = self.told.pop_front()?;
        self.bytes -= told.weight();
        Some(told)
    }
}

impl Told {
    fn is_ephemeral(&self) -> bool {
        match self {
            Self::Event(event) => event.kind.is_ephemeral(),
            Self::Text { source, .. } => source.op.is_some(),
        }
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::Event(event) if event.kind.is_last())
    }

    /// What it takes in memory.
    fn weight(&self) -> u64 {
        match self {
            Self::Event(event) => weight(event),
            Self::Text { piece, .. } => (FRAME + piece.len()) as u64,
        }
    }
}

/// What an event takes in memory, by the texts that can be long.
fn weight(event: &RunEvent) -> u64 {
    let text = match &event.kind {
        EventKind::CompletionText { text, .. } | EventKind::Emit { text } => text,
        EventKind::RunStarted(of) | EventKind::Resumed { of, .. } => &of.task,
        EventKind::ToolStarted { arguments, .. } => arguments,
        EventKind::Wrote { key, .. } => key,
        EventKind::SessionRestarts { cause: text, .. }
        | EventKind::CompletionRestarted { reason: text, .. }
        | EventKind::Progress { message: text, .. }
        | EventKind::Log { message: text, .. }
        | EventKind::Denied { message: text, .. }
        | EventKind::LimitHit { message: text, .. }
        | EventKind::Notice { message: text } => text,
        EventKind::CompletionEnded { error, .. } | EventKind::ToolEnded { error, .. } => {
            return (FRAME + error.as_ref().map_or(0, |e| e.message.len())) as u64;
        }
        EventKind::SessionEnded { error: Some(text), .. } => text,
        _ => return FRAME as u64,
    };
    (FRAME + text.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{RunId, Scope};

    fn events(cap: u64) -> (Events, SessionId) {
        let limits = Limits {
            events: cap,
            ..Limits::default()
        };
        (Events::new(&limits, &Secrets::none()), RunId::random().root())
    }

    fn log(message: &str) -> EventKind {
        EventKind::Log {
            level: "info".to_owned(),
            plugin: "p".to_owned(),
            message: message.to_owned(),
        }
    }

    fn text(text: &str) -> EventKind {
        EventKind::CompletionText {
            op: "1".to_owned(),
            text: text.to_owned(),
        }
    }

    fn all(reader: &mut EventReceiver) -> Vec<EventKind> {
        std::iter::from_fn(|| reader.try_recv())
            .map(|event| event.kind)
            .collect()
    }

    #[test]
    fn a_reader_may_be_behind_by_so_many_bytes_and_no_more() {
        let (events, session) = events(3 * (FRAME as u64 + 4));
        let (mut slow, mut quick) = (events.subscribe(), events.subscribe());
        for n in 0..4 {
            events.send(&session, log(&format!("no {n}")));
            assert_eq!(all(&mut quick), [log(&format!("no {n}"))]);
        }
        // Three fit, the fourth is missed; the next one that fits says so.
        assert_eq!(slow.try_recv().map(|e| e.kind), Some(log("no 0")));
        events.send(&session, log("no 4"));
        let [one, two, EventKind::Notice { message }, four] = &all(&mut slow)[..] else {
            panic!("three and a notice");
        };
        assert_eq!([one, two, four], [&log("no 1"), &log("no 2"), &log("no 4")]);
        assert!(message.starts_with("1 events were missed here"), "{message}");
    }

    #[test]
    fn behind_a_piece_that_was_left_out_as_much_is_not_told_as_a_secret_may_take_up() {
        const VALUE: &str = "Kq7zT0pW4nXv9LsB2mYc6RdG8hJf3AeU";
        const CAP: usize = 40 * FRAME;
        let secrets = Secrets::new([("x".to_owned(), VALUE.to_owned())]);
        let limits = Limits {
            events: CAP as u64,
            ..Limits::default()
        };
        let (first, rest) = VALUE.split_at(16);
        let (too_long, enough) = ("\u{200b}".repeat(CAP), "-".repeat(secrets.longest()));
        // The beginning of the secret is in the piece that is left out, or before it.
        for missed in [
            [first, &too_long].concat(),
            [&too_long, first].concat(),
            first[..9].to_owned() + &too_long,
        ] {
            let events = Events::new(&limits, &secrets);
            let mut reader = events.subscribe();
            let stream = StreamId {
                session: RunId::random().root(),
                attempt: 1,
                scope: Scope::ROOT,
            };
            let before = if missed.contains(first) { "" } else { &first[9..] };
            let (mut text, mut notices) = (String::new(), 0);
            for piece in [
                &format!("begun {before}"),
                &missed,
                &format!("{rest}>"),
                &enough,
                " goes on",
            ] {
                events.emit(&stream, Piece::Next(piece.to_owned()));
                let is_read = *piece != missed;
                for kind in is_read.then(|| all(&mut reader)).into_iter().flatten() {
                    match kind {
                        EventKind::Emit { text: more } => text.push_str(&more),
                        EventKind::Notice { message } => {
                            assert!(message.starts_with("1 events were missed here"), "{message}");
                            notices += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            let behind = "-".repeat(rest.len() + 1) + " goes on";
            assert_eq!((text, notices), (format!("begun {before}{behind}"), 1));
            assert_eq!(reader.queue.waiting().bytes, 0);
        }
    }

    #[test]
    fn a_text_whose_beginning_was_missed_is_told_from_where_no_secret_goes_on() {
        let secrets = Secrets::new([("x".to_owned(), "Kq7zT0pW4nXv9LsB".to_owned())]);
        let events = Events::new(&Limits::default(), &secrets);
        let session = RunId::random().root();
        let stream = StreamId {
            session: session.clone(),
            attempt: 1,
            scope: Scope::ROOT,
        };
        events.completion(&stream, "1", Piece::Next("Kq7zT0pW".to_owned()));
        let mut reader = events.subscribe();
        events.completion(&stream, "1", Piece::Next("4nXv9LsB".to_owned()));
        events.completion(&stream, "2", Piece::Next("4nXv9LsB".to_owned()));
        let told = EventKind::CompletionText {
            op: "2".to_owned(),
            text: "4nXv9LsB".to_owned(),
        };
        assert_eq!(all(&mut reader), [told]);
        // Nothing is kept of texts that are over, or whose session is.
        events.completion(&stream, "2", Piece::End);
        assert_eq!(events.0.numbers()[&session].len(), 1);
        let ended = EventKind::SessionEnded {
            exit: "returned".to_owned(),
            outcome: None,
            error: None,
            spent: crate::amounts::Amounts::ZERO,
        };
        events.send(&session, ended);
        assert!(events.0.numbers().is_empty());
    }

    #[test]
    fn the_end_is_never_left_out() {
        let (events, session) = events(FRAME as u64);
        let mut reader = events.subscribe();
        for kind in [log("too long"), log("another"), EventKind::RunEnded { code: 0 }] {
            events.send(&session, kind);
        }
        let [EventKind::Notice { message }, EventKind::RunEnded { code: 0 }] = &all(&mut reader)[..] else {
            panic!("a notice and the end");
        };
        assert!(message.starts_with("2 events were missed here"), "{message}");
    }

    #[test]
    fn text_as_it_comes_is_left_out_first() {
        let (events, session) = events(u64::MAX);
        let mut reader = events.subscribe();
        for _ in 0..EPHEMERAL {
            events.send(&session, text("x"));
        }
        events.send(&session, text("lost"));
        events.send(&session, log("kept"));
        let told = all(&mut reader);
        assert_eq!(told.len(), EPHEMERAL + 2);
        assert_eq!(told.last(), Some(&log("kept")));
    }

    #[tokio::test]
    async fn all_is_read_before_the_end_is() {
        let (events, session) = events(1 << 20);
        let mut reader = events.subscribe();
        events.send(&session, log("last"));
        drop(events);
        assert_eq!(reader.recv().await.map(|e| e.kind), Some(log("last")));
        assert_eq!(reader.recv().await, None);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (events, session) = events(1 << 20);
        let mut reader = events.subscribe();
        let waits = tokio::spawn(async move { (reader.recv().await, reader.recv().await) });
        tokio::task::yield_now().await;
        events.send(&session, log("one"));
        drop(events);
        let (one, end) = waits.await.expect("no panic");
        assert_eq!((one.map(|e| e.kind), end), (Some(log("one")), None));
    }

    #[test]
    fn a_reader_that_is_gone_is_forgotten() {
        let (events, session) = events(1 << 20);
        drop(events.subscribe());
        events.send(&session, log("nobody"));
        assert!(events.0.queues().is_empty());
    }
}
