//! The shapes of keys that are known without configuration: what each begins with, and what must follow.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Input, MatchKind};

use super::label::Kind;
use super::run::{Class, Runs};
use super::{header, pem};

/// The shortest header of a JWT, in bytes: `{"alg":""}`, encoded.
const JWT_HEADER_MIN: usize = 14;
/// The longest header of a JWT, in bytes.
const JWT_HEADER_MAX: usize = 1024;
/// How far past its beginning a match must be known, in bytes.
pub(super) const LOOK: usize = JWT_HEADER_MAX + 16;
/// How much of a key that begins with `sk-` decides whether it is one, in bytes.
const SK_LOOK: usize = 64;
const _: () = assert!(header::LOOK <= LOOK && pem::LOOK <= LOOK && SK_LOOK < LOOK);

/// A stretch that is redacted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: Kind,
    /// Where what it is known by begins.
    pub(super) anchor: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) tail: Tail,
    /// It counts only where a text begins, as a letter stands before it: `disk-…` is no key.
    pub(super) glued: bool,
}

/// What is dropped after a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    Nothing,
    Run(Class),
    Block,
}

/// What must follow the beginning of a shape.
#[derive(Clone, Copy)]
enum Test {
    /// At least so many characters that are accepted.
    Run(fn(&u8) -> bool, usize),
    Sk,
    Jwt,
    Pem,
    Authorization,
    Url,
}

fn upper(byte: &u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn alnum(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: &u8) -> bool {
    Class::Word.has(*byte)
}

const SHAPES: [(&str, Kind, Test); 27] = [
    ("sk-", Kind::OpenAi, Test::Sk),
    ("ghp_", Kind::GitHub, Test::Run(word, 20)),
    ("gho_", Kind::GitHub, Test::Run(word, 20)),
    ("ghu_", Kind::GitHub, Test::Run(word, 20)),
    ("ghs_", Kind::GitHub, Test::Run(word, 20)),
    ("ghr_", Kind::GitHub, Test::Run(word, 20)),
    ("github_pat_", Kind::GitHub, Test::Run(word, 20)),
    ("AKIA", Kind::Aws, Test::Run(upper, 16)),
    ("ASIA", Kind::Aws, Test::Run(upper, 16)),
    ("AIza", Kind::Google, Test::Run(word, 30)),
    ("xoxa-", Kind::Slack, Test::Run(word, 10)),
    ("xoxb-", Kind::Slack, Test::Run(word, 10)),
    ("xoxp-", Kind::Slack, Test::Run(word, 10)),
    ("xoxr-", Kind::Slack, Test::Run(word, 10)),
    ("xoxs-", Kind::Slack, Test::Run(word, 10)),
    ("sk_live_", Kind::Stripe, Test::Run(alnum, 10)),
    ("rk_live_", Kind::Stripe, Test::Run(alnum, 10)),
    ("npm_", Kind::Npm, Test::Run(alnum, 30)),
    ("pypi-AgE", Kind::PyPi, Test::Run(word, 16)),
    ("hf_", Kind::HuggingFace, Test::Run(alnum, 30)),
    ("glpat-", Kind::GitLab, Test::Run(word, 16)),
    ("eyJ", Kind::Jwt, Test::Jwt),
    (pem::BEGIN, Kind::PrivateKey, Test::Pem),
    (header::AUTHORIZATION[0], Kind::Authorization, Test::Authorization),
    (header::AUTHORIZATION[1], Kind::Authorization, Test::Authorization),
    (header::URL, Kind::Credentials, Test::Url),
    // The JSON form of a URL, which escapes its slashes.
    (":\\/\\/", Kind::Credentials, Test::Url),
];

static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(SHAPES.map(|(literal, ..)| literal))
        .expect("the table is small")
});

/// All shapes in `range` of `text`, which is followed by the text's end or a placeholder. `runs` are those of `text`.
pub(super) fn find(text: &str, range: Range<usize>, runs: &mut Runs, mut found: impl FnMut(Found, &mut Runs)) {
    let text = &text[..range.end];
    let mut from = range.start;
    while let Some(hit) = SEARCH.find(Input::new(text).range(from..)) {
        from = hit.start() + 1;
        let (literal, kind, test) = SHAPES[hit.pattern().as_usize()];
        let place = Place {
            text,
            first: range.start,
            start: hit.start(),
            after: hit.start() + literal.len(),
        };
        if let Some(one) = place.check(kind, test, runs) {
            found(one, runs);
        }
    }
}

/// Where a literal stands.
struct Place<'a> {
    text: &'a str,
    /// Nothing that counts comes before this.
    first: usize,
    start: usize,
    after: usize,
}

impl Place<'_> {
    fn check(&self, kind: Kind, test: Test, runs: &mut Runs) -> Option<Found> {
        let rest = &self.text.as_bytes()[self.after..];
        let token = |end| self.found(kind, self.start, end, Tail::Run(Class::Token));
        match test {
            Test::Run(accepts, min) => {
                let enough = rest.iter().take(min).take_while(|b| accepts(b)).count() == min;
                enough.then(|| token(self.after + min))
            }
            Test::Sk => self.sk(rest),
            Test::Jwt => self.jwt(runs).map(token),
            Test::Pem => {
                let end = self.start + pem::begin(&self.text[self.start..])?;
                Some(self.found(kind, self.start, end, Tail::Block))
            }
            Test::Authorization => {
                let value = header::authorization(rest)?;
                let (start, end) = (self.after + value.start, self.after + value.end);
                Some(self.found(kind, start, end, Tail::Run(Class::Value)))
            }
            Test::Url => {
                let user = header::credentials(rest)?;
                Some(self.found(kind, self.after + user.start, self.after + user.end, Tail::Nothing))
            }
        }
    }

    fn found(&self, kind: Kind, start: usize, end: usize, tail: Tail) -> Found {
        Found {
            kind,
            anchor: self.start,
            start,
            end,
            tail,
            glued: false,
        }
    }

    /// `sk-` is also how words end and slugs begin: a key has a long stretch without a hyphen that holds a digit, or it
    /// says whose it is.
    fn sk(&self, rest: &[u8]) -> Option<Found> {
        let rest = &rest[..rest.len().min(SK_LOOK)];
        let run = &rest[..Class::Word.end(rest, 0)];
        let vendor = [&b"ant-"[..], b"proj-", b"svcacct-", b"or-v1-"]
            .iter()
            .any(|v| run.starts_with(v));
        let dense = |part: &[u8]| part.len() >= 16 && part.iter().any(u8::is_ascii_digit);
        let key = run.len() >= 20 && (vendor || run.split(|b| !alnum(b)).any(dense));
        let kind = if run.starts_with(b"ant-") {
            Kind::Anthropic
        } else {
            Kind::OpenAi
        };
        key.then(|| Found {
            glued: self.glued(),
            ..self.found(kind, self.start, self.after + 20, Tail::Run(Class::Token))
        })
    }

    /// The end of `eyJ….eyJ`: two parts of base64url that begin as JSON objects do.
    fn jwt(&self, runs: &mut Runs) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let end = runs.end(Class::Word, bytes, self.start);
        let payload = bytes[end..].starts_with(b".eyJ");
        let header = (JWT_HEADER_MIN..=JWT_HEADER_MAX).contains(&(end - self.start));
        (header && payload).then_some(end + 4)
    }

    /// Whether a letter, a digit or `_` stands before it that isn't the end of an escape like `\n`, `%3D` or `\u003d`.
    fn glued(&self) -> bool {
        let before = &self.text.as_bytes()[self.first..self.start];
        let is_word = before.last().is_some_and(|b| alnum(b) || *b == b'_');
        let ends_hex = |lead: &[u8], digits: usize| {
            let at = before.len().checked_sub(lead.len() + digits);
            at.is_some_and(|at| {
                before[at..].starts_with(lead) && before[at + lead.len()..].iter().all(u8::is_ascii_hexdigit)
            })
        };
        let escape = [&b"\\n"[..], b"\\r", b"\\t"]
            .iter()
            .any(|escape| before.ends_with(escape));
        is_word && !escape && !ends_hex(b"%", 2) && !ends_hex(b"\\u", 4)
    }
}
