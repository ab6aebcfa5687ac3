//! The call that a replay met where its record has another, or none: kept whole, so that a person can be shown what differs.

use serde::Serialize;
use serde_json::Value;

use crate::ids::Digest;
use crate::session::call::Operation;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::lock;
use crate::store::Observation;

/// A call that the record does not have in this place.
#[derive(Debug, Clone, PartialEq)]
pub struct Met {
    /// Interface and function.
    pub call: &'static str,
    /// Its arguments as JSON, as far as they are no bodies of a request.
    pub arguments: Value,
    /// The bodies that make up an operation's request.
    pub request: Vec<(Digest, Vec<u8>)>,
}

impl Met {
    /// A call with its arguments.
    pub(super) fn call<T: Serialize>(call: &'static str, arguments: &T) -> Self {
        Self {
            call,
            arguments: serde_json::to_value(arguments).unwrap_or_default(),
            request: Vec::new(),
        }
    }

    /// A call that starts an operation.
    pub(super) fn operation<C: Operation>(call: &C) -> Self {
        Self {
            call: C::NAME,
            arguments: Value::Null,
            request: call.request().into_owned(),
        }
    }
}

impl Guest {
    /// Where every call of a guest begins: the answer that the record has for it, where it is being replayed. Where it has another, or none, the call is kept for whoever
    /// compares the two.
    pub(super) fn replayed(
        &self,
        name: &str,
        args: Digest,
        met: impl FnOnce() -> Met,
    ) -> Result<Option<Observation>, End> {
        tracing::trace!(session = %self.session.id, call = name, "call");
        self.replay(name, args).inspect_err(|_| {
            if self.is_told_again() && !self.tape().is_through() {
                lock(&self.met).get_or_insert_with(met);
            }
        })
    }

    /// The call that the record does not have, where one was met.
    pub fn met(&self) -> Option<Met> {
        lock(&self.met).clone()
    }

    /// What the record has next.
    pub fn recorded_next(&self) -> Option<Observation> {
        self.tape().unreplayed().cloned()
    }
}
