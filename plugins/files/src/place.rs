//! From a path as a model writes it to a place in a granted folder, and back.

use hermes_sdk::Error;

use crate::disk::{Disk, Fault};

/// Names that an error suggests.
const SUGGESTIONS: usize = 5;
/// Names of a folder that suggestions are chosen from.
const CANDIDATES: usize = 2_000;

/// A path in one of the granted folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) root: usize,
    pub(crate) path: String,
}

impl Place {
    /// How it is shown, and can be given again: `/papers/a.md`.
    pub(crate) fn shown(&self, disk: &impl Disk) -> String {
        let name = &disk.roots()[self.root];
        let parts = [name.as_str(), self.path.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty());
        format!("/{}", parts.collect::<Vec<_>>().join("/"))
    }

    /// The place of a name in this folder.
    pub(crate) fn child(&self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.path)
        };
        Self { root: self.root, path }
    }
}

/// The places that a path may mean, the likeliest first: `/papers/a.md`, `papers/a.md`, or `a.md` in any folder. No path
/// means all folders.
///
/// # Errors
/// No folder is granted, the path leads out of its folder, or names no folder where there are several.
pub(crate) fn places(disk: &impl Disk, path: Option<&str>) -> Result<Vec<Place>, Error> {
    let roots = disk.roots();
    if roots.is_empty() {
        return Err(Error::denied(
            "no folder is granted; the operator can grant one with --allow fs:DIR",
        ));
    }
    let path = path.unwrap_or_default().trim();
    let outside = || {
        Error::denied(format!(
            "`{path}` leads out of the granted folders, which are {}",
            names(disk)
        ))
    };
    let parts = normal(path).ok_or_else(outside)?;
    let Some((first, rest)) = parts.split_first() else {
        return Ok((0..roots.len())
            .map(|root| Place {
                root,
                path: String::new(),
            })
            .collect());
    };
    let mut places: Vec<_> = roots
        .iter()
        .enumerate()
        .filter(|(_, name)| name == first)
        .map(|(root, _)| Place {
            root,
            path: rest.join("/"),
        })
        .collect();
    // `/a.md` where the folder is `/papers`: with one folder there is no doubt what is meant, and else it is looked for.
    places.extend((0..roots.len()).map(|root| Place {
        root,
        path: parts.join("/"),
    }));
    Ok(places)
}

/// The first of the places where `open` succeeds.
///
/// # Errors
/// In words, with the nearest names, if there is none.
pub(crate) fn first<D: Disk, T>(
    disk: &D,
    path: &str,
    places: &[Place],
    mut open: impl FnMut(&Place) -> Result<T, Fault>,
) -> Result<(Place, T), Error> {
    for place in places {
        match open(place) {
            Ok(found) => return Ok((place.clone(), found)),
            Err(Fault::Missing) => {}
            Err(Fault::Folder) => {
                let shown = place.shown(disk);
                return Err(Error::failed(format!(
                    "{shown} is a folder; list it with list_files, path `{shown}`"
                )));
            }
            Err(Fault::File) => {
                let shown = place.shown(disk);
                return Err(Error::failed(format!(
                    "{shown} is a file; read it with read_file, path `{shown}`"
                )));
            }
            Err(Fault::Refused(why)) => {
                return Err(Error::denied(format!("{} may not be opened: {why}", place.shown(disk))));
            }
            Err(Fault::Failed(why)) => return Err(Error::failed(format!("{}: {why}", place.shown(disk)))),
        }
    }
    Err(missing(disk, path, places))
}

/// The error for a path that leads nowhere.
fn missing(disk: &impl Disk, path: &str, places: &[Place]) -> Error {
    let mut message = format!("there is no `{path}` in the granted folders, which are {}", names(disk));
    let mut near = Vec::new();
    for name in places.iter().filter_map(|place| nearest(disk, place)).flatten() {
        // Several places may lie in one folder.
        if near.len() < SUGGESTIONS && !near.contains(&name) {
            near.push(name);
        }
    }
    if near.is_empty() {
        message.push_str("; see what there is with list_files");
    } else {
        message.push_str("; nearest: ");
        message.push_str(&near.join(", "));
    }
    Error::failed(message)
}

/// The names most like the missing one, in the nearest folder above it that exists.
fn nearest(disk: &impl Disk, place: &Place) -> Option<Vec<String>> {
    let (mut folder, mut name) = place.path.rsplit_once('/').unwrap_or(("", &place.path));
    let entries = loop {
        match disk.entries(place.root, folder, CANDIDATES) {
            Ok(listing) => break listing.entries,
            Err(_) if folder.is_empty() => return None,
            Err(_) => (folder, name) = folder.rsplit_once('/').unwrap_or(("", folder)),
        }
    };
    let mut ranked: Vec<_> = entries
        .into_iter()
        .map(|entry| (distance(name, &entry.name), entry.name))
        .collect();
    ranked.sort();
    // Names that have little in common with the one asked for help only where there are no better ones.
    let alike = ranked
        .iter()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 2)
        .count();
    ranked.truncate(if alike == 0 {
        SUGGESTIONS
    } else {
        alike.min(SUGGESTIONS)
    });
    let folder = Place {
        root: place.root,
        path: folder.to_owned(),
    };
    Some(
        ranked
            .into_iter()
            .map(|(_, name)| folder.child(&name).shown(disk))
            .collect(),
    )
}

/// How unlike two names are: edit distance, small where one holds the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let stem = a.split('.').next().unwrap_or(&a);
    if stem.len() > 2 && b.contains(stem) {
        return 0;
    }
    let b: Vec<char> = b.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, x) in a.chars().take(80).enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The path's parts without `.` and `..`; none if it leads above its beginning.
fn normal(path: &str) -> Option<Vec<&str>> {
    let mut parts = vec![];
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts)
}

fn names(disk: &impl Disk) -> String {
    disk.roots()
        .iter()
        .map(|name| format!("/{name}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use hermes_sdk::ErrorKind;

    #[test]
    fn a_path_may_name_its_folder_or_not() {
        let disk = Folder::new(&["papers"], &[("papers/a.md", "x")]);
        for path in [
            "/papers/a.md",
            "papers/a.md",
            "a.md",
            "/a.md",
            "./papers/../papers/a.md",
        ] {
            let places = places(&disk, Some(path)).unwrap();
            let (place, _) = first(&disk, path, &places, |place| disk.open(place.root, &place.path)).unwrap();
            assert_eq!(place.shown(&disk), "/papers/a.md", "{path}");
        }
        assert_eq!(places(&disk, None).unwrap().len(), 1);
        assert_eq!(places(&disk, Some("../etc")).unwrap_err().kind, ErrorKind::Denied);
    }

    #[test]
    fn errors_say_what_to_do() {
        let disk = Folder::new(&["papers"], &[("papers/li2024.md", "x"), ("papers/notes/b.md", "x")]);
        let open = |path: &str| {
            let places = places(&disk, Some(path)).unwrap();
            first(&disk, path, &places, |place| disk.open(place.root, &place.path))
                .unwrap_err()
                .message
        };
        assert!(
            open("li2023.md").contains("nearest: /papers/li2024.md"),
            "{}",
            open("li2023.md")
        );
        let nearest = open("/papers/li2023.md");
        assert_eq!(nearest.matches("/papers/li2024.md").count(), 1, "{nearest}");
        assert!(open("notes/c.md").contains("/papers/notes/b.md"));
        assert!(open("notes").contains("is a folder"));
        let none = Folder::new(&[], &[]);
        assert!(places(&none, None).unwrap_err().message.contains("--allow fs:DIR"));
    }
}
