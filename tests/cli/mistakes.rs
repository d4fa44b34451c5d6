//! Slips of the pen that would cost a night: what is said of them, to people and to programs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{Place, task};

#[test]
fn a_forgotten_recursive_is_told_and_a_failure() {
    let place = Place::new();
    place.put("out/deep/a.csv", "one");
    place.put("out/deeper/b.csv", "two");
    let submit = |more: &[&str]| {
        let args = ["submit", "local:/out/", "remote-ftp:/inbox", "--dry-run"];
        place.run(&[&args[..], more].concat())
    };
    let forgotten = submit(&[]);
    assert_eq!(forgotten.code, 1, "{forgotten:?}");
    assert!(forgotten.stderr.contains("2 directories below it left out (--recursive"), "{forgotten:?}");
    assert_eq!(submit(&["--fail-if-none=false"]).code, 0);
    assert_eq!(submit(&["-r"]).code, 0);
    // Nothing is there that should be sent: that is none, unless somebody says so.
    assert_eq!(submit(&["-r", "--include", "*.txt"]).code, 0);
    assert_eq!(submit(&["-r", "--include", "*.txt", "--fail-if-none"]).code, 1);
    place.put("out/here.csv", "three");
    let some = submit(&[]);
    assert_eq!(some.code, 0, "{some:?}");
    assert!(some.stderr.contains("2 directories below it left out"), "{some:?}");
}

#[test]
fn an_option_that_is_not_known_is_sent_and_warned_of() {
    let place = Place::new();
    let mut odd: Value = serde_json::from_str(&task("a", "remote-ftp")).unwrap();
    odd["options"] = json!({"overwrit": false});
    let file = place.write("tasks.jsonl", &odd.to_string());
    let ran = place.run(&["submit", &file, "--dry-run"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let warning =
        format!("{file}:1: warning: options.overwrit is not known and was ignored, did you mean overwrite?");
    assert!(ran.stderr.contains(&warning), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn programs_read_mistakes_on_standard_output() {
    let place = Place::new();
    fs::write(place.path("config.yaml"), "kafka: {input_topik: x}\n").unwrap();
    for command in [&["lag"][..], &["failures"], &["failures", "retry", "--all"], &["check"], &["topics"]] {
        let ran = place.run(&[command, &["--output", "json"]].concat());
        assert_eq!(ran.code, 78, "{ran:?}");
        let error = &ran.json()["error"];
        assert_eq!(error["exit_code"], 78, "{ran:?}");
        assert_eq!(
            (&error["mistakes"][0]["key"], &error["mistakes"][0]["line"]),
            (&json!("kafka.input_topik"), &json!(1))
        );
        assert!(ran.stderr.contains("input_topik"), "people read them as before: {ran:?}");
    }
    let away = Place::new().run(&["lag", "--output", "json"]);
    assert_eq!((away.code, &away.json()["error"]["exit_code"]), (69, &json!(69)), "{away:?}");
}

/// Case b32: a listener for TLS takes the first bytes for no handshake, and closes, with an alert or without a word.
#[test]
fn b32_a_plain_client_at_a_listener_for_tls_is_told_so() {
    const FATAL_ALERT: [u8; 7] = [0x15, 3, 1, 0, 2, 2, 0x16];
    for last_words in [&[][..], &FATAL_ALERT] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut client = client;
                let _ = client.read(&mut [0; 4096]);
                let _ = client.write_all(last_words);
            }
        });
        let place = Place::new();
        let kafka = format!(
            "kafka:\n  bootstrap_servers: [\"127.0.0.1:{port}\"]\n  properties: {{socket.timeout.ms: 2000}}\n"
        );
        place.write("config.yaml", &kafka);
        let ran = place.run(&["check"]);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code != 0 && told.contains("expects TLS or SASL"), "{told}");
        assert!(told.contains("set security.protocol and sasl.mechanism in kafka.properties"), "{told}");
    }
}
