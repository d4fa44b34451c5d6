use std::fs;
use std::path::PathBuf;

use crate::config::{Config, ConfigSources, FilesInUse};

/// A directory of its own with both files.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Files {
    fn new(name: &str, yaml: &str) -> Files {
        let dir = std::env::temp_dir().join(format!("ftp-pooler-feeds-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.yaml"), yaml).unwrap();
        let server = |name: &str, user: &str| {
            format!("[{name}]\ntype = ftp\nhost = ftp.example.com\nuser = {user}\npass = p\n")
        };
        let local = |name: &str, path: &str| format!("[{name}]\ntype = local\nbase_path = {path}\n");
        let ini = [
            server("remote", "u"),
            server("twin", "u"),
            server("other", "v"),
            local("local", "/"),
            local("deep", "/tmp"),
        ];
        fs::write(dir.join("connections.ini"), ini.concat()).unwrap();
        Files(dir)
    }

    fn sources(&self) -> ConfigSources {
        ConfigSources {
            config: self.0.join("config.yaml"),
            connections: None,
            environment: Vec::new(),
            property: |_, _| None,
            files: FilesInUse::All,
            also_searched: None,
        }
    }

    /// Each mistake without the file's name.
    fn mistakes(&self) -> Vec<String> {
        let errors = Config::load(&self.sources()).err().map(|errors| errors.to_string()).unwrap_or_default();
        let prefix = format!("{}:", self.0.join("config.yaml").display());
        errors.lines().map(|line| line.replace(&prefix, "")).collect()
    }
}

fn mistakes(name: &str, yaml: &str) -> Vec<String> {
    Files::new(name, yaml).mistakes()
}

#[test]
fn a_feed_has_its_defaults_and_what_is_set() {
    let yaml = "feeds:\n  - name: invoices\n    from: remote:/outbox/\n    to: local:/in/\n    every: '*/5 * * * *'\n    time_zone: Europe/Berlin\n    include: ['*.csv', '*.xml']\n    exclude: '*.tmp'\n    min_size: 1Ki\n    changed: ignore\n    options:\n      after: delete\n      verify: hash\n      deadline: 2h\n";
    let files = Files::new("whole", yaml);
    let config = Config::load(&files.sources()).unwrap();
    let feed = &config.feeds[0];
    assert_eq!((feed.name.as_str(), feed.from.to_string().as_str()), ("invoices", "remote:/outbox/"));
    assert_eq!(feed.criteria.include, ["*.csv", "*.xml"]);
    assert_eq!((feed.criteria.exclude.len(), feed.criteria.min_size), (1, Some(1024)));
    assert_eq!(feed.settle.as_secs(), 10);
    assert!(feed.options.after.removes_source());
    let shown = config.to_yaml_redacted();
    let again = &shown[shown.find("feeds:\n").unwrap()..shown.find("connections:").unwrap()];
    for line in [
        "feeds:\n  - name: invoices\n    from: \"remote:/outbox/\"",
        "    options:\n      verify: hash\n      after: delete\n      deadline: 2h",
        "    every: \"*/5 * * * *\"",
    ] {
        assert!(again.contains(line), "{line} is not in {again}");
    }
    let same = Files::new("again", again);
    assert_eq!(Config::load(&same.sources()).unwrap().feeds, config.feeds, "it is what it was made of");
}

#[test]
fn all_mistakes_are_told_at_once_each_with_its_line() {
    let yaml = "feeds:\n  - name: a b\n    from: remot:/out/\n    to: local:/in/\n    every: 61 * * * *\n  - name: two\n    from: remote\n    every: 10s\n    evry: 1\n    include: ['[a']\n    options: {after: burn, verify: maybe}\n";
    let found = mistakes("all", yaml);
    let expected = [
        "2: [feed a b] name: found `a b`; expected 1 to 64 letters",
        "3: [feed a b] from: there is no connection 'remot', did you mean 'remote'?",
        "5: [feed a b] every: found `61 * * * *`: ",
        "6: [feed two] to: is missing; expected CONNECTION:PATH",
        "7: [feed two] from: found `remote`; expected CONNECTION:PATH",
        "9: [feed two] evry: unknown key; did you mean every?",
        "10: [feed two] include: has '[a'",
        "11: [feed two] options.verify: found `maybe`; expected size or none or hash or auto",
        "11: [feed two] options.after: expected keep, delete or move_to:DIRECTORY",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

/// The mistakes of feeds of these names, sources, destinations and further keys.
fn of(name: &str, feeds: &[(&str, &str, &str, &str)]) -> String {
    let feed = |(name, from, to, more): &(&str, &str, &str, &str)| {
        format!("  - {{name: {name}, from: '{from}', to: '{to}', every: 1m{more}}}\n")
    };
    let yaml = format!("feeds:\n{}", feeds.iter().map(feed).collect::<String>());
    mistakes(name, &yaml).join("\n")
}

#[test]
fn feeds_that_would_take_a_file_twice_are_told() {
    let overlap = |name: &str, one: (&str, &str), two: (&str, &str)| {
        of(name, &[("a", one.0, "local:/a/", one.1), ("b", two.0, "local:/b/", two.1)])
    };
    let told = overlap("same", ("remote:/out/", ""), ("remote:/out", ""));
    assert!(told.contains("3: [feed b] from: remote:/out overlaps with feed a (remote:/out/)"), "{told}");
    let twin = overlap("twin", ("remote:/out/", ", recursive: true"), ("twin:/out/deep/", ""));
    assert!(twin.contains("overlaps"), "one server under two names: {twin}");
    for (name, one, two) in [
        ("flat", ("remote:/out/", ""), ("remote:/out/deep/", "")),
        ("users", ("remote:/out/", ""), ("other:/out/", "")),
        ("depth", ("remote:/out/", ", recursive: true, max_depth: 2"), ("remote:/out/a/b/", "")),
        ("pruned", ("remote:/out/", ", recursive: true, exclude: [deep/]"), ("remote:/out/deep/", "")),
        (
            "kinds",
            ("remote:/out/", ", include: ['*.csv']"),
            ("remote:/out/", ", include: ['*.xml', 'a?.txt']"),
        ),
        ("rest", ("remote:/out/", ", include: ['*.csv']"), ("remote:/out/", ", exclude: ['*.csv']")),
    ] {
        assert_eq!(overlap(name, one, two), "", "{name}");
    }
    let wide =
        overlap("wide", ("remote:/out/", ", include: ['*.csv']"), ("remote:/out/", ", include: ['a*']"));
    assert_eq!(wide, "", "what could be both is not known from the patterns");
    let any = overlap("any", ("remote:/out/", ", include: ['*.csv']"), ("remote:/out/", ", include: ['*']"));
    assert!(any.contains("overlaps"), "{any}");
}

#[test]
fn files_that_would_come_round_again_are_told() {
    let beneath = of("beneath", &[("a", "local:/tmp/x/", "deep:/x/y/", "")]);
    assert!(beneath.contains("'local' and 'deep' are both local"), "{beneath}");
    assert!(beneath.contains("deep:/x/y/ is inside its own source local:/tmp/x/"), "{beneath}");
    let moved = of(
        "moved",
        &[("a", "remote:/out/", "local:/in/", ", recursive: true, options: {after: 'move_to:/out/done'}")],
    );
    assert!(
        moved.contains("[feed a] options.after: moves files to remote:/out/done, which is listed"),
        "{moved}"
    );
    assert_eq!(
        of("beside", &[("a", "remote:/out/", "local:/in/", ", options: {after: 'move_to:/out/done'}")]),
        ""
    );
    let round =
        of("round", &[("a", "remote:/out/", "local:/in/", ""), ("b", "local:/in/", "remote:/out/", "")]);
    assert!(
        round.contains("[feed a] to: local:/in/: other feeds bring its files back to remote:/out/"),
        "{round}"
    );
    assert_eq!(
        of("chain", &[("a", "remote:/out/", "local:/in/", ""), ("b", "local:/in/", "other:/out/", "")]),
        ""
    );
}

#[test]
fn what_feeds_cannot_do_is_told() {
    let twice = of("twice", &[("a", "remote:/a/", "local:/in/", ""), ("a", "remote:/b/", "local:/in/", "")]);
    assert!(twice.contains("3: [feed a] name: is the name of another feed as well"), "{twice}");
    let kept = of("kept", &[("a", "local:/out/", "remote:/in/", ", options: {after: delete}")]);
    assert!(kept.contains("options.after: is delete; of an upload the source is kept"), "{kept}");
    let zone = of("zone", &[("a", "remote:/a/", "local:/in/", ", time_zone: Mars/Olympus")]);
    assert!(zone.contains("there is no time zone `Mars/Olympus` here"), "{zone}");
    let delivery = mistakes(
        "delivery",
        "kafka: {delivery: at_least_once}\nfeeds:\n  - {name: a, from: 'remote:/a/', to: 'local:/in/', every: 1m}\n",
    );
    assert!(delivery[0].contains("[feed a] name: feeds need Kafka transactions"), "{delivery:?}");
    assert!(mistakes("text", "feeds: yes\n")[0].contains("feeds: is not a list"));
    assert!(mistakes("scalars", "feeds:\n  - yes\n")[0].contains("feeds[0] is not a section"));
    assert_eq!(mistakes("none", "feeds: []\n"), [""; 0]);
}
