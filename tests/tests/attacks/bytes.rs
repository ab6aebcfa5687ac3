//! Files that are no component, or not one that this host runs. Nothing of them is compiled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cases::{self, Case, End};
use crate::hostile;
use crate::site::Site;

impl Site {
    /// Neither running nor looking at a file is possible, for the same reason, which is told at once; and nothing of it is kept.
    #[track_caller]
    fn refuses(&self, file: &Path, kind: &str, names: &[&str]) {
        let (cached, asked) = (self.cached(), self.server.requests().len());
        let own = file.file_stem().unwrap().to_string_lossy().into_owned();
        let names = [&[own.as_str()], names].concat();
        let inspect = self.host().args(["inspect", "--output", "json"]).arg(file);
        for host in [self.host().run(file, "a task"), inspect] {
            self.attack(host)
                .refused(&names)
                .of_kind(kind)
                .within(Duration::ZERO)
                .holding(0);
        }
        assert_eq!(self.cached(), cached, "it was compiled");
        assert_eq!(self.server.requests().len(), asked, "a model was asked");
    }

    /// The same for the strategy of each case.
    #[track_caller]
    fn refuses_all(&self, all: impl IntoIterator<Item = Case>) {
        for case in all {
            let End::Refused(kind, words) = &case.end else {
                panic!("{} is not refused", case.name)
            };
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            self.refuses(&case.strategy(&self.home), kind, &words);
        }
    }

    /// The same for bytes that nobody can read as a component.
    fn refuses_bytes(&self, name: &str, bytes: impl AsRef<[u8]>, names: &[&str]) {
        self.refuses(
            &self.home.write(&format!("{name}.wasm"), bytes),
            "load(bad-bytes)",
            names,
        );
    }

    /// Compiled code that is kept.
    fn cached(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.home.path().join("host/cache")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }
}

#[test]
fn a20_bytes_that_are_no_component() {
    let site = Site::new();
    site.refuses_all(cases::bytes::no_components());
    // The host's own compiled code, which would be run as it is by whoever believed it.
    let code = site
        .cached()
        .into_iter()
        .max_by_key(|file| fs::metadata(file).unwrap().len())
        .unwrap();
    site.refuses_bytes("cached", fs::read(&code).unwrap(), &["no component"]);
    let elf = fs::read(&code).unwrap();
    let start = elf
        .windows(4)
        .position(|window| window == b"\x7fELF")
        .expect("compiled code is an ELF image");
    site.refuses_bytes("code", &elf[start..], &["native or compiled code"]);
    site.is_well();
}

#[test]
fn a20_a_component_cut_anywhere() {
    let site = Site::new();
    site.refuses_all(cases::bytes::cut());
    site.is_well();
}

#[test]
fn a20_what_is_no_file() {
    let site = Site::new();
    let at = |name: &str| site.home.work().join(name);
    fs::create_dir(at("folder.wasm")).unwrap();
    site.refuses(&at("folder.wasm"), "load(bad-bytes)", &["a folder"]);
    assert!(Command::new("mkfifo").arg(at("pipe.wasm")).status().unwrap().success());
    site.refuses(&at("pipe.wasm"), "load(bad-bytes)", &["a pipe"]);
    symlink("/dev/zero", at("zero.wasm")).unwrap();
    site.refuses(&at("zero.wasm"), "load(bad-bytes)", &["a device"]);
    symlink(at("loop.wasm"), at("loop.wasm")).unwrap();
    site.refuses(&at("loop.wasm"), "load(unreadable)", &["can't be read"]);
    site.refuses(&at("missing.wasm"), "load(not-found)", &["no file"]);
    fs::File::create(at("huge.wasm")).unwrap().set_len(1 << 40).unwrap();
    site.refuses(&at("huge.wasm"), "load(too-large)", &["64 MiB", "limits.component"]);
    // A link to a component is one.
    let guest = hostile::A04_SAME.file(&site.home);
    symlink(&guest, at("link.wasm")).unwrap();
    site.attack(site.host().run(&at("link.wasm"), "go")).answers("done");
    site.is_well();
}

#[test]
fn a20_a_component_to_its_last_byte() {
    let site = Site::new();
    let bytes = hostile::A04_SAME.bytes();
    // A section that means nothing, of 2,048 bytes.
    let padded = [&bytes[..], &[0, 0x80, 0x10, 1, b'x'], &[0; 2046]].concat();
    let file = site.home.write("padded.wasm", &padded);
    // Those in the binary are larger, so that a run has other reasons to be refused.
    let looks = |limit: usize| {
        let host = site.host().set("limits.component", limit);
        site.attack(host.args(["inspect", "--output", "json"]).arg(&file))
    };
    assert_eq!(looks(padded.len()).output.code, Some(0));
    looks(padded.len() - 1)
        .refused(&["padded", "limits.component"])
        .of_kind("load(too-large)");
    site.is_well();
}

#[test]
fn a21_types_that_nest_too_deep() {
    let site = Site::new();
    site.refuses_all(cases::bytes::types());
    site.is_well();
}

#[test]
fn a21_names_that_fill_a_screen() {
    let site = Site::new();
    let case = cases::bytes::names();
    let file = case.strategy(&site.home);
    for form in ["text", "json"] {
        let host = site.host().args(["inspect", "--output", form]).arg(&file);
        let looked = site.attack(host).within(Duration::ZERO).holding(0);
        let said = looked.output.stdout.len() + looked.output.stderr.len();
        assert!(said < 256 << 10, "{said} bytes");
    }
    site.tries(&case).within(Duration::ZERO);
    site.is_well();
}

#[test]
fn a22_imports_that_nobody_has() {
    let site = Site::new();
    site.refuses_all(cases::bytes::imports());
    site.is_well();
}

#[test]
fn a22_an_import_of_another_type() {
    let site = Site::new();
    site.tries(&cases::bytes::import_of_another_type())
        .within(Duration::ZERO);
    site.is_well();
}

#[test]
fn a22_an_import_that_was_not_granted() {
    let site = Site::new();
    site.tries(&cases::authority::not_granted());
    assert_eq!(site.server.requests().len(), 0);
    // An agent that gives up for want of a right says so by its exit code.
    site.tries(&cases::authority::gives_up());
    site.is_well();
}

#[test]
fn a23_features_that_are_off() {
    let site = Site::new();
    site.refuses_all(cases::bytes::features());
    site.is_well();
}
