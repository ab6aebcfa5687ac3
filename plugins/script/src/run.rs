//! Running one script.

use std::cell::RefCell;
use std::rc::Rc;

use hermes_sdk::{Error, text};
use rhai::{Dynamic, Engine, Scope};
use serde_json::{Map, Value};

use crate::{caps, fault, value};

/// The variable that holds all inputs, those too whose names can't be variables.
const INPUTS: &str = "inputs";

/// Runs a script on these inputs: its result as JSON, and what it printed.
///
/// # Errors
/// For the model: what is wrong with the script, and where.
pub(crate) fn run(script: &str, inputs: &Map<String, Value>) -> Result<String, Error> {
    if script.len() > caps::SCRIPT_BYTES {
        return Err(Error::invalid_input(format!(
            "`script` has {} bytes, {} are the most",
            script.len(),
            caps::SCRIPT_BYTES
        )));
    }
    let mut engine = caps::engine();
    let printed = printing(&mut engine);
    let ast = engine
        .compile(script)
        .map_err(|error| Error::failed(fault::unreadable(script, &error)))?;
    let result = engine.eval_ast_with_scope::<Dynamic>(&mut scope(inputs), &ast);
    let printed = shown(&printed.borrow());
    match result {
        Ok(value) => answer(value, &printed),
        Err(error) => {
            let mut words = fault::failed(script, &error);
            if !printed.is_empty() {
                words = format!("{words}\nPrinted until then:\n{printed}");
            }
            Err(Error::failed(words))
        }
    }
}

/// A variable for each input whose name can be one, and all of them in one map.
fn scope(inputs: &Map<String, Value>) -> Scope<'static> {
    let mut scope = Scope::new();
    scope.push_dynamic(INPUTS, value::from_json(&Value::Object(inputs.clone())));
    for (name, input) in inputs.iter().filter(|(name, _)| is_variable(name)) {
        scope.push_dynamic(name.clone(), value::from_json(input));
    }
    scope
}

fn is_variable(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= 64
}

/// Keeps what the script prints, as far as it is shown.
fn printing(engine: &mut Engine) -> Rc<RefCell<Printed>> {
    let printed = Rc::new(RefCell::new(Printed::default()));
    let (lines, debugged) = (printed.clone(), printed.clone());
    engine.on_print(move |line| lines.borrow_mut().keep(line));
    engine.on_debug(move |line, _, _| debugged.borrow_mut().keep(line));
    printed
}

#[derive(Debug, Default)]
struct Printed {
    text: String,
    left_out: usize,
}

impl Printed {
    fn keep(&mut self, line: &str) {
        let room = caps::PRINTED_BYTES.saturating_sub(self.text.len());
        let kept = text::prefix(line, room);
        self.left_out += line.len() - kept.len();
        if room > 0 {
            self.text.push_str(kept);
            self.text.push('\n');
        }
    }
}

fn shown(printed: &Printed) -> String {
    let text = printed.text.trim_end();
    match printed.left_out {
        0 => text.to_owned(),
        more => format!("{text}\n[{more} more bytes were printed]"),
    }
}

fn answer(value: Dynamic, printed: &str) -> Result<String, Error> {
    let nothing = value.is_unit();
    let json = value::to_json(value)
        .map_err(|why| Error::failed(format!("The script's result can't be given back: {why}.")))?
        .to_string();
    if json.len() > caps::RESULT_BYTES {
        return Err(Error::failed(format!(
            "The script's result has {} bytes as JSON, {} are the most: return a part or a sum of it.",
            json.len(),
            caps::RESULT_BYTES
        )));
    }
    Ok(match (nothing, printed) {
        (_, "") => json,
        (true, printed) => format!("Printed:\n{printed}"),
        (false, printed) => format!("{json}\n\nPrinted:\n{printed}"),
    })
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
