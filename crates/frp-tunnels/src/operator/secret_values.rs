//! What the referenced Secrets hold, fetched beforehand: planning asks for values, and says which it lacks.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::{ExposeSecret as _, SecretString};

use super::resources::{SecretKeyReference, TunnelResource, TunnelServerResource};

/// Longer values are no tokens, keys or certificates.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Keys of a kubernetes.io/tls Secret.
pub(super) const TLS_CERTIFICATE: &str = "tls.crt";
pub(super) const TLS_KEY: &str = "tls.key";

/// Secrets by name; `None`: there is none of this name.
#[derive(Debug, Default, Clone)]
pub struct SecretValues {
    secrets: BTreeMap<String, Option<BTreeMap<String, SecretString>>>,
}

impl SecretValues {
    pub fn insert(&mut self, name: &str, values: Option<BTreeMap<String, SecretString>>) {
        self.secrets.insert(name.to_owned(), values);
    }

    /// What this reference leads to, without the line end that editors add; or why it leads nowhere.
    pub fn get(&self, reference: &SecretKeyReference, usual_key: &str) -> Result<SecretString, String> {
        self.value(&reference.name, reference.key.as_deref().unwrap_or(usual_key))
    }

    pub fn value(&self, name: &str, key: &str) -> Result<SecretString, String> {
        let values = match self.secrets.get(name) {
            Some(Some(values)) => values,
            Some(None) => return Err(format!("Secret {name:?} is not there")),
            None => return Err(format!("Secret {name:?} has not been read yet")),
        };
        let value = values.get(key).ok_or_else(|| format!("Secret {name:?} has no key {key:?}"))?;
        let text = value.expose_secret().trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!("Secret {name:?}: {key} is empty"));
        }
        if text.len() > MAX_VALUE_BYTES {
            return Err(format!("Secret {name:?}: {key} has more than {MAX_VALUE_BYTES} bytes"));
        }
        Ok(SecretString::from(text.to_owned()))
    }
}

/// The names of all Secrets that these objects need.
pub fn needed_secrets(servers: &[TunnelServerResource], tunnels: &[TunnelResource]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for server in servers {
        let (spec, tls) = (&server.spec, &server.spec.tls);
        names.extend(spec.token_secret_ref.iter().map(|reference| reference.name.clone()));
        names.extend(tls.ca_secret_ref.iter().map(|reference| reference.name.clone()));
        names.extend(tls.certificate_secret_name.clone());
    }
    for tunnel in tunnels {
        let expose = tunnel.spec.expose.iter().filter_map(|expose| expose.key_secret_ref.as_ref());
        let visit = tunnel.spec.visit.iter().filter_map(|visit| visit.key_secret_ref.as_ref());
        names.extend(expose.chain(visit).map(|reference| reference.name.clone()));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_leads_nowhere_says_where_it_ends() {
        let mut secrets = SecretValues::default();
        let get = |secrets: &SecretValues, key: Option<&str>| {
            let reference = SecretKeyReference { name: "frp".into(), key: key.map(str::to_owned) };
            secrets.get(&reference, "token").map(|value| value.expose_secret().to_owned())
        };
        assert_eq!(get(&secrets, None), Err("Secret \"frp\" has not been read yet".into()));
        secrets.insert("frp", None);
        assert_eq!(get(&secrets, None), Err("Secret \"frp\" is not there".into()));
        let values = [("token", "geheim\n"), ("empty", "\n")];
        let values = values.map(|(key, value)| (key.to_owned(), SecretString::from(value)));
        secrets.insert("frp", Some(values.into_iter().collect()));
        assert_eq!(get(&secrets, None), Ok("geheim".into()));
        assert_eq!(get(&secrets, Some("other")), Err("Secret \"frp\" has no key \"other\"".into()));
        assert_eq!(get(&secrets, Some("empty")), Err("Secret \"frp\": empty is empty".into()));
    }
}
