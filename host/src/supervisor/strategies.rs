//! The strategies that a run's agents may be: found by name where the operator's own are, loaded once, and kept by their bytes.

use std::sync::Arc;

use crate::blocking;
use crate::error::{Lack, Refusal};
use crate::event::EventKind;
use crate::instance::Prepared;
use crate::plugin::Plugin;
use crate::plugin::approval::ApprovalError;
use crate::plugin::load::{FindError, Found, is_path, load_tried};
use crate::session::call::Missed;
use crate::session::end::End;
use crate::session::{RunContext, Session};
use crate::supervisor::Supervisor;
use crate::supervisor::start::PluginRef;
use crate::text;

/// A strategy, as far as it is known.
pub(super) enum Known {
    /// Ready.
    Loaded(Arc<Plugin>),
    /// Read, and not checked yet.
    Found(Found),
    /// In the store.
    Kept(PluginRef),
}

impl Supervisor {
    /// A strategy by the name that a parent gives; none: the parent's own. Never by a path: a guest names no files.
    pub(super) fn strategy(&self, parent: &Session, name: Option<&str>) -> Result<Known, Refusal> {
        let Some(name) = name else {
            let own = self.plugin_of(&parent.id);
            return own
                .map(Known::Loaded)
                .ok_or_else(|| Refusal::not_found("The parent's own strategy is gone."));
        };
        if let Some(plugin) = self.loaded_as(name) {
            return Ok(Known::Loaded(plugin));
        }
        let shown = text::line(name, 64);
        if is_path(name) {
            return Err(Refusal::invalid(format!(
                "{shown}: a child's strategy is named, not given by its path."
            )));
        }
        // A component is large: whoever else this thread serves goes on meanwhile.
        let found = blocking::in_place(|| self.shelf().find(name, self.limits()));
        found.map(Known::Found).map_err(|e| match e {
            FindError::Load(e) => Refusal::not_found(format!("There is no strategy {shown}: {}.", e.for_guests())),
            FindError::Approval(ApprovalError::Changed(_)) => not_approved(
                shown,
                "it has changed since it was approved",
                "tells how it is approved anew",
            ),
            FindError::Approval(_) => not_approved(shown, "its approval can't be read", "tells why"),
        })
    }

    /// A strategy as a start record names it.
    pub(super) fn recorded_strategy(&self, reference: &PluginRef) -> Known {
        match self.loaded_with(&reference.digest) {
            Some(plugin) => Known::Loaded(plugin),
            None => Known::Kept(reference.clone()),
        }
    }

    /// The strategy, ready to be instantiated; its bytes are kept with the run. Where a child `was_there` before, what this machine lacks now is
    /// no end of it.
    pub(super) async fn loaded(
        &self,
        known: &mut Known,
        run: &RunContext,
        was_there: bool,
    ) -> Result<(Arc<Plugin>, Prepared), Missed> {
        let plugin = match known {
            Known::Loaded(plugin) => plugin.clone(),
            Known::Found(found) => {
                let (name, found) = (found.name.clone(), found.clone());
                let (limits, instances) = (self.limits().clone(), self.instances().clone());
                // A stranger's bytes may take long to check: not in a thread that serves other agents.
                let checked = blocking::apart(move || load_tried(found, &limits, |digest| instances.was_tried(digest)));
                let plugin = checked.await.map_err(|e| unusable(&e.to_string()))?;
                let plugin = Arc::new(plugin.map_err(|e| unusable(&e.for_guests()))?);
                self.keep_loaded(&name, &plugin);
                plugin
            }
            Known::Kept(reference) => {
                let plugin = blocking::in_place(|| self.kept(run, reference))?;
                self.keep_loaded(&reference.name, &plugin);
                plugin
            }
        };
        if !plugin.is_strategy() {
            return Err(unusable(&format!("{} exports no agent", text::line(&plugin.name, 64))).into());
        }
        let prepared = self.instances().prepare(&plugin).await;
        for message in self.instances().notices() {
            run.events.send(&run.id.root(), EventKind::Notice { message });
        }
        let prepared = prepared.map_err(|error| match was_there && error.is_the_machines() {
            true => Missed::Unread(End::NoRoom(error.to_string())),
            false => unusable(&error.for_guests()).into(),
        })?;
        if let Some(journal) = run.keeping.journal()
            && !self.is_kept(&plugin.digest)
        {
            let bytes = bytes::Bytes::from_owner(plugin.bytes.clone());
            let kept = journal.store.keep_component(&journal.owner, bytes).await;
            kept?;
            self.now_kept(plugin.digest);
        }
        *known = Known::Loaded(plugin.clone());
        Ok((plugin, prepared))
    }

    fn kept(&self, run: &RunContext, of: &PluginRef) -> Result<Arc<Plugin>, Missed> {
        let bytes = run.keeping.written()?.store.component(&of.digest)?;
        let plugin = of.load(bytes.into(), self.limits());
        Ok(plugin.map_err(|e| unusable(&e.for_guests()))?)
    }
}

/// That a strategy may not run, and what the list of plugins tells of that.
fn not_approved(strategy: String, why: &str, told: &str) -> Refusal {
    let list = format!("`hermes-host plugin list` {told}");
    Refusal::denied(format!("{strategy} may not run: {why}. {list}.")).about(Lack {
        what: format!("spawn {strategy}"),
        target: strategy,
        right: None,
        why: Some(format!("{why}; {list}")),
    })
}

fn unusable(why: &str) -> Refusal {
    Refusal::invalid(format!("The strategy can't be used: {why}."))
}
