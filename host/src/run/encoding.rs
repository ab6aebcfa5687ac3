//! What the layers above the store encode into a run's rows, records and bodies, held to the number of the database's format: a host that would read any of it
//! as something else refuses it by that number.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::amounts::Amounts;
use crate::bindings::{blackboard, delegation, llm, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::ids::{Digest, RunId, Scope, SessionId, StreamId};
use crate::limits::Limits;
use crate::llm::price::Price;
use crate::plugin::grant::{Access, Allowed, FolderGrant, GivenBy, Grant, SecretGrant};
use crate::plugin::rights::{Rights, ToolRights};
use crate::plugin::toolbox::Repeatable;
use crate::run::run_file;
use crate::session::op::OpBody;
use crate::session::{Alias, codec};
use crate::store::{
    Edge, FORMAT, ForkPoint, Imported, ReturnAddress, RunRow, SessionRow, Status, StoredEntry, WhatFor,
};
use crate::supervisor::start::{AgentStart, ModelRef, PluginRef, RunStart, StartBody, ToolRef};

/// What was encoded, one value after the other.
#[derive(Default)]
struct Encoded(Vec<u8>);

impl Encoded {
    fn add<T: Serialize>(&mut self, value: &T) {
        self.0.extend(codec::encode(value));
    }

    fn add_all<T: Serialize>(&mut self, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.add(&value));
    }
}

fn run() -> RunId {
    "0123456789".parse().expect("an id")
}

fn session() -> SessionId {
    SessionId { run: run(), number: 1 }
}

fn amounts() -> Amounts {
    Dimension::ALL
        .into_iter()
        .fold(Amounts::ZERO, |sum, d| sum.with(d, 300 + d as u64))
}

fn allowed() -> Vec<Allowed> {
    let grants = [
        Grant::Fs(FolderGrant {
            name: "papers".to_owned(),
            dir: "/papers".into(),
            access: Access::Write,
        }),
        Grant::Net("GET,POST@*.example.org:8443".parse().expect("a rule")),
        Grant::Blackboard {
            name: "board".to_owned(),
            access: Access::Read,
        },
        Grant::Llm(Some("alias".to_owned())),
        Grant::Secret(SecretGrant::parse("key@api.example.org").expect("a grant")),
    ];
    let all = grants.into_iter().map(|grant| Allowed {
        plugin: None,
        grant,
        by: GivenBy::Flag,
        two_keys: false,
    });
    all.collect()
}

fn plugin() -> PluginRef {
    PluginRef {
        name: "plugin".to_owned(),
        digest: Digest::of(b"plugin"),
        manifest: Some("manifest".to_owned()),
    }
}

fn meant() -> Alias {
    Alias {
        model: "provider/model".to_owned(),
        price: Some(Price {
            input: 1,
            cached_input: 2,
            cache_write: 3,
            output: 4,
        }),
    }
}

fn report() -> types::Report {
    types::Report {
        outcome: types::Outcome::PartlyAchieved,
        summary: "summary".to_owned(),
        result_json: Some("{}".to_owned()),
        artifacts: vec!["space/key".to_owned()],
        open_questions: vec!["question".to_owned()],
    }
}

fn failure() -> types::Error {
    types::Error {
        kind: types::ErrorKind::Exhausted(types::Dimension::Tokens),
        message: "message".to_owned(),
        retry_after_ms: Some(5),
    }
}

fn result(exit: types::ExitReason) -> types::RunResult {
    types::RunResult {
        exit,
        report: Some(report()),
        attempts: 6,
        spent: vec![types::Amount {
            dimension: types::Dimension::Fuel,
            value: 7,
        }],
    }
}

fn tool() -> types::ToolDef {
    types::ToolDef {
        name: "tool".to_owned(),
        title: Some("title".to_owned()),
        description: "description".to_owned(),
        input_schema: "{}".to_owned(),
        output_schema: Some("{}".to_owned()),
        annotations: Some(types::ToolAnnotations {
            read_only: true,
            destructive: false,
            idempotent: true,
            open_world: false,
        }),
        meta: Some("{}".to_owned()),
    }
}

fn call() -> types::ToolCall {
    types::ToolCall {
        id: "id".to_owned(),
        name: "tool".to_owned(),
        arguments: "{}".to_owned(),
    }
}

fn told() -> types::ToolResult {
    types::ToolResult {
        call_id: "id".to_owned(),
        output: types::ToolOutput {
            content: vec![
                types::Content::Text("text".to_owned()),
                types::Content::Media(types::Media {
                    media_type: "image/png".to_owned(),
                    data: vec![8],
                }),
                types::Content::Other("{}".to_owned()),
            ],
            structured_content: Some("{}".to_owned()),
            meta: Some("{}".to_owned()),
        },
        error: Some(failure()),
    }
}

/// The limits stand in it by name, so that one more or another value is no other format: they are left out.
fn start() -> Vec<u8> {
    let rights = Rights::root("plugin", &allowed(), &[], None).expect("rights");
    let repeatable = [
        Repeatable::Never,
        Repeatable::Always,
        Repeatable::Approved(BTreeSet::from(["tool".to_owned()])),
    ];
    let tools = repeatable.map(|repeatable| ToolRef {
        plugin: plugin(),
        prefix: Some("prefix".to_owned()),
        rights: ToolRights::new("plugin", &allowed(), &allowed()[1..], None).expect("rights"),
        repeatable: match repeatable {
            // Whoever adds one adds it above.
            Repeatable::Never | Repeatable::Always | Repeatable::Approved(_) => repeatable,
        },
        defs: vec![tool()],
    });
    let start = StartBody {
        agent: AgentStart {
            task: types::Task {
                prompt: "prompt".to_owned(),
                inputs: Some("{}".to_owned()),
                attempt: 2,
                previous: Some(result(types::ExitReason::Trapped("trap".to_owned()))),
                lessons: vec![types::Lesson {
                    id: "lesson".to_owned(),
                    layer: types::LessonLayer::Delegation,
                    text: "text".to_owned(),
                }],
            },
            role: "role".to_owned(),
            parent: Some(session()),
            depth: 1,
            strategy: plugin(),
            held: vec!["tool".to_owned()],
            rights,
            caps: amounts().iter().collect(),
            allotment: amounts(),
            model: Some(ModelRef {
                name: "model".to_owned(),
                meant: meant(),
            }),
            max_attempts: 9,
            started_ms: 10,
            awake_ms: 11,
            spent: amounts(),
        },
        run: Some(RunStart {
            tools: tools.into(),
            limits: Limits::default(),
            tree: vec![(Dimension::Tokens, 12)],
            child: vec![(Dimension::Iterations, 13)],
            script: Some("script".to_owned()),
            aliases: BTreeMap::from([("alias".to_owned(), meant())]),
            closing_call: true,
            tool_delay_ms: 14,
            seed: [15; 32],
            host: "host".to_owned(),
        }),
    };
    let limits = postcard::to_stdvec(&Limits::default()).expect("encodes");
    let mut bytes = codec::encode(&start);
    let is_there = |at: &usize| bytes[*at..].starts_with(&limits);
    let at = (0..bytes.len()).find(is_there).expect("its limits");
    bytes.drain(at..at + limits.len());
    bytes
}

fn run_rows(all: &mut Encoded) {
    let statuses = [
        Status::Spawned,
        Status::Active,
        Status::Completed,
        Status::Failed,
        Status::Cancelled,
        Status::Interrupted,
    ];
    for (status, what_for) in statuses
        .into_iter()
        .zip([WhatFor::Everything, WhatFor::Viewing].into_iter().cycle())
    {
        // Whoever adds one adds it above.
        match status {
            Status::Spawned
            | Status::Active
            | Status::Completed
            | Status::Failed
            | Status::Cancelled
            | Status::Interrupted => {}
        }
        match what_for {
            WhatFor::Everything | WhatFor::Viewing => {}
        }
        all.add(&RunRow {
            id: run(),
            task: "task".to_owned(),
            strategy: "strategy".to_owned(),
            cwd: "/".to_owned(),
            argv: vec!["hermes-host".to_owned()],
            status,
            exit: Some("exit".to_owned()),
            outcome: Some("outcome".to_owned()),
            error: Some(("kind".to_owned(), "words".to_owned())),
            answer: Some("answer".to_owned()),
            spent: amounts(),
            closing: 1,
            refunded: 2,
            resent: 3,
            started_ms: 4,
            ended_ms: Some(5),
            imported: Some(Imported { at_ms: 6, what_for }),
            forked: Some(ForkPoint {
                run: run(),
                observation: 7,
            }),
        });
    }
}

fn session_row() -> SessionRow {
    SessionRow {
        session: session(),
        parent: Some(ReturnAddress {
            session: session(),
            attempt: 1,
            op: 2,
        }),
        edge: Edge::Delegated,
        role: "role".to_owned(),
        task: "task".to_owned(),
        strategy: "strategy".to_owned(),
        digest: Digest::of(b"strategy"),
        model: Some("model".to_owned()),
        budget: amounts().iter().collect(),
        toolsets: vec!["toolset".to_owned()],
        status: Status::Completed,
        attempt: 3,
        cancel_asked: true,
        exit: Some("exit".to_owned()),
        outcome: Some("outcome".to_owned()),
        error: Some("error".to_owned()),
        result: Some(vec![4]),
        spent: amounts(),
        started_ms: 5,
        updated_ms: 6,
        ended_ms: Some(7),
    }
}

fn entry() -> StoredEntry {
    StoredEntry {
        space: "space".to_owned(),
        key: "key".to_owned(),
        version: 1,
        deleted: true,
        media_type: "text/plain".to_owned(),
        data: vec![2],
        author: "author".to_owned(),
        op: Some((
            StreamId {
                session: session(),
                attempt: 3,
                scope: Scope::ROOT.child(4),
            },
            5,
        )),
        at_ms: 6,
    }
}

fn completion() -> llm::Completion {
    llm::Completion {
        parts: vec![
            llm::Part::Text("text".to_owned()),
            llm::Part::Reasoning("reasoning".to_owned()),
            llm::Part::ToolCall(call()),
            llm::Part::Media(types::Media {
                media_type: "image/png".to_owned(),
                data: vec![1],
            }),
            llm::Part::Opaque("opaque".to_owned()),
        ],
        finish_reason: llm::FinishReason::Other("other".to_owned()),
        model: "model".to_owned(),
        usage: llm::Usage {
            input_tokens: 2,
            cached_input_tokens: 3,
            output_tokens: 4,
            cost_micro_usd: 5,
            estimated: true,
        },
    }
}

/// The bodies of outcomes.
fn outcomes(all: &mut Encoded) {
    let bodies = [
        OpBody::Completion(Ok(completion())),
        OpBody::Completion(Err(failure())),
        OpBody::Tool(told()),
        OpBody::Child(result(types::ExitReason::Returned)),
    ];
    for body in bodies {
        match body {
            // Whoever adds one adds it above.
            OpBody::Completion(_) | OpBody::Tool(_) | OpBody::Child(_) => all.add(&body),
        }
    }
}

/// What calls ask with, as bodies of their own or in the digest of their arguments.
fn requests(all: &mut Encoded) {
    all.add_all([
        llm::Message::System("system".to_owned()),
        llm::Message::User(vec![types::Content::Text("text".to_owned())]),
        llm::Message::Assistant(completion().parts),
        llm::Message::Tool(vec![told()]),
    ]);
    all.add(&llm::Options {
        model: Some("model".to_owned()),
        temperature: Some(0.5),
        max_output_tokens: Some(1),
        stop: vec!["stop".to_owned()],
        tool_choice: Some(llm::ToolChoice::Tool("tool".to_owned())),
        response_schema: Some("{}".to_owned()),
        provider_options: Some("{}".to_owned()),
    });
    all.add(&vec![tool()]);
    all.add(&call());
    all.add(&delegation::ChildSpec {
        strategy: Some("strategy".to_owned()),
        role: "role".to_owned(),
        prompt: "prompt".to_owned(),
        inputs: Some("{}".to_owned()),
        model: Some("model".to_owned()),
        toolsets: vec!["toolset".to_owned()],
        spaces: vec![delegation::SpaceGrant {
            space: "space".to_owned(),
            prefix: "prefix".to_owned(),
            access: delegation::Access::ReadWrite,
        }],
        grants: vec!["grant".to_owned()],
        budget: vec![types::Amount {
            dimension: types::Dimension::Children,
            value: 2,
        }],
        max_attempts: 3,
    });
}

/// What looks, waits, and timers tell.
fn observations(all: &mut Encoded) {
    all.add(&Ok::<_, Refusal>(Some(blackboard::Entry {
        value: types::Media {
            media_type: "text/plain".to_owned(),
            data: vec![1],
        },
        version: 2,
        author: "author".to_owned(),
        written_at: 3,
    })));
    all.add(&Ok::<_, Refusal>(vec![blackboard::Change {
        key: "key".to_owned(),
        version: 4,
        author: "author".to_owned(),
        deleted: true,
    }]));
    all.add(&Ok::<_, Refusal>(delegation::ChildStatus {
        ended: true,
        attempt: 5,
        progress: "progress".to_owned(),
        spent: Vec::new(),
    }));
    all.add(&Ok::<_, Refusal>(vec![llm::Model {
        name: "model".to_owned(),
        context_tokens: 6,
        max_output_tokens: 7,
    }]));
    all.add(&Ok::<_, Refusal>((
        "session".to_owned(),
        Some("parent".to_owned()),
        8_u32,
    )));
    // In which of its calls a guest saw the end of a timer.
    all.add(&9_u64);
    let kinds = [
        RefusalKind::Denied,
        RefusalKind::Exhausted(Dimension::Children),
        RefusalKind::RateLimited,
        RefusalKind::TimedOut,
        RefusalKind::Conflict,
        RefusalKind::NotFound,
        RefusalKind::InvalidInput,
        RefusalKind::Cancelled,
        RefusalKind::Upstream,
        RefusalKind::Interrupted,
        RefusalKind::Other("other".to_owned()),
    ];
    for kind in kinds {
        all.add(&Err::<(), _>(Refusal {
            retry_after_ms: Some(10),
            ..Refusal::new(kind, "message")
        }));
    }
}

#[test]
fn what_is_encoded_belongs_to_the_formats_number() {
    let mut all = Encoded::default();
    all.0.extend(start());
    run_rows(&mut all);
    all.add(&session_row());
    all.add(&entry());
    outcomes(&mut all);
    requests(&mut all);
    observations(&mut all);
    let encoded = Digest::of(&all.0).to_string();
    // Where the last is another, the others must be: the database's format, a run file's, and that of bodies.
    assert_eq!(
        (FORMAT, run_file::VERSION, codec::VERSION, encoded.as_str()),
        (
            5,
            2,
            1,
            "2f1d61a288b6508ccde9ec49d27d36b40411225e309e98bab509089f32946f40"
        )
    );
}
