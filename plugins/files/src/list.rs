//! `list_files`.

use hermes_sdk::Error;

use crate::ListFiles;
use crate::disk::{Disk, Fault, Kind};
use crate::effort::Effort;
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
    list(disk, args, &Effort::default())
}

fn list(disk: &impl Disk, args: &ListFiles, effort: &Effort) -> Result<String, Error> {
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
    let mut one = |folder: &crate::place::Place| {
        let below = folder.path.len() + usize::from(!folder.path.is_empty());
        let walked = walk(disk, folder, scope, effort, &mut |place, kind| {
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
        });
        match walked {
            // What can't be opened as a folder may be a file; only then is it worth a look.
            Err(Fault::Missing) if disk.open(folder.root, &folder.path).is_ok() => Err(Fault::File),
            walked => walked,
        }
    };
    if everywhere {
        for folder in folders {
            first(disk, &folder.shown(disk), std::slice::from_ref(folder), &mut one)?;
        }
    } else {
        first(disk, args.path.as_deref().unwrap_or_default(), &found, &mut one)?;
    }
    let mut notes = vec![];
    if full {
        notes.push(format!(
            "more than {count}; narrow it with `path` or `glob`, or raise `limit`"
        ));
    } else if effort.is_stopped() {
        notes.push(format!("stopped after {} names; narrow it with `path`", effort.names()));
    } else if count == 0 {
        notes.push(format!("nothing found within {depth} levels"));
    }
    notes.extend(effort.note());
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
    fn a_large_folder_ends_it_with_what_was_found() {
        // Three names, and six for the folder.
        let disk = Folder::new(&["d"], &["d/a", "d/b", "d/c"].map(|file| (file, "x")));
        let listed = |names: usize| list(&disk, &ListFiles::default(), &Effort::new(names, 0)).unwrap();
        assert_eq!(listed(9), "/d/a\n/d/b\n/d/c");
        let short = listed(8);
        assert!(short.contains("[stopped after 2 names; narrow it"), "{short}");
        assert_eq!(short.lines().count(), 3);
        assert_eq!(listed(6), "[stopped after 0 names; narrow it with `path`]");
        let deep = Folder::new(&["d"], &[("d/a/x", "x"), ("d/b", "x")]);
        let text = list(&deep, &ListFiles::default(), &Effort::new(14, 0)).unwrap();
        assert_eq!(
            text, "/d/a/\n/d/b\n[stopped after 2 names; narrow it with `path`]",
            "a folder that is not entered hides none of its neighbours"
        );
    }

    #[test]
    fn a_name_that_is_no_text_hides_none_of_the_others() {
        use std::os::unix::ffi::OsStrExt as _;
        let disk = Folder::new(&["d"], &[("d/a.md", "x")]);
        let odd = disk.on_disk("d").join(std::ffi::OsStr::from_bytes(b"\xff.md"));
        std::fs::write(odd, "x").unwrap();
        let text = run(&disk, &ListFiles::default()).unwrap();
        assert_eq!(
            text,
            "/d/a.md\n[names left out, as they are no plain text or could not be read: 1]"
        );
    }

    #[test]
    fn a_name_that_would_be_shown_as_another_is_left_out() {
        for hidden in [
            "\u{202e}dm.a",
            "a\u{200b}.md",
            "a\u{ad}.md",
            "a\u{200e}.md",
            "\u{2764}\u{fe0f}.md",
            "a\u{2028}.md",
            "a\u{e0041}.md",
            "a\n.md",
        ] {
            let hidden = format!("d/{hidden}");
            let text = run(
                &Folder::new(&["d"], &[("d/é ж.md", "x"), (hidden.as_str(), "x")]),
                &ListFiles::default(),
            );
            assert_eq!(
                text.unwrap(),
                "/d/é ж.md\n[names left out, as they are no plain text or could not be read: 1]",
                "{hidden:?}"
            );
        }
    }

    #[test]
    fn a_file_is_told_from_what_is_not_there() {
        let args = ListFiles {
            path: Some("/docs/a.md".into()),
            ..ListFiles::default()
        };
        let error = run(&disk(), &args).unwrap_err();
        assert!(
            error.message.contains("/docs/a.md is a file; read it with read_file"),
            "{}",
            error.message
        );
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
