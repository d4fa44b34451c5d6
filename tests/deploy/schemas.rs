//! Manifests against the schemas of those who read them: Kubernetes' own `OpenAPI` document, the definitions of
//! the Prometheus Operator and KEDA, the Compose Specification. A field that nobody knows is a mistake, as it
//! is with `kubectl apply --validate=strict`.

use std::collections::BTreeMap;
use std::fs;

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::files::{KUSTOMIZATIONS, deps, documents, name_of, parse, rendered, text};

fn schema_file(name: &str) -> String {
    fs::read_to_string(deps("go/schemas").join(name)).unwrap()
}

/// Kubernetes' `OpenAPI` 2.0 as JSON Schema: its definitions, each closed to fields that it does not name.
pub struct Kubernetes {
    definitions: Value,
    /// The definition of a kind, by apiVersion and kind.
    kinds: BTreeMap<(String, String), String>,
    /// Custom kinds: the schema itself.
    custom: BTreeMap<(String, String), Value>,
}

impl Kubernetes {
    pub fn load() -> Self {
        let mut document: Value = serde_json::from_str(&schema_file("kubernetes.json")).unwrap();
        let mut definitions = document["definitions"].take();
        let mut kinds = BTreeMap::new();
        for (name, definition) in definitions.as_object().unwrap() {
            for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
                kinds.insert((api_version(kind), text(&kind["kind"]).to_owned()), name.clone());
            }
        }
        strict(&mut definitions);
        let custom = ["servicemonitor", "prometheusrule", "scaledobject"].into_iter().flat_map(custom_kinds);
        Kubernetes { definitions, kinds, custom: custom.collect() }
    }

    /// What its schema finds wrong with an object.
    pub fn flaws(&self, object: &Value) -> Vec<String> {
        let key = (text(&object["apiVersion"]).to_owned(), text(&object["kind"]).to_owned());
        let schema = match (self.kinds.get(&key), self.custom.get(&key)) {
            (Some(name), _) => {
                json!({"$ref": format!("#/definitions/{name}"), "definitions": self.definitions})
            }
            (None, Some(schema)) => schema.clone(),
            (None, None) => return vec![format!("{key:?} is no kind that is known")],
        };
        flaws(&validator(&schema), object)
    }
}

fn api_version(kind: &Value) -> String {
    match text(&kind["group"]) {
        "" => text(&kind["version"]).to_owned(),
        group => format!("{group}/{}", text(&kind["version"])),
    }
}

/// The versions of a `CustomResourceDefinition`.
fn custom_kinds(file: &str) -> Vec<((String, String), Value)> {
    let definition = parse(&schema_file(&format!("{file}.yaml"))).unwrap().remove(0);
    let spec = &definition["spec"];
    let versions = spec["versions"].as_array().unwrap().iter();
    let one = |version: &Value| {
        let api_version = format!("{}/{}", text(&spec["group"]), text(&version["name"]));
        let mut schema = version["schema"]["openAPIV3Schema"].clone();
        strict(&mut schema);
        // The object's own name and labels are every object's.
        schema["properties"]["metadata"] = json!({"type": "object"});
        ((api_version, text(&spec["names"]["kind"]).to_owned()), schema)
    };
    versions.map(one).collect()
}

/// `OpenAPI`'s way to say things in JSON Schema's: numbers or texts, quantities, and nothing unnamed.
fn strict(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        if let Value::Array(items) = schema {
            items.iter_mut().for_each(strict);
        }
        return;
    };
    let is_int_or_string = fields.get("format").is_some_and(|format| format == "int-or-string")
        || fields.get("x-kubernetes-int-or-string").is_some_and(|truth| truth == true);
    if is_int_or_string {
        fields.remove("format");
        fields.insert("type".into(), json!(["integer", "string"]));
    }
    // A flag in its midst is Go's dialect alone.
    if fields.get("pattern").and_then(Value::as_str).is_some_and(|pattern| pattern.contains("(?i)")) {
        fields.remove("pattern");
    }
    let is_open = fields.get("x-kubernetes-preserve-unknown-fields").is_some_and(|truth| truth == true);
    let is_schema = fields.get("properties").is_some_and(Value::is_object)
        && fields.get("type").is_none_or(|kind| kind == "object");
    if is_schema && !is_open && !fields.contains_key("additionalProperties") {
        fields.insert("additionalProperties".into(), json!(false));
    }
    for (name, field) in fields.iter_mut() {
        // A quantity may be a plain number, too.
        if name == "io.k8s.apimachinery.pkg.api.resource.Quantity" {
            field["type"] = json!(["number", "string"]);
        }
        strict(field);
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::options().build(schema).unwrap()
}

fn flaws(validator: &Validator, instance: &Value) -> Vec<String> {
    let flaw = |flaw: jsonschema::ValidationError<'_>| format!("{}: {flaw}", flaw.instance_path());
    validator.iter_errors(instance).map(flaw).collect()
}

#[test]
#[ignore = "needs kustomize and Kubernetes' schemas: make test"]
fn what_each_kustomization_makes_is_what_kubernetes_takes() {
    let kubernetes = Kubernetes::load();
    let mut wrong = Vec::new();
    for kustomization in KUSTOMIZATIONS {
        let objects = parse(&rendered(kustomization)).unwrap();
        assert!(objects.len() >= 7, "{kustomization}: {} objects", objects.len());
        for object in &objects {
            let flaws = kubernetes.flaws(object).into_iter();
            wrong.extend(flaws.map(|flaw| format!("{kustomization}: {}: {flaw}", name_of(object))));
        }
    }
    let secret = &documents("k8s/base/secret.example.yaml")[0];
    wrong.extend(kubernetes.flaws(secret));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs kustomize and Kubernetes' schemas: make test"]
fn a_field_that_nobody_knows_and_a_value_of_another_kind_are_found() {
    let kubernetes = Kubernetes::load();
    let good = documents("k8s/base/statefulset.yaml").remove(0);
    assert_eq!(kubernetes.flaws(&good), [""; 0]);
    for (place, value) in [
        ("/spec/template/spec/terminationGracePeriod", json!(90)),
        ("/spec/template/spec/terminationGracePeriodSeconds", json!("90")),
        ("/spec/template/spec/containers/0/readinessProbe/httpGet/path", json!(1)),
        ("/spec/template/spec/containers/0/securityContext/readOnlyRootFileSystem", json!(true)),
    ] {
        let mut bad = good.clone();
        let (parent, key) = place.rsplit_once('/').unwrap();
        bad.pointer_mut(parent).unwrap()[key] = value;
        assert_eq!(kubernetes.flaws(&bad).len(), 1, "{place}");
    }
    let mut scaled = documents("k8s/overlays/keda/scaledobject.yaml").remove(0);
    scaled["spec"]["maxReplicas"] = json!(3);
    assert_eq!(kubernetes.flaws(&scaled).len(), 1, "custom kinds, too");
}

#[test]
#[ignore = "needs the Compose Specification's schema: make test"]
fn the_compose_file_is_what_compose_takes() {
    let schema: Value = serde_json::from_str(&schema_file("compose-spec.json")).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for file in ["docker-compose.yml", "compose/frps/compose.yaml"] {
        assert_eq!(flaws(&validator, &documents(file)[0]), [""; 0], "{file}");
    }
    let compose = &documents("docker-compose.yml")[0];
    let mut bad = compose.clone();
    bad["services"]["kafka"]["health_check"] = json!({});
    assert!(!flaws(&validator, &bad).is_empty(), "the schema finds what is wrong");
}
