//! Toolsets and models down a tree of agents: who asks for more than its parent has is told what, who asks for no more gets that.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::egress::Egress;
use crate::engine::precheck::Outline;
use crate::event::Events;
use crate::ids::{Digest, RunId, Scope, StreamId};
use crate::ledger::{Caps, Ledger};
use crate::limits::Limits;
use crate::llm::{Catalogue, Model};
use crate::plugin::grant::{Allowed, GivenBy, Grant};
use crate::plugin::rights::{Rights, Wishes};
use crate::plugin::toolbox::{self, Listed, Repeatable, Tool, Toolbox};
use crate::plugin::{Origin, Plugin};
use crate::scrub::Secrets;
use crate::session::call::Under;
use crate::session::guest::Making;
use crate::session::keeping::Keeping;
use crate::session::runner::{NoChildren, ToolEnd, ToolRunner, Waiting};
use crate::session::stored::Stored;
use crate::session::tape::Recorded;
use crate::session::{Alias, Attempt, Past, RunContext, SessionParts};

const TOOLS: [(&str, &[&str]); 3] = [("files", &["read", "write"]), ("web", &["fetch"]), ("code", &["run"])];
/// The root's own, and two aliases.
const MODELS: [&str; 3] = ["local/usual", "fast", "deep"];
const CATALOGUE: &str = "[providers.local]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n";

struct NoTools;

impl ToolRunner for NoTools {
    fn run(&self, _: Under, _: Arc<Tool>, _: types::ToolCall, _: Option<u64>) -> Waiting<'static, Option<ToolEnd>> {
        Box::pin(async { None })
    }
}

fn tools_of(&(name, tools): &(&str, &[&str])) -> Vec<Tool> {
    let plugin = Plugin {
        name: name.to_owned(),
        digest: Digest::of(name.as_bytes()),
        bytes: Arc::new([]),
        origin: Origin::Kept,
        manifest: None,
        approval: None,
        outline: Outline::default(),
    };
    let def = |tool: &&str| types::ToolDef {
        name: (*tool).to_owned(),
        title: None,
        description: String::new(),
        input_schema: "{}".to_owned(),
        output_schema: None,
        annotations: None,
        meta: None,
    };
    let listed = Listed {
        plugin: Arc::new(plugin),
        defs: tools.iter().map(def).collect(),
        prefix: None,
        rights: Arc::default(),
        repeatable: Repeatable::Never,
    };
    toolbox::tools(&listed, &Limits::default()).expect("tools")
}

fn run() -> Arc<RunContext> {
    let limits = Limits::default();
    let config = toml::from_str(CATALOGUE).expect("a configuration");
    let alias = |name: &&str| {
        let model = format!("local/{name}");
        ((*name).to_owned(), Alias { model, price: None })
    };
    Arc::new(RunContext {
        id: RunId::random(),
        keeping: Keeping::Nothing,
        events: Events::new(&limits, &Secrets::none()),
        ledger: Ledger::new(Caps::default()),
        models: Catalogue::new(&config, &|_| None, &limits).expect("models"),
        aliases: MODELS[1..].iter().map(alias).collect(),
        egress: Arc::new(Egress::new(&limits)),
        limits,
        toolbox: Toolbox::new(TOOLS.iter().flat_map(tools_of).collect()).expect("tools"),
        runner: Arc::new(NoTools),
        children: Arc::new(NoChildren),
        secrets: Secrets::none(),
        stored: Stored::default(),
        child: Caps::default(),
        closing_call: false,
        tool_delay_ms: 0,
        seed: [0; 32],
        suspend: CancellationToken::new(),
        taken: BTreeMap::new(),
        flags: None,
        denials: Mutex::default(),
        waited_in_vain: AtomicBool::default(),
    })
}

fn guest(run: &Arc<RunContext>, rights: Rights, tools: Vec<String>, model: Option<Model>) -> Arc<Guest> {
    let session = Session::new(SessionParts {
        id: run.id.root(),
        parent: None,
        depth: 0,
        role: "a".to_owned(),
        run: run.clone(),
        account: run.ledger.open_root(Caps::default()),
        rights: rights.clone(),
        strategy: "a".to_owned(),
        plugin: None,
        model,
        cancel: CancellationToken::new(),
        past: Past::default(),
    });
    let attempt = Attempt::new(1, 0, BTreeMap::new());
    let making = Making {
        stream: StreamId {
            session: session.id.clone(),
            attempt: 1,
            scope: Scope::ROOT,
        },
        plugin: "a".to_owned(),
        digest: Digest::of(b"a"),
        rights,
        tools,
        fuel: run.limits.fuel,
        share: None,
        cancel: session.cancel.clone(),
        over: attempt.over.clone(),
        at_ms: 0,
        awake_ms: 0,
        recorded: Recorded::default(),
        held: None,
    };
    Guest::new(session, attempt, making)
}

/// The default by its name is the default, and else the alias of that name.
fn may_ask(guest: &Guest, model: &str) -> bool {
    let own = guest.session.model.as_ref().is_some_and(|own| own.name == model);
    own && guest.rights.may_llm("a", None).is_ok() || guest.rights.may_llm("a", Some(model)).is_ok()
}

type Spec = (Vec<String>, Vec<String>, Option<&'static str>);

fn any_spec() -> impl Strategy<Value = Spec> {
    let names = |names: &[&str], most| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        proptest::collection::vec(select(names), 0..=most)
    };
    (
        names(&["files", "web", "code", "moon"], 3),
        names(&["llm", "llm:fast", "llm:deep", "llm:none"], 3),
        proptest::option::of(select(vec![MODELS[0], MODELS[1], MODELS[2], "huge"])),
    )
}

proptest! {
    /// In any tree: who asks for a toolset or a model that its parent has not is told which, who asks for no more gets exactly that, no
    /// toolset means no tools, and nobody has what an ancestor had not.
    #[test]
    fn no_descendant_has_a_tool_or_a_model_that_an_ancestor_had_not(
        aliases in proptest::sample::subsequence(&MODELS[1..], 0..=2),
        specs in proptest::collection::vec((any::<Index>(), any_spec()), 1..24),
    ) {
        let run = run();
        let allowed: Vec<Allowed> = aliases
            .iter()
            .map(|alias| Allowed {
                plugin: None,
                grant: Grant::Llm(Some((*alias).to_owned())),
                by: GivenBy::Flag,
                two_keys: false,
            })
            .collect();
        let rights = Rights::root("a", &allowed, &[], None).expect("rights");
        let all = run.toolbox.iter().map(|tool| tool.name.clone()).collect();
        let usual = run.models.resolve(MODELS[0]).expect("a model");
        let mut agents = vec![(guest(&run, rights, all, Some(usual)), None)];
        for (index, (toolsets, grants, name)) in specs {
            let at = index.index(agents.len());
            let parent = agents[at].0.clone();
            let served = |toolset: &String| {
                let of = TOOLS.iter().find(|(name, _)| name == toolset);
                of.is_some_and(|(_, tools)| tools.iter().all(|tool| parent.tools.iter().any(|mine| mine == tool)))
            };
            let (held, named) = match (tools(&parent, &toolsets), toolsets.iter().find(|toolset| !served(toolset))) {
                (Err(refusal), Some(lacking)) => {
                    prop_assert!(refusal.message.contains(&format!("the toolset {lacking} ")), "{refusal}");
                    continue;
                }
                (answer, lacking) => {
                    prop_assert_eq!((answer.is_ok(), lacking), (true, None));
                    answer.expect("it is one")
                }
            };
            let meant = TOOLS.iter().filter(|(name, _)| toolsets.iter().any(|toolset| toolset == name));
            let meant: BTreeSet<&str> = meant.flat_map(|(_, tools)| tools.iter().copied()).collect();
            prop_assert_eq!(held.iter().map(String::as_str).collect::<BTreeSet<_>>(), meant);
            prop_assert_eq!(&named, &toolsets);
            let model = match (model(&parent, name), name.filter(|name| !may_ask(&parent, name))) {
                (Err(refusal), Some(lacking)) => {
                    let own = parent.session.model.as_ref().is_some_and(|own| own.name == lacking);
                    prop_assert!(refusal.message.contains(if own { "--allow llm" } else { lacking }), "{refusal}");
                    continue;
                }
                (answer, lacking) => {
                    prop_assert_eq!((answer.is_ok(), lacking), (true, None));
                    answer.expect("it is one").map(|(model, _)| model)
                }
            };
            let own = parent.session.model.as_ref().map(|own| own.name.as_str());
            prop_assert_eq!(model.as_ref().map(|model| model.name.as_str()), name.or(own));
            let wishes = Wishes { parent: "a", spaces: &[], grants: &grants, cwd: std::path::Path::new("/") };
            let Ok(mut rights) = parent.rights.for_child(&wishes) else { continue };
            if name.is_some() {
                rights = rights.with_default_model();
            }
            agents.push((guest(&run, rights, held, model), Some(at)));
            let child = &agents.last().expect("the child").0;
            for above in std::iter::successors(Some(at), |at| agents[*at].1) {
                let above = &agents[above].0;
                prop_assert!(child.tools.iter().all(|tool| above.tools.contains(tool)));
                for model in MODELS {
                    prop_assert!(!may_ask(child, model) || may_ask(above, model), "{model}");
                }
            }
        }
    }
}
