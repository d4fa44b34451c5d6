//! The definitions of the resources, for `kubectl apply`.

use kube::CustomResourceExt as _;

use super::resources::{TunnelResource, TunnelServerResource};

/// Both definitions as JSON, which is YAML, indented; each a document.
pub fn resource_definitions() -> String {
    let mut text =
        String::from("# Written by `frp-tunnels operator --print-definitions`; a test keeps it equal.\n");
    for definition in [TunnelResource::crd(), TunnelServerResource::crd()] {
        text.push_str("---\n");
        let value = serde_json::to_value(definition).unwrap_or_default();
        yaml(&value, 0, &mut text);
    }
    text
}

/// YAML in block style; scalars as JSON writes them, which YAML reads the same.
fn yaml(value: &serde_json::Value, depth: usize, text: &mut String) {
    use serde_json::Value::{Array, Object};
    let indent = "  ".repeat(depth);
    match value {
        Object(entries) => {
            for (key, value) in entries.iter().filter(|(_, value)| !value.is_null()) {
                let is_plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
                let key = if is_plain { key.clone() } else { format!("{key:?}") };
                entry(&format!("{indent}{key}:"), value, depth + 1, text);
            }
        }
        Array(items) => {
            for item in items {
                entry(&format!("{indent}-"), item, depth + 1, text);
            }
        }
        scalar => {
            text.push_str(&format!("{indent}{scalar}\n"));
        }
    }
}

fn entry(head: &str, value: &serde_json::Value, depth: usize, text: &mut String) {
    use serde_json::Value::{Array, Object};
    text.push_str(head);
    match value {
        Object(entries) if entries.is_empty() => text.push_str(" {}\n"),
        Array(items) if items.is_empty() => text.push_str(" []\n"),
        Object(_) | Array(_) => {
            text.push('\n');
            yaml(value, depth, text);
        }
        scalar => text.push_str(&format!(" {scalar}\n")),
    }
}
