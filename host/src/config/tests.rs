use std::fs;

use super::*;
use crate::error::Dimension;
use crate::limits::{Looser, TABLE};

struct Place {
    dir: tempfile::TempDir,
    sources: Sources,
}

/// A home folder and a project folder with these files.
fn place(home: &str, project: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("home/host")).unwrap();
    fs::create_dir_all(dir.path().join("work")).unwrap();
    fs::write(dir.path().join("home/host/config.toml"), home).unwrap();
    fs::write(dir.path().join("work/hermes.toml"), project).unwrap();
    let env = vec![(OsString::from("HERMES_HOME"), dir.path().join("home").into_os_string())];
    let sources = Sources {
        env,
        cwd: Some(dir.path().join("work")),
        ..Sources::default()
    };
    Place { dir, sources }
}

impl Place {
    fn var(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.into(), value.into()));
        self
    }

    fn set(mut self, text: &str) -> Self {
        self.sources.set.push(text.to_owned());
        self
    }

    fn load(&self) -> Config {
        Config::load(&self.sources).unwrap()
    }

    fn error(&self) -> String {
        let text = Config::load(&self.sources).unwrap_err().to_string();
        text.replace(&self.dir.path().display().to_string(), "")
    }
}

#[test]
fn later_layers_win_and_each_value_knows_its_source() {
    let home = "model = 'small'\n[limits]\nmemory = '96MiB'\nllm.first_byte = '90s'\niterations.child = 7\n[aliases]\nsmall = 'x/y'\n";
    let place = place(home, "[limits]\nmemory = '80MiB'\n")
        .var("HERMES_HOST_LIMITS_LLM_FIRST_BYTE", "80s")
        .set("limits.iterations.child=6");
    let config = place.load();
    assert_eq!(config.model.as_deref(), Some("small"));
    assert_eq!((config.limits.memory, config.limits.llm_first_byte), (80 << 20, 80_000));
    assert_eq!(config.limits.iterations_child, 6);
    let source = |key: &str| config.shown.iter().find(|s| s.key == key).unwrap().source.clone();
    assert!(matches!(source("limits.memory"), Source::Project { line: 2, .. }));
    assert!(matches!(source("model"), Source::Home { line: 1, .. }));
    assert_eq!(
        source("limits.llm.first_byte"),
        Source::Variable("HERMES_HOST_LIMITS_LLM_FIRST_BYTE".to_owned())
    );
    assert_eq!(
        source("limits.iterations.child").to_string(),
        "--set limits.iterations.child"
    );
    assert_eq!(source("limits.prompt"), Source::Default);
}

#[test]
fn every_setting_can_be_set_by_file_variable_and_flag() {
    let home = "allow = ['fs:./a']\ndeny = ['llm']\ntools = ['x=./x.wasm']\nbudget = 'usd=1'\nclosing_call = false\n\
                tool_delay = '2s'\ndurability = 'process'\ncompile_cache = false\n[models.'x/y.z']\n[providers]\n";
    let config = place(home, "").load();
    assert_eq!(
        (config.allow, config.deny, config.tools),
        (
            vec!["fs:./a".to_owned()],
            vec!["llm".to_owned()],
            vec!["x=./x.wasm".to_owned()]
        )
    );
    assert_eq!(config.budget.root, [(Dimension::CostMicroUsd, 1_000_000)]);
    assert_eq!((config.closing_call, config.compile_cache), (false, false));
    assert_eq!(
        (config.tool_delay, config.durability),
        (Duration::from_secs(2), Durability::Process)
    );
    for key in keys::settable() {
        let value = match key.as_str() {
            "model" => "a/b".to_owned(),
            "allow" | "own" | "tools" | "deny" => "llm".to_owned(),
            "budget" => "iterations=1".to_owned(),
            "closing_call" | "compile_cache" => "false".to_owned(),
            "tool_delay" => "1s".to_owned(),
            "durability" => "process".to_owned(),
            limit => Limits::default().get(&limit["limits.".len()..]).unwrap().to_string(),
        };
        place("", "").var(&keys::variable(&key), &value).load();
        place("", "").set(&format!("{key}={value}")).load();
    }
}

#[test]
fn a_budget_is_merged_limit_by_limit() {
    let home = "[budget]\niterations = 20\nusd = 0.5\nwall = '5m'\n[budget.child]\niterations = 3\n";
    let config = place(home, "budget = 'iterations=10'\n").set("budget=usd=0.25").load();
    let root = [
        (Dimension::Iterations, 10),
        (Dimension::CostMicroUsd, 250_000),
        (Dimension::WallClockMs, 300_000),
    ];
    assert_eq!(config.budget.root, root);
    assert_eq!(config.budget.child, [(Dimension::Iterations, 3)]);
    let usd = config.shown.iter().find(|s| s.key == "budget.usd").unwrap();
    assert_eq!(
        (usd.value.as_str(), usd.source.to_string().as_str()),
        ("0.250000", "--set budget")
    );
    assert!(
        place("[budget]\niterations = '20,usd=5'\n", "")
            .error()
            .contains("no value")
    );
    assert!(place("[budget]\nusd = nan\n", "").error().contains("nan"));
}

#[test]
fn every_value_is_shown_for_people_and_for_programs() {
    use serde_json::json;
    let home = "allow = ['fs:./a']\nbudget = 'usd=0.25,tree.stored-bytes=1MiB'\n[limits]\nrun_wall = '90s'\n\
                [aliases]\nfast = 'x/y'\n[models.'x/y']\ncontext_tokens = 32768\n";
    let config = place(home, "").load();
    let row = |key: &str| config.shown.iter().find(|s| s.key == key).unwrap();
    for (key, value, plain, source) in [
        ("home", None, json!(config.home.display().to_string()), "HERMES_HOME"),
        ("model", Some("not set"), json!(null), "default"),
        ("allow", Some("[\"fs:./a\"]"), json!(["fs:./a"]), ":1"),
        ("tool_delay", Some("0 ms"), json!(0), "default"),
        ("closing_call", Some("true"), json!(true), "default"),
        ("budget.usd", Some("0.250000"), json!(0.25), ":2"),
        ("budget.tree.stored-bytes", Some("1 MiB"), json!(1 << 20), ":2"),
        ("budget.iterations", Some("90"), json!(90), "default"),
        ("budget.child.iterations", Some("50"), json!(50), "default"),
        // Its default is a limit, which was set.
        ("budget.wall", Some("90 s"), json!(90_000), ":4"),
        ("budget.journal-bytes", Some("64 MiB"), json!(64 << 20), "default"),
        ("providers", Some("none"), json!(null), "default"),
        ("aliases.fast", Some("x/y"), json!("x/y"), ":6"),
        ("models.\"x/y\".context_tokens", Some("32768"), json!(32_768), ":8"),
        ("limits.memory", Some("64 MiB"), json!(64 << 20), "default"),
        (
            "limits.fuel",
            Some("10,000,000,000"),
            json!(10_000_000_000_u64),
            "default",
        ),
    ] {
        let row = row(key);
        assert!(value.is_none_or(|value| row.value == value), "{key}: {row:?}");
        assert_eq!(row.plain, plain, "{key}");
        assert!(row.source.to_string().ends_with(source), "{key}: {row:?}");
    }
    assert!(config.shown.iter().all(|s| s.key != "models" && s.key != "aliases"));
}

#[test]
fn a_project_narrows_only() {
    let home = "[limits]\nmemory = '32MiB'\n[budget]\ntokens = 100\n[aliases]\ncareful = 'local/x'\n";
    let narrowed = "model = 'careful'\ndeny = ['delegation']\nbudget = 'iterations=5,usd=1,tokens=100'\n[limits]\nmemory = '32MiB'\n";
    let config = place(home, narrowed).load();
    assert_eq!(
        (config.model.as_deref(), config.deny),
        (Some("careful"), vec!["delegation".to_owned()])
    );

    for widening in [
        "allow = ['fs:/']",
        "own = ['web=net:x.org']",
        "tools = ['./evil.wasm']",
        "model = 'openai/gpt'",
        "durability = 'process'",
        "closing_call = true",
        "compile_cache = false",
        "tool_delay = 0",
        "budget = 'iterations=91'",
        "budget = 'wall=11m'",
        "budget = 'child.iterations=51'",
        "[budget]\ntokens = 101",
        "[limits]\nmemory = '33MiB'",
        "[limits]\nfuel = 10_000_000_001",
        "[aliases]\ncareful = 'evil/x'",
        "[providers.openai]\nbase_url = 'http://evil/'",
        "[models.\"local/x\"]\ninput = 0",
    ] {
        let place = place(home, widening);
        let error = Config::load(&place.sources).unwrap_err();
        assert!(matches!(error, ConfigError::Project { .. }), "{widening}: {error}");
        assert!(
            error.help().iter().any(|line| line.contains("home/host/config.toml")),
            "{widening}"
        );
    }
    assert!(place("deny = ['llm']\n", "deny = ['lessons']\n").load().deny == ["llm", "lessons"]);
}

/// Of each limit one side is looser, and the other is the project's to choose.
#[test]
fn a_project_tightens_each_limit_and_loosens_none() {
    for row in TABLE {
        let (looser, tighter) = match row.looser {
            Looser::More => (row.max, row.min),
            Looser::Less => (row.min, row.max),
        };
        let project = |value: u64| format!("[limits]\n{} = {value}\n", row.key);
        let config = place("", &project(tighter)).load();
        assert_eq!(config.limits.get(row.key), Some(tighter), "{}", row.key);
        place("", &project(row.default)).load();
        if looser != row.default {
            let error = Config::load(&place("", &project(looser)).sources).unwrap_err();
            assert!(matches!(error, ConfigError::Project { .. }), "{}: {error}", row.key);
        }
    }
    let error = place(
        "[limits]\ndisk_reserve = '32MiB'\n",
        "[limits]\ndisk_reserve = '16MiB'\n",
    )
    .error();
    assert!(
        error.ends_with("it may only raise it, and `16MiB` is less than 32 MiB"),
        "{error}"
    );
}

#[test]
fn a_project_takes_nothing_back() {
    let config = place("deny = ['llm']\n", "deny = []\n").load();
    assert_eq!(config.deny, ["llm"]);
}

#[test]
fn slips_are_named_with_their_place_and_the_nearest_key() {
    let error = |home: &str| place(home, "").error();
    assert_eq!(
        error("\n[limits]\nmemroy = 1\n"),
        "/home/host/config.toml:3: there is no setting `limits.memroy`; did you mean `limits.memory`?"
    );
    assert_eq!(
        error("modle = 'x'\n"),
        "/home/host/config.toml:1: there is no setting `modle`; did you mean `model`?"
    );
    assert_eq!(
        error("[limts]\n"),
        "/home/host/config.toml:1: there is no setting `limts`"
    );
    assert!(error("[budget]\niteration = 1\n").contains("did you mean `iterations`?"));
    assert!(error("[limits]\nmemory = -1\n").ends_with("`limits.memory` can't be `-1`: it is negative"));
    assert!(error("[limits]\nmemory = '4GiB'\n").ends_with("it must lie between 64 KiB and 3 GiB"));
    assert!(error("[limits]\nmemory = 1.5\n").contains("must be a number of bytes"));
    assert!(error("model = 'a'\nmodel = 'b'\n").contains("config.toml:2 is not TOML"));
    assert!(error("durability = 'none'\n").contains("`power` or `process`"));
    assert!(error("deny = ['fs']\n").contains("delegation"));
    let variable = |name: &str| place("", "").var(name, "1").error();
    assert_eq!(
        variable("HERMES_HOST_LIMIT_MEMORY"),
        "there is no variable `HERMES_HOST_LIMIT_MEMORY`; did you mean `HERMES_HOST_LIMITS_MEMORY`?"
    );
    assert_eq!(
        place("", "").var("HERMES_HOST_LIMITS_MEMORY", "1e9 MiB").error(),
        "HERMES_HOST_LIMITS_MEMORY: `limits.memory` can't be `1e9 MiB`: it must be a number of bytes, like 64MiB"
    );
    assert!(place("", "").set("limits.memory").error().contains("has no `=`"));
}

#[test]
fn files_of_providers_are_found_from_anywhere() {
    let home = "[providers.a]\nkind = 'openai'\nkey_file = 'keys/a'\n[providers.b]\nkind = 'openai'\nkey_file = '~/b'\n\
                [providers.c]\nkind = 'scripted'\nfile = '/c.toml'\n[providers]\nd = { kind = 'scripted', file = 'd.toml' }\n";
    let place = place(home, "")
        .var("HOME", "/me")
        .set("providers.e = {kind = 'scripted', file = 'e.toml'}");
    let providers = place.load().models.providers;
    let path = |name: &str| {
        let provider = &providers[name];
        provider.key_file.clone().or(provider.file.clone()).unwrap()
    };
    let host = place.dir.path().join("home/host");
    assert_eq!([path("a"), path("b")], [host.join("keys/a"), "/me/b".into()]);
    assert_eq!([path("c"), path("d")], ["/c.toml".into(), host.join("d.toml")]);
    assert_eq!(
        path("e"),
        place.dir.path().join("work/e.toml"),
        "a flag's is the shell's"
    );
}

#[test]
fn a_key_in_the_place_of_its_variables_name_is_not_shown() {
    let shown = |text: &str| {
        let config = place(text, "")
            .set("providers.y = {kind = 'openai', key_env = 'sk-live'}")
            .load();
        config
            .shown
            .into_iter()
            .map(|s| format!("{}={}\n", s.key, s.value))
            .collect::<String>()
    };
    let text = shown("[providers.x]\nkind = 'openai'\nkey_env = 'sk-live'\n");
    assert!(
        text.contains("providers.x.key_env=[hidden]") && !text.contains("sk-live"),
        "{text}"
    );
    assert!(shown("[providers.x]\nkind = 'openai'\nkey_env = 'X_KEY'\n").contains("providers.x.key_env=X_KEY"));
}

#[test]
fn odd_files_are_refused() {
    let file = place("", "");
    let path = file.dir.path().join("work/hermes.toml");
    fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(file.error().contains("larger than 1 MiB"));
    fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
    file.load();
    fs::write(&path, b"model = '\xff'\n").unwrap();
    assert!(file.error().contains("not UTF-8"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(file.error().contains("no regular file"));
    fs::remove_dir(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(file.error().contains("no regular file"));
}

#[test]
fn a_home_folder_is_needed() {
    let load = |env: &[(&str, &str)], cwd: Option<&str>| {
        let env = env.iter().map(|(k, v)| (k.into(), v.into())).collect();
        let sources = Sources {
            env,
            cwd: cwd.map(Into::into),
            ..Sources::default()
        };
        Config::load(&sources).map(|config| config.home)
    };
    assert_eq!(load(&[], None), Err(ConfigError::NoHome));
    assert_eq!(load(&[("HOME", "")], None), Err(ConfigError::NoHome));
    assert!(matches!(
        load(&[("HERMES_HOME", "")], None),
        Err(ConfigError::BadHome { .. })
    ));
    assert!(matches!(
        load(&[("HERMES_HOME", "here")], None),
        Err(ConfigError::BadHome { .. })
    ));
    assert_eq!(
        load(&[("HERMES_HOME", "here")], Some("/nowhere")),
        Ok("/nowhere/here".into())
    );
    assert_eq!(load(&[("HOME", "/nowhere")], None), Ok("/nowhere/.hermes".into()));
    for relative in [".", "here", "../there"] {
        let bad = load(&[("HOME", relative)], Some("/nowhere"));
        assert!(
            matches!(bad, Err(ConfigError::BadHome { variable: "HOME", .. })),
            "{bad:?}"
        );
        let named = load(&[("HOME", relative), ("HERMES_HOME", "/there")], Some("/nowhere"));
        assert_eq!(named, Ok("/there".into()));
    }
}

#[test]
fn the_references_example_loads() {
    let page = reference();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = place(example, "model = 'careful'\n").load();
    assert_eq!(config.model.as_deref(), Some("careful"));
    // Whoever calls a tool must hold its grants too, so that a grant to one plugin alone would open nothing.
    assert_eq!(config.allow, ["net:GET@en.wikipedia.org"]);
    assert_eq!(
        (config.models.providers.len(), config.limits.llm_first_byte),
        (2, 90_000)
    );
    let error = place("[providers.x]\nkind = 'openai'\nkey = 'sk-1'\n", "").error();
    assert!(
        error.contains("providers.x") && error.contains("key") && !error.contains("sk-1"),
        "{error}"
    );
}

#[test]
fn the_page_in_docs_is_the_reference() {
    let page = include_str!("../../../docs/configuration.md");
    assert!(
        page == reference(),
        "write it anew: hermes-host config reference > docs/configuration.md"
    );
}

#[test]
fn the_reference_names_every_key() {
    let page = reference();
    for key in keys::settable() {
        let name = key.strip_prefix("limits.").unwrap_or(&key);
        assert!(page.contains(&format!("`{name}`")), "{key}");
    }
}

#[test]
fn the_operators_file_is_not_read_where_everybody_may_write_it() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let place = place("allow = ['net:example.org']", "");
    let file = place.dir.path().join("home/host/config.toml");
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    let said = place.error();
    assert!(
        said.contains("everybody may write it") && said.contains("chmod o-w"),
        "{said}"
    );
    assert!(said.contains("home/host/config.toml"), "{said}");
    mode(0o664);
    assert_eq!(place.load().allow, ["net:example.org"]);
    // As those have it who keep their configuration elsewhere.
    let elsewhere = place.dir.path().join("mine.toml");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert_eq!(place.load().allow, ["net:example.org"]);
}
