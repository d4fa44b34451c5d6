//! The documents of the contract: the schemas and docs/ERRORS.md say what the code does.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ftp_pooler::failure::Code;
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::decode::{decode, download, upload, with};

fn document(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)).unwrap()
}

/// docs/schemas/`name`.schema.json.
fn schema(name: &str) -> Value {
    serde_json::from_str(&document(&format!("schemas/{name}.schema.json"))).unwrap()
}

pub fn validator(name: &str) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema(name)).unwrap()
}

/// Fails with what the schema finds wrong.
pub fn assert_valid(validator: &Validator, message: &Value) {
    let flaws: Vec<_> = validator.iter_errors(message).map(|flaw| flaw.to_string()).collect();
    assert!(flaws.is_empty(), "{message}: {flaws:?}");
}

#[test]
fn each_schema_is_one_and_its_examples_are_valid() {
    for name in ["task", "result", "failure"] {
        let schema = schema(name);
        jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|flaw| panic!("{name}: {flaw}"));
        let examples = schema["examples"].as_array().unwrap();
        assert!(!examples.is_empty());
        for example in examples {
            assert_valid(&validator(name), example);
        }
    }
}

#[test]
fn the_tasks_that_the_schema_gives_as_examples_are_accepted() {
    for example in schema("task")["examples"].as_array().unwrap() {
        decode(example.to_string()).unwrap();
    }
}

#[test]
fn the_schema_and_the_decoder_agree_on_what_is_a_task() {
    let validator = validator("task");
    for (pointer, values) in field_cases().into_iter().chain(option_cases()) {
        for value in values.into_iter().map(Some).chain([None]) {
            for task in [download(), upload()] {
                let task = with(task, pointer, value.clone());
                let decoded = decode(task.to_string());
                assert_eq!(validator.is_valid(&task), decoded.is_ok(), "{task}: {decoded:?}");
            }
        }
    }
}

/// Right and wrong values of the required fields.
fn field_cases() -> Vec<(&'static str, Vec<Value>)> {
    let no_files = ["..", "../x", "a/../b", "a/..", "/", "a/", ".", "a/.", "a\rb", "a\nb", "a\0b"];
    let files = ["..a", "a..b/c", ".x", "a/./b", "//a", "-x", "a b", "[ü]%#"];
    vec![
        ("/task_id", vec![json!("x"), json!(""), json!(1), json!(null), json!("y".repeat(257))]),
        ("/operation", vec![json!("copy"), json!(null), json!([])]),
        ("/source", vec![json!("x"), json!(null), json!({})]),
        ("/source/connection_id", vec![json!(""), json!(null), json!(3)]),
        ("/destination/path", vec![json!(""), json!(null), json!(3)]),
        ("/destination/path", no_files.map(Value::from).into()),
        ("/source/path", files.map(Value::from).into()),
        ("/unknown", vec![json!({"deep": [1]}), json!(null)]),
    ]
}

/// Right and wrong values of the options.
fn option_cases() -> Vec<(&'static str, Vec<Value>)> {
    let counts =
        [json!(0), json!(3.0), json!(1e300), json!(101), json!(-1), json!(1.5), json!("3"), json!(null)];
    let times = ["2025-01-15T10:30:00Z", "2025-01-15T10:30:00.5-07:00", "2025-01-15", "soon", ""];
    let moves = ["/done/x", "/x/", "../x", ""].map(|path| json!({"move_to": path}));
    vec![
        ("/options", vec![json!(null), json!({}), json!([]), json!("x")]),
        ("/options/overwrite", vec![json!(null), json!(false), json!("no"), json!(0)]),
        ("/options/retry_count", counts.into()),
        ("/options/verify", ["none", "size", "auto", "hash", "md5"].map(Value::from).into()),
        ("/options/verify", vec![json!(null), json!(true)]),
        ("/options/resume", vec![json!(true), json!("x")]),
        ("/options/preserve_mtime", vec![json!(true), json!(1)]),
        ("/options/defer", vec![json!(false), json!([])]),
        ("/options/deadline", times.map(Value::from).into()),
        ("/options/deadline", vec![json!(5), json!(null)]),
        ("/options/after", moves.into()),
        (
            "/options/after",
            vec![json!("keep"), json!(null), json!("delete"), json!("x"), json!({}), json!(true)],
        ),
    ]
}

#[test]
fn the_schemas_codes_are_all_there_are_in_the_contracts_order() {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(schema("failure")["properties"]["error"]["properties"]["code"]["enum"], json!(codes));
}

/// Markdown without its marks and the targets of its links.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("](") {
        plain.push_str(before);
        rest = behind.split_once(')').map_or("", |(_, behind)| behind);
    }
    (plain + rest).replace(['`', '['], "")
}

#[test]
fn errors_md_has_one_line_for_each_code_with_its_retryable() {
    let page = document("ERRORS.md");
    let lines: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let documented: BTreeMap<&str, &str> =
        lines.iter().map(|cells| (cells[0].trim_matches('`'), cells[1])).collect();
    let expected: BTreeMap<&str, &str> = Code::ALL
        .iter()
        .map(|code| (code.as_str(), if code.is_retryable() { "yes" } else { "no" }))
        .collect();
    assert_eq!(documented, expected);
    assert_eq!(lines.len(), Code::ALL.len());
    for cells in lines {
        assert!(cells.len() == 5 && cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
        let code = Code::ALL.iter().find(|code| code.as_str() == cells[0].trim_matches('`')).unwrap();
        assert_eq!(code.advice(), plain(cells[4]), "{code}: what the page and the API advise");
    }
}
