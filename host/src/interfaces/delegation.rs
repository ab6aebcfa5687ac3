//! `delegation`: sub-agents. A child is an operation of its parent: its return address is written down before it is built, its result before
//! anybody hears of it.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde::Serialize;
use wasmtime::component::Resource;

use crate::amounts::Amounts;
use crate::bindings::{Child, delegation, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::ids::Digest;
use crate::interfaces::{State, amounts, scrub_words};
use crate::ledger::Reservation;
use crate::plugin::grant::Kind;
use crate::session::audit::{ToldBy, Use, Way};
use crate::session::call::{Call, Done, EndedEvent, Look, Missed, Operation, Stopping, Under};
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::op::{OpBody, child_status};
use crate::session::operate::PANICKED;
use crate::session::runner::{ChildEnd, NewChild};
use crate::session::{self, codec};
use crate::store::{OpKind, Record, Sync};
use crate::text;

/// A child to be.
#[derive(Serialize)]
struct Spawn {
    spec: delegation::ChildSpec,
    /// Whether one more handle fits.
    room: bool,
    #[serde(skip)]
    child: Option<Result<Box<dyn NewChild>, Refusal>>,
    /// As its parent sees it, once it has begun.
    #[serde(skip)]
    seen: Option<Arc<session::Child>>,
}

impl Spawn {
    fn child(&self) -> Result<&dyn NewChild, Refusal> {
        match &self.child {
            Some(Ok(child)) => Ok(&**child),
            Some(Err(refusal)) => Err(refusal.clone()),
            None => Err(Refusal::denied("There is no such child.")),
        }
    }

    fn child_mut(&mut self) -> Result<&mut dyn NewChild, Refusal> {
        match &mut self.child {
            Some(Ok(child)) => Ok(&mut **child),
            Some(Err(refusal)) => Err(refusal.clone()),
            None => Err(Refusal::denied("There is no such child.")),
        }
    }
}

/// Boxed, as many of them live at once: what is moved from one task to another keeps its room in each.
impl Call for Box<Spawn> {
    const NAME: &'static str = "delegation.spawn";

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        if self.room {
            return Ok(());
        }
        let most = guest.session.run.limits.resources;
        let message = format!("{most} handles are open, the most at once (limits.resources). Drop some first.");
        Err(Refusal::new(RefusalKind::RateLimited, message))
    }

    fn used(&self, _guest: &Guest) -> Option<Use<'_>> {
        Some(Use {
            way: Way::Spawn,
            grant: Kind::Delegation.name().into(),
            target: text::line(&self.spec.role, 64).into(),
            told_by: ToldBy::Operation,
        })
    }
}

impl Operation for Box<Spawn> {
    const KIND: OpKind = OpKind::Child;
    const STOPPING: Stopping = Stopping::Own;

    fn name(&self, _guest: &Guest) -> String {
        text::line(&self.spec.role, 64)
    }

    fn request(&self) -> Cow<'_, [(Digest, Vec<u8>)]> {
        let body = codec::encode(&self.spec);
        Cow::Owned(vec![(Digest::of(&body), body)])
    }

    fn sync(&self, _guest: &Guest) -> Sync {
        // Its rows say that it is to be: a child can be begun again from them.
        Sync::Commit
    }

    fn reserve(&mut self, guest: &Guest) -> Result<Reservation, Refusal> {
        // What the parent has is asked here and not before: a replay must not look for strategies and folders.
        self.child = Some(guest.session.run.children.admit(guest, &self.spec));
        self.child_mut()?.reserve(guest)
    }

    async fn ready(&mut self, guest: &Guest) -> Result<(), Missed> {
        self.child_mut()?.ready(guest).await
    }

    fn records(&self, guest: &Guest, op: u32) -> Vec<Record> {
        self.child()
            .map_or_else(|_| Vec::new(), |child| child.records(guest, op))
    }

    fn begun(&mut self, guest: &Guest, op: u32) {
        // One that a replay takes over is known already.
        if let Ok(child) = self.child() {
            let seen = child.child(guest, op);
            guest.session.keep_child(seen.clone());
            self.seen = Some(seen);
        }
    }

    fn again(&mut self, guest: &Arc<Guest>, op: u32, before: &mut Option<Reservation>) -> Result<Reservation, Missed> {
        let session = &guest.session;
        self.child = Some(Ok(session.run.children.recover(guest, op)?));
        // It is there: whether one more fits is no question.
        let (ledger, one) = (&session.run.ledger, Amounts::of(Dimension::Children, 1));
        Ok(before
            .take()
            .unwrap_or_else(|| ledger.reserve_again(session.account, one)))
    }

    fn refused(&self, refusal: &Refusal) -> OpBody {
        OpBody::Child(without_end(refusal))
    }

    async fn run(self, under: Under) -> Option<Done> {
        let charged = under.reserved;
        // It was written down, and is not kept while the child lives.
        drop(self.spec);
        let seen = self.seen;
        let Some(Ok(child)) = self.child else { return None };
        let ChildEnd { result, records, then } = match AssertUnwindSafe(child.run(under)).catch_unwind().await {
            Ok(end) => end?,
            Err(_) => without_end(&Refusal::host_bug(PANICKED)).into(),
        };
        let (status, ended) = (child_status(&result.exit), result.clone());
        let written = move |written: Result<(), &End>| {
            if let Some(then) = then {
                then(written);
            }
            if let Some(seen) = seen.filter(|_| written.is_ok()) {
                seen.ends(ended);
            }
        };
        Some(Done {
            records,
            then: Some(Box::new(written)),
            ..Done::new(status, OpBody::Child(result), charged)
        })
    }

    fn events(&self, _guest: &Guest, _op: &str, _closing: bool) -> Option<(crate::event::EventKind, EndedEvent)> {
        // A child's session tells of itself.
        None
    }
}

/// The result of a child that came to no end of its own.
fn without_end(refusal: &Refusal) -> types::RunResult {
    types::RunResult {
        exit: match refusal.kind {
            RefusalKind::Cancelled => types::ExitReason::Cancelled,
            RefusalKind::Interrupted => types::ExitReason::Interrupted,
            _ => types::ExitReason::Failed(refusal.clone().into()),
        },
        report: None,
        attempts: 0,
        spent: Vec::new(),
    }
}

#[derive(Serialize)]
struct Children;

impl Call for Children {
    const NAME: &'static str = "delegation.children";
}

impl Look for Children {
    type Answer = Vec<u32>;

    async fn look(&self, guest: &Guest) -> Result<Vec<u32>, Missed> {
        let children = guest.session.children();
        Ok(children.iter().map(|child| child.handle).collect())
    }
}

#[derive(Serialize)]
struct Id(u32);

impl Call for Id {
    const NAME: &'static str = "delegation.id";
}

impl Look for Id {
    type Answer = String;

    async fn look(&self, guest: &Guest) -> Result<String, Missed> {
        let child = find(guest, self.0).ok_or_else(|| Refusal::not_found("There is no such child."))?;
        Ok(child.id.to_string())
    }
}

#[derive(Serialize)]
struct Status(u32);

impl Call for Status {
    const NAME: &'static str = "delegation.status";
}

impl Look for Status {
    type Answer = delegation::ChildStatus;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let child = find(guest, self.0).ok_or_else(|| Refusal::not_found("There is no such child."))?;
        let ended = child.result();
        Ok(match (ended, child.session()) {
            (Some(result), _) => delegation::ChildStatus {
                ended: true,
                attempt: result.attempts,
                progress: String::new(),
                spent: result.spent,
            },
            (None, Some(session)) => {
                session.charge_wall();
                delegation::ChildStatus {
                    ended: false,
                    attempt: session.attempt(),
                    progress: scrub_words(&session, &session.progress()),
                    spent: amounts(&session.run.ledger.spent(session.account)),
                }
            }
            (None, None) => delegation::ChildStatus {
                ended: false,
                attempt: 0,
                progress: String::new(),
                spent: Vec::new(),
            },
        })
    }
}

fn find(guest: &Guest, handle: u32) -> Option<Arc<session::Child>> {
    guest
        .session
        .children()
        .into_iter()
        .find(|child| child.handle == handle)
}

fn result(body: OpBody) -> Result<types::RunResult, End> {
    match body {
        OpBody::Child(result) => Ok(result),
        _ => Err(End::Host("a child ended as something else".to_owned())),
    }
}

impl delegation::Host for State {
    async fn spawn(&mut self, spec: delegation::ChildSpec) -> wasmtime::Result<Result<Resource<Child>, types::Error>> {
        let spawn = Box::new(Spawn {
            spec,
            room: self.room().is_ok(),
            child: None,
            seen: None,
        });
        let (op, refused) = self.guest.start(spawn).await?;
        if let Some(refusal) = refused {
            return Ok(Err(refusal.into()));
        }
        // One that ended before this process began is known by its rows alone.
        if let Some(child) = self.guest.session.run.children.known(&self.guest, op) {
            self.guest.session.keep_child(child);
        }
        Ok(Ok(self.keep(Child::counted(op))?))
    }

    async fn children(&mut self) -> wasmtime::Result<Vec<Resource<Child>>> {
        let handles = self.guest.look(&Children).await?.unwrap_or_default();
        // Never refused, so outside the count of what may be open at once.
        self.make_room(handles.len());
        handles
            .into_iter()
            .map(|op| Ok(self.table.push(Child::uncounted(op))?))
            .collect()
    }

    async fn wait_any(
        &mut self,
        children: Vec<Resource<Child>>,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<Option<u32>> {
        let ops = children
            .iter()
            .map(|c| Ok(self.table.get(c)?.op))
            .collect::<wasmtime::Result<Vec<_>>>()?;
        Ok(self.guest.wait_any("delegation.wait-any", &ops, timeout_ms).await?)
    }
}

impl delegation::HostChild for State {
    async fn id(&mut self, child: Resource<Child>) -> wasmtime::Result<String> {
        let op = self.table.get(&child)?.op;
        Ok(self.guest.look(&Id(op)).await?.unwrap_or_default())
    }

    async fn status(&mut self, child: Resource<Child>) -> wasmtime::Result<delegation::ChildStatus> {
        let op = self.table.get(&child)?.op;
        let none = |_| delegation::ChildStatus {
            ended: true,
            attempt: 0,
            progress: String::new(),
            spent: Vec::new(),
        };
        Ok(self.guest.look(&Status(op)).await?.unwrap_or_else(none))
    }

    async fn join(&mut self, child: Resource<Child>) -> wasmtime::Result<types::RunResult> {
        let op = self.table.get(&child)?.op;
        Ok(result(self.guest.wait("delegation.join", op).await?)?)
    }

    async fn cancel(&mut self, child: Resource<Child>) -> wasmtime::Result<()> {
        let op = self.table.get(&child)?.op;
        Ok(self.guest.cancel("delegation.cancel", op)?)
    }

    async fn drop(&mut self, child: Resource<Child>) -> wasmtime::Result<()> {
        let child = self.table.delete(child)?;
        let of = if child.is_counted() {
            &mut self.live
        } else {
            &mut self.listed
        };
        *of = of.saturating_sub(1);
        Ok(())
    }
}
