use std::cell::{Cell, RefCell};

use super::*;
use crate::Content;
use crate::agent::Plain;
use crate::llm::{Model, Part, Usage};

/// A host whose model goes on calling one tool, for as many completions as its budget allows.
struct Desk {
    iterations: Cell<usize>,
    /// Completions after which the model answers.
    answers_after: usize,
    sent: RefCell<Vec<(usize, usize)>>,
    checkpoints: Cell<usize>,
    result: String,
    refusal: ErrorKind,
}

impl Desk {
    fn new(iterations: usize, answers_after: usize) -> Self {
        Self {
            iterations: Cell::new(iterations),
            answers_after,
            sent: RefCell::default(),
            checkpoints: Cell::new(0),
            result: "found".into(),
            refusal: ErrorKind::Exhausted(Dimension::Iterations),
        }
    }

    fn run(&self) -> Result<Report, Error> {
        Turns::new(self, "Look.", None, vec![tool("look")], &task()).run(&mut Plain)
    }
}

fn task() -> Task {
    Task {
        prompt: "Find it.".into(),
        inputs: None,
        attempt: 1,
        previous: None,
        lessons: vec![],
    }
}

fn tool(name: &str) -> ToolDef {
    ToolDef {
        name: name.into(),
        title: None,
        description: "Looks.".into(),
        input_schema: "{}".into(),
        output_schema: None,
        annotations: None,
        meta: None,
    }
}

impl Host for Desk {
    fn models(&self) -> Vec<Model> {
        vec![Model {
            name: "m".into(),
            context_tokens: 20_000,
            max_output_tokens: 4_000,
        }]
    }

    fn complete(&self, messages: &[Message], tools: &[ToolDef], _: &Options) -> Result<Completion, Error> {
        assert!(size(messages) <= 40_000, "{} bytes", size(messages));
        let left = self.iterations.get();
        let count = self.sent.borrow().len();
        if left == 0 && !(tools.is_empty() && matches!(self.refusal, ErrorKind::Exhausted(_))) {
            return Err(Error::new(self.refusal.clone(), "no more"));
        }
        self.iterations.set(left.saturating_sub(1));
        self.sent.borrow_mut().push((messages.len(), tools.len()));
        let part = if tools.is_empty() || count >= self.answers_after {
            Part::Text("It is here.".into())
        } else {
            Part::ToolCall(ToolCall {
                id: format!("call-{count}"),
                name: "look".into(),
                arguments: "{}".into(),
            })
        };
        Ok(Completion {
            parts: vec![part],
            finish_reason: FinishReason::Stop,
            model: "m".into(),
            usage: Usage {
                input_tokens: 9,
                cached_input_tokens: 0,
                output_tokens: 9,
                cost_micro_usd: 0,
                estimated: false,
            },
        })
    }

    fn call_all(&self, calls: &[ToolCall]) -> Vec<ToolResult> {
        calls
            .iter()
            .map(|call| ToolResult::text(call, self.result.clone()))
            .collect()
    }

    fn progress(&self, message: &str) {
        assert_eq!(message, "look");
    }

    fn checkpoint(&self, report: Report) {
        assert_ne!(report.outcome, Outcome::Achieved);
        self.checkpoints.set(self.checkpoints.get() + 1);
    }
}

#[test]
fn an_answer_ends_it() {
    let desk = Desk::new(90, 3);
    let report = desk.run().unwrap();
    assert_eq!(
        (report.outcome, report.summary.as_str()),
        (Outcome::Achieved, "It is here.")
    );
    assert_eq!((desk.sent.borrow().len(), desk.checkpoints.get()), (4, 3));
}

#[test]
fn tools_are_offered_in_every_iteration_and_one_call_closes() {
    for budget in [0, 1, 90] {
        let mut desk = Desk::new(budget, usize::MAX);
        desk.result = "x".repeat(50_000);
        let report = desk.run().unwrap();
        let sent = desk.sent.borrow();
        assert_eq!(sent.iter().filter(|(_, tools)| *tools == 1).count(), budget);
        assert_eq!(sent.iter().filter(|(_, tools)| *tools == 0).count(), 1);
        assert_eq!(sent.len(), budget + 1, "nothing is sent after the closing call");
        assert_eq!(
            (report.outcome, report.summary.as_str()),
            (Outcome::PartlyAchieved, "It is here.")
        );
        assert!(!report.open_questions.is_empty());
    }
}

#[test]
fn turns_may_be_fewer_than_iterations() {
    let desk = Desk::new(90, usize::MAX);
    let task = Task {
        prompt: "Find it.".into(),
        inputs: None,
        attempt: 1,
        previous: None,
        lessons: vec![],
    };
    let report = Turns::new(&desk, "Look.", None, vec![tool("look")], &task)
        .most(Some(3))
        .run(&mut Plain)
        .unwrap();
    let offered: Vec<_> = desk.sent.borrow().iter().map(|(_, tools)| *tools).collect();
    assert_eq!(offered, [1, 1, 1, 0]);
    assert_eq!(
        (report.outcome, report.summary.as_str()),
        (Outcome::PartlyAchieved, "It is here.")
    );
}

#[test]
fn a_refusal_before_any_work_is_an_error() {
    let mut desk = Desk::new(0, 0);
    desk.refusal = ErrorKind::Denied;
    assert_eq!(desk.run().unwrap_err().kind, ErrorKind::Denied);
}

#[test]
fn a_refusal_in_the_middle_keeps_what_there_is() {
    let mut desk = Desk::new(2, usize::MAX);
    desk.refusal = ErrorKind::Cancelled;
    let report = desk.run().unwrap();
    assert_eq!(report.outcome, Outcome::NotAchieved);
    assert_eq!(desk.sent.borrow().len(), 2, "no closing call after a cancel");
}

/// Takes notes itself, and is content with the second answer.
#[derive(Default)]
struct Strict {
    notes: usize,
    reviews: usize,
    results: usize,
}

impl Hooks for Strict {
    fn own_tools(&mut self) -> Vec<ToolDef> {
        vec![tool("look")]
    }

    fn answer_call(&mut self, call: &ToolCall) -> Option<ToolResult> {
        self.notes += 1;
        Some(ToolResult::text(call, "mine"))
    }

    fn result(&mut self, _: &ToolCall, result: &ToolResult) {
        assert!(matches!(&result.output.content[..], [Content::Text(text)] if text == "mine"));
        self.results += 1;
    }

    fn review(&mut self, _: &str) -> Review {
        self.reviews += 1;
        if self.reviews == 1 {
            Review::Revise("Look again.".into())
        } else {
            Review::Accept
        }
    }
}

#[test]
fn hooks_answer_calls_and_review() {
    let desk = Desk::new(9, 2);
    let mut hooks = Strict::default();
    let report = Turns::new(&desk, "Look.", None, vec![tool("look")], &task())
        .run(&mut hooks)
        .unwrap();
    assert_eq!((hooks.notes, hooks.results, hooks.reviews), (2, 2, 2));
    assert_eq!(report.outcome, Outcome::Achieved);
    assert!(
        desk.sent.borrow().iter().all(|(_, tools)| *tools == 1),
        "an own tool stands for a granted one of its name"
    );
}

/// A host whose model says what is written down, and which takes so many prompts, and those up to a size only.
struct Script {
    replies: RefCell<Vec<Vec<Part>>>,
    taken: usize,
    most: usize,
    sizes: RefCell<Vec<usize>>,
    shown: RefCell<Vec<String>>,
}

impl Script {
    fn new(replies: &[Vec<Part>]) -> Self {
        Self {
            replies: RefCell::new(replies.iter().rev().cloned().collect()),
            taken: usize::MAX,
            most: usize::MAX,
            sizes: RefCell::default(),
            shown: RefCell::default(),
        }
    }

    fn run(&self, hooks: &mut impl Hooks) -> Result<Report, Error> {
        Turns::new(self, "Look.", None, vec![tool("look")], &task()).run(hooks)
    }
}

impl Host for Script {
    fn models(&self) -> Vec<Model> {
        vec![Model {
            name: "m".into(),
            context_tokens: 200_000,
            max_output_tokens: 4_000,
        }]
    }

    fn complete(&self, messages: &[Message], _: &[ToolDef], _: &Options) -> Result<Completion, Error> {
        self.sizes.borrow_mut().push(size(messages));
        if size(messages) > self.most || self.shown.borrow().len() == self.taken {
            return Err(Error::invalid_input("too long"));
        }
        self.shown.borrow_mut().push(format!("{messages:?}"));
        let parts = self.replies.borrow_mut().pop().expect("a reply for each completion");
        Ok(Completion {
            parts,
            finish_reason: FinishReason::Stop,
            model: "m".into(),
            usage: Usage {
                input_tokens: 9,
                cached_input_tokens: 0,
                output_tokens: 9,
                cost_micro_usd: 0,
                estimated: true,
            },
        })
    }

    fn call_all(&self, calls: &[ToolCall]) -> Vec<ToolResult> {
        let result = |call| ToolResult::text(call, "x".repeat(40_000));
        calls.iter().map(result).collect()
    }

    fn progress(&self, _: &str) {}

    fn checkpoint(&self, _: Report) {}
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

fn look(number: usize) -> Part {
    Part::ToolCall(ToolCall {
        id: format!("call-{number}"),
        name: "look".into(),
        arguments: "{}".into(),
    })
}

#[test]
fn an_empty_reply_loses_no_answer_and_achieves_nothing() {
    let silent = Script::new(&[vec![], vec![]]).run(&mut Plain).unwrap();
    assert_eq!(silent.outcome, Outcome::NotAchieved);
    assert!(silent.summary.starts_with("No answer"), "{}", silent.summary);
    let said_before = Script::new(&[vec![text("It is here."), look(1)], vec![text(" ")], vec![]])
        .run(&mut Plain)
        .unwrap();
    assert_eq!(
        (said_before.outcome, said_before.summary.as_str()),
        (Outcome::PartlyAchieved, "It is here.")
    );
    let mut strict = Strict::default();
    let reviewed = Script::new(&[vec![text("It is here.")], vec![], vec![]])
        .run(&mut strict)
        .unwrap();
    assert_eq!(
        (reviewed.outcome, reviewed.summary.as_str(), strict.reviews),
        (Outcome::PartlyAchieved, "It is here.", 1)
    );
    let nudged = Script::new(&[vec![], vec![text("Here.")]]).run(&mut Plain).unwrap();
    assert_eq!((nudged.outcome, nudged.summary.as_str()), (Outcome::Achieved, "Here."));
}

#[test]
fn a_prompt_is_made_smaller_until_it_is_taken() {
    let mut replies: Vec<_> = (0..8).map(|number| vec![look(number)]).collect();
    replies.push(vec![text("It is here.")]);
    let mut script = Script::new(&replies);
    script.most = 45_000;
    let report = script.run(&mut Plain).unwrap();
    assert_eq!(report.outcome, Outcome::Achieved);
    let mut script = Script::new(&[]);
    script.most = 0;
    assert_eq!(script.run(&mut Plain).unwrap_err().kind, ErrorKind::InvalidInput);
    assert_eq!(
        script.sizes.borrow().len(),
        1,
        "what can't be made smaller is not sent again"
    );
}

#[test]
fn a_prompt_is_made_smaller_a_few_times_only() {
    let replies: Vec<_> = (0..8).map(|number| vec![look(number)]).collect();
    let mut script = Script::new(&replies);
    script.taken = 8;
    assert_eq!(script.run(&mut Plain).unwrap().outcome, Outcome::NotAchieved);
    let sizes = script.sizes.borrow();
    let refused = &sizes[sizes.len() - SMALLER - 1..];
    assert!(refused.windows(2).all(|pair| pair[1] < pair[0]), "{sizes:?}");
    assert_eq!(sizes.len(), 8 + SMALLER + 1);
}

/// Has something to remember.
struct Forgetful;

impl Hooks for Forgetful {
    fn recall(&mut self, _: usize) -> String {
        "Remember me.".into()
    }
}

#[test]
fn hooks_recall_what_was_left_out() {
    let mut replies: Vec<_> = (0..40)
        .map(|number| vec![look(number), text(&"w".repeat(20_000))])
        .collect();
    replies.push(vec![text("It is here.")]);
    let script = Script::new(&replies);
    script.run(&mut Forgetful).unwrap();
    let shown = script.shown.borrow();
    assert!(!shown[1].contains("Remember me.") && shown[40].contains("Remember me."));
}
