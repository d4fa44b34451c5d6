//! `dns`: a headless service's name for each pod, looked up by the system's resolver.

use std::net::IpAddr;

use super::{LookupError, PodRecord};

/// `{id}` in a name or URL.
pub const ID_PLACEHOLDER: &str = "{id}";
/// How many addresses of one name are tried at most.
const MAX_ADDRESSES: usize = 8;

/// Asks DNS for a name with the id in it.
#[derive(Debug)]
pub struct DnsResolver {
    name: String,
}

impl DnsResolver {
    /// `name` contains [`ID_PLACEHOLDER`] once.
    pub fn new(name: impl Into<String>) -> DnsResolver {
        DnsResolver { name: name.into() }
    }

    /// The id matches the name grammar: it contains no dot that would lead elsewhere.
    pub async fn look_up(&self, id: &str) -> Result<PodRecord, LookupError> {
        let name = self.name.replace(ID_PLACEHOLDER, id);
        let found = match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(found) => found,
            Err(error) if is_no_such_name(&error) => return Err(LookupError::NotFound),
            Err(error) => return Err(LookupError::Unavailable(format!("{name}: {error}"))),
        };
        let addresses: Vec<IpAddr> = found.map(|address| address.ip()).take(MAX_ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(LookupError::NotFound);
        }
        Ok(PodRecord { addresses, ..PodRecord::default() })
    }
}

/// The standard library gives `getaddrinfo`'s error as text: `EAI_NONAME` and `EAI_NODATA` mean that there is no such
/// name, `EAI_AGAIN` that no server answered.
fn is_no_such_name(error: &std::io::Error) -> bool {
    let text = error.to_string();
    text.contains("not known") || text.contains("No address associated")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_found_and_an_invalid_name_is_not() {
        let found = DnsResolver::new("{id}").look_up("localhost").await.unwrap();
        assert!(found.addresses.iter().all(IpAddr::is_loopback));
        // RFC 6761: .invalid never exists; a machine without DNS cannot know.
        let missing = DnsResolver::new("{id}.invalid").look_up("ws1").await;
        assert!(missing.is_err());
    }
}
