//! Which completions of a session make up one conversation.

use std::collections::{HashMap, HashSet};
use std::mem;

use serde::de::DeserializeOwned;

use crate::bindings::llm;
use crate::ids::Digest;
use crate::run::HostError;
use crate::session::codec;
use crate::session::op::OpBody;
use crate::store::{Intent, OpKind, OperationRow, SessionRow, Store};

/// A conversation by its last completion, whose request holds all that was said before.
pub(super) struct Conversation {
    /// That completion.
    pub(super) intent: Intent,
    /// What the model answered.
    pub(super) answer: llm::Message,
    /// Earlier answers that are in the request as something else.
    pub(super) changed: Vec<Changed>,
}

/// An answer that the agent went on from with other words.
pub(super) struct Changed {
    /// What the model answered.
    pub(super) said: llm::Message,
    /// What the agent gave back as its answer.
    pub(super) given_back: llm::Message,
}

/// The conversations of a session, as they began. A completion goes on with the one whose last request and answer its own request begins with; else, as an
/// agent may change an answer, with the latest whose request it begins with and some answer behind it. At most one goes on from each, so that every
/// answer is an end, or is gone on from once; any other that begins so holds the same beginning and is a conversation of its own.
pub(super) fn conversations(store: &Store, session: &SessionRow) -> Result<Vec<Conversation>, HostError> {
    let mut all: Vec<Conversation> = Vec::new();
    let mut beginnings = Beginnings::default();
    // Messages that are no answers, so that each is read once.
    let mut no_answers = HashSet::new();
    for OperationRow { intent, outcome } in store.session_operations(&session.session)? {
        let Some(outcome) = outcome.filter(|_| intent.kind == OpKind::Completion) else {
            continue;
        };
        let Ok(OpBody::Completion(Ok(answer))) = codec::decode(&outcome.body) else {
            continue;
        };
        let answer = llm::Message::Assistant(answer.parts);
        let path = beginnings.path(messages_of(&intent));
        let before = beginnings.before(messages_of(&intent), &path, |digest| {
            if no_answers.contains(digest) {
                return Ok(None);
            }
            let message = body(store, &intent, digest)?;
            let is_answer = matches!(message, llm::Message::Assistant(_));
            if !is_answer {
                no_answers.insert(*digest);
            }
            Ok(Some(message).filter(|_| is_answer))
        })?;
        let digest = Digest::of(&codec::encode(&answer));
        let place = match before {
            Some((place, given_back)) => {
                let conversation = &mut all[place];
                conversation.intent = intent;
                let said = mem::replace(&mut conversation.answer, answer);
                let changed = given_back.map(|given_back| Changed { said, given_back });
                conversation.changed.extend(changed);
                place
            }
            None => {
                all.push(Conversation {
                    intent,
                    answer,
                    changed: Vec::new(),
                });
                all.len() - 1
            }
        };
        beginnings.add(&path, digest, place);
    }
    Ok(all)
}

/// A request is its messages, then the tools, then the options.
pub(super) fn messages_of(intent: &Intent) -> &[Digest] {
    let messages = intent.request.len().saturating_sub(2);
    &intent.request[..messages]
}

/// A part of a request.
pub(super) fn body<T: DeserializeOwned>(store: &Store, intent: &Intent, digest: &Digest) -> Result<T, HostError> {
    let body = store.body(&intent.stream.session.run, digest)?;
    codec::decode(&body).map_err(|e| HostError::Run(e.to_string()))
}

/// How the requests of a session begin, as a tree: each node is some messages, and leads to those with one more. So a request costs what it is long,
/// however many there are.
struct Beginnings {
    /// The first is of no messages.
    nodes: Vec<Node>,
    /// By a node and the message that is added.
    next: HashMap<(usize, Digest), usize>,
    /// The places of the conversations that end with a completion, by its number.
    open: HashMap<usize, usize>,
    /// How many completions there are.
    completions: usize,
}

/// Completions by their numbers, the latest last; none where there never was one.
#[derive(Default)]
struct Node {
    /// Those whose request this is.
    asked: Option<Vec<usize>>,
    /// Those whose request and answer this is.
    answered: Option<Vec<usize>>,
}

impl Default for Beginnings {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            next: HashMap::new(),
            open: HashMap::new(),
            completions: 0,
        }
    }
}

impl Beginnings {
    /// The nodes of these messages, from none of them to all.
    fn path(&mut self, messages: &[Digest]) -> Vec<usize> {
        let mut path = vec![0];
        let mut node = 0;
        for message in messages {
            node = self.step(node, *message);
            path.push(node);
        }
        path
    }

    fn step(&mut self, node: usize, message: Digest) -> usize {
        let new = self.nodes.len();
        let next = *self.next.entry((node, message)).or_insert(new);
        if next == new {
            self.nodes.push(Node::default());
        }
        next
    }

    /// The place of the conversation that a request of these messages goes on with, and the answer that it has in the place of the given one. The
    /// longest request that it begins with decides. `answer` reads a message, if it is an answer.
    fn before(
        &mut self,
        messages: &[Digest],
        path: &[usize],
        mut answer: impl FnMut(&Digest) -> Result<Option<llm::Message>, HostError>,
    ) -> Result<Option<(usize, Option<llm::Message>)>, HostError> {
        for ((message, from), to) in messages.iter().zip(path).zip(&path[1..]).rev() {
            if self.nodes[*from].asked.is_none() {
                continue;
            }
            if let Some(answered) = &mut self.nodes[*to].answered {
                return Ok(take(answered, &mut self.open).map(|place| (place, None)));
            }
            if let Some(given_back) = answer(message)? {
                let asked = self.nodes[*from].asked.as_mut();
                let place = asked.and_then(|asked| take(asked, &mut self.open));
                return Ok(place.map(|place| (place, Some(given_back))));
            }
        }
        Ok(None)
    }

    /// The conversation at `place` ends with a completion of this request and answer.
    fn add(&mut self, path: &[usize], answer: Digest, place: usize) {
        let completion = self.completions;
        self.completions += 1;
        self.open.insert(completion, place);
        let asked = path.last().copied().unwrap_or_default();
        let answered = self.step(asked, answer);
        self.nodes[asked].asked.get_or_insert_default().push(completion);
        self.nodes[answered].answered.get_or_insert_default().push(completion);
    }
}

/// The place of the conversation that ends with the latest of these, which from now on it does not.
fn take(completions: &mut Vec<usize>, open: &mut HashMap<usize, usize>) -> Option<usize> {
    while let Some(completion) = completions.pop() {
        if let Some(place) = open.remove(&completion) {
            return Some(place);
        }
    }
    None
}
