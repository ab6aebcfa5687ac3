//! WASI's files: each use of a granted folder is told to the audit before it is done, by the name that the guest gives it. What may be done is
//! decided by wasmtime-wasi, on the handle of the folder; here it is only seen what was denied.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream, ErrorCode,
    Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsError, FsResult, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::blocking;
use crate::descriptors;
use crate::error::{Lack, Refusal};
use crate::event::EventKind;
use crate::interfaces::State;
use crate::plugin::grant::{FolderGrant, Grant};
use crate::plugin::rights::Access;
use crate::session::audit::{ToldBy, Use, Way};
use crate::session::guest::Guest;
use crate::text;

/// Characters of a path in a message.
const SHOWN: usize = 200;

/// Bytes of a path, from its granted folder on: `PATH_MAX` of Linux.
const PATH: usize = 4096;

/// The files of a guest, as data of the linker.
pub(super) struct GrantedFolders;

impl HasData for GrantedFolders {
    type Data<'a> = Folders<'a>;
}

/// Where a guest's descriptors lead.
pub(super) struct Places {
    folders: Vec<FolderGrant>,
    /// By the number of the descriptor's handle.
    open: HashMap<u32, Place>,
    /// How many entries each listing has that is open, by the number of its handle.
    listed: HashMap<u32, u64>,
    /// The limits that were told to be met: each once, as a guest may meet one as often as it likes.
    met: HashSet<&'static str>,
}

impl Places {
    pub(super) fn of(folders: &[FolderGrant]) -> Self {
        Self {
            folders: folders.to_vec(),
            open: HashMap::new(),
            listed: HashMap::new(),
            met: HashSet::new(),
        }
    }

    /// Where a path leads from a descriptor, by its text.
    fn at(&self, fd: u32, path: &str) -> Option<Place> {
        let base = self.open.get(&fd)?;
        Some(Place {
            folder: base.folder,
            path: joined(&base.path, &inside(path)?),
        })
    }

    /// Where what is open at `from` or below it lies once that is at `to`, by the numbers of the handles.
    fn moved(&self, from: &Place, to: &Place) -> Vec<(u32, Place)> {
        let moved = |(fd, place): (&u32, &Place)| {
            let below = place.path.strip_prefix(from.path.as_str());
            let below = below.filter(|below| below.is_empty() || below.starts_with('/'))?;
            (place.folder == from.folder).then(|| {
                let path = joined(&to.path, below);
                (
                    *fd,
                    Place {
                        folder: to.folder,
                        path,
                    },
                )
            })
        };
        self.open.iter().filter_map(moved).collect()
    }
}

/// A file or a folder: which granted folder it lies in, and its path there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    folder: usize,
    path: String,
}

pub(super) struct Folders<'a> {
    guest: &'a Arc<Guest>,
    places: &'a mut Places,
    wasi: WasiFilesystemCtxView<'a>,
}

pub(super) fn folders(state: &mut State) -> Folders<'_> {
    Folders {
        guest: &state.guest,
        places: &mut state.places,
        wasi: WasiFilesystemCtxView {
            ctx: state.wasi.filesystem(),
            table: &mut state.table,
        },
    }
}

/// Something that is done with a file or a folder.
#[derive(Debug)]
struct Deed {
    way: Way,
    /// The grant of the folder.
    grant: String,
    /// The path as the guest sees it.
    target: String,
    /// Why it will be denied, as far as its words tell.
    denial: Option<Denial>,
    /// The descriptor that it starts from, its path there, and whether a link at the end of that is followed.
    fd: u32,
    path: String,
    follow: PathFlags,
}

#[derive(Debug, Clone)]
enum Denial {
    LeadsOut,
    /// The grant that would allow it.
    ReadOnly(String),
}

impl Deed {
    /// The same of a link to `target`, which is shown as `shown`: none is made that leads to a root.
    fn leading_to(self, target: &str, shown: &str) -> Self {
        let leads_out = target.starts_with('/').then_some(Denial::LeadsOut);
        Self {
            target: format!("{} -> {shown}", self.target),
            denial: leads_out.or(self.denial),
            ..self
        }
    }

    fn used(&self) -> Use<'_> {
        Use {
            way: self.way,
            grant: self.grant.as_str().into(),
            target: self.target.as_str().into(),
            told_by: ToldBy::Audit,
        }
    }
}

impl Folders<'_> {
    /// Tells that `path` is read or written, from this descriptor. What leads out by its text is refused now.
    fn begins(&self, way: Way, fd: &Resource<Descriptor>, follow: PathFlags, path: &str) -> FsResult<Deed> {
        self.fits(fd, path)?;
        let deed = self.deed(way, fd.rep(), follow, path);
        self.told_of(deed)
    }

    fn told_of(&self, deed: Option<Deed>) -> FsResult<Deed> {
        // Each descriptor is one of a granted folder, or was opened from one.
        let deed = deed.ok_or(ErrorCode::BadDescriptor)?;
        match &deed.denial {
            Some(denial @ Denial::LeadsOut) => self.went(&deed, Some(denial), Err(ErrorCode::NotPermitted.into())),
            Some(Denial::ReadOnly(_)) => Ok(deed),
            None => {
                self.guest.uses(&deed.used());
                Ok(deed)
            }
        }
    }

    /// Whether `path` is short enough to be looked at, from this descriptor.
    fn fits(&self, fd: &Resource<Descriptor>, path: &str) -> FsResult<()> {
        let before = self.places.open.get(&fd.rep()).map_or(0, |place| place.path.len());
        at_most(PATH.saturating_sub(before), path)
    }

    /// Whether something may come to lie at `path`, from this descriptor: it is short enough, and whoever lists the folder finds no secret in it.
    fn may_be_named(&self, fd: &Resource<Descriptor>, path: &str) -> FsResult<()> {
        self.fits(fd, path)?;
        let base = self.places.open.get(&fd.rep()).map_or("", |place| place.path.as_str());
        let inside = inside(path);
        // The granted folder's own name is the operator's.
        let below = joined(base, inside.as_deref().unwrap_or(path));
        self.hands_no_secret_on(fd, path, &below)
    }

    /// Where what is open lies once this is renamed so. No place gets a path that is too long to be looked at.
    fn moved(
        &self,
        (fd, path): (&Resource<Descriptor>, &str),
        (new_fd, new_path): (&Resource<Descriptor>, &str),
    ) -> FsResult<Vec<(u32, Place)>> {
        let places = (self.places.at(fd.rep(), path), self.places.at(new_fd.rep(), new_path));
        // What leads out is refused.
        let (Some(from), Some(to)) = places else {
            return Ok(Vec::new());
        };
        let moved = self.places.moved(&from, &to);
        moved.iter().try_for_each(|(_, place)| at_most(PATH, &place.path))?;
        Ok(moved)
    }

    /// Whether `text`, which is written down for what lies at `path`, holds no secret.
    fn hands_no_secret_on(&self, fd: &Resource<Descriptor>, path: &str, text: &str) -> FsResult<()> {
        let (plugin, secrets) = (&self.guest.plugin, &self.guest.session.run.secrets);
        let Some(known) = secrets.find(text.as_bytes()) else {
            return Ok(());
        };
        let way = known.way();
        let deed = self.deed(Way::Write, fd.rep(), PathFlags::empty(), path);
        let target = deed.as_ref().map_or(path, |deed| deed.target.as_str());
        let words = format!("{plugin} may not hand on {known}, which stands in the name of a file: {way}");
        self.guest.is_denied(&Refusal::denied(words).about(Lack {
            what: format!("hand on {known} in the name of a file"),
            target: secrets.line(target, SHOWN),
            right: None,
            why: Some(way.to_owned()),
        }));
        Err(ErrorCode::NotPermitted.into())
    }

    fn deed(&self, way: Way, fd: u32, follow: PathFlags, path: &str) -> Option<Deed> {
        let base = self.places.open.get(&fd)?;
        let folder = self.places.folders.get(base.folder)?;
        let inside = inside(path);
        let shown = inside.as_deref().unwrap_or(path);
        let denial = match (&inside, way) {
            (None, _) => Some(Denial::LeadsOut),
            (Some(_), Way::Write) if !folder.writable() => {
                let writable = FolderGrant {
                    access: Access::Write,
                    ..folder.clone()
                };
                Some(Denial::ReadOnly(Grant::Fs(writable).to_string()))
            }
            _ => None,
        };
        Some(Deed {
            way,
            grant: Grant::Fs(folder.clone()).to_string(),
            target: joined(&joined(&format!("/{}", folder.name), &base.path), shown),
            denial,
            fd,
            path: path.to_owned(),
            follow,
        })
    }

    /// How a write through a descriptor went, whose opening told of it, unless that was to read.
    fn wrote<T>(&self, fd: u32, done: FsResult<T>) -> FsResult<T> {
        if done.is_ok() {
            return done;
        }
        let deed = self.deed(Way::Write, fd, PathFlags::empty(), "");
        match deed.filter(|deed| deed.denial.is_some()) {
            Some(deed) => self.went(&deed, deed.denial.as_ref(), done),
            None => done,
        }
    }

    /// How it went.
    async fn ends<T>(&mut self, deed: Deed, done: FsResult<T>) -> FsResult<T> {
        // That a link leads out is no matter of what the folder is granted for, and no flag lifts it.
        if refused(&done) && self.leads_out(&deed).await {
            return self.went(&deed, Some(&Denial::LeadsOut), done);
        }
        self.went(&deed, deed.denial.as_ref(), done)
    }

    /// Whether what was refused leads out of the folder. A write may also be refused as the folder is granted to be read, or by the system.
    async fn leads_out(&mut self, deed: &Deed) -> bool {
        if deed.way == Way::Read {
            return true;
        }
        let fd = Resource::new_borrow(deed.fd);
        refused(&self.wasi.stat_at(fd, deed.follow, deed.path.clone()).await)
    }

    /// Tells how it went, and why it was refused where it was.
    fn went<T>(&self, deed: &Deed, denial: Option<&Denial>, done: FsResult<T>) -> FsResult<T> {
        let was_told = deed.denial.is_none();
        match &done {
            // It was done all the same.
            Ok(_) if !was_told => {
                self.guest.uses(&deed.used());
            }
            Err(error) if error.downcast_ref().is_some() => {
                if was_told {
                    self.guest.failed(&deed.used());
                }
                // Where something else was wrong with it first, nothing was done.
                if let Some(denial) = denial.filter(|_| refused(&done)) {
                    self.denied(deed, denial);
                }
            }
            _ => {}
        }
        done
    }

    fn denied(&self, deed: &Deed, denial: &Denial) {
        let plugin = &self.guest.plugin;
        let secrets = &self.guest.session.run.secrets;
        let (verb, target) = (deed.way.name(), secrets.line(&deed.target, SHOWN));
        let (why, right) = match denial {
            Denial::LeadsOut => ("it leads out of the granted folder".to_owned(), None),
            Denial::ReadOnly(grant) => {
                // With which flag, and whether with one, is told beside it.
                ("the folder is granted to be read".to_owned(), Some(grant.clone()))
            }
        };
        let words = format!("{plugin} may not {verb} {target}: {why}");
        self.guest.is_denied(&Refusal::denied(words).about(Lack {
            what: format!("{verb} {target}"),
            target: deed.target.clone(),
            why: right.is_none().then_some(why),
            right,
        }));
    }

    /// How many entries a folder has, if the host may list it now: it keeps them until the guest drops the listing.
    async fn entries(&mut self, fd: &Resource<Descriptor>) -> FsResult<u64> {
        self.leaves_enough()?;
        let dir = match self.wasi.table.get(fd)? {
            Descriptor::Dir(dir) => dir.dir.clone(),
            Descriptor::File(_) => return Err(ErrorCode::NotDirectory.into()),
        };
        let most = self.guest.session.run.limits.listing;
        let room = most.saturating_sub(self.places.listed.values().sum());
        let counted = blocking::apart(move || count(&dir, room)).await;
        let Some(count) = counted.map_err(FsError::trap)?.map_err(io::Error::from)? else {
            let words = format!("listings of more than {most} entries at once (limits.listing)");
            self.meets("listing", most, &words);
            return Err(ErrorCode::InsufficientMemory.into());
        };
        Ok(count)
    }

    /// The same stream, which takes no more of one write than it says that it has room for.
    fn bounded(&mut self, stream: Resource<DynOutputStream>) -> FsResult<Resource<DynOutputStream>> {
        let inner = self.wasi.table.delete(stream).map_err(FsError::trap)?;
        let outer: DynOutputStream = Box::new(Bounded(inner));
        self.wasi.table.push(outer).map_err(FsError::trap)
    }

    /// Tells that it was refused something, for this limit: once.
    fn meets(&mut self, limit: &'static str, value: u64, what: &str) {
        if self.places.met.insert(limit) {
            let plugin = text::line(&self.guest.plugin, 64);
            self.guest.session.event(EventKind::LimitHit {
                limit: limit.to_owned(),
                value,
                message: format!("{plugin} was refused {what}"),
            });
        }
    }

    /// Whether the host may open what is there, now.
    async fn may_open(&mut self, fd: &Resource<Descriptor>, follow: PathFlags, path: &str) -> FsResult<()> {
        self.leaves_enough()?;
        self.opens_at_once(fd, follow, path).await
    }

    /// Whether the process keeps as many descriptors free as it shall, once there is one more.
    fn leaves_enough(&mut self) -> FsResult<()> {
        let least = self.guest.session.run.limits.fds;
        if descriptors::seem_left(least.saturating_add(1)) {
            return Ok(());
        }
        let words = format!("a file: {least} file descriptors of this process are kept free (limits.fds, ulimit -n)");
        self.meets("fds", least, &words);
        Err(ErrorCode::InsufficientMemory.into())
    }

    /// Whether what is there can be opened: a file or a folder, or nothing yet. A pipe would hold a thread that nothing calls back until its other end is
    /// opened too, and a device does whatever it is for. What can't be told, and a link that is not followed, is the opening's own affair.
    async fn opens_at_once(&mut self, fd: &Resource<Descriptor>, follow: PathFlags, path: &str) -> FsResult<()> {
        let fd = Resource::new_borrow(fd.rep());
        let there = self.wasi.stat_at(fd, follow, path.to_owned()).await;
        match there.map(|there| there.type_) {
            Ok(DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink) | Err(_) => {
                Ok(())
            }
            Ok(_) => Err(ErrorCode::Unsupported.into()),
        }
    }
}

/// A file's stream, which by itself takes what one write brings, however much that is, and holds it until a thread of the host's has written it.
struct Bounded(DynOutputStream);

#[wasmtime_wasi::async_trait]
impl OutputStream for Bounded {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let most = self.0.check_write()?;
        if bytes.len() > most {
            return Err(StreamError::trap("a write has more bytes than check-write allows"));
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Bounded {
    async fn ready(&mut self) {
        self.0.ready().await;
    }
}

/// How many entries a folder has; none where there are more than `most`.
fn count(dir: &File, most: u64) -> rustix::io::Result<Option<u64>> {
    // A granted folder's own descriptor is for paths alone.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    let mut count = 0;
    for entry in rustix::fs::Dir::new(entries)? {
        // What every folder has is not listed.
        if matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        count += 1;
        if count > most {
            return Ok(None);
        }
    }
    Ok(Some(count))
}

/// Whether it is refused as not permitted.
fn refused<T>(done: &FsResult<T>) -> bool {
    let code = done.as_ref().err().and_then(FsError::downcast_ref);
    matches!(code, Some(ErrorCode::NotPermitted))
}

/// A path as the system is asked for it: what is above a name is told by the path's text, as the audit tells it, and not by where a link of that name leads.
fn by_text(path: String) -> String {
    if !path.split('/').any(|part| part == "..") {
        return path;
    }
    let is_folder = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    match inside(&path) {
        // It is refused.
        None => path,
        Some(inside) if inside.is_empty() => ".".to_owned(),
        Some(inside) if is_folder => inside + "/",
        Some(inside) => inside,
    }
}

/// Whether a path has no more than so many bytes.
fn at_most(bytes: usize, path: &str) -> FsResult<()> {
    match path.len() > bytes {
        true => Err(ErrorCode::NameTooLong.into()),
        false => Ok(()),
    }
}

/// A path by its text alone, from the descriptor that it is given with: none where it climbs above that, or starts at a root.
pub(super) fn inside(path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

pub(super) fn joined(base: &str, path: &str) -> String {
    match (base, path) {
        (base, "") => base.to_owned(),
        ("", path) => path.to_owned(),
        (base, path) => format!("{base}/{}", path.trim_start_matches('/')),
    }
}

impl preopens::Host for Folders<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let found = preopens::Host::get_directories(&mut self.wasi)?;
        for (folder, (descriptor, _)) in found.iter().enumerate() {
            let path = String::new();
            self.places.open.insert(descriptor.rep(), Place { folder, path });
        }
        Ok(found)
    }
}

impl types::Host for Folders<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.wasi.convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        self.wasi.filesystem_error_code(error)
    }
}

impl HostDescriptor for Folders<'_> {
    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let path = by_text(path);
        let writes = flags.contains(DescriptorFlags::WRITE) || how.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE);
        let way = if writes { Way::Write } else { Way::Read };
        if how.contains(OpenFlags::CREATE) {
            self.may_be_named(&fd, &path)?;
        }
        let deed = self.begins(way, &fd, follow, &path)?;
        let place = self.places.at(fd.rep(), &path);
        let done = match self.may_open(&fd, follow, &path).await {
            Ok(()) => self.wasi.open_at(fd, follow, path.clone(), how, flags).await,
            Err(error) => Err(error),
        };
        if let (Some(place), Ok(opened)) = (place, &done) {
            self.places.open.insert(opened.rep(), place);
        }
        self.ends(deed, done).await
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.places.open.remove(&fd.rep());
        HostDescriptor::drop(&mut self.wasi, fd)
    }

    async fn stat_at(&mut self, fd: Resource<Descriptor>, follow: PathFlags, path: String) -> FsResult<DescriptorStat> {
        let path = by_text(path);
        let deed = self.begins(Way::Read, &fd, follow, &path)?;
        let done = self.wasi.stat_at(fd, follow, path).await;
        self.ends(deed, done).await
    }

    async fn metadata_hash_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let path = by_text(path);
        let deed = self.begins(Way::Read, &fd, follow, &path)?;
        let done = self.wasi.metadata_hash_at(fd, follow, path).await;
        self.ends(deed, done).await
    }

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        let path = by_text(path);
        let deed = self.begins(Way::Read, &fd, PathFlags::empty(), &path)?;
        let done = self.wasi.readlink_at(fd, path).await;
        self.ends(deed, done).await
    }

    async fn read_directory(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DirectoryEntryStream>> {
        let deed = self.begins(Way::Read, &fd, PathFlags::empty(), "")?;
        let done = match self.entries(&fd).await {
            Ok(count) => self.wasi.read_directory(fd).await.map(|listing| (listing, count)),
            Err(error) => Err(error),
        };
        let (listing, count) = self.ends(deed, done).await?;
        self.places.listed.insert(listing.rep(), count);
        Ok(listing)
    }

    async fn create_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let path = by_text(path);
        self.may_be_named(&fd, &path)?;
        let deed = self.begins(Way::Write, &fd, PathFlags::empty(), &path)?;
        let done = self.wasi.create_directory_at(fd, path).await;
        self.ends(deed, done).await
    }

    async fn remove_directory_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let path = by_text(path);
        let deed = self.begins(Way::Write, &fd, PathFlags::empty(), &path)?;
        let done = self.wasi.remove_directory_at(fd, path).await;
        self.ends(deed, done).await
    }

    async fn unlink_file_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<()> {
        let path = by_text(path);
        let deed = self.begins(Way::Write, &fd, PathFlags::empty(), &path)?;
        let done = self.wasi.unlink_file_at(fd, path).await;
        self.ends(deed, done).await
    }

    async fn symlink_at(&mut self, fd: Resource<Descriptor>, target: String, path: String) -> FsResult<()> {
        let path = by_text(path);
        at_most(PATH, &target)?;
        self.may_be_named(&fd, &path)?;
        self.hands_no_secret_on(&fd, &path, &target)?;
        let deed = self.deed(Way::Write, fd.rep(), PathFlags::empty(), &path);
        // It holds no secret, and is shown whole: no longer one is taken.
        let shown = text::line(&target, PATH);
        let deed = self.told_of(deed.map(|deed| deed.leading_to(&target, &shown)))?;
        let done = self.wasi.symlink_at(fd, target, path).await;
        self.ends(deed, done).await
    }

    async fn link_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (path, new_path) = (by_text(path), by_text(new_path));
        self.may_be_named(&new_fd, &new_path)?;
        let from = self.begins(Way::Write, &fd, PathFlags::empty(), &path)?;
        let to = self.begins(Way::Write, &new_fd, PathFlags::empty(), &new_path)?;
        let done = self.wasi.link_at(fd, follow, path, new_fd, new_path).await;
        let done = self.ends(from, done).await;
        self.ends(to, done).await
    }

    async fn rename_at(
        &mut self,
        fd: Resource<Descriptor>,
        path: String,
        new_fd: Resource<Descriptor>,
        new_path: String,
    ) -> FsResult<()> {
        let (path, new_path) = (by_text(path), by_text(new_path));
        self.may_be_named(&new_fd, &new_path)?;
        let moved = self.moved((&fd, &path), (&new_fd, &new_path))?;
        let from = self.begins(Way::Write, &fd, PathFlags::empty(), &path)?;
        let to = self.begins(Way::Write, &new_fd, PathFlags::empty(), &new_path)?;
        let done = self.wasi.rename_at(fd, path, new_fd, new_path).await;
        if done.is_ok() {
            self.places.open.extend(moved);
        }
        let done = self.ends(from, done).await;
        self.ends(to, done).await
    }

    async fn set_times_at(
        &mut self,
        fd: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let path = by_text(path);
        let deed = self.begins(Way::Write, &fd, follow, &path)?;
        // Where a link is followed it opens what lies there.
        let done = match self.opens_at_once(&fd, follow, &path).await {
            Ok(()) => self.wasi.set_times_at(fd, follow, path, accessed, modified).await,
            Err(error) => Err(error),
        };
        self.ends(deed, done).await
    }

    async fn set_times(
        &mut self,
        fd: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let deed = self.begins(Way::Write, &fd, PathFlags::empty(), "")?;
        let done = self.wasi.set_times(fd, accessed, modified).await;
        self.ends(deed, done).await
    }

    async fn set_size(&mut self, fd: Resource<Descriptor>, size: Filesize) -> FsResult<()> {
        let deed = self.begins(Way::Write, &fd, PathFlags::empty(), "")?;
        let done = self.wasi.set_size(fd, size).await;
        self.ends(deed, done).await
    }

    // What is read and written through a descriptor was told of when it was opened.

    async fn advise(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
        length: Filesize,
        advice: Advice,
    ) -> FsResult<()> {
        self.wasi.advise(fd, offset, length, advice).await
    }

    async fn sync_data(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync_data(fd).await
    }

    async fn sync(&mut self, fd: Resource<Descriptor>) -> FsResult<()> {
        self.wasi.sync(fd).await
    }

    async fn get_flags(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.wasi.get_flags(fd).await
    }

    async fn get_type(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.wasi.get_type(fd).await
    }

    async fn stat(&mut self, fd: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.wasi.stat(fd).await
    }

    async fn metadata_hash(&mut self, fd: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.wasi.metadata_hash(fd).await
    }

    async fn is_same_object(&mut self, a: Resource<Descriptor>, b: Resource<Descriptor>) -> wasmtime::Result<bool> {
        self.wasi.is_same_object(a, b).await
    }

    async fn read(
        &mut self,
        fd: Resource<Descriptor>,
        length: Filesize,
        offset: Filesize,
    ) -> FsResult<(Vec<u8>, bool)> {
        self.wasi.read(fd, length, offset).await
    }

    async fn write(&mut self, fd: Resource<Descriptor>, bytes: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let to = fd.rep();
        let done = self.wasi.write(fd, bytes, offset).await;
        self.wrote(to, done)
    }

    fn read_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.wasi.read_via_stream(fd, offset)
    }

    fn write_via_stream(&mut self, fd: Resource<Descriptor>, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        let to = fd.rep();
        let done = self.wasi.write_via_stream(fd, offset);
        let done = done.and_then(|stream| self.bounded(stream));
        self.wrote(to, done)
    }

    fn append_via_stream(&mut self, fd: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let to = fd.rep();
        let done = self.wasi.append_via_stream(fd);
        let done = done.and_then(|stream| self.bounded(stream));
        self.wrote(to, done)
    }
}

impl HostDirectoryEntryStream for Folders<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.wasi.read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.places.listed.remove(&stream.rep());
        HostDirectoryEntryStream::drop(&mut self.wasi, stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_by_its_text_and_never_above_where_it_starts() {
        for (path, expected) in [
            ("a/b.md", Some("a/b.md")),
            ("./a//b/../c", Some("a/c")),
            (".", Some("")),
            ("", Some("")),
            ("a/..", Some("")),
            ("..", None),
            ("a/../../b", None),
            ("/etc/passwd", None),
        ] {
            assert_eq!(inside(path).as_deref(), expected, "{path}");
        }
        for (path, asked) in [
            ("a/b", "a/b"),
            ("./a//b/", "./a//b/"),
            ("l/..", "."),
            ("a/l/..", "a/"),
            ("a/l/../", "a/"),
            ("l/../x", "x"),
            ("a/../x/.", "x/"),
            ("l/../..", "l/../.."),
            ("a..b/..c", "a..b/..c"),
        ] {
            assert_eq!(by_text(path.to_owned()), asked, "{path}");
        }
        assert_eq!(joined("/p", ""), "/p");
        assert_eq!(joined(&joined("/p", ""), "a"), "/p/a");
        assert_eq!(joined(&joined("/p", "a"), "/etc/passwd"), "/p/a/etc/passwd");
    }

    #[test]
    fn what_is_open_goes_along_with_a_folder_that_is_renamed() {
        let place = |folder: usize, path: &str| Place {
            folder,
            path: path.to_owned(),
        };
        let mut places = Places::of(&[]);
        let open = [
            place(0, ""),
            place(0, "a/d"),
            place(0, "a/d/x/y"),
            place(0, "a/dd"),
            place(0, "a"),
            place(1, "a/d"),
        ];
        places.open.extend((0..).zip(open));
        assert_eq!(places.at(1, "./x/../z"), Some(place(0, "a/d/z")));
        assert_eq!((places.at(1, "../.."), places.at(9, "x")), (None, None));
        let mut moved = places.moved(&place(0, "a/d"), &place(1, "b/e"));
        moved.sort_by_key(|(fd, _)| *fd);
        assert_eq!(moved, [(1, place(1, "b/e")), (2, place(1, "b/e/x/y"))]);
        places.open.extend(moved);
        assert_eq!(places.at(2, "z"), Some(place(1, "b/e/x/y/z")));
        assert!(places.moved(&place(0, "a/d"), &place(1, "b/f")).is_empty());
    }

    #[test]
    fn a_path_is_as_long_as_the_system_takes_one() {
        assert!(at_most(PATH, &"a".repeat(PATH)).is_ok());
        for (bytes, path) in [(PATH, "a".repeat(PATH + 1)), (0, "a".to_owned())] {
            let refused = at_most(bytes, &path).expect_err("too long");
            assert!(matches!(refused.downcast(), Ok(ErrorCode::NameTooLong)), "{bytes}");
        }
        assert!(at_most(0, "").is_ok(), "what is open already");
    }
}
