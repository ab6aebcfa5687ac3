//! A home folder and a working folder of its own for each test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::guests::built;
use crate::host::{binary, target};
use crate::model::{Format, ModelServer};
use crate::{Host, Output};

/// The key that every provider of the tests gets. It may appear nowhere but at the provider.
pub const KEY: &str = "sk-canary-9f1d4c7ab2e84e0d8c55";

/// `provider/name` of the model that [`Home::with_model`] sets.
pub const MODEL: &str = "test/test-model";

/// What the configuration file starts with for a provider, then [`KEY`]'s variable.
pub const KEY_VARIABLE: &str = "HERMES_TESTS_KEY";

/// A home folder and a working folder, both removed with it.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    printed: Printed,
}

/// What commands of a home have printed, each with its line, in the order in which they ended.
pub(crate) type Printed = Arc<Mutex<Vec<(String, Output)>>>;

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// A home with no provider, and an empty working folder beside it. It has compiled before what most tests use: that takes seconds of each test else.
    pub fn new() -> Self {
        Self::after_compiling(&MOST_USE, "")
    }

    /// An empty home, and an empty working folder beside it.
    pub fn empty() -> Self {
        let folder = tempfile::Builder::new().prefix("hermes-tests-").tempdir().unwrap();
        let printed = Printed::default();
        let home = Self { folder, printed };
        fs::create_dir(home.path()).unwrap();
        fs::create_dir(home.work()).unwrap();
        home
    }

    /// As [`Home::new`], with this server's model as its default.
    pub fn with_model(server: &ModelServer, format: Format) -> Self {
        Self::after_compiling(&MOST_USE, &provider(server, format))
    }

    /// As [`Home::with_model`], with a configuration of its own.
    pub fn with_configuration(toml: &str) -> Self {
        Self::after_compiling(&MOST_USE, toml)
    }

    /// As [`Home::with_model`], for a server of OpenAI's format that is another process and listens at `address`.
    pub fn with_model_at(address: &str) -> Self {
        let provider = provider_at(&format!("http://{address}/v1"), Format::OpenAi);
        Self::after_compiling(&MOST_USE, &provider)
    }

    /// As [`Home::with_model`], for a guest that takes long to compile: beside it are only the probe and the plugin in the binary
    /// that each run asks.
    pub fn with_guest(server: &ModelServer, format: Format, guest: &str) -> Self {
        Self::after_compiling(&["probe", guest, "script"], &provider(server, format))
    }

    /// As [`Home::with_guest`], without the guest's code: what tools it has is known, and its first call compiles it.
    pub fn with_cold_guest(server: &ModelServer, format: Format, guest: &str) -> Self {
        let home = Self::with_guest(server, format, guest);
        let others = compiled(&MOST_USE);
        let is_others = |file: &Path| others.iter().any(|other| other.file_name() == file.file_name());
        let files = fs::read_dir(home.path().join("host/cache")).unwrap();
        let own = files.map(|file| file.unwrap().path()).filter(|file| !is_others(file));
        // Beside its code there is only what it answered.
        let code = own.max_by_key(|file| fs::metadata(file).unwrap().len()).unwrap();
        fs::remove_file(code).unwrap();
        home
    }

    fn after_compiling(plugins: &[&str], provider: &str) -> Self {
        let home = Self::empty();
        let cache = home.path().join("host/cache");
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
        for file in compiled(plugins) {
            fs::copy(&file, cache.join(file.file_name().unwrap())).unwrap();
        }
        if !provider.is_empty() {
            home.configure(provider);
        }
        home
    }

    /// What holds both.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The home folder, `HERMES_HOME`.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The operator's own folder, `HOME`: both of these lie in it.
    pub fn user(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The folder where commands start.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Appends to `$HERMES_HOME/host/config.toml`.
    pub fn configure(&self, toml: &str) {
        let folder = self.path().join("host");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("config.toml");
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(file, before + toml).unwrap();
    }

    /// Writes a file below the working folder, folders in between included.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.work().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        file
    }

    /// A command line for this home, without arguments yet.
    pub fn host(&self) -> Host {
        Host::new(self)
    }

    /// What every command of this home has printed that has ended so far, but for one at a terminal: its line, and that.
    pub fn printed(&self) -> Vec<(String, Output)> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says how many bytes the instances of a command may hold together that has ended: whether they do is asked with all else ([`crate::well`]).
    #[track_caller]
    pub fn holds(&self, output: &Output, bytes: u64) {
        let mut all = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        let its = all.iter_mut().find(|(_, kept)| kept.ended == output.ended);
        its.expect("a command of this home").1.instances = bytes;
    }

    /// Where a command puts what it printed.
    pub(crate) fn prints(&self) -> Printed {
        Arc::clone(&self.printed)
    }

    /// The run that began last.
    #[track_caller]
    pub fn newest_run(&self) -> String {
        let runs = self.host().args(["runs", "--output", "json"]).output().expect(0).json();
        runs[0]["run"].as_str().unwrap().to_owned()
    }

    /// What `show` says of a run.
    #[track_caller]
    pub fn shown(&self, run: &str) -> Value {
        let output = self.host().args(["show", run, "--output", "json"]).output();
        output.expect(0).json()
    }

    /// The pages of the database that hold the journal's records, in their order, counted from 1.
    pub fn journal_pages(&self) -> Vec<usize> {
        let database = Connection::open(self.path().join("host/hermes.db")).unwrap();
        let leaves = "SELECT pageno FROM dbstat WHERE name = 'journal' AND pagetype = 'leaf' ORDER BY path";
        let mut leaves = database.prepare(leaves).unwrap();
        let leaves = leaves.query_map([], |row| row.get::<_, u32>(0)).unwrap();
        leaves.map(|page| usize::try_from(page.unwrap()).unwrap()).collect()
    }

    /// Every file of the home with its bytes, in order of path.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.path(), &mut files);
        files.sort();
        files
    }

    /// Panics when a file of the home holds `secret`.
    pub fn assert_without(&self, secret: &str) {
        for (path, bytes) in self.files() {
            let found = memmem::find(&bytes, secret.as_bytes()).is_some();
            assert!(!found, "{} holds the secret", path.display());
        }
    }
}

/// The configuration of provider `test` with one model, priced and sized.
pub fn provider(server: &ModelServer, format: Format) -> String {
    provider_at(&server.base_url(format), format)
}

fn provider_at(base_url: &str, format: Format) -> String {
    format!(
        r#"
model = "{MODEL}"

[providers.test]
kind = "{}"
base_url = "{base_url}"
key_env = "{KEY_VARIABLE}"

[models."{MODEL}"]
context_tokens = 128000
max_output_tokens = 4096
price = {{ input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0, cached_input_usd_per_mtok = 0.1 }}
"#,
        format.kind()
    )
}

/// What most tests use.
const MOST_USE: [&str; 9] = [
    "probe",
    "probe-tool",
    "probe-wasi",
    "pure-echo",
    "research",
    "files",
    "script",
    "supervisor",
    "web",
];

/// The plugins in the binary that tests run.
const BUILT_IN: [&str; 5] = ["research", "files", "script", "supervisor", "web"];

/// Compiled code of these guests and plugins in the binary, and the key that vouches for it.
fn compiled(plugins: &[&str]) -> Vec<PathBuf> {
    static FILES: Mutex<BTreeMap<String, Vec<PathBuf>>> = Mutex::new(BTreeMap::new());
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let name = plugins.join("+");
    let home = target().join("tests-home").join(&name);
    files.entry(name).or_insert_with(|| compile(&home, plugins)).clone()
}

/// Has the host compile these in this home, unless an earlier test binary did since they and the host were built.
fn compile(home: &Path, plugins: &[&str]) -> Vec<PathBuf> {
    let is_built_in = |name: &str| BUILT_IN.contains(&name);
    let named = |name: &&str| if is_built_in(name) { name.into() } else { built(name) };
    let plugins: Vec<PathBuf> = plugins.iter().map(named).collect();
    let changed = |file: &Path| fs::metadata(file).and_then(|meta| meta.modified()).ok();
    // Those in the binary are as old as it.
    let newest = plugins
        .iter()
        .filter_map(|file| changed(file))
        .chain(changed(&binary()))
        .max();
    let cache = home.join("host/cache");
    if changed(&cache.join("key")) <= newest {
        let _ = fs::remove_dir_all(home);
        fs::create_dir_all(home).unwrap();
        plugins.iter().for_each(|plugin| ask(home, plugin));
    }
    let files = fs::read_dir(&cache).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

/// Has the host compile a plugin to ask what it is.
fn ask(home: &Path, plugin: &Path) {
    let mut inspect = Command::new(binary());
    // The tests' own variable would be a setting to the host.
    inspect.env_remove("HERMES_HOST_BIN").env("HERMES_HOME", home);
    // Python takes most of a minute on two cores that have nothing else to do.
    inspect
        .args(["--set", "limits.compile.wall=5m", "inspect", "--ask"])
        .arg(plugin);
    let output = inspect.output().unwrap();
    let (name, words) = (plugin.display(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} can't be inspected:\n{words}");
}

fn collect(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push((path.clone(), fs::read(&path).unwrap_or_default()));
        }
    }
}
