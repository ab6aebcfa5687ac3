//! The configuration's reference, as Markdown and for programs, made from the tables that the code itself reads.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::budget;
use super::keys::{self, KEYS};
use super::known::{KNOWN, PRICES_AS_OF};
use crate::limits::{self, Looser, TABLE, Unit};

const HEAD: &str = "\
# Configuration

<!-- Made by `hermes-host config reference`; change the tables in the code, not this page. -->

Layers, later ones over earlier ones:

1. built-in defaults
2. `$HERMES_HOME/host/config.toml`, the operator's own file (`HERMES_HOME` is `~/.hermes` where it is not set, and `HOME` has to be
   absolute then); it belongs to the user who runs hermes-host, or to root, and not everybody may write it, else it is an error
3. `hermes.toml` in the current folder, the project's file
4. variables `HERMES_HOST_…`
5. flags: `--set KEY=VALUE` for any key, and those that have a name of their own

`hermes-host config show` prints each value and where it came from. An unknown key or variable is an error.

**A project's file may be a stranger's.** It may narrow what the operator allows and nothing else: tighten a limit, lower
the budget, add to `deny`, choose among the operator's own aliases as `model`. Any other key in it is an error.

A number may have its unit: `64KiB`, `64MiB`, `2GiB`; `250ms`, `30s`, `5m`, `1h`. A bare number is of bytes or of
milliseconds. A list in a variable or in `--set` is a TOML array, or its one item.

";

const EXAMPLE: &str = r#"## An operator's file

```toml
model = "fast"
allow = ["net:GET@en.wikipedia.org"]
budget = "iterations=40,usd=0.50,wall=5m"

[limits]
memory = "128MiB"
llm.first_byte = "90s"

[providers.home]
kind = "openai"
base_url = "http://127.0.0.1:11434/v1"

[providers.work]
kind = "anthropic"
key_file = "~/.keys/anthropic"

[aliases]
fast = "home/qwen3"
careful = "work/claude-sonnet-4-5"

[models."home/qwen3"]
context_tokens = 32768
price = { input_usd_per_mtok = 0.0, output_usd_per_mtok = 0.0 }
```

"#;

/// The whole reference.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Settings\n\n");
    for key in KEYS {
        let _ = writeln!(page, "### `{}`\n\n{}\n", key.name, key.about);
        let _ = writeln!(page, "- takes: {}\n- default: {}", key.takes, key.default);
        let _ = writeln!(page, "- in a project's file: {}", key.project.unwrap_or("not allowed"));
        if keys::settable().any(|name| name == key.name) {
            let _ = writeln!(page, "- variable: `{}`", keys::variable(key.name));
        }
        page.push('\n');
    }
    page.push_str(EXAMPLE);
    known(&mut page);
    budget(&mut page);
    limits(&mut page);
    page
}

fn known(page: &mut String) {
    let _ = writeln!(
        page,
        "## Models with known prices\n\nUS dollars for each million tokens, as they stood in their makers' price lists in {PRICES_AS_OF}. A name may \
         have its date behind it. A limit in `usd`\ntakes models whose price is known: of others it is set below `models`, as in the example, and so \
         is one that has changed.\n"
    );
    page.push_str(
        "| model | input | cached input | output | window, in tokens | longest answer |\n|---|---|---|---|---|---|\n",
    );
    for model in KNOWN {
        let [input, cached, output] = model.price.map(dollars);
        let [window, answer] = [model.context_tokens, model.max_output_tokens].map(|tokens| grouped(tokens.into()));
        let (maker, name) = (model.kind.name(), model.name);
        let _ = writeln!(
            page,
            "| `{maker}/{name}` | {input} | {cached} | {output} | {window} | {answer} |"
        );
    }
    page.push('\n');
}

/// Thousandths of a dollar as dollars: `1.25`.
fn dollars(thousandths: u64) -> String {
    let dollars = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    dollars.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn budget(page: &mut String) {
    page.push_str("## Keys of a budget\n\n");
    let names: Vec<String> = budget::KEYS.iter().map(|key| format!("`{key}`")).collect();
    let _ = writeln!(page, "{}.\n", names.join(", "));
    page.push_str(
        "`usd` takes dollars (`0.50`), `wall` a duration with its unit (`5m`), all others whole numbers, `stored-bytes` and \
         `journal-bytes` with a unit too (`64MiB`).\nEach binds the root, as `child.KEY` a child whose spec names no such limit, \
         as `tree.KEY` the whole run. What is not named has no limit, but\n`iterations` (`limits.iterations.root` and `.child`) \
         and `wall` (`limits.run_wall`), which go no further than these keys, and `journal-bytes` (`limits.journal_bytes`).\n\n",
    );
}

fn limits(page: &mut String) {
    let less = TABLE.iter().filter(|row| row.looser == Looser::Less);
    let less: Vec<String> = less.map(|row| format!("`{}`", row.key)).collect();
    let _ = writeln!(
        page,
        "## Limits\n\nKeys below `[limits]`. A project's file may lower each of them but these, of which less allows more, and which it \
         may raise:\n{}.\nWhat happens at each limit is in [Limits](security/limits.md).\n",
        less.join(", ")
    );
    page.push_str("| key | default | range | bounds | variable |\n|---|---|---|---|---|\n");
    for row in TABLE {
        let [default, min, max] = [row.default, row.min, row.max].map(|value| shown(value, row.unit));
        let variable = keys::variable(&format!("limits.{}", row.key));
        let about = row.about.trim();
        let _ = writeln!(
            page,
            "| `{}` | {default} | {min} to {max} | {about} | `{variable}` |",
            row.key
        );
    }
}

/// The same for programs: settings, limits, keys of a budget, and models whose prices are known. Numbers are in the unit beside them.
pub fn values() -> Value {
    let settings = KEYS.iter().map(|key| {
        let has_variable = keys::settable().any(|name| name == key.name);
        json!({
            "key": key.name,
            "about": key.about,
            "takes": key.takes,
            "default": key.default,
            "project": key.project,
            "variable": has_variable.then(|| keys::variable(key.name)),
        })
    });
    let limits = TABLE.iter().map(|row| {
        let key = format!("limits.{}", row.key);
        json!({
            "variable": keys::variable(&key),
            "key": key,
            "about": row.about.trim(),
            "unit": match row.unit {
                Unit::Count => "count",
                Unit::Bytes => "bytes",
                Unit::Millis => "ms",
                Unit::Fuel => "fuel",
            },
            "default": row.default,
            "min": row.min,
            "max": row.max,
            "less_allows_more": row.looser == Looser::Less,
        })
    });
    let models = KNOWN.iter().map(|model| {
        let [input, cached, output] = model.price.map(|thousandths| thousandths * 1_000);
        json!({
            "model": format!("{}/{}", model.kind.name(), model.name),
            "input_micro_usd_per_mtok": input,
            "cached_input_micro_usd_per_mtok": cached,
            "output_micro_usd_per_mtok": output,
            "context_tokens": model.context_tokens,
            "max_output_tokens": model.max_output_tokens,
        })
    });
    json!({
        "settings": settings.collect::<Vec<_>>(),
        "limits": limits.collect::<Vec<_>>(),
        "budget": budget::KEYS,
        "models": models.collect::<Vec<_>>(),
    })
}

/// A number in the unit that it is best read in.
pub(super) fn shown(value: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes | Unit::Millis => limits::show(value, unit),
        Unit::Count | Unit::Fuel => grouped(value),
    }
}

/// `10,000`.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}
