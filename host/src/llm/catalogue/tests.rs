use super::*;

fn config(text: &str) -> ModelsConfig {
    toml::from_str(text).expect("a configuration")
}

fn catalogue(text: &str, env: &[(&str, &str)]) -> Result<Catalogue, ModelError> {
    let env = |name: &str| {
        env.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Catalogue::new(&config(text), &env, &Limits::default())
}

fn endpoint(catalogue: &Catalogue, name: &str) -> (String, Option<String>) {
    let provider = &catalogue.providers[name];
    match &provider.backend {
        Backend::Http(endpoint) => (
            endpoint.base_url.to_string(),
            endpoint.key.as_ref().map(|key| key.source().to_string()),
        ),
        Backend::Script(_) => panic!("a script"),
    }
}

const OPENAI: (&str, &str) = ("OPENAI_API_KEY", "sk-1");

#[test]
fn aliases_and_facts_are_found() {
    let text = r#"
        [providers.test]
        kind = "openai"
        base_url = "http://127.0.0.1:1/v1"
        key_env = "TEST_KEY"
        [aliases]
        fast = "quick"
        quick = "test/gpt-test"
        loop = "loop"
        [models."test/gpt-test"]
        context_tokens = 1000
        price = { input_usd_per_mtok = 1.0, output_usd_per_mtok = 2.0 }
    "#;
    let catalogue = catalogue(text, &[("TEST_KEY", "k")]).expect("a catalogue");
    let model = catalogue.resolve("fast").expect("a model");
    assert_eq!(
        (model.name.as_str(), model.full_name().as_str()),
        ("fast", "test/gpt-test")
    );
    assert_eq!((model.context_tokens, model.max_output_tokens), (1_000, 4_096));
    assert_eq!(
        model.price.map(|p| (p.input, p.cached_input, p.output)),
        Some((1_000_000, 1_000_000, 2_000_000))
    );
    assert_eq!(catalogue.aliases().len(), 2);
    assert!(matches!(catalogue.resolve("loop"), Err(ModelError::AliasLoop { .. })));
    assert!(
        catalogue
            .resolve("fsat")
            .expect_err("unknown")
            .to_string()
            .contains("did you mean fast?")
    );
    assert!(matches!(catalogue.resolve("test"), Err(ModelError::Unknown { .. })));
    assert!(matches!(
        catalogue.resolve("nobody/x"),
        Err(ModelError::NoProvider { .. })
    ));
    // Another model of the same provider has no facts.
    assert_eq!(catalogue.resolve("test/gpt-5-mini").expect("a model").price, None);
}

#[test]
fn a_url_never_gets_the_key_of_another() {
    let text =
        "[providers.openai]\nkind = 'openai'\nbase_url = 'http://evil.example/v1'\n[providers.mine]\nkind = 'openai'";
    let configured = catalogue(text, &[OPENAI]).expect("a catalogue");
    assert_eq!(endpoint(&configured, "openai"), ("http://evil.example/v1".into(), None));
    assert_eq!(
        endpoint(&configured, "mine").1.as_deref(),
        Some("the environment variable OPENAI_API_KEY")
    );
    assert_eq!(endpoint(&configured, "ollama").1, None);
    // A look-alike host and plain http are not the maker.
    for url in ["https://api.openai.com.evil.example/v1", "http://api.openai.com/v1"] {
        let text = format!("[providers.x]\nkind = 'openai'\nbase_url = '{url}'");
        assert_eq!(
            endpoint(&catalogue(&text, &[OPENAI]).expect("a catalogue"), "x").1,
            None,
            "{url}"
        );
    }
    // The two that stand in the environment belong together.
    let env = [OPENAI, ("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")];
    assert!(
        endpoint(&catalogue("", &env).expect("a catalogue"), "openai")
            .1
            .is_some()
    );
}

#[tokio::test]
async fn the_default_is_the_wanted_then_the_environments() {
    let catalogue = catalogue("", &[OPENAI, ("ANTHROPIC_API_KEY", "sk-2")]).expect("a catalogue");
    assert_eq!(
        catalogue.choose(None).await.expect("a model").full_name(),
        OPENAI_DEFAULT
    );
    let wanted = catalogue
        .choose(Some("anthropic/claude-haiku-4-5"))
        .await
        .expect("a model");
    assert_eq!(wanted.price.map(|p| p.input), Some(1_000_000));
    assert_eq!(wanted.context_tokens, 200_000);
}

#[test]
fn a_window_is_that_of_a_family_only_at_its_maker() {
    let text = "[providers.local]\nkind = 'openai'\nbase_url = 'http://127.0.0.1:1/v1'";
    let catalogue = catalogue(text, &[OPENAI]).expect("a catalogue");
    let window = |name: &str| catalogue.resolve(name).expect("a model").context_tokens;
    assert_eq!(window("openai/gpt-6"), 128_000);
    for stranger in ["gpt-oss:20b", "olmo-2", "orca-mini"] {
        assert_eq!(window(&format!("local/{stranger}")), 32_768, "{stranger}");
    }
}

#[tokio::test]
async fn what_the_environment_has_is_used_or_refused_and_never_passed_over() {
    let good = ("ANTHROPIC_API_KEY", "sk-2");
    for (variable, value, words) in [
        ("OPENAI_API_KEY", "two words", "OPENAI_API_KEY holds no usable key"),
        ("OPENAI_BASE_URL", "sk-hunter2", "OPENAI_BASE_URL: it is no URL"),
        ("OPENAI_BASE_URL", "ftp://x", "OPENAI_BASE_URL: its URL must be http"),
    ] {
        let catalogue = catalogue("", &[(variable, value), good]).expect("a catalogue");
        let error = catalogue.choose(None).await.expect_err("refused").to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        assert!(catalogue.choose(Some("anthropic/claude-haiku-4-5")).await.is_ok());
    }
    // An address alone comes behind a key.
    let env = [("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"), good];
    let model = catalogue("", &env)
        .expect("a catalogue")
        .choose(None)
        .await
        .expect("a model");
    assert_eq!(model.full_name(), ANTHROPIC_DEFAULT);
}

#[test]
fn which_of_many_models_to_pay_for_is_not_guessed() {
    let names = |n: usize| (1..=n).map(|n| format!("m-{n}")).collect::<Vec<_>>();
    assert_eq!(the_one(&names(1), false), Ok("m-1"));
    assert_eq!(the_one(&names(2), true), Ok("m-1"));
    assert_eq!(
        the_one(&names(2), false),
        Err("it lists 2 models (m-1, m-2)".to_owned())
    );
    let many = the_one(&names(9), false).expect_err("a guess");
    assert!(many.ends_with("m-5, …)"), "{many}");
    assert!(the_one(&[], true).is_err());
}

#[test]
fn a_key_in_the_place_of_its_variables_name_is_not_shown() {
    for key in ["sk-live-hunter2", "hunter2 x", "2hunter2", ""] {
        let text = format!("[providers.x]\nkind = 'openai'\nkey_env = '{key}'");
        let error = catalogue(&text, &[]).expect_err("refused").to_string();
        assert!(
            error.contains("providers.x.key_env") && !error.contains("hunter2"),
            "{error}"
        );
    }
    assert!(catalogue("[providers.x]\nkind = 'openai'\nkey_env = '_K2'", &[]).is_ok());
}

#[test]
fn a_missing_key_is_told_to_who_needs_it_and_names_what_to_set() {
    let text = "[providers.x]\nkind = 'openai'\nbase_url = 'http://h/v1'\nkey_env = 'X_KEY'";
    let catalogue = catalogue(text, &[]).expect("a catalogue");
    assert!(
        catalogue
            .resolve("x/m")
            .expect_err("no key")
            .to_string()
            .contains("X_KEY")
    );
    assert!(
        catalogue
            .resolve("openai/gpt-5")
            .expect_err("no key")
            .to_string()
            .contains("OPENAI_API_KEY")
    );
    assert!(catalogue.resolve("ollama/qwen3").is_ok());
}

#[test]
fn odd_configurations_are_refused() {
    for (text, words) in [
        ("[providers.x]\nkind = 'scripted'", "providers.x.file"),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'ftp://x'",
            "providers.x.base_url",
        ),
        (
            "[providers.x]\nkind = 'openai'\nbase_url = 'http://user:hunter2@x'",
            "no user",
        ),
        (
            "[providers.x]\nkind = 'openai'\nkey_env = 'A'\nkey_file = 'B'",
            "two keys",
        ),
        (
            "[models.'a/b']\nprice = { input_usd_per_mtok = -1, output_usd_per_mtok = 0 }",
            "a/b",
        ),
    ] {
        let error = catalogue(text, &[]).expect_err("refused").to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{error} / {words}");
    }
}

#[test]
fn a_script_is_a_model() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.toml");
    std::fs::write(&path, "model = 'demo'\ncontext_tokens = 9\n[[turn]]\nreply.text = 'x'").expect("written");
    let mut catalogue = catalogue("", &[]).expect("a catalogue");
    catalogue.add_script(&path).expect("a script");
    let model = catalogue.resolve("scripted").expect("a model");
    assert_eq!(
        (model.full_name().as_str(), model.context_tokens, model.price),
        ("scripted/demo", 9, Some(Price::FREE))
    );
    assert!(matches!(
        catalogue.add_script(&dir.path().join("none")),
        Err(ModelError::Script { .. })
    ));
}

#[tokio::test]
async fn a_script_that_is_opened_is_the_default() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s.toml");
    std::fs::write(&path, "[[turn]]\nreply.text = 'x'").expect("written");
    let catalogue = Catalogue::open(&config(""), &Limits::default(), Some(&path)).expect("a catalogue");
    let model = catalogue.choose(None).await.expect("a model");
    assert_eq!(model.provider(), "scripted");
    assert_eq!(
        model.clone().with_price_numbers(Some((4, 1, 9))).price_numbers(),
        Some((4, 1, 9))
    );
    assert!(matches!(
        Catalogue::empty().choose(Some("x/y")).await,
        Err(ModelError::NoProvider { .. })
    ));
}
