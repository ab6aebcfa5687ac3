//! Lists the hostile guests, `tests/hostile/aNN_NAME.wat`, as constants of the attack suite. One that no test names is dead code there, and that
//! does not compile. A line `;; part: NAME` is replaced by `tests/hostile/parts/NAME.wat`.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// What lies beside the guests: parts that they have in common, and what they import beside the contract.
const FOLDERS: [&str; 2] = ["parts", "wit"];

fn main() {
    println!("cargo::rerun-if-changed=hostile");
    let mut guests = Vec::new();
    for entry in fs::read_dir("hostile").expect("there are hostile guests") {
        let path = entry.expect("the folder can be listed").path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            guests.push(path);
        } else {
            // What is not understood would be a guest that nothing tries.
            let is_known = FOLDERS.iter().any(|folder| path.is_dir() && path.ends_with(folder));
            assert!(
                is_known,
                "{} is neither a guest, a `.wat`, nor one of the folders {FOLDERS:?}",
                path.display()
            );
        }
    }
    guests.sort();
    let mut list = String::new();
    for guest in guests {
        let name = guest.file_stem().expect("it has a name").to_string_lossy().into_owned();
        let (constant, text) = (name.to_uppercase(), with_parts(&guest));
        writeln!(
            list,
            "pub(crate) const {constant}: Guest = Guest {{ name: {name:?}, text: {text:?} }};"
        )
        .expect("a String takes all");
    }
    let folder = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&folder).join("hostile.rs"), list).expect("the list can be written");
}

fn with_parts(guest: &Path) -> String {
    let text = read(guest);
    let line = |line: &str| match line.trim().strip_prefix(";; part: ") {
        Some(part) => read(&Path::new("hostile/parts").join(format!("{part}.wat"))),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{} can't be read: {error}", file.display()))
}
