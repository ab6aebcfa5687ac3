//! The plugins that a run uses, as its records name them. What takes their bytes along, or may remove some, asks this and not the rows that say so in the
//! database, as damage may have taken one of these.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::ids::{Digest, RunId};
use crate::limits::Limits;
use crate::plugin::load::Shelf;
use crate::session::codec::{self, CodecError};
use crate::store::{Record, Store, StoreError, Transition};
use crate::supervisor::start::{PluginRef, StartBody};

/// The plugins of a run whose records were followed.
#[derive(Debug, Default)]
pub(super) struct PluginsOf {
    /// Those of which the bytes are kept with it: its tools, its root's strategy, and that of each attempt that began. By digest, each with its name.
    used: BTreeMap<Digest, String>,
    /// Strategies of attempts that have not begun, by session and attempt. What was named as a strategy and is none never begins, and is not kept.
    awaited: HashMap<(u32, u32), PluginRef>,
}

impl PluginsOf {
    /// Those of a run that is in the store.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub(super) fn run(store: &Store, run: &RunId) -> Result<Self, StoreError> {
        let mut plugins = Self::default();
        for record in store.lives(run)? {
            let followed = plugins.follow(&record);
            followed.map_err(|e| StoreError::Damaged {
                run: run.clone(),
                what: format!("a start of it can't be read: {e}"),
            })?;
        }
        Ok(plugins)
    }

    /// Those of a run that is in the store which no row names: damage took it, unless the run was imported and its plugins never came.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`], [`StoreError::Corrupt`].
    pub(super) fn unnamed(store: &Store, run: &RunId) -> Result<Vec<Digest>, StoreError> {
        // In this order, as a row is there before the record.
        let mut digests: Vec<Digest> = Self::run(store, run)?.used.into_keys().collect();
        let named = store.components(run)?;
        digests.retain(|digest| !named.contains(digest));
        // Unless it was removed meanwhile.
        if !digests.is_empty() {
            store.run(run)?;
        }
        Ok(digests)
    }

    /// The same, of each run of this machine that has any and can be read: what damage took of others, is told of them.
    ///
    /// # Errors
    /// Failures of the disk.
    pub(super) fn all_unnamed(store: &Store) -> Result<Vec<(RunId, Vec<Digest>)>, StoreError> {
        let mut all = Vec::new();
        for listed in store.runs(u32::MAX)? {
            let Ok(row) = listed.row else { continue };
            if row.imported.is_some() {
                continue;
            }
            match Self::unnamed(store, &row.id) {
                Err(StoreError::NotFound { .. } | StoreError::Damaged { .. } | StoreError::Corrupt { .. }) => {}
                digests => all.push((row.id, digests?)),
            }
        }
        all.retain(|(_, digests)| !digests.is_empty());
        Ok(all)
    }

    /// The next record of the run.
    ///
    /// # Errors
    /// A start can't be read.
    pub(super) fn follow(&mut self, record: &Record) -> Result<(), CodecError> {
        match record {
            // It was left out of the file that the run came from, as it held a secret.
            Record::Start(start) if start.body.is_empty() => {}
            Record::Start(start) => {
                let StartBody { agent, run } = codec::decode(&start.body)?;
                if let Some(run) = run {
                    self.uses(agent.strategy.clone());
                    run.tools.into_iter().for_each(|tool| self.uses(tool.plugin));
                }
                self.awaited
                    .insert((start.session.number, start.attempt), agent.strategy);
            }
            Record::Update(update) => {
                if let Transition::Active { attempt } = update.transition
                    && let Some(strategy) = self.awaited.remove(&(update.session.number, attempt))
                {
                    self.uses(strategy);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn uses(&mut self, plugin: PluginRef) {
        self.used.insert(plugin.digest, plugin.name);
    }

    /// Those whose bytes are kept with the run, by digest, each with its name.
    pub(super) const fn used(&self) -> &BTreeMap<Digest, String> {
        &self.used
    }

    /// The same, and of strategies that have not begun those whose bytes are in this store: they may begin yet.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] where such bytes are not what was kept; failures of the disk.
    pub(super) fn with_awaited(mut self, store: &Store) -> Result<BTreeMap<Digest, String>, StoreError> {
        for plugin in self.awaited.into_values() {
            if self.used.contains_key(&plugin.digest) {
                continue;
            }
            match store.component(&plugin.digest) {
                Err(StoreError::NoComponent { .. }) => {}
                found => {
                    found?;
                    self.used.insert(plugin.digest, plugin.name);
                }
            }
        }
        Ok(self.used)
    }
}

/// The bytes of a plugin as the store keeps them or, where they are not there or damaged, as they are built in.
///
/// # Errors
/// [`StoreError::NoComponent`]; [`StoreError::Corrupt`] where they are not what was kept; failures of the disk.
pub(super) fn bytes_of(
    store: &Store,
    shelf: &Shelf,
    (digest, name): (&Digest, &str),
    limits: &Limits,
) -> Result<Bytes, StoreError> {
    match store.component(digest) {
        Err(error @ (StoreError::NoComponent { .. } | StoreError::Corrupt { .. })) => {
            match shelf.built_in(name, digest, limits) {
                Some(found) => Ok(Bytes::from_owner(found.bytes)),
                None => Err(error),
            }
        }
        kept => Ok(kept?.into()),
    }
}
