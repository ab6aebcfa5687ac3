//! The configuration's reference as Markdown, made from the tables that the code itself reads.

use std::fmt::Write as _;

use super::budget;
use super::keys::{self, KEYS};
use crate::limits::{self, Looser, TABLE, Unit};

const HEAD: &str = "\
# Configuration

<!-- Made by `hermes-host config reference`; change the tables in the code, not this page. -->

Layers, later ones over earlier ones:

1. built-in defaults
2. `$HERMES_HOME/host/config.toml`, the operator's own file (`HERMES_HOME` is `~/.hermes` where it is not set)
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
    budget(&mut page);
    limits(&mut page);
    page
}

fn budget(page: &mut String) {
    page.push_str("## Keys of a budget\n\n");
    let names: Vec<String> = budget::KEYS.iter().map(|key| format!("`{key}`")).collect();
    let _ = writeln!(page, "{}.\n", names.join(", "));
    page.push_str(
        "`usd` takes dollars (`0.50`), `wall` a duration with its unit (`5m`), all others whole numbers. Each binds the \
         root, as\n`child.KEY` a child whose spec names no such limit, as `tree.KEY` the whole run. What is not named has \
         no limit, but\n`iterations` (`limits.iterations.root` and `.child`) and `wall` (`limits.run_wall`), which go no further than these keys.\n\n",
    );
}

fn limits(page: &mut String) {
    let less = TABLE.iter().filter(|row| row.looser == Looser::Less);
    let less: Vec<String> = less.map(|row| format!("`{}`", row.key)).collect();
    let _ = writeln!(
        page,
        "## Limits\n\nKeys below `[limits]`. A project's file may lower each of them but these, of which less allows more, and which it \
         may raise:\n{}.\n",
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

fn shown(value: u64, unit: Unit) -> String {
    if matches!(unit, Unit::Bytes | Unit::Millis) {
        return limits::show(value, unit);
    }
    let digits = value.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}
