use super::*;
use crate::spec::{Probe, TunnelKind};
use proptest::prelude::*;

/// A file with a secret beside it.
fn with_secret(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "hidden-key\n").unwrap();
    (directory, text.replace("SECRET", &secret.display().to_string()))
}

fn lines(text: &str) -> Vec<String> {
    let found = parse_tunnel_file(text).unwrap_err();
    found.into_iter().map(|mistake| format!("{}: {}", mistake.line, mistake.message)).collect()
}

#[test]
fn every_kind_is_read() {
    let (_directory, text) = with_secret(
        r#"
[server]
address = ["a.test:7000", "b.test"]
token_file = "SECRET"
user = "office"
keepalive = "5s"
max_tunnels = 20
names = "sequential"
[[tunnel]]
name = "database"
type = "tcp"
local = "5432"
remote_port = 6000
probe = "greeting:220"
bandwidth_kib = 1024
group = "databases"
group_key_file = "SECRET"
health_check = "tcp"
metadata = { team = "a" }
[[tunnel]]
type = "udp"
local = "53"
[[tunnel]]
type = "http"
local = "3000"
domains = "app.test"
paths = ["/app", "/api/*/users"]
strip_path = true
user = "u"
password_file = "SECRET"
[[tunnel]]
type = "https"
plugin = "https_to_http"
local = "127.0.0.1:80"
certificate = "/c"
key = "/k"
domains = ["b.test"]
[[tunnel]]
type = "tcpmux"
local = "22"
subdomain = "ssh"
[[tunnel]]
type = "stcp"
local = "21"
secret_file = "SECRET"
allow_users = ["pool"]
[[tunnel]]
type = "sudp"
local = "53"
secret_file = "SECRET"
[[tunnel]]
type = "xtcp"
plugin = "unix_socket"
unix_socket = "/run/x"
secret_file = "SECRET"
[[tunnel]]
type = "stcp-visitor"
server_name = "ftp"
server_user = "plant"
secret_file = "SECRET"
bind = "127.77.0.1:2100"
[[tunnel]]
type = "xtcp-visitor"
server_name = "ftp"
secret_file = "SECRET"
bind = "127.77.0.2:2100"
hole_protocol = "quic"
fallback = "plain"
"#,
    );
    let file = parse_tunnel_file(&text).unwrap_or_else(|found| panic!("{found:#?}"));
    let kinds: Vec<_> = file.tunnels.iter().map(|spec| spec.kind.label()).collect();
    assert_eq!(
        kinds,
        ["tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp", "stcp-visitor", "xtcp-visitor"]
    );
    assert_eq!(file.client.server.servers.len(), 2);
    assert_eq!(file.tunnels[0].probe, Some(Probe::Greeting("220".into())));
    assert!(matches!(&file.tunnels[2].kind, TunnelKind::Http(http) if http.needs_rewriting()));
    assert!(!format!("{file:?}").contains("hidden"), "{file:?}");
}

#[test]
fn all_mistakes_are_reported_at_once_each_with_its_line() {
    let found = lines(
        r#"[server]
address = "a b"
tokenfile = "/x"
pool_count = 99
[[tunnel]]
name = "a/b"
type = "tcp"
local = "0"
remote_port = 70000
[[tunnel]]
type = "ftp"
[[tunnel]]
type = "http"
local = "80"
domains = "a.test"
paths = "/x*"
domans = "b.test"
[[tunnel]]
type = "stcp-visitor"
server_name = "x"
secret_file = "/nowhere/key"
[other]
"#,
    );
    let expected = [
        "1: server: address: \"a b\" is not host:port",
        "8: tunnel a/b: local: \"0\" is not one of PORT",
        "9: tunnel a/b: remote_port: a whole number from 1 to 65535 is expected, not the number 70000",
        "10: tunnel: type: \"ftp\" is not one of tcp",
        "12: a http tunnel: paths: \"/x*\" \"*\" must be a whole segment",
        "17: tunnel number 3: domans is not a known key; did you mean domains?",
        "18: tunnel number 4: bind is missing",
        "21: tunnel number 4: secret_file: /nowhere/key: No such file",
        "22: other is not a known key",
    ];
    for (line, wanted) in found.iter().zip(expected) {
        assert!(line.starts_with(wanted), "{line}\n{wanted}\n{found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn conflicts_are_mistakes_and_overlaps_warnings() {
    let file = |second: &str| {
        format!(
            "[server]\naddress = \"a.test\"\n[[tunnel]]\ntype = \"http\"\nlocal = \"80\"\ndomains = \"w.test\"\npaths = \"/a\"\n[[tunnel]]\ntype = \"http\"\nlocal = \"81\"\ndomains = \"w.test\"\npaths = \"{second}\"\n"
        )
    };
    assert_eq!(lines(&file("/a/")), ["8: w.test/a is taken already (line 3)"]);
    let overlap = parse_tunnel_file(&file("/a/b")).unwrap();
    assert_eq!(overlap.warnings, ["line 8: w.test/a/b is taken out of w.test/a (line 3)"]);
}

#[test]
fn what_is_no_toml_has_its_line() {
    assert_eq!(lines("[server]\naddress = \n").len(), 1);
    assert!(lines("[server]\naddress = \n")[0].starts_with("2: "));
}

#[test]
fn a_missing_server_section_is_said() {
    assert_eq!(lines(""), ["1: [server] is missing: it says where frps is"]);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", key in "[a-z_]{1,12}", value in "[0-9a-z\"\\[\\]{}=,. ]{0,20}") {
        let _ = parse_tunnel_file(&text);
        let _ = parse_tunnel_file(&format!("[server]\naddress = \"a\"\n{key} = {value}\n[[tunnel]]\n{key} = {value}\n"));
    }
}
