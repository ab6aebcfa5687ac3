//! Attacks on a host that lives on: its root has something hostile done, by a child or a tool, and is a canary itself after that.

use std::fs;
use std::sync::OnceLock;
use std::time::Instant;

use hermes_tests::held::{FEW, Held};
use hermes_tests::well::{sang, sings};
use hermes_tests::{Host, Output};
use serde_json::{Value, json};

use crate::site::{Attacked, Site};
use crate::{LONG, eventually};

/// Connections to the database that a process may hold: one writes, one watches, four are kept for those that read.
const CONNECTIONS: usize = 6;

/// Plugins that an attack makes ready beside those of its root.
const PLUGINS: usize = 4;

/// What the root saw of the attack, and what its process printed in the end.
pub(crate) struct Lived {
    pub(crate) seen: Vec<Value>,
    pub(crate) output: Output,
}

impl Lived {
    /// The attack, as one that has ended.
    pub(crate) fn attacked(self, site: &Site) -> Attacked<'_> {
        Attacked {
            site,
            output: self.output,
        }
    }
}

impl Site {
    /// Has the root do `steps`. After that the same process sings as ever, holds no more files and threads than one that nobody attacked, and ends well.
    #[track_caller]
    pub(crate) fn lives(&self, host: Host, steps: &[Value]) -> Lived {
        let idle = idle();
        let (lived, held) = self.held(host, steps, idle.threads + FEW);
        assert_eq!(held.files, idle.files, "open files");
        assert!(
            held.images <= idle.images + PLUGINS,
            "memory images: {held:?}, and {idle:?}"
        );
        assert!(held.connections <= CONNECTIONS, "connections: {}", held.connections);
        assert!(held.threads <= idle.threads + FEW, "threads: {held:?}, and {idle:?}");
        lived
    }

    /// What the process holds while it sings, as soon as it has no more threads than `threads`: those for what blocks end by themselves.
    fn held(&self, host: Host, steps: &[Value], threads: usize) -> (Lived, Held) {
        let hold = json!({ "do": "complete", "messages": [{ "User": [{ "Text": "HOLD STILL" }] }] });
        let all = [steps, &[sings(), hold]].concat();
        let program = json!({ "steps": all, "summary": "done" });
        let is_held = || {
            self.server
                .requests()
                .iter()
                .filter(|r| r.last().contains("HOLD STILL"))
                .count()
        };
        let before = is_held();
        let mut process = host.probe(&program).start();
        eventually("the canary after the attack", || (is_held() > before).then_some(()));
        assert!(!process.has_ended());
        let begun = Instant::now();
        let held = loop {
            let held = Held::by(&process);
            if held.threads <= threads || begun.elapsed() > LONG {
                break held;
            }
        };
        fs::write(self.gate(), "").unwrap();
        let output = process.finish();
        fs::remove_file(self.gate()).unwrap();
        assert_eq!(output.code, Some(0), "{output:?}");
        let mut seen = output.seen();
        sang(&seen[steps.len()]);
        seen.truncate(steps.len());
        (Lived { seen, output }, held)
    }
}

/// What a process holds that nobody attacked.
fn idle() -> Held {
    static IDLE: OnceLock<Held> = OnceLock::new();
    *IDLE.get_or_init(|| {
        let site = Site::new();
        site.held(site.host(), &[], usize::MAX).1
    })
}
