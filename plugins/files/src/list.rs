//! `list_files`.

use hermes_sdk::Error;

use crate::ListFiles;
use crate::disk::{Disk, Kind};
use crate::glob::Glob;
use crate::output::{Output, Room};
use crate::place::{first, places};
use crate::walk::{Hidden, Scope, Walk, walk};

const DEPTH: u32 = 2;
const GLOB_DEPTH: u32 = 16;
const DEPTH_MAX: u32 = 32;
const LIMIT: u32 = 200;
const LIMIT_MAX: u32 = 2_000;

pub(crate) fn run(disk: &impl Disk, args: &ListFiles) -> Result<String, Error> {
    let glob = args.glob.as_deref().map(Glob::new).transpose()?;
    let depth = args
        .depth
        .unwrap_or(if glob.is_some() { GLOB_DEPTH } else { DEPTH })
        .clamp(1, DEPTH_MAX);
    let scope = Scope {
        depth,
        hidden: Hidden::from(args.hidden),
    };
    let limit = args.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let found = places(disk, args.path.as_deref())?;
    let everywhere = found.iter().all(|place| place.path.is_empty());
    let folders = if everywhere { &found[..] } else { &found[..0] };

    let (mut output, mut count, mut full) = (Output::default(), 0, false);
    let mut list = |folder: &crate::place::Place| {
        let below = folder.path.len() + usize::from(!folder.path.is_empty());
        walk(disk, folder, scope, &mut |place, kind| {
            let wanted = match &glob {
                Some(glob) => kind != Kind::Folder && glob.matches(&place.path[below..]),
                None => true,
            };
            if !wanted {
                return Walk::On;
            }
            let mark = if kind == Kind::Folder { "/" } else { "" };
            if count == limit || output.line(&format!("{}{mark}", place.shown(disk))) == Room::Full {
                full = true;
                return Walk::Stop;
            }
            count += 1;
            Walk::On
        })
    };
    if everywhere {
        for folder in folders {
            first(disk, &folder.shown(disk), std::slice::from_ref(folder), &mut list)?;
        }
    } else {
        first(disk, args.path.as_deref().unwrap_or_default(), &found, &mut list)?;
    }
    let mut notes = vec![];
    if full {
        notes.push(format!(
            "more than {count}; narrow it with `path` or `glob`, or raise `limit`"
        ));
    } else if count == 0 {
        notes.push(format!("nothing found within {depth} levels"));
    }
    Ok(output.finish(&notes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn disk() -> Folder {
        let files = [
            "docs/a.md",
            "docs/.git/config",
            "docs/sub/b.md",
            "docs/sub/deep/c.txt",
            "more/d.md",
            "more/target/x",
        ];
        Folder::new(&["docs", "more"], &files.map(|file| (file, "x")))
    }

    #[test]
    fn it_lists_by_depth_glob_and_limit() {
        let all = run(&disk(), &ListFiles::default()).unwrap();
        assert_eq!(
            all,
            "/docs/a.md\n/docs/sub/\n/docs/sub/b.md\n/docs/sub/deep/\n/more/d.md"
        );
        let glob = |glob: &str| {
            run(
                &disk(),
                &ListFiles {
                    glob: Some(glob.into()),
                    ..ListFiles::default()
                },
            )
            .unwrap()
        };
        assert_eq!(glob("*.md"), "/docs/a.md\n/docs/sub/b.md\n/more/d.md");
        assert_eq!(glob("sub/**"), "/docs/sub/b.md\n/docs/sub/deep/c.txt");
        let one = run(
            &disk(),
            &ListFiles {
                path: Some("docs/sub".into()),
                limit: Some(1),
                ..ListFiles::default()
            },
        );
        assert_eq!(
            one.unwrap(),
            "/docs/sub/b.md\n[more than 1; narrow it with `path` or `glob`, or raise `limit`]"
        );
        let hidden = ListFiles {
            path: Some("/docs".into()),
            depth: Some(1),
            hidden: true,
            ..ListFiles::default()
        };
        assert!(run(&disk(), &hidden).unwrap().starts_with("/docs/.git/"));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let error = run(
            &disk(),
            &ListFiles {
                path: Some("/docs/subb".into()),
                ..ListFiles::default()
            },
        )
        .unwrap_err();
        assert!(error.message.contains("/docs/sub"), "{}", error.message);
    }
}
