//! Options of rclone's FTP backend (its docs/ftp) that have no counterpart here.

use ::config::{Value, ValueKind};

/// A key of rclone's that this version does not support.
#[derive(Debug, Clone, Copy)]
pub(super) struct RcloneOnlyKey {
    pub name: &'static str,
    pub harmless: HarmlessValues,
    /// Why it can be ignored, or what to do instead.
    pub note: &'static str,
}

/// Which values have no effect here, so that the key may remain in the section.
#[derive(Debug, Clone, Copy)]
pub(super) enum HarmlessValues {
    Any,
    Only(&'static [&'static str]),
}

const OFF: HarmlessValues = HarmlessValues::Only(&["false", "f", "0"]);

const fn key(name: &'static str, harmless: HarmlessValues, note: &'static str) -> RcloneOnlyKey {
    RcloneOnlyKey { name, harmless, note }
}

pub(super) const RCLONE_ONLY_KEYS: &[RcloneOnlyKey] = &[
    key("description", HarmlessValues::Any, "a remark"),
    key("allow_insecure_tls_ciphers", OFF, "this TLS has no insecure ciphers"),
    key("tls_cache_size", HarmlessValues::Any, "each session keeps its own TLS session"),
    key("disable_mlsd", HarmlessValues::Any, "only submit lists, and uses LIST if the server refuses MLSD"),
    key("force_list_hidden", HarmlessValues::Any, "only submit lists, and uses what the server shows"),
    key("bwlimit", HarmlessValues::Only(&["off", "0"]), "the key is `bandwidth` here, with the same values"),
    key("ask_password", OFF, "a pod has no one to ask"),
];

impl RcloneOnlyKey {
    pub fn is_harmless(&self, value: &Value) -> bool {
        match (self.harmless, &value.kind) {
            (HarmlessValues::Any, _) => true,
            (HarmlessValues::Only(values), ValueKind::String(text)) => {
                values.contains(&text.trim().to_ascii_lowercase().as_str())
            }
            (HarmlessValues::Only(_), _) => false,
        }
    }
}
