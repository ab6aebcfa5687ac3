//! The granted folders, by WASI.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, DirectoryEntryStream, ErrorCode, OpenFlags, PathFlags,
};

use crate::disk::{Disk, Entry, Fault, Kind, Listing};

/// The folders that the host opened before the call.
pub(crate) struct Preopens {
    folders: Vec<Descriptor>,
    names: Vec<String>,
}

impl Preopens {
    pub(crate) fn new() -> Self {
        let (folders, names) = get_directories()
            .into_iter()
            .map(|(folder, name)| (folder, name.trim_matches('/').to_owned()))
            .unzip();
        Self { folders, names }
    }

    fn open_at(&self, root: usize, path: &str, flags: OpenFlags) -> Result<Descriptor, Fault> {
        let path = if path.is_empty() { "." } else { path };
        self.folders[root]
            .open_at(PathFlags::SYMLINK_FOLLOW, path, flags, DescriptorFlags::READ)
            .map_err(fault)
    }
}

impl Disk for Preopens {
    type File = Descriptor;

    fn roots(&self) -> &[String] {
        &self.names
    }

    fn entries(&self, root: usize, path: &str, most: usize) -> Result<Listing, Fault> {
        let folder = self.open_at(root, path, OpenFlags::DIRECTORY)?;
        let stream = folder.read_directory().map_err(fault)?;
        Ok(Listing::collect(most, || next(&stream)))
    }

    fn open(&self, root: usize, path: &str) -> Result<Descriptor, Fault> {
        let shown = if path.is_empty() { "." } else { path };
        let stat = self.folders[root].stat_at(PathFlags::SYMLINK_FOLLOW, shown);
        // Opening a pipe waits for whoever writes into it.
        match stat.map_err(fault)?.type_ {
            DescriptorType::RegularFile => self.open_at(root, path, OpenFlags::empty()),
            DescriptorType::Directory => Err(Fault::Folder),
            _ => Err(Fault::Failed("it is no regular file".to_owned())),
        }
    }

    fn read(&self, file: &Descriptor, offset: u64, length: usize) -> Result<(Vec<u8>, bool), Fault> {
        file.read(length as u64, offset).map_err(fault)
    }
}

fn next(stream: &DirectoryEntryStream) -> Result<Option<Entry>, Fault> {
    let entry = stream.read_directory_entry().map_err(fault)?;
    Ok(entry.map(|entry| Entry {
        kind: match entry.type_ {
            DescriptorType::Directory => Kind::Folder,
            DescriptorType::RegularFile => Kind::File,
            DescriptorType::SymbolicLink => Kind::Link,
            _ => Kind::Other,
        },
        name: entry.name,
    }))
}

fn fault(code: ErrorCode) -> Fault {
    match code {
        ErrorCode::NoEntry | ErrorCode::NotDirectory => Fault::Missing,
        ErrorCode::IsDirectory => Fault::Folder,
        ErrorCode::Access | ErrorCode::NotPermitted => Fault::Refused(code.message().to_owned()),
        other => Fault::Failed(other.message().to_owned()),
    }
}
