//! "Did you mean …?"

/// The candidate that `written` is most likely a slip of; `None` where none is near.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase().replace(['-', ' '], "_");
    // A third of the letters may be wrong; beyond that a suggestion misleads.
    let allowed = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.replace('-', "_")), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let known = ["host", "port", "pass", "disable_epsv", "bootstrap_servers"];
        for (written, meant) in [
            ("prot", Some("port")),
            ("Host", Some("host")),
            ("bootstrap_server", Some("bootstrap_servers")),
            ("bootstrap-servers", Some("bootstrap_servers")),
            ("disable_espv", Some("disable_epsv")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
