use super::*;
use hermes_sdk::ErrorKind;
use serde_json::json;

fn with(script: &str, inputs: &Value) -> Result<String, String> {
    run(script, inputs.as_object().unwrap()).map_err(|error| {
        assert_eq!(error.kind, ErrorKind::Upstream);
        error.message
    })
}

fn eval(script: &str) -> Result<String, String> {
    with(script, &json!({}))
}

#[test]
fn the_last_expression_is_the_result() {
    assert_eq!(eval("let x = 2; x * 21").unwrap(), "42");
    assert_eq!(
        eval("#{ b: [1, 2.0, 'c', \"d\"], a: () }").unwrap(),
        r#"{"a":null,"b":[1,2.0,"c","d"]}"#
    );
    assert_eq!(eval("let x = 1;").unwrap(), "null");
    assert_eq!(eval("").unwrap(), "null");
}

#[test]
fn inputs_are_variables() {
    let inputs = json!({ "rows": [{ "n": 3 }, { "n": 4 }], "odd name": "x", "fn": 1 });
    let script = "rows.map(|row| row.n).reduce(|sum, n| sum + n, 0) + inputs[\"odd name\"].len() + inputs[\"fn\"]";
    assert_eq!(with(script, &inputs).unwrap(), "9");
}

#[test]
fn what_is_printed_comes_with_the_result() {
    assert_eq!(eval("print(1); debug(\"a\"); 7").unwrap(), "7\n\nPrinted:\n1\n\"a\"");
    assert_eq!(eval("print(1);").unwrap(), "Printed:\n1");
    let much = eval("for i in 0..5000 { print(\"a line of some length\"); }").unwrap();
    assert!(much.len() < caps::PRINTED_BYTES + 100 && much.ends_with("more bytes were printed]"));
}

#[test]
fn what_a_model_writes_runs() {
    let inputs = json!({ "text": "b,a,c", "n": 10 });
    for (script, result) in [
        ("let a = text.split(\",\"); a.sort(); a", r#"["a","b","c"]"#),
        ("`n is ${n}`", r#""n is 10""#),
        (
            "fn fact(n) { if n < 2 { 1 } else { n * fact(n - 1) } } fact(n)",
            "3628800",
        ),
        ("7 / 2", "3"),
        ("7 / 2.0", "3.5"),
        ("(2.0).sqrt().round()", "1.0"),
        ("parse_int(\"12\") + n", "22"),
        (
            "let m = #{}; for c in text.split(\",\") { m[c] = 1; } m.keys().len()",
            "3",
        ),
        ("text.to_upper()", r#""B,A,C""#),
        (
            "let out = []; for i in 0..3 { out.push(i * i); } out.filter(|x| x > 0)",
            "[1,4]",
        ),
        ("max(3, 4) + [1, 2].len()", "6"),
        ("if n > 5 { \"big\" } else { \"small\" }", r#""big""#),
    ] {
        assert_eq!(with(script, &inputs).unwrap(), result, "{script}");
    }
}

#[test]
fn nested_code_of_a_common_depth_runs() {
    let body = "let best = 0; for a in 1..4 { for b in 1..4 { for c in 1..4 { if a < b { if (a * a + b * b) == (c + (20 - 3)) { \
                best = max(best, (a + (b * (c - 1)))); } else { best += 1; } } } } }";
    let in_function = format!("fn f(n) {{ {body} return best; }} f(1)");
    let outside = format!("if true {{ if true {{ {body} best }} else {{ 0 }} }} else {{ 0 }}");
    for script in [&in_function, &outside] {
        assert!(eval(script).is_ok(), "{script}: {:?}", eval(script));
    }
}

#[test]
fn errors_name_the_line_and_what_happened() {
    for (script, line, what) in [
        ("let x = 1;\nlet y = ;", 2, "syntax error"),
        ("let x = 1;\n\nx + z", 3, "no variable z"),
        ("fn f(a) {\n  a.nothing()\n}\nf(1)", 2, "no function nothing"),
        ("throw \"no data\"", 1, "the script threw: no data"),
        ("1 / 0", 1, "zero"),
        ("[1][5]", 1, "5"),
        ("eval(\"1\")", 1, "eval"),
        ("import \"x\" as y;", 1, "import"),
    ] {
        let message = eval(script).unwrap_err();
        assert!(message.contains(&format!("at line {line}: ")), "{script}: {message}");
        assert!(message.to_lowercase().contains(what), "{script}: {message}");
        let shown = format!("  {line}: {}", script.lines().nth(line - 1).unwrap().trim());
        assert!(message.ends_with(&shown), "{script}: {message}");
    }
}

#[test]
fn what_was_printed_before_an_error_is_told() {
    let message = eval("print(\"so far\");\nmissing").unwrap_err();
    assert!(message.ends_with("Printed until then:\nso far"), "{message}");
}

#[test]
fn caps_end_a_script_in_words() {
    for (script, what) in [
        ("loop { }", "more than 500000 steps"),
        ("let x = 0; while true { x += 1; }", "more than 500000 steps"),
        ("fn f(n) { f(n + 1) } f(0)", "more than 24 deep"),
        ("let s = \"x\"; loop { s += s; }", "65536 bytes of text"),
        ("let a = [1]; loop { a += a; }", "10000 elements"),
        ("let a = []; a.pad(20000, 0); a", "10000 elements"),
        (
            "let m = #{}; for i in 0..20000 { m[`k${i}`] = i; } m.len()",
            "10000 elements",
        ),
        ("let f = 1e300; f * f", "JSON lacks"),
        ("|x| x", "JSON lacks"),
        ("let s = \"abcdefgh\"; s.pad(50000, \"x\"); s", "40000 are the most"),
    ] {
        let message = eval(script).unwrap_err();
        assert!(message.contains(what), "{script}: {message}");
    }
    let deep = format!("{}1{}", "(1 + ".repeat(60), ")".repeat(60));
    assert!(eval(&deep).unwrap_err().contains("nests too deep"));
    let long = run(&" ".repeat(caps::SCRIPT_BYTES + 1), &Map::new()).unwrap_err();
    assert_eq!(long.kind, ErrorKind::InvalidInput);
}

#[test]
fn limits_are_exact() {
    assert_eq!(eval("let a = []; a.pad(10000, 0); a.len()").unwrap(), "10000");
    assert!(eval("let a = []; a.pad(10001, 0); a.len()").is_err());
    let depth = |n: usize| format!("fn f(n) {{ if n == 0 {{ 0 }} else {{ 1 + f(n - 1) }} }} f({n})");
    assert_eq!(eval(&depth(caps::CALLS - 1)).unwrap(), "23");
    assert!(eval(&depth(caps::CALLS)).is_err());
}
