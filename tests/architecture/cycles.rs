//! No two modules of the pool need each other: each can be read, and changed, without those that are built on it.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, sources};

type Uses = BTreeMap<String, BTreeSet<String>>;

/// The module beneath `src/` that a file belongs to.
fn module_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn is_test(file: &str) -> bool {
    file.split('/').any(|part| matches!(part.trim_end_matches(".rs"), "tests" | "fuzz" | "model"))
}

/// What each module names of the others, tests apart.
fn uses(sources: &[(String, String)]) -> Uses {
    let mut uses = Uses::new();
    for (file, text) in
        sources.iter().filter(|(file, _)| file.strip_suffix(".rs").is_some() && !is_test(file))
    {
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        let module = module_of(file);
        if matches!(module, "lib" | "main") {
            continue;
        }
        for (_, line) in code(product) {
            for rest in line.split("crate::").skip(1) {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                let named = &rest[..end];
                if named.starts_with(|c: char| c.is_lowercase()) && named != module {
                    uses.entry(module.to_owned()).or_default().insert(named.to_owned());
                }
            }
        }
    }
    uses
}

/// The modules that need, through others, themselves.
fn in_cycles(uses: &Uses) -> Vec<&str> {
    let reaches_itself = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = vec![start];
        while let Some(module) = open.pop() {
            for next in uses.get(module).into_iter().flatten() {
                if next == start {
                    return true;
                }
                if seen.insert(next.as_str()) {
                    open.push(next);
                }
            }
        }
        false
    };
    uses.keys().map(String::as_str).filter(|module| reaches_itself(module)).collect()
}

#[test]
fn no_module_needs_itself_through_others() {
    let uses = uses(&sources());
    let cyclic = in_cycles(&uses);
    let described = cyclic.iter().map(|module| format!("{module} uses {:?}", uses.get(*module)));
    assert!(cyclic.is_empty(), "{}", described.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_cycle_is_found_however_long() {
    let source = |file: &str, text: &str| (file.to_owned(), text.to_owned());
    let sources = [
        source("a.rs", "use crate::b::{B, C};\n#[cfg(test)]\nuse crate::d::D;"),
        source("b/mod.rs", "    let c = crate::c::new();\n"),
        source("c/x.rs", "// crate::d\nuse crate::a;\n"),
        source("d.rs", "use crate::a::A;\n"),
        source("d/tests.rs", "use crate::d;\n"),
    ];
    assert_eq!(in_cycles(&uses(&sources)), ["a", "b", "c"]);
}
