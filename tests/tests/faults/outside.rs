//! What tools of a recorded run do outside of the host: a page that is fetched, a request that may be sent once, files that are written.

use std::fs;

use hermes_tests::changed::saying;
use hermes_tests::site::{self, Asked, Site};
use hermes_tests::{Home, Host, guests};
use serde_json::{Value, json};

use crate::end::End;
use crate::place::Place;
use crate::program::ask;

/// The tool that fetches a page. It is built in.
const PAGE: &str = "fetch_page";

/// The tool that holds a folder. Its word was approved that a second call does no harm.
const KEEP: &str = "keep_probe";

/// The tools whose calls are made again where it is not known how they ended.
const REPEATED: [&str; 2] = [PAGE, KEEP];

/// The tool whose call is not made again: nobody approved that.
const ONCE: &str = "probe";

/// The step of the program that waits for that call.
const TOLD: usize = 5;

/// What is in the files at the end.
const KEPT: &str = "a whole file";

/// The site that tools ask, and what compiled the plugin that is not everywhere already.
pub(crate) struct Outside {
    site: Site,
    compiled: Home,
}

impl Outside {
    /// A site that answers each request alike.
    pub(crate) fn start() -> Self {
        let site = Site::start(|_| site::answer("200 OK", &[("content-type", "text/plain")], "a page"));
        let compiled = Home::new();
        add_keeper(&compiled);
        Self { site, compiled }
    }

    /// At once a page, a request that may be sent once, and a call that holds a folder and asks the model between what it writes there; each waited for.
    pub(crate) fn program(&self) -> Value {
        let start = |name: &str, arguments: Value| json!({ "do": "start-call", "name": name, "arguments": arguments });
        let wait = |n: usize| json!({ "do": "wait-call", "call": n });
        let spent = |d: &str| json!({ "do": "spent", "dimension": d });
        let page = json!({ "url": self.site.url("/page") });
        let once = json!({ "do": "fetch", "url": self.site.url("/once"), "method": "POST", "body": ["a line"] });
        let write =
            |name: &str, text: &str| json!({ "do": "write-file", "path": format!("/papers/{name}"), "text": text });
        let keep = json!([
            write("a", "a draft"),
            ask("TOOL ASKS"),
            write("b", KEPT),
            ask("CHILD C ASKS"),
            write("a", KEPT),
        ]);
        json!({ "steps": [
            ask("ROOT ONE"),
            start(PAGE, page), start(ONCE, json!({ "steps": [once] })), start(KEEP, json!({ "steps": keep })),
            wait(2), wait(1), wait(0),
            ask("PAR ONE"),
            spent("Iterations"), spent("ToolCalls"),
        ] })
    }

    /// Sees to what it needs in a place.
    pub(crate) fn prepare(&self, place: &Place) {
        let cache = |home: &Home| home.path().join("host/cache");
        for file in fs::read_dir(cache(&self.compiled)).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, cache(&place.home).join(file.file_name().unwrap())).unwrap();
        }
        add_keeper(&place.home);
    }

    /// With what its tools need.
    pub(crate) fn grant(&self, host: Host) -> Host {
        let net = format!("net:{}", self.site.url(""));
        host.args(["--tool", "keep=keeper", "--allow", "fs:./papers:rw", "--allow", &net])
    }

    /// What was asked of it so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.site.asked()
    }

    /// A run that began when so much had been asked, and whose processes left these calls, sent what it may: the page once more for each process that left
    /// it, and the other request once, or never where it was left before it was sent. The files are whole.
    #[track_caller]
    pub(crate) fn assert_sent(&self, before: usize, left: &[String], place: &Place, moment: &str) {
        let asked = self.asked().split_off(before);
        let (once, page): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.bytes.starts_with(b"POST"));
        let most = 1 + left.iter().filter(|call| tool(call) == PAGE).count();
        assert!(
            (1..=most).contains(&page.len()),
            "{moment}: {} pages, not {most}",
            page.len()
        );
        let least = usize::from(!is_cut(left));
        assert!((least..=1).contains(&once.len()), "{moment}: sent {} times", once.len());
        for name in ["a", "b"] {
            let kept = fs::read_to_string(place.home.work().join("papers").join(name));
            assert_eq!(kept.unwrap(), KEPT, "{moment}: {name}");
        }
    }
}

/// Adds the plugin of the tool that holds a folder.
fn add_keeper(home: &Home) {
    fs::create_dir_all(home.work().join("papers")).unwrap();
    let keeper = saying(home, &guests::built("probe-tool"), "hints: none", "hints: same");
    let add = home.host().args(["plugin", "add"]).arg(keeper);
    let add = add.args(["--name", "keeper", "--allow", "fs:./papers:rw", "--allow", "llm"]);
    add.arg("--yes").output().expect(0);
}

/// The tool of a call.
fn tool(call: &str) -> &str {
    call.split(' ').nth(1).unwrap_or_default()
}

/// Whether this call is made again where it is not known how it ended.
pub(crate) fn is_repeated(call: &str) -> bool {
    REPEATED.contains(&tool(call))
}

/// Whether the call that is not is among those that processes left.
pub(crate) fn is_cut(left: &[String]) -> bool {
    left.iter().any(|call| tool(call) == ONCE)
}

/// What the run comes to where that call was cut off: its guest is told so, and nothing else is different.
pub(crate) fn cut(whole: &End) -> End {
    let words = "The host went down during this call; whether it took effect is not known.";
    let text = format!("Error (interrupted): {words}");
    let output = json!({ "content": [{ "Text": text }], "meta": null, "structured_content": null });
    let error = json!({ "kind": "Interrupted", "message": words, "retry_after_ms": null });
    whole.telling(
        TOLD,
        json!({ "ok": { "call_id": "", "error": error, "output": output } }),
    )
}
