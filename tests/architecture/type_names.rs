//! A public type's name is unique in its crate, so that a reader who meets it knows which one it is.

use std::collections::BTreeMap;

/// The name of the type that this line declares as public, in whatever visibility.
fn public_type(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("pub")?;
    let rest = match rest.strip_prefix('(') {
        Some(scope) => scope.split_once(')')?.1,
        None => rest,
    };
    let (keyword, name) = rest.trim_start().split_once(' ')?;
    let is_type = matches!(keyword, "struct" | "enum" | "trait" | "union" | "type");
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
    is_type.then(|| &name[..end])
}

/// Test modules have names of their own; the tests in a file are its last part.
fn is_test(file: &str) -> bool {
    file.split('/').any(|part| matches!(part.trim_end_matches(".rs"), "test" | "tests" | "fuzz" | "model"))
}

/// Each name that more than one public type of these files has, with the files.
fn shared_names(sources: &[(String, String)]) -> BTreeMap<&str, Vec<&str>> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, text) in
        sources.iter().filter(|(file, _)| file.strip_suffix(".rs").is_some() && !is_test(file))
    {
        let product = text.lines().take_while(|line| !line.starts_with("#[cfg(test)]"));
        for name in product.filter_map(public_type) {
            files.entry(name).or_default().push(file);
        }
    }
    files.retain(|_, files| files.len() > 1);
    files
}

#[test]
fn no_two_public_types_of_a_crate_have_one_name() {
    let mut crates: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    crates.insert("src".to_owned(), super::sources());
    for (path, text) in super::files_beneath("crates") {
        let Some((name, file)) = path.split_once("/src/") else { continue };
        crates.entry(name.to_owned()).or_default().push((file.to_owned(), text));
    }
    let mut shared = Vec::new();
    for (name, sources) in &crates {
        let names = shared_names(sources).into_iter();
        shared.extend(names.map(|(shared, files)| format!("{name}: {shared} in {}", files.join(", "))));
    }
    assert!(shared.is_empty(), "say in two words which one it is:\n{}", shared.join("\n"));
}

#[test]
fn a_duplicate_is_found_whatever_its_visibility() {
    let source = |file: &str, text: &str| (file.to_owned(), text.to_owned());
    let sources = [
        source("a.rs", "pub struct Session;\nstruct Private;\npub enum Side {}\npub fn struct_like() {}\n"),
        source(
            "b/c.rs",
            "    pub(super) enum Session<'a> {}\nstruct Private;\n#[cfg(test)]\npub struct Side;\n",
        ),
        source("b/tests.rs", "pub struct Side;\n"),
        source("page.js", "pub struct Side;\n"),
    ];
    assert_eq!(shared_names(&sources), BTreeMap::from([("Session", vec!["a.rs", "b/c.rs"])]));
}
