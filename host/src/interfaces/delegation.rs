//! `delegation`: sub-agents. This version of the host has none, and says so to whoever asks.

use serde::Serialize;
use wasmtime::component::Resource;

use crate::bindings::{Child, delegation, types};
use crate::error::{Refusal, RefusalKind};
use crate::interfaces::State;
use crate::session::guest::{Call, Guest, Look};

#[derive(Serialize)]
struct Spawn {
    role: String,
    prompt: String,
}

impl Call for Spawn {
    const NAME: &'static str = "delegation.spawn";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        guest.rights.may_delegate(&guest.plugin)
    }
}

impl Look for Spawn {
    type Answer = u32;

    async fn look(&self, _guest: &Guest) -> Result<u32, Refusal> {
        let message = "This version of the host runs no sub-agents. Do the work in this agent.";
        Err(Refusal::new(RefusalKind::Other("unsupported".to_owned()), message))
    }
}

impl delegation::Host for State {
    async fn spawn(&mut self, spec: delegation::ChildSpec) -> wasmtime::Result<Result<Resource<Child>, types::Error>> {
        match self
            .guest
            .look(&Spawn {
                role: spec.role,
                prompt: spec.prompt,
            })
            .await?
        {
            Ok(number) => Ok(Ok(self.keep(Child(number))?)),
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }

    async fn children(&mut self) -> wasmtime::Result<Vec<Resource<Child>>> {
        self.guest.enter()?;
        Ok(Vec::new())
    }

    async fn wait_any(
        &mut self,
        children: Vec<Resource<Child>>,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Option<u32>> {
        let ops = children
            .iter()
            .map(|c| Ok(self.table.get(c)?.0))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        Ok(self.guest.wait_any("delegation.wait-any", &ops, timeout_ms).await?)
    }
}

/// No child exists, so no handle names one: the table refuses before these are reached.
fn no_such_child() -> wasmtime::Error {
    wasmtime::Error::msg("no such child")
}

impl delegation::HostChild for State {
    async fn id(&mut self, child: Resource<Child>) -> wasmtime::Result<String> {
        self.table.get(&child)?;
        Err(no_such_child())
    }

    async fn status(&mut self, child: Resource<Child>) -> wasmtime::Result<delegation::ChildStatus> {
        self.table.get(&child)?;
        Err(no_such_child())
    }

    async fn join(&mut self, child: Resource<Child>) -> wasmtime::Result<types::RunResult> {
        self.table.get(&child)?;
        Err(no_such_child())
    }

    async fn cancel(&mut self, child: Resource<Child>) -> wasmtime::Result<()> {
        self.table.get(&child)?;
        Err(no_such_child())
    }

    async fn drop(&mut self, child: Resource<Child>) -> wasmtime::Result<()> {
        self.forget(child)
    }
}
