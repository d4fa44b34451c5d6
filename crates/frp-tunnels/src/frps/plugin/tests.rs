use super::*;
use proptest::prelude::*;

fn rules() -> Vec<ClientRules> {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "plant-token\n").unwrap();
    let file = directory.path().join("clients.toml");
    let text = format!(
        "[[client]]\nuser = \"plant\"\ntoken_files = [\"{}\"]\ntypes = [\"tcp\", \"http\"]\nports = [\"6000-6009\"]\ndomains = [\"*.plant.test\", \"own\"]\nfrom = [\"10.0.0.0/8\"]\nvisitors = [\"192.0.2.7\"]\n",
        token.display()
    );
    std::fs::write(&file, text).unwrap();
    read_client_rules(&file).unwrap()
}

/// The decision on this request: "allowed", or the reason.
fn decided(op: &str, content: &Value) -> String {
    let request: PluginRequest =
        serde_json::from_value(json!({ "version": "0.1.0", "op": op, "content": content })).unwrap();
    let (decision, record) = decide(&rules(), &request, jiff::Timestamp::UNIX_EPOCH);
    assert!(!record.0.to_string().contains("token\":"), "{record:?}");
    match decision {
        PluginDecision::Allow => "allowed".into(),
        PluginDecision::Refuse(reason) => reason,
    }
}

fn login(user: &str, token: &str, address: &str) -> String {
    decided("Login", &json!({"user": user, "metas": {"token": token}, "client_address": address}))
}

fn proxy(content: &Value) -> String {
    let mut whole = json!({"user": {"user": "plant", "run_id": "r"}, "proxy_name": "plant.x"});
    whole.as_object_mut().unwrap().extend(content.as_object().unwrap().clone());
    decided("NewProxy", &whole)
}

#[test]
fn a_client_needs_its_own_token_and_address() {
    assert_eq!(login("plant", "plant-token", "10.1.2.3:999"), "allowed");
    assert_eq!(login("plant", "plant-token", "[::ffff:10.1.2.3]:999"), "allowed");
    assert!(login("plant", "other", "10.1.2.3:999").contains("wrong or missing"));
    assert!(login("plant", "plant-token", "192.0.2.1:9").contains("address"));
    assert!(login("nobody", "plant-token", "10.1.2.3:999").contains("unknown"));
    assert!(decided("Login", &json!({"user": "plant"})).contains("wrong or missing"));
}

#[test]
fn a_client_has_only_what_its_rules_name() {
    assert_eq!(proxy(&json!({"proxy_type": "tcp", "remote_port": 6003})), "allowed");
    assert!(proxy(&json!({"proxy_type": "tcp", "remote_port": 7000})).contains("7000"));
    assert!(proxy(&json!({"proxy_type": "tcp"})).contains("port 0"));
    assert!(proxy(&json!({"proxy_type": "stcp"})).contains("stcp"));
    assert_eq!(proxy(&json!({"proxy_type": "http", "custom_domains": ["A.plant.test"]})), "allowed");
    assert!(proxy(&json!({"proxy_type": "http", "custom_domains": ["plant.test"]})).contains("plant.test"));
    assert!(
        proxy(&json!({"proxy_type": "http", "custom_domains": ["evilplant.test"]})).contains("evilplant")
    );
    assert_eq!(proxy(&json!({"proxy_type": "http", "subdomain": "own"})), "allowed");
    assert!(proxy(&json!({"proxy_type": "http", "subdomain": "other"})).contains("other"));
}

#[test]
fn who_connects_is_looked_at() {
    let from =
        |address: &str| decided("NewUserConn", &json!({"user": {"user": "plant"}, "remote_addr": address}));
    assert_eq!(from("192.0.2.7:5"), "allowed");
    assert!(from("192.0.2.8:5").contains("address"));
    assert!(from("").contains("address"));
}

#[test]
fn mistakes_of_the_file_are_reported_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clients.toml");
    std::fs::write(&file, "[[client]]\nuser = \"a\"\ntoken_files = [\"/nowhere\"]\ntypes = [\"ftp\"]\nports = [\"9-1\"]\nfrom = [\"x\"]\n[[client]]\nuser = \"a\"\ntoken_files = []\n").unwrap();
    let Err(ClientRulesError::Mistakes { mistakes, .. }) = read_client_rules(&file) else {
        panic!("no mistakes")
    };
    assert_eq!(mistakes.len(), 7, "{mistakes:#?}");
}

proptest! {
    #[test]
    fn an_unknown_user_is_always_refused(op in "[A-Za-z]{0,12}", user in "[a-z]{0,6}") {
        prop_assume!(user != "plant");
        let reason = decided(&op, &json!({"user": {"user": user}}));
        prop_assert!(reason.contains("unknown"));
    }
}
