//! The repository's files, YAML as JSON, and the tools that read them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Map, Number, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// What `kubectl apply -k` is given.
pub const KUSTOMIZATIONS: [&str; 11] = [
    "k8s/base",
    "k8s/test",
    "k8s/overlays/hpa",
    "k8s/overlays/keda",
    "k8s/overlays/keda-from-zero",
    "k8s/overlays/openshift",
    "k8s/overlays/small",
    "k8s/overlays/volume-per-pod",
    "k8s/router",
    "k8s/tunnels",
    "k8s/tunnels/operator",
];

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file.
pub fn documents(path: &str) -> Vec<Value> {
    parse(&read(path)).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

/// The documents of a YAML text; those that are empty are none.
pub fn parse(text: &str) -> Result<Vec<Value>, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    Ok(documents.iter().map(to_json).filter(|document| !document.is_null()).collect())
}

fn to_json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Real(text) => text.parse().ok().and_then(Number::from_f64).map_or(Value::Null, Value::Number),
        Yaml::Integer(number) => (*number).into(),
        Yaml::String(text) => text.as_str().into(),
        Yaml::Boolean(truth) => (*truth).into(),
        Yaml::Array(items) => items.iter().map(to_json).collect(),
        Yaml::Hash(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = key.as_str().expect("a key is a text");
                if key == "<<" {
                    let Value::Object(merged) = to_json(value) else { panic!("<< takes a mapping") };
                    merged.into_iter().for_each(|(key, value)| _ = object.entry(key).or_insert(value));
                } else {
                    object.insert(key.to_owned(), to_json(value));
                }
            }
            Value::Object(object)
        }
        Yaml::Alias(_) | Yaml::Null | Yaml::BadValue => Value::Null,
    }
}

/// Every YAML file beneath a directory, by path from the root.
pub fn yaml_files(beneath: &str) -> Vec<String> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(beneath), &mut found);
    found.sort();
    let name = |path: &PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    found.iter().map(name).collect()
}

/// `StatefulSet/ftp-pooler`.
pub fn name_of(object: &Value) -> String {
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// The one object of this name; a panic where there is none.
pub fn find<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    objects.iter().find(|object| name_of(object) == name).unwrap_or_else(|| panic!("no {name}"))
}

/// What `make deps` installed.
pub fn deps(name: &str) -> PathBuf {
    let deps = std::env::var_os("FTP_POOLER_DEPS").map_or_else(|| root().join(".deps"), PathBuf::from);
    let found = deps.join(name);
    assert!(found.exists(), "no {}: run `make deps`", found.display());
    found
}

/// A tool's output, run in the root with this on stdin.
pub fn run(program: &Path, arguments: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The manifests that a kustomization makes, as text.
pub fn rendered(kustomization: &str) -> String {
    let output = run(&deps("go/bin/kustomize"), &["build", kustomization], "");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{kustomization}: {complaint}");
    assert_eq!(complaint, "", "{kustomization}: a kustomization that is in order gives no warning");
    String::from_utf8(output.stdout).unwrap()
}
