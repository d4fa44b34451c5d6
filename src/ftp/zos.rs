//! z/OS, recognised by its replies. The names of its data sets: `ftp_listing::data_set`.

/// Whether this is the greeting of z/OS's server.
pub(super) fn is_greeting_of_zos(text: &str) -> bool {
    text.contains("IBM FTP CS") || text.contains("IBM TCP/IP for MVS")
}

/// Whether a refusal mentions the naming rules of data sets: `Qualifier too long. Use MVS naming conventions.` `path`
/// is removed first: a file may be called `qualifier`.
pub(super) fn is_refusal_of_zos(text: &str, path: &str) -> bool {
    let text = text.replace(path, " ").to_ascii_lowercase();
    text.contains("mvs naming")
        || text.contains("qualifier too long")
        || text.contains("invalid data set name")
        || text.contains("data set name is not valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z_os_is_known_by_its_greeting_or_by_its_rules_for_names() {
        assert!(is_greeting_of_zos("FTPD1 IBM FTP CS V2R3 at HOST, 10:11:12 on 2024-01-15."));
        assert!(!is_greeting_of_zos("(vsFTPd 3.0.3)"));
        assert!(is_refusal_of_zos("Qualifier too long.  Use MVS naming conventions.", "f"));
        for (text, path) in
            [("Could not create file.", "f"), ("/a/mvs naming: no such file", "/a/mvs naming")]
        {
            assert!(!is_refusal_of_zos(text, path), "{text}");
        }
    }
}
