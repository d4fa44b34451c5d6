//! A line of MLSD (RFC 3659, 7): facts, each with a `;` behind it, a blank, and the name.

/// A line, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MlsdLine<'a> {
    facts: &'a str,
    /// As the server writes it: some give the directory as well.
    pub name: &'a str,
}

impl<'a> MlsdLine<'a> {
    /// `None` for what is no such line. There may be no facts; some servers leave out the last `;`.
    pub fn parse(line: &'a str) -> Option<Self> {
        let without_last = || line.split_once(' ').filter(|(facts, _)| facts.contains('='));
        let (facts, name) = match line.strip_prefix(' ') {
            Some(name) => ("", name),
            None => line.split_once("; ").or_else(without_last)?,
        };
        Some(MlsdLine { facts, name })
    }

    /// What the line says of `wanted`, in lower case here, in any there.
    pub fn fact(&self, wanted: &str) -> Option<&'a str> {
        let named = self.facts.split(';').filter_map(|fact| fact.split_once('='));
        named.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_and_name_are_told_apart() {
        let line = MlsdLine::parse("Type=OS.unix=slink:/a b;Size=17; x; y=z").unwrap();
        assert_eq!((line.fact("type"), line.fact("size")), (Some("OS.unix=slink:/a b"), Some("17")));
        assert_eq!((line.fact("modify"), line.name), (None, "x; y=z"));
        assert_eq!(MlsdLine::parse(" no facts").unwrap().name, "no facts");
        assert_eq!(MlsdLine::parse("type=file a b").unwrap().name, "a b");
        for none in ["", "x", "what is this", "type=file;"] {
            assert_eq!(MlsdLine::parse(none), None, "{none}");
        }
    }
}
