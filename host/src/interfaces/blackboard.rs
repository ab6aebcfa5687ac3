//! `blackboard`: shared, versioned notes. A space is its name and what the session's rights say of it; a write commits together
//! with its record.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;
use wasmtime::component::Resource;

use crate::bindings::{Space, blackboard, types};
use crate::error::{Dimension, Refusal, RefusalKind};
use crate::event::EventKind;
use crate::ids::RunId;
use crate::interfaces::State;
use crate::plugin::rights::{Access, Rights};
use crate::session::audit::{ToldBy, Use, Way};
use crate::session::call::{Call, Look, Missed, Write};
use crate::session::codec;
use crate::session::end::End;
use crate::session::guest::Guest;
use crate::session::waits::Timed;
use crate::store::{Effect, EffectResult, SpaceId, Store};

/// Keys or changes in one answer, by the contract.
const PAGE: u32 = 1000;

/// The space that `name` means for this guest.
fn space_id(guest: &Guest, name: &str) -> SpaceId {
    let run = (!guest.rights.space_is_home(name)).then(|| guest.session.run.id.clone());
    SpaceId {
        run,
        name: name.to_owned(),
    }
}

fn may(guest: &Guest, space: &str, key: &str, access: Access) -> Result<(), Refusal> {
    guest.rights.may_entry(&guest.plugin, space, key, access)
}

/// An entry, or all below a prefix, as the audit tells of it.
fn used<'a>(guest: &Guest, way: Way, space: &str, key: &str, told_by: ToldBy) -> Option<Use<'a>> {
    let access = match way {
        Way::Write => Access::Write,
        _ => Access::Read,
    };
    Some(Use {
        way,
        grant: guest.rights.space_grant(space, key, access).into(),
        target: format!("{space}/{key}").into(),
        told_by,
    })
}

fn key_fits(guest: &Guest, key: &str) -> Result<(), Refusal> {
    crate::store::key_fits(&guest.session.run.limits, key).map_err(Refusal::invalid)
}

/// Whether keys may begin so, or lie behind it.
fn beginning_fits(guest: &Guest, beginning: &str) -> Result<(), Refusal> {
    let (most, bytes) = (guest.session.run.limits.blackboard_key, beginning.len());
    if bytes as u64 <= most {
        return Ok(());
    }
    let words = format!(
        "A key has 1 to {most} bytes (limits.blackboard.key); the beginning of one that is asked for has {bytes}."
    );
    Err(Refusal::invalid(words))
}

fn value_fits(guest: &Guest, value: &types::Media) -> Result<(), Refusal> {
    crate::store::value_fits(&guest.session.run.limits, &value.media_type, &value.data).map_err(Refusal::invalid)
}

/// The change that a write of `run` made, by the arguments that the journal keeps of it; none where they are no write's.
pub fn recorded_effect(run: &RunId, arguments: &[u8]) -> Option<Effect> {
    let space = |name| SpaceId {
        run: Some(run.clone()),
        name,
    };
    let (call,): (String,) = codec::decode(arguments).ok()?;
    if call == Put::NAME {
        let (_, (name, key, value, if_version)): (String, (String, String, types::Media, Option<u64>)) =
            codec::decode(arguments).ok()?;
        return Some(Effect::Put {
            space: space(name),
            key,
            media_type: value.media_type,
            data: value.data,
            if_version,
        });
    }
    if call == Append::NAME {
        let (_, (name, prefix, value)): (String, (String, String, types::Media)) = codec::decode(arguments).ok()?;
        return Some(Effect::Append {
            space: space(name),
            prefix,
            media_type: value.media_type,
            data: value.data,
        });
    }
    if call == Delete::NAME {
        let (_, (name, key, if_version)): (String, (String, String, Option<u64>)) = codec::decode(arguments).ok()?;
        return Some(Effect::Delete {
            space: space(name),
            key,
            if_version,
        });
    }
    None
}

#[derive(Serialize)]
struct Open<'a> {
    name: &'a str,
    room: bool,
}

impl Call for Open<'_> {
    const NAME: &'static str = "blackboard.open";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        guest.session.run.store()?;
        guest.rights.may_open(&guest.plugin, self.name)
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        key_fits(guest, self.name)
    }
}

impl Look for Open<'_> {
    type Answer = ();

    async fn look(&self, _guest: &Guest) -> Result<(), Missed> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Get<'a> {
    space: &'a str,
    key: &'a str,
}

impl Call for Get<'_> {
    const NAME: &'static str = "blackboard.get";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        may(guest, self.space, self.key, Access::Read)
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        key_fits(guest, self.key)
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        used(guest, Way::Read, self.space, self.key, ToldBy::Audit)
    }
}

impl Look for Get<'_> {
    type Answer = Option<blackboard::Entry>;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let entry = guest
            .session
            .run
            .store()?
            .get(&space_id(guest, self.space), self.key)
            .map_err(store)?;
        Ok(entry.map(|entry| blackboard::Entry {
            value: types::Media {
                media_type: entry.media_type,
                data: entry.data,
            },
            version: entry.version,
            author: entry.author,
            written_at: entry.at_ms,
        }))
    }
}

#[derive(Serialize)]
struct Keys<'a> {
    space: &'a str,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: u32,
}

impl Call for Keys<'_> {
    const NAME: &'static str = "blackboard.keys";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        guest.rights.may_open(&guest.plugin, self.space)
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        used(
            guest,
            Way::Read,
            self.space,
            &format!("{}*", self.prefix),
            ToldBy::Audit,
        )
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        beginning_fits(guest, self.prefix)?;
        self.after.map_or(Ok(()), |after| beginning_fits(guest, after))
    }
}

impl Look for Keys<'_> {
    type Answer = Vec<String>;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let space = space_id(guest, self.space);
        let most = self.limit.min(PAGE);
        let mut seen: Vec<String> = Vec::new();
        let mut after = self.after.map(str::to_owned);
        let mut size = most;
        // Keys that the guest may not see are passed over, so that an empty page means that there are no more.
        while (seen.len() as u64) < u64::from(most) {
            let page = guest
                .session
                .run
                .store()?
                .keys(&space, self.prefix, after.as_deref(), size)
                .map_err(store)?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            // However few the guest asked for: those that it may not see are not looked through one by one.
            size = PAGE;
            seen.extend(page.into_iter().filter(|key| guest.rights.sees_key(self.space, key)));
        }
        seen.truncate(most as usize);
        Ok(seen)
    }
}

#[derive(Serialize)]
struct Changes<'a> {
    space: &'a str,
    prefix: &'a str,
    since: u64,
    wait_ms: u32,
}

impl Call for Changes<'_> {
    const NAME: &'static str = "blackboard.changes";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        guest.rights.may_open(&guest.plugin, self.space)
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        used(
            guest,
            Way::Read,
            self.space,
            &format!("{}*", self.prefix),
            ToldBy::Audit,
        )
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        beginning_fits(guest, self.prefix)
    }
}

impl Look for Changes<'_> {
    type Answer = Vec<blackboard::Change>;

    async fn look(&self, guest: &Guest) -> Result<Self::Answer, Missed> {
        let mut watch = Watch {
            store: guest.session.run.store()?.clone(),
            space: space_id(guest, self.space),
            name: self.space.to_owned(),
            prefix: self.prefix.to_owned(),
            since: self.since,
            rights: guest.rights.clone(),
        };
        let mut changes = watch.seen(Instant::now()).await.map_err(store)?;
        if changes.is_empty() && self.wait_ms > 0 {
            let _pause = guest.is_strategy().then(|| guest.step.pause());
            let wait = Timed::Call(guest.next_seq());
            let ends = guest.wait_ends(wait, Duration::from_millis(self.wait_ms.into()));
            let until = guest.session.awake.instant(ends).unwrap_or_else(Instant::now);
            let (mut watched, cancel) = (watch.clone(), guest.cancel.clone());
            guest
                .waits_for(async move {
                    tokio::select! { _ = watched.seen(until) => {}, () = cancel.cancelled() => {} }
                })
                .await;
            guest.waits.forget(wait);
            if guest.cancel.is_cancelled() {
                return Err(Refusal::cancelled().into());
            }
            changes = watch.seen(Instant::now()).await.map_err(store)?;
        }
        let change = |c: crate::store::Change| blackboard::Change {
            key: c.key,
            version: c.version,
            author: c.author,
            deleted: c.deleted,
        };
        Ok(changes.into_iter().map(change).collect())
    }
}

/// Somebody who watches keys of a space.
#[derive(Clone)]
struct Watch {
    store: Store,
    space: SpaceId,
    /// The space as the guest calls it.
    name: String,
    prefix: String,
    since: u64,
    rights: Rights,
}

impl Watch {
    /// The changes that the guest may see, waited for until then.
    async fn seen(&mut self, until: Instant) -> Result<Vec<crate::store::Change>, crate::store::StoreError> {
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let page = self.store.changed(&self.space, &self.prefix, self.since, rest).await?;
            let Some(last) = page.last().map(|c| c.version) else {
                return Ok(page);
            };
            let seen = page.into_iter().filter(|c| self.rights.sees_key(&self.name, &c.key));
            let seen: Vec<_> = seen.collect();
            if !seen.is_empty() {
                return Ok(seen);
            }
            // All of it was written where the guest sees nothing: it waits on.
            self.since = last;
        }
    }
}

#[derive(Serialize)]
struct Put<'a> {
    space: &'a str,
    key: &'a str,
    value: &'a types::Media,
    if_version: Option<u64>,
}

impl Call for Put<'_> {
    const NAME: &'static str = "blackboard.put";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        may(guest, self.space, self.key, Access::Write)
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        key_fits(guest, self.key)?;
        value_fits(guest, self.value)
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        used(guest, Way::Write, self.space, self.key, ToldBy::Operation)
    }
}

impl Write for Put<'_> {
    fn space(&self) -> &str {
        self.space
    }

    fn effect(&self, guest: &Guest) -> Effect {
        Effect::Put {
            space: space_id(guest, self.space),
            key: self.key.to_owned(),
            media_type: self.value.media_type.clone(),
            data: self.value.data.clone(),
            if_version: self.if_version,
        }
    }

    fn bytes(&self) -> u64 {
        (self.key.len() + self.value.data.len()) as u64
    }

    fn event(&self, result: &EffectResult) -> Option<EventKind> {
        match result {
            EffectResult::Written(version) => Some(wrote(self.space, self.key, Some(*version))),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Append<'a> {
    space: &'a str,
    prefix: &'a str,
    value: &'a types::Media,
}

/// Characters that an append adds to its prefix.
const SUFFIX: usize = 20;

impl Call for Append<'_> {
    const NAME: &'static str = "blackboard.append";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        may(guest, self.space, self.prefix, Access::Write)
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        key_fits(guest, &format!("{}{}", self.prefix, "0".repeat(SUFFIX)))?;
        value_fits(guest, self.value)
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        let key = format!("{}*", self.prefix);
        used(guest, Way::Write, self.space, &key, ToldBy::Operation)
    }
}

impl Write for Append<'_> {
    fn space(&self) -> &str {
        self.space
    }

    fn effect(&self, guest: &Guest) -> Effect {
        Effect::Append {
            space: space_id(guest, self.space),
            prefix: self.prefix.to_owned(),
            media_type: self.value.media_type.clone(),
            data: self.value.data.clone(),
        }
    }

    fn bytes(&self) -> u64 {
        (self.prefix.len() + SUFFIX + self.value.data.len()) as u64
    }

    fn event(&self, result: &EffectResult) -> Option<EventKind> {
        match result {
            EffectResult::Appended(key, version) => Some(wrote(self.space, key, Some(*version))),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Delete<'a> {
    space: &'a str,
    key: &'a str,
    if_version: Option<u64>,
}

impl Call for Delete<'_> {
    const NAME: &'static str = "blackboard.delete";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        may(guest, self.space, self.key, Access::Write)
    }

    fn caps(&self, guest: &Guest) -> Result<(), Refusal> {
        key_fits(guest, self.key)
    }

    fn used(&self, guest: &Guest) -> Option<Use<'_>> {
        used(guest, Way::Write, self.space, self.key, ToldBy::Operation)
    }
}

impl Write for Delete<'_> {
    fn space(&self) -> &str {
        self.space
    }

    fn effect(&self, guest: &Guest) -> Effect {
        let space = space_id(guest, self.space);
        Effect::Delete {
            space,
            key: self.key.to_owned(),
            if_version: self.if_version,
        }
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn event(&self, result: &EffectResult) -> Option<EventKind> {
        match result {
            EffectResult::Deleted => Some(wrote(self.space, self.key, None)),
            _ => None,
        }
    }
}

/// A read that failed: the run stops where the disk does; what is damaged is told, as it would be no better the next time.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn store(error: crate::store::StoreError) -> Missed {
    if error.is_of_the_disk() {
        return Missed::Unread(End::store(&error));
    }
    Refusal::new(RefusalKind::Other("storage".to_owned()), error.to_string()).into()
}

/// A result of the store that is an error to the guest.
fn refused(result: &EffectResult) -> Refusal {
    match result {
        EffectResult::Conflict(0) => Refusal::new(RefusalKind::Conflict, "The key is absent."),
        EffectResult::Conflict(version) => Refusal::new(
            RefusalKind::Conflict,
            format!("The entry has version {version} now; get it and try again."),
        ),
        EffectResult::TooManyKeys(most) => Refusal::exhausted(
            Dimension::StoredBytes,
            format!("The space is full: {most} keys are the most (limits.blackboard.keys)."),
        ),
        EffectResult::TooManyBytes(most) => Refusal::exhausted(
            Dimension::StoredBytes,
            format!("The space is full: {most} bytes are the most (limits.blackboard.bytes)."),
        ),
        other => Refusal::new(
            RefusalKind::Other("storage".to_owned()),
            format!("unexpected result {other:?}"),
        ),
    }
}

fn wrote(space: &str, key: &str, version: Option<u64>) -> EventKind {
    EventKind::Wrote {
        space: space.to_owned(),
        key: key.to_owned(),
        version,
    }
}

impl blackboard::Host for State {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Space>, types::Error>> {
        let room = self.room();
        let opened = match self
            .guest
            .look(&Open {
                name: &name,
                room: room.is_ok(),
            })
            .await?
        {
            Ok(()) => room,
            Err(refusal) => Err(refusal),
        };
        match opened {
            Ok(()) => Ok(Ok(self.keep(Space(name))?)),
            Err(refusal) => Ok(Err(refusal.into())),
        }
    }
}

impl blackboard::HostSpace for State {
    async fn get(
        &mut self,
        space: Resource<Space>,
        key: String,
    ) -> wasmtime::Result<Result<Option<blackboard::Entry>, types::Error>> {
        let space = self.table.get(&space)?.0.clone();
        Ok(self
            .guest
            .look(&Get {
                space: &space,
                key: &key,
            })
            .await?
            .map_err(Into::into))
    }

    async fn put(
        &mut self,
        space: Resource<Space>,
        key: String,
        value: types::Media,
        if_version: Option<u64>,
    ) -> wasmtime::Result<Result<u64, types::Error>> {
        let space = self.table.get(&space)?.0.clone();
        let call = Put {
            space: &space,
            key: &key,
            value: &value,
            if_version,
        };
        Ok(match self.guest.write(&call).await? {
            Ok(EffectResult::Written(version)) => Ok(version),
            Ok(other) => Err(refused(&other).into()),
            Err(refusal) => Err(refusal.into()),
        })
    }

    async fn append(
        &mut self,
        space: Resource<Space>,
        prefix: String,
        value: types::Media,
    ) -> wasmtime::Result<Result<String, types::Error>> {
        let space = self.table.get(&space)?.0.clone();
        let call = Append {
            space: &space,
            prefix: &prefix,
            value: &value,
        };
        Ok(match self.guest.write(&call).await? {
            Ok(EffectResult::Appended(key, _)) => Ok(key),
            Ok(other) => Err(refused(&other).into()),
            Err(refusal) => Err(refusal.into()),
        })
    }

    async fn delete(
        &mut self,
        space: Resource<Space>,
        key: String,
        if_version: Option<u64>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let space = self.table.get(&space)?.0.clone();
        Ok(
            match self
                .guest
                .write(&Delete {
                    space: &space,
                    key: &key,
                    if_version,
                })
                .await?
            {
                Ok(EffectResult::Deleted) => Ok(()),
                Ok(other) => Err(refused(&other).into()),
                Err(refusal) => Err(refusal.into()),
            },
        )
    }

    async fn keys(
        &mut self,
        space: Resource<Space>,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, types::Error>> {
        let space = self.table.get(&space)?.0.clone();
        let call = Keys {
            space: &space,
            prefix: &prefix,
            after: after.as_deref(),
            limit,
        };
        Ok(self.guest.look(&call).await?.map_err(Into::into))
    }

    async fn changes(
        &mut self,
        space: Resource<Space>,
        prefix: String,
        since: u64,
        wait_ms: u32,
    ) -> wasmtime::Result<Result<Vec<blackboard::Change>, types::Error>> {
        let space = self.table.get(&space)?.0.clone();
        let call = Changes {
            space: &space,
            prefix: &prefix,
            since,
            wait_ms,
        };
        Ok(self.guest.look(&call).await?.map_err(Into::into))
    }

    async fn drop(&mut self, space: Resource<Space>) -> wasmtime::Result<()> {
        self.forget(space)
    }
}
