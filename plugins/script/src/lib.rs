//! A tool that runs a small script of the language Rhai: for a model that should reckon rather than guess. It imports nothing
//! but types, so a script reaches nothing but its inputs.

mod caps;
mod fault;
mod run;
mod value;

use hermes_sdk::{Error, args, tool, tools};
use serde_json::{Map, Value};

/// What `run_script` takes.
#[args]
#[derive(Debug)]
struct RunScript {
    /// The script. Its last expression is the result.
    script: String,
    /// Values for the script, by name: lists become arrays, objects become maps.
    inputs: Option<Map<String, Value>>,
}

/// Runs a small script and returns its last expression as JSON, with what it printed. Use it to count, sum, sort, compare or
/// convert rather than reckon in your head. It reaches no files and no network: pass what it needs as `inputs`, each of which
/// is a variable of its name.
///
/// The language is Rhai, much like JavaScript: `let x = 1;` `if x > 1 { } else { }` `while` `for p in list { }` `for i in 0..9
/// { }` `fn f(a) { a + 1 }` `|x| x * 2`. Arrays `[1, 2]`, maps `#{a: 1}`, strings in double quotes or with `${x}` in
/// back-ticks. `list.map(f)` `.filter(f)` `.reduce(|sum, x| sum + x, 0)` `.sort()` `.len()` `.push(x)` `map.keys()`
/// `text.split(",")` `.to_upper()` `x.to_float()` `.round()` `parse_int(text)` `print(x)`. Whole numbers divide to whole numbers.
///
/// Example with inputs {"prices": [3, 4.5]}: let sum = 0.0; for p in prices { sum += p; } #{sum: sum, mean: sum /
/// prices.len()}
#[tool(read_only, idempotent, closed_world, title = "Run script")]
fn run_script(args: RunScript) -> Result<String, Error> {
    run::run(&args.script, &args.inputs.unwrap_or_default())
}

tools! { manifest = "manifest.toml", tools = [run_script] }

#[cfg(test)]
mod tests {
    use super::*;
    use hermes_sdk::tool::{call, definition};

    /// What the host keeps of a description, in bytes.
    const DESCRIPTION_BYTES: usize = 1024;

    #[test]
    fn the_description_is_kept_whole_and_its_example_runs() {
        let definition = definition::<run_script>();
        assert!(
            definition.description.len() <= DESCRIPTION_BYTES,
            "{} bytes",
            definition.description.len()
        );
        let (_, example) = definition.description.split_once("Example with inputs ").unwrap();
        let (inputs, script) = example.split_once(": let ").unwrap();
        let arguments = format!(
            r#"{{"script":{},"inputs":{inputs}}}"#,
            Value::String(format!("let {script}"))
        );
        let output = call::<run_script>(&arguments).unwrap();
        let text = format!("{:?}", output.content);
        assert!(text.contains(r#"{\"mean\":3.75,\"sum\":7.5}"#), "{text}");
    }
}
