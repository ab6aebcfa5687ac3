//! Which answers of a model did nothing but run code: their iteration is given back. The host decides it from the ids that it issued,
//! so that a guest can neither ask for it nor use an id twice.

use std::collections::{BTreeMap, BTreeSet};

use crate::bindings::{llm, types};

/// Answers that are remembered; calls of older ones earn nothing.
const REMEMBERED: usize = 64;

/// The turns of one attempt.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Answers whose calls are not all through, by their operation.
    open: BTreeMap<u32, Turn>,
    /// Tool calls under way that belong to one: answer and position.
    running: BTreeMap<u32, (u32, usize)>,
    /// Answers whose iteration was given back: never again, also where an instance that the host lost is built once more.
    given: BTreeSet<u32>,
    /// Tool calls in which a model was asked, also where an instance that is built once more has not come to them yet.
    voided: BTreeSet<u32>,
}

#[derive(Debug)]
struct Turn {
    calls: Vec<Issued>,
}

#[derive(Debug)]
struct Issued {
    call: types::ToolCall,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The guest has not made the call yet.
    Waiting,
    Running,
    /// It ran, and the guest has its result.
    Ran,
}

impl Turns {
    /// The guest is given the answer of completion `op`. It can earn its iteration back where each call in it runs code.
    pub(super) fn answered(&mut self, op: u32, answer: &llm::Completion, is_code: impl Fn(&str) -> bool) {
        let calls = answer.parts.iter().filter_map(|part| match part {
            llm::Part::ToolCall(call) => Some(call),
            _ => None,
        });
        let calls: Vec<Issued> = calls
            .map(|call| Issued {
                call: call.clone(),
                state: State::Waiting,
            })
            .collect();
        let earns = !calls.is_empty() && calls.iter().all(|c| !c.call.id.is_empty() && is_code(&c.call.name));
        if earns {
            self.open.insert(op, Turn { calls });
        }
        while self.open.len() > REMEMBERED {
            self.open.pop_first();
        }
    }

    /// The guest made a tool call, which became operation `op`. It counts for the newest answer that issued just this call.
    pub(super) fn called(&mut self, op: u32, call: &types::ToolCall) {
        for (answer, turn) in self.open.iter_mut().rev() {
            let issued = turn.calls.iter_mut().enumerate();
            let mut fitting = issued.filter(|(_, c)| c.state == State::Waiting && c.call == *call);
            if let Some((at, issued)) = fitting.next() {
                issued.state = State::Running;
                self.running.insert(op, (*answer, at));
                break;
            }
        }
        if self.voided.contains(&op) {
            self.void(op);
        }
    }

    /// The guest is given the result of tool call `op`, which `ran` or did not. The answer whose iteration this gives back, if it was the
    /// last of its calls.
    pub(super) fn delivered(&mut self, op: u32, ran: bool) -> Option<u32> {
        let (answer, at) = self.running.remove(&op)?;
        let turn = self.open.get_mut(&answer)?;
        if !ran {
            self.open.remove(&answer);
            return None;
        }
        turn.calls[at].state = State::Ran;
        if turn.calls.iter().any(|c| c.state != State::Ran) {
            return None;
        }
        self.open.remove(&answer);
        self.given.insert(answer).then_some(answer)
    }

    /// A model was asked inside tool call `op`: that was thinking, not only running code.
    pub(super) fn void(&mut self, op: u32) {
        self.voided.insert(op);
        if let Some((answer, _)) = self.running.remove(&op) {
            self.open.remove(&answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, arguments: &str) -> types::ToolCall {
        types::ToolCall {
            id: id.to_owned(),
            name: "run".to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    fn answer(calls: &[types::ToolCall]) -> llm::Completion {
        llm::Completion {
            parts: calls.iter().cloned().map(llm::Part::ToolCall).collect(),
            finish_reason: llm::FinishReason::ToolCalls,
            model: String::new(),
            usage: llm::Usage {
                input_tokens: 0,
                cached_input_tokens: 0,
                output_tokens: 0,
                cost_micro_usd: 0,
                estimated: false,
            },
        }
    }

    #[test]
    fn the_last_result_gives_the_iteration_back_once() {
        let mut turns = Turns::default();
        let (a, b) = (call("a", "1"), call("b", "2"));
        turns.answered(1, &answer(&[a.clone(), b.clone()]), |_| true);
        turns.called(2, &a);
        turns.called(3, &b);
        assert_eq!(turns.delivered(3, true), None);
        assert_eq!(turns.delivered(2, true), Some(1));
        turns.called(4, &a);
        assert_eq!(turns.delivered(4, true), None, "an id is used once");
        // An instance that was lost is built again from its record, and is told the same.
        turns.answered(1, &answer(&[a.clone(), b.clone()]), |_| true);
        turns.called(2, &a);
        turns.called(3, &b);
        assert_eq!((turns.delivered(3, true), turns.delivered(2, true)), (None, None));
    }

    #[test]
    fn what_was_not_issued_so_earns_nothing() {
        let mut turns = Turns::default();
        let a = call("a", "1");
        turns.answered(1, &answer(&[a.clone(), call("b", "2")]), |_| true);
        for (op, other) in [call("a", "9"), call("c", "1"), call("", "1")].iter().enumerate() {
            turns.called(10 + u32::try_from(op).expect("few"), other);
        }
        for op in 10..13 {
            assert_eq!(turns.delivered(op, true), None);
        }
        turns.called(2, &a);
        assert_eq!(turns.delivered(2, true), None, "b was never run");
    }

    #[test]
    fn a_call_that_did_not_run_or_asked_a_model_voids_the_turn() {
        for ran in [false, true] {
            let mut turns = Turns::default();
            let a = call("a", "1");
            turns.answered(1, &answer(std::slice::from_ref(&a)), |_| true);
            turns.called(2, &a);
            if ran {
                turns.void(2);
            }
            assert_eq!(turns.delivered(2, ran), None);
            turns.called(3, &a);
            assert_eq!(turns.delivered(3, true), None);
        }
    }

    #[test]
    fn a_voided_turn_stays_so_where_its_instance_is_built_again() {
        let (a, b) = (call("a", "1"), call("b", "2"));
        let told = answer(&[a.clone(), b.clone()]);
        // The model is asked before the new instance is told the answer again, or behind that.
        for before in [true, false] {
            let mut turns = Turns::default();
            turns.answered(1, &told, |_| true);
            turns.called(2, &a);
            if before {
                turns.void(2);
            }
            turns.answered(1, &told, |_| true);
            if !before {
                turns.void(2);
            }
            turns.called(2, &a);
            turns.called(3, &b);
            assert_eq!((turns.delivered(2, true), turns.delivered(3, true)), (None, None));
            turns.called(4, &a);
            assert_eq!(turns.delivered(4, true), None, "it is issued no more");
        }
    }

    #[test]
    fn one_call_that_is_no_code_spoils_the_answer() {
        let mut turns = Turns::default();
        let a = call("a", "1");
        let read = types::ToolCall {
            name: "read_file".to_owned(),
            ..call("b", "{}")
        };
        turns.answered(1, &answer(&[a.clone(), read]), |name| name == "run");
        turns.called(2, &a);
        assert_eq!(turns.delivered(2, true), None);
        turns.answered(3, &answer(&[]), |_| true);
        assert!(turns.open.is_empty(), "an answer in words did not run code");
    }
}
