//! Removes runs that nobody needs any more, by age, by how they stand, and until the rest is small enough.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::event::now_ms;
use crate::ids::{Digest, RunId};
use crate::run::plugins_of::PluginsOf;
use crate::run::{Host, HostError};
use crate::store::{Missing, Prunable, Removal, RunState, Size, Status, Store, StoreError};

/// From this many free bytes on, and from this part of all files on, they are given back to the file system.
const MUCH: u64 = 1 << 20;
const PART: u64 = 8;

/// How a run stands, as far as removing it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// It returned.
    Completed,
    /// It ended in another way.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It can go on, and nobody owns it.
    Interrupted,
    /// It is not what was written. Behind its row and its anchor this is looked for only where it is asked for.
    Damaged,
    /// A live process has it under way. No such run is removed.
    Active,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
        Self::Damaged,
        Self::Active,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Damaged => "damaged",
            Self::Active => "active",
        }
    }

    /// How this run stands; nothing where a live process owns it.
    fn of(run: &Prunable) -> Option<Self> {
        let row = match (&run.state, &run.row) {
            (RunState::Owned, _) => return None,
            (RunState::Damaged(_), _) | (_, Err(_)) => return Some(Self::Damaged),
            (RunState::Free | RunState::LostTail(_), Ok(row)) => row,
        };
        Some(match row.status {
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
            Status::Spawned | Status::Active | Status::Interrupted => Self::Interrupted,
        })
    }
}

/// Which runs to remove: those that meet all that is named here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneSpec {
    /// That ended, or last changed, so long ago. One of which nothing says when is not among them.
    pub older_than: Option<Duration>,
    /// That stand so; none named: all that have ended.
    pub standing: Vec<Standing>,
    /// The oldest, until the store takes no more than so many bytes.
    pub keep_bytes: Option<u64>,
    /// Only to tell which these are.
    pub dry_run: bool,
}

/// A run that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrunedRun {
    /// The run.
    pub run: RunId,
    /// How it stood.
    pub standing: Standing,
    /// When it last changed, in milliseconds since 1970; 0 where that is not known.
    pub changed_ms: u64,
    /// About how many bytes it took, components apart.
    pub bytes: u64,
    /// Its task, where its row can be read.
    pub task: String,
}

/// What a prune did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The runs that are gone, or would be.
    pub runs: Vec<PrunedRun>,
    /// Runs that were chosen and that somebody took meanwhile.
    pub left: Vec<RunId>,
    /// Runs without an anchor that would go as damaged otherwise.
    pub without_anchor: Vec<RunId>,
    /// Components that no run uses any more and that are gone.
    pub components: u64,
    /// Bytes that are the file system's again: those of these components, and by how much the database has shrunk.
    pub returned: u64,
    /// Whether components were left because a backup is under way, which needs them.
    pub backup: bool,
    /// What is missing, so that components were left, or would be, as those may be in use that seem not to be.
    pub missing: Option<Missing>,
    /// How large the store was.
    pub before: Size,
    /// How large it is now.
    pub after: Size,
    /// What stays, where that is more than was to be kept.
    pub stays: Option<Stays>,
    /// Why something of what was removed is still there, or would be, or which runs it would be is not known: the database is damaged, and all else went.
    pub damaged: Option<String>,
    /// What ended it before all was done, once a run was gone.
    pub failed: Option<StoreError>,
}

/// What stays where too little could go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stays {
    /// Bytes of all that stays; of a prune that removes nothing, about how many there would be.
    pub bytes: u64,
    /// Of them, bytes of components.
    pub components: u64,
    /// Runs that stay, by how they stand.
    pub runs: BTreeMap<Standing, u64>,
    /// Runs that a live process owns.
    pub owned: u64,
}

impl Host {
    /// Removes runs, and what earlier prunes left. Never one that a live process owns. Pages of the database that can't be read hold up nothing else.
    ///
    /// # Errors
    /// The store can't be read or, unless nothing is to be removed, written. Once a run is gone, [`Pruned::failed`] tells of it.
    pub async fn prune(&self, spec: &PruneSpec) -> Result<Pruned, HostError> {
        // A home without a database has nothing to remove, and gets none for that.
        let store = match self.store_if_any()? {
            None => return Ok(Pruned::default()),
            Some(store) if spec.dry_run => store,
            Some(_) => self.store()?,
        };
        let before = store.size()?;
        let mut pruned = Pruned {
            before,
            after: before,
            ..Pruned::default()
        };
        let structure = match store.structure().await {
            Err(error @ StoreError::Corrupt { .. }) => {
                pruned.damaged = Some(error.to_string());
                return Ok(pruned);
            }
            structure => structure?,
        };
        let prune = Prune {
            store,
            spec,
            standing: removable(spec, structure.is_none()),
            structure,
            now_ms: now_ms(),
        };
        let mut damage = Damage::default();
        if spec.dry_run {
            prune.tell(&mut pruned, &mut damage)?;
        } else if let Err(error) = prune.remove(&mut pruned, &mut damage).await {
            if pruned.runs.is_empty() {
                return Err(error.into());
            }
            pruned.failed = Some(error);
        }
        pruned.damaged = damage.0.map(|error| error.to_string());
        Ok(pruned)
    }
}

/// What a prune goes by.
struct Prune<'s> {
    store: Store,
    spec: &'s PruneSpec,
    /// Runs that stand so may go.
    standing: Vec<Standing>,
    /// What is wrong with the database's structure.
    structure: Option<String>,
    /// When it began, in milliseconds since 1970: runs are as old as they were then.
    now_ms: u64,
}

/// How runs stand that may go. In a database whose structure is not whole one may seem damaged that is not: then none goes for that.
fn removable(spec: &PruneSpec, is_whole: bool) -> Vec<Standing> {
    let usual = [Standing::Completed, Standing::Failed, Standing::Cancelled];
    let wanted = match spec.standing.is_empty() {
        true => &usual[..],
        false => &spec.standing,
    };
    let may_go = |standing: &Standing| is_whole || *standing != Standing::Damaged;
    wanted.iter().copied().filter(may_go).collect()
}

impl Prune<'_> {
    /// Which runs would go, and what would stay.
    fn tell(&self, pruned: &mut Pruned, damage: &mut Damage) -> Result<(), StoreError> {
        let all = self.runs(damage)?;
        pruned.without_anchor = self.without_anchor(&all);
        let chosen = self.choose(all.clone(), pruned.before.used);
        pruned.runs = chosen.iter().map(|(run, standing)| told(run, *standing)).collect();
        pruned.stays = left_of(&all, &chosen, pruned.before).over(self.spec);
        let unnamed = damage.around(self.unnamed())?;
        let missing = self.store.missing(self.structure.as_deref(), unnamed);
        pruned.missing = damage.around(missing)?;
        Ok(())
    }

    async fn remove(&self, pruned: &mut Pruned, damage: &mut Damage) -> Result<(), StoreError> {
        let (store, structure) = (&self.store, self.structure.as_deref());
        damage.around(store.sweep_copies().await)?;
        damage.around(store.sweep_rows().await)?;
        let mut unnamed = damage.around(self.unnamed())?;
        let earlier = damage.around(store.sweep_files(structure, unnamed.clone()).await)?;
        pruned.components = earlier.components;
        let all = self.runs(damage)?;
        pruned.without_anchor = self.without_anchor(&all);
        for (run, standing) in self.choose(all, store.size()?.used) {
            match damage.around(store.remove_run(&run).await.map(Some))? {
                Some(Removal::Removed) => pruned.runs.push(told(&run, standing)),
                Some(Removal::Owned | Removal::Taken) => pruned.left.push(run.run.clone()),
                Some(Removal::Gone) | None => {}
            }
            damage.around(store.sweep_rows_of(&run).await)?;
        }
        if unnamed.is_some() {
            // It may be gone by now.
            unnamed = damage.around(self.unnamed())?;
        }
        let swept = damage.around(store.sweep_files(structure, unnamed).await)?;
        pruned.components += swept.components;
        (pruned.backup, pruned.missing) = (swept.in_use, swept.missing);
        let shrunk = damage.around(give_back(store).await)?;
        pruned.returned = earlier.bytes + swept.bytes + shrunk;
        pruned.after = store.size()?;
        pruned.stays = left_of(&store.prunable()?, &[], pruned.after).over(self.spec);
        Ok(())
    }

    /// A run of this machine whose records use a plugin that no row names.
    fn unnamed(&self) -> Result<Option<RunId>, StoreError> {
        let all = PluginsOf::all_unnamed(&self.store)?;
        Ok(all.into_iter().next().map(|(run, _)| run))
    }

    /// All runs. Damage in the midst of one is found by reading it, where damaged ones are wanted and can be told from others.
    fn runs(&self, damage: &mut Damage) -> Result<Vec<Prunable>, StoreError> {
        let wanted = self.spec.standing.contains(&Standing::Damaged);
        match &self.structure {
            None if wanted => return damage.around(self.store.read_through()),
            Some(what) if wanted => damage.around(Err(StoreError::Corrupt {
                path: self.store.database(),
                what: format!(
                    "SQLite's check says \"{what}\", and so a run may seem damaged that is whole: none is removed for that, and no plugin's bytes; \
                     hermes-host resume RUN --accept-loss mends an index, hermes-host export RUN copies what can be read"
                ),
            }))?,
            _ => {}
        }
        self.store.prunable()
    }

    /// How this run stands, where it is one that is meant.
    fn meant(&self, run: &Prunable) -> Option<Standing> {
        let stands = Standing::of(run).filter(|stands| self.standing.contains(stands))?;
        let is_old = |age: Duration| {
            let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            run.changed_ms.is_some_and(|at| self.now_ms.saturating_sub(at) >= age)
        };
        self.spec.older_than.is_none_or(is_old).then_some(stands)
    }

    /// Those that are meant and stay, as an anchor may be all that they lack.
    fn without_anchor(&self, runs: &[Prunable]) -> Vec<RunId> {
        let meant = runs.iter().filter(|run| !may_go(run) && self.meant(run).is_some());
        meant.map(|run| run.run.clone()).collect()
    }

    /// The runs that are meant and may go, the oldest first.
    fn choose(&self, runs: Vec<Prunable>, used: u64) -> Vec<(Prunable, Standing)> {
        let mut users = users(&runs);
        let mut chosen: Vec<_> = runs
            .into_iter()
            .filter(may_go)
            .filter_map(|run| self.meant(&run).map(|stands| (run, stands)))
            .collect();
        chosen.sort_by_key(|(run, _)| run.changed_ms);
        let Some(keep) = self.spec.keep_bytes else {
            return chosen;
        };
        let mut rest = used;
        let enough = chosen.iter().position(|(run, _)| {
            if rest <= keep {
                return true;
            }
            rest = rest.saturating_sub(run.bytes + last_uses(run, &mut users));
            false
        });
        chosen.truncate(enough.unwrap_or(chosen.len()));
        chosen
    }
}

/// Whether it may be removed at all: not where an anchor may be all that it lacks, which is made again.
fn may_go(run: &Prunable) -> bool {
    run.anchored || run.has_no_beginning
}

/// Pages of the database that can't be read: the first failure that comes of them.
#[derive(Default)]
struct Damage(Option<StoreError>);

impl Damage {
    /// What was done; nothing where damage stood in its way, which is kept to be told.
    fn around<T: Default>(&mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        match done {
            Err(error @ StoreError::Corrupt { .. }) => {
                self.0.get_or_insert(error);
                Ok(T::default())
            }
            done => done,
        }
    }
}

impl Stays {
    /// Where it is more than the spec wants to keep.
    fn over(self, spec: &PruneSpec) -> Option<Self> {
        spec.keep_bytes.filter(|keep| self.bytes > *keep).map(|_| self)
    }
}

/// What stays of a store of this size when these runs are gone.
fn left_of(all: &[Prunable], gone: &[(Prunable, Standing)], size: Size) -> Stays {
    let mut users = users(all);
    let components: u64 = gone.iter().map(|(run, _)| last_uses(run, &mut users)).sum();
    let rows: u64 = gone.iter().map(|(run, _)| run.bytes).sum();
    let mut stays = Stays {
        bytes: size.used.saturating_sub(rows + components),
        components: size.components.saturating_sub(components),
        ..Stays::default()
    };
    let gone: HashSet<&RunId> = gone.iter().map(|(run, _)| &run.run).collect();
    for run in all.iter().filter(|run| !gone.contains(&run.run)) {
        match Standing::of(run) {
            Some(standing) => *stays.runs.entry(standing).or_default() += 1,
            None => stays.owned += 1,
        }
    }
    stays
}

/// How many runs use each component.
fn users(runs: &[Prunable]) -> HashMap<Digest, u64> {
    let mut users = HashMap::new();
    for (digest, _) in runs.iter().flat_map(|run| &run.components) {
        *users.entry(*digest).or_default() += 1;
    }
    users
}

/// Gives free space back to the file system where that is worth it. By how many bytes the database has shrunk.
async fn give_back(store: &Store) -> Result<u64, StoreError> {
    let size = store.size()?;
    if size.free < MUCH || size.free < size.files / PART {
        return Ok(0);
    }
    store.give_back().await?;
    Ok(size.pages().saturating_sub(store.size()?.pages()))
}

fn told(run: &Prunable, standing: Standing) -> PrunedRun {
    PrunedRun {
        run: run.run.clone(),
        standing,
        changed_ms: run.changed_ms.unwrap_or_default(),
        bytes: run.bytes,
        task: run.row.as_ref().map(|row| row.task.clone()).unwrap_or_default(),
    }
}

/// Bytes of the components that only this run still uses; counts it out.
fn last_uses(run: &Prunable, users: &mut HashMap<Digest, u64>) -> u64 {
    let mut bytes = 0;
    for (digest, length) in &run.components {
        let left = users.entry(*digest).or_default();
        *left = left.saturating_sub(1);
        if *left == 0 {
            bytes += length;
        }
    }
    bytes
}
