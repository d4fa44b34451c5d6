//! The file of clients and their rules.
//!
//! ```toml
//! [[client]]
//! user = "plant"
//! token_files = ["/run/secrets/plant"]   # two while one is rotated
//! types = ["stcp"]                       # default: tcp, udp, http, https, tcpmux, stcp, sudp, xtcp
//! ports = ["6000-6099"]                  # of tcp and udp; default: what frps allows
//! domains = ["*.plant.example.com"]      # and labels of subdomains; default: none
//! from = ["10.0.0.0/8"]                  # addresses of the client; default: all
//! visitors = ["192.0.2.0/24"]            # addresses of those who connect; default: all
//! ```

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

use crate::frps::PortRange;
use crate::server_settings::SecretSource;

/// All types of frp.
const TYPES: [&str; 8] = ["tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp"];

/// What one client may do.
#[derive(Debug, Clone)]
pub struct ClientRules {
    pub user: String,
    /// Any of them.
    pub tokens: Vec<SecretString>,
    pub types: Vec<String>,
    pub ports: Vec<PortRange>,
    pub domains: Vec<String>,
    pub from: Vec<IpNet>,
    pub visitors: Vec<IpNet>,
}

impl ClientRules {
    /// A name of the list, or one beneath a `*.` of it, in any case.
    pub(super) fn allows_domain(&self, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        self.domains.iter().map(|allowed| allowed.to_ascii_lowercase()).any(|allowed| {
            let is_beneath = allowed.strip_prefix("*.").is_some_and(|suffix| {
                domain.strip_suffix(suffix).is_some_and(|label| label.len() > 1 && label.ends_with('.'))
            });
            allowed == domain || is_beneath
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientRulesError {
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{}:\n  {}", path.display(), mistakes.join("\n  "))]
    Mistakes { path: PathBuf, mistakes: Vec<String> },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    client: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    user: String,
    token_files: Vec<PathBuf>,
    types: Option<Vec<String>>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
    #[serde(default)]
    from: Vec<String>,
    #[serde(default)]
    visitors: Vec<String>,
}

/// Reads the file and the tokens that it names; all mistakes at once.
pub fn read_client_rules(path: &Path) -> Result<Vec<ClientRules>, ClientRulesError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ClientRulesError::Unreadable { path: path.to_owned(), source })?;
    let wrong = |mistakes| ClientRulesError::Mistakes { path: path.to_owned(), mistakes };
    let file: File =
        toml::from_str(&text).map_err(|error| wrong(vec![error.to_string().trim_end().to_owned()]))?;
    let mut mistakes = Vec::new();
    let mut rules: Vec<ClientRules> = Vec::new();
    for entry in file.client {
        if rules.iter().any(|known| known.user == entry.user) {
            mistakes.push(format!("{}: the user occurs twice", entry.user));
        }
        rules.push(entry.rules(&mut mistakes));
    }
    if rules.is_empty() {
        mistakes.push("no [[client]]: everybody would be refused".to_owned());
    }
    if mistakes.is_empty() { Ok(rules) } else { Err(wrong(mistakes)) }
}

impl Entry {
    fn rules(self, mistakes: &mut Vec<String>) -> ClientRules {
        let user = self.user;
        let mut wrong = |key: &str, message: String| mistakes.push(format!("{user}: {key}: {message}"));
        let mut tokens = Vec::new();
        for file in self.token_files {
            match SecretSource::File(file).read() {
                Ok(token) => tokens.push(token),
                Err(error) => wrong("token_files", error.to_string()),
            }
        }
        if tokens.is_empty() {
            wrong("token_files", "at least one is needed".to_owned());
        }
        let types = self.types.unwrap_or_else(|| TYPES.iter().map(|&kind| kind.to_owned()).collect());
        for kind in types.iter().filter(|kind| !TYPES.contains(&kind.as_str())) {
            wrong("types", format!("{kind:?} is not one of {}", TYPES.join(", ")));
        }
        let mut ports = Vec::new();
        for text in self.ports {
            match text.parse() {
                Ok(range) => ports.push(range),
                Err(error) => wrong("ports", error),
            }
        }
        let mut networks = |key: &str, texts: Vec<String>| {
            let mut networks = Vec::new();
            for text in texts {
                let single = || text.parse::<std::net::IpAddr>().map(IpNet::from).ok();
                match text.parse::<IpNet>().ok().or_else(single) {
                    Some(network) => networks.push(network),
                    None => wrong(key, format!("{text:?} is neither an address nor ADDRESS/BITS")),
                }
            }
            networks
        };
        let from = networks("from", self.from);
        let visitors = networks("visitors", self.visitors);
        ClientRules { user, tokens, types, ports, domains: self.domains, from, visitors }
    }
}
