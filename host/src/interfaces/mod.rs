//! What guests can import: one file for each interface of the contract, and WASI. An interface's file holds only what is its own;
//! what every call has in common is in [`crate::session::guest`].

mod blackboard;
mod budget;
mod convert;
mod delegation;
mod folders;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod http;
mod lessons;
mod llm;
mod outgoing;
mod preopened;
mod repeats;
mod scrubbing;
mod session;
mod sockets;
mod tools;
mod wasi;

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

pub use blackboard::recorded_effect;
pub use convert::amounts;
pub use preopened::FolderError;
pub use scrubbing::{
    Reader, error_texts, output_texts, redact_report, report_texts, scrub_error, scrub_output, scrub_report,
    scrub_words,
};
pub use session::{end_emit, report_fits};
pub use tools::call_tool;

use crate::bindings;
use crate::engine::limiter::{Limiter, Tell};
use crate::error::{Refusal, RefusalKind};
use crate::event::EventKind;
use crate::limits::{self, Unit};
use crate::plugin::grant::FolderGrant;
use crate::session::guest::Guest;
use crate::text;
use folders::Places;
use http::EgressHooks;
use repeats::Repeats;

/// What a store holds for its guest.
pub struct State {
    /// The guest's side of the host.
    pub guest: Arc<Guest>,
    /// Its resources.
    table: ResourceTable,
    /// Resources of ours that live in the table.
    live: u64,
    /// Handles of children that a list gave and that are not dropped: they count in no bound.
    listed: u64,
    /// The failures that it was told of last.
    repeats: Repeats,
    wasi: WasiCtx,
    /// What its descriptors are of.
    places: Places,
    http: WasiHttpCtx,
    hooks: EgressHooks,
    /// What it may grow to.
    pub limiter: Limiter,
}

impl State {
    /// The state of a new instance, with these folders and that way out to the network.
    ///
    /// # Errors
    /// A folder can't be opened.
    pub fn new(guest: Arc<Guest>, folders: &[FolderGrant], hooks: EgressHooks) -> Result<Self, FolderError> {
        let wasi = wasi::context(&guest, folders)?;
        let limiter = Limiter::new(&guest.session.run.limits, met(&guest));
        let http = outgoing::context(&guest.session.run.limits);
        let mut table = ResourceTable::new();
        // WASI's own resources share the table; ours are counted apart and refused as values.
        table.set_max_capacity(usize::try_from(guest.session.run.limits.handles).unwrap_or(usize::MAX));
        Ok(Self {
            guest,
            table,
            live: 0,
            listed: 0,
            repeats: Repeats::default(),
            wasi,
            places: Places::of(folders),
            http,
            hooks,
            limiter,
        })
    }

    /// Room for one more live resource of ours.
    fn room(&self) -> Result<(), Refusal> {
        let most = self.guest.session.run.limits.resources;
        if self.live < most {
            return Ok(());
        }
        let message = format!("{most} handles are open, the most at once (limits.resources). Drop some and try again.");
        Err(Refusal::new(RefusalKind::RateLimited, message))
    }

    fn keep<T: Send + 'static>(&mut self, value: T) -> wasmtime::Result<Resource<T>> {
        let handle = self.table.push(value)?;
        self.live += 1;
        Ok(handle)
    }

    /// Gives the table room for so many handles of a list of children, and for one list of all of them at most.
    fn make_room(&mut self, more: usize) {
        self.listed = self.listed.saturating_add(more as u64);
        let limits = &self.guest.session.run.limits;
        let most = limits.handles.saturating_add(self.listed.min(limits.delegation_total));
        self.table.set_max_capacity(usize::try_from(most).unwrap_or(usize::MAX));
    }

    fn forget<T: Send + 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.live = self.live.saturating_sub(1);
        Ok(())
    }
}

/// Tells everybody that a guest was refused more of what a limit holds.
fn met(guest: &Arc<Guest>) -> Tell {
    let guest = guest.clone();
    Box::new(move |key, value| {
        if guest.is_replaying() {
            return;
        }
        let plugin = text::line(&guest.plugin, 64);
        let shown = match key {
            "memory" => format!("{} of memory", limits::show(value, Unit::Bytes)),
            _ => format!("{value} table elements"),
        };
        guest.session.event(EventKind::LimitHit {
            limit: key.to_owned(),
            value,
            message: format!("{plugin} was refused more than {shown} (limits.{key})"),
        });
    })
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl wasmtime_wasi_io::IoView for State {
    fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

/// Defines everything that a guest may import. Nothing is left out for want of a grant: grants are decided at each call.
///
/// # Errors
/// Two definitions of one name: a mistake in this host.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasi::link(linker)?;
    outgoing::link(linker)?;
    bindings::types::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::session::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::budget::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::blackboard::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::llm::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::tools::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::delegation::add_to_linker::<State, HasSelf<State>>(linker, |s| s)?;
    bindings::lessons::add_to_linker::<State, HasSelf<State>>(linker, |s| s)
}

impl bindings::types::Host for State {}

#[cfg(test)]
mod tests {
    use wasmtime::StoreContextMut;

    use super::*;
    use crate::engine::precheck::OFFERED;

    /// Everything that links an interface, as it is written.
    const SOURCES: [&str; 2] = [include_str!("mod.rs"), include_str!("wasi.rs")];
    /// Interfaces that another crate links in one call: those of `wasi:http`.
    const HTTP: usize = 2;

    #[test]
    fn what_is_known_by_name_is_what_is_linked() {
        let mut linker = Linker::new(&wasmtime::Engine::default());
        link(&mut linker).unwrap();
        let mut known = 0;
        for (begins, interfaces) in OFFERED {
            // The versions that the linker has them in; it finds them in others of the same track.
            let version = if begins.starts_with("wasi:") { "0.2.12" } else { "0.1.0" };
            for interface in interfaces {
                let name = format!("{begins}{interface}@{version}");
                let again = linker
                    .root()
                    .func_wrap(&name, |_: StoreContextMut<'_, State>, (): ()| Ok(()));
                assert!(again.is_err(), "{name} is not linked");
                known += 1;
            }
        }
        // A linker does not tell what it has; but each line that defines an interface is of one that is known.
        let defines = concat!("::add_to_linker", "::<State");
        let linked: usize = SOURCES.iter().map(|source| source.matches(defines).count()).sum();
        assert_eq!(known, linked + HTTP);
    }
}
